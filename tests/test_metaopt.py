"""Meta-training goes on where it stopped; testing runs any optimizer."""

import json
import os
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from l2o.evaluation import rollout
from l2o.metatraining import reporting, store
from l2o.techniques import curriculum as curricula
from optimizer import OPTIMIZERS
from optimizer.hierarchical_rnn import HierarchicalRNN
from optimizer.trainable_adam import TrainableAdam
from problems import datasets
from problems import problem_generator as pg
from problems.problem_spec import Spec

OPTIMIZER = Spec(TrainableAdam, (1e-2,), {})
ROWS = [(Spec(pg.Quadratic, (size,), {}), None, None) for size in (3, 4)]
ROWS_WITH_DATA = [(Spec(pg.SoftmaxRegression, (size, 2), {}),
                   datasets.random(size, 24, random_seed=1), 5) for size in (3, 4)]


def train(folder, num_meta_iterations=4, rows=ROWS, **kwargs):
    options = dict(
        num_problems=2, num_meta_iterations=num_meta_iterations, num_unroll_func=None,
        num_partial_unroll_itrs_func=lambda: np.random.randint(2, 5), learning_rate=1e-2,
        curriculum=curricula.Curriculum((8, 12), patience=2), seed=7, out=None,
        imitation=metaopt.Imitation('adam', 0.3),
        validation=metaopt.Validation(1, 2), meta_optimizer=metaopt.MetaOptimizer('adam'))
    return metaopt.train_optimizer(str(folder), OPTIMIZER, rows,
                                   **dict(options, **kwargs))


def saved_state(folder):
    with np.load(os.path.join(str(folder), 'state.npz'), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


class Interruption(Exception):
    pass


class Interrupter(reporting.Reporter):
    """Interrupts the given episodes, counted from 1 over all runs, after their first unroll."""

    def __init__(self, episodes):
        super().__init__(None)
        self._episodes, self._count, self._last = episodes, 0, None

    def begin(self, progress, num_meta_iterations):
        super().begin(progress, num_meta_iterations)
        self._last = None

    def unroll(self, progress, report, details=None):
        if progress.meta_iterations != self._last:
            self._last, self._count = progress.meta_iterations, self._count + 1
            if self._count in self._episodes:
                raise Interruption


@pytest.mark.slow
def test_what_is_random_in_the_optimizer_goes_on_too(tmp_path, monkeypatch):
    """HierarchicalRNN draws its initial learning rates anew for every episode."""
    rnn = Spec(OPTIMIZERS['HierarchicalRNN'], ([3],), {'init_lr_range': (1e-4, 1e-2)})
    monkeypatch.setattr(sys.modules[__name__], 'OPTIMIZER', rnn)
    train(tmp_path / 'whole', num_meta_iterations=2, num_problems=1)
    with pytest.raises(Interruption):
        train(tmp_path / 'interrupted', num_meta_iterations=2, num_problems=1,
              reporter=Interrupter(episodes=(2,)))
    train(tmp_path / 'interrupted', num_meta_iterations=2, num_problems=1)
    expected, found = saved_state(tmp_path / 'whole'), saved_state(tmp_path / 'interrupted')
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize('options', [
    {}, {'problems_at_once': 2, 'num_problems': 1, 'num_meta_iterations': 8},
    {'problems_at_once': 2, 'num_problems': 1, 'num_meta_iterations': 8, 'rows': ROWS_WITH_DATA,
     'mini_batch_size': 10},
    {'problems_at_once': 2, 'reset_state': False, 'meta_optimizer': metaopt.MetaOptimizer(
        'adam', average_decay=0.5, rate_factors=((0.0, 1.0), (0.5, 0.1)))}])
def test_a_run_interrupted_three_times_ends_as_one_that_was_not(options, tmp_path):
    whole = train(tmp_path / 'whole', **options)
    interrupter = Interrupter(episodes=(1, 5, 8))
    interruptions = 0
    while True:
        try:
            result = train(tmp_path / 'interrupted', reporter=interrupter, **options)
            break
        except Interruption:
            interruptions += 1
    assert interruptions == 3
    assert result.best_cost == whole.best_cost
    expected, found = saved_state(tmp_path / 'whole'), saved_state(tmp_path / 'interrupted')
    assert set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first = train(tmp_path, num_meta_iterations=1)
    assert first.meta_iterations == 2
    before = saved_state(tmp_path)
    assert train(tmp_path, num_meta_iterations=1) == first
    for name, value in saved_state(tmp_path).items():
        np.testing.assert_array_equal(value, before[name])


def test_the_best_checkpoint_holds_the_published_names(tmp_path):
    result = train(tmp_path, num_meta_iterations=1)
    assert result.checkpoint == os.path.join(str(tmp_path), 'model.ckpt-0')
    names = tf.train.load_checkpoint(result.checkpoint).get_variable_to_shape_map()
    assert names['LOL/log_learning_rate'] == []
    assert {'global_step', 'LOL/beta1_logit/Adam', 'LOL/beta1_logit/Adam_1'} <= set(names)


def test_a_damaged_state_is_refused_with_its_name(tmp_path):
    (tmp_path / 'state.npz').write_bytes(b'not a zip file')
    with pytest.raises(ValueError, match='state.npz cannot be used'):
        train(tmp_path, num_meta_iterations=1)


def test_the_state_of_another_seed_is_refused(tmp_path):
    train(tmp_path, num_meta_iterations=1, num_problems=1)
    with pytest.raises(ValueError, match='seed 7, not 8'):
        train(tmp_path, num_meta_iterations=1, seed=8)


def test_saved_facts_are_strict_json(tmp_path):
    train(tmp_path, num_meta_iterations=1, num_problems=1)
    facts = json.loads(str(saved_state(tmp_path)['facts']), parse_constant=pytest.fail)
    assert facts['meta_iterations'] == 1


def test_what_is_saved_tells_whether_a_run_has_ended(tmp_path, monkeypatch):
    assert not store.has_ended(str(tmp_path))
    train(tmp_path / 'one', num_meta_iterations=2, num_problems=1, max_unrolls=1)
    train(tmp_path / 'other', num_meta_iterations=1, num_problems=2)
    assert store.has_ended(str(tmp_path / 'one')) and store.has_ended(str(tmp_path / 'other'))
    assert store.unfinished(str(tmp_path)) == store.unfinished(str(tmp_path / 'one')) == ''
    monkeypatch.setattr(store, 'saved_facts', lambda _: {
        'complete': False, 'meta_iterations': 8, 'num_problems': 2, 'num_meta_iterations': 10})
    assert store.unfinished('run').startswith('run was stopped after 8 of 20 meta-iterations; ')


def test_random_scaling_trains_in_other_coordinates(tmp_path):
    ends = [train(tmp_path / str(scaling), num_meta_iterations=1, num_problems=1,
                  random_scaling=scaling) for scaling in (False, True)]
    assert np.isfinite(ends[1].best_cost)
    plain, scaled = (saved_state(tmp_path / str(scaling)) for scaling in (False, True))
    name = 'values/LOL/log_learning_rate'
    assert plain[name] != scaled[name]


def test_no_problems_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='no problems'):
        metaopt.train_optimizer(str(tmp_path), OPTIMIZER, [], 1, 1, None, lambda: 2)


