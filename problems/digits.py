"""Small classifiers of the embedded digits, 8 x 8 pixels: what the shipped optimizers learned from.

A problem comes once for each way to begin it; a step takes about a millisecond.
"""

import functools
from typing import List, Optional

import tensorflow.compat.v1 as tf

from problems import datasets, image_files
from problems.convnets import VGG
from problems.perceptrons import Perceptron
from problems.problem_generator import ConvNetOrig, FullyConnected, SoftmaxRegression
from problems.problem_spec import Row, Spec


@functools.lru_cache(maxsize=None)
def _digits():
    return datasets.images(True, image_files.DataSource('digits'), 8)


def _row(name, batch_size, problem, *args, **kwargs):
    return Row(Spec(problem, args, kwargs), _digits(), batch_size, name=name)


def _perceptron(name, batch_size, hidden_sizes, activation, small):
    """All parameters begin at N(0, 0.01^2), or as He et al. or Glorot and Bengio say."""
    return _row('%s_%s' % (name, 'small' if small else 'scaled'), batch_size,
                FullyConnected if small else Perceptron, 64, 10, hidden_sizes=hidden_sizes,
                activation=activation)


def training_problems(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Small perceptrons and convnets on the embedded digits, to meta-train on."""
    del source
    sigmoid, relu, tanh = tf.nn.sigmoid, tf.nn.relu, tf.nn.tanh
    return [
        _perceptron('sigmoid_20', 64, (20,), sigmoid, small=True),
        _perceptron('sigmoid_20', 64, (20,), sigmoid, small=False),
        _perceptron('relu_20', 64, (20,), relu, small=True),
        _perceptron('relu_20', 64, (20,), relu, small=False),
        _perceptron('relu_16_16', 32, (16, 16), relu, small=False),
        _perceptron('sigmoid_16_16', 64, (16, 16), sigmoid, small=True),
        _perceptron('sigmoid_16_16', 64, (16, 16), sigmoid, small=False),
        _perceptron('tanh_12', 32, (12,), tanh, small=False),
        _row('softmax', 64, SoftmaxRegression, 64, 10),
        _row('convnet_4_4_small', 32, ConvNetOrig, (1, 8, 8), 10, [(3, 3, 4)] * 2, activation=relu),
        _row('convnet_4_4_scaled', 32, VGG, (1, 8, 8), 10, ((4,), (4,))),
    ]


def validation_problems(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Classifiers of other sizes on the same digits, to choose among meta-parameters."""
    del source
    sigmoid, relu = tf.nn.sigmoid, tf.nn.relu
    return [
        _perceptron('sigmoid_32', 128, (32,), sigmoid, small=True),
        _perceptron('relu_32', 128, (32,), relu, small=False),
        _perceptron('sigmoid_20_20', 128, (20, 20), sigmoid, small=True),
        _row('convnet_6_6', 64, ConvNetOrig, (1, 8, 8), 10, [(3, 3, 6)] * 2, activation=relu),
    ]
