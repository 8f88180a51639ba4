"""What is made from the flags of problems: the chosen sets and their rows."""

from typing import Any, Dict, List, Optional

from absl.flags import FlagValues

from l2o.commandline.flags import (
    FLAGS,
    METARUN,
    METATEST,
    FlagError,
    include,
    include_in_validation,
    suggestion,
)
from problems import own_file, problem_sets
from problems.image_files import DataSource
from problems.problem_spec import Row


def chosen_sets(values: FlagValues) -> List[str]:
    """Names of the problem sets that the flags include; none where --problem names some.

    Raises:
      FlagError: no problem is chosen.
    """
    chosen = [name for name in problem_sets.PROBLEM_SETS
              if getattr(values, include(name), False)]
    if not chosen and not _words(values.problem):
        raise FlagError('no problem set is chosen: give at least one --include_<set>_problems, '
                        'for instance --include_mnist_mlp_problems, or --problem=FILE.py:NAME')
    return chosen


def _words(text):
    """The elements of a comma-separated list."""
    return [word.strip() for word in text.split(',') if word.strip()]


def data_source(values: FlagValues) -> DataSource:
    """The `DataSource` of all problem sets."""
    names = {values.image_source, values.mnist_source} - {'auto'}
    if len(names) > 1:
        raise FlagError('--image_source=%s and --mnist_source=%s contradict each other: give one '
                        'of them' % (values.image_source, values.mnist_source))
    return DataSource(names.pop() if names else 'auto', values.data_dir or None,
                      values.text_file or None)


def problems_and_data(values: FlagValues, script: str, seed: Optional[int] = None) -> List[Row]:
    """The rows of all chosen problems, of --only where it names some; for tests each has a name.

    Data that are drawn come from the seed, if there is one, and for tests so do problems: training
    draws each problem anew.

    Raises:
      FlagError: a problem of one's own that is none, or a name in --only that no problem has.
    """
    sets = [(name, _rows_of(values, problem_set, script, seed))
            for name, problem_set in problem_sets.including(chosen_sets(values)).items()]
    sets += [(where.rpartition(':')[2], _own_rows(where, seed)) for where in _words(values.problem)]
    rows = [row for _, rows in sets for row in rows]
    named = _named(sets)
    if script == METATEST:
        rows = [row._replace(spec=row.spec.seeded(None if seed is None else seed + index))
                for index, row in enumerate(named)]
    only = _words(values.only)
    _check_names(only, [row.name for row in named])
    return [row for row, like in zip(rows, named) if not only or like.name in only]


def _own_rows(where, seed):
    """The rows of one element of --problem."""
    try:
        return own_file.rows(where, seed or 0)
    except ValueError as error:
        raise FlagError('--problem: %s' % error) from error


def _check_names(only, names):
    """Raises a FlagError where --only names what is not there."""
    for name in only:
        if name not in names:
            raise FlagError('--only: no chosen problem is called %s%s; there %s %s' % (
                name, suggestion(name, names), 'are' if len(names) > 1 else 'is',
                ', '.join(names)))


def _named(sets):
    """The rows of pairs (name of a set, its rows), each with a name of its own."""
    named: Dict[str, Row] = {}
    for set_name, rows in sets:
        for index, row in enumerate(rows):
            name = row.name or (set_name if len(rows) == 1 else '%s %d' % (set_name, index))
            if name in named:
                name = '%s: %s' % (set_name, name)
            while name in named:
                name += '\''
            named[name] = row._replace(name=name)
    return list(named.values())


def _rows_of(values, problem_set, script, seed):
    """The rows of one problem set, for meta-training or for tests."""
    return (problem_set.training if script == METARUN else problem_set.testing)(
        data_source(values), seed)


def validation_rows(values: FlagValues, seed: Optional[int]) -> List[Row]:
    """The rows of all problem sets that are chosen for the validation."""
    return [row for problem_set in problem_sets.including(_validation_sets(values)).values()
            for row in _rows_of(values, problem_set, METARUN, seed)]


def _validation_sets(values):
    return [name for name in problem_sets.PROBLEM_SETS
            if getattr(values, include_in_validation(name), False)]


def as_dict(values: FlagValues, script: str) -> Dict[str, Any]:
    """The values of the script's own flags, without the problem sets that were not chosen."""
    names = [flag.name for flag in FLAGS if script in flag.defaults]
    included = {include(name): True for name in chosen_sets(values)}
    if script == METARUN:
        included.update({include_in_validation(name): True for name in _validation_sets(values)})
    return dict({name: getattr(values, name) for name in names}, **included)
