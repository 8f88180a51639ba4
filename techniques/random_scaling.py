"""Random scaling: the same problem in coordinates of random size.

"Learning Gradient Descent: Better Generalization and Longer Horizons" (arXiv 1703.03633), section
4.1: while an optimizer is trained, the objective f(x) is replaced by f(s x) with random s for each
coordinate, so that it cannot rely on the gradients' sizes.
"""

import numpy as np
import tensorflow.compat.v1 as tf

LOG_RANGE = 3.0


class RandomScaling:
    """A problem in scaled coordinates; all else is the wrapped problem's.

    Attributes:
        scales: placeholders for s, one for each parameter tensor, ones by default. They belong to
            the graph in which the object was made.
    """

    def __init__(self, problem):
        self._problem = problem
        self.scales = [tf.placeholder_with_default(tf.ones(shape), shape)
                       for shape in problem.param_shapes]

    def __getattr__(self, name):
        return getattr(self._problem, name)

    def objective(self, parameters, data=None, labels=None):
        """The wrapped objective at s x, a scalar."""
        scaled = [parameter * scale for parameter, scale in zip(parameters, self.scales)]
        return self._problem.objective(scaled, data, labels)

    @property
    def objectives(self):
        """The wrapped problem's function of n points, at s x; None if it has none."""
        wrapped = self._problem.objectives
        return wrapped and (lambda parameters, data=None, labels=None: wrapped(
            [parameter * scale for parameter, scale in zip(parameters, self.scales)], data, labels))

    def draw(self, rng, log_range=LOG_RANGE):
        """Values for `scales`: exp(uniform(-log_range, log_range)) for each coordinate."""
        return [np.exp(rng.uniform(-log_range, log_range, shape)).astype('float32')
                for shape in self._problem.param_shapes]
