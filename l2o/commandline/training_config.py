"""From flags to the records of a meta-training, `MetaTraining` and `Run`."""

from typing import Optional, Sequence

from absl.flags import FlagValues

from l2o import settings
from l2o.commandline import optimizer_flags, problem_flags
from l2o.commandline.flags import METARUN, FlagError
from l2o.metatraining import inherited, options
from l2o.metatraining.config import MetaTraining, Run
from l2o.runs.machines import OneMachine
from problems.problem_spec import Row


def meta_training(values: FlagValues, seed: Optional[int]) -> MetaTraining:
    """What is learned: the `MetaTraining`; of a run that begins with another one, see `begun_with`.

    Args:
      values: of the flags.
      seed: of the run.

    Raises:
      FlagError: flags that do not go together.
    """
    optimizer_flags.xla(values)
    if values.meta_gradient == 'pes' and not values.use_second_derivatives:
        raise FlagError('--use_second_derivatives=False does not go with --meta_gradient=pes, '
                        'which takes no derivatives')
    words = {name: getattr(values, name) for name in settings.settings()}
    try:
        training = options.changed(MetaTraining(), words)
        options.check(training)
    except ValueError as error:
        raise FlagError('--%s' % error) from error
    validated = tuple(problem_flags.validation_rows(values, seed))
    return training._replace(validation=training.validation._replace(rows=validated))


def begun_with(values: FlagValues, training: MetaTraining, rows: Sequence[Row]) -> MetaTraining:
    """The training with the settings of that with which it begins, but for flags that are given.

    Args:
      values: of the flags.
      training: as the flags alone make it.
      rows: the problems that are trained on.

    Raises:
      FlagError: flags that do not go together with these settings.
    """
    if not values.begin_with:
        return training
    given = {name: getattr(values, name) for name in settings.settings() if values[name].present}
    try:
        words = inherited.words(values.begin_with, given, rows, values.num_meta_iterations)
        training = options.changed(training, dict(words, **given))
        options.check(training)
    except ValueError as error:
        raise FlagError('--%s' % error) from error
    return training


def run(values: FlagValues, seed: Optional[int], machine: OneMachine) -> Run:
    """How it is carried out: the `Run`."""
    words = {setting.field: getattr(values, setting.name) for setting in settings.RUN}
    return Run(seed=seed, resume=not values.overwrite, machine=machine, script=METARUN,
               flags=problem_flags.as_dict(values, METARUN), **words)
