"""Random scaling changes coordinates, nothing else."""

import numpy as np
import tensorflow.compat.v1 as tf

from problems import problem_generator as pg
from techniques.random_scaling import RandomScaling


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


def test_scales_are_log_uniform_between_their_bounds():
    scales = RandomScaling(pg.Quadratic(2000)).draw(np.random.RandomState(0), log_range=3.0)[0]
    logs = np.log(scales)
    assert -3 <= logs.min() < -2.9 and 2.9 < logs.max() <= 3
    assert abs(logs.mean()) < 0.2
