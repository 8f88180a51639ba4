"""Adam (arXiv 1412.6980) whose four constants are trained."""

from typing import Any, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.types import Theta


class Moments(NamedTuple):
    """Adam's state, rows `[1, size]`."""
    first: tf.Tensor
    second: tf.Tensor


class Constants(NamedTuple):
    """Adam's constants, from the meta-parameters."""
    learning_rate: tf.Tensor
    epsilon: tf.Tensor
    beta1: tf.Tensor
    beta2: tf.Tensor
    rest1: tf.Tensor  # 1 - beta1, with the digits that the subtraction would lose
    rest2: tf.Tensor


class TrainableAdam(CoordinatewiseOptimizer):
    """Adam, equal to `tf.train.AdamOptimizer` at the same constants (algorithm 1 of the paper):

        m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
        x = x - learning_rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon)

    The meta-parameters: the logarithms of learning rate and epsilon, the logits of both betas.

    Args:
      learning_rate: before meta-training, as all of these constants.
      beta1: decay of the first moment.
      beta2: decay of the second moment.
      epsilon: added to the root of the second moment.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: a constant that isn't positive, or a beta that isn't below 1.
    """

    draws_state = False

    def __init__(self, learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-8, name: str = 'TrainableAdam', **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if min(learning_rate, beta1, beta2, epsilon) <= 0 or max(beta1, beta2) >= 1:
            raise ValueError('Adam needs learning_rate, epsilon > 0 and 0 < beta1, beta2 < 1.')

        for parameter, value in (('log_learning_rate', np.log(learning_rate)),
                                 ('beta1_logit', np.log(beta1 / (1.0 - beta1))),
                                 ('beta2_logit', np.log(beta2 / (1.0 - beta2))),
                                 ('log_epsilon', np.log(epsilon))):
            self.create_meta_parameter(parameter, (), tf.constant_initializer(value))

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> Moments:
        return Moments(tf.zeros([1, size]), tf.zeros([1, size]))

    def prepare(self, weights: Theta) -> Constants:
        return Constants(
            learning_rate=tf.exp(weights['log_learning_rate']),
            epsilon=tf.exp(weights['log_epsilon']),
            beta1=tf.sigmoid(weights['beta1_logit']), beta2=tf.sigmoid(weights['beta2_logit']),
            rest1=tf.sigmoid(-weights['beta1_logit']), rest2=tf.sigmoid(-weights['beta2_logit']))

    def row_rule(self, weights: Constants, gradient: tf.Tensor, rows: Moments,
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, Moments]:
        c, t = weights, steps_done + 1.0
        first = c.beta1 * rows.first + c.rest1 * gradient
        second = c.beta2 * rows.second + c.rest2 * tf.square(gradient)
        rate = c.learning_rate * tf.sqrt(1.0 - tf.pow(c.beta2, t)) / (1.0 - tf.pow(c.beta1, t))
        return -rate * first / (_root(second) + c.epsilon), Moments(first, second)


def _root(values):
    """The square root, with derivative 0 (not infinity) at 0."""
    positive = values > 0.0
    return tf.where(positive, tf.sqrt(tf.where(positive, values, tf.ones_like(values))),
                    tf.zeros_like(values))
