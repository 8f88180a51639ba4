"""Validation: how good meta-parameters are, from starts that stay the same."""

from typing import NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import Validation
from l2o.metatraining.drawing import draw_initial_params, draw_key, draw_seed
from l2o.metatraining.examples import Examples
from l2o.runs.machines import Feed
from optimizer import unroll
from optimizer.trainable_optimizer import TrainableOptimizer
from problems.problem import Problem


def mean(losses: Sequence[float], config: Validation) -> float:
    """The mean loss."""
    del config
    return float(np.mean(losses))


def mean_log(losses: Sequence[float], config: Validation) -> float:
    """The mean natural logarithm of losses between `config.floor` and 1000, which also stands for
    what is not finite: losses of different size count alike."""
    losses = np.nan_to_num(np.asarray(losses, 'float64'), nan=np.inf)
    return float(np.mean(np.log(np.clip(losses, config.floor, 1e3))))


#: Name -> function (losses, `Validation`) -> the cost of a validation.
SCORES = {'mean': mean, 'mean_log': mean_log}


class ValidationPoint(NamedTuple):
    """Where a validation begins, and what decides its batches and noise."""

    params: list  # arrays
    seed: int
    planned: bool = True  # whether the optimizer is told the number of steps


class ValidatedProblem:
    """The run of an optimizer on a problem from its own initial values, without a meta-gradient.

    Args:
      optimizer: a `TrainableOptimizer`.
      problem: a `Problem`.
      examples: its `Examples`.
      initial_params: how to begin, see `MetaTraining`.
    """

    def __init__(self, optimizer: TrainableOptimizer, problem: Problem, examples: Examples,
                 initial_params: str) -> None:
        self._problem, self._examples = problem, examples
        self._initial_params = initial_params
        self._rollout = unroll.build_rollout(optimizer, problem, examples.variables)
        self._planned_steps = optimizer.planned_steps

    def draw_point(self, rng: np.random.RandomState, planned: bool = True) -> ValidationPoint:
        """A `ValidationPoint`."""
        return ValidationPoint(draw_initial_params(self._problem, self._initial_params, rng),
                               draw_seed(rng), planned)

    def final_objective(self, session: tf.Session, point: ValidationPoint, steps: int,
                        frozen: Feed) -> float:
        """The objective on all examples in use after so many steps from a `ValidationPoint`.

        `frozen` is what to feed beside, so that meta-parameters have certain values.
        """
        rollout, rng = self._rollout, np.random.RandomState(point.seed)
        feed = dict(frozen)
        feed.update(zip(rollout.initial_params, point.params))
        feed[rollout.batches] = self._examples.batches(steps, rng)
        feed[rollout.random_key] = draw_key(rng)
        if self._planned_steps is not None:
            feed[self._planned_steps] = steps if point.planned else 0
        return session.run(rollout.final_objective, feed)


class Validator:
    """Validations on some problems, all from the same initial values with the same batches.

    Where the optimizer can be told how many steps there are, it is in every other epoch.

    Args:
      problems: list of `ValidatedProblem`.
      config: a `Validation`.
      rng: draws the starts.
    """

    def __init__(self, problems: Sequence[ValidatedProblem], config: Validation,
                 rng: np.random.RandomState) -> None:
        self._config = config
        self._starts = [(problem, problem.draw_point(rng, planned=epoch % 2 == 0))
                        for problem in problems for epoch in range(config.epochs)]

    def cost(self, session: tf.Session, steps: int, frozen: Feed) -> float:
        """The score of the losses after so many steps.

        Args:
          session: where the problems are.
          steps: how many.
          frozen: what to feed, so that meta-parameters have certain values.
        """
        losses = [problem.final_objective(session, point, steps, frozen)
                  for problem, point in self._starts]
        return SCORES[self._config.score](losses, self._config)
