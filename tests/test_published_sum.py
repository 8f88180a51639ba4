"""The meta-objective of the L2O-DM and RNNProp programs, against figures derived in numpy.

The optimizer is a rate a, the problem a quadratic of two parameters x with examples d:

    L(x) = mean over a mini-batch of ||x - d||^2 / 2,    g = x - mean d,    x <- x - a g

so that, with the gradient g cut off, dx / da <- dx / da - g, and the derivative of a sum of losses
is the sum of (x - mean d) dx / da.
"""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from l2o.metatraining import config, meta_step, options
from l2o.metatraining.examples import Examples
from l2o.techniques.curriculum import Curriculum
from optimizer.global_learning_rate import GlobalLearningRate
from problems import datasets
from problems.problem import Problem
from problems.problem_spec import Row, Spec

RATE, STEPS, META_RATE = 0.3, 4, 0.05
START = np.array([2.0, -1.0])
DATA = datasets.Dataset(np.random.RandomState(0).normal(size=[7, 2]), None)


class Center(Problem):
    """The mean over a mini-batch of ||x - d||^2 / 2."""

    needs_data = True

    def __init__(self):
        super().__init__([(2,)])

    def _objective(self, parameters, data, labels):
        return 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(parameters[0] - data), 1))


def losses_and_derivative(rate, batches):
    """The n + 1 losses of an unroll, and the derivative of their sum."""
    x, slope, losses, derivative = START, np.zeros(2), [], 0.0
    for batch in batches:
        examples = DATA.data[batch]
        gradient = x - examples.mean(0)
        losses.append(np.mean(np.sum((x - examples) ** 2, 1)) / 2)
        derivative += gradient.dot(slope)
        x, slope = x - rate * gradient, slope - gradient
    return losses, derivative


def imitation_and_derivative(rate, batches, teacher_steps):
    """0.5 * sum of squared differences / parameters, summed over the steps of the teacher."""
    x, loss, derivative = START, 0.0, 0.0
    for batch, step in zip(batches, teacher_steps):
        gradient = x - DATA.data[batch].mean(0)
        difference = -rate * gradient - step
        loss += 0.5 * np.sum(difference ** 2) / 2
        derivative += difference.dot(-gradient) / 2
        x = x + step
    return loss, derivative


class Adam:
    """The moments of Adam, and its step."""

    def __init__(self):
        self.t, self.first, self.second = 0, 0.0, 0.0

    def step(self, gradient):
        self.t += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient ** 2
        rate = META_RATE * np.sqrt(1 - 0.999 ** self.t) / (1 - 0.9 ** self.t)
        return -rate * self.first / (np.sqrt(self.second) + 1e-8)


class Graph:
    """An unroll on the problem, its sum of losses, and steps of Adam on it."""

    def __init__(self, **arguments):
        self.optimizer = GlobalLearningRate(RATE, use_second_derivatives=False)
        self.unroll = self.optimizer.train(Center(), DATA, objectives_of='batches', summed=True,
                                           **arguments)
        self.steps = meta_step.MetaSteps(self.optimizer, config.MetaOptimizer(
            'adam', learning_rate=META_RATE, gradient_clip=0.0), apart=True)
        self.step = self.steps.on(self.unroll)
        self.rate, = self.optimizer.meta_parameters

    def feed(self, batches, teacher_steps=None):
        unroll = self.unroll
        feed = {unroll.objective_weights: np.ones(STEPS), unroll.batches: batches,
                unroll.initial_params[0]: START, unroll.imitate: teacher_steps is not None}
        if teacher_steps is not None:
            feed[unroll.teacher_steps[0]] = -np.asarray(teacher_steps)
        return feed


def initialized(session):
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
    return session


@pytest.mark.parametrize('arguments', [{}, {'checkpoint_every': 3}])
def test_the_sum_of_losses_and_its_gradient(arguments, request):
    if arguments and not tf.control_flow_v2_enabled():
        tf.enable_control_flow_v2()
        request.addfinalizer(tf.disable_control_flow_v2)
    graph, batches = Graph(**arguments), np.random.RandomState(1).randint(7, size=[STEPS + 1, 3])
    gradient, = tf.gradients(graph.unroll.meta_objective, [graph.rate])
    with initialized(tf.Session()) as session:
        losses, total, slope = session.run(
            [graph.unroll.problem_objectives, graph.unroll.meta_objective, gradient],
            graph.feed(batches))
    expected, derivative = losses_and_derivative(RATE, batches)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert total == pytest.approx(sum(expected), rel=1e-5)
    assert slope == pytest.approx(derivative, rel=1e-5)


