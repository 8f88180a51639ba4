"""Meta-training proceeds as the published scripts do, but where docs/differences.md says so."""

import os
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
from l2o.commandline import flags, training_config
from l2o.metatraining import config, meta_step, reporting, trained_problem
from l2o.metatraining import examples as examples_in_use
from l2o.metatraining.context import Context
from l2o.metatraining.episode import run_episode
from l2o.metatraining.progress import Progress
from l2o.runs import machines, run_files
from l2o.techniques import imitation
from l2o.techniques.curriculum import Curriculum, CurriculumState
from optimizer import OPTIMIZERS, checkpoints
from problems import datasets
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

QUADRATIC = Row(Spec(pg.Quadratic, (3,), {'random_seed': 1}))
CLUSTERS = datasets.random(4, 24, random_seed=1)


class Recorder(reporting.Reporter):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__(None)
        self.reports, self.notices, self.costs, self.validated = [], [], [], []
        self.best = []

    def unroll(self, progress, report, details=None):
        self.reports.append((progress.meta_iterations, report))

    def notice(self, text):
        self.notices.append(text)

    def validation(self, progress, stage, cost, improved):
        self.costs.append(cost)
        self.validated.append(progress.meta_iterations)
        self.best.append(improved)


def train(folder, row=QUADRATIC, name='GlobalLearningRate', num_meta_iterations=2, rate=1e-2,
          multiplier=-1, learning_rate=1e-2, **options):
    options = dict(dict(curriculum=Curriculum.fixed(12), unroll_length=4, seed=3,
                        validation=metaopt.Validation(1, 1)), **options)
    spec = Spec(OPTIMIZERS[name], (rate,), {})
    return metaopt.train_optimizer(
        str(folder), spec, [row], 1, num_meta_iterations, learning_rate=learning_rate, out=None,
        obj_train_max_multiplier=multiplier, **options)


# Imitation.


class Teacher:
    """Takes note of what it is asked for; its state counts the unrolls."""

    def __init__(self):
        self.calls = []

    def run(self, session, params, state, batches, key, scales):
        self.calls.append((params, state, batches.ravel().tolist()))
        return ['labels %d' % len(self.calls)], (state or 0) + 1


class Trained:
    """A `TrainedProblem` with such a teacher, which keeps what unrolls are fed."""

    def __init__(self):
        self.teachers, self.feeds = [Teacher()], []
        self.unroll = types.SimpleNamespace(state=types.SimpleNamespace(params='params'),
                                            carry=None)
        self.step = types.SimpleNamespace(report=None, train=None, imitate=None)
        self.examples = types.SimpleNamespace(
            is_part=False, batches=lambda count, rng: np.arange(count)[:, np.newaxis])

    def draw_start(self, rng):
        return trained_problem.EpisodeStart('start', {})

    def feed(self, start, batches, key, **options):
        self.feeds.append(dict(options, batches=batches.ravel().tolist()))
        return {}

    def run_episode(self, training, progress=None):
        context = Context(training, None, progress or Progress(1), None, machines.OneMachine(),
                          Recorder(), 1, 1)
        draw = types.SimpleNamespace(trained=[self], rate_factor='rate_factor')
        run_episode(context, draw, Session())


class Session:
    """Answers with where the parameters are, or with a report."""

    def run(self, fetches, feed=None):
        if fetches == 'params':
            return 'reached'
        report = config.UnrollReport(0.0, 0.0, 0.0, 0.0, 0.0, 2, False)._asdict()
        report.pop('imitated')
        return report, {}, None, None


