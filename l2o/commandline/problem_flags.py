"""What is made from the flags of problems: the chosen sets and their rows."""

from typing import Any, Dict, List, Optional

from absl.flags import FlagValues

from l2o.commandline.flags import FLAGS, METARUN, FlagError, include, include_in_validation
from problems import problem_sets
from problems.image_files import DataSource
from problems.problem_spec import Row


def chosen_sets(values: FlagValues) -> List[str]:
    """Names of the problem sets that the flags include."""
    chosen = [name for name in problem_sets.PROBLEM_SETS
              if getattr(values, include(name), False)]
    if not chosen:
        raise FlagError('no problem set is chosen: give at least one --include_<set>_problems, '
                        'for instance --include_mnist_mlp_problems')
    return chosen


def data_source(values: FlagValues) -> DataSource:
    """The `DataSource` of all problem sets."""
    names = {values.image_source, values.mnist_source} - {'auto'}
    if len(names) > 1:
        raise FlagError('--image_source=%s and --mnist_source=%s contradict each other: give one '
                        'of them' % (values.image_source, values.mnist_source))
    return DataSource(names.pop() if names else 'auto', values.data_dir or None,
                      values.text_file or None)


def problems_and_data(values: FlagValues, script: str, seed: Optional[int] = None) -> List[Row]:
    """The rows of all chosen problem sets; for tests every row has a name.

    Data that are drawn come from the seed, if there is one, and for tests so do problems: training
    draws each problem anew.
    """
    sets = [(name, _rows_of(values, problem_set, script, seed))
            for name, problem_set in problem_sets.including(chosen_sets(values)).items()]
    if script == METARUN:
        return [row for _, rows in sets for row in rows]
    named = _named(sets)
    return [row._replace(spec=row.spec.seeded(None if seed is None else seed + index))
            for index, row in enumerate(named)]


def _named(sets):
    """The rows of pairs (name of a set, its rows), each with a name of its own."""
    named = {}
    for set_name, rows in sets:
        for index, row in enumerate(rows):
            name = row.name or (set_name if len(rows) == 1 else '%s %d' % (set_name, index))
            if name in named:
                name = '%s: %s' % (set_name, name)
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
