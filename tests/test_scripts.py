"""Both scripts as a user runs them: their files, their output, what they say to mistakes."""

import csv
import json
import os
import pickle
import pty
import re
import select
import shutil
import subprocess
import sys

import pytest

import metarun
import metatest
from l2o.metatraining.config import TrainingResult

SCRIPTS = {'metarun': metarun.__file__, 'metatest': metatest.__file__}
CHECKPOINT = os.path.join('HierarchicalRNN_GRUCell_20_2', 'model.ckpt-0')
TRAINING = (
    '--regularize_time=none --alpha=1e-4 --reg_optimizer=True --reg_option=hessian-esd '
    '--include_mnist_mlp_problems --num_problems=1 --num_meta_iterations=1 --fix_unroll=True '
    '--fix_unroll_length=20 --evaluation_period=1 --evaluation_epochs=1 '
    '--use_second_derivatives=False --if_cl=True --if_mt=True --mt_ratio=0.1 --mt_k=1 '
    '--cl_steps=40,60 --mnist_source=digits --hrnn_level_sizes=4,3,3').split()
TESTING = (
    '--include_mnist_mlp_relu_problems --model_name=mnist-relu --restore_model_name=model.ckpt-0 '
    '--num_testing_itrs=20 --seeds=6,12 --test_optimizer=L2o,SGD,Adam --learning_rates=0.1,0.01 '
    '--mnist_source=digits --hrnn_level_sizes=4,3,3 --l2l_record').split()


def environment():
    """A user's: nothing about TensorFlow's messages."""
    return {name: value for name, value in os.environ.items() if name != 'TF_CPP_MIN_LOG_LEVEL'}


def command(script, *arguments):
    return [sys.executable, os.path.abspath(SCRIPTS[script])] + list(arguments)


def run(folder, script, *arguments):
    return subprocess.run(command(script, *arguments), cwd=str(folder), env=environment(),
                          capture_output=True, text=True)


