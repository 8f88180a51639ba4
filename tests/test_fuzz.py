"""Generated command lines and damaged files: a mistake is one line, nothing hangs or is written.

In one process through the functions that the scripts call; a few as processes (slow).
"""

import contextlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metaopt
import metarun
import metatest
from l2o.commandline import candidates, flags, problem_flags, resuming
from l2o.runs import run_files, run_record
from problems import image_files
from problems.image_files import DataError, DataSource

FUZZ = settings(max_examples=60, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck))
SCRIPTS = {flags.METARUN: metarun, flags.METATEST: metatest}

# Command lines.

WORDS = st.sampled_from([
    '', ' ', '0', '-1', '1', '2', '0.5', '1e-3', '1e400', '-1e400', '1e39', '1e-60', 'nan', 'inf',
    'True', 'false', 'None', '99999999999999999999', '2147483648', '-2147483649', '1,2', '1,,2',
    ',', '3,2,1', '1,2,3,4', 'é', '\u202e', '漢字', '\0', '\n', '\udcff', '../..', '/', '.', '~',
    'x' * 5000, '--', '=', '%s%n', '{}', 'L2o', 'L2o,L2o', 'SGD,Adam', 'hessian', 'RNNProp',
    'CoordinatewiseRNN', 'LSTMCell', 'digits'])
VALUES = st.one_of(WORDS, st.text(max_size=8), st.integers().map(str), st.floats().map(repr))
UNSAFE = ('train_dir', 'save_dir', 'data_dir')  # given separately, inside of the test's folder


def names(script):
    own = [flag.name for flag in flags.FLAGS if script in flag.defaults and flag.name not in UNSAFE]
    return st.sampled_from(own + ['include_bowl_problems', 'include_matmul_problems', 'unknown'])


def arguments(script):
    argument = st.one_of(st.builds('--{}={}'.format, names(script), VALUES),
                         st.builds('--{}'.format, names(script)),
                         st.builds('--no{}'.format, names(script)), WORDS)
    return st.lists(argument, max_size=6)


def parse(script, line):
    values = absl_flags.FlagValues()
    flags.define(script, values)
    rest = values([script] + line)
    if rest[1:]:
        raise flags.FlagError('what is %r?' % rest[1])
    return values


class WorkBegins(Exception):
    """The command line was accepted."""


def accept(*_, **__):
    raise WorkBegins


def outcome(script, line):
    """None: accepted; else the line that is said."""
    try:
        SCRIPTS[script].main(parse(script, line))
    except WorkBegins:
        return None
    except (absl_flags.Error, flags.FlagError, DataError) as error:
        return ' '.join(str(error).split())
    raise AssertionError('neither refused nor accepted')


@pytest.fixture(name='_stubs')
def fixture_stubs(monkeypatch):
    """What comes after the settings are made ends the script."""
    monkeypatch.setattr(metaopt, 'train_optimizer', accept)
    monkeypatch.setattr(resuming, 'lock', contextlib.nullcontext)  # which makes the folder ...
    monkeypatch.setattr(metarun, '_reporter', lambda *_: None)  # ... that events are written into
    monkeypatch.setattr(run_record, 'write', accept)
    monkeypatch.setattr(problem_flags, '_rows_of', lambda *_: [])


@pytest.mark.parametrize('script', sorted(SCRIPTS))
def test_generated_command_lines(script, tmp_path, _stubs):
    @FUZZ
    @given(arguments(script))
    def check(line):
        given_folders = ['--train_dir=%s' % (tmp_path / 'opt')]
        if script == flags.METATEST:
            given_folders.append('--save_dir=%s' % (tmp_path / 'results'))
        said = outcome(script, line + given_folders)
        assert said is None or said
        assert not os.listdir(str(tmp_path))

    check()


@pytest.mark.parametrize('script', sorted(SCRIPTS))
def test_generated_values_of_every_flag(script, tmp_path, _stubs):
    @settings(FUZZ, max_examples=8)
    @given(st.data())
    def check(data):
        for flag in flags.FLAGS:
            if script in flag.defaults and flag.name not in UNSAFE:
                line = ['--include_bowl_problems', '--train_dir=%s' % (tmp_path / 'opt'),
                        '--%s=%s' % (flag.name, data.draw(WORDS))]
                said = outcome(script, line)
                assert said is None or said
        assert not os.listdir(str(tmp_path))

    check()


# Damaged files.


def damages(size):
    """Functions of a file's bytes: cut, flipped, overwritten, replaced, longer."""
    place = st.integers(0, max(size - 1, 0))
    return st.one_of(
        st.builds(lambda end: lambda content: content[:end], place),
        st.builds(lambda at, bit: lambda content: _replaced(
            content, at, bytes([content[at] ^ (1 << bit)])), place, st.integers(0, 7)),
        st.builds(lambda at, new: lambda content: _replaced(content, at, new), place,
                  st.binary(min_size=1, max_size=12)),
        st.builds(lambda at: lambda content: _replaced(content, at, 10 * b'\xff'), place),
        st.builds(lambda at: lambda content: content[:at] + content[at + 1:], place),
        st.builds(lambda new: lambda content: new, st.binary(max_size=100)),
        st.builds(lambda new: lambda content: content + new, st.binary(min_size=1, max_size=20)))


