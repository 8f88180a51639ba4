"""Averaging of meta-parameters: what is validated and kept is the average along the training."""

from typing import Dict, List

import numpy as np
import tensorflow.compat.v1 as tf


class MovingAverage:
    """The exponential moving average of variables, that of the first steps unbiased.

    a <- d a + (1 - d) x and w <- d w + (1 - d), both from zero; the average is a / w.

    Args:
      variables: dict from names to variables x.
      decay: d.

    Attributes:
      variables: dict from names to variables: `average/<name>`, and `average_weight`.
    """

    _PREFIX, _WEIGHT = 'average/', 'average_weight'

    def __init__(self, variables: Dict[str, tf.Variable], decay: float) -> None:
        self._decay, self._averaged = decay, dict(variables)
        self.variables = {self._PREFIX + name: tf.Variable(
            tf.zeros(variable.shape), trainable=False, name='average')
            for name, variable in variables.items()}
        self.variables[self._WEIGHT] = tf.Variable(0.0, trainable=False, name=self._WEIGHT)

    def update(self) -> List[tf.Operation]:
        """The operations that take the variables' values into account."""
        present = {self._PREFIX + name: variable.read_value()
                   for name, variable in self._averaged.items()}
        present[self._WEIGHT] = tf.ones([])
        return [average.assign_add((1.0 - self._decay) * (present[name] - average))
                for name, average in self.variables.items()]

    @classmethod
    def applied(cls, values: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Saved values in which averages stand for what is averaged, and are left out.

        Without any average, or before the first step, the values as they are.
        """
        weight = values.get(cls._WEIGHT)
        kept = {name: value for name, value in values.items()
                if not name.startswith(cls._PREFIX) and name != cls._WEIGHT}
        if weight:
            kept.update({name: values[cls._PREFIX + name] / weight for name in kept
                         if cls._PREFIX + name in values})
        return kept
