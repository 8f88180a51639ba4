"""Validation: how good meta-parameters are, from starts that stay the same."""

from typing import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import Validation
from l2o.metatraining.problem_graph import ValidationGraph
from l2o.runs.machines import Feed


def mean(losses: Sequence[float], config: Validation) -> float:
    """The mean loss."""
    del config
    return float(np.mean(losses))


def mean_log(losses: Sequence[float], config: Validation) -> float:
    """The mean natural logarithm of losses between `config.floor` and 1000, which also stands for
    what is not finite: losses of different size count alike."""
    losses = np.nan_to_num(np.asarray(losses, 'float64'), nan=np.inf)
    return float(np.mean(np.log(np.clip(losses, config.floor, 1e3))))


#: Name -> function (losses, `Validation`) -> the cost of a validation.
SCORES = {'mean': mean, 'mean_log': mean_log}


class Validator:
    """Validations on some problems, all from the same initial values with the same batches.

    Where the optimizer can be told how many steps there are, it is in every other epoch.

    Args:
      graphs: list of `problem_graph.ValidationGraph`.
      config: a `Validation`.
      rng: draws the starts.
    """

    def __init__(self, graphs: Sequence[ValidationGraph], config: Validation,
                 rng: np.random.RandomState) -> None:
        self._config = config
        self._starts = [(graph, graph.draw_point(rng, planned=epoch % 2 == 0))
                        for graph in graphs for epoch in range(config.epochs)]

    def cost(self, session: tf.Session, steps: int, frozen: Feed) -> float:
        """The score of the losses after so many steps.

        Args:
          session: of the graph.
          steps: how many.
          frozen: what to feed, so that meta-parameters have certain values.
        """
        losses = [graph.final_objective(session, point, steps, frozen)
                  for graph, point in self._starts]
        return SCORES[self._config.score](losses, self._config)
