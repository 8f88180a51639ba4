"""Meta-training, whatever is trained, on whatever, with whichever techniques."""

import itertools
import os
import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
import metarun
from conftest import small
from l2o.commandline import flags
from l2o.metatraining import reporting
from l2o.techniques import curriculum as curricula
from l2o.techniques import imitation, regularization
from optimizer import OPTIMIZERS
from problems import datasets, image_files, problem_sets, tasks
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

pytestmark = pytest.mark.usefixtures('mode_of_the_scripts')

QUADRATIC = Row(Spec(pg.Quadratic, (4,), {}), None, None)
PERCEPTRON = Row(
    Spec(pg.FullyConnected, (3, 2), {'hidden_sizes': (3,)}), datasets.random_mlp(3, 20, 0), 5)


def optimizer_spec(name, seed=1):
    return Spec(OPTIMIZERS[name], (), small(name, random_seed=seed))


def train(folder, row, name='HierarchicalRNN', seed=1, **kwargs):
    """Meta-trains for one meta-iteration of two unrolls of two steps; returns the result."""
    options = dict(
        num_problems=1, num_meta_iterations=1, num_unroll_func=None,
        num_partial_unroll_itrs_func=lambda: 2, learning_rate=1e-3,
        curriculum=curricula.Curriculum.fixed(4), seed=seed, out=None,
        validation=metaopt.Validation(1, 1), mini_batch_size=50,
        meta_optimizer=metaopt.MetaOptimizer('adam'))
    return metaopt.train_optimizer(str(folder), optimizer_spec(name, seed), [row],
                                   **dict(options, **kwargs))


def initial_values(name, seed=1):
    """The meta-parameters before meta-training: dict from names to arrays."""
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer = optimizer_spec(name, seed).build()
        session.run(tf.global_variables_initializer())
        return session.run(dict(optimizer.named_meta_parameters))


def trained_values(folder):
    """What the run's state holds at the end, without the meta-optimizer's slots."""
    with np.load(os.path.join(str(folder), 'state.npz'), allow_pickle=False) as arrays:
        return {name[len('values/'):]: arrays[name] for name in arrays.files
                if name.startswith('values/')}


def check(result, folder, name='HierarchicalRNN', moved=True):
    """A finite validation, a checkpoint, and meta-parameters that are finite and have moved."""
    assert np.isfinite(result.best_cost)
    assert os.path.exists(result.checkpoint + '.index')
    before, after = initial_values(name), trained_values(folder)
    assert all(np.all(np.isfinite(after[key])) for key in before)
    assert not moved or any(np.any(after[key] != before[key]) for key in before)


# All problem sets.


@pytest.fixture(name='source', scope='module')
def fixture_source(tmp_path_factory):
    """Digits, and a made-up CIFAR-10."""
    folder = tmp_path_factory.mktemp('data')
    batches = folder / 'cifar-10-batches-py'
    batches.mkdir()
    rng = np.random.RandomState(0)
    for name in ['data_batch_%d' % index for index in range(1, 6)] + ['test_batch']:
        images = rng.randint(256, size=[10, 3072]).astype('uint8')
        with open(str(batches / name), 'wb') as handle:
            pickle.dump({b'data': images, b'labels': list(range(10))}, handle, protocol=2)
    return image_files.DataSource('digits', str(folder))


def num_parameters(row):
    with tf.Graph().as_default():
        return sum(int(np.prod(shape)) for shape in row.spec.build().param_shapes)


#: One of each kind: without data, with data, sparse gradients, a sum of objectives, images.
KINDS = ['bowl', 'dependency_chain', 'sparse_softmax', 'matmul', 'mnist_mlp',
         pytest.param('mnist_conv', marks=pytest.mark.slow),
         pytest.param('mixed_small', marks=pytest.mark.slow)]


@pytest.mark.parametrize('name', KINDS)
def test_hierarchical_rnn_trains_on_a_set_of_each_kind(name, source, tmp_path):
    row = min(problem_sets.PROBLEM_SETS[name].training(source), key=num_parameters)
    check(train(tmp_path, row), tmp_path)


#: Sets whose smallest problem is of a class that another set, or `KINDS`, has.
OF_ANOTHER = {'mnist_mlp_relu', 'mnist_mlp_deeper', 'mnist_conv', 'mnist_conv_wider', 'convnet',
              'large_quadratic', 'fully_connected_random_2_class', 'digits_other_sizes',
              'cifar10_conv_4layers', 'by_heart', 'batches', 'words', 'unscaled'}


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    name for name, rows in problem_sets.PROBLEM_SETS.items()
    if rows.training and name != 'vgg16' and name not in KINDS and name not in OF_ANOTHER
    and name not in tasks.MIXED and not name.startswith('noisy_')])
def test_the_smallest_problem_of_a_set_trains(name, source, tmp_path):
    row = min(problem_sets.PROBLEM_SETS[name].training(source), key=num_parameters)
    # Of sparse gradients, 1 in 100 entries, there may be none in four steps.
    check(train(tmp_path, row, 'TrainableAdam'), tmp_path, 'TrainableAdam',
          moved=name != 'sparse_gradient')


@pytest.mark.slow
def test_vgg16_trains(source, tmp_path):
    """With the optimizer that needs least memory."""
    row, = problem_sets.PROBLEM_SETS['vgg16'].training(source)
    check(train(tmp_path, row._replace(batch_size=2), 'GlobalLearningRate', mini_batch_size=4),
          tmp_path, 'GlobalLearningRate')


# All optimizers with all techniques.


