"""One learning rate for all parameters, itself trained."""

from typing import Any, List, Tuple

import tensorflow.compat.v1 as tf

from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.types import Theta


class GlobalLearningRate(CoordinatewiseOptimizer):
    """Gradient descent `x - rate * g` whose rate is the one meta-parameter.

    Args:
      initial_rate: the rate before meta-training.
      **kwargs: see `TrainableOptimizer`.
    """

    draws_state = False

    def __init__(self, initial_rate: float = 1e-3, name: str = 'GlobalLearningRate',
                 **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.create_meta_parameter('global_learning_rate', (),
                                   tf.constant_initializer(initial_rate))

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> List[tf.Tensor]:
        return []

    def row_rule(self, weights: Theta, gradient: tf.Tensor, rows: List[tf.Tensor],
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, List[tf.Tensor]]:
        return -weights['global_learning_rate'] * gradient, rows
