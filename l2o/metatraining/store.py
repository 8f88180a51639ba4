"""What a run keeps in its folder while it trains: its state, and checkpoints."""

import contextlib
import io
import itertools
import json
import os
from typing import Any, Callable, ContextManager, Dict, Optional

import numpy as np

from l2o.metatraining import config
from l2o.metatraining.meta_step import SavedTypes
from l2o.metatraining.progress import Progress
from l2o.runs import run_files, run_lock
from l2o.techniques.curriculum import CurriculumState
from optimizer import checkpoints

BEST_CHECKPOINT = run_files.CHECKPOINT + '-0'

_COUNTERS = ('problem', 'iteration', 'meta_iterations', 'unrolls', 'nonfinite_unrolls',
             'nonfinite_streak', 'imitated')

SHOWN = 3  # of the differences between two trainings


class Store:
    """A run's folder.

    `model.ckpt-0` holds the best meta-parameters of the run. Without a curriculum those of every
    validation are kept as `model.ckpt-<meta-iterations done>`; with one the best of stage i,
    counted from 1, as `model.ckpt-<i>`.

    Args:
      folder: created with the first writing.
      training: what `config.as_data` makes of the run's `MetaTraining`.
      keep_checkpoints: how many of the latest validated meta-parameters are kept; -1: all.
      writes: whether this process saves.
    """

    def __init__(self, folder: str, training: Dict[str, Any], keep_checkpoints: int,
                 writes: bool) -> None:
        self._folder, self._training = folder, training
        self._keep, self._writes = keep_checkpoints, writes

    @property
    def best_checkpoint(self) -> str:
        """The path of the best meta-parameters."""
        return os.path.join(self._folder, BEST_CHECKPOINT)

    def lock(self) -> ContextManager[Any]:
        """Until the end of the block nobody else saves in the folder; see `run_lock.held`."""
        return run_lock.held(self._folder) if self._writes else contextlib.nullcontext()

    def begin(self, resume: bool) -> None:
        """Makes the folder; removes what a killed process has left, or with it all of a run."""
        os.makedirs(self._folder, exist_ok=True)
        if self._writes:
            (run_files.tidy if resume else run_files.discard)(self._folder)

    def restore(self, progress: Progress, find_expected: Callable[[], SavedTypes]) -> Optional[str]:
        """Goes on from a saved state; without one, begins with the newest checkpoint, if any.

        That is the one which the file `checkpoint` names, else the one that was written last. The
        checkpoints that are there then are of another run: they are kept, as `before-<name>`.

        Args:
          progress: a new `Progress`.
          find_expected: gives the `meta_step.SavedTypes` of the run; called where there is
            something to check.

        Returns:
          the path of the checkpoint with which a new run begins, or None.

        Raises:
          ValueError: the state or the checkpoint is damaged or of another optimizer, or the state
            is of a run with another seed or training.
        """
        if self._restore_state(progress):
            _check_types(progress, find_expected().types)
            return None
        newest = checkpoints.latest_checkpoint(self._folder)
        if newest is None or not os.path.samefile(os.path.dirname(newest), self._folder):
            newest = run_files.newest_checkpoint(self._folder)
        if newest is None:
            return None
        progress.values = _fitting(newest, checkpoints.read_checkpoint(newest),
                                   find_expected())
        if not self._writes:
            return newest
        name = os.path.basename(newest)
        return os.path.join(self._folder,
                            run_files.set_checkpoints_aside(self._folder).get(name, name))

    def save_best(self, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters."""
        self._write(0, values)

    def read_best(self) -> Optional[Dict[str, np.ndarray]]:
        """The best meta-parameters that are saved; None: this process saves none."""
        return checkpoints.read_checkpoint(self.best_checkpoint) if self._writes else None

    def save_validated(self, meta_iterations: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the meta-parameters of a validation, and removes old ones."""
        if self._keep:
            self._write(meta_iterations, values)
        if self._writes and self._keep >= 0:
            run_files.keep_latest(self._folder, self._keep)

    def save_best_of_stage(self, stage: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters of a curriculum's stage, an index from 0."""
        self._write(stage + 1, values)

    def save(self, progress: Progress) -> None:
        """Writes what the run needs to go on; at any moment the file is whole, old or new.

        Raises:
          OSError: it cannot be written; the old one stays.
        """
        if not self._writes:
            return
        facts = {name: getattr(progress, name) for name in _COUNTERS + ('complete', 'seed')}
        facts.update(best_cost=_finite_or_none(progress.best_cost), training=self._training,
                     baseline_cost=_finite_or_none(progress.baseline_cost),
                     curriculum=dict(progress.curriculum._asdict(), best_cost=_finite_or_none(
                         progress.curriculum.best_cost)))
        arrays = {'values/' + name: value for name, value in progress.values.items()}
        arrays.update({'best/' + name: value for name, value in progress.best.items()})
        arrays.update({'carried/%06d/%06d' % (problem, index): value
                       for problem, state in enumerate(progress.carried)
                       for index, value in enumerate(state)})
        content = io.BytesIO()
        np.savez(content, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
        run_files.write(os.path.join(self._folder, run_files.STATE), content.getvalue())

    def _restore_state(self, progress):
        """Goes on from a saved state, if there is one; tells whether."""
        path = os.path.join(self._folder, run_files.STATE)
        if not os.path.exists(path):
            return False
        try:
            with np.load(path, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays['facts']))
                self._check_run(facts, progress)
                _take(progress, facts, {name: arrays[name] for name in arrays.files})
        except Exception as error:  # whatever zip and json make of a damaged file
            raise ValueError('%s cannot be used to go on: %s: %s' % (
                path, type(error).__name__, error)) from error
        return True

    def _check_run(self, facts, progress):
        """Raises a ValueError where a state is of another run."""
        if facts['seed'] != progress.seed:
            raise ValueError('it is of seed %s, not %s' % (facts['seed'], progress.seed))
        changed = config.differences(config.upgraded(facts['training'], self._training),
                                     self._training)
        if changed:
            more = len(changed) - SHOWN
            raise ValueError('it is of another training: %s%s' % (
                '; '.join(changed[:SHOWN]), '; and %d more' % more if more > 0 else ''))

    def _write(self, number, values):
        if self._writes:
            run_files.write_checkpoint(self._folder, number, values)


def _fitting(path, values, expected):
    """The values of a checkpoint that a run can begin with: meta-parameters, and slots if any.

    Raises:
      ValueError: a meta-parameter is missing or has another shape or type.
    """
    fitting = {name: value for name, value in values.items()
               if expected.types.get(name) == (value.shape, value.dtype)}
    wrong = sorted(expected.meta_parameters - set(fitting))
    if wrong:
        raise ValueError('the checkpoint %s is of another optimizer: it does not fit %s'
                         % (path, ', '.join(wrong[:5])))
    return fitting


def saved_facts(folder: str) -> Optional[Dict[str, Any]]:
    """The numbers and settings of the state that a run has saved in its folder: a dict.

    None where there is no state that can be read.
    """
    try:
        with np.load(os.path.join(folder, run_files.STATE), allow_pickle=False) as arrays:
            return json.loads(str(arrays['facts']))
    except Exception:  # no file, or whatever zip and json make of a damaged one
        return None


def _take(progress, facts, arrays):
    """Gives a `Progress` what was saved."""
    facts = dict({'imitated': 0}, **facts)  # older states lack it
    if not all(_is_count(facts[name]) for name in _COUNTERS):
        raise ValueError('its counters are no numbers')
    for name in _COUNTERS:
        setattr(progress, name, facts[name])
    progress.complete = bool(facts['complete'])
    progress.best_cost = _number_or_infinity(facts['best_cost'])
    progress.baseline_cost = _number_or_infinity(facts['baseline_cost'])
    progress.curriculum = _curriculum_state(facts['curriculum'])
    if progress.curriculum.stage >= len(facts['training']['curriculum']['stages']):
        raise ValueError('the curriculum has no stage %d' % progress.curriculum.stage)
    progress.values = _under('values/', arrays)
    progress.best = _under('best/', arrays)
    carried = _under('carried/', arrays)
    progress.carried = [[carried[name] for name in sorted(names)] for _, names in itertools.groupby(
        sorted(carried), lambda name: name.split('/')[0])]


def _check_types(progress, expected):
    """Raises a ValueError where restored values are not of this optimizer and meta-optimizer.

    `expected`: dict from names to (shape, numpy type).
    """
    for values, names in ((progress.values, set(expected)), (progress.best, set(progress.best))):
        found = {name: (value.shape, value.dtype) for name, value in values.items()}
        wrong = values and sorted(name for name in set(found) | names
                                  if found.get(name) != expected.get(name))
        if wrong:
            raise ValueError('%s is of another optimizer: it differs in %s'
                             % (run_files.STATE, ', '.join(wrong[:5])))


def _curriculum_state(facts):
    state = CurriculumState(**dict(facts, best_cost=_number_or_infinity(facts['best_cost'])))
    if not _is_count(state.stage) or not _is_count(state.validations):
        raise ValueError('there is no such stage: %s' % facts)
    return state


def _is_count(value):
    return isinstance(value, int) and 0 <= value < 2 ** 63


def _finite_or_none(number):
    return None if np.isinf(number) else float(number)


def _number_or_infinity(fact):
    return np.inf if fact is None else float(fact)


def _under(prefix, arrays):
    return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}
