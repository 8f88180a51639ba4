"""RNNProp, "Learning Gradient Descent: Better Generalization and Longer Horizons".

arXiv 1703.03633.
"""

from typing import Any, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from optimizer import l2o_dm, rnn_cells
from optimizer.types import Theta

EPSILON = 1e-8


class State(NamedTuple):
    """Rows `[., size]`: Adam's two moments and the LSTM layers' states."""
    first: tf.Tensor
    second: tf.Tensor
    lstm: tf.Tensor


class Weights(NamedTuple):
    """What the rule needs of the meta-parameters."""
    projection: rnn_cells.Projection
    network: l2o_dm.Network


class RNNProp(l2o_dm.LSTMOptimizer):
    """A coordinatewise LSTM optimizer that sees gradients only relative to their size.

    With Adam's bias-corrected moments m^ and v^ (section 4 of the paper):

        inputs  (m^ / (sqrt(v^) + 1e-8), g / (sqrt(v^) + 1e-8)) -> linear -> ELU -> LSTM -> LSTM
        step    output_scale * tanh(linear(output))

    Args:
      units: of the input projection and both LSTM layers.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      output_scale: the largest step.
      **kwargs: see `TrainableOptimizer`.
    """

    def __init__(self, units: int = 20, beta1: float = 0.95, beta2: float = 0.95,
                 output_scale: float = 0.01, name: str = 'RNNProp', **kwargs: Any) -> None:
        super().__init__(name, num_inputs=units, units=units, **kwargs)
        self._betas = beta1, beta2
        self.output_scale = output_scale
        self.create_projection('input_projection', 2, units)

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> State:
        return State(tf.zeros([1, size]), tf.zeros([1, size]), self.initial_lstm_rows(size))

    def prepare(self, weights: Theta) -> Weights:
        return Weights(self.read_projection(weights, 'input_projection'), super().prepare(weights))

    def row_rule(self, weights: Weights, gradient: tf.Tensor, rows: State,
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, State]:
        (beta1, beta2), t = self._betas, steps_done + 1.0
        first = gradient + beta1 * (rows.first - gradient)
        second = beta2 * rows.second + (1.0 - beta2) * tf.square(gradient)
        relative = _relative(gradient, first / (1.0 - tf.pow(beta1, t)),
                             second / (1.0 - tf.pow(beta2, t)))
        inputs = tf.nn.elu(rnn_cells.project(weights.projection, relative))
        output, lstm = self.network(weights.network, inputs, rows.lstm)
        return self.output_scale * tf.tanh(output), State(first, second, lstm)


def _relative(gradient, first, second):
    """The momentum and the gradient relative to the root of the second moment, `[2, size]`.

    The root's derivative at zero, infinite, is taken as zero: nothing has been seen there yet.
    """
    positive = second > 0.0
    root = tf.sqrt(tf.where(positive, second, tf.ones_like(second)))
    scale = tf.where(positive, 1.0 / (root + EPSILON), tf.zeros_like(second))
    return tf.concat([first, gradient], 0) * scale
