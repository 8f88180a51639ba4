"""One learning rate for all parameters, itself trained."""

import tensorflow.compat.v1 as tf

from optimizer import trainable_optimizer


class GlobalLearningRate(trainable_optimizer.CoordinatewiseOptimizer):
    """Gradient descent `x - rate * g` whose rate is the one meta-parameter.

    Args:
      initial_rate: the rate before meta-training.
      **kwargs: see `TrainableOptimizer`.
    """

    def __init__(self, initial_rate=1e-3, name='GlobalLearningRate', **kwargs):
        super().__init__(name, **kwargs)
        self.create_meta_parameter('global_learning_rate', (),
                                   tf.constant_initializer(initial_rate))

    def initial_rows(self, size, read, key):
        return []

    def row_rule(self, weights, gradient, rows, steps_done):
        return -weights['global_learning_rate'] * gradient, rows
