"""Persistent evolution strategies: the gradient of the smoothed objective of whole episodes."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.techniques import evolution_strategies
from optimizer import OPTIMIZERS
from optimizer.global_learning_rate import GlobalLearningRate
from problems import problem_generator as pg
from problems.convnets import VGG
from problems.datasets import Dataset
from problems.problem import Problem

RATE, SIGMA = 0.3, 0.1
PAIRS = 4000


class Parabola(Problem):
    """x^2 / 2 from x = 1: a step with rate r takes x to (1 - r) x."""

    def __init__(self):
        super().__init__([()])

    def _objective(self, parameters, data, labels):
        return 0.5 * tf.square(parameters[0])


class Mean(Problem):
    """Half the squared distance from one number to the mean of the examples."""

    needs_data = True

    def __init__(self):
        super().__init__([()])

    def _objective(self, parameters, data, labels):
        return 0.5 * tf.square(parameters[0] - tf.reduce_mean(data))


@pytest.mark.parametrize('objectives_of, expected', [
    ('examples', 0.5 * (0.7 - 2.0) ** 2), ('batches', 0.5 * (0.7 - 1.0) ** 2),
    ('other_batches', 0.5 * (0.7 - 3.0) ** 2)])
@pytest.mark.parametrize('estimator', ['backprop', 'pes'])
def test_objectives_are_of_the_examples_that_are_asked_for(estimator, objectives_of, expected):
    optimizer = GlobalLearningRate(RATE, use_log_objective=False)
    data = Dataset(np.array([[1.0], [3.0]], 'float32'), np.zeros(2, 'int32'))
    if estimator == 'pes':
        graph = evolution_strategies.build_unroll(
            optimizer, Mean(), data, evolution_strategies.Config(1, 1e-6), objectives_of)
    else:
        graph = optimizer.train(Mean(), data, objectives_of=objectives_of)
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        feed = {graph.objective_weights: [0.5, 0.5], graph.batches: [[0], [0]],
                graph.other_batches: [[1], [1]], graph.initial_params[0]: 0.7}
        objectives = session.run(graph.problem_objectives, feed)
    np.testing.assert_allclose(objectives[0], 0.5 * (0.7 - 2.0) ** 2, rtol=1e-5)
    np.testing.assert_allclose(objectives[1], expected, rtol=1e-4)


def gradients_of_unrolls(unrolls, pairs=PAIRS, weights=(0.0, 1.0), reuse=False):
    """The gradient of the rate in each of some unrolls of two steps, whose meta-objective is the
    relative objective after the first; by evolution strategies, and by back-propagation."""
    optimizer = GlobalLearningRate(RATE, use_log_objective=False)
    problem = Parabola()
    evolved = evolution_strategies.build_unroll(
        optimizer, problem, config=evolution_strategies.Config(pairs, SIGMA, reuse))
    truncated = optimizer.train(problem)
    back_propagated = tf.gradients(truncated.meta_objective, optimizer.meta_parameters)
    found = []
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for index in range(unrolls):
            both = []
            for graph, gradients in ((evolved, evolved.meta_gradients),
                                     (truncated, back_propagated)):
                feed = {graph.objective_weights: weights, graph.batches: np.zeros([2, 0]),
                        graph.first_unroll: index == 0, graph.initial_params[0]: 1.0,
                        graph.random_key: [3, index]}
                both.append(session.run([gradients, graph.carry], feed)[0][0])
            found.append(both)
    return np.array(found)


def smoothed(degree, count=20):
    """The derivative of E (1 - rate - e)^degree, e normal, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    values = -degree * (1.0 - RATE - SIGMA * nodes) ** (degree - 1)
    return np.dot(weights, values) / weights.sum()


