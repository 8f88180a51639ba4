"""How far a meta-training has come, and the file that lets it go on after an interruption."""

import io
import itertools
import json
import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from l2o.metatraining.config import upgraded
from l2o.runs import run_files
from l2o.techniques.curriculum import CurriculumState

_COUNTERS = ('problem', 'iteration', 'meta_iterations', 'unrolls', 'nonfinite_unrolls',
             'nonfinite_streak', 'imitated')

SHOWN = 3  # of the differences between two trainings


class Progress:
    """What changes from meta-iteration to meta-iteration and from problem to problem.

    All random numbers of meta-iteration i are functions of the run's seed and i (`generator`), so
    that no state of a random generator needs saving.

    Args:
      seed: of the run.
      task: index of the worker; each draws random numbers of its own.
      training: what `config.as_data` makes of the run's `MetaTraining`.

    Attributes:
      curriculum: the `CurriculumState`.
      problem: index of the current draw of a problem.
      iteration: meta-iterations done on it.
      meta_iterations: meta-iterations done in all.
      unrolls: unrolls done in all.
      nonfinite_unrolls: those whose meta-objective or meta-gradient was not finite.
      nonfinite_streak: the last so many meta-iterations had no other ones.
      imitated: episodes that have imitated a teacher.
      values: dict from names to arrays: meta-parameters and the meta-optimizer's slots.
      best: the same, as they were at the best validation of what was trained on these problems.
      best_cost: of that validation.
      baseline_cost: of the validation before anything was trained on these problems.
      carried: for each problem a list of arrays, the optimizer's state, where episodes go on
        with it.
      complete: whether the run has come to its end.
    """

    def __init__(self, seed: int, task: int = 0, training: Any = None) -> None:
        self.seed, self._task, self._training = seed, task, training
        self.curriculum = CurriculumState()
        self.problem = self.iteration = self.meta_iterations = self.unrolls = 0
        self.nonfinite_unrolls = self.nonfinite_streak = self.imitated = 0
        self.values: Dict[str, np.ndarray] = {}
        self.best: Dict[str, np.ndarray] = {}
        self.carried: List[List[np.ndarray]] = []
        self.best_cost = self.baseline_cost = np.inf
        self.complete = False

    def generator(self, *words: int) -> np.random.RandomState:
        """A `RandomState` of its own for each sequence of whole numbers `words`."""
        own = (self._task,) if self._task else ()
        return np.random.RandomState(np.array((self.seed,) + words + own, 'uint32'))

    @property
    def trained_is_best(self) -> bool:
        """Whether what was trained is at least as good as what it began with."""
        return bool(self.best) and self.best_cost <= self.baseline_cost

    def next_problem(self) -> None:
        """Goes on to the next draw of a problem."""
        self.problem, self.iteration = self.problem + 1, 0

    def save(self, folder: str) -> None:
        """Writes the state; at any moment the file holds either the old or the new one, whole.

        Raises:
          OSError: it cannot be written; the old one stays.
        """
        facts = {name: getattr(self, name) for name in _COUNTERS + ('complete', 'seed')}
        facts.update(best_cost=_finite_or_none(self.best_cost), training=self._training,
                     baseline_cost=_finite_or_none(self.baseline_cost),
                     curriculum=dict(self.curriculum._asdict(), best_cost=_finite_or_none(
                         self.curriculum.best_cost)))
        arrays = {'values/' + name: value for name, value in self.values.items()}
        arrays.update({'best/' + name: value for name, value in self.best.items()})
        arrays.update({'carried/%06d/%06d' % (problem, index): value
                       for problem, state in enumerate(self.carried)
                       for index, value in enumerate(state)})
        content = io.BytesIO()
        np.savez(content, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
        run_files.write(os.path.join(folder, run_files.STATE), content.getvalue())

    def restore(self, folder: str) -> bool:
        """Goes on from a saved state, if there is one; tells whether.

        Raises:
          ValueError: the file is damaged, or of a run with another seed or training.
        """
        path = os.path.join(folder, run_files.STATE)
        if not os.path.exists(path):
            return False
        try:
            with np.load(path, allow_pickle=False) as arrays:
                facts = json.loads(str(arrays['facts']))
                self._take(facts, {name: arrays[name] for name in arrays.files})
        except Exception as error:  # whatever zip and json make of a damaged file
            raise ValueError('%s cannot be used to go on: %s: %s' % (
                path, type(error).__name__, error)) from error
        return True

    def check(self, expected: Dict[str, Tuple[Tuple[int, ...], Any]]) -> None:
        """Checks the restored values against dict `expected`, names to (shape, numpy type).

        Raises:
          ValueError: they are not of this optimizer, or not of this meta-optimizer.
        """
        for values, names in ((self.values, set(expected)), (self.best, set(self.best))):
            found = {name: (value.shape, value.dtype) for name, value in values.items()}
            wrong = values and sorted(name for name in set(found) | names
                                      if found.get(name) != expected.get(name))
            if wrong:
                raise ValueError('%s is of another optimizer: it differs in %s'
                                 % (run_files.STATE, ', '.join(wrong[:5])))

    def _take(self, facts, arrays):
        facts = dict({'imitated': 0}, **facts)  # older states lack it
        if facts['seed'] != self.seed:
            raise ValueError('it is of seed %s, not %s' % (facts['seed'], self.seed))
        recorded = facts['training']
        if recorded and self._training:
            recorded = upgraded(recorded, self._training)
        changed = differences(recorded, self._training)
        if changed:
            more = len(changed) - SHOWN
            raise ValueError('it is of another training: %s%s' % (
                '; '.join(changed[:SHOWN]), '; and %d more' % more if more > 0 else ''))
        if not all(_is_count(facts[name]) for name in _COUNTERS):
            raise ValueError('its counters are no numbers')
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        self.complete = bool(facts['complete'])
        self.best_cost = _number_or_infinity(facts['best_cost'])
        self.baseline_cost = _number_or_infinity(facts['baseline_cost'])
        self.curriculum = _curriculum_state(facts['curriculum'])
        stages = facts['training'] and facts['training']['curriculum']['stages']
        if stages and self.curriculum.stage >= len(stages):
            raise ValueError('the curriculum has no stage %d' % self.curriculum.stage)
        self.values = _under('values/', arrays)
        self.best = _under('best/', arrays)
        carried = _under('carried/', arrays)
        self.carried = [[carried[name] for name in sorted(names)] for _, names in itertools.groupby(
            sorted(carried), lambda name: name.split('/')[0])]


def saved_facts(folder: str) -> Optional[Dict[str, Any]]:
    """The numbers and settings of the state that a run has saved in its folder: a dict.

    None where there is no state that can be read.
    """
    try:
        with np.load(os.path.join(folder, run_files.STATE), allow_pickle=False) as arrays:
            return json.loads(str(arrays['facts']))
    except Exception:  # no file, or whatever zip and json make of a damaged one
        return None


def differences(recorded: Any, present: Any, name: str = '') -> List[str]:
    """Where two nests of dicts and lists differ, in words: a list such as `['x.1 was 3, is 2']`."""
    lists = isinstance(recorded, list) and isinstance(present, list)
    if lists and len(recorded) == len(present):
        recorded, present = ({str(index): value for index, value in enumerate(values)}
                             for values in (recorded, present))
    if isinstance(recorded, dict) and isinstance(present, dict):
        found = []
        for key in sorted(set(recorded) | set(present)):
            found += differences(recorded.get(key), present.get(key),
                                 '%s.%s' % (name, key) if name else key)
        return found
    return [] if recorded == present else ['%s was %s, is %s' % (name, recorded, present)]


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
