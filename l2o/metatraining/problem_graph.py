"""The tensors of one problem: what an episode runs and what a validation runs.

Both are made once and never change; each knows what must be fed for the work it stands for.
"""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import MetaTraining
from l2o.metatraining.meta_step import MetaSteps
from l2o.runs.machines import Feed, OneMachine
from l2o.techniques import evolution_strategies, imitation
from optimizer import unroll
from optimizer.trainable_optimizer import TrainableOptimizer
from problems import datasets
from problems.problem import Problem
from problems.problem_spec import Row

#: The share of the examples that no step is made on, where the meta-objective is of others.
SET_ASIDE = 0.2


class Examples:
    """The examples of a problem that are in use: variables of a graph, and how to draw from them.

    The first ones are in use, until others are loaded.

    Args:
      row: the problem's `Row`.
      limit: how many examples are in use at the most.
      set_aside: the share of them of which no batch is drawn, but only `other_batches`.

    Attributes:
      variables: `data` and `labels`, local variables.
      is_part: whether there are more examples than are in use.
    """

    def __init__(self, row: Row, limit: int, set_aside: float = 0.0) -> None:
        self._given = row, limit, set_aside
        self._dataset = row.dataset or datasets.EMPTY_DATASET
        self._size = min(limit, self._dataset.size)
        self._set_aside = int(set_aside * self._size)
        self._batch_size = min(row.batch_size or self._size, self._size - self._set_aside)
        self.is_part = self._size < self._dataset.size
        self.variables = unroll.dataset_variables(self._chosen(slice(self._size)))

    def _chosen(self, indices):
        return self._dataset._replace(data=self._dataset.data[indices],
                                      labels=self._dataset.labels[indices])

    def unchanging(self) -> 'Examples':
        """The first examples, in which no others take their place: these, where they are all."""
        return Examples(*self._given) if self.is_part else self

    def load_others(self, session: tf.Session, rng: np.random.RandomState) -> None:
        """Takes other examples into use, drawn without replacement."""
        drawn = self._chosen(rng.permutation(self._dataset.size)[:self._size])
        for variable, array in zip(self.variables, drawn):
            variable.load(array, session)

    def batches(self, count: int, rng: np.random.RandomState) -> np.ndarray:
        """Indices of the examples of so many batches, `[count, batch size]`."""
        first = self._chosen(slice(self._size - self._set_aside))
        return first.batch_indices(count, self._batch_size, rng)

    def other_batches(self, count: int, rng: np.random.RandomState) -> np.ndarray:
        """The same, of the examples that are set aside."""
        first = self._size - self._set_aside
        return first + self._chosen(slice(first, self._size)).batch_indices(
            count, min(self._batch_size, self._set_aside), rng)


class ValidationPoint(NamedTuple):
    """Where a validation begins, and what decides its batches and noise."""

    params: list  # arrays
    seed: int
    planned: bool = True  # whether the optimizer is told the number of steps


class ValidationGraph:
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


class EpisodeStart(NamedTuple):
    """Where an episode begins."""

    params: list  # arrays, of the problem in the episode's form
    feed: Feed  # what to feed in every unroll, so that the problem has this form


