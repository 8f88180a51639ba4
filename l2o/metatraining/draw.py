"""A draw of problems, built: one or several problems that are trained on in one graph."""

from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import MetaTraining
from l2o.metatraining.drawing import draw_seed
from l2o.metatraining.examples import SET_ASIDE, Examples
from l2o.metatraining.meta_step import MetaSteps
from l2o.metatraining.trained_problem import TrainedProblem
from l2o.metatraining.validation import ValidatedProblem
from l2o.runs.machines import OneMachine
from problems.problem_spec import Row, Spec


class Draw(NamedTuple):
    """What a session of meta-training works with; nothing of it changes once it is built."""

    graph: tf.Graph
    trained: List[TrainedProblem]  # each episode is on one of them
    validated: List[ValidatedProblem]
    variables: Dict[str, Any]  # what a run saves, by published names; shared in a cluster
    rate_factor: tf.Tensor  # placeholder: the meta-learning rate is multiplied by it

    def load(self, session: tf.Session, values: Dict[str, np.ndarray]) -> None:
        """Gives variables values, by their published names."""
        for name, value in values.items():
            self.variables[name].load(value, session)


def build(optimizer_spec: Spec, rows: Sequence[Row], training: MetaTraining,
          machine: OneMachine, rng: np.random.RandomState) -> Draw:
    """Builds a `Draw`.

    Args:
      optimizer_spec: has `build()`, which returns a `TrainableOptimizer`.
      rows: the `Row`s of the problems to train on.
      training: a `MetaTraining`.
      machine: a `l2o.runs.machines.OneMachine`.
      rng: decides everything random in it.
    """
    graph = tf.Graph()
    with graph.as_default(), machine.device():
        tf.set_random_seed(draw_seed(rng))
        problems = [row.spec.build(draw_seed(rng)) for row in rows]
        with machine.shared_variables():
            optimizer = optimizer_spec.build()
        optimizer.obj_train_max_multiplier = training.obj_train_max_multiplier
        optimizer.xla = training.xla
        with machine.shared_variables():
            meta_steps = MetaSteps(optimizer, training.meta_optimizer,
                                   training.imitates_apart)
        set_aside = SET_ASIDE if training.objectives_of == 'other_batches' else 0.0
        examples = [Examples(row, training.mini_batch_size, set_aside, training.is_summed)
                    for row in rows]

        trained = [TrainedProblem(optimizer, *pair, meta_steps=meta_steps, training=training,
                                  machine=machine) for pair in zip(problems, examples)]
        pairs = list(zip(problems, map(Examples.unchanging, examples)))
        if training.validation.rows:
            pairs = [(row.spec.build(draw_seed(rng)),
                      Examples(row, training.mini_batch_size, set_aside))
                     for row in training.validation.rows]
        validated = [ValidatedProblem(optimizer, *pair, training.initial_params)
                     for pair in pairs]
        return Draw(graph, trained, validated, meta_steps.variables(), meta_steps.rate_factor)
