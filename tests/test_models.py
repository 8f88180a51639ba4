"""Learned optimizers train real small models: every optimizer, and kinds of networks.

A fresh HierarchicalRNN already follows the gradient, as do the rules that are no networks; the
other recurrent optimizers are meta-trained for a moment first.
"""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from sklearn.datasets import load_diabetes, load_digits

from optimizer import build, load
from problems import problem_generator as pg


def dense(inputs, name, units, activation=None):
    """A layer in the manner of `tf.compat.v1.layers`: variables in a scope of their own."""
    with tf.variable_scope(name):
        kernel = tf.get_variable('kernel', [inputs.shape.as_list()[-1], units],
                                 initializer=tf.glorot_uniform_initializer(seed=1))
        bias = tf.get_variable('bias', [units], initializer=tf.zeros_initializer())
    outputs = tf.matmul(inputs, kernel) + bias
    return activation(outputs) if activation else outputs


def convolution(images, name, filters):
    with tf.variable_scope(name):
        kernel = tf.get_variable('kernel', [3, 3, images.shape.as_list()[-1], filters],
                                 initializer=tf.glorot_uniform_initializer(seed=1))
        bias = tf.get_variable('bias', [filters], initializer=tf.zeros_initializer())
    outputs = tf.nn.relu(tf.nn.conv2d(images, kernel, strides=1, padding='SAME') + bias)
    return tf.nn.max_pool2d(outputs, 2, 2, 'VALID')


def cross_entropy(logits, labels):
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits))


def digit_batch():
    """512 handwritten digits [512, 64] and their classes."""
    images, labels = load_digits(return_X_y=True)
    return (images[:512] / 16.0).astype('float32'), labels[:512].astype('int32')


def perceptron():
    images, labels = digit_batch()
    hidden = dense(tf.constant(images), 'hidden', 24, tf.nn.relu)
    return cross_entropy(dense(hidden, 'logits', 10), labels)


def convnet():
    images, labels = digit_batch()
    features = convolution(tf.reshape(tf.constant(images), [-1, 8, 8, 1]), 'first', 8)
    features = convolution(features, 'second', 16)
    return cross_entropy(dense(tf.reshape(features, [-1, 64]), 'logits', 10), labels)


def regression():
    features, targets = load_diabetes(return_X_y=True)
    targets = ((targets - targets.mean()) / targets.std()).astype('float32')
    hidden = dense(tf.constant((20.0 * features).astype('float32')), 'hidden', 8, tf.nn.tanh)
    return tf.reduce_mean(tf.square(dense(hidden, 'output', 1)[:, 0] - targets))


WORDS = ('the cat sat on the mat and the dog lay by the door while a bird sang in the tree '
         'and the child read of a fox that ran over the hill to its den').split()


def language():
    """Predicts the next of generated words from an embedding of the last two."""
    vocabulary = sorted(set(WORDS))
    rng = np.random.RandomState(0)
    follows = {word: rng.choice(len(vocabulary), 2) for word in range(len(vocabulary))}
    text = [0, 1]
    while len(text) < 400:
        text.append(follows[text[-1]][rng.randint(2)])
    text = np.array(text, 'int32')
    table = tf.get_variable('table', [len(vocabulary), 6],
                            initializer=tf.random_uniform_initializer(-0.5, 0.5, seed=1))
    context = tf.nn.embedding_lookup(table, np.stack([text[:-2], text[1:-1]], 1))
    hidden = dense(tf.reshape(context, [-1, 12]), 'hidden', 16, tf.nn.tanh)
    return cross_entropy(dense(hidden, 'logits', len(vocabulary)), text[2:])


MODELS = {'perceptron': perceptron, 'convnet': convnet, 'regression': regression,
          'language': language}


def losses(optimizer, loss, steps):
    """The loss at first and after the steps."""
    train = optimizer.minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(steps):
            session.run(train)
        return before, session.run(loss)


@pytest.mark.parametrize('name', sorted(MODELS))
def test_loaded_optimizer_trains(run_folder, name):
    before, after = losses(load(run_folder), MODELS[name](), 40)
    assert np.isfinite(after) and after < 0.9 * before


@pytest.mark.parametrize('name, arguments', [
    ('GlobalLearningRate', {'initial_rate': 0.1}),
    ('LearningRateSchedule', {'initial_rate': 0.1, 'n_steps': 10}),
    ('TrainableAdam', {'learning_rate': 0.01}),
    ('NormalizedMLP', {'num_steps': 40, 'random_seed': 0}),
])
@pytest.mark.parametrize('model', ['perceptron', 'language'])
def test_hand_made_rules_train(name, arguments, model):
    before, after = losses(build(name, arguments), MODELS[model](), 40)
    assert np.isfinite(after) and after < 0.99 * before


@pytest.mark.slow
@pytest.mark.parametrize('name, arguments', [
    ('CoordinatewiseRNN', {'cell_sizes': [8], 'cell_cls': 'LSTMCell', 'random_seed': 1,
                           'init_lr_range': [1e-3, 1e-3]}),
    ('RNNProp', {'random_seed': 1}), ('L2ODM', {'random_seed': 1}),
])
def test_meta_trained_recurrent_optimizers_train(name, arguments):
    """Some steps of meta-training on a quadratic: then the optimizer trains a model."""
    learned, loss = build(name, arguments), regression()
    meta_step, unroll, feed = meta_training(learned)
    train = learned.minimize(loss)
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for _ in range(60):
            session.run([meta_step, unroll.carry], feed)
        before = session.run(loss)
        for _ in range(20):
            session.run(train)
        assert session.run(loss) < 0.95 * before


def meta_training(learned):
    """One meta-step on a quadratic, the unroll, and what to feed."""
    unroll = learned.train(pg.IsotropicQuadratic([(20,)]))
    variables = learned.meta_parameters
    gradients, _ = tf.clip_by_global_norm(tf.gradients(unroll.meta_objective, variables), 1.0)
    step = tf.train.AdamOptimizer(0.01).apply_gradients(zip(gradients, variables))
    start = 0.1 * np.random.RandomState(0).standard_normal(20)
    return step, unroll, {unroll.objective_weights: np.full(20, 0.05),
                          unroll.batches: np.zeros([20, 0]), unroll.initial_params[0]: start}
