"""Checkpointing changes memory, not results."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import make
from l2o.techniques import regularization
from optimizer import OPTIMIZERS
from problems import datasets
from problems import problem_generator as pg
from problems.problem import Problem
from problems.problem_spec import Spec

DATA = datasets.random_mlp(3, 20, 0)
STEPS = 7


def perceptron():
    return pg.FullyConnected(3, 2, hidden_sizes=(3,))


def meta_gradients(checkpoint_every, name='RNNProp', make_problem=perceptron, penalty=None,
                   changes=(), **fed):
    """(objectives, state, meta-gradients) of the second of two unrolls of STEPS steps."""
    rng = np.random.RandomState(0)
    with tf.Graph().as_default():
        problem = make_problem()
        optimizer = make(name, **dict(changes))
        graph = optimizer.train(problem, DATA, penalty, checkpoint_every=checkpoint_every)
        loss = tf.where(graph.imitate, graph.imitation_objective, graph.meta_objective)
        gradients = [tf.convert_to_tensor(gradient) for gradient
                     in tf.gradients(loss, optimizer.meta_parameters)]
        feed = {graph.objective_weights: rng.uniform(size=STEPS),
                graph.batches: rng.randint(20, size=[STEPS, 5]), graph.random_key: [3, 4]}
        feed.update({start: 0.5 * rng.standard_normal(shape) for start, shape
                     in zip(graph.initial_params, problem.param_shapes)})
        feed.update({steps: 0.1 * rng.standard_normal([STEPS] + list(shape)) for steps, shape
                     in zip(graph.teacher_steps, problem.param_shapes)})
        feed.update({getattr(graph, field): value for field, value in fed.items()})
        with tf.Session() as session:
            session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
            session.run(graph.carry, feed)
            feed[graph.first_unroll] = False
            return session.run([[loss, graph.problem_objectives, graph.steps_taken, graph.penalty],
                                graph.next_state, gradients], feed)


def assert_equal(found, expected):
    """To float32 rounding, relative to the largest entry of each tensor."""
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(one, other, rtol=1e-5,
                                   atol=1e-5 * max(np.max(np.abs(other), initial=0), 1e-6))


def penalty(option, **kwargs):
    return regularization.Penalty(option, 3, alpha=0.1, beta=0.1, time='always', **kwargs)


CASES = {
    'plain': {},
    'rnn': {'name': 'HierarchicalRNN'},
    'rnn, first derivatives': {'name': 'HierarchicalRNN',
                               'changes': {'use_second_derivatives': False}},
    'attention': {'name': 'HierarchicalRNN', 'changes': {'use_attention': True}},
    'imitation': {'imitate': True},
    'rnn, imitation': {'name': 'HierarchicalRNN', 'imitate': True},
    'penalty': {'penalty': penalty('hessian', on_optimizer=True), 'regularize': True},
    'penalty, not counted': {'penalty': penalty('hessian-esd', on_optimizer=True)},
    'inner penalty': {'penalty': penalty('jacob', on_optimizee=True), 'regularize': True,
                      'changes': {'use_second_derivatives': False}},
    'weighted objective': {'changes': {'use_log_objective': False}},
    'objectives in the loop': {'make_problem': lambda: pg.LogObjective(
        Spec(pg.FullyConnected, (3, 2), {'hidden_sizes': (3,)}))},
    'early end': {'name': 'TrainableAdam', 'make_problem': lambda: pg.Quadratic(3, random_seed=1),
                  'changes': {'learning_rate': 2.0, 'obj_train_max_multiplier': 4.0}},
}


#: Quick ones, which run always; the others are slow.
QUICK = ('plain', 'objectives in the loop', 'early end')


@pytest.fixture(name='control_flow', autouse=True)
def fixture_control_flow():
    """A function that chooses kinds of variables and control flow; version 2 of both until then."""
    before = tf.resource_variables_enabled(), tf.control_flow_v2_enabled()
    _switch(True, True)
    yield _switch
    _switch(*before)


def _switch(resource_variables, control_flow_v2):
    (tf.enable_resource_variables if resource_variables else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if control_flow_v2 else tf.disable_control_flow_v2)()


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=[] if case in QUICK else [pytest.mark.slow]) for case in CASES])
def test_same_results(case):
    """In segments of 2, 2, 2 and 1 steps."""
    expected = meta_gradients(0, **CASES[case])
    assert np.mean([np.any(gradient != 0.0) for gradient in expected[-1]]) > 0.7
    assert_equal(meta_gradients(2, **CASES[case]), expected)


@pytest.mark.parametrize('case', [
    'plain', pytest.param('rnn', marks=pytest.mark.slow)])
def test_same_results_with_reference_variables(case, control_flow):
    control_flow(False, True)
    test_same_results(case)


def test_the_state_of_an_unroll_is_in_resource_variables(control_flow):
    """What a reference variable holds may change under the backward pass, which reads it late."""
    control_flow(False, True)
    graph = OPTIMIZERS['LearningRateSchedule']().train(pg.Quadratic(3), checkpoint_every=2)
    assert {variable.op.type for variable in tf.nest.flatten(graph.state)} == {'VarHandleOp'}


def test_an_early_end_is_early():
    _, _, steps_taken, _ = meta_gradients(2, **CASES['early end'])[0]
    assert steps_taken == 3


def test_any_length_of_segments():
    expected = meta_gradients(0, 'TrainableAdam')
    for length in (1, 100):
        assert_equal(meta_gradients(length, 'TrainableAdam'), expected)


@pytest.mark.parametrize('make_problem', [
    lambda: pg.Quadratic(3, random_seed=1, noise_stdev=1.0),
    lambda: pg.SparseProblem(Spec(pg.Quadratic, (3,), {'random_seed': 1}), 0.5)],
    ids=['noise', 'zeros'])
def test_noise_is_the_same_when_steps_are_taken_again(make_problem):
    """What a segment of one step computes anew begins with what was kept."""
    one = meta_gradients(1, 'TrainableAdam', make_problem)
    assert_equal(meta_gradients(4, 'TrainableAdam', make_problem), one)
    other = meta_gradients(1, 'TrainableAdam', make_problem, random_key=[5, 6])
    assert np.any(one[0][1] != other[0][1])


class Dropout(Problem):
    """Draws random numbers in its objective."""

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(tf.square(parameters[0] * tf.random_uniform([3])))


def test_random_objectives_are_refused():
    with pytest.raises(ValueError, match='random numbers itself'):
        meta_gradients(2, make_problem=lambda: Dropout([(3,)]))


def test_control_flow_of_version_1_is_refused(control_flow):
    control_flow(True, False)
    with pytest.raises(ValueError, match='enable_control_flow_v2'):
        meta_gradients(2)


def test_parameters_without_influence_have_no_gradient():
    """As without checkpointing, so that meta-training can say so."""
    optimizer = OPTIMIZERS['LearningRateSchedule'](initial_rate=0.1, n_steps=3)
    unused = optimizer.create_meta_parameter('unused', [2], tf.zeros_initializer())
    graph = optimizer.train(perceptron(), DATA, checkpoint_every=2)
    gradients = tf.gradients(graph.meta_objective, optimizer.meta_parameters)
    assert [gradient is None for gradient in gradients] == [
        parameter is unused for parameter in optimizer.meta_parameters]
