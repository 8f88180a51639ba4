"""What docs/extending.md says on adding things, followed to the letter."""

import inspect
import os
import re
import runpy
import shutil
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
import optimizer
from l2o import names, settings
from l2o.bounds import POSITIVE
from l2o.commandline import flags, optimizer_flags, problem_flags, training_config
from l2o.metatraining.config import MetaTraining, Run, Validation, as_data
from l2o.techniques.curriculum import Curriculum
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from problems import problem_generator as pg
from problems import problem_sets
from problems.problem import Wrapper
from problems.problem_spec import Row, Spec
from tools import names as names_tool

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: The head of the file that holds SignDescent in a copy of the project.
IMPORTS = """import tensorflow.compat.v1 as tf

from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer


"""


class SignDescent(CoordinatewiseOptimizer):
    """x - rate * tanh(g), with a trained rate."""

    def __init__(self, initial_rate=0.01, name='SignDescent', **kwargs):
        super().__init__(name, **kwargs)
        self.create_meta_parameter('rate', (), tf.constant_initializer(initial_rate))

    def initial_rows(self, size, theta, key):
        return []

    def row_rule(self, weights, gradient, rows, steps_done):
        return -weights['rate'] * tf.tanh(gradient), rows


def tilted_bowl_problems():
    """A bowl, tilted."""
    return [Row(Spec(pg.Bowl, (2.0,), {'angle': 0.3}), None, None)]


def test_an_optimizer_and_a_problem_set_are_a_class_a_function_and_a_row_each(
        monkeypatch, tmp_path):
    monkeypatch.setitem(optimizer.OPTIMIZERS, 'SignDescent', SignDescent)
    monkeypatch.setitem(optimizer_flags.ALIASES, 'SignDescent', {'initial_rate': 'max_lr'})
    monkeypatch.setitem(problem_sets.PROBLEM_SETS, 'tilted_bowl',
                        problem_sets._same(tilted_bowl_problems))
    monkeypatch.setattr(names, 'PROBLEM_SETS', names_tool.tables()['PROBLEM_SETS'][1])
    monkeypatch.setattr(flags, 'FLAGS', [  # as the table is where the row is in the source
        flag._replace(allowed=tuple(optimizer.OPTIMIZERS)) if flag.name == 'optimizer' else flag
        for flag in flags.FLAGS])
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN, values)
    values(['metarun', '--include_tilted_bowl_problems', '--max_lr=0.02',
            '--optimizer=SignDescent'])
    rows = problem_flags.problems_and_data(values, flags.METARUN)
    spec = optimizer_flags.optimizer_spec(values)
    assert spec.callable is SignDescent and spec.kwargs['initial_rate'] == 0.02
    result = metaopt.train_optimizer(
        str(tmp_path), spec, rows, 1, 2, learning_rate=1e-3, out=None, run=Run(seed=1),
        training=MetaTraining(Curriculum.fixed(10), unroll_length=5, validation=Validation(1, 1)))
    assert np.isfinite(result.best_cost)
    values, _, _ = metaopt.test_optimizer(spec.build(), rows[0].spec.build(), 50, seed=1,
                                          logdir=str(tmp_path))
    assert values[-1] < values[0]


def shown_classes(root):
    """What the page of the optimizers shows."""
    return runpy.run_path(os.path.join(root, 'docs', 'api_pages.py'))['classes'](root)


def test_the_page_of_the_optimizers_shows_the_table():
    assert shown_classes(ROOT) == ['%s.%s' % (cls.__module__, name)
                                   for name, cls in optimizer.OPTIMIZERS.items()]


@pytest.mark.slow
def test_a_file_and_a_row_add_an_optimizer_to_tests_pages_and_build_files(tmp_path):
    """In a copy of the project, in which no file but the table is changed."""
    root = str(tmp_path / 'copy')
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(
        '.*', '__pycache__', 'ablation', 'benchmark', 'demo', 'pretraining', 'site'))
    with open(os.path.join(root, 'optimizer', 'sign_descent.py'), 'w') as file:
        file.write(IMPORTS + inspect.getsource(SignDescent))
    with open(os.path.join(root, 'optimizer', '__init__.py')) as file:
        text = file.read()
    with open(os.path.join(root, 'optimizer', '__init__.py'), 'w') as file:
        file.write(re.sub(r'(OPTIMIZERS = [^)]*)', r'\1, SignDescent', text).replace(
            'from optimizer.rnnprop', 'from optimizer.sign_descent import SignDescent\n'
            'from optimizer.rnnprop', 1))
    for tool in ('tools.names', 'tools.build_files'):
        subprocess.check_call([sys.executable, '-m', tool, '--write'], cwd=root)
    assert shown_classes(root)[-1] == 'optimizer.sign_descent.SignDescent'
    tests = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests',
             '-k', 'SignDescent']
    done = subprocess.run(tests, cwd=root, capture_output=True, text=True)
    found = re.search(r'(\d+) passed', done.stdout)
    assert done.returncode == 0 and int(found.group(1)) >= 15, done.stdout[-3000:]


