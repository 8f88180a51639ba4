"""The hand-made rules of `l2o.evaluation.rivals`: their formulas in plain numpy, and Keras's."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.evaluation import rivals, rules

SHAPES = [(3,), (4, 6), (6, 4), (2, 2, 3, 5)]
STEPS = 60  # more than the warm-up


def start_and_gradients(shapes=None, steps=STEPS):
    rng = np.random.RandomState(0)
    shapes = shapes or SHAPES
    start = [rng.standard_normal(shape) for shape in shapes]
    return start, [[rng.standard_normal(shape) for shape in shapes] for _ in range(steps)]


def trained(rule, start, gradients, wanted=lambda rule, variables: variables):
    """What is wanted after steps with these gradients."""
    variables = [tf.Variable(value, dtype=tf.float32) for value in start]
    places = [tf.placeholder(tf.float32, variable.shape) for variable in variables]
    train = rule.apply_gradients(zip(places, variables))
    found = wanted(rule, variables)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for of_step in gradients:
            session.run(train, dict(zip(places, of_step)))
        return session.run(found)


def lion(start, gradients, rate, decay):
    x, m = [np.copy(value) for value in start], [0.0 * value for value in start]
    for of_step in gradients:
        for i, g in enumerate(of_step):
            x[i] = x[i] - rate * (np.sign(0.9 * m[i] + 0.1 * g) + decay * x[i])
            m[i] = 0.99 * m[i] + 0.01 * g
    return x


def orthogonal(matrix):
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def muon(start, gradients, rate, decay):
    x = [np.copy(value) for value in start]
    m, v = ([0.0 * value for value in start] for _ in range(2))
    for t, of_step in enumerate(gradients, 1):
        for i, g in enumerate(of_step):
            if g.ndim < 2:
                m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g ** 2
                move = m[i] / (1 - 0.9 ** t) / (np.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8)
            else:
                m[i] = 0.95 * m[i] + g
                matrix = (g + 0.95 * m[i]).reshape(-1, g.shape[-1])
                move = orthogonal(matrix).reshape(g.shape) * np.sqrt(
                    max(1, matrix.shape[0] / matrix.shape[1]))
            x[i] = x[i] - rate * decay * x[i] - rate * move
    return x


def prodigy(start, gradients, rate, decay):
    x = [np.copy(value) for value in start]
    m, v, s = ([0.0 * value for value in start] for _ in range(3))
    d, r, root = 1e-6, 0.0, np.sqrt(0.999)
    for of_step in gradients:
        inner = sum(np.sum(g * (first - here)) for g, first, here in zip(of_step, start, x))
        r = root * r + (1 - root) * rate * d ** 2 * inner
        for i, g in enumerate(of_step):
            m[i] = 0.9 * m[i] + 0.1 * d * g
            v[i] = 0.999 * v[i] + 0.001 * d ** 2 * g ** 2
            s[i] = root * s[i] + (1 - root) * rate * d ** 2 * g
            x[i] = x[i] - rate * d * (m[i] / (np.sqrt(v[i]) + d * 1e-8) + decay * x[i])
        d = max(d, r / sum(np.abs(each).sum() for each in s))
    return x


def schedule_free(start, gradients, rate, decay):
    """The averages."""
    x, z = [np.copy(value) for value in start], [np.copy(value) for value in start]
    v, weights = [0.0 * value for value in start], 0.0
    for t, of_step in enumerate(gradients, 1):
        here = rate * min(1.0, t / 50)
        weights += here ** 2
        share = here ** 2 / weights
        for i, g in enumerate(of_step):
            y = 0.1 * z[i] + 0.9 * x[i]
            v[i] = 0.999 * v[i] + 0.001 * g ** 2
            z[i] = z[i] - here * (g / (np.sqrt(v[i] / (1 - 0.999 ** t)) + 1e-8) + decay * y)
            x[i] = (1 - share) * x[i] + share * z[i]
    return x


@pytest.mark.parametrize('rule, formula, rate', [
    (rivals.Lion, lion, 1e-3), (rivals.Muon, muon, 0.02), (rivals.Prodigy, prodigy, 1.0)])
def test_steps_are_those_of_the_paper(rule, formula, rate):
    start, gradients = start_and_gradients()
    for one, other in zip(trained(rule(rate, weight_decay=0.1), start, gradients),
                          formula(start, gradients, rate, 0.1)):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_schedule_free_adamw_is_judged_at_its_average():
    start, gradients = start_and_gradients()
    found = trained(rivals.ScheduleFreeAdamW(0.01, weight_decay=0.1), start, gradients,
                    lambda rule, variables: rule.true_params(variables))
    for one, other in zip(found, schedule_free(start, gradients, 0.01, 0.1)):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_prodigy_finds_the_size_of_its_steps():
    target = np.array([3.0, -5.0], 'float32')
    x = tf.Variable(tf.zeros([2]))
    loss = tf.reduce_sum(tf.square(x - target))
    train = rivals.Prodigy(weight_decay=0.0).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(400):
            session.run(train)
        assert session.run(loss) < 0.1


def test_rows_without_a_gradient_count_as_rows_of_zeros():
    start = [np.ones([3, 2])]
    table = tf.Variable(start[0], dtype=tf.float32)
    slices = tf.IndexedSlices(tf.ones([2, 2]), tf.constant([2, 2]))
    train = rivals.Lion(0.1, weight_decay=0.5).apply_gradients([(slices, table)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        found = session.run(table)
    np.testing.assert_allclose(found, lion(start, [[np.array([[0, 0], [0, 0], [2, 2]])]], 0.1, 0.5)[
        0], rtol=1e-6)


def test_rules_without_schedule_or_rate_have_no_such_grid():
    found = rules.hand_tuned(['Muon', 'ScheduleFreeAdamW', 'Prodigy'], [0.01, 0.02],
                             ['constant', 'cosine'])
    assert [rules.label(each) for each in found] == [
        'Muon 0.01', 'Muon 0.02', 'Muon cosine 0.01', 'Muon cosine 0.02',
        'ScheduleFreeAdamW 0.01', 'ScheduleFreeAdamW 0.02', 'Prodigy 1', 'Prodigy cosine 1']


KERAS = """
import json, sys
import keras, numpy as np
name, options, start, gradients = json.load(sys.stdin)
variables = [keras.Variable(np.array(value, 'float32')) for value in start]
optimizer = getattr(keras.optimizers, name)(**options)
for of_step in gradients:
    optimizer.apply([keras.ops.convert_to_tensor(np.array(g, 'float32')) for g in of_step],
                    variables)
