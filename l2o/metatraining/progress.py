"""How far a meta-training has come."""

from typing import Dict, List

import numpy as np

from l2o.techniques.curriculum import CurriculumState

#: First words of the sequences that number a run's random generators, see `Progress.generator`.
DRAWS, PROBLEM, VALIDATION, EPISODE = range(4)


class Progress:
    """What changes from meta-iteration to meta-iteration and from problem to problem.

    All random numbers of meta-iteration i are functions of the run's seed and i (`generator`), so
    that no state of a random generator needs saving.

    Args:
      seed: of the run.
      task: index of the worker; each draws random numbers of its own.

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
      validation_steps: how long the runs of the last validation were.
      complete: whether the run has come to its end.
    """

    def __init__(self, seed: int, task: int = 0) -> None:
        self.seed, self._task = seed, task
        self.curriculum = CurriculumState()
        self.problem = self.iteration = self.meta_iterations = self.unrolls = 0
        self.nonfinite_unrolls = self.nonfinite_streak = self.imitated = self.validation_steps = 0
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
