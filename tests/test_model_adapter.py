"""ModelAdapter: ordinary model code as a problem."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from problems import problem_generator as pg
from problems.model_adapter import ModelAdapter


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x ** 2) ** 2


def shared_weights(use_resource=None):
    """w is used twice, v comes from tf.Variable, c is a constant drawn at random."""
    def make_loss():
        constant = tf.get_variable('c', [], trainable=False, use_resource=use_resource,
                                   initializer=tf.random_uniform_initializer(1.0, 2.0))
        loss = constant * tf.Variable(tf.ones([2]), name='v', use_resource=use_resource)
        for reuse in (False, True):
            with tf.variable_scope('layer', reuse=reuse):
                loss *= tf.get_variable('w', [2], use_resource=use_resource)
        return tf.reduce_sum(loss)

    return make_loss, None


def test_rosenbrock_is_the_problem_of_the_same_name():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
    assert problem.param_shapes == [(1,), (1,)]
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = [tf.constant([0.5]), tf.constant([-2.0])]
        objective = problem.objective(parameters)
        gradients = problem.gradients(objective, parameters)
        session.run(tf.local_variables_initializer())
        value, gradient = session.run([objective, gradients])
    np.testing.assert_allclose(value, rosenbrock(0.5, -2.0), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(gradient), [449.0, -450.0], rtol=1e-5)


def test_init_fn_initializes_the_constants():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
    with tf.Graph().as_default(), tf.Session() as session:
        objective = problem.objective([tf.constant([1.0]), tf.constant([2.0])])
        problem.init_fn(session)
        assert session.run(objective) == 100.0


def test_variables_are_local_and_hidden_from_optimizers():
    with tf.Graph().as_default():
        problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
        assert not tf.local_variables()
        problem.objective(problem.init_tensors())
        problem.objective(problem.init_tensors())
        assert [variable.op.name for variable in tf.local_variables()] == ['adapted_model/c']
        assert not tf.global_variables() and not tf.trainable_variables()


def test_two_adapters_of_one_model_live_in_one_graph():
    with tf.Graph().as_default(), tf.Session() as session:
        problems = [ModelAdapter(pg.make_rosenbrock_loss_and_init) for _ in range(2)]
        objectives = [problem.objective([tf.ones([1]), tf.ones([1])]) for problem in problems]
        session.run(tf.local_variables_initializer())
        assert session.run(objectives) == [0.0, 0.0]


@pytest.mark.parametrize('use_resource', [False, True])
def test_shared_and_plain_variables_are_replaced(use_resource):
    problem = ModelAdapter(shared_weights, use_resource=use_resource)
    assert problem.param_shapes == [(2,), (2,)]
    with tf.Graph().as_default(), tf.Session() as session:
        initial = problem.init_tensors()
        parameters = [tf.constant([1.0, 2.0]), tf.constant([3.0, 5.0])]
        objectives = [problem.objective(parameters) for _ in range(2)]
        session.run(tf.local_variables_initializer())
        values, initial = session.run([objectives, initial])
    assert values[0] == values[1]
    assert 59.0 <= values[0] <= 118.0
    np.testing.assert_array_equal(initial[0], [1.0, 1.0])


def test_descends_inside_a_while_loop():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)

    def step(count, *parameters):
        objective = problem.objective(list(parameters))
        gradients = problem.gradients(objective, parameters)
        moved = [p - 1e-3 * g for p, g in zip(parameters, gradients)]
        return [count + 1] + moved

    with tf.Graph().as_default(), tf.Session() as session:
        start = [tf.constant(0), tf.constant([0.0]), tf.constant([0.5])]
        final = tf.while_loop(lambda count, *_: count < 50, step, start)
        session.run(tf.local_variables_initializer())
        _, x, y = session.run(final)
    assert rosenbrock(x[0], y[0]) < rosenbrock(0.0, 0.5) / 10


def test_scopes_made_unique_are_no_trouble():
    def build():
        def make_loss():
            with tf.variable_scope(None, default_name='layer'):
                return tf.reduce_sum(tf.get_variable('w', [3]) ** 2)

        return make_loss, None

    problem = ModelAdapter(build)
    with tf.Graph().as_default(), tf.Session() as session:
        for _ in range(3):
            objective = problem.objective([tf.fill([3], 2.0)])
        assert session.run(objective) == 12.0


def test_errors():
    with pytest.raises(ValueError, match='no trainable'):
        ModelAdapter(lambda: (lambda: tf.constant(1.0), None))
    with tf.Graph().as_default(), pytest.raises(ValueError, match='2 parameter tensors, not 1'):
        ModelAdapter(pg.make_rosenbrock_loss_and_init).objective([tf.zeros([1])])
