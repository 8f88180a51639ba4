"""What the programs of L2O-DM and RNNProp were tested on.

The problems of "Training Stronger Baselines for Learning to Optimize" (arXiv 2010.09089),
section 5, beyond the perceptrons: networks with batch normalization, always on the statistics of
the batch, and a quadratic. Weights start at N(0, 0.01^2), biases and shifts at 0, scales at 1.
"""

import collections
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from problems import initial_values
from problems.classifiers import SoftmaxClassifier
from problems.initial_values import Start
from problems.problem import Activation, Problem
from problems.problem_spec import Spec
from problems.random_numbers import generator
from problems.residual import batch_normalization

_STDEV = 0.01  # of initial weights


class _Network(SoftmaxClassifier):
    """Base: a classifier of images that is given the starts of its parameters."""

    def __init__(self, image_shape: Sequence[int], n_classes: int, starts: Sequence[Start],
                 random_seed: Optional[int], noise_stdev: float) -> None:
        self.image_shape = tuple(image_shape)
        self._starts = starts
        super().__init__(initial_values.shapes(starts), n_classes, random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def _images(self, data):
        channels, height, width = self.image_shape
        return tf.reshape(data, [-1, height, width, channels])


def _affine(*shape):
    """The starts of weights and biases."""
    return [Start(shape, _STDEV), initial_values.constant(0.0, shape[-1])]


def _normalized(*shape):
    """The starts of weights and biases, and of the batch normalization that follows."""
    return _affine(*shape) + [initial_values.constant(value, shape[-1]) for value in (1.0, 0.0)]


class BatchNormConvNet(_Network):
    """Convolutions with pooling, dense layers, all but the last with batch normalization.

    For each convolution: bias, batch normalization, activation, 2 x 2 max-pooling of stride 2. For
    each dense layer but the last: bias, batch normalization, activation. Parameters: weights (or
    filter [height, width, inputs, channels]), bias, scale and shift of each layer in turn; W and b
    of the last.

    Args:
      image_shape: (channels, height, width).
      filters: (side, channels) of each convolution.
      stride: of the convolutions.
      padding: of convolutions and pooling, VALID or SAME.
      dense_sizes: units of the dense layers before the last.
      relu_logits: whether the logits pass through a relu, so that none is ever negative.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int,
                 filters: Sequence[Tuple[int, int]], stride: int = 1, padding: str = 'VALID',
                 dense_sizes: Sequence[int] = (), activation: Activation = tf.nn.relu,
                 relu_logits: bool = False, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        self.filters, self.stride, self.padding = tuple(filters), stride, padding
        self.dense_sizes, self.activation = tuple(dense_sizes), activation
        self.relu_logits = relu_logits
        starts: List[Start] = []
        channels, (height, width) = image_shape[0], image_shape[1:]
        for side, outputs in self.filters:
            starts += _normalized(side, side, channels, outputs)
            height, width, channels = self._halved(height, side), self._halved(width, side), outputs
        inputs = height * width * channels
        for units in self.dense_sizes:
            starts += _normalized(inputs, units)
            inputs = units
        super().__init__(image_shape, n_classes, starts + _affine(inputs, n_classes), random_seed,
                         noise_stdev)

    def _halved(self, length, side):
        """A length after a convolution and the pooling."""
        if self.padding == 'SAME':
            return -(-length // (2 * self.stride))
        return ((length - side) // self.stride + 1) // 2

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        rest = iter(parameters)
        features, strides = self._images(data), [1, self.stride, self.stride, 1]
        for _ in self.filters:
            features = tf.nn.conv2d(features, next(rest), strides, self.padding) + next(rest)
            features = self.activation(batch_normalization(features, next(rest), next(rest)))
            features = tf.nn.max_pool(features, [1, 2, 2, 1], [1, 2, 2, 1], self.padding)
        features = tf.reshape(features, [-1, np.prod(features.shape.as_list()[1:])])
        for _ in self.dense_sizes:
            features = tf.matmul(features, next(rest)) + next(rest)
            features = self.activation(batch_normalization(features, next(rest), next(rest)))
        logits = tf.matmul(features, next(rest)) + next(rest)
        return tf.nn.relu(logits) if self.relu_logits else logits


class SearchedCell(_Network):
    """One cell of an architecture search, with images as its input.

    Where block(v) = relu(batch normalization(3 x 3 SAME convolution of v + bias)):

        n0 = block(x),  n1 = block'(n0),  n2 = mean of 3 x 3 neighbours of n1 + block''(n0)
        n3 = n2 + block'''(n1) + n0
        logits = relu(W mean over all positions of n3 + b)

    Parameters: filter, bias, scale and shift of n0, block'', n1 and block'''; W and b.

    Args:
      image_shape: (channels, height, width).
      channels: of every convolution.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, channels: int = 16,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        starts = _normalized(3, 3, image_shape[0], channels)
        for _ in range(3):
            starts += _normalized(3, 3, channels, channels)
        super().__init__(image_shape, n_classes, starts + _affine(channels, n_classes),
                         random_seed, noise_stdev)

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        rest = iter(parameters)

        def block(features):
            features = tf.nn.conv2d(features, next(rest), [1, 1, 1, 1], 'SAME') + next(rest)
            return tf.nn.relu(batch_normalization(features, next(rest), next(rest)))

        n0 = block(self._images(data))
        from_n0 = block(n0)
        n1 = block(n0)
        n2 = tf.nn.avg_pool(n1, [1, 3, 3, 1], [1, 1, 1, 1], 'SAME') + from_n0
        n3 = n2 + block(n1) + n0
        return tf.nn.relu(tf.matmul(tf.reduce_mean(n3, [1, 2]), next(rest)) + next(rest))


class UniformQuadratics(Problem):
    """The mean over n quadratics of ||W x - y||^2, each with its own x.

    W [n, ndim, ndim] and y [n, ndim] are uniform in [0, 1); the parameter [n, ndim] starts at
    N(0, 0.01^2).
    """

    def __init__(self, n: int = 128, ndim: int = 10, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__([(n, ndim)], random_seed, noise_stdev)
        rng = generator(random_seed)
        self.w = rng.uniform(size=[n, ndim, ndim]).astype('float32')
        self.y = rng.uniform(size=[n, ndim]).astype('float32')

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return [_STDEV * value for value in super().init_tensors(seed)]

    def _objective(self, parameters, data, labels):
        products = tf.matmul(self.w, parameters[0][:, :, tf.newaxis])[:, :, 0]
        return tf.reduce_mean(tf.reduce_sum(tf.square(products - self.y), 1))


# The table.


class Entry(NamedTuple):
    """A network of the programs' tests."""

    problem: Spec
    images: str  # mnist or cifar10
    help: str


_MNIST, _CIFAR10 = (1, 28, 28), (3, 32, 32)

#: Name of the problem set -> the network; all on batches of `BATCH_SIZE` images.
NETWORKS = collections.OrderedDict([
    ('dm_conv', Entry(
        Spec(BatchNormConvNet, (_MNIST, 10, ((3, 16), (5, 32))), {'relu_logits': True}),
        'mnist', 'The convolutional network of the L2O-DM and RNNProp programs, on MNIST.')),
    ('dm_cifar_conv', Entry(
        Spec(BatchNormConvNet, (_CIFAR10, 10, ((3, 16), (5, 32))),
             {'stride': 2, 'relu_logits': True}),
        'cifar10', 'The convolutional network of the L2O-DM and RNNProp programs, on CIFAR-10.')),
    ('dm_lenet', Entry(
        Spec(BatchNormConvNet, (_CIFAR10, 10, ((5, 6), (5, 16))),
             {'dense_sizes': (120, 84), 'activation': tf.nn.sigmoid}),
        'cifar10', 'LeNet of the L2O-DM and RNNProp programs, on CIFAR-10.')),
    ('dm_nas', Entry(
        Spec(SearchedCell, (_CIFAR10, 10), {}),
        'cifar10', 'The searched cell (NAS) of the L2O-DM and RNNProp programs, on CIFAR-10.')),
    ('dm_cifar_multi', Entry(
        Spec(BatchNormConvNet, (_CIFAR10, 10, ((5, 16), (5, 16), (5, 16))),
             {'padding': 'SAME', 'dense_sizes': (32,)}),
        'cifar10', 'Three convolutions and two dense layers (cifar-multi), on CIFAR-10.')),
])
BATCH_SIZE = 128