def test_an_episode_imitates_one_trajectory_of_the_teacher():
    """The state goes on, the student sees every k-th batch of the teacher's own."""
    trained = Trained()
    training = metaopt.MetaTraining(curriculum=Curriculum.fixed(6), unroll_length=2,
                                    imitation=metaopt.Imitation(ratio=1.0, steps_per_label=3))
    trained.run_episode(training)
    assert trained.teachers[0].calls == [('start', None, list(range(6))),
                                   ('reached', 1, list(range(6, 12))),
                                   ('reached', 2, list(range(12, 18)))]
    assert [feed['batches'] for feed in trained.feeds] == [[0, 3], [6, 9], [12, 15]]
    assert [feed['teacher_steps'] for feed in trained.feeds] == [
        ['labels 1'], ['labels 2'], ['labels 3']]


def test_several_teachers_take_the_episodes_that_imitate_in_turn():
    trained, progress = Trained(), Progress(1)
    trained.teachers = [Teacher(), Teacher(), Teacher()]
    training = metaopt.MetaTraining(curriculum=Curriculum.fixed(2), unroll_length=2,
                                    imitation=metaopt.Imitation(('adam', 'rmsprop', 'nag'), 0.5))
    for _ in range(40):
        trained.run_episode(training, progress)
    counts = [len(teacher.calls) for teacher in trained.teachers]
    assert max(counts) - min(counts) <= 1 and sum(counts) == progress.imitated
    assert 10 <= sum(counts) <= 30
    assert [type(each).__name__ for each in training.imitation.teachers] == [
        'Adam', 'RMSProp', 'NesterovMomentum']


def test_each_stage_has_a_share_of_imitation_and_the_last_one_goes_on():
    """As published for L2O-DM: 0.3 without a curriculum, else 0.0, 0.1, 0.3, 0.3 .."""
    training = parsed('--if_cl', '--if_mt', '--mt_ratio=0.3', '--mt_ratios=0.0,0.1,0.3')
    assert [training.imitation.share(stage) for stage in (None, 0, 1, 2, 3, 9)] == [
        0.3, 0.0, 0.1, 0.3, 0.3, 0.3]
    assert parsed('--if_cl', '--if_mt', '--mt_ratio=0.2').imitation.share(4) == 0.2
    trained, progress = Trained(), Progress(1)
    staged = metaopt.MetaTraining(
        curriculum=Curriculum((2, 4)), unroll_length=2,
        imitation=metaopt.Imitation('adam', 0.0, ratios=(0.0, 1.0)))
    for stage in (0, 1):
        progress.curriculum = CurriculumState(stage)
        trained.run_episode(staged, progress)
        assert progress.imitated == stage
    fixed = Progress(1)
    trained.run_episode(staged._replace(curriculum=Curriculum.fixed(4)), fixed)
    assert fixed.imitated == 0


def test_labels_are_sums_of_steps_along_one_trajectory(tmp_path, monkeypatch):
    """Gradient descent of rate 0.01, two unrolls of two labels of three steps."""
    seen, run = [], imitation.TeacherRun.run

    def spy(self, session, params, *others):
        labels, state = run(self, session, params, *others)
        seen.append((params[0], labels[0]))
        return labels, state

    monkeypatch.setattr(imitation.TeacherRun, 'run', spy)
    train(tmp_path, num_meta_iterations=1, curriculum=Curriculum.fixed(4), unroll_length=2,
          imitation=metaopt.Imitation('sgd', 1.0, steps_per_label=3, learning_rate=0.01))
    problem, at = pg.Quadratic(3, random_seed=1), seen[0][0]
    assert len(seen) == 2
    for begin, labels in seen:
        np.testing.assert_allclose(begin, at, rtol=1e-4, atol=1e-6)
        for label in labels:
            before = at
            for _ in range(3):
                at = at - 0.01 * problem.w.T.dot(problem.w.dot(at) - problem.y)
            np.testing.assert_allclose(label, at - before, rtol=1e-4, atol=1e-6)


def test_whether_to_imitate_is_drawn_for_each_episode(tmp_path):
    recorder = Recorder()
    train(tmp_path, num_meta_iterations=12, imitation=metaopt.Imitation('sgd', 0.5),
          reporter=recorder)
    episodes = {}
    for episode, report in recorder.reports:
        episodes.setdefault(episode, set()).add(report.imitated)
    assert sorted(map(len, episodes.values())) == 12 * [1]
    assert set.union(*episodes.values()) == {True, False}