@pytest.mark.parametrize('make', [
    lambda: tf.train.GradientDescentOptimizer(0.01), lambda: tf.train.AdamOptimizer(0.1),
    lambda: tf.train.RMSPropOptimizer(0.01), OPTIMIZER.build])
def test_test_optimizer_runs_any_optimizer(make):
    values, parameters, records = metaopt.test_optimizer(
        make(), pg.Quadratic(5, random_seed=1), 30, seed=3)
    assert len(values) == 30 and all(isinstance(value, float) for value in values)
    assert values[-1] < values[0]
    assert [p.shape for p in parameters] == [(5, 1)]
    assert records == {}


def test_test_optimizer_takes_initial_values_and_records():
    problem, start = pg.Quadratic(2, random_seed=1), np.ones([2, 1], 'float32')
    values, parameters, records = metaopt.test_optimizer(
        tf.train.GradientDescentOptimizer(0.01), problem, 5, seed=[start], record_every=2)
    assert records['iter'] == records['step'] == [0, 2, 4]
    assert records['objective'] == [values[0], values[2], values[4]]
    np.testing.assert_array_equal(records['param'][0][0], start)
    gradient = problem.w.T.dot(problem.w.dot(start) - problem.y)
    np.testing.assert_allclose(records['grad'][0][0], gradient, rtol=1e-5)
    np.testing.assert_allclose(records['grad_norm'][0], [np.linalg.norm(gradient)], rtol=1e-5)
    np.testing.assert_allclose(records['param_norm'][0], [np.sqrt(2)], rtol=1e-6)
    assert records['parameters'] is not records['gradients']
    assert len(records['parameters']) == len(records['gradients']) == 3
    at = start
    for _ in range(5):
        at = at - 0.01 * problem.w.T.dot(problem.w.dot(at) - problem.y)
    np.testing.assert_allclose(parameters[0], at, rtol=1e-5)


