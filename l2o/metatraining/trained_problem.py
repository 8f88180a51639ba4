"""A problem that is trained on: what an episode runs, and what must be fed for it."""

from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import MetaTraining
from l2o.metatraining.drawing import draw_initial_params
from l2o.metatraining.examples import Examples
from l2o.metatraining.meta_step import MetaSteps
from l2o.runs.machines import Feed, OneMachine
from l2o.techniques import evolution_strategies, imitation
from l2o.techniques.wrapping import Wrapped
from optimizer import inner_loop
from optimizer.trainable_optimizer import TrainableOptimizer
from problems.problem import Problem


class EpisodeStart(NamedTuple):
    """Where an episode begins."""

    params: list  # arrays, of the problem in the episode's form
    feed: Feed  # what to feed in every unroll, so that the problem has this form


class TrainedProblem:
    """The unroll of an optimizer on a problem with its meta-step, and the teachers' runs.

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
        penalty = training.penalty if training.penalty.ever_counts else inner_loop.NoPenalty()
        self._wrapped = Wrapped(problem, training.wrappers)
        problem = self._wrapped.problem
        self._planned_steps, self._importance = optimizer.planned_steps, meta_steps.importance
        if training.evolution is not None:
            self.unroll = evolution_strategies.build_unroll(
                optimizer, problem, examples.variables, training.evolution,
                training.objectives_of)
        else:
            self.unroll = optimizer.train(
                problem, examples.variables, penalty,
                checkpoint_every=training.checkpoint_every, swap_memory=training.swap_memory,
                objectives_of='batches' if training.is_summed else training.objectives_of,
                summed=training.is_summed)
        with machine.shared_variables():
            self.step = meta_steps.on(self.unroll)
        self.teachers = [] if training.imitation is None else [
            imitation.TeacherRun(teacher, training.imitation.steps_per_label, problem,
                                 examples.variables) for teacher in training.imitation.teachers]

    def draw_start(self, rng: np.random.RandomState) -> EpisodeStart:
        """An `EpisodeStart`."""
        params = draw_initial_params(self.problem, self._training.initial_params, rng)
        return EpisodeStart(*self._wrapped.begin(params, rng))

    def feed(self, start: EpisodeStart, batches: np.ndarray, key: np.ndarray, first_unroll: bool,
             reset_state: bool, regularize: bool, planned: int = 0, importance: float = 1.0,
             teacher_steps: Optional[List[np.ndarray]] = None,
             other_batches: Optional[np.ndarray] = None,
             last_batch: Optional[np.ndarray] = None) -> Feed:
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
          last_batch: None or int `[batch size]`, those of the objective after the last step.
        """
        fed, steps = self.unroll, len(batches)
        if last_batch is not None:
            batches = np.concatenate([batches, [last_batch]])
        # Every unroll feeds the same tensors: a graph is compiled anew for each set of them.
        weight = 1.0 if self._training.is_summed else 1.0 / steps
        feed = {fed.objective_weights: np.full(steps, weight), fed.batches: batches,
                fed.random_key: key, fed.first_unroll: first_unroll,
                fed.reset_state: reset_state, fed.regularize: regularize,
                fed.imitate: teacher_steps is not None,
                self._importance: importance}
        if other_batches is not None:
            feed[fed.other_batches] = other_batches
        if self._planned_steps is not None:
            feed[self._planned_steps] = planned
        feed.update(zip(fed.initial_params, start.params))
        feed.update(start.feed)
        if self.teachers:
            for index, place in enumerate(fed.teacher_steps):
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
