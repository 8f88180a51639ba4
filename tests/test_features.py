"""The formulas that the learned optimizers share."""

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import features
from optimizer.layout import Layout


def run(*tensors):
    with tf.Session() as session:
        return session.run(tensors)


def test_mean_square_starts_with_the_first_gradient():
    gradient = tf.constant([[2.0, 3.0]])
    first, later = run(features.mean_square(gradient, tf.constant([[0.9, 0.5]]), tf.zeros([1, 2])),
                       features.mean_square(gradient, tf.constant([[0.9, 0.5]]), tf.ones([1, 2])))
    np.testing.assert_allclose(first, [[4.0, 9.0]], rtol=1e-6)
    np.testing.assert_allclose(later, [[0.9 + 0.4, 0.5 + 4.5]], rtol=1e-6)


def test_each_parameter_begins_its_mean_square_when_it_is_used_first():
    """Rows of an embedding and variables of one chunk may be of different ages."""
    gradient, before = tf.fill([2, 3], 2.0), tf.constant([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    value, = run(features.mean_square(gradient, tf.fill([1, 3], 0.9), before))
    np.testing.assert_allclose(value, [[4.0, 1.3, 4.0]] * 2, rtol=1e-6)


def test_rms_scale():
    gradient, mean_square = tf.constant([[0.0, 3.0, -3e-5]]), tf.constant([[0.0, 9.0, 9e-10]])
    value, = run(features.rms_scale(gradient, mean_square))
    np.testing.assert_allclose(value, [[0.0, np.arcsinh(1.0), -np.arcsinh(1.0)]], rtol=1e-5)


KEY = np.array([1, 2], 'int32')


def test_initial_log_rates():
    many, same = run(features.initial_log_rates([1000], (1e-6, 1e-2), KEY),
                     features.initial_log_rates([3], (1e-3, 1e-3), KEY))
    np.testing.assert_allclose(same, np.log(1e-3), rtol=1e-6)
    assert np.log(1e-6) <= many.min() < many.max() <= np.log(1e-2)
    assert 0.3 < (many.max() - many.min()) / np.log(1e4) <= 0.5


def test_rows_of_initial_log_rates_are_those_of_each_tensor():
    layout = Layout([(3, 5), (), (70, 70), (4,)], max_chunk=4096)
    rows = layout.to_tensors(features.initial_log_rate_rows(layout, (1e-6, 1e-2), KEY))
    alone = [features.initial_log_rates(shape, (1e-6, 1e-2), KEY + [index, 0])
             for index, shape in enumerate(layout.shapes)]
    for found, expected in zip(run(*rows), run(*alone)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_initial_log_rates_are_sums_of_two_draws():
    parts = [tf.random.stateless_uniform(shape, KEY + [0, part], np.log(1e-6) / 2, np.log(1e-2) / 2)
             for part, shape in enumerate(([7], []))]
    found, expected = run(features.initial_log_rates([7], (1e-6, 1e-2), KEY), tf.add_n(
        [parts[0], tf.zeros([7]) + parts[1]]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_asinh():
    x = tf.constant([-1e4, -2.0, -1e-4, 0.0, 1e-6, 0.3, 1e4])
    value, slope = run(features.asinh(x), tf.gradients(features.asinh(x), x)[0])
    exact = np.array([-1e4, -2.0, -1e-4, 0.0, 1e-6, 0.3, 1e4])
    np.testing.assert_allclose(value, np.arcsinh(exact), rtol=1e-6)
    np.testing.assert_allclose(slope, 1.0 / np.sqrt(exact ** 2 + 1.0), rtol=1e-4)