class ProblemGraph:
    """The unroll of an optimizer on a problem with its meta-step, and the teacher's trajectory.

    Args:
      optimizer: a `TrainableOptimizer`.
      problem: a `Problem`.
      examples: its `Examples`.
      meta_steps: the `meta_step.MetaSteps` of the graph.
      training: the `MetaTraining`.
      machine: a `l2o.runs.machines.OneMachine`.

    Attributes:
      problem: as given; `examples` likewise.
      unroll: the `optimizer.unroll.Unroll`.
      step: the `meta_step.MetaStep` on it.
      teachers: a `l2o.techniques.imitation.TeacherRun` of each; empty where nothing is imitated.
    """

    def __init__(self, optimizer: TrainableOptimizer, problem: Problem, examples: Examples,
                 meta_steps: MetaSteps, training: MetaTraining, machine: OneMachine) -> None:
        self.problem, self.examples, self._training = problem, examples, training
        penalty = training.penalty if training.penalty.ever_counts else unroll.NoPenalty()
        self._wrapped = []  # pairs (technique, the problem that it has made)
        for technique in training.wrappers.values():
            problem = technique.wrap(problem)
            self._wrapped.append((technique, problem))
        self._planned_steps, self._importance = optimizer.planned_steps, meta_steps.importance
        if training.evolution is not None:
            self.unroll = evolution_strategies.build_unroll(
                optimizer, problem, examples.variables, training.evolution,
                training.objectives_of)
        else:
            self.unroll = optimizer.train(
                problem, examples.variables, penalty,
                checkpoint_every=training.checkpoint_every, swap_memory=training.swap_memory,
                objectives_of=training.objectives_of)
        with machine.shared_variables():
            self.step = meta_steps.on(self.unroll)
        self.teachers = [] if training.imitation is None else [
            imitation.TeacherRun(teacher, training.imitation.steps_per_label, problem,
                                 examples.variables) for teacher in training.imitation.teachers]

    def draw_start(self, rng: np.random.RandomState) -> EpisodeStart:
        """An `EpisodeStart`."""
        params = draw_initial_params(self.problem, self._training.initial_params, rng)
        feed: Feed = {}
        for technique, problem in self._wrapped:
            params, drawn = technique.begin(problem, params, rng)
            feed.update(drawn)
        return EpisodeStart(params, feed)

    def feed(self, start: EpisodeStart, batches: np.ndarray, key: np.ndarray, first_unroll: bool,
             reset_state: bool, regularize: bool, planned: int = 0, importance: float = 1.0,
             teacher_steps: Optional[List[np.ndarray]] = None,
             other_batches: Optional[np.ndarray] = None) -> Feed:
        """What to feed for one unroll.

        Args:
          start: the episode's `EpisodeStart`.
          batches: int `[steps, batch size]`, the examples of each step.
          key: int [2], decides everything random in it.
          first_unroll: whether the episode begins.
          reset_state: whether the optimizer begins with fresh state.
          regularize: whether the penalty counts.
          planned: the number of steps of the episode that the optimizer is told; 0: it is not.
          importance: of the meta-gradient.
          teacher_steps: None or what to imitate, `[steps] + shape` for each tensor.
          other_batches: None or int `[steps, batch size]`, the examples of each step's objective.
        """
        graph, steps = self.unroll, len(batches)
        # Every unroll feeds the same tensors: a graph is compiled anew for each set of them.
        feed = {graph.objective_weights: np.full(steps, 1.0 / steps), graph.batches: batches,
                graph.random_key: key, graph.first_unroll: first_unroll,
                graph.reset_state: reset_state, graph.regularize: regularize,
                graph.imitate: teacher_steps is not None,
                self._importance: importance}
        if other_batches is not None:
            feed[graph.other_batches] = other_batches
        if self._planned_steps is not None:
            feed[self._planned_steps] = planned
        feed.update(zip(graph.initial_params, start.params))
        feed.update(start.feed)
        if self.teachers:
            for index, place in enumerate(graph.teacher_steps):
                feed[place] = (np.zeros([1] + place.shape.as_list()[1:]) if teacher_steps is None
                               else -teacher_steps[index])
        return feed

    def carried_state(self, session: tf.Session) -> List[np.ndarray]:
        """The optimizer's state after the last unroll, a flat list of arrays."""
        return session.run(tf.nest.flatten(self.unroll.state.optimizer))

    def load_carried_state(self, session: tf.Session, values: Sequence[np.ndarray]) -> None:
        """The inverse of `carried_state`."""
        for variable, value in zip(tf.nest.flatten(self.unroll.state.optimizer), values):
            variable.load(value, session)


def draw_initial_params(problem: Problem, kind: str,
                        rng: np.random.RandomState) -> List[np.ndarray]:
    """Initial values of a problem: a list of arrays."""
    if kind == 'normal':
        return [rng.standard_normal(shape) for shape in problem.param_shapes]
    return problem.initial_values(draw_seed(rng))


def draw_seed(rng: np.random.RandomState) -> int:
    """A seed for another generator."""
    return int(rng.randint(2 ** 31 - 1))


def draw_key(rng: np.random.RandomState) -> np.ndarray:
    """A key for TensorFlow's stateless operations, int [2]."""
    return rng.randint(2 ** 30, size=2)
