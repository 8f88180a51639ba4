"""Adam (arXiv 1412.6980) whose four constants are trained."""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import trainable_optimizer

Moments = collections.namedtuple('Moments', 'first second')


class TrainableAdam(trainable_optimizer.CoordinatewiseOptimizer):
    """Adam, equal to `tf.train.AdamOptimizer` at the same constants (algorithm 1 of the paper):

        m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
        x = x - learning_rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon)

    The meta-parameters: the logarithms of learning rate and epsilon, the logits of both betas.

    Args:
      learning_rate, beta1, beta2, epsilon: the constants before meta-training.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: a constant that isn't positive, or a beta that isn't below 1.
    """

    def __init__(self, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8,
                 name='TrainableAdam', **kwargs):
        super().__init__(name, **kwargs)
        if min(learning_rate, beta1, beta2, epsilon) <= 0 or max(beta1, beta2) >= 1:
            raise ValueError('Adam needs learning_rate, epsilon > 0 and 0 < beta1, beta2 < 1.')

        def create(name, value):
            return self.create_meta_parameter(name, (), tf.constant_initializer(value))

        self._log_learning_rate = create('log_learning_rate', np.log(learning_rate))
        self._beta1_logit = create('beta1_logit', np.log(beta1 / (1.0 - beta1)))
        self._beta2_logit = create('beta2_logit', np.log(beta2 / (1.0 - beta2)))
        self._log_epsilon = create('log_epsilon', np.log(epsilon))

    def initial_rows(self, size, read, key):
        return Moments(tf.zeros([1, size]), tf.zeros([1, size]))

    def row_rule(self):
        beta1, beta2 = tf.sigmoid(self._beta1_logit), tf.sigmoid(self._beta2_logit)
        # 1 - beta, with the digits that the subtraction would lose.
        rest1, rest2 = tf.sigmoid(-self._beta1_logit), tf.sigmoid(-self._beta2_logit)
        learning_rate, epsilon = tf.exp(self._log_learning_rate), tf.exp(self._log_epsilon)

        def rule(gradient, moments, steps_done):
            first = beta1 * moments.first + rest1 * gradient
            second = beta2 * moments.second + rest2 * tf.square(gradient)
            t = steps_done + 1.0
            rate = learning_rate * tf.sqrt(1.0 - tf.pow(beta2, t)) / (1.0 - tf.pow(beta1, t))
            return -rate * first / (_root(second) + epsilon), Moments(first, second)

        return rule


def _root(values):
    """The square root, with derivative 0 (not infinity) at 0."""
    positive = values > 0.0
    return tf.where(positive, tf.sqrt(tf.where(positive, values, tf.ones_like(values))),
                    tf.zeros_like(values))