# A technique: the same problem with its origin elsewhere in each episode.


class Shift(NamedTuple):
    """The technique's record."""

    size: float = 1.0

    def wrap(self, problem):
        return Shifted(problem)

    def begin(self, problem, params, rng):
        shifts = [rng.uniform(-self.size, self.size, param.shape) for param in params]
        return params, dict(zip(problem.shifts, shifts))


class Shifted(Wrapper):
    """f(x + s) for the f of another problem."""

    def __init__(self, problem):
        super().__init__(problem)
        self.shifts = [tf.placeholder_with_default(tf.zeros(shape), shape)
                       for shape in self.param_shapes]

    def _objective(self, parameters, data, labels):
        return self.problem.objective(
            [param + shift for param, shift in zip(parameters, self.shifts)], data, labels)


ROW = settings.Technique(
    'random_shift', 'wrappers.random_shift', __name__ + '.Shift',
    (settings.Setting('random_shift', '', False, 'Train around another origin.'),),
    (settings.Setting('shift_size', 'size', 1.0, 'Bound of the shift.', POSITIVE),))


def parsed(monkeypatch, *arguments):
    """Flag values, as the table of flags is where the rows are in the source."""
    monkeypatch.setattr(flags, 'FLAGS', [flag for group in flags.groups().values()
                                         for flag in group])
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN, values)
    values(['metarun', '--include_bowl_problems'] + list(arguments))
    return values


def test_a_technique_is_a_file_and_a_row(monkeypatch, tmp_path):
    monkeypatch.setitem(settings.TECHNIQUES, 'meta-training',
                        settings.TECHNIQUES['meta-training'] + (ROW,))
    values = parsed(monkeypatch, '--random_shift', '--shift_size=2', '--fix_unroll',
                    '--fix_num_steps=6', '--fix_unroll_length=3', '--evaluation_epochs=1')
    training = training_config.meta_training(values, 1)
    assert training.wrappers == {'random_shift': Shift(2.0)}
    assert as_data(training)['wrappers'] == {'random_shift': {'size': 2.0}}
    spec = Spec(optimizer.OPTIMIZERS['GlobalLearningRate'], (0.01,), {})
    row = Row(Spec(pg.Quadratic, (3,), {'random_seed': 1}))
    ends = []
    for folder, changes in (('without', {'random_shift': False}), ('with', {}),
                            ('smaller', {'shift_size': 0.5})):
        metaopt.train_optimizer(str(tmp_path / folder), spec, [row], 1, 1, training=training,
                                run=Run(seed=1), out=None, learning_rate=0.1, **changes)
        with np.load(str(tmp_path / folder / 'state.npz')) as arrays:
            ends.append(float(arrays['values/LOL/global_learning_rate']))
    assert np.isfinite(ends).all() and len(set(ends)) == 3


def test_a_flag_is_a_row(monkeypatch):
    monkeypatch.setitem(settings.SETTINGS, 'meta-training', settings.SETTINGS['meta-training'] + (
        settings.Setting('smallest_loss', 'validation.floor', 0.5, 'Losses below count as this.',
                         POSITIVE),))
    monkeypatch.setitem(flags.SCRIPT_FLAGS, 'reports', flags.SCRIPT_FLAGS['reports'] + [
        flags._metarun('bell', False, 'Ring a bell at the end of the run.')])
    values = parsed(monkeypatch, '--smallest_loss=2', '--bell')
    assert values.bell and values['smallest_loss'].help == 'Losses below count as this.'
    assert training_config.meta_training(values, 1).validation.floor == 2.0


def test_the_page_names_the_places():
    with open(os.path.join(ROOT, 'docs', 'extending.md'), encoding='utf-8') as page:
        text = page.read()
    for name in ('CoordinatewiseOptimizer', 'create_meta_parameter', 'initial_rows', 'row_rule',
                 'OPTIMIZERS', 'ALIASES', 'PROBLEM_SETS', 'TECHNIQUES', 'Technique', 'Setting',
                 'wrap(problem)', 'begin(problem, params, rng)', 'SETTINGS', 'SCRIPT_FLAGS',
                 "default('<name>')"):
        assert '`%s`' % name in text