# What ends an episode.


@pytest.mark.parametrize('multiplier, episodes', [
    (1.5, [0, 1]), (0, [0, 0, 0, 1, 1, 1]), (-2, [0, 0, 0, 1, 1, 1])])
def test_an_exploded_objective_ends_the_episode(multiplier, episodes, tmp_path):
    recorder = Recorder()
    train(tmp_path, rate=3.0, multiplier=multiplier, reporter=recorder, learning_rate=1e-9)
    assert [episode for episode, _ in recorder.reports] == episodes


def test_an_episode_above_its_limit_is_given_up(tmp_path):
    recorder = Recorder()
    train(tmp_path, rate=3.0, learning_rate=1e-9, episode_limit=0.5, reporter=recorder)
    assert [episode for episode, _ in recorder.reports] == [0, 1]


@pytest.mark.parametrize('period, validated', [(1, [0, 1, 2]), (3, [0, 2])])
def test_a_run_ends_after_so_many_unrolls(period, validated, tmp_path):
    """In the middle of the second episode of 3 unrolls, and what it comes to is validated."""
    recorder = Recorder()
    options = dict(num_meta_iterations=9, max_unrolls=5, validation=metaopt.Validation(period, 1),
                   reporter=recorder)
    result = train(tmp_path, **options)
    assert [episode for episode, _ in recorder.reports] == [0, 0, 0, 1, 1]
    assert result.unrolls == 5 and recorder.validated == validated
    again = train(tmp_path, **options)
    assert again.unrolls == 5 and len(recorder.reports) == 5


# Checkpoints.


def numbers(folder):
    return sorted(int(name.split('-')[1].split('.')[0]) for name in os.listdir(str(folder))
                  if name.startswith('model.ckpt') and name.endswith('.index'))


@pytest.mark.parametrize('keep, left', [(-1, [0, 1, 2, 3, 4]), (2, [0, 3, 4]), (0, [0])])
def test_every_validation_is_kept(keep, left, tmp_path):
    train(tmp_path, num_meta_iterations=4, keep_checkpoints=keep)
    assert numbers(tmp_path) == left


@pytest.mark.parametrize('number', [0, 1, 2, 3, 5, 10])
def test_so_many_of_the_latest_checkpoints_are_kept(number, tmp_path):
    for iteration in range(13):
        (tmp_path / ('model.ckpt-%d.index' % iteration)).write_text('')
    run_files.keep_latest(str(tmp_path), number)
    assert numbers(tmp_path) == [0] + list(range(13 - number, 13))


@pytest.fixture
def scripted(monkeypatch):
    """A function (costs) -> list, to which each validation adds (steps, rate)."""
    def script(*costs):
        left, seen = iter(costs), []

        def cost(validator, session, steps, frozen):
            rate, = [variable for variable in session.graph.get_collection('variables')
                     if variable.op.name == 'LOL/global_learning_rate']
            seen.append((steps, session.run(rate)))
            return next(left)

        monkeypatch.setattr('l2o.metatraining.validation.Validator.cost', cost)
        return seen

    return script


def kept_rates(folder):
    """The number of each checkpoint -> its rate."""
    return {number: checkpoints.read_checkpoint(str(folder / ('model.ckpt-%d' % number)))[
        'LOL/global_learning_rate'] for number in numbers(folder)}


STAGES = Curriculum((4, 8, 12), 1)


