"""The base of learned optimizers that treat every parameter by itself."""

from typing import Any, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from optimizer.layout import Layout
from optimizer.trainable_optimizer import TrainableOptimizer
from optimizer.types import Rule, Theta, Update


class CoordinatewiseOptimizer(TrainableOptimizer):
    """A learned optimizer that treats every parameter by itself.

    A subclass creates its meta-parameters in its constructor with `create_meta_parameter` and
    defines

    * `initial_rows(size, theta, key)`: the state of `size` parameters before the first step, a nest
      of tensors `[features, size]`; see `TrainableOptimizer` for `theta` and `key`.
    * `row_rule(weights, gradient, rows, steps_done)`: one step of `size` parameters, from gradient
      `[1, size]` and state, -> (step `[1, size]`, new state). `weights[name]` is the value of a
      meta-parameter; `steps_done` is a float32 scalar, 0 at the first step.
    * where the rule needs the meta-parameters in another form, `prepare(weights)`: what takes the
      place of `weights`, computed once, outside of the loop of steps.
    """

    computes_rows_alone = True

    class State(NamedTuple):
        """The optimizer's state."""

        chunks: list  # a nest of tensors `[features, size]` for each chunk
        steps_done: tf.Tensor  # float32, scalar

    def initial_state(self, layout: Layout, theta: Theta, key: tf.Tensor) -> Any:
        return self.State([self.initial_rows(chunk.size, theta, key + [index, 0])
                           for index, chunk in enumerate(layout.chunks)], tf.zeros([]))

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        weights = self.prepare(theta)

        def rule(gradients, state):
            steps, chunks = zip(*[self.row_rule(weights, gradient, rows, state.steps_done)
                                  for gradient, rows in zip(gradients, state.chunks)])
            return Update(list(steps), None, self.State(list(chunks), state.steps_done + 1.0))

        return rule

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> Any:
        raise NotImplementedError

    def prepare(self, weights: Theta) -> Any:
        return weights

    def row_rule(self, weights: Any, gradient: tf.Tensor, rows: Any,
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, Any]:
        raise NotImplementedError
