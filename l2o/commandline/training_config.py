"""From flags to the records of a meta-training, `MetaTraining` and `Run`."""

from typing import Optional

from absl.flags import FlagValues

from l2o.commandline import optimizer_flags, problem_flags
from l2o.commandline.flags import FlagError
from l2o.metatraining import keywords
from l2o.metatraining.config import MetaTraining, Run
from l2o.runs.machines import OneMachine


def meta_training(values: FlagValues, seed: Optional[int]) -> MetaTraining:
    """What is learned: the `MetaTraining`.

    Args:
      values: of the flags.
      seed: of the run.

    Raises:
      FlagError: flags that do not go together.
    """
    optimizer_flags.xla(values)
    words = keywords.Keywords(**{name: getattr(values, name) for name in keywords.Keywords._fields})
    try:
        return keywords.meta_training(words, seed, problem_flags.validation_rows(values, seed))
    except ValueError as error:
        raise FlagError('--%s' % error) from error


def run(values: FlagValues, seed: Optional[int], machine: OneMachine) -> Run:
    """How it is carried out: the `Run`."""
    return Run(seed=seed, resume=not values.overwrite, save_period=values.save_period,
               keep_checkpoints=values.keep_checkpoints, machine=machine)
