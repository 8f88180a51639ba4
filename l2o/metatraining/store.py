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
from optimizer import checkpoints, find

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
      described: what is trained and how, as JSON can hold it; a run that goes on must agree in
        all of it. Under 'training' is what `config.as_data` makes of the `MetaTraining`.
      keep_checkpoints: how many of the latest validated meta-parameters are kept; -1: all.
      writes: whether this process saves.

    Attributes:
      folder: as given; `described` and `writes` likewise.
    """

    def __init__(self, folder: str, described: Dict[str, Any], keep_checkpoints: int,
                 writes: bool) -> None:
        self.folder, self.described = folder, described
        self._keep, self.writes = keep_checkpoints, writes

    @property
    def best_checkpoint(self) -> str:
        """The path of the best meta-parameters."""
        return os.path.join(self.folder, BEST_CHECKPOINT)

    def lock(self) -> ContextManager[Any]:
        """Until the end of the block nobody else saves in the folder; see `run_lock.held`."""
        return run_lock.held(self.folder) if self.writes else contextlib.nullcontext()

    def begin(self, resume: bool) -> None:
        """Makes the folder; removes what a killed process has left, or with it all of a run."""
        os.makedirs(self.folder, exist_ok=True)
        if self.writes:
            (run_files.tidy if resume else run_files.discard)(self.folder)

    def restore(self, progress: Progress, begin_with: Optional[str],
                find_expected: Callable[[], SavedTypes]) -> Optional[str]:
        """Goes on from a saved state; without one, begins with a checkpoint, if there is any.

        That is `begin_with`, else the folder's newest: the one which the file `checkpoint` names,
        else the one that was written last. The checkpoints that are there then are of another run:
        they are kept, as `before-<name>`.

        Args:
          progress: a new `Progress`.
          begin_with: folder of a run or name of a shipped optimizer, of which the meta-parameters
            are taken alone; or None.
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
        newest = checkpoints.latest_checkpoint(self.folder)
        if newest is None or not os.path.samefile(os.path.dirname(newest), self.folder):
            newest = run_files.newest_checkpoint(self.folder)
        if begin_with is not None:
            expected = find_expected()
            begin_with = checkpoints.checkpoint_in(find(begin_with))
            fitting = _fitting(begin_with, checkpoints.read_checkpoint(begin_with), expected)
            progress.values = {name: fitting[name] for name in expected.meta_parameters}
        elif newest is not None:
            progress.values = _fitting(newest, checkpoints.read_checkpoint(newest),
                                       find_expected())
        aside = {}
        if newest is not None and self.writes:
            aside = run_files.set_checkpoints_aside(self.folder)
        if begin_with is not None or newest is None:
            return begin_with
        name = os.path.basename(newest)
        return os.path.join(self.folder, aside.get(name, name)) if self.writes else newest

    def save_best(self, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters."""
        self._write(0, values)

    def read_best(self) -> Optional[Dict[str, np.ndarray]]:
        """The best meta-parameters that are saved; None: this process saves none."""
        return checkpoints.read_checkpoint(self.best_checkpoint) if self.writes else None

    def save_validated(self, meta_iterations: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the meta-parameters of a validation, and removes old ones."""
        if self._keep:
            self._write(meta_iterations, values)
        if self.writes and self._keep >= 0:
            run_files.keep_latest(self.folder, self._keep)

    def save_best_of_stage(self, stage: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters of a curriculum's stage, an index from 0."""
        self._write(stage + 1, values)

    def save(self, progress: Progress) -> None:
        """Writes what the run needs to go on; at any moment the file is whole, old or new.

        Raises:
          OSError: it cannot be written; the old one stays.
        """
        if not self.writes:
            return
        facts = {name: getattr(progress, name) for name in _COUNTERS + ('complete', 'seed')}
        facts.update(self.described, best_cost=_finite_or_none(progress.best_cost),
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
        run_files.write(os.path.join(self.folder, run_files.STATE), content.getvalue())

    def _restore_state(self, progress):
        """Goes on from a saved state, if there is one; tells whether."""
        path = os.path.join(self.folder, run_files.STATE)
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
        present = self.described
        changed = config.differences(config.upgraded(facts['training'], present['training']),
                                     present['training'])
        for name in sorted(set(present) - {'training'}):
            if name in facts:  # an older version has not recorded all
                changed += config.differences(facts[name], present[name], name)
        if changed:
            more = len(changed) - SHOWN
            raise ValueError('it is of another training: %s%s; choose another folder, or begin '
                             'anew (resume=False)' % ('; '.join(changed[:SHOWN]),
                                                      '; and %d more' % more if more > 0 else ''))

    def _write(self, number, values):
        if self.writes:
            run_files.write_checkpoint(self.folder, number, values)


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


def has_ended(folder: str) -> bool:
    """Whether the run in a folder has come to its end."""
    facts = saved_facts(folder)
    return facts is not None and _has_ended(facts)


def unfinished(folder: str) -> str:
    """Of a run that has not come to its end how far it is, in words; else ''."""
    facts = saved_facts(folder)
    return '' if facts is None or _has_ended(facts) else (
        '%s was stopped after %d of %d meta-iterations; the command that made it goes on with it'
        % (folder, facts['meta_iterations'], _length(facts)))


def _has_ended(facts):
    return bool(facts['complete'] or facts['meta_iterations'] >= _length(facts))


def _length(facts):
    return facts['num_problems'] * facts['num_meta_iterations']


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
