"""NormalizedMLP: its formula in plain numpy, its scales, and what must be safe."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from optimizer.normalized_mlp import NormalizedMLP
from problems.problem import Problem

SHAPES = [(), (3,), (5, 8), (1,), (3, 3, 2, 4), (80, 60), (70, 59)]
MATRICES = sum(len(shape) > 1 for shape in SHAPES)


def meta_parameters(rng):
    """Values that no coefficient is trivial with."""
    shapes = {'linear/w': (13, 6), 'linear/b': (6,), 'hidden/w': (13, 16), 'hidden/b': (16,),
              'output/w': (16, 6)}
    values = {name: 0.15 * rng.standard_normal(shape) for name, shape in shapes.items()}
    values['linear/b'][0] -= 5.0
    return values


def half_log(mean_square):
    return 0.5 * np.log(mean_square + np.exp(-14.0)) + 3.5


def softsign(x):
    return x / (1.0 + np.abs(x))


def formula_step(theta, g, x, moments, t, num_steps):
    """One step of one tensor, as the class describes it: the step and the new moments."""
    fast, slow, square = moments
    fast = 0.9 * fast + 0.1 * g
    slow = 0.99 * slow + 0.01 * g
    square = 0.99 * square + 0.01 * g ** 2
    m1, m2, v = fast / (1 - 0.9 ** t), slow / (1 - 0.99 ** t), square / (1 - 0.99 ** t)
    share = min(1.0, (t - 1) / num_steps) if num_steps else 0.0
    fan_in = np.prod(x.shape[:-1])
    inputs = np.array(
        [half_log(np.mean(value ** 2) / np.mean(v)) for value in (m1, m2, g)]
        + [half_log(np.mean(x ** 2)), x.ndim > 1, 0.5 * np.log(fan_in) - 1.5,
           0.25 * np.log(x.size) - 1.5, np.log(MATRICES) - 1.5, np.log(t) / 3.0 - 1.0,
           bool(num_steps), share, share ** 2, np.log(1.0 - share + 0.01)])
    outputs = inputs @ theta['linear/w'] + theta['linear/b'] + np.tanh(
        inputs @ theta['hidden/w'] + theta['hidden/b']) @ theta['output/w']
    log_size, of_slow, of_gradient, log_smoothing, magnitude, agreement = outputs
    scale = 1.0 / np.sqrt(v + np.exp(np.clip(log_smoothing, -10, 3)) ** 2 * np.mean(v))
    d = (m1 + of_slow * m2 + of_gradient * g) * scale
    d = d * (1.0 + np.tanh(magnitude) * np.abs(softsign(d))
             + np.tanh(agreement) * softsign(d * g * scale))
    size = np.exp(np.clip(log_size, -16, 0))
    return -size * d / np.sqrt(np.mean(d ** 2) + 1e-4), (fast, slow, square)


@pytest.mark.parametrize('num_steps', [None, 6])
def test_steps_are_those_of_the_formula(num_steps):
    rng = np.random.RandomState(0)
    theta = meta_parameters(rng)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    gradients = [[0.1 * rng.standard_normal(shape) for shape in SHAPES] for _ in range(8)]
    expected, moments = [np.copy(x) for x in start], [(0.0, 0.0, 0.0)] * len(SHAPES)
    for t, of_step in enumerate(gradients, 1):
        for index, g in enumerate(of_step):
            step, moments[index] = formula_step(theta, g, expected[index], moments[index], t,
                                                num_steps)
            expected[index] = expected[index] + step
    found = trained(NormalizedMLP(num_steps), start, gradients, theta)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def trained(optimizer, start, gradients, theta=None, dtype=tf.float32):
    """The parameters after steps with these gradients."""
    variables = [tf.Variable(value, dtype=dtype) for value in start]
    places = [tf.placeholder(dtype, variable.shape) for variable in variables]
    train = optimizer.apply_gradients(zip(places, variables))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, value in (theta or {}).items():
            optimizer.named_meta_parameters['LOL/NormalizedMLP/' + name].load(value, session)
        for of_step in gradients:
            session.run(train, dict(zip(places, of_step)))
        return session.run(variables)


@pytest.mark.parametrize('factor', [1e-10, 1e12])
def test_steps_do_not_depend_on_the_size_of_the_gradient(factor):
    rng = np.random.RandomState(1)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    gradients = [[rng.standard_normal(shape) for shape in SHAPES] for _ in range(3)]
    found = trained(NormalizedMLP(random_seed=0), start,
                    [[factor * g for g in of_step] for of_step in gradients])
    expected = trained(NormalizedMLP(random_seed=0), start, gradients)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_nothing_moves_without_a_gradient():
    start = [np.ones(shape) for shape in SHAPES + [(0, 3)]]
    zeros = [np.zeros_like(value) for value in start]
    for one, other in zip(trained(NormalizedMLP(), start, [zeros] * 3), start):
        np.testing.assert_array_equal(one, other)


def test_parameters_of_zero_begin_to_move():
    start = [np.zeros(shape) for shape in SHAPES]
    for value in trained(NormalizedMLP(), start, [[np.ones(shape) for shape in SHAPES]] * 3):
        assert np.isfinite(value).all() and (value < 0.0).all()


def test_steps_vanish_once_gradients_do():
    """What is left of the momenta fades; it is not brought to RMS 1 for ever."""
    start, some = [np.zeros([4, 4])], [np.ones([4, 4])]
    silence = [[np.zeros([4, 4])]]
    early, late = (trained(NormalizedMLP(random_seed=0), start, [some] + silence * steps)[0]
                   for steps in (3000, 3100))
    np.testing.assert_allclose(late, early, rtol=1e-6)


def test_half_precision_with_small_gradients():
    start = [np.ones([20, 30])]
    gradients = [[np.full([20, 30], 6e-8)]] * 3
    found = trained(NormalizedMLP(), start, gradients, dtype=tf.float16)[0]
    assert np.isfinite(found).all() and (found < 1.0).all()


class Bowl(Problem):
    """A quadratic bowl."""

    def __init__(self):
        super().__init__([(4, 3)])

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(tf.square(parameters[0])) + 0.1


def test_an_unroll_takes_the_planned_number_of_steps_from_its_feed():
    """It counts where the optimizer's state begins."""
    fed, planned = NormalizedMLP(random_seed=0), NormalizedMLP(7, random_seed=0)
    unrolls = [optimizer.train(Bowl()) for optimizer in (fed, planned)]
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        reached = []
        for unroll, more in zip(unrolls, ({fed.planned_steps: 7.0}, {})):
            feed = {unroll.objective_weights: np.full(5, 0.2), unroll.batches: np.zeros([5, 0]),
                    unroll.initial_params[0]: np.ones([4, 3])}
            feed.update(more)
            reached.append(session.run(unroll.next_state, feed))
    assert reached[0].optimizer.num_steps == 7.0
    np.testing.assert_array_equal(reached[0].params[0], reached[1].params[0])


def test_sizes_fall_towards_the_planned_end():
    start, gradients = [np.zeros([4, 4])], [[np.ones([4, 4])]]
    path = [trained(NormalizedMLP(50, random_seed=0), start, gradients * steps)[0]
            for steps in (1, 2, 49, 50)]
    assert np.abs(path[3] - path[2]).max() < 0.5 * np.abs(path[1] - path[0]).min()


@pytest.mark.parametrize('arguments', [{'num_steps': 0}, {'units': 0}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match='num_steps and units of 1 or more'):
        NormalizedMLP(**arguments)
