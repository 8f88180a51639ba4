"""Whether a run goes on from what its folder holds, and with which seed."""

import contextlib
import os
from typing import Any, ContextManager, Sequence

import numpy as np
from absl.flags import FlagValues

from l2o.commandline import problem_flags
from l2o.commandline.flags import FLAGS, FREE, METARUN, FlagError
from l2o.metatraining import meta_step, record
from l2o.metatraining.config import MetaTraining
from l2o.metatraining.progress import Progress
from l2o.metatraining.store import Store
from l2o.runs import run_files, run_lock, run_record
from l2o.runs.machines import OneMachine
from problems.problem_spec import Row, Spec


def find_seed(values: FlagValues, folder: str, machine: OneMachine) -> int:
    """The seed: the flag's, that of the run that goes on, or a drawn one.

    Raises:
      FlagError: the folder holds a run that was made with other flags.
    """
    found = None if values.overwrite else _recorded(folder)
    if found is None and values.seed == -1:
        drawn = int(np.random.RandomState().randint(2 ** 31 - 1))
        return drawn if machine.seed is None else machine.seed
    if found is None:
        return values.seed
    if found.get('script', METARUN) != METARUN:
        raise FlagError('--train_dir: the run in %s was made by %s, which can go on with it; '
                        '--overwrite begins anew' % (folder, found['script']))
    # A flag that the run's version did not have stood at its default.
    recorded = {flag.name: flag.defaults[METARUN] for flag in FLAGS if METARUN in flag.defaults}
    recorded.update(found['flags'])
    others = run_record.differences(recorded, problem_flags.as_dict(values, METARUN), FREE)
    if values.seed not in (-1, found['seed']):
        others.append('--seed=%d, now %d' % (found['seed'], values.seed))
    if others:
        raise FlagError('--train_dir: the run in %s was made with other flags (%s); '
                              '--overwrite begins anew' % (folder, '; '.join(others)))
    return found['seed']


def _recorded(folder):
    """The record of the run that the folder holds; None where it holds none."""
    if not os.path.exists(os.path.join(folder, run_files.STATE)):
        return None
    try:
        return run_record.read(folder)
    except ValueError as error:
        raise FlagError('--train_dir: %s' % error) from error


def check_state(values: FlagValues, folder: str, spec: Spec, rows: Sequence[Row],
                training: MetaTraining, seed: int) -> None:
    """Reads the saved state once, so that a damaged one is found before anything is run."""
    if values.overwrite:
        return
    described = record.described(spec, rows, training, values.num_problems,
                                 values.num_meta_iterations, select_random_problems=True)
    try:
        Store(folder, described, 0, writes=False).restore(
            Progress(seed), None, lambda: meta_step.saved_types(
                spec.build, training.meta_optimizer, training.imitates_apart))
    except ValueError as error:
        raise FlagError('%s; --overwrite begins anew' % error) from error


def lock(folder: str) -> ContextManager[Any]:
    """The lock of a run's folder, held from now to the end of the block.

    Raises:
      FlagError: another run is at work in the folder, or it cannot be written.
    """
    ends = contextlib.ExitStack()
    try:
        ends.enter_context(run_lock.held(folder))
    except run_lock.FolderInUseError as error:
        raise FlagError('--train_dir: %s' % error) from error
    except OSError as error:
        raise FlagError('--train_dir: cannot write %s: %s' % (
            error.filename or folder, error.strerror)) from error
    return ends
