"""RNNProp, "Learning Gradient Descent: Better Generalization and Longer Horizons".

arXiv 1703.03633.
"""

import collections

import tensorflow.compat.v1 as tf

from optimizer import l2o_dm

EPSILON = 1e-8

#: Rows `[., size]`: Adam's two moments and the LSTM layers' states.
State = collections.namedtuple('State', 'first second lstm')


class RNNProp(l2o_dm.LSTMOptimizer):
    """A coordinatewise LSTM optimizer that sees gradients only relative to their size.

    With Adam's bias-corrected moments m^ and v^ (section 4 of the paper):

        inputs  (m^ / (sqrt(v^) + 1e-8), g / (sqrt(v^) + 1e-8)) -> linear -> ELU -> LSTM -> LSTM
        step    output_scale * tanh(linear(output))

    Args:
      units: of the input projection and both LSTM layers.
      beta1, beta2: decay of the two moments.
      output_scale: the largest step.
      **kwargs: see `TrainableOptimizer`.
    """

    def __init__(self, units=20, beta1=0.95, beta2=0.95, output_scale=0.01, name='RNNProp',
                 **kwargs):
        super().__init__(name, num_inputs=units, units=units, **kwargs)
        self._betas = beta1, beta2
        self.output_scale = output_scale
        self._projection = self.create_projection('input_projection', 2, units)

    def initial_rows(self, size, read, key):
        return State(tf.zeros([1, size]), tf.zeros([1, size]), self.initial_lstm_rows(size))

    def row_rule(self):
        network, project = self.prepare_network(), l2o_dm.prepare_projection(*self._projection)
        beta1, beta2 = self._betas

        def rule(gradient, state, steps_done):
            first = gradient + beta1 * (state.first - gradient)
            second = beta2 * state.second + (1.0 - beta2) * tf.square(gradient)
            t = steps_done + 1.0
            inputs = _relative(gradient, first / (1.0 - tf.pow(beta1, t)),
                               second / (1.0 - tf.pow(beta2, t)))
            output, lstm = network(tf.nn.elu(project(inputs)), state.lstm)
            return self.output_scale * tf.tanh(output), State(first, second, lstm)

        return rule


def _relative(gradient, first, second):
    """The momentum and the gradient relative to the root of the second moment, `[2, size]`.

    The root's derivative at zero, infinite, is taken as zero: nothing has been seen there yet.
    """
    positive = second > 0.0
    root = tf.sqrt(tf.where(positive, second, tf.ones_like(second)))
    scale = tf.where(positive, 1.0 / (root + EPSILON), tf.zeros_like(second))
    return tf.concat([first, gradient], 0) * scale
