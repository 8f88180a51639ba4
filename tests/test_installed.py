"""The project installed: the wheel alone, in an empty environment, used from another folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

import optimizer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: All that the wheel puts into site-packages.
TOP_LEVEL = {
    'commandline', 'evaluation', 'metaopt.py', 'metarun.py', 'metatest.py', 'metatraining',
    'optimizer', 'pretrained', 'problems', 'runs', 'techniques',
    'learned_optimizers-%s.dist-info' % optimizer.__version__}
USE = """
import os

import tensorflow.compat.v1 as tf

import optimizer

assert optimizer.__file__.startswith(%r) and optimizer.__version__ == %r
tf.disable_eager_execution()
weights = tf.get_variable('weights', [3], initializer=tf.zeros_initializer())
loss = tf.reduce_sum(tf.square(weights - [1.0, 2.0, 3.0]))
train = optimizer.load('normalized_mlp').minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    before = session.run(loss)
    for _ in range(100):
        session.run(train)
    assert session.run(loss) < 0.5 * before
"""

pytestmark = pytest.mark.slow


@pytest.fixture(name='wheel', scope='module')
def _wheel(tmp_path_factory):
    """The path of the wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp('wheel')
    shutil.copytree(ROOT, str(folder / 'sources'), ignore=shutil.ignore_patterns(
        '.*', '__pycache__', 'build', 'tests', 'pretraining', 'benchmark', 'demo', 'site'))
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--wheel-dir', str(folder),
         str(folder / 'sources')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if b'No matching distribution found for setuptools' in done.stdout:
        pytest.skip('pip cannot reach a package registry, from which it builds')
    assert done.returncode == 0, done.stdout.decode()
    path, = folder.glob('*.whl')
    return str(path)


@pytest.fixture(name='environment', scope='module')
def _environment(wheel, tmp_path_factory):
    """A virtual environment with the wheel in it; TensorFlow and the like are those of here."""
    folder = tmp_path_factory.mktemp('an environment')
    subprocess.check_call([sys.executable, '-m', 'venv', str(folder)])
    subprocess.check_call([str(folder / 'bin' / 'python'), '-m', 'pip', 'install', '--quiet',
                           '--no-deps', '--no-index', wheel])
    here = sysconfig.get_path('purelib')
    there = sysconfig.get_path('purelib', vars={'base': str(folder)})
    with open(os.path.join(there, 'dependencies.pth'), 'w') as file:
        file.write(here + '\n')
    return folder


def run(environment, cwd, name, *arguments):
    """The output of a program of the environment."""
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run([str(environment / 'bin' / name)] + list(arguments), cwd=str(cwd),
                          capture_output=True, env=variables)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


def test_the_wheel_puts_only_the_projects_rooms_into_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split('/')[0] for name in names} == TOP_LEVEL
    for name in optimizer.shipped_names():
        assert 'pretrained/%s/model.ckpt-0.index' % name in names


def test_a_shipped_optimizer_trains_a_model_from_any_folder(environment, tmp_path):
    run(environment, tmp_path, 'python', '-c', USE % (str(environment), optimizer.__version__))


def test_the_console_commands_meta_train_and_test(environment, tmp_path):
    """In a folder whose name has a space, beside a file with the name of a room."""
    folder = tmp_path / 'my work'
    folder.mkdir()
    (folder / 'optimizer.py').write_text('raise ImportError\n')
    flags = ['--train_dir=opt', '--optimizer=RNNProp']
    output = run(environment, folder, 'metarun', '--include_bowl_problems', '--fix_unroll',
                 '--num_meta_iterations=1', '--evaluation_epochs=1', '--seed=1', *flags)
    assert 'Best validation' in output
    run(environment, folder, 'metatest', '--include_bowl_problems', '--test_optimizer=L2o,SGD',
        '--learning_rates=0.1,0.01', '--seeds=6', '--num_testing_itrs=20', '--save_dir=seen',
        '--jobs=2', *flags)
    assert (folder / 'seen' / 'report.html').exists()
