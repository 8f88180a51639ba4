"""What is optimized in the benchmarks, and the optimizers that are compared."""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.hierarchical_rnn import PRESET, HierarchicalRNN
from problems import datasets
from problems import problem_generator as pg

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


def hierarchical_rnn(xla=False):
    """A HierarchicalRNN as the scripts make it, with new meta-parameters."""
    learned = HierarchicalRNN(random_seed=0, **PRESET)
    learned.xla = xla
    return learned


def perceptron(hidden_sizes, features=784, activation=tf.nn.sigmoid):
    return pg.FullyConnected(features, 10, hidden_sizes=hidden_sizes, activation=activation)


def examples(size, features=784):
    """A data set of noise: times do not depend on what is in it."""
    rng = np.random.RandomState(0)
    return datasets.Dataset(rng.standard_normal((size, features)).astype('float32'),
                            rng.randint(10, size=size).astype('int32'), 'noise')


def parameter_count(problem):
    return int(sum(np.prod(shape) for shape in problem.param_shapes))
