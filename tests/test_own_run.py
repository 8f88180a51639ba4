"""A run made in Python is a run as metarun makes it: opened, tested, gone on with, begun with."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
import metarun
import metatest
import optimizer
from l2o.commandline import flags, optimizer_flags, training_config
from l2o.metatraining import inherited, record
from l2o.runs import run_lock, run_record
from l2o.techniques.curriculum import Curriculum
from optimizer import checkpoints
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

QUADRATIC = Row(Spec(pg.Quadratic, (3,), {'random_seed': 1}))
RATE = Spec(optimizer.OPTIMIZERS['GlobalLearningRate'], (), {'initial_rate': 0.05})
SHORT = {'curriculum': Curriculum.fixed(4), 'unroll_length': 2, 'evaluation_epochs': 1, 'out': None}


def train(folder, spec=RATE, num_meta_iterations=1, **options):
    return metaopt.train_optimizer(str(folder), spec, [QUADRATIC], 1, num_meta_iterations,
                                   **dict(SHORT, **options))


def parse(script, *arguments):
    values = absl_flags.FlagValues()
    flags.define(script, values)
    values([script] + list(arguments))
    return values


def test_load_opens_it_from_its_record(tmp_path):
    result = train(tmp_path, seed=3, learning_rate=1e-2)
    learned = optimizer.load(str(tmp_path))
    assert type(learned) is RATE.callable
    saved = checkpoints.read_checkpoint(result.checkpoint)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, value in session.run(learned.named_meta_parameters).items():
            np.testing.assert_array_equal(value, saved[name])


def test_its_record_is_that_of_metarun(tmp_path):
    train(tmp_path / 'own', seed=3)
    metarun.main(parse(flags.METARUN, '--train_dir=%s' % tmp_path, '--include_bowl_problems',
                       '--optimizer=GlobalLearningRate', '--fix_unroll', '--fix_num_steps=2',
                       '--quiet',
                       '--num_meta_iterations=1', '--evaluation_epochs=1', '--seed=3'))
    own, other = run_record.read(str(tmp_path / 'own')), run_record.read(
        str(tmp_path / 'GlobalLearningRate_GRUCell_20_2'))
    assert set(own) == set(other) and set(own['training']) == set(other['training'])
    assert own['optimizer'] == {'name': 'GlobalLearningRate', 'kwargs': RATE.kwargs}
    assert (own['script'], own['flags'], own['seed']) == ('metaopt.train_optimizer', {}, 3)
    assert own['run'] == dict(other['run'])


def test_the_same_call_without_a_seed_goes_on_with_the_recorded_one(tmp_path):
    first = train(tmp_path)
    seed = run_record.read(str(tmp_path))['seed']
    assert train(tmp_path) == first and run_record.read(str(tmp_path))['seed'] == seed


@pytest.mark.parametrize('change, named', [
    ({'spec': RATE._replace(kwargs={'initial_rate': 0.05, 'use_second_derivatives': False})},
     'optimizer.kwargs.use_second_derivatives was None, is False'),
    ({'num_meta_iterations': 2}, 'num_meta_iterations was 1, is 2'),
    ({'select_random_problems': False}, 'select_random_problems was True, is False')])
def test_another_run_does_not_go_on_with_it(change, named, tmp_path):
    train(tmp_path)
    before = (tmp_path / 'run.json').read_bytes()
    with pytest.raises(ValueError, match=named):
        train(tmp_path, **change)
    assert (tmp_path / 'run.json').read_bytes() == before


def test_metarun_says_who_can_go_on_with_it(tmp_path):
    values = parse(flags.METARUN, '--train_dir=%s' % tmp_path, '--include_bowl_problems')
    train(optimizer_flags.run_folder(values))
    with pytest.raises(flags.FlagError, match='was made by metaopt.train_optimizer'):
        metarun.main(values)


def test_a_folder_in_use_is_refused(tmp_path, monkeypatch):
    with run_lock.held(str(tmp_path)), monkeypatch.context() as patch:
        patch.setattr(run_lock, '_held', set())  # as in another process
        with pytest.raises(run_lock.FolderInUseError, match='another run is at work'):
            train(tmp_path)


def test_metatest_opens_it(tmp_path):
    train(tmp_path / 'own')
    metatest.main(parse(
        flags.METATEST, '--train_dir=%s' % (tmp_path / 'own'), '--include_bowl_problems',
        '--only=bowl 0', '--save_dir=%s' % (tmp_path / 'tested'), '--num_testing_itrs=3',
        '--seeds=6', '--quiet'))
    assert os.path.exists(str(tmp_path / 'tested' / 'results.csv'))


IN_KERAS = """
import sys
import keras, numpy as np
import metaopt
from optimizer import OPTIMIZERS
from optimizer.keras import LearnedOptimizer
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

