"""The commands on the page about the published systems run, shortened."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags as absl_flags

import metaopt
from l2o.commandline import flags, training_config
from l2o.techniques.curriculum import CurriculumState

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, 'docs', 'published_systems.md')

#: What comes behind a command's own flags.
SHORT = {
    'metarun': ['--num_meta_iterations=1', '--max_unrolls=2', '--evaluation_epochs=1',
                '--evaluation_period=1', '--cl_steps=20,40', '--mini_batch_size=100',
                '--image_source=digits'],
    'metatest': ['--num_testing_itrs=5', '--seeds=6', '--image_source=digits'],
}


def commands():
    """Pairs (script, arguments) of the page's commands, in order."""
    if not os.path.exists(PAGE):
        return []
    with open(PAGE, encoding='utf-8') as file:
        text = file.read()
    blocks = re.findall(r'^```sh\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks
             for line in block.replace('\\\n', ' ').splitlines()]
    return [(line[1][:-len('.py')], line[2:]) for line in lines
            if line[:1] == ['python'] and line[1] in ('metarun.py', 'metatest.py')]


def test_the_page_shows_how_each_system_is_trained_and_evaluated():
    found = [(script, ' '.join(arguments)) for script, arguments in commands()]
    for system in ('--train_dir=hess_cl_mt ', '--train_dir=hess_cl_mt_adam ',
                   'published/l2o_dm.txt', 'published/rnnprop.txt'):
        assert any(script == 'metarun' and system in words and '--if_cl' in words
                   and '--if_mt' in words for script, words in found), system
    assert sum(script == 'metatest' for script, _ in found) == 4


def parsed(*arguments):
    """The flags' values and the `MetaTraining` of metarun."""
    values = absl_flags.FlagValues()
    flags.define('metarun', values)
    values(['metarun'] + list(arguments))
    return values, training_config.meta_training(values, 1)


@pytest.mark.parametrize('system, optimizer, episodes, period, ratios', [
    ('l2o_dm', 'L2ODM', 10000, 100, (0.0, 0.1, 0.3)), ('rnnprop', 'RNNProp', 100, 10, (0.3,))])
def test_the_flag_files_have_the_published_settings(system, optimizer, episodes, period, ratios):
    file = '--flagfile=' + os.path.join(ROOT, 'published', system + '.txt')
    values, plain = parsed(file)
    assert (values.optimizer, values.num_meta_iterations) == (optimizer, episodes)
    assert values.include_mnist_mlp_problems and not values.use_second_derivatives
    assert plain.meta_objective == 'published_sum' and not plain.wrappers
    assert plain.penalty.meta_weight == plain.penalty.inner_weight == 0
    assert plain.curriculum.stages == (100,) and plain.unroll_length == 20
    assert plain.curriculum.validation_steps(CurriculumState()) == 100
    assert (plain.validation.period, plain.validation.epochs) == (period, 20)
    assert plain.meta_optimizer[:1] + plain.meta_optimizer[-2:] == ('adam', 1e-3, 0.0)
    assert plain.imitation is None and plain.mini_batch_size == 60000
    imitating = parsed(file, '--if_mt')[1].imitation
    assert imitating == metaopt.Imitation(('adam',), 0.3, 1, 0.01, ratios)
    staged = parsed(file, '--if_cl', '--if_mt')[1].curriculum
    assert staged.stages == (100, 200, 500, 1000, 1500, 2000, 2500, 3000) and staged.patience == 3


def test_the_command_that_learns_differs_in_four_flags_alone():
    both = {arguments[0]: set(arguments[1:]) for script, arguments in commands()
            if script == 'metarun' and arguments[0].startswith('--train_dir=hess_cl_mt')}
    published, learning = both['--train_dir=hess_cl_mt'], both['--train_dir=hess_cl_mt_adam']
    assert learning - published == {'--meta_optimizer=adam', '--meta_learning_rate=1e-3',
                                    '--random_scaling', '--max_log_lr=-3'}
    assert published < learning


@pytest.mark.parametrize('script, arguments', commands())
def test_a_command_has_flags_that_there_are(script, arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = absl_flags.FlagValues()
    flags.define(script, values)
    assert values([script] + arguments) == [script]


@pytest.mark.slow
def test_the_commands_run_one_after_another(tmp_path):
    os.symlink(os.path.join(ROOT, 'published'), str(tmp_path / 'published'))
    for script, arguments in commands():
        done = subprocess.run(
            [sys.executable, os.path.join(ROOT, script + '.py')] + arguments + SHORT[script],
            cwd=str(tmp_path), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ''), arguments
