"""Random scaling changes coordinates, nothing else."""

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.techniques.random_scaling import RandomScaling
from problems import problem_generator as pg
from problems.problem_spec import Spec


def test_objective_and_gradient_are_those_of_the_scaled_point():
    problem = pg.SumTask([pg.Quadratic(3, random_seed=1), pg.Rosenbrock()])
    scaled = RandomScaling(problem)
    rng = np.random.RandomState(0)
    scales = scaled.draw(rng)
    at = [rng.randn(*shape).astype('float32') for shape in problem.param_shapes]
    points = [tf.constant(value) for value in at]
    there = [tf.constant(scale * value) for scale, value in zip(scales, at)]
    value, expected = scaled.objective(points), problem.objective(there)
    pairs = [(value, expected)] + [
        (gradient, scale * plain) for gradient, scale, plain in zip(
            scaled.gradients(value, points), scales, problem.gradients(expected, there))]
    with tf.Session() as session:
        for found, wanted in session.run(pairs, dict(zip(scaled.scales, scales))):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_scales_are_ones_until_they_are_fed():
    problem = pg.Quadratic(3, random_seed=1)
    point = [tf.ones([3, 1])]
    with tf.Session() as session:
        plain, scaled = session.run([problem.objective(point),
                                     RandomScaling(problem).objective(point)])
    assert plain == scaled


def test_the_noise_and_the_points_at_once_are_those_of_the_wrapped_problem():
    problem = pg.SparseProblem(Spec(pg.Quadratic, (200,), {'random_seed': 1}), 0.75)
    assert RandomScaling(problem).objectives is None
    scaled, point = RandomScaling(problem), [tf.ones([200, 1])]
    gradient, = scaled.gradients(scaled.objective(point), point, tf.constant([1, 2]))
    perceptron = RandomScaling(Spec(pg.FullyConnected, (3, 2), {'hidden_sizes': (3,)}))
    points = [tf.random.stateless_normal((2,) + tuple(shape), [1, 2])
              for shape in perceptron.param_shapes]
    data = tf.random.stateless_normal([4, 3], [3, 4]), tf.constant([0, 1, 1, 0])
    both = perceptron.objectives(points, *data)
    single = [perceptron.objective([point[index] for point in points], *data)
              for index in range(2)]
    scales = perceptron.draw(np.random.RandomState(0))
    with tf.Session() as session:
        assert 0.6 < np.mean(session.run(gradient) == 0.0) < 0.9
        both, single = session.run([both, single], dict(zip(perceptron.scales, scales)))
    np.testing.assert_allclose(both, single, rtol=1e-5)


def test_scales_are_log_uniform_between_their_bounds():
    scales = RandomScaling(pg.Quadratic(2000)).draw(np.random.RandomState(0), log_range=3.0)[0]
    logs = np.log(scales)
    assert -3 <= logs.min() < -2.9 and 2.9 < logs.max() <= 3
    assert abs(logs.mean()) < 0.2