def test_records_have_the_slots_and_the_objective_on_all_data():
    data = datasets.random(4, 50, random_seed=1)
    problem = pg.SoftmaxRegression(4, 2)
    values, _, records = metaopt.test_optimizer(
        tf.train.MomentumOptimizer(0.1, 0.9), problem, 3, data, 10, seed=2, record_every=1)
    momenta = records['parameter_0:0_momentum']
    np.testing.assert_array_equal(momenta[0], np.zeros([4, 2]))
    np.testing.assert_allclose(momenta[1], records['grad'][0][0], rtol=1e-6)
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run([problem.objective(list(map(tf.constant, parameters)), data.data,
                                                data.labels) for parameters in records['param']])
    np.testing.assert_allclose(records['objective'], wanted, rtol=1e-6)
    assert not np.allclose(records['objective'], values)


def test_losses_with_attention_are_at_the_parameters_not_where_it_looks():
    """Gradients are those beside the parameters, at the points that the variables hold."""
    problem = pg.Quadratic(3, random_seed=1)

    def optimizer():
        return HierarchicalRNN([3], init_lr_range=(0.1, 0.1), use_attention=True, random_seed=1)

    start = problem.initial_values(1)
    with tf.Graph().as_default(), tf.Session() as session:
        variables = list(map(tf.Variable, start))
        objective = problem.objective(variables)
        gradients = problem.gradients(objective, variables)
        learned = optimizer()
        step = learned.apply_gradients(list(zip(gradients, variables)))
        true = learned.true_params(variables)
        loss = problem.objective(true)
        session.run(tf.global_variables_initializer())
        expected = []
        for _ in range(4):
            expected.append(session.run([loss, true, gradients]))
            session.run(step)
        end, attended = session.run([true, variables])
    values, parameters, records = metaopt.test_optimizer(optimizer(), problem, 4, seed=1,
                                                         record_every=1)
    assert_all_close([values, records['objective']], 2 * [[loss for loss, _, _ in expected]])
    assert_all_close(records['param'], [params for _, params, _ in expected])
    assert_all_close(records['grad'], [grads for _, _, grads in expected])
    assert_all_close(parameters, end)
    assert not np.allclose(end, attended)


def assert_all_close(found, expected):
    np.testing.assert_allclose(np.array(found), np.array(expected), rtol=1e-5)


class _Counting(tf.train.GradientDescentOptimizer):
    """Makes a variable, with a value of its own, where it is applied."""

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        with tf.control_dependencies([tf.assign_add(tf.Variable(5.0, name='count'), 1.0)]):
            return super().apply_gradients(grads_and_vars, global_step, name)


def test_variables_that_an_optimizer_makes_late_are_initialized():
    problem = pg.Quadratic(3, random_seed=1)
    values, _, _ = metaopt.test_optimizer(_Counting(0.01), problem, 3, seed=1)
    assert values[2] < values[0]


def test_a_checkpoint_is_chosen_by_name(tmp_path):
    train(tmp_path, num_meta_iterations=2, num_problems=1)

    def losses(**options):
        with tf.Graph().as_default():
            return metaopt.test_optimizer(OPTIMIZER.build(), pg.Quadratic(5, random_seed=1), 5,
                                          dataset=None, seed=3, **options)[0]

    chosen = losses(logdir=str(tmp_path), restore_model_name='model.ckpt-0')
    assert chosen == losses(logdir=str(tmp_path / 'model.ckpt-0')) != losses()
    with pytest.raises(ValueError, match='GradientDescentOptimizer has no meta-parameters'):
        metaopt.test_optimizer(tf.train.GradientDescentOptimizer(0.1), pg.Quadratic(5), 5,
                               logdir=str(tmp_path))


def test_a_problem_without_the_data_it_needs_is_refused():
    problem, unlabelled = pg.SoftmaxRegression(4, 2), datasets.Dataset(np.ones([6, 4]), None)
    for dataset, message in ((None, 'SoftmaxRegression needs data'),
                             (unlabelled, 'the data set has no labels')):
        with pytest.raises(ValueError, match=message):
            metaopt.test_optimizer(tf.train.GradientDescentOptimizer(0.1), problem, 3, dataset)