def _replaced(content, at, new):
    return content[:at] + new[:len(content) - at] + content[at + len(new):]


@pytest.fixture(name='run', scope='module')
def fixture_run(tmp_path_factory):
    """The folder of a small run, and the command line that made it."""
    folder = tmp_path_factory.mktemp('run')
    line = ('--train_dir=%s --seed=3 --include_bowl_problems --optimizer=TrainableAdam '
            '--num_meta_iterations=1 --evaluation_epochs=1 --fix_unroll --fix_unroll_length=2 '
            '--fix_num_steps=2 --fix_num_steps_eval=2 --quiet' % folder).split()
    metarun.main(parse(flags.METARUN, line))
    place, = os.listdir(str(folder))
    return str(folder / place), line


def open_run(run_folder):
    """As metatest opens it."""
    line = ['--train_dir=' + run_folder, '--include_bowl_problems', '--save_dir=' + run_folder]
    values = parse(flags.METATEST, line)
    candidates.learned_optimizers(values)


def open_by_flags(run_folder):
    """As metatest opens it where flags describe the optimizer."""
    values = parse(flags.METATEST, [
        '--train_dir=' + os.path.dirname(run_folder), '--optimizer=TrainableAdam',
        '--include_bowl_problems'])
    candidates.learned_optimizers(values)


@pytest.mark.parametrize('name, opens', [
    ('model.ckpt-0.index', open_by_flags), ('model.ckpt-0.data-00000-of-00001', open_by_flags),
    ('checkpoint', open_by_flags), ('run.json', open_run), ('run.json', None),
    ('state.npz', None)])
def test_damaged_files_of_a_run(name, opens, run, tmp_path, _stubs):
    source, line = run
    with open(os.path.join(source, name), 'rb') as file:
        content = file.read()
    copy = str(tmp_path / os.path.basename(source))
    shutil.copytree(source, copy)
    if name == 'checkpoint':  # read where there is no model.ckpt-0
        for end in ('index', 'data-00000-of-00001'):
            os.remove(os.path.join(copy, 'model.ckpt-0.' + end))

    def go_on(_):
        metarun.main(parse(flags.METARUN, line + ['--train_dir=%s' % tmp_path]))

    @settings(FUZZ, max_examples=100)
    @given(damages(len(content)))
    def check(damage):
        with open(os.path.join(copy, name), 'wb') as file:
            file.write(damage(content))
        before = sorted(os.listdir(copy))
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            warnings.simplefilter('ignore', ResourceWarning)  # numpy leaves damaged files open
            try:
                (opens or go_on)(copy)
            except (WorkBegins, flags.FlagError, DataError):
                pass
        assert sorted(os.listdir(copy)) == before

    check()


def foreign_states(run_folder):
    """Whole archives that are no state of this run."""
    with np.load(os.path.join(run_folder, run_files.STATE)) as arrays:
        state = {name: arrays[name] for name in arrays.files}
    facts = json.loads(str(state['facts']))
    name = next(name for name in state if name.startswith('values/'))
    changed = dict(state)
    del changed[name]
    yield changed
    yield {}
    yield {'facts': np.array(5)}
    yield dict(state, **{name: state[name].astype('float64')})
    yield dict(state, **{name: np.zeros([7, 7], 'float32')})
    yield dict(state, **{'values/more': np.zeros(1)})
    for key, value in (('unrolls', -1), ('unrolls', 'x'), ('seed', 4), ('curriculum', {}),
                       ('curriculum', dict(facts['curriculum'], stage=5)),
                       ('curriculum', dict(facts['curriculum'], stage='x')), ('best_cost', 'x')):
        yield dict(state, facts=np.array(json.dumps(dict(facts, **{key: value}))))


def test_foreign_states(run, tmp_path, _stubs):
    source, line = run
    copy = str(tmp_path / os.path.basename(source))
    shutil.copytree(source, copy)
    for arrays in foreign_states(source):
        np.savez(os.path.join(copy, run_files.STATE), **arrays)
        with pytest.raises(flags.FlagError, match='state.npz'):
            metarun.main(parse(flags.METARUN, line + ['--train_dir=%s' % tmp_path]))


def test_a_checkpoint_of_another_type(run, tmp_path):
    source, _ = run
    copy = str(tmp_path / os.path.basename(source))
    shutil.copytree(source, copy)
    reader = tf.train.load_checkpoint(os.path.join(source, 'model.ckpt-0'))
    values = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    name = 'LOL/log_learning_rate'
    values[name] = values[name].astype('float64')
    run_files.write_checkpoint(copy, 0, values)
    with pytest.raises(flags.FlagError, match='LOL/.*float64'):
        open_run(copy)