def test_what_is_imitated_has_slots_of_its_own():
    """Two steps on losses, one that imitates, one on losses again; each Adam knows its own."""
    graph, rng = Graph(), np.random.RandomState(2)
    rate, adams = RATE, {False: Adam(), True: Adam()}
    with initialized(tf.Session()) as session:
        for imitates in (False, False, True, False, True):
            batches, teacher_steps = rng.randint(7, size=[STEPS + 1, 3]), None
            if imitates:
                teacher_steps = 0.1 * rng.normal(size=[STEPS, 2])
                _, derivative = imitation_and_derivative(rate, batches, teacher_steps)
            else:
                _, derivative = losses_and_derivative(rate, batches)
            rate += adams[imitates].step(derivative)
            session.run(graph.step.imitate if imitates else graph.step.train,
                        graph.feed(batches, teacher_steps))
            assert session.run(graph.rate) == pytest.approx(rate, rel=1e-4)
        names = graph.steps.variables()
    slots = {'LOL/global_learning_rate/Adam', 'LOL/global_learning_rate/AdamOfImitation'}
    assert slots <= set(names) and len(set(map(id, names.values()))) == len(names)


def test_examples_are_drawn_with_replacement():
    row = Row(Spec(Center, (), {}), DATA, 5)
    batches = Examples(row, 100, with_replacement=True).batches(400, np.random.RandomState(0))
    assert batches.shape == (400, 5) and set(np.ravel(batches)) == set(range(7))
    counts = np.bincount(np.ravel(batches)) / batches.size
    np.testing.assert_allclose(counts, 1 / 7, atol=0.03)
    assert any(len(set(batch)) < 5 for batch in batches)
    empty = Examples(Row(Spec(Center, (), {})), 100, with_replacement=True)
    assert empty.batches(3, np.random.RandomState(0)).shape == (3, 0)


def train(folder, **changes):
    return metaopt.train_optimizer(
        str(folder), Spec(GlobalLearningRate, (RATE,), {'use_second_derivatives': False}),
        [Row(Spec(Center, (), {}), DATA, 3)], 1, 6, learning_rate=META_RATE, out=None, seed=3,
        curriculum=Curriculum.fixed(8), unroll_length=STEPS, meta_optimizer='adam',
        evaluation_epochs=1, **changes)


def test_a_run_on_the_sum_goes_on_bit_for_bit(tmp_path):
    """With imitation, whose slots are saved, too."""
    changes = dict(meta_objective='published_sum', if_mt=True, mt_ratio=0.5)
    whole = train(tmp_path / 'whole', **changes)
    assert whole.trained_is_best and np.isfinite(whole.best_cost)

    class Interrupted(metaopt.reporting.Reporter):
        def validation(self, progress, *others):
            if progress.meta_iterations == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'parts', reporter=Interrupted(None), **changes)
    train(tmp_path / 'parts', **changes)
    states = []
    for name in ('whole', 'parts'):
        with np.load(str(tmp_path / name / 'state.npz')) as saved:
            states.append({key: saved[key] for key in saved.files if key != 'facts'})
            facts = json.loads(str(saved['facts']))
    assert any('AdamOfImitation' in key for key in states[0]) and 0 < facts['imitated'] < 6
    assert set(states[0]) == set(states[1])
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key])


@pytest.mark.parametrize('change, message', [
    ({'meta_objective_of': 'other_batches'}, 'meta_objective_of=other_batches'),
    ({'meta_gradient': 'pes'}, 'meta_gradient=pes')])
def test_what_does_not_go_with_the_sum_is_refused(change, message):
    training, _ = options.described(metaopt.MetaTraining(), metaopt.Run(), dict(
        change, meta_objective='published_sum'))
    with pytest.raises(ValueError, match=message):
        options.check(training)
