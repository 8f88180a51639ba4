"""The layout and the formulas that all optimizers share."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import trainable_optimizer, utils

shapes = st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=12)


def run(*tensors):
    with tf.Session() as session:
        return session.run(tensors)


def arrays(some_shapes):
    rng = np.random.RandomState(0)
    return [rng.standard_normal(shape).astype('float32') for shape in some_shapes]


@settings(max_examples=25, deadline=None)
@given(shapes, st.integers(1, 40), st.integers(1, 4))
def test_layout_round_trip(some_shapes, max_chunk, max_pieces):
    """Every number has one place; sums over pieces add up to the means of whole tensors."""
    with tf.Graph().as_default():
        layout = utils.Layout(some_shapes, max_chunk, max_pieces).prepare()
        tensors = arrays(some_shapes)
        rows = layout.to_chunks(tensors)
        back = layout.to_tensors(rows)
        means = layout.tensor_means([chunk.sums(row) for chunk, row in zip(layout.chunks, rows)])
        rows, back, means = run(rows, back, means)
    assert [row.shape for row in rows] == [(1, chunk.size) for chunk in layout.chunks]
    assert all(len(chunk.pieces) <= max_pieces for chunk in layout.chunks)
    assert sum(piece.size for piece in layout.pieces) == sum(value.size for value in tensors)
    assert means.shape == (1, len(tensors))
    for index, (found, value) in enumerate(zip(back, tensors)):
        np.testing.assert_array_equal(found, value)
        expected = value.mean() if value.size else 0.0
        np.testing.assert_allclose(means[0, index], expected, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(shapes, st.integers(1, 40))
def test_columns_spread_over_their_pieces(some_shapes, max_chunk):
    with tf.Graph().as_default():
        layout = utils.Layout(some_shapes, max_chunk, max_pieces=3).prepare()
        own = np.arange(1.0, 1 + len(some_shapes), dtype='float32')[np.newaxis]
        columns = layout.per_piece(tf.constant(own))
        rows = [chunk.spread(chunk.take(columns)) + tf.zeros([1, chunk.size])
                for chunk in layout.chunks]
        tensors = run(layout.to_tensors(rows))[0]
    for index, value in enumerate(tensors):
        np.testing.assert_array_equal(value, np.full(some_shapes[index], index + 1))


def test_tables_have_as_many_rows_as_are_in_use():
    """Behind other chunks, without padding; means are over the rows in use."""
    layout = utils.Layout([(5,), (7, 2), (3,), (4,)]).with_tables([1, 3])
    layout = layout.in_use([tf.constant(3), tf.constant(0)]).prepare()
    tensors = arrays([(5,), (3, 2), (3,), (0,)])
    rows = layout.to_chunks(tensors)
    means = layout.tensor_means([chunk.sums(row) for chunk, row in zip(layout.chunks, rows)])
    own = layout.per_piece(tf.constant([[0.0, 1.0, 2.0, 3.0]]))
    spread = layout.to_tensors([chunk.spread(chunk.take(own)) + tf.zeros_like(row)
                                for chunk, row in zip(layout.chunks, rows)])
    rows, back, means, spread = run(rows, layout.to_tensors(rows), means, spread)
    assert [row.shape for row in rows] == [(1, 16), (1, 6), (1, 0)]
    np.testing.assert_allclose(means[0], [each.mean() if each.size else 0.0 for each in tensors],
                               rtol=1e-5)
    for index, value in enumerate(tensors):
        np.testing.assert_array_equal(back[index], value)
        np.testing.assert_array_equal(spread[index], np.full(value.shape, index))


def test_static_shapes_names_the_variable():
    known = tf.placeholder(tf.float32, [2, 3], name='known')
    unknown = tf.placeholder(tf.float32, [None, 3], name='vague')
    assert utils.static_shapes([known]) == [[2, 3]]
    with pytest.raises(ValueError, match='vague'):
        utils.static_shapes([known, unknown])


def test_mean_square_starts_with_the_first_gradient():
    gradient = tf.constant([[2.0, 3.0]])
    first, later = run(utils.mean_square(gradient, tf.constant([[0.9, 0.5]]), tf.zeros([1, 2])),
                       utils.mean_square(gradient, tf.constant([[0.9, 0.5]]), tf.ones([1, 2])))
    np.testing.assert_allclose(first, [[4.0, 9.0]], rtol=1e-6)
    np.testing.assert_allclose(later, [[0.9 + 0.4, 0.5 + 4.5]], rtol=1e-6)


def test_each_parameter_begins_its_mean_square_when_it_is_used_first():
    """Rows of an embedding and variables of one chunk may be of different ages."""
    gradient, before = tf.fill([2, 3], 2.0), tf.constant([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    value, = run(utils.mean_square(gradient, tf.fill([1, 3], 0.9), before))
    np.testing.assert_allclose(value, [[4.0, 1.3, 4.0]] * 2, rtol=1e-6)


def test_rms_scale():
    gradient, mean_square = tf.constant([[0.0, 3.0, -3e-5]]), tf.constant([[0.0, 9.0, 9e-10]])
    value, = run(utils.rms_scale(gradient, mean_square))
    np.testing.assert_allclose(value, [[0.0, np.arcsinh(1.0), -np.arcsinh(1.0)]], rtol=1e-5)


KEY = np.array([1, 2], 'int32')


def test_initial_log_rates():
    many, same = run(utils.initial_log_rates([1000], (1e-6, 1e-2), KEY),
                     utils.initial_log_rates([3], (1e-3, 1e-3), KEY))
    np.testing.assert_allclose(same, np.log(1e-3), rtol=1e-6)
    assert np.log(1e-6) <= many.min() < many.max() <= np.log(1e-2)
    assert 0.3 < (many.max() - many.min()) / np.log(1e4) <= 0.5


def test_variables_like_names_and_values():
    nest = trainable_optimizer.Update(steps=[tf.ones([2]), tf.zeros([])], attention=[],
                                      state=tf.constant([3.0]))
    variables = trainable_optimizer.variables_like(nest, 'here')
    assert [variable.op.name for variable in tf.nest.flatten(variables)] == [
        'here/steps/0', 'here/steps/1', 'here/state']
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        assert session.run(variables).state == [3.0]


def test_asinh():
    x = tf.constant([-1e4, -2.0, -1e-4, 0.0, 1e-6, 0.3, 1e4])
    value, slope = run(utils.asinh(x), tf.gradients(utils.asinh(x), x)[0])
    exact = np.array([-1e4, -2.0, -1e-4, 0.0, 1e-6, 0.3, 1e4])
    np.testing.assert_allclose(value, np.arcsinh(exact), rtol=1e-6)
    np.testing.assert_allclose(slope, 1.0 / np.sqrt(exact ** 2 + 1.0), rtol=1e-4)