row = Row(Spec(pg.Quadratic, (3,), {}))
metaopt.train_optimizer(
    sys.argv[1], Spec(OPTIMIZERS['HierarchicalRNN'], ((4, 3),), {'init_lr_range': (0.1, 0.1)}),
    [row], 1, 1, fix_unroll=True, fix_num_steps=4, fix_unroll_length=2, evaluation_epochs=1)
model = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])
model.compile(LearnedOptimizer(sys.argv[1]), 'mse')
losses = model.fit(np.ones([8, 2]), np.full([8, 1], 9.0), epochs=10, verbose=0).history['loss']
assert np.isfinite(losses).all() and losses[-1] != losses[0], losses  # hardly trained
"""


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
def test_a_keras_program_trains_it_and_opens_it(tmp_path):
    """Eagerly, as Keras does it, in a process of its own."""
    root = os.path.dirname(os.path.abspath(metarun.__file__))
    done = subprocess.run([sys.executable, '-c', IN_KERAS, str(tmp_path / 'own_run')], cwd=root,
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert os.path.exists(str(tmp_path / 'own_run' / 'report.html'))


class Descent(CoordinatewiseOptimizer):
    """Gradient descent, no row of the table."""

    def __init__(self, rate, name='Descent', **kwargs):
        super().__init__(name, **kwargs)
        self.create_meta_parameter('rate', (), tf.constant_initializer(rate))

    def initial_rows(self, size, read, key):
        return []

    def row_rule(self, weights, gradient, rows, steps_done):
        return -weights['rate'] * gradient, rows


def test_an_optimizer_of_ones_own_is_recorded_and_named_where_it_is_opened(tmp_path):
    train(tmp_path, Spec(Descent, (0.1,), {}))
    with open(str(tmp_path / 'run.json')) as file:
        assert json.load(file)['optimizer'] == {
            'name': __name__ + '.Descent', 'kwargs': {'rate': 0.1}}
    with pytest.raises(ValueError, match='Descent is a class of its author.*init_from_checkpoint'):
        optimizer.load(str(tmp_path))


@pytest.mark.parametrize('spec, expected', [
    (Spec(optimizer.OPTIMIZERS['HierarchicalRNN'], ((4, 3),), {'init_lr_range': (0.1, 0.2)}),
     ('HierarchicalRNN', {'level_sizes': [4, 3], 'init_lr_range': [0.1, 0.2]})),
    (Spec(Descent, (np.float32(0.5),), {'random_seed': 3}),
     (__name__ + '.Descent', {'rate': 0.5, 'random_seed': 3})),
    (Spec(Descent, (abs,), {}), (__name__ + '.Descent', {'rate': 'abs'}))])
def test_what_is_recorded_of_an_optimizer(spec, expected):
    assert record.optimizer_entry(spec) == expected


# Begin with.


@pytest.fixture(name='shipped', scope='module')
def fixture_shipped(tmp_path_factory):
    """The folder of a trained optimizer."""
    folder = tmp_path_factory.mktemp('shipped')
    with tf.Graph().as_default():
        train(folder, seed=7, learning_rate=0.1, meta_optimizer='adam')
    return str(folder)


def test_a_training_begins_with_what_is_there(tmp_path, shipped):
    """With a learning rate of zero it stays what it is; nothing but meta-parameters is taken."""
    train(tmp_path, begin_with=shipped, learning_rate=0.0, meta_optimizer='adam')
    given = checkpoints.read_checkpoint(shipped)
    with np.load(str(tmp_path / 'state.npz')) as arrays:
        for name in optimizer.load(shipped).named_meta_parameters:
            np.testing.assert_array_equal(arrays['values/' + name], given[name])
        assert arrays['values/global_step'] == 2
        facts = json.loads(str(arrays['facts']))
    assert facts['training']['begin_with'] == shipped


def test_metarun_takes_the_optimizer_from_there(tmp_path, shipped):
    values = parse(flags.METARUN, '--begin_with=' + shipped, '--train_dir=%s' % tmp_path,
                   '--include_bowl_problems', '--nouse_second_derivatives', '--fix_unroll',
                   '--fix_num_steps=2', '--quiet', '--num_meta_iterations=1',
                   '--evaluation_epochs=1')
    assert optimizer_flags.optimizer_config(values) == (
        'GlobalLearningRate', dict(optimizer_flags.optimizer_config(values)[1],
                                   initial_rate=0.05, use_second_derivatives=False))
    metarun.main(values)
    made = run_record.read(os.path.join(
        str(tmp_path), 'GlobalLearningRate_GRUCell_20_2'))
    assert made['optimizer']['kwargs']['initial_rate'] == 0.05
    assert made['flags']['begin_with'] == shipped


@pytest.mark.parametrize('arguments, message', [
    (['--begin_with=absent'], '--begin_with: There is no folder absent'),
    (['--begin_with=rnnprop', '--optimizer=L2ODM'], '--optimizer=L2ODM, but --begin_with=rnnprop '
     'is a RNNProp')])
def test_what_a_run_cannot_begin_with(arguments, message, tmp_path):
    values = parse(flags.METARUN, '--train_dir=%s' % tmp_path, '--include_bowl_problems',
                   *arguments)
    with pytest.raises(flags.FlagError, match=message):
        metarun.main(values)
    assert not os.listdir(str(tmp_path))


def test_another_optimizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match='is of another optimizer'):
        train(tmp_path, begin_with='rnnprop')


# What it takes over.

PES = {'meta_gradient': 'pes', 'pes_sigma': 0.04, 'meta_objective_of': 'other_batches',
       'episode_steps': [4, 8], 'episode_shares': [0.0, 0.5], 'evaluation_period': 32,
       'evaluation_epochs': 2, 'meta_learning_rate': 3e-3, 'problems_at_once': 24}


@pytest.fixture(name='made_with_flags')
def fixture_made_with_flags(tmp_path, shipped):
    """A trained optimizer whose record has the flags that made it."""
    folder = tmp_path / 'made'
    shutil.copytree(shipped, str(folder))
    made = run_record.read(shipped)
    made['flags'] = dict(PES, seed=3, random_scaling=False)
    (folder / 'run.json').write_text(json.dumps(made))
    return str(folder)


def test_settings_come_from_what_a_training_begins_with(made_with_flags):
    words = inherited.words(made_with_flags, ['pes_sigma'], [Row(None, 'data')] * 3, 20)
    assert words == {'meta_gradient': 'pes', 'meta_objective_of': 'other_batches',
                     'episode_steps': [4, 8], 'episode_shares': [0.0, 0.5],
                     'evaluation_period': 4, 'meta_learning_rate': 3e-3, 'problems_at_once': 3}
    words = inherited.words(made_with_flags, ['if_cl'], [Row(None)], 400)
    assert words == {'meta_gradient': 'pes', 'pes_sigma': 0.04, 'meta_objective_of': 'batches',
                     'evaluation_period': 32, 'meta_learning_rate': 3e-3, 'problems_at_once': 1}


def test_a_training_without_a_spec_is_of_the_optimizer_it_begins_with(made_with_flags, tmp_path):
    options = {'begin_with': made_with_flags, 'evaluation_epochs': 1, 'out': None}
    metaopt.train_optimizer(str(tmp_path / 'one'), None, [QUADRATIC], 1, 2, seed=1, **options)
    made = run_record.read(str(tmp_path / 'one'))
    assert made['optimizer'] == {'name': 'GlobalLearningRate', 'kwargs': RATE.kwargs}
    assert made['training']['evolution'] == {'pairs': 2, 'sigma': 0.04, 'reuse': False}
    assert made['training']['episodes']['steps'] == [4, 8]
    assert made['training']['meta_optimizer']['learning_rate'] == 3e-3
    # What begins with that one takes over the same.
    assert inherited.words(str(tmp_path / 'one'), [], [QUADRATIC], 200) == inherited.words(
        made_with_flags, [], [QUADRATIC], 200)
    # A training of one's own is as it is.
    metaopt.train_optimizer(str(tmp_path / 'two'), None, [QUADRATIC], 1, 1, seed=1,
                            training=metaopt.MetaTraining(), **dict(SHORT, **options))
    assert run_record.read(str(tmp_path / 'two'))['training']['evolution'] is None


def test_metarun_takes_the_settings_over_but_for_flags_that_are_given(made_with_flags):
    values = parse(flags.METARUN, '--begin_with=' + made_with_flags, '--include_bowl_problems',
                   '--pes_sigma=0.1', '--num_meta_iterations=10')
    training = training_config.begun_with(
        values, training_config.meta_training(values, 1), [QUADRATIC])
    assert training.evolution.sigma == 0.1 and training.episodes.steps == (4, 8)
    assert training.validation.period == 2
    values = parse(flags.METARUN, '--begin_with=' + made_with_flags, '--include_bowl_problems',
                   '--fix_unroll', '--fix_num_steps=7')
    training = training_config.begun_with(
        values, training_config.meta_training(values, 1), [QUADRATIC])
    assert training.episodes is None and training.curriculum.stages == (7,)


@pytest.mark.parametrize('name', optimizer.shipped_names())
def test_settings_of_each_shipped_optimizer_are_taken_over(name):
    spec, training = inherited.or_given(None, None, {'begin_with': name}, [Row(None, 'data')], 60)
    assert spec.callable.__name__ == optimizer.describe(name)[0]
    assert training.episodes is not None and training.meta_optimizer.name == 'adam'


def test_without_a_spec_it_must_be_known_what_is_trained(tmp_path):
    with pytest.raises(ValueError, match='give a Spec, or begin_with='):
        metaopt.train_optimizer(str(tmp_path), None, [QUADRATIC], 1, 1)
