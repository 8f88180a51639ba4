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
    'l2o', 'metaopt.py', 'metarun.py', 'metatest.py', 'optimizer', 'problems',
    'learned_optimizers-%s.dist-info' % optimizer.__version__}
#: Names that a user's own folders may well have, and that were the project's once.
OWN = ('commandline', 'evaluation', 'metatraining', 'pretrained', 'runs', 'techniques')
USE = """
import tensorflow.compat.v1 as tf

import metaopt
import optimizer
from l2o.evaluation import comparison

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


@pytest.fixture(name='folder', params=['packages', 'folders'])
def _folder(request, tmp_path):
    """A user's folder, its name with a space, with packages or mere folders of the names OWN."""
    folder = tmp_path / 'my work'
    for name in OWN:
        (folder / name).mkdir(parents=True)
        (folder / name / 'mine.py').write_text('')
        if request.param == 'packages':
            (folder / name / '__init__.py').write_text('')
    return folder


def call(environment, cwd, name, *arguments, **variables):
    """A program of the environment, run in the folder `cwd`."""
    inherited = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    return subprocess.run([str(environment / 'bin' / name)] + list(arguments), cwd=str(cwd),
                          capture_output=True, text=True, env=dict(inherited, **variables))


def run(environment, cwd, name, *arguments):
    """The output of a program that must not fail."""
    done = call(environment, cwd, name, *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_wheel_puts_only_the_projects_rooms_into_site_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split('/')[0] for name in names} == TOP_LEVEL
    for name in optimizer.shipped_names():
        assert 'optimizer/pretrained/%s/model.ckpt-0.index' % name in names


def test_a_shipped_optimizer_trains_a_model_beside_folders_of_any_name(environment, folder):
    own = ''.join('import %s.mine\n' % name for name in OWN)
    run(environment, folder, 'python', '-c',
        USE % (str(environment), optimizer.__version__) + own)


@pytest.mark.parametrize('folder', ['packages'], indirect=True)
def test_the_console_commands_meta_train_and_test(environment, folder):
    """Beside a file with the name of a package, too: they do not look in the folder."""
    (folder / 'optimizer.py').write_text('raise ImportError\n')
    flags = ['--train_dir=opt', '--optimizer=RNNProp']
    output = run(environment, folder, 'metarun', '--include_bowl_problems', '--fix_unroll',
                 '--num_meta_iterations=1', '--evaluation_epochs=1', '--seed=1', *flags)
    assert 'Best validation' in output
    run(environment, folder, 'metatest', '--include_bowl_problems', '--test_optimizer=L2o,SGD',
        '--learning_rates=0.1,0.01', '--seeds=6', '--num_testing_itrs=20', '--save_dir=seen',
        '--jobs=2', *flags)
    assert (folder / 'seen' / 'report.html').exists()


@pytest.mark.parametrize('hiding', ['optimizer.py', 'problems/__init__.py'])
def test_a_module_that_hides_ours_is_named(environment, tmp_path, hiding):
    module = tmp_path / hiding
    module.parent.mkdir(exist_ok=True)
    module.write_text('')
    calls = [('python', '-c', 'import ' + name)
             for name in ('l2o', 'metaopt', 'metarun', 'metatest')] + [('metarun',), ('metatest',)]
    for each in calls:
        done = call(environment, tmp_path, *each, PYTHONPATH=str(tmp_path))
        assert done.returncode != 0
        assert 'ImportError: %s hides the package %r' % (
            module, hiding.split('.')[0].split('/')[0]) in done.stderr
