"""Write a problem of your own, or bring a TensorFlow model: `python -m examples.own_problem`."""

import numpy as np
import tensorflow.compat.v1 as tf

import metaopt
from optimizer import load
from problems.datasets import Dataset
from problems.model_adapter import ModelAdapter
from problems.problem import Problem

tf.disable_eager_execution()
inputs = np.random.RandomState(1).standard_normal([500, 8])
targets = np.abs(inputs).sum(1)


class AbsoluteError(Problem):
    """Linear regression, by the mean absolute error."""

    needs_data = True

    def __init__(self, n_features):
        super().__init__([(n_features, 1), (1,)])  # the shapes of the parameters

    def _objective(self, parameters, data, labels):
        weights, bias = parameters
        return tf.reduce_mean(tf.abs(tf.matmul(data, weights)[:, 0] + bias - labels))


def my_model():
    """A model with variables of its own, as in any program for TensorFlow 1."""
    def make_loss():
        hidden = tf.get_variable('hidden', [8, 32])
        output = tf.get_variable('output', [32, 1])
        bias = tf.get_variable('bias', [32], initializer=tf.zeros_initializer())
        layer = tf.nn.relu(tf.matmul(tf.constant(inputs, tf.float32), hidden) + bias)
        return tf.losses.mean_squared_error(targets, tf.matmul(layer, output)[:, 0])

    return make_loss, None  # None: each variable begins as its initializer says


# Both are problems like all others: to test optimizers on, as here, or to meta-train on.
for problem, dataset in ((AbsoluteError(8), Dataset(inputs, targets)),
                         (ModelAdapter(my_model), None)):
    for name, make in (('Adam', lambda: tf.train.AdamOptimizer(1e-2)),
                       ('normalized_mlp', lambda: load('normalized_mlp', num_steps=300))):
        with tf.Graph().as_default():
            losses, _, _ = metaopt.test_optimizer(make(), problem, 300, dataset, 50, seed=1)
        print('%s, %s: loss %.3f after 300 steps' % (type(problem).__name__, name, losses[-1]))