def test_at_one_seed_every_optimizer_sees_the_same_noise():
    """With a learning rate of 0 the gradients differ by their noise alone."""
    problem = pg.Quadratic(3, random_seed=1, noise_stdev=1.0)
    records = []
    for make in (tf.train.GradientDescentOptimizer, tf.train.AdamOptimizer):
        with tf.Graph().as_default():
            records.append(metaopt.test_optimizer(make(0.0), problem, 3, seed=2, record_every=1)[2])
    np.testing.assert_array_equal(records[0]['grad'], records[1]['grad'])
    assert not np.array_equal(records[0]['grad'][0], records[0]['grad'][1])


def test_the_same_seed_gives_the_same_batches_to_every_optimizer():
    data = datasets.random(4, 50, random_seed=1)
    first = [metaopt.test_optimizer(make(0.0), pg.SoftmaxRegression(4, 2), 6, data, 10, seed=2)[0]
             for make in (tf.train.GradientDescentOptimizer, tf.train.AdamOptimizer)]
    assert first[0] == first[1]
    assert len(set(first[0])) == 6


def test_a_learned_optimizer_in_a_model_equals_test_optimizer(tmp_path):
    """The drop-in use and the test harness take the same steps."""
    train(tmp_path, num_meta_iterations=1, num_problems=1)
    problem = pg.Quadratic(5, random_seed=1)
    with tf.Graph().as_default():
        values, parameters, _ = metaopt.test_optimizer(OPTIMIZER.build(), problem, 20, seed=3,
                                                       logdir=str(tmp_path))
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer = OPTIMIZER.build()
        optimizer.init_from_checkpoint(str(tmp_path))
        variables = problem.init_variables(seed=3, trainable=True)
        objective = problem.objective(variables)
        step = optimizer.minimize(objective)
        session.run(tf.global_variables_initializer())
        for expected in values:
            assert session.run(objective) == pytest.approx(expected, rel=1e-5)
            session.run(step)
        np.testing.assert_allclose(session.run(variables[0]), parameters[0], rtol=1e-4)


def test_wall_clock_test_gives_the_median():
    median = metaopt.run_wall_clock_test(tf.train.AdamOptimizer(0.1), pg.Quadratic(5), 7)
    assert isinstance(median, float) and 0 < median < 1


def test_every_step_is_timed():
    times = rollout.measure_steps(tf.train.AdamOptimizer(0.1), pg.Quadratic(5), 7)
    assert len(times.step_times) == 7
    assert times.total_time == pytest.approx(sum(times.step_times))
    assert 0 < times.median_step <= max(times.step_times)
    assert times.times_adam > 0


def test_sample_numiter_is_exponential_above_its_minimum_and_cut_at_three_times_that():
    rng = np.random.RandomState(0)
    draws = [metaopt.sample_numiter(40, 10, rng) for _ in range(4000)]
    assert min(draws) == 10 and max(draws) == 30
    # 10 + the sum over k = 1 .. 20 of the probability exp(-(k - 1/2) / 40) of at least k more
    assert np.mean(draws) == pytest.approx(25.75, abs=0.3)
    assert max(metaopt.sample_numiter(1e6, rng=rng) for _ in range(10)) == 150


def test_weights_of_objectives_grow_as_a_sigmoid_and_sum_to_one():
    weights = metaopt.sigmoid_weights(30)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[25] / weights[5] == pytest.approx(2.0 / (1.0 + np.exp(-2.0)))
    steep = metaopt.sigmoid_weights(4, slope=50.0, offset=1.5)
    np.testing.assert_allclose(steep, [0.0, 0.0, 0.5, 0.5], atol=1e-9)


def test_the_optimizers_are_registered_by_their_published_names():
    registered = metaopt.register_optimizers()
    assert {'CoordinatewiseRNN', 'GlobalLearningRate', 'HierarchicalRNN', 'LearningRateSchedule',
            'TrainableAdam'} <= set(registered)
    assert registered['HierarchicalRNN']([3]).meta_parameters


def test_the_meta_learning_rate_falls(tmp_path):
    """Adam's first step is as long as the learning rate; with this decay the others are nothing."""
    def distance(name, meta_optimizer):
        train(tmp_path / name, num_problems=1, meta_optimizer=meta_optimizer, imitation=None)
        state = saved_state(tmp_path / name)
        return abs(state['values/LOL/log_learning_rate'] - np.log(1e-2))

    falling = distance('falling', metaopt.MetaOptimizer('adam', decay_rate=1e-6, decay_steps=1))
    assert falling == pytest.approx(1e-2, rel=0.01)
    assert distance('constant', metaopt.MetaOptimizer('adam')) > 2 * falling
