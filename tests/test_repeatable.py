"""Losses that draw random numbers: keyed by the parameters a run repeats; else it says so."""

import io

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from optimizer.global_learning_rate import GlobalLearningRate
from problems import problem_generator as pg
from problems.problem import Problem
from problems.problem_spec import Row, Spec
from problems.random_numbers import key_of
from problems.repeatable import unrepeatable


class Dropping(Problem):
    """A parabola of which half is dropped."""

    def __init__(self, how):
        super().__init__([(8,)])
        self.how = how

    def _objective(self, parameters, data, labels):
        squares = tf.square(parameters[0] - 1.0)
        if self.how == 'keyed':
            kept = tf.random.stateless_uniform([8], key_of(parameters)) < 0.5
            return tf.reduce_sum(tf.where(kept, squares, tf.zeros([8])))
        if self.how == 'inside':
            return tf.reduce_sum(tf.map_fn(lambda each: tf.nn.dropout(each, rate=0.5), squares))
        return tf.reduce_sum(tf.nn.dropout(squares, rate=0.5))


class NoisyAsPublished(pg.Quadratic):
    def gradients(self, objective, parameters):
        return [gradient + tf.random_normal(tf.shape(gradient))
                for gradient in tf.gradients(objective, parameters)]


@pytest.mark.parametrize('problem, is_found', [
    (Dropping('drawn'), True), (Dropping('inside'), True), (Dropping('keyed'), False),
    (NoisyAsPublished(3), True), (pg.Quadratic(3, noise_stdev=1.0), False)])
def test_what_no_run_can_repeat_is_found(problem, is_found):
    found = unrepeatable(problem)
    assert bool(found) == is_found and (not is_found or found.draws)


def train(folder, how, episodes, **options):
    out = io.StringIO()
    metaopt.train_optimizer(
        str(folder), Spec(GlobalLearningRate, (0.05,), {}), [Row(Spec(Dropping, (how,), {}))], 1,
        episodes, fix_unroll=True, fix_num_steps=4, fix_unroll_length=2, evaluation_epochs=1,
        learning_rate=0.1, seed=1, out=out, **options)
    with np.load(str(folder / 'state.npz')) as arrays:
        return out.getvalue(), {name: arrays[name] for name in arrays if 'values/' in name}


class Stop(Exception):
    pass


def interrupted(folder, how):
    """A run that is stopped in its second episode and goes on."""
    from l2o.metatraining import reporting

    class Stopping(reporting.Reporter):
        def unroll(self, progress, report, details=None):
            super().unroll(progress, report, details)
            if progress.unrolls == 3:
                raise Stop

    with pytest.raises(Stop):
        train(folder, how, 3, reporter=Stopping(None))
    return train(folder, how, 3)


def test_a_loss_with_keyed_random_numbers_repeats(tmp_path):
    said, whole = train(tmp_path / 'whole', 'keyed', 3)
    assert 'random numbers' not in said
    for name, value in interrupted(tmp_path / 'parts', 'keyed')[1].items():
        np.testing.assert_array_equal(value, whole[name])


def test_a_run_that_cannot_repeat_says_so_in_one_line(tmp_path):
    said, _ = train(tmp_path, 'drawn', 1)
    line, = [line for line in said.splitlines() if 'random numbers' in line]
    assert line.startswith('the loss of Dropping draws random numbers from a state, not by '
                           'tf.random.stateless_*') and 'RandomUniform' in line
