"""How far a meta-training has come, and the file that lets it go on after an interruption."""

import io
import json
import os

import numpy as np

from runs import run_files

_COUNTERS = ('problem', 'iteration', 'meta_iterations', 'unrolls', 'nonfinite_unrolls',
             'nonfinite_streak')


class Progress:
    """What goes on from meta-iteration to meta-iteration and from problem to problem.

    All random numbers of meta-iteration i are functions of the run's seed and i (`generator`), so
    that no state of a random generator needs saving.

    Args:
      curriculum: a `techniques.curriculum.Curriculum`.
      seed: of the run.
      task: index of the worker; each draws random numbers of its own.

    Attributes:
      problem: index of the current draw of a problem.
      iteration: meta-iterations done on it.
      meta_iterations: meta-iterations done in all.
      unrolls: unrolls done in all.
      nonfinite_unrolls: those whose meta-objective or meta-gradient was not finite.
      nonfinite_streak: the last so many meta-iterations had no other ones.
      values: dict from names to arrays: meta-parameters and the meta-optimizer's slots.
      best: the same, as they were at the best validation of the current stage.
      carried: list of arrays, the optimizer's state where episodes go on with it.
      best_cost: of that validation.
      complete: whether the run has come to its end.
    """

    def __init__(self, curriculum, seed, task=0):
        self.curriculum = curriculum
        self.seed, self._task = seed, task
        self.problem = self.iteration = self.meta_iterations = self.unrolls = 0
        self.nonfinite_unrolls = self.nonfinite_streak = 0
        self.values, self.best, self.carried = {}, {}, []
        self.best_cost = np.inf
        self.complete = False

    def generator(self, *words):
        """A `RandomState` of its own for each sequence of whole numbers `words`."""
        own = (self._task,) if self._task else ()
        return np.random.RandomState(np.array((self.seed,) + words + own, 'uint32'))

    def next_problem(self):
        """Goes on to the next draw of a problem."""
        self.problem, self.iteration = self.problem + 1, 0

    def save(self, folder):
        """Writes the state; at any moment the file holds either the old or the new one, whole.

        Raises:
          OSError: it cannot be written; the old one stays.
        """
        facts = {name: getattr(self, name) for name in _COUNTERS + ('complete',)}
        facts['best_cost'] = None if np.isinf(self.best_cost) else float(self.best_cost)
        arrays = {'values/' + name: value for name, value in self.values.items()}
        arrays.update({'best/' + name: value for name, value in self.best.items()})
        arrays.update({'carried/%06d' % index: value for index, value in enumerate(self.carried)})
        facts = json.dumps(dict(facts, curriculum=self.curriculum.state(), seed=self.seed))
        content = io.BytesIO()
        np.savez(content, facts=np.array(facts), **arrays)
        run_files.write(os.path.join(folder, run_files.STATE), content.getvalue())

    def restore(self, folder):
        """Goes on from a saved state, if there is one; tells whether.

        Raises:
          ValueError: the file is damaged, or of a run with another curriculum or seed.
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

    def check(self, expected):
        """Checks the restored values against dict `expected`, names to (shape, numpy type).

        Raises:
          ValueError: they are not of this optimizer, or not of this meta-optimizer.
        """
        for values in filter(None, (self.values, self.best)):
            found = {name: (value.shape, value.dtype) for name, value in values.items()}
            wrong = sorted(name for name in set(found) | set(expected)
                           if found.get(name) != expected.get(name))
            if wrong:
                raise ValueError('%s is of another optimizer: it differs in %s'
                                 % (run_files.STATE, ', '.join(wrong[:5])))

    def _take(self, facts, arrays):
        if facts['seed'] != self.seed:
            raise ValueError('it is of seed %s, not %s' % (facts['seed'], self.seed))
        if not all(_is_count(facts[name]) for name in _COUNTERS):
            raise ValueError('its counters are no numbers')
        for name in _COUNTERS:
            setattr(self, name, facts[name])
        self.complete = bool(facts['complete'])
        self.best_cost = np.inf if facts['best_cost'] is None else float(facts['best_cost'])
        self.values = _under('values/', arrays)
        self.best = _under('best/', arrays)
        carried = _under('carried/', arrays)
        self.carried = [carried[name] for name in sorted(carried)]
        self.curriculum.restore(facts['curriculum'])


def _is_count(value):
    return isinstance(value, int) and 0 <= value < 2 ** 63


def _under(prefix, arrays):
    return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}
