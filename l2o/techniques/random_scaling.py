"""Random scaling: the same problem in coordinates of random size.

"Learning Gradient Descent: Better Generalization and Longer Horizons" (arXiv 1703.03633), section
4.1: while an optimizer is trained, the objective f(x) is replaced by f(s x) with random s for each
coordinate, so that it cannot rely on the gradients' sizes.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.settings import default
from problems.problem import Gradient, Problem, Wrapper
from problems.problem_spec import Spec

LOG_RANGE = 3.0
UNITS = ('coordinates', 'tensors')  # what may get a scale of its own


class Scaling(NamedTuple):
    """Random scaling as a technique, see `l2o.techniques.wrappers`."""

    ranges: Tuple[float, ...] = default('scaling_ranges')  # log ranges; each episode draws one
    unit: str = default('scaling_of')  # what gets a scale: one of `UNITS`

    def wrap(self, problem: Problem) -> 'RandomScaling':
        """The problem in other coordinates."""
        return RandomScaling(problem)

    def begin(self, problem: 'RandomScaling', params: List[np.ndarray],
              rng: np.random.RandomState) -> Tuple[List[np.ndarray], Dict[tf.Tensor, Any]]:
        """An episode: its initial values in these coordinates, and the scales to feed."""
        log_range = (self.ranges[0] if len(self.ranges) == 1
                     else self.ranges[rng.randint(len(self.ranges))])
        scales = problem.draw(rng, log_range, self.unit)
        return ([param / scale for param, scale in zip(params, scales)],
                dict(zip(problem.scales, scales)))


class RandomScaling(Wrapper):
    """f(s x) for the f of another problem, whose initial values and gradients' noise stay.

    Args:
      problem: the other problem, or its `Spec`.

    Attributes:
      scales: placeholders for s, one for each parameter tensor, ones by default. They belong to
        the graph in which the object was made.
    """

    def __init__(self, problem: Union[Problem, Spec]) -> None:
        super().__init__(problem)
        self.scales = [tf.placeholder_with_default(tf.ones(shape), shape)
                       for shape in self.param_shapes]
        if self.problem.objectives is not None:
            self.objectives = self._objectives

    def gradients(self, objective: tf.Tensor, parameters: Sequence[tf.Tensor],
                  key: Optional[tf.Tensor] = None) -> List[Gradient]:
        return self.problem.gradients(objective, parameters, key)

    def _objective(self, parameters, data, labels):
        return self.problem.objective(self._scaled(parameters), data, labels)

    def _objectives(self, parameters, data=None, labels=None):
        return self.problem.objectives(self._scaled(parameters), data, labels)

    def _scaled(self, parameters):
        return [parameter * scale for parameter, scale in zip(parameters, self.scales)]

    def draw(self, rng: np.random.RandomState, log_range: float = LOG_RANGE,
             unit: str = 'coordinates') -> List[np.ndarray]:
        """Values for `scales`: exp(uniform(-log_range, log_range)) for each of the `UNITS`."""
        logs = [rng.uniform(-log_range, log_range, shape if unit == 'coordinates' else ())
                for shape in self.param_shapes]
        return [np.exp(np.broadcast_to(log, shape)).astype('float32')
                for log, shape in zip(logs, self.param_shapes)]
