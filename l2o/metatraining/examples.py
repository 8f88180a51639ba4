"""The examples of a problem that are in use, and how batches are drawn from them."""

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import unroll
from problems import datasets
from problems.problem_spec import Row

#: The share of the examples that no step is made on, where the meta-objective is of others.
SET_ASIDE = 0.2


class Examples:
    """The examples of a problem that are in use: variables of a graph, and how to draw from them.

    The first ones are in use, until others are loaded.

    Args:
      row: the problem's `Row`.
      limit: how many examples are in use at the most.
      set_aside: the share of them of which no batch is drawn, but only `other_batches`.
      with_replacement: draw the examples of batches independently; else in shuffled passes.

    Attributes:
      variables: `data` and `labels`, local variables.
      is_part: whether there are more examples than are in use.
      dataset: all of them; None: the problem takes none.
    """

    def __init__(self, row: Row, limit: int, set_aside: float = 0.0,
                 with_replacement: bool = False) -> None:
        self._given = row, limit, set_aside, with_replacement
        self._with_replacement, self.dataset = with_replacement, row.dataset
        self._dataset = row.dataset or datasets.EMPTY_DATASET
        self._size = min(limit, self._dataset.size)
        self._set_aside = int(set_aside * self._size)
        self._batch_size = min(row.batch_size or self._size, self._size - self._set_aside)
        self.is_part = self._size < self._dataset.size
        self.variables = unroll.dataset_variables(self._chosen(slice(self._size)))

    def _chosen(self, indices):
        return self._dataset._replace(data=self._dataset.data[indices],
                                      labels=self._dataset.labels[indices])

    def unchanging(self) -> 'Examples':
        """The first examples, in which no others take their place: these, where they are all."""
        return Examples(*self._given) if self.is_part else self

    def load_others(self, session: tf.Session, rng: np.random.RandomState) -> None:
        """Takes other examples into use, drawn without replacement."""
        drawn = self._chosen(rng.permutation(self._dataset.size)[:self._size])
        for variable, array in zip(self.variables, drawn):
            variable.load(array, session)

    def batches(self, count: int, rng: np.random.RandomState) -> np.ndarray:
        """Indices of the examples of so many batches, `[count, batch size]`."""
        size = self._size - self._set_aside
        if self._with_replacement and size:
            return rng.randint(size, size=(count, self._batch_size))
        return self._chosen(slice(size)).batch_indices(count, self._batch_size, rng)

    def other_batches(self, count: int, rng: np.random.RandomState) -> np.ndarray:
        """The same, of the examples that are set aside."""
        first = self._size - self._set_aside
        return first + self._chosen(slice(first, self._size)).batch_indices(
            count, min(self._batch_size, self._set_aside), rng)