def run_on_a_terminal(folder, script, *arguments):
    """Exit status and output of a script whose standard output is a pseudo-terminal."""
    ours, theirs = pty.openpty()  # of width 0, as in some containers
    child = subprocess.Popen(command(script, *arguments), cwd=str(folder), env=environment(),
                             stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    output = b''
    while select.select([ours], [], [], 300)[0]:
        try:
            read = os.read(ours, 65536)
        except OSError:  # the child has closed its side
            break
        if not read:
            break
        output += read
    os.close(ours)
    return child.wait(timeout=60), output.decode()


@pytest.fixture(name='trained', scope='module')
def fixture_trained(tmp_path_factory):
    """A folder in which the published training command has run, shortened, and what it said."""
    folder = tmp_path_factory.mktemp('scripts')
    return folder, run(folder, 'metarun', '--train_dir=trained', *TRAINING)


@pytest.mark.parametrize('num_problems, line', [
    (1, 'No validation was as good as the first, before anything was trained: model.ckpt-0 holds '
        'what the training began with'),
    (3, 'On the last of 3 problems no validation was as good as the first: model.ckpt-0 holds what '
        'the training on it began with')])
def test_the_closing_line_says_what_the_best_checkpoint_holds(num_problems, line, capsys):
    metarun._tell(TrainingResult(1.5, 'model.ckpt-0', 6, 9, 2, trained_is_best=False), num_problems)
    assert capsys.readouterr().out.splitlines() == [
        '2 of 9 unrolls were not finite: the entries of their gradients that were not finite '
        'counted as zero', line, 'Best validation 1.5 after 6 meta-iterations: model.ckpt-0']


@pytest.mark.slow
def test_training(trained):
    folder, done = trained
    assert (done.returncode, done.stderr) == (0, '')
    lines = done.stdout.splitlines()
    assert re.match(r'Seed: \d+$', lines[0])
    assert re.match(r'Data: digits .*1500 training images', lines[1])
    assert 'The penalty never counts in this run' in lines[2]
    assert re.match(r'meta-iteration 0, stage 1, validation [\d.]+ after \d+ steps \(best\), '
                    r'\d+ s$', lines[3])
    assert re.match(r'meta-iteration 1, stage 1, meta-objective -?[\d.e-]+, validation ', lines[4])
    assert re.match(r'Best validation [\d.]+ after 1 meta-iterations: ' + re.escape(
        os.path.join('trained', CHECKPOINT)) + '$', lines[5])
    assert len(lines) == 6
    assert os.path.exists(str(folder / 'trained' / CHECKPOINT) + '.index')
    with open(os.path.join(str(folder), 'trained', os.path.dirname(CHECKPOINT),
                           'run.json')) as handle:
        record = json.load(handle)
    assert record['seed'] == int(lines[0].split()[1])
    assert record['flags']['reg_option'] == 'hessian-esd'
    assert record['flags']['cl_steps'] == [40, 60]
    assert record['optimizer']['kwargs']['level_sizes'] == [4, 3, 3]
    assert {'python', 'tensorflow', 'numpy'} <= set(record['versions'])


@pytest.mark.slow
def test_testing(trained):
    folder, _ = trained
    done = run(folder, 'metatest', '--train_dir=trained', '--save_dir=tested', *TESTING)
    assert (done.returncode, done.stderr) == (0, '')
    tested = folder / 'tested'
    with open(str(tested / 'results.csv')) as handle:
        rows = list(csv.DictReader(handle))
    candidates = [('L2o', ''), ('SGD', '0.1'), ('SGD', '0.01'), ('Adam', '0.1'), ('Adam', '0.01')]
    assert len(rows) == len(candidates) * 2 * 20
    for optimizer, rate in candidates:
        for seed in ('6', '12'):
            losses = [float(row['loss']) for row in rows if (
                row['optimizer'], row['learning_rate'], row['seed']) == (optimizer, rate, seed)]
            suffix = '' if optimizer == 'L2o' else '-%s-%s' % (optimizer, rate)
            path = tested / ('seed%s_eval_loss_record.pickle-mnist-relu%s' % (seed, suffix))
            with open(str(path), 'rb') as handle:
                pickled = pickle.load(handle)
            assert type(pickled) is list and all(type(loss) is float for loss in pickled)
            assert pickled == losses
            if seed == '6':
                path = tested / ('L2L_eval_loss_record.pickle-mnist-relu' + suffix)
                with open(str(path), 'rb') as handle:
                    after = pickle.load(handle)
                assert after[:-1] == losses[1:] and type(after[-1]) is float
    with open(str(tested / 'curves.png'), 'rb') as handle:
        assert handle.read(8) == b'\x89PNG\r\n\x1a\n'
    with open(str(tested / 'summary.md')) as handle:
        text = handle.read()
    for name in ('L2o', 'SGD 0.1', 'Adam 0.01'):
        assert name in text
    assert (tested / 'run.json').exists()


@pytest.mark.slow
def test_a_run_goes_on_or_begins_anew(trained):
    folder, done = trained
    shutil.copytree(str(folder / 'trained'), str(folder / 'again'))
    again = run(folder, 'metarun', '--train_dir=again', *TRAINING)
    assert again.returncode == 0
    assert again.stdout.splitlines()[0] == done.stdout.splitlines()[0]  # the recorded seed
    assert 'validation' not in again.stdout.splitlines()[3].split('Best validation')[0]
    refused = run(folder, 'metarun', '--train_dir=again', *(TRAINING + ['--mt_k=2']))
    assert refused.returncode == 2 and refused.stderr.count('\n') == 1
    assert '--mt_k=1, now 2' in refused.stderr and '--overwrite' in refused.stderr
    anew = run(folder, 'metarun', '--train_dir=again', '--overwrite', '--quiet',
               *(TRAINING + ['--mt_k=2']))
    assert (anew.returncode, anew.stdout, anew.stderr) == (0, '', '')


BOWL = ('--include_bowl_problems --optimizer=TrainableAdam --num_meta_iterations=3 '
        '--evaluation_epochs=1 --fix_unroll --fix_num_steps=40 --fix_num_steps_eval=10').split()


@pytest.mark.slow
def test_a_bar_on_a_terminal(tmp_path):
    status, output = run_on_a_terminal(tmp_path, 'metarun', '--train_dir=opt', *BOWL)
    assert status == 0
    pieces = re.split('[\r\n]+', output)
    assert pieces[0].startswith('Seed: ')
    assert any(re.match(r'(\x1b\[A)*meta-iteration +\d/3 \|', piece) for piece in pieces)
    assert sum(', validation ' in piece for piece in pieces) == 4
    assert any(re.search('Best validation .* after 3 meta-iterations', piece) for piece in pieces)


@pytest.mark.slow
def test_summaries_and_timeline(tmp_path):
    done = run(tmp_path, 'metarun', '--train_dir=opt', '--summary_period=2', '--set_profiling',
               *BOWL)
    assert (done.returncode, done.stderr) == (0, '')
    files = os.listdir(str(tmp_path / 'opt' / 'TrainableAdam_GRUCell_20_2'))
    assert 'timeline.json' in files and any(name.startswith('events.') for name in files)


@pytest.mark.slow
def test_verbosity(tmp_path):
    done = run(tmp_path, 'metarun', '--train_dir=opt', '--verbosity=0', *BOWL)
    assert done.returncode == 0 and 'deprecated' in done.stderr


# Mistakes.


@pytest.fixture(name='places', scope='module')
def fixture_places(tmp_path_factory):
    """A folder with a file where a folder should be, and with an empty run."""
    folder = tmp_path_factory.mktemp('places')
    (folder / 'file').write_text('')
    (folder / 'empty' / 'HierarchicalRNN_GRUCell_20_2').mkdir(parents=True)
    return folder


BOWLS = '--include_bowl_problems'
MISTAKES = [  # the first three are fast enough for every run of the tests
    ('metarun', ['--train_dir=new'], 'no problem set is chosen'),
    ('metarun', ['--optimizer=Adam', BOWLS], '--optimizer=Adam: must be one of'),
    ('metatest', ['--train_dir=missing', BOWLS], 'no run in missing/'),
    ('metarun', ['--cell_cls=RNNCell', BOWLS], '--cell_cls=RNNCell: must be'),
    ('metarun', ['--train_dir=new', BOWLS, '--if_cl', '--cl_steps=5,5'], '--cl_steps'),
    ('metarun', ['--train_dir=file', BOWLS], '--train_dir: cannot write file/'),
    ('metarun', ['--train_dir=new', '--include_cifar10_conv_problems', '--data_dir=empty'],
     'CIFAR-10'),
    ('metarun', ['--train_dir=new', '--include_everything'], "'include_everything'"),
    ('metatest', ['--test_optimizer=Adamax', BOWLS], '--test_optimizer'),
    ('metatest', ['--train_dir=empty', BOWLS], 'no checkpoint model.ckpt-0'),
    ('metatest', ['--train_dir=empty', BOWLS, '--test_optimizer=SGD', '--save_dir=file/new'],
     '--save_dir: cannot write file/new'),
]


@pytest.mark.parametrize('script, arguments, words', MISTAKES[:3] + [
    pytest.param(*mistake, marks=pytest.mark.slow) for mistake in MISTAKES[3:]])
def test_mistakes(script, arguments, words, places):
    before = sorted(os.listdir(str(places)))
    done = run(places, script, *arguments)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith(script + ': ') and done.stderr.count('\n') == 1
    assert words in done.stderr
    assert sorted(os.listdir(str(places))) == before


@pytest.mark.slow
def test_a_checkpoint_of_another_shape(trained):
    folder, _ = trained
    done = run(folder, 'metatest', '--train_dir=trained', '--save_dir=never',
               *(TESTING + ['--hrnn_level_sizes=5,3,3']))
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.count('\n') == 1 and 'does not hold' in done.stderr
    assert not (folder / 'never').exists()


@pytest.mark.slow
def test_a_damaged_state(trained):
    folder, _ = trained
    shutil.copytree(str(folder / 'trained'), str(folder / 'damaged'))
    state = folder / 'damaged' / os.path.dirname(CHECKPOINT) / 'state.npz'
    state.write_bytes(b'no archive')
    done = run(folder, 'metarun', '--train_dir=damaged', *TRAINING)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.count('\n') == 1 and 'state.npz' in done.stderr


@pytest.mark.slow
def test_the_folder_of_a_run_is_opened_by_its_own_record(trained):
    folder, _ = trained
    name, = os.listdir(os.path.join(str(folder), 'trained'))
    done = run(folder, 'metatest', '--train_dir=trained/' + name, '--save_dir=by_record',
               *(TESTING + ['--hrnn_level_sizes=5,3,3']))
    assert done.returncode == 0, done.stderr
