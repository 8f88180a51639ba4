"""Techniques that put a problem into another form, drawn anew for each episode.

Such a technique is a record with two methods:

* `wrap(problem)`: the problem in the other form, a `problems.problem.Wrapper` with a placeholder
  for each value that is drawn.
* `begin(problem, params, rng)`: of that problem, the initial values in its form, and what to feed
  in all unrolls of the episode: (list of arrays, dict from placeholders to values).

`l2o.techniques.random_scaling` is one.
"""

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem import Problem


class Wrapped:
    """A problem in the form that several techniques give it, one after another.

    Args:
      problem: the problem as it is.
      techniques: dict from names to the techniques.

    Attributes:
      problem: in its last form.
    """

    def __init__(self, problem: Problem, techniques: Mapping[str, Any]) -> None:
        self._steps = []
        for technique in techniques.values():
            problem = technique.wrap(problem)
            self._steps.append((technique, problem))
        self.problem = problem

    def begin(self, params: List[np.ndarray], rng: np.random.RandomState
              ) -> Tuple[List[np.ndarray], Dict[tf.Tensor, Any]]:
        """An episode: its initial values in the last form, and what to feed."""
        feed: Dict[tf.Tensor, Any] = {}
        for technique, problem in self._steps:
            params, drawn = technique.begin(problem, params, rng)
            feed.update(drawn)
        return params, feed