def test_a_stage_begins_with_a_validation_of_the_best_at_its_own_length(scripted, tmp_path):
    """That is to beat, as published, and not what shorter trajectories have cost."""
    costs = [9.0, 5.0, 4.0, 6.0, 20.0, 19.0, 25.0, 18.0, 17.0, 30.0]
    seen, recorder = scripted(*costs), Recorder()
    result = train(tmp_path, num_meta_iterations=20, curriculum=STAGES, reporter=recorder)
    steps, rates = zip(*seen)
    assert steps == (8, 8, 8, 8, 12, 12, 12, 12, 12, 12)
    assert rates[4] == rates[2] != rates[3] and rates[7] == rates[5] != rates[6]
    assert kept_rates(tmp_path) == {0: rates[8], 1: rates[2], 2: rates[5], 3: rates[8]}
    assert recorder.costs == costs and result.best_cost == 17.0 and result.trained_is_best
    assert recorder.best == [True, True, True, False, True, True, False, True, True, False]


@pytest.mark.parametrize('at_the_new_length, trained_is_best', [(10.0, True), (7.0, False)])
def test_the_untrained_optimizer_is_compared_anew_in_a_stage_where_it_is_the_best(
        at_the_new_length, trained_is_best, scripted, tmp_path):
    seen = scripted(3.0, 5.0, 4.0, 6.0, at_the_new_length, 8.0, 9.0)
    result = train(tmp_path, num_meta_iterations=20, curriculum=STAGES)
    steps, rates = zip(*seen)
    assert steps == (8, 8, 8, 8, 12, 12, 12) and rates[4] == rates[0] and rates[5] == rates[2]
    assert kept_rates(tmp_path) == {0: rates[2] if trained_is_best else rates[0], 1: rates[2]}
    assert result.trained_is_best == trained_is_best
    assert result.best_cost == min(at_the_new_length, 8.0)


def test_the_untrained_optimizer_stays_the_best_only_if_nothing_was_as_good(tmp_path):
    """With a meta-learning rate of zero every validation is as good as the first."""
    assert train(tmp_path / 'same', learning_rate=0.0).trained_is_best
    assert not train(tmp_path / 'worse', learning_rate=50.0).trained_is_best
    values = checkpoints.read_checkpoint(str(tmp_path / 'worse' / 'model.ckpt-0'))
    assert values['LOL/global_learning_rate'] == pytest.approx(1e-2)


def test_a_run_begins_with_the_newest_checkpoint_and_keeps_it(tmp_path):
    first = train(tmp_path, learning_rate=0.5)
    published = checkpoints.read_checkpoint(first.checkpoint)
    os.remove(str(tmp_path / run_files.STATE))
    for name in os.listdir(str(tmp_path)):
        if name.startswith(('model.ckpt-1', 'model.ckpt-2')):
            os.remove(str(tmp_path / name))
    recorder = Recorder()
    train(tmp_path, learning_rate=0.5, reporter=recorder)
    assert recorder.notices == ['begins with the meta-parameters in %s'
                                % (tmp_path / 'before-model.ckpt-0')]
    assert recorder.costs[0] == first.best_cost
    kept = checkpoints.read_checkpoint(str(tmp_path / 'before-model.ckpt-0'))
    assert set(kept) == set(published)
    for name, value in published.items():
        np.testing.assert_array_equal(kept[name], value)


def rate_checkpoint(folder, number, rate):
    run_files.write_checkpoint(str(folder), number, {'LOL/global_learning_rate': np.float32(rate)})


