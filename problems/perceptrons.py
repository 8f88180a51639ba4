"""Multi-layer perceptrons with the initial values that people use: classification, regression.

Weights begin as He et al. (relu) or Glorot and Bengio (all others, and the last layer) say, biases
at 0.
"""

import functools
import warnings
from typing import List, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems import datasets, initial_values
from problems.classifiers import FullyConnected, dense_layers, stacked_dense_layers
from problems.image_files import DataSource
from problems.problem import Activation, Problem


def starts(sizes: Sequence[int], activation: Activation) -> List[initial_values.Start]:
    """The initial values of dense layers between `sizes`, for the activation between them."""
    weights = initial_values.he if activation is tf.nn.relu else initial_values.glorot
    return initial_values.dense(sizes, weights)


class Perceptron(FullyConnected):
    """A classifier as `FullyConnected`, with other initial values."""

    def __init__(self, n_features: int, n_classes: int, hidden_sizes: Sequence[int],
                 activation: Activation = tf.nn.relu, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__(n_features, n_classes, hidden_sizes, activation, random_seed, noise_stdev)
        self._starts = starts((n_features,) + tuple(hidden_sizes) + (n_classes,), activation)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)


class FineTuning(Perceptron):
    """A `Perceptron` on images whose layers, but for the last, were trained before.

    They were trained on the embedded digits, averaged to `side` x `side` pixels.
    """

    def __init__(self, side: int, n_classes: int, hidden_sizes: Sequence[int],
                 activation: Activation = tf.nn.relu, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__(side * side, n_classes, hidden_sizes, activation, random_seed,
                         noise_stdev)
        trained = _trained_on_digits(side, tuple(hidden_sizes), activation is tf.nn.relu)
        self._starts[:-2] = [initial_values.constant(value, *value.shape) for value in trained]


@functools.lru_cache(maxsize=None)
def _trained_on_digits(side, hidden_sizes, relu):
    """W and b of each hidden layer of a network that recognizes the embedded digits."""
    from sklearn.neural_network import MLPClassifier

    digits = datasets.images(True, DataSource('digits'), side)
    network = MLPClassifier(hidden_sizes, 'relu' if relu else 'tanh', max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # it has not converged
        network.fit(digits.data.reshape(digits.size, -1), digits.labels)
    layers = zip(network.coefs_[:-1], network.intercepts_[:-1])
    return [value.astype('float32') for layer in layers for value in layer]


class PerceptronRegression(Problem):
    """The mean squared error of a perceptron with one output.

    Data are [batch, n_features + 1], the target in the last column. Parameters: W and b of each
    layer in turn.
    """

    needs_data = True

    def __init__(self, n_features: int, hidden_sizes: Sequence[int],
                 activation: Activation = tf.nn.relu, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        self._starts = starts((n_features,) + tuple(hidden_sizes) + (1,), activation)
        super().__init__(initial_values.shapes(self._starts), random_seed, noise_stdev)
        self.n_features = n_features
        self.activation = activation

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def inference(self, parameters: Sequence[tf.Tensor], features: tf.Tensor) -> tf.Tensor:
        """Returns the predicted targets, [batch]."""
        return dense_layers(features, parameters, self.activation)[:, 0]

    def objectives(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                   labels: tf.Tensor) -> tf.Tensor:
        """The objective at n points: parameters [n] + shape -> [n]."""
        features, targets = self._split(data)
        outputs = stacked_dense_layers(features, parameters, self.activation)[..., 0]
        return tf.reduce_mean(tf.square(outputs - targets), -1)

    def _objective(self, parameters, data, labels):
        features, targets = self._split(data)
        return tf.reduce_mean(tf.square(self.inference(parameters, features) - targets))

    def _split(self, data):
        """Features and targets."""
        data = tf.reshape(data, [-1, self.n_features + 1])
        return data[:, :-1], data[:, -1]
