"""What is optimized in the benchmarks, and the optimizers that are compared."""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import OPTIMIZERS as LEARNED
from optimizer.hierarchical_rnn import PRESET
from problems import datasets
from problems import problem_generator as pg
from problems.convnets import VGG
from problems.language_models import Transformer
from problems.problem import Problem

BATCH_SIZE = 128

#: The models of the table: hidden layers of perceptrons from 784 features to 10 classes.
MODELS = collections.OrderedDict([
    ('MLP 784-20-10', (20,)),
    ('31-layer MLP', (50,) * 30),
    ('MLP 784-512-512-10', (512, 512)),
])

#: Name -> function that makes the optimizer; the first two are the yardsticks.
OPTIMIZERS = collections.OrderedDict([
    ('SGD', lambda: tf.train.GradientDescentOptimizer(0.01)),
    ('Adam', lambda: tf.train.AdamOptimizer(0.001)),
    ('HierarchicalRNN', lambda: hierarchical_rnn()),
])


#: The classes that are shipped in `pretrained/`, in the order of their speed.
SHIPPED = ('NormalizedMLP', 'HierarchicalRNN', 'RNNProp', 'L2ODM')


def shipped(name, xla=False):
    """A learned optimizer of a class that is shipped, with new meta-parameters."""
    preset = PRESET if name == 'HierarchicalRNN' else {}
    learned = LEARNED[name](random_seed=0, **preset)
    learned.xla = xla
    return learned


def hierarchical_rnn(xla=False):
    """A HierarchicalRNN as the scripts make it, with new meta-parameters."""
    return shipped('HierarchicalRNN', xla)


def perceptron(hidden_sizes, features=784, activation=tf.nn.sigmoid):
    return pg.FullyConnected(features, 10, hidden_sizes=hidden_sizes, activation=activation)


class Sum(Problem):
    """The sum of `size` parameters in two matrices: a gradient that costs next to nothing."""

    def __init__(self, size):
        super().__init__([(size // 2000, 1000)] * 2)

    def _objective(self, parameters, data, labels):
        return tf.add_n([tf.reduce_sum(parameter) for parameter in parameters])


def convnet():
    """A convnet of about 10^5 parameters for images of 28 x 28."""
    return VGG((1, 28, 28), 10, ((16,), (32,)), dense_sizes=(60,))


def transformer():
    """A transformer of about 10^5 parameters for windows of 32 characters."""
    return Transformer(64, length=32, width=64, n_heads=4, n_blocks=2)


def characters(size):
    """Windows of random characters."""
    rng = np.random.RandomState(0)
    return datasets.Dataset(rng.randint(64, size=(size, 33)).astype('float32'),
                            np.zeros(size, 'int32'), 'noise')


def examples(size, features=784):
    """A data set of noise: times do not depend on what is in it."""
    rng = np.random.RandomState(0)
    return datasets.Dataset(rng.standard_normal((size, features)).astype('float32'),
                            rng.randint(10, size=size).astype('int32'), 'noise')


def parameter_count(problem):
    return int(sum(np.prod(shape) for shape in problem.param_shapes))
