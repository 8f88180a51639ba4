"""Convolutional networks for image classification.

Images are [batch, height, width, channels]; `image_shape` is (channels, height, width), as
published.
"""


import functools
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from problems import classifiers
from problems.problem import Activation, Problem, Shape

# Batch normalization in inference mode with fresh statistics (mean 0, variance 1, epsilon 0.001).
_FRESH_BATCH_NORM = 1 / np.sqrt(1.001)


class _ConvLayer(NamedTuple):
    """A convolution and what follows it."""

    height: int  # of the filter, and its width
    width: int
    channels: int
    stride: int
    padding: str
    has_bias: bool
    scale: float  # by which the result is multiplied
    pooled: bool  # whether 2 x 2 max-pooling follows


def _plain_layer(height, width, channels, has_bias=False):
    return _ConvLayer(height, width, channels, 1, 'SAME', has_bias, scale=1, pooled=False)


_biased_layer = functools.partial(_plain_layer, has_bias=True)


def _pooled_layer(height, width, channels, stride):
    return _ConvLayer(height, width, channels, stride, 'VALID', has_bias=True,
                      scale=_FRESH_BATCH_NORM, pooled=True)


class _ConvClassifier(classifiers.SoftmaxClassifier):
    """Base: convolutional layers, then dense ones.

    Attributes:
      affine_size: number of inputs of the first dense layer.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, layers: Sequence[_ConvLayer],
                 activation: Activation, dense_sizes: Sequence[int] = (),
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        self.image_shape = tuple(image_shape)
        self.layers = layers
        self.activation = activation
        self.affine_size = _affine_size(self.image_shape, layers)
        sizes = (self.affine_size,) + tuple(dense_sizes) + (n_classes,)
        shapes = _conv_shapes(self.image_shape[0], layers) + classifiers.dense_shapes(sizes)
        self._n_dense = 2 * len(sizes) - 2
        super().__init__(shapes, n_classes, random_seed, noise_stdev)

    def init_tensors(self, seed=None):
        return classifiers.small_normal_tensors(self, seed)

    def inference(self, parameters, data):
        parameters = list(parameters)
        channels, height, width = self.image_shape
        features = tf.reshape(data, [-1, height, width, channels])
        convolutional = iter(parameters[:-self._n_dense])
        for layer in self.layers:
            features = self._apply(layer, features, convolutional)
        features = tf.reshape(features, [-1, self.affine_size])
        return classifiers.dense_layers(features, parameters[-self._n_dense:], self.activation)

    def _apply(self, layer, features, parameters):
        """One layer; takes its parameters from the iterator."""
        strides = [1, layer.stride, layer.stride, 1]
        features = tf.nn.conv2d(features, next(parameters), strides, layer.padding)
        if layer.has_bias:
            features += next(parameters)
        features = self.activation(features * layer.scale if layer.scale != 1 else features)
        if layer.pooled:
            features = tf.nn.max_pool(features, [1, 2, 2, 1], [1, 2, 2, 1], 'VALID')
        return features


def _conv_shapes(channels, layers):
    shapes: List[Shape] = []
    for layer in layers:
        shapes.append((layer.height, layer.width, channels, layer.channels))
        if layer.has_bias:
            shapes.append((layer.channels,))
        channels = layer.channels
    return shapes


def _affine_size(image_shape, layers):
    """The number of values left after all layers."""
    channels, height, width = image_shape
    for layer in layers:
        height = _output_length(height, layer.height, layer)
        width = _output_length(width, layer.width, layer)
        channels = layer.channels
    if height < 1 or width < 1:
        raise ValueError('images of shape %s are too small for the layers' % (image_shape,))
    return channels * height * width


def _output_length(length, filter_length, layer):
    if layer.padding == 'VALID':
        length -= filter_length - 1
    return -(-length // layer.stride) // (2 if layer.pooled else 1)


class ConvNetOrig(_ConvClassifier):
    """Convolutions (SAME, stride 1, no bias) with activation, then one dense layer.

    `filter_list` has a triple (height, width, channels) for each layer. Parameters: the filters
    [height, width, inputs, channels], then W [affine_size, n_classes] and b [n_classes], all
    starting at N(0, 0.01^2).
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int,
                 filter_list: Sequence[Sequence[int]], activation: Activation = tf.nn.relu,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        layers = [_plain_layer(*conv_filter) for conv_filter in filter_list]
        super().__init__(
            image_shape, n_classes, layers, activation, (), random_seed, noise_stdev)


class ConvNet(_ConvClassifier):
    """The convolutional network, in the form of the training or of the test problems.

    With filters (height, width, channels), the training form, each layer is a SAME convolution
    of stride 1 with bias and activation. With filters (height, width, channels, stride), the test
    form, each layer is a VALID convolution with bias, batch normalization in inference mode (a
    factor 1 / sqrt(1.001)), activation and 2 x 2 max-pooling. One dense layer follows, whose
    output passes through the activation too: with relu the logits are never negative. Parameters:
    filter and bias of each layer in turn, then W and b of the dense layer, all starting at
    N(0, 0.01^2).

    Args:
      affine_size: number of inputs of the dense layer, checked where given.

    Raises:
      ValueError: filters of both lengths, images too small, or another `affine_size`.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int,
                 filter_list: Sequence[Sequence[int]], activation: Activation = tf.nn.relu,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0,
                 affine_size: Optional[int] = None) -> None:
        lengths = set(map(len, filter_list))
        if lengths not in ({3}, {4}):
            raise ValueError('filters must all be triples, or all have a stride, not %s'
                             % (filter_list,))
        layers = [_pooled_layer(*conv_filter) if len(conv_filter) == 4
                  else _biased_layer(*conv_filter) for conv_filter in filter_list]
        super().__init__(
            image_shape, n_classes, layers, activation, (), random_seed, noise_stdev)
        if affine_size not in (None, self.affine_size):
            raise ValueError('the dense layer has %s inputs, not %s'
                             % (self.affine_size, affine_size))

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        return self.activation(super().inference(parameters, data))


class VGG(_ConvClassifier):
    """Blocks of 3 x 3 SAME convolutions, each block ended by 2 x 2 max-pooling; dense layers.

    Simonyan and Zisserman, arXiv 1409.1556. Parameters: filter and bias of each convolution, then
    W and b of each dense layer. Weights start at N(0, 2 / inputs) (arXiv 1502.01852, section
    2.2), biases at 0.

    Args:
      blocks: for each block the channels of its convolutions, for example
        `((16, 16), (32, 32))`.
      dense_sizes: units of the dense layers before the last.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int, blocks: Sequence[Sequence[int]],
                 dense_sizes: Sequence[int] = (), activation: Activation = tf.nn.relu,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        layers = [_biased_layer(3, 3, channels)._replace(pooled=index == len(block) - 1)
                  for block in blocks for index, channels in enumerate(block)]
        super().__init__(
            image_shape, n_classes, layers, activation, dense_sizes, random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        values = Problem.init_tensors(self, seed)
        return [value * (np.sqrt(2 / np.prod(shape[:-1])) if len(shape) > 1 else 0.0)
                for value, shape in zip(values, self.param_shapes)]
