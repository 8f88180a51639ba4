"""L2O-DM with a network of its own for the filters of convolutions."""

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.l2o_dm import L2ODM

SHAPES = [(2, 2, 1, 3), (3,), (4, 5), (3, 3, 40, 40)]


def test_filters_get_the_steps_of_their_network_and_all_else_those_of_the_other():
    rng = np.random.RandomState(1)
    apart, one = L2ODM(4, filters_apart=True), L2ODM(4)
    layout = apart.layout(SHAPES)
    theta = {name: tf.constant(rng.normal(size=value.shape), tf.float32)
             for name, value in apart.read_meta_parameters().items()}
    rest = {name: value for name, value in theta.items() if 'filters' not in name}
    of_filters = {name: theta[name.replace('L2ODM/', 'L2ODM/filters/')] for name in rest}
    assert set(rest) == set(one.read_meta_parameters()) and len(theta) == 2 * len(rest)
    gradients = layout.to_chunks([tf.constant(rng.normal(size=shape), tf.float32)
                                  for shape in SHAPES])

    def after_two_steps(optimizer, theta):
        rule = optimizer.update_rule(layout, theta)
        first = rule(gradients, optimizer.initial_state(layout, theta, tf.zeros([2], tf.int32)))
        return layout.to_tensors(rule(gradients, first.state).steps)

    with tf.Session() as session:
        found, of_filters, rest = session.run([
            after_two_steps(apart, theta), after_two_steps(one, of_filters),
            after_two_steps(one, rest)])
    for shape, step, from_filters, from_rest in zip(SHAPES, found, of_filters, rest):
        assert not np.allclose(from_filters, from_rest)
        np.testing.assert_array_equal(step, from_filters if len(shape) == 4 else from_rest)