print(json.dumps([np.asarray(variable).tolist() for variable in variables]))
"""


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
@pytest.mark.parametrize('rule, options', [
    (rivals.Muon, {'rms_rate': None, 'weight_decay': 0.1, 'adam_weight_decay': 0.1,
                   'learning_rate': 0.02, 'epsilon': 1e-8, 'adam_beta_2': 0.999}),
    (rivals.Lion, {'weight_decay': 0.1, 'learning_rate': 0.02})])
def test_steps_are_those_of_keras(rule, options):
    """Where its Muon has no scale: on matrices that are not taller than wide."""
    start, gradients = start_and_gradients([(3,), (4, 6), (5, 5)], 8)
    found = subprocess.run(
        [sys.executable, '-c', KERAS], text=True, stdout=subprocess.PIPE,
        input=json.dumps([rule.__name__, options, [value.tolist() for value in start],
                          [[g.tolist() for g in of_step] for of_step in gradients]]),
        env=dict(os.environ, KERAS_BACKEND='tensorflow'), check=True).stdout
    expected = json.loads(found.splitlines()[-1])
    for one, other in zip(trained(rule(0.02, weight_decay=0.1), start, gradients), expected):
        np.testing.assert_allclose(one, np.array(other), rtol=1e-4, atol=1e-5)