def test_the_newest_checkpoint_is_the_one_that_the_folder_names(tmp_path):
    """Copies of files may have been written in any order."""
    for number, rate in ((3, 0.3), (1, 0.1)):
        rate_checkpoint(tmp_path, number, rate)
    (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-3"\n')
    recorder = Recorder()
    train(tmp_path, learning_rate=0.0, reporter=recorder)
    assert recorder.notices == ['begins with the meta-parameters in %s'
                                % (tmp_path / 'before-model.ckpt-3')]
    best = checkpoints.read_checkpoint(str(tmp_path / 'model.ckpt-0'))
    assert best['LOL/global_learning_rate'] == np.float32(0.3)


def test_what_was_set_aside_is_never_replaced(tmp_path):
    for rate in (0.1, 0.2, 0.3):
        rate_checkpoint(tmp_path, 0, rate)
        train(tmp_path, learning_rate=1e-3)
        os.remove(str(tmp_path / run_files.STATE))
    for rate, name in ((0.1, 'before-model.ckpt-0'), (0.2, 'before-before-model.ckpt-0'),
                       (0.3, 'before-before-before-model.ckpt-0')):
        values = checkpoints.read_checkpoint(str(tmp_path / name))
        assert values['LOL/global_learning_rate'] == np.float32(rate)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    run_files.write_checkpoint(str(tmp_path), 0, {'LOL/other': np.zeros(3, 'float32')})
    with pytest.raises(ValueError, match=r'model.ckpt-0 is of another optimizer.*LOL/'):
        train(tmp_path)
    assert numbers(tmp_path) == [0]


# The meta-gradient.


def meta_step_of(gradient, value=2.0, clip=1e4, **options):
    """The change of a meta-parameter whose meta-gradient is given, by gradient descent of rate 1.

    RMSProp with a decay of zero would hide it, so the meta-optimizer is replaced.
    """
    variable = tf.Variable(np.full(np.shape(gradient), value, 'float32'))
    learned = types.SimpleNamespace(meta_parameters=[variable],
                                    named_meta_parameters={'LOL/v': variable})
    steps = meta_step.MetaSteps(learned, config.MetaOptimizer(
        name='descent', learning_rate=1.0, gradient_clip=clip, **options))
    loss = tf.reduce_sum(variable * np.float32(gradient))
    step = steps.on(types.SimpleNamespace(
        imitate=tf.constant(False), imitation_objective=tf.zeros([]), meta_objective=loss,
        problem_objectives=[loss], penalty=loss, steps_taken=loss,
        ended_early=tf.constant(False), meta_gradients=None))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step.train)
        return value - session.run(variable)


@pytest.fixture(autouse=True)
def descent(monkeypatch):
    """Gradient descent among the meta-optimizers."""
    monkeypatch.setitem(meta_step.META_OPTIMIZERS, 'descent',
                        lambda rate, config, suffix: tf.train.GradientDescentOptimizer(rate))


def test_the_meta_gradient_is_clipped_for_each_entry():
    np.testing.assert_allclose(meta_step_of([3.0, -40.0], clip=5.0), [3.0, -5.0])
    np.testing.assert_allclose(meta_step_of([3.0, -4.0], clip=1.0, clip_by='norm'), [0.6, -0.8],
                               rtol=1e-6)


def test_l2_reg_adds_twice_the_meta_parameter():
    np.testing.assert_allclose(meta_step_of([1.0, 0.0], value=2.0, l2_reg=0.25), [2.0, 1.0])


def test_an_entry_that_is_not_finite_counts_as_zero():
    np.testing.assert_allclose(meta_step_of([np.nan, 1.0, np.inf]), [0.0, 1.0, 0.0])


# Numbers of unrolls and steps.


def parsed(*arguments):
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN, values)
    values(['metarun', '--include_bowl_problems'] + list(arguments))
    return training_config.meta_training(values, 1)


def test_drawn_numbers_are_at_most_three_times_their_minimum():
    training = parsed()
    assert training.num_unrolls == config.Drawn(40, 10)
    assert training.unroll_length == config.Drawn(20, 10)
    rng = np.random.RandomState(0)
    draws = [training.num_unrolls.draw(rng) for _ in range(300)]
    assert min(draws) >= 10 and max(draws) == 30


def test_with_a_curriculum_the_length_of_unrolls_is_fixed():
    training = parsed('--if_cl', '--fix_unroll_length=7')
    assert not training.curriculum.is_drawn and training.unroll_length == 7


