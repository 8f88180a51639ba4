"""Runs that are killed, interrupted or run out of disk go on; numbers that are not finite."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
import metarun
from l2o.metatraining.store import Store
from l2o.runs import run_files
from l2o.techniques import curriculum as curricula
from l2o.techniques import regularization
from optimizer import checkpoints
from optimizer.trainable_adam import TrainableAdam
from problems import problem_generator as pg
from problems.problem_spec import Spec

NUM_META_ITERATIONS = 16
COMMAND = (
    '--train_dir=opt --seed=5 --include_noisy_bowl_problems --include_noisy_norm_problems '
    '--num_problems=2 --num_meta_iterations=%d --evaluation_epochs=1 --fix_unroll '
    '--fix_unroll_length=10 --fix_num_steps=200 --fix_num_steps_eval=10 --if_mt --mt_ratio=0.1 '
    '--meta_learning_rate=1e-3 --noreset_rnn_params --min_lr=1e-4 --max_lr=1e-3 '
    '--optimizer=CoordinatewiseRNN --cell_size=4 --num_cells=1 --keep_checkpoints=2'
    % (NUM_META_ITERATIONS // 2)).split()
FOLDER = os.path.join('opt', 'CoordinatewiseRNN_GRUCell_4_1')


def start(folder, *arguments, limit=None):
    """A process of metarun; `limit`: the largest file that it can write, in bytes."""
    def prepare():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in background
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.Popen(
        [sys.executable, os.path.abspath(metarun.__file__)] + list(arguments or COMMAND),
        cwd=str(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=prepare)


def finish(process):
    """Status and standard error."""
    _, errors = process.communicate(timeout=600)
    return process.returncode, errors


def wait_for_validations(process, count):
    """Waits until a process has reported so many validations; whether it got there."""
    for line in process.stdout:
        count -= ', validation ' in line
        if not count:
            return True
    return False


def wait_until_caught(process, number):
    """Waits until a process catches a signal."""
    deadline = time.time() + 60
    while time.time() < deadline:
        with open('/proc/%d/status' % process.pid) as file:
            caught = re.search(r'SigCgt:\s*(\w+)', file.read()).group(1)
        if int(caught, 16) >> (number - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError('the signal is not caught')


def interrupt(folder, number, validations, delay):
    """Starts a run and sends it a signal so many seconds after so many validations."""
    process = start(folder)
    assert wait_for_validations(process, validations)
    try:
        process.wait(timeout=delay)
    except subprocess.TimeoutExpired:
        pass
    process.send_signal(number)
    return finish(process)


def saved(folder):
    """What a run has saved, by file and name."""
    with np.load(str(folder / FOLDER / run_files.STATE), allow_pickle=False) as arrays:
        found = {('state', name): arrays[name] for name in arrays.files}
    for name in sorted(os.listdir(str(folder / FOLDER))):
        if name.endswith('.index'):
            path = str(folder / FOLDER / name[:-len('.index')])
            found.update({(name, key): value
                          for key, value in checkpoints.read_checkpoint(path).items()})
    return found


def assert_same(folder, other):
    expected, found = saved(folder), saved(other)
    assert set(expected) == set(found)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=str(key))
    assert sorted(os.listdir(str(folder / FOLDER))) == sorted(os.listdir(str(other / FOLDER)))


@pytest.fixture(name='whole', scope='module')
def fixture_whole(tmp_path_factory):
    """A folder in which the command has run without interruption."""
    folder = tmp_path_factory.mktemp('whole')
    assert finish(start(folder)) == (0, '')
    return folder


ENDINGS = {signal.SIGKILL: (-signal.SIGKILL, ''),
           signal.SIGTERM: (143, 'metarun: terminated\n'),
           signal.SIGINT: (130, 'metarun: interrupted\n')}


@pytest.mark.slow
def test_a_run_interrupted_three_times_ends_as_one_that_was_not(whole, tmp_path):
    rng = random.Random(3)
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        done = interrupt(tmp_path, number, rng.randint(1, 3), rng.uniform(0.0, 0.3))
        assert done == ENDINGS[number]
    assert finish(start(tmp_path)) == (0, '')
    assert_same(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('delay', [0.0, 0.5])
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_while_tensorflow_is_imported(number, delay, tmp_path):
    process = start(tmp_path)
    wait_until_caught(process, signal.SIGTERM)
    wait_until_caught(process, signal.SIGINT)
    time.sleep(delay)
    process.send_signal(number)
    assert finish(process) == ENDINGS[number]
    assert not os.listdir(str(tmp_path))


@pytest.mark.slow
def test_numbered_checkpoints_are_few(whole):
    names = {name.split('.index')[0] for name in os.listdir(str(whole / FOLDER))
             if name.endswith('.index')}
    latest = {'model.ckpt-%d' % number for number in range(
        NUM_META_ITERATIONS - 1, NUM_META_ITERATIONS + 1)}
    assert names == latest | {'model.ckpt-0'}


def small_enough_for(folder, *names):
    """A file size in which the named files of a run find room, but not the state."""
    sizes = [os.path.getsize(str(folder / FOLDER / name)) for name in names]
    state = os.path.getsize(str(folder / FOLDER / run_files.STATE))
    assert max(sizes) < state
    return (max(sizes) + state) // 2


@pytest.mark.slow
def test_a_full_disk_while_the_state_is_saved(whole, tmp_path):
    assert interrupt(tmp_path, signal.SIGKILL, 3, 0.0) == ENDINGS[signal.SIGKILL]
    before = saved(tmp_path)
    limit = small_enough_for(whole, 'model.ckpt-0.data-00000-of-00001', 'run.json')
    status, errors = finish(start(tmp_path, limit=limit))
    assert status == 2 and errors.count('\n') == 1
    assert errors.startswith('metarun: ' + os.path.join(FOLDER, run_files.STATE))
    after = saved(tmp_path)
    for key in filter(lambda key: key[0] == 'state', before):
        np.testing.assert_array_equal(after[key], before[key])
    assert finish(start(tmp_path)) == (0, '')
    assert_same(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('limit, file', [(100, 'run.json'), (8000, 'state.npz')])
def test_a_full_disk_from_the_beginning(limit, file, tmp_path):
    status, errors = finish(start(tmp_path, limit=limit))
    assert status == 2 and errors.count('\n') == 1 and file in errors
    left = os.listdir(str(tmp_path / FOLDER))
    assert all('temp' not in name and not name.endswith('.new') for name in left)
    assert finish(start(tmp_path, *(COMMAND + ['--num_meta_iterations=1']))) == (0, '')


@pytest.mark.slow
def test_an_output_that_is_full(tmp_path):
    with open('/dev/full', 'w') as full:
        done = subprocess.run([sys.executable, os.path.abspath(metarun.__file__)] + COMMAND,
                              cwd=str(tmp_path), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == 'metarun: output: No space left on device\n'


# In one process: what goes on, and what is not finite.

OPTIMIZER = Spec(TrainableAdam, (1e-2,), {})


def train(folder, problem, **kwargs):
    options = dict(
        num_problems=1, num_meta_iterations=4, num_unroll_func=lambda: 2,
        num_partial_unroll_itrs_func=lambda: 3, seed=7, out=None,
        curriculum=curricula.Curriculum.fixed(6), learning_rate=1e-2,
        validation=metaopt.Validation(1, 1))
    return metaopt.train_optimizer(str(folder), OPTIMIZER, [(problem, None, None)],
                                   **dict(options, **kwargs))


@pytest.mark.usefixtures('mode_of_the_scripts')
@pytest.mark.parametrize('problem, options', [
    (Spec(pg.SparseProblem, (Spec(pg.Quadratic, (3,), {}),), {'zero_probability': 0.5}), {}),
    (Spec(pg.Quadratic, (3,), {'noise_stdev': 1.0}),
     {'reset_state': False, 'imitation': metaopt.Imitation('sgd', 0.5, 2, 1e-3)})])
def test_noise_and_carried_state_go_on_exactly(problem, options, tmp_path, monkeypatch):
    train(tmp_path / 'whole', problem, **options)
    save, count = Store.save, [0]

    def interrupted_save(self, *arguments):
        save(self, *arguments)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, 'save', interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / 'parts', problem, **options)
    train(tmp_path / 'parts', problem, **options)
    states = []
    for name in ('whole', 'parts'):
        with np.load(str(tmp_path / name / run_files.STATE)) as arrays:
            states.append({key: arrays[key] for key in arrays.files})
    assert set(states[0]) == set(states[1])
    for key, value in states[0].items():
        np.testing.assert_array_equal(states[1][key], value, err_msg=key)


class Strange(pg.Quadratic):
    """A quadratic, but not where x is strange."""

    def __init__(self, make):
        super().__init__(2, random_seed=1)
        self._make = make

    def _objective(self, parameters, data, labels):
        return self._make(super()._objective(parameters, data, labels))


STRANGE = {
    'not a number': lambda value: value * np.nan,
    'infinite': lambda value: value * np.inf,
    'infinite gradient': lambda value: tf.sqrt(value * 0.0),
    'huge gradient': lambda value: 1e30 * value,
    'sometimes': lambda value: tf.where(value > 1.0, value * np.nan, value),
}


@pytest.mark.parametrize('name, use_second_derivatives, meta_optimizer', [
    ('not a number', True, 'rmsprop'), ('infinite', False, 'rmsprop'),
    ('infinite gradient', True, 'adam'), ('huge gradient', False, 'rmsprop'),
    ('huge gradient', True, 'adam'), ('sometimes', True, 'rmsprop')])
def test_what_is_not_finite_never_reaches_the_meta_parameters(
        name, use_second_derivatives, meta_optimizer, tmp_path):
    try:
        spec = Spec(TrainableAdam, (1e-2,), {'use_second_derivatives': use_second_derivatives})
        metaopt.train_optimizer(
            str(tmp_path), spec, [(Spec(Strange, (STRANGE[name],), {}), None, None)], 1, 3,
            lambda: 2, lambda: 3, learning_rate=1e-2, gradient_clip=1e4, out=None,
            run=metaopt.Run(seed=7), training=metaopt.MetaTraining(
                validation=metaopt.Validation(1, 1),
                meta_optimizer=metaopt.MetaOptimizer(meta_optimizer)))
    except metaopt.NothingFiniteError:
        pass
    with np.load(str(tmp_path / run_files.STATE)) as arrays:
        values = {key: arrays[key] for key in arrays.files if key.startswith('values/')}
    assert len(values) > 5
    for key, value in values.items():
        assert np.isfinite(value).all(), key


@pytest.mark.parametrize('weight', ['meta_weight', 'inner_weight'])
def test_a_penalty_that_is_not_finite(weight, tmp_path, monkeypatch):
    monkeypatch.setitem(regularization.MEASURES, 'jacob',
                        lambda objective, point, iterations, key: tf.reduce_sum(point) * np.nan)
    penalty = regularization.Penalty(
        'jacob', alpha=1.0, beta=1.0, time='prior', scale=0.25,
        on_optimizer=weight == 'meta_weight', on_optimizee=weight == 'inner_weight')
    problem = Spec(pg.Quadratic, (3,), {})
    if weight == 'meta_weight':
        result = train(tmp_path, problem, penalty=penalty, num_unroll_func=lambda: 4)
        assert (result.nonfinite_unrolls, result.unrolls) == (8, 16)  # 2 of 4 in each episode
    else:  # the parameters are spoilt for the rest of the episode
        with pytest.raises(metaopt.NothingFiniteError):
            train(tmp_path, problem, penalty=penalty)
    with np.load(str(tmp_path / run_files.STATE)) as arrays:
        assert all(np.isfinite(arrays[key]).all() for key in arrays.files if '/' in key)


def test_a_run_without_any_finite_unroll_ends(tmp_path):
    problem = Spec(Strange, (STRANGE['not a number'],), {})
    with pytest.raises(metaopt.NothingFiniteError, match='every unroll of the run had'):
        train(tmp_path / 'short', problem)
    with pytest.raises(metaopt.NothingFiniteError, match='last 10 meta-iterations'):
        train(tmp_path / 'long', problem, num_meta_iterations=100)
    with np.load(str(tmp_path / 'long' / run_files.STATE)) as arrays:
        assert '"meta_iterations": 10' in str(arrays['facts'])
    with pytest.raises(metaopt.NothingFiniteError):  # again, at once
        train(tmp_path / 'long', problem, num_meta_iterations=100)


class OneBadStart(pg.Quadratic):
    """A quadratic whose second start in a run, the one of the first episode, is a huge one."""

    starts = 0

    def init_tensors(self, seed=None):
        OneBadStart.starts += seed is not None
        return [tf.fill([3, 1], 1e30 if OneBadStart.starts == 2 else 1.0)]


def test_carried_state_that_is_not_finite_is_left(tmp_path):
    """One bad episode does not spoil all that follow it."""
    OneBadStart.starts = 0
    result = train(tmp_path, Spec(OneBadStart, (3,), {}), reset_state=False)
    assert (result.nonfinite_unrolls, result.unrolls) == (2, 8)


# A run's files.


def test_files_are_whole_or_old(tmp_path, monkeypatch):
    path = str(tmp_path / 'file')
    run_files.write(path, b'old')

    def fail(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space left on device.*file'):
        run_files.write(path, b'new')
    assert (tmp_path / 'file').read_bytes() == b'old'
    assert os.listdir(str(tmp_path)) == ['file']


def test_a_file_that_another_program_holds_open_stays(tmp_path, monkeypatch):
    """Windows does not replace it."""
    path = str(tmp_path / 'results.csv')
    run_files.write(path, b'old')

    def refuse(source, target):
        raise PermissionError(13, 'Access is denied', source)

    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(OSError, match='Access is denied.*results.csv'):
        run_files.write(path, b'new')
    assert (tmp_path / 'results.csv').read_bytes() == b'old'
    assert os.listdir(str(tmp_path)) == ['results.csv']


def test_left_behind_and_discarded_files(tmp_path):
    stale = ['state.npz.new', 'run.json.new', 'checkpoint.tmp0a1b',
             'model.ckpt-3.index.tempstate12', 'model.ckpt-0.data-00000-of-00001.tempstate9']
    numbered = ['model.ckpt-%d.%s' % (number, end) for number in (0, 2, 10, 9)
                for end in ('index', 'data-00000-of-00001')]
    others = ['model.ckpt-x.index', 'notes', 'run.json']
    for name in stale + numbered + others + ['state.npz', 'checkpoint']:
        (tmp_path / name).write_text('')
    run_files.tidy(str(tmp_path))
    left = os.listdir(str(tmp_path))
    assert sorted(left) == sorted(numbered + others + ['state.npz', 'checkpoint'])
    run_files.keep_latest(str(tmp_path), 2)
    assert set(left) - set(os.listdir(str(tmp_path))) == {
        'model.ckpt-2.index', 'model.ckpt-2.data-00000-of-00001'}
    run_files.discard(str(tmp_path))
    assert sorted(os.listdir(str(tmp_path))) == sorted(others)


def test_a_written_checkpoint_opens(tmp_path):
    values = {'a/b': np.arange(6, dtype='float32').reshape(2, 3), 'n': np.array(4, 'int32')}
    run_files.write_checkpoint(str(tmp_path), 0, values)
    found = checkpoints.read_checkpoint(str(tmp_path))
    assert set(found) == set(values)
    np.testing.assert_array_equal(found['a/b'], values['a/b'])
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / 'model.ckpt-0')
