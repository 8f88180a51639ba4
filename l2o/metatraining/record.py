"""What a run is: what `run.json` says of it, and in what a run that goes on must agree."""

import inspect
import json
from typing import Any, Dict, Sequence, Tuple

from l2o.metatraining.config import MetaTraining, Run, as_data
from l2o.runs import run_record
from optimizer import OPTIMIZERS
from problems.problem_spec import Row, Spec


def described(optimizer_spec: Spec, rows: Sequence[Row], training: MetaTraining,
              num_problems: int, num_meta_iterations: int,
              select_random_problems: bool) -> Dict[str, Any]:
    """All that decides what comes of a run but its seed, as JSON can hold it."""
    name, arguments = optimizer_entry(optimizer_spec)
    return {
        'training': as_data(training),
        'optimizer': {'name': name, 'kwargs': arguments},
        'problems': [{'problem': str(row.spec), 'batch_size': row.batch_size,
                      'examples': as_data(getattr(row.dataset, 'data', None))} for row in rows],
        'num_problems': num_problems, 'num_meta_iterations': num_meta_iterations,
        'select_random_problems': bool(select_random_problems)}


def optimizer_entry(spec: Spec) -> Tuple[str, Dict[str, Any]]:
    """(name, constructor arguments) of an optimizer.

    The name is that in the table of optimizers. A class that is not in it has the name
    `<module>.<class>`: it cannot be opened by its record. Arguments that JSON cannot hold are in
    words.
    """
    cls = spec.callable
    name = getattr(cls, '__name__', type(cls).__name__)
    if OPTIMIZERS.get(name) is not cls:
        name = '%s.%s' % (getattr(cls, '__module__', ''), name)
    arguments = {'args': spec.args} if spec.args else {}
    if isinstance(cls, type):  # else a function that makes one
        bound = inspect.signature(cls.__init__).bind(None, *spec.args, **spec.kwargs)
        arguments = dict(list(bound.arguments.items())[1:])
        for parameter in bound.signature.parameters.values():
            if parameter.kind == parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
    else:
        arguments.update(spec.kwargs)
    return name, {key: _plain(value) for key, value in arguments.items()}


def write(folder: str, described: Dict[str, Any], run: Run, rows: Sequence[Row]) -> None:
    """Writes `run.json`.

    Args:
      folder: of the run.
      described: what `described` has given.
      run: with its seed.
      rows: the problems.

    Raises:
      OSError: it cannot be written.
    """
    carried_out = as_data(run._replace(machine=None, reporter=None, script='', flags=None))
    for name in ('script', 'flags'):
        carried_out.pop(name)
    name, arguments = described['optimizer']['name'], described['optimizer']['kwargs']
    run_record.write(folder, run.script, run.flags or {}, run.seed, rows, (name, arguments),
                     training=described['training'], run=carried_out)


def _plain(value):
    """A value as JSON can hold it, if need be in words."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return getattr(value, '__qualname__', type(value).__qualname__)
