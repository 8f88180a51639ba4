"""Meta-train an optimizer: `python -m examples.meta_train`, or the notebook of this name.

A small recurrent network, RNNProp, decides every step that trains a classifier of digits. The
gradient of how well 20 such steps went, taken through all of them, improves the network.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import RNNProp
from problems import datasets
from problems.perceptrons import Perceptron

tf.disable_eager_execution()
tf.enable_control_flow_v2()  # for gradients of gradients through a loop, in TensorFlow 1.15
tf.set_random_seed(1)
rng = np.random.RandomState(1)

# What is optimized: a perceptron with 16 hidden units on 1,500 images of 8 x 8 pixels.
digits = datasets.images(source=datasets.DataSource('digits'), side=8)
problem = Perceptron(64, 10, hidden_sizes=(16,))

# The learned optimizer, and an unroll: its run on the problem, differentiable as a whole. The
# meta-objective is the mean logarithm of the losses, relative to the first.
learned = RNNProp(random_seed=1)
unroll = learned.train(problem, digits)

# Adam follows the gradient of the meta-objective.
weights = learned.meta_parameters
gradients, _ = tf.clip_by_global_norm(tf.gradients(unroll.meta_objective, weights), 1.0)
meta_step = tf.train.AdamOptimizer(1e-3).apply_gradients(zip(gradients, weights))


def run_of(steps):
    """What to feed for a run of so many steps, on random batches of 64 images."""
    return {unroll.objective_weights: np.full(steps, 1.0 / steps),
            unroll.batches: digits.batch_indices(steps, 64, rng)}


# Validation: longer runs, always from the same start and on the same batches.
validation = run_of(100)
validation.update(zip(unroll.initial_params, problem.initial_values(seed=1)))
with tf.Session() as session:
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    for episode in range(101):
        if episode % 20 == 0:
            loss = session.run(unroll.problem_objectives, validation)[-1]
            print('%3d meta-steps: loss %.3f after 100 steps' % (episode, loss))
        session.run(meta_step, run_of(20))
