"""The layout and the formulas that all optimizers share."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import trainable_optimizer
from optimizer.layout import Layout, static_shapes
from optimizer.types import Update

shapes = st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=12)


def run(*tensors):
    with tf.Session() as session:
        return session.run(tensors)


def arrays(some_shapes):
    rng = np.random.RandomState(0)
    return [rng.standard_normal(shape).astype('float32') for shape in some_shapes]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 40), st.integers(1, 4))
def test_layout_round_trip(some_shapes, max_chunk, max_pieces):
    """Every number has one place; sums over pieces add up to the means of whole tensors."""
    with tf.Graph().as_default():
        layout = Layout(some_shapes, max_chunk, max_pieces).prepare()
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


@settings(max_examples=15, deadline=None, derandomize=True)
@given(shapes, st.integers(1, 40))
def test_columns_spread_over_their_pieces(some_shapes, max_chunk):
    with tf.Graph().as_default():
        layout = Layout(some_shapes, max_chunk, max_pieces=3).prepare()
        own = np.arange(1.0, 1 + len(some_shapes), dtype='float32')[np.newaxis]
        columns = layout.per_chunk(tf.constant(own))
        rows = [chunk.spread(column) + tf.zeros([1, chunk.size])
                for chunk, column in zip(layout.chunks, columns)]
        tensors = run(layout.to_tensors(rows))[0]
    for index, value in enumerate(tensors):
        np.testing.assert_array_equal(value, np.full(some_shapes[index], index + 1))


def test_tables_have_as_many_rows_as_are_in_use():
    """Behind other chunks, without padding; means are over the rows in use."""
    layout = Layout([(5,), (7, 2), (3,), (4,)]).with_tables([1, 3])
    layout = layout.in_use([tf.constant(3), tf.constant(0)]).prepare()
    tensors = arrays([(5,), (3, 2), (3,), (0,)])
    rows = layout.to_chunks(tensors)
    means = layout.tensor_means([chunk.sums(row) for chunk, row in zip(layout.chunks, rows)])
    own = layout.per_chunk(tf.constant([[0.0, 1.0, 2.0, 3.0]]))
    spread = layout.to_tensors([chunk.spread(columns) + tf.zeros_like(row)
                                for chunk, columns, row in zip(layout.chunks, own, rows)])
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
    assert static_shapes([known]) == [[2, 3]]
    with pytest.raises(ValueError, match='vague'):
        static_shapes([known, unknown])


def test_variables_like_names_and_values():
    nest = Update(steps=[tf.ones([2]), tf.zeros([])], attention=[],
                                      state=tf.constant([3.0]))
    variables = trainable_optimizer.variables_like(nest, 'here')
    assert [variable.op.name for variable in tf.nest.flatten(variables)] == [
        'here/steps/0', 'here/steps/1', 'here/state']
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        assert session.run(variables).state == [3.0]