def test_published_keywords_describe_the_training(tmp_path):
    """As the published scripts call it: functions of draws, and keywords of the techniques."""
    spec = Spec(OPTIMIZERS['GlobalLearningRate'], (1e-2,), {})
    result = metaopt.train_optimizer(
        str(tmp_path), spec, [QUADRATIC], 1, 2, lambda: 7, lambda: 9, out=None, fix_unroll=True,
        fix_unroll_length=5, fix_num_steps=20, if_mt=True, mt_ratio=0.5, evaluation_epochs=1)
    assert result.unrolls == 8
    drawn = metaopt.train_optimizer(
        str(tmp_path / 'drawn'), spec, [QUADRATIC], 1, 2, lambda: 7, lambda: 9, out=None,
        if_mt=True, evaluation_epochs=1)
    assert drawn.unrolls == 14
    with pytest.raises(TypeError, match="no option 'mt'"):
        metaopt.train_optimizer(str(tmp_path), spec, [QUADRATIC], 1, 1, out=None, mt=True)


def test_the_default_training_is_that_of_the_flags():
    """But for two numbers, which published scripts and published function have of their own."""
    default = metaopt.MetaTraining()
    rates = {'learning_rate': 1e-6, 'gradient_clip': 1e4}
    assert parsed() == default._replace(
        meta_optimizer=default.meta_optimizer._replace(**rates))


# Examples.


def test_frozen_examples_are_the_first_ones():
    row = Row(Spec(pg.SoftmaxRegression, (4, 2), {}), CLUSTERS, 5)
    examples = examples_in_use.Examples(row, 10)
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        data, labels = session.run(list(examples.variables))
        np.testing.assert_array_equal(data, CLUSTERS.data[:10])
        np.testing.assert_array_equal(labels, CLUSTERS.labels[:10])
        examples.load_others(session, np.random.RandomState(0))
        assert len(np.unique(session.run(examples.variables.data), axis=0)) == 10


PART = Row(Spec(pg.SoftmaxRegression, (4, 2), {}), CLUSTERS, 5)


def test_validations_are_on_the_same_examples_whatever_training_loads(tmp_path):
    """With a meta-learning rate of zero they all cost the same."""
    recorder = Recorder()
    train(tmp_path, PART, num_meta_iterations=3, mini_batch_size=10, learning_rate=0.0,
          reporter=recorder)
    assert len(recorder.costs) == 4 and len(set(recorder.costs)) == 1


class Helper(machines.OneMachine):
    """A worker beside the chief, who stays on the problem for three episodes."""

    is_chief = False

    def follow(self, progress):
        progress.complete = progress.iteration == 3
        return not progress.complete


@pytest.mark.parametrize('machine', [machines.OneMachine, Helper])
@pytest.mark.parametrize('options, loads', [
    ({}, 3), ({'data_freeze': True}, 0), ({'mini_batch_size': 24}, 0)])
def test_every_episode_loads_other_examples(machine, options, loads, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(examples_in_use.Examples, 'load_others',
                        lambda self, session, rng: seen.append(self))
    train(tmp_path, PART, num_meta_iterations=3, machine=machine(),
          **dict({'mini_batch_size': 10}, **options))
    assert len(seen) == loads


def test_other_batches_are_of_examples_that_no_step_is_made_on():
    row = Row(Spec(pg.SoftmaxRegression, (4, 2), {}), CLUSTERS, 5)
    examples = examples_in_use.Examples(row, 20, set_aside=0.2)
    rng = np.random.RandomState(0)
    seen, others = examples.batches(30, rng), examples.other_batches(30, rng)
    assert seen.shape == (30, 5) and set(np.ravel(seen)) == set(range(16))
    assert others.shape == (30, 4) and set(np.ravel(others)) == set(range(16, 20))


def test_an_episode_goes_through_shuffled_passes():
    trained = Trained()
    trained.teachers = []
    trained.examples = types.SimpleNamespace(
        is_part=False, batches=lambda count, rng: CLUSTERS.batch_indices(count, 3, rng))
    training = metaopt.MetaTraining(curriculum=Curriculum.fixed(8), unroll_length=2)
    trained.run_episode(training)
    seen = sum((feed['batches'] for feed in trained.feeds), [])
    assert sorted(seen) == list(range(24))
