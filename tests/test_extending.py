"""What docs/extending.md says on adding an optimizer and a problem set, followed to the letter."""

import os

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
import optimizer
from l2o.commandline import flags, optimizer_flags, problem_flags
from l2o.metatraining.config import MetaTraining, Run, Validation
from l2o.techniques.curriculum import Curriculum
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from problems import problem_generator as pg
from problems import problem_sets
from problems.problem_spec import Row, Spec


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


def test_the_page_names_the_places():
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with open(os.path.join(root, 'docs', 'extending.md'), encoding='utf-8') as page:
        text = page.read()
    for name in ('CoordinatewiseOptimizer', 'create_meta_parameter', 'initial_rows', 'row_rule',
                 'OPTIMIZERS', 'ALIASES', 'PROBLEM_SETS'):
        assert '`%s`' % name in text