def _teacher(name, steps_per_label=1):
    return {'imitation': metaopt.Imitation(name, 1.0, steps_per_label)}


def _penalty(option, **kwargs):
    return {'penalty': regularization.Penalty(option, 2, seed=1, alpha=0.1, beta=0.1,
                                              time='always', **kwargs)}


def _techniques():
    """Name -> arguments of `train_optimizer`."""
    techniques = {'plain': {}, 'curriculum': {'curriculum': curricula.Curriculum((2, 4), 2)},
                  'teacher-k2': _teacher('adam', 2)}
    for name in imitation.TEACHERS:
        techniques['teacher-' + name] = _teacher(name)
    for option in regularization.MEASURES:
        techniques['reg-optimizer-' + option] = _penalty(option, on_optimizer=True)
        techniques['reg-optimizee-' + option] = _penalty(option, on_optimizee=True)
    techniques['everything'] = dict(
        techniques['curriculum'], **dict(_teacher('adam', 2), **_penalty(
            'hessian-esd', on_optimizer=True, on_optimizee=True)))
    return techniques


TECHNIQUES = _techniques()


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * (name not in ('L2ODM', 'TrainableAdam')))
    for name in OPTIMIZERS])
def test_an_optimizer_is_trained_with_everything(name, tmp_path):
    check(train(tmp_path, PERCEPTRON, name, **TECHNIQUES['everything']), tmp_path, name)


#: Each technique alone, on one optimizer after the other.
ALONE = list(zip(TECHNIQUES, itertools.cycle(sorted(set(OPTIMIZERS) - {'HierarchicalRNN'}))))


@pytest.mark.parametrize('technique, name', ALONE)
def test_a_technique_trains_an_optimizer(technique, name, tmp_path):
    check(train(tmp_path, QUADRATIC, name, **TECHNIQUES[technique]), tmp_path, name)


# Seeds.


@pytest.mark.parametrize('name, technique', [
    ('CoordinatewiseRNN', 'teacher-adam'),
    pytest.param('HierarchicalRNN', 'everything', marks=pytest.mark.slow)])
def test_the_seed_decides_everything(name, technique, tmp_path):
    def run(folder, seed):
        train(tmp_path / folder, PERCEPTRON, name, seed, **TECHNIQUES[technique])
        return trained_values(tmp_path / folder)

    first, same, other = run('first', 1), run('same', 1), run('other', 2)
    assert set(first) == set(same) == set(other)
    for key in first:
        np.testing.assert_array_equal(first[key], same[key], err_msg=key)
    assert any(np.any(first[key] != other[key]) for key in first)


# The penalty.


class Recorder(reporting.Reporter):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__(None)
        self.reports, self.costs = [], []

    def unroll(self, progress, report, details=None):
        self.reports.append(report)

    def validation(self, progress, stage, cost, improved):
        self.costs.append(cost)


@pytest.mark.parametrize('time, expected', [
    ('prior', [True, True, False, False]), ('posterior', [False, False, False, True]),
    ('always', [True] * 4), ('none', [False] * 4)])
def test_penalty_counts_at_its_time(time, expected, tmp_path):
    recorder = Recorder()
    penalty = regularization.Penalty('hessian', 2, seed=1, on_optimizer=True, time=time, scale=0.25)
    train(tmp_path, QUADRATIC, 'GlobalLearningRate', penalty=penalty, reporter=recorder,
          curriculum=curricula.Curriculum.fixed(8))
    assert [report.penalty > 0 for report in recorder.reports] == expected


PUBLISHED = (
    '--regularize_time=none --alpha=1e-4 --reg_optimizer=True --reg_option=hessian-esd '
    '--include_bowl_problems --num_problems=1 --num_meta_iterations=100 --fix_unroll=True '
    '--fix_unroll_length=20 --evaluation_period=1 --evaluation_epochs=5 '
    '--use_second_derivatives=False --if_cl=True --if_mt=True --mt_ratio=0.1 --mt_k=1').split()


@pytest.mark.parametrize('change, lines', [
    ('--regularize_time=none', 1), ('--regularize_time=prior', 0), ('--reg_optimizer=False', 0),
    ('--alpha=0', 1), ('--reg_scale=1', 1)])
def test_a_penalty_that_never_counts_is_announced(change, lines, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metaopt, 'train_optimizer',
                        lambda *_, **__: metaopt.TrainingResult(1.0, None, 1))
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN, values)
    time = 'none' if change.startswith('--reg_o') else 'posterior'
    values(['metarun', '--train_dir=%s' % tmp_path] + PUBLISHED
           + ['--regularize_time=' + time, change])
    metarun.main(values)
    assert capsys.readouterr().out.count('The penalty never counts') == lines


# It helps.


@pytest.mark.parametrize('name, learning_rate', [('HierarchicalRNN', 0.01), ('L2ODM', 0.003)])
def test_meta_training_improves_the_optimizer(name, learning_rate, tmp_path):
    recorder = Recorder()
    row = QUADRATIC._replace(spec=Spec(pg.Quadratic, (4,), {'random_seed': 3}))
    train(tmp_path, row, name, num_meta_iterations=30, learning_rate=learning_rate,
          num_partial_unroll_itrs_func=lambda: 5, curriculum=curricula.Curriculum.fixed(10),
          reporter=recorder, validation=metaopt.Validation(1, 4))
    objectives = [report.meta_objective for report in recorder.reports]
    assert np.mean(objectives[-10:]) < np.mean(objectives[:10])
    assert len(recorder.costs) == 31
    assert recorder.costs[-1] < recorder.costs[0]