def cifar_batch():
    pixels = np.random.RandomState(1).randint(0, 256, [2, 3072]).astype('uint8')
    return pickle.dumps({b'data': pixels, b'labels': [3, 4], b'batch_label': b'x',
                         b'filenames': [b'a.png', b'b.png']}, protocol=2)


def mnist_file(folder):
    path = os.path.join(str(folder), 'mnist.npz')
    np.savez(path, x_train=np.zeros([2, 28, 28], 'uint8'), y_train=np.array([1, 9], 'uint8'))
    with open(path, 'rb') as file:
        return file.read()


def check_damaged_data(path, content, load):
    @settings(FUZZ, max_examples=300)
    @given(damages(len(content)))
    def check(damage):
        with open(path, 'wb') as file:
            file.write(damage(content))
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            warnings.simplefilter('ignore', ResourceWarning)  # numpy leaves damaged files open
            try:
                images = load()
            except DataError as error:
                assert path in str(error) and '\n' not in str(error)
            else:
                assert np.isfinite(images.data).all() and set(images.labels) <= set(range(10))

    check()


def test_damaged_mnist_files(tmp_path):
    content = mnist_file(tmp_path)
    source = DataSource('mnist', str(tmp_path))
    check_damaged_data(str(tmp_path / 'mnist.npz'), content,
                       lambda: image_files.load_mnist(True, source))


def test_damaged_cifar_files(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    source = DataSource('auto', str(tmp_path))
    check_damaged_data(str(folder / 'test_batch'), cifar_batch(),
                       lambda: image_files.load_cifar10(False, source))


@pytest.mark.parametrize('images, labels', [
    (np.zeros([0, 28, 28], 'uint8'), np.zeros([0], 'uint8')),
    (np.zeros([1, 28, 28], 'uint8'), np.array([10])),
    (np.zeros([1, 28, 28], 'uint8'), np.array([-1])),
    (np.zeros([1, 28, 28], 'uint8'), np.array([0.5])),
    (np.zeros([1, 28, 28], 'uint8'), np.array(['1'])),
    (np.full([1, 28, 28], np.nan), np.array([1])),
    (np.full([1, 28, 28], -1.0), np.array([1])),
    (np.zeros([1, 28, 28], 'complex64'), np.array([1])),
    (np.zeros([1, 27, 28], 'uint8'), np.array([1])),
    (np.zeros([2, 28, 28], 'uint8'), np.array([1]))])
def test_data_of_wrong_shape_or_kind(images, labels, tmp_path):
    np.savez(str(tmp_path / 'mnist.npz'), x_train=images, y_train=labels)
    with pytest.raises(DataError, match='mnist.npz is damaged'):
        image_files.load_mnist(True, DataSource('mnist', str(tmp_path)))


# As processes.


@pytest.mark.slow
@pytest.mark.parametrize('script', sorted(SCRIPTS))
@pytest.mark.parametrize('seed', range(2))
def test_command_lines_as_processes(script, seed, run, tmp_path):
    """Lines with at least one thing that is refused."""
    rng = random.Random(seed)
    bad = ['--meta_learning_rate=nan', '--cell_size=0', '--optimizer=\u6f22', '--unknown',
           'x' * 999, '--hrnn_level_sizes=1,2,3,4', '--min_lr=5', b'--train_dir=\xff\xfe',
           '--cell_size=1e9']
    line = ['--include_bowl_problems'] + rng.sample(bad, 2)
    done = subprocess.run(
        [sys.executable, os.path.abspath(SCRIPTS[script].__file__)] + line, cwd=str(tmp_path),
        capture_output=True, timeout=300)
    assert (done.returncode, done.stdout) == (2, b'')
    assert done.stderr.count(b'\n') == 1 and done.stderr.startswith(script.encode() + b': ')
    assert not os.listdir(str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['model.ckpt-0.index', 'model.ckpt-0.data-00000-of-00001',
                                  'run.json'])
def test_damaged_files_as_processes(name, run, tmp_path):
    source, _ = run
    copy = str(tmp_path / os.path.basename(source))
    shutil.copytree(source, copy)
    path = os.path.join(copy, name)
    with open(path, 'rb') as file:
        content = bytearray(file.read())
    place = random.Random(0).randrange(len(content) - 8)
    content[place:place + 8] = 8 * b'\xff'
    with open(path, 'wb') as file:
        file.write(bytes(content))
    done = subprocess.run(
        [sys.executable, os.path.abspath(metatest.__file__), '--train_dir=' + copy,
         '--save_dir=results', '--include_bowl_problems'], cwd=str(tmp_path), capture_output=True,
        timeout=300, text=True)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.count('\n') == 1 and done.stderr.startswith('metatest: ')
    assert os.listdir(str(tmp_path)) == [os.path.basename(source)]