def moment(degree, count=20):
    """E (1 - rate - e)^degree."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return np.dot(weights, (1.0 - RATE - SIGMA * nodes) ** degree) / weights.sum()


def test_the_gradient_of_one_unroll_is_that_of_the_smoothed_objective():
    (found, exact), = gradients_of_unrolls(1)
    np.testing.assert_allclose(exact, -2.0 * (1.0 - RATE), rtol=1e-5)
    np.testing.assert_allclose(found, smoothed(2), rtol=0.05)


def test_the_effect_on_later_unrolls_counts_where_truncation_leaves_it_out():
    """After an unroll of two steps the second one costs ((1 - r)^2 (1 - r'))^2, with the rates r of
    the first and r' of the second unroll, which are equal but for their perturbations."""
    found, truncated = gradients_of_unrolls(2)[1]
    whole = smoothed(4) * moment(2) + moment(4) * smoothed(2)
    only_within = -2.0 * (1.0 - RATE) ** 5
    np.testing.assert_allclose(truncated, only_within, rtol=1e-4)
    np.testing.assert_allclose(found, whole, rtol=0.1)
    assert abs(found - only_within) > 5 * abs(found - whole)


def test_a_perturbation_that_is_reused_lasts_for_the_episode():
    """Then the cost after the second unroll is (1 - r)^6 of one perturbed rate r."""
    found = gradients_of_unrolls(2, reuse=True)
    np.testing.assert_allclose(found[0, 0], smoothed(2), rtol=0.05)
    np.testing.assert_allclose(found[1, 0], smoothed(6), rtol=0.1)


@pytest.mark.parametrize('name, arguments', [
    ('HierarchicalRNN', {'level_sizes': [4, 3, 2], 'init_lr_range': (1e-2, 1e-2),
                         'use_attention': True}),
    ('RNNProp', {'units': 4}), ('NormalizedMLP', {'units': 4, 'num_steps': 12})])
def test_any_optimizer_can_be_trained(name, arguments):
    optimizer = OPTIMIZERS[name](random_seed=1, **arguments)
    graph = evolution_strategies.build_unroll(optimizer, pg.Quadratic(3, random_seed=2))
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        for index in range(2):
            feed = {graph.objective_weights: np.full(6, 1 / 6.0), graph.batches: np.zeros([6, 0]),
                    graph.initial_params[0]: np.ones([3, 1]), graph.first_unroll: index == 0,
                    graph.random_key: [5, index]}
            gradients, objectives, _ = session.run(
                [graph.meta_gradients, graph.problem_objectives, graph.carry], feed)
            assert objectives.shape == (7,)
            for gradient, variable in zip(gradients, optimizer.meta_parameters):
                assert gradient.shape == tuple(variable.shape) and np.isfinite(gradient).all()
                assert np.any(gradient)


def test_particles_go_on_where_they_stopped():
    """One unroll of four steps and two of two reach the same with no perturbation to speak of."""
    optimizer = OPTIMIZERS['NormalizedMLP'](random_seed=1)
    problem = pg.Quadratic(3, random_seed=2)
    graph = evolution_strategies.build_unroll(
        optimizer, problem, config=evolution_strategies.Config(1, 1e-6))
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])

        def run(steps, first):
            feed = {graph.objective_weights: np.ones(steps), graph.batches: np.zeros([steps, 0]),
                    graph.initial_params[0]: np.ones([3, 1]), graph.first_unroll: first}
            return session.run([graph.next_state, graph.carry], feed)[0]

        once = run(4, True)
        run(2, True)
        twice = run(2, False)
    np.testing.assert_allclose(twice.params[0], once.params[0], rtol=1e-3)
    assert (twice.optimizer.steps_done == 4.0).all()


@pytest.mark.parametrize('config', [(0, 0.1), (1, 0.0)])
def test_wrong_config(config):
    with pytest.raises(ValueError, match='a pair or more and a positive sigma'):
        evolution_strategies.build_unroll(
            GlobalLearningRate(), Parabola(), config=evolution_strategies.Config(*config))


@pytest.mark.skipif(tf.__version__.startswith('1.'), reason='TensorFlow 2 only')
@pytest.mark.parametrize('bound', [0.0, pytest.param(1.05, marks=pytest.mark.slow)])
def test_particles_at_once_do_what_they_do_one_after_another(monkeypatch, bound):
    found = []
    for at_once in (True, False):
        with tf.Graph().as_default():
            optimizer = OPTIMIZERS['NormalizedMLP'](random_seed=1, obj_train_max_multiplier=bound)
            monkeypatch.setattr(evolution_strategies, '_can_be_stacked',
                                lambda *_, answer=at_once: answer)
            graph = evolution_strategies.build_unroll(
                optimizer, pg.Rosenbrock(random_seed=2),
                config=evolution_strategies.Config(3, 0.5))
            with tf.Session() as session:
                session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
                found.append(session.run(
                    [graph.meta_gradients, graph.problem_objectives, graph.ended_early,
                     graph.next_state],
                    {graph.objective_weights: np.ones(6), graph.batches: np.zeros([6, 0]),
                     graph.initial_params[0]: [1.5, -1.0], graph.random_key: [3, 4]}))
    tf.nest.map_structure(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6), *found)
    assert found[0][2] == bool(bound)


def test_convolutions_and_random_numbers_are_computed_one_after_another():
    optimizer = GlobalLearningRate(RATE)

    factor = tf.placeholder_with_default(2.0, [])

    class Scaled(Parabola):
        def _objective(self, parameters, data, labels):
            return factor * tf.square(parameters[0])

    class Drawn(Parabola):
        def _objective(self, parameters, data, labels):
            return tf.random.uniform([]) * tf.square(parameters[0])

    def answer(problem, data=None):
        inputs = evolution_strategies.unroll.placeholders(optimizer, problem, data)
        return evolution_strategies._can_be_stacked(problem, inputs)

    images = Dataset(np.zeros([4, 64], 'float32'), np.zeros(4, 'int32'))
    assert answer(Scaled()) == (not tf.__version__.startswith('1.'))
    assert not answer(Drawn())
    assert not answer(VGG((1, 8, 8), 10, ((2,),)), images)
