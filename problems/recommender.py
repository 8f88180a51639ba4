"""Recommendation: a table of users and one of items, of which a batch reads few rows."""

from typing import List, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems import initial_values
from problems.problem import Problem


class Recommender(Problem):
    """The mean squared error of ratings that are predicted by a factorization with biases.

    Koren et al., "Matrix Factorization Techniques for Recommender Systems", 2009. Data are
    [batch, 3]: user, item, rating. Parameters: of the users [n_users, rank + 1], of the items
    [n_items, rank + 1]; the last column of either is what is added to the product of the others.
    Gradients are sparse (IndexedSlices).
    """

    needs_data = True

    def __init__(self, n_users: int, n_items: int, rank: int, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        self._starts = [initial_values.Start((rows, rank + 1), 0.1) for rows in (n_users, n_items)]
        super().__init__(initial_values.shapes(self._starts), random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def inference(self, parameters: Sequence[tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
        """Returns the predicted ratings, [batch], of users and items: int32 [batch, 2]."""
        user, item = (tf.gather(table, ids[:, column]) for column, table in enumerate(parameters))
        return tf.reduce_sum(user[:, :-1] * item[:, :-1], 1) + user[:, -1] + item[:, -1]

    def _objective(self, parameters, data, labels):
        data = tf.reshape(data, [-1, 3])
        predicted = self.inference(parameters, tf.cast(data[:, :2], tf.int32))
        return tf.reduce_mean(tf.square(predicted - data[:, 2]))
