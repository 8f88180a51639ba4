"""A learning rate for each of the first steps, all of them trained."""

from typing import Any, List, Tuple

import tensorflow.compat.v1 as tf

from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.types import Theta


class LearningRateSchedule(CoordinatewiseOptimizer):
    """Gradient descent `x - rates[t] * g`; after the last rate of the schedule it stays in use.

    Args:
      initial_rate: all rates before meta-training.
      n_steps: length of the schedule.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: `n_steps` is not positive.
    """

    draws_state = False

    def __init__(self, initial_rate: float = 0.0, n_steps: int = 1000,
                 name: str = 'LearningRateSchedule', **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if n_steps < 1:
            raise ValueError('n_steps must be positive: %s.' % n_steps)
        self._last = n_steps - 1
        self.create_meta_parameter('learning_rates', (n_steps,),
                                   tf.constant_initializer(initial_rate))

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> List[tf.Tensor]:
        return []

    def row_rule(self, weights: Theta, gradient: tf.Tensor, rows: List[tf.Tensor],
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, List[tf.Tensor]]:
        rate = weights['learning_rates'][tf.minimum(tf.cast(steps_done, tf.int32), self._last)]
        return -rate * gradient, rows
