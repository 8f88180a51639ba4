"""Write a learned optimizer of your own, and meta-train it: `python -m examples.own_rule`.

This one is momentum whose two constants are learned; `optimizer/l2o_dm.py` is a neural network.
"""

import tempfile

import tensorflow.compat.v1 as tf

import metaopt
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from problems import digits
from problems.problem_spec import Spec

tf.disable_eager_execution()
tf.enable_control_flow_v2()  # for gradients of gradients through a loop, in TensorFlow 1.15


class LearnedMomentum(CoordinatewiseOptimizer):
    """m <- decay m + g, then x <- x - rate m."""

    def __init__(self, name='LearnedMomentum', **kwargs):
        super().__init__(name, **kwargs)
        self.create_meta_parameter('log_rate', (), tf.constant_initializer(-6.0))
        self.create_meta_parameter('decay_logit', (), tf.constant_initializer(0.0))

    def initial_rows(self, size, theta, key):
        """The state of so many parameters before the first step."""
        return tf.zeros([1, size])

    def row_rule(self, weights, gradient, rows, steps_done):
        """One step of so many parameters, and their new state."""
        momentum = tf.sigmoid(weights['decay_logit']) * rows + gradient
        return -tf.exp(weights['log_rate']) * momentum, momentum


# Meta-training on small classifiers of digits: 40 episodes of 100 steps, a meta-step every 20.
folder = tempfile.mkdtemp(prefix='learned_momentum_')
result = metaopt.train_optimizer(
    folder, Spec(LearnedMomentum, (), {}), digits.training_problems()[:4], num_problems=1,
    num_meta_iterations=40, problems_at_once=4, fix_unroll=True, meta_optimizer='adam',
    learning_rate=0.05, evaluation_period=10, evaluation_epochs=2, seed=1)

row = digits.validation_problems()[1]
for trained in (None, folder):  # before and after, on another classifier
    with tf.Graph().as_default():
        losses, _, _ = metaopt.test_optimizer(LearnedMomentum(), row.spec.build(), 100, row.dataset,
                                              row.batch_size, seed=1, logdir=trained)
    print('%s: loss %.3f after 100 steps' % ('trained' if trained else 'untrained', losses[-1]))
