"""The sets of problems and their table, compared with the published ones."""

import inspect
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from problems import datasets, problem_sets, tasks
from problems import problem_generator as pg
from problems.datasets import DataSource
from problems.problem_spec import Row, Spec

REFERENCE = os.path.join(os.path.dirname(__file__), '..', '..', 'shared', 'reference')
DIGITS = DataSource('digits')
SIGNATURES = {name: inspect.signature(getattr(datasets, name)) for name in (
    'random', 'random_binary', 'random_symmetric', 'random_mlp', 'noisy_parity_class', 'mnist',
    'cifar10')}

#: The sets as published; those of `problems.tasks` and the benchmarks came later.
PUBLISHED = [name for name, rows in problem_sets.PROBLEM_SETS.items()
             if name not in tasks.FAMILIES and name not in tasks.MIXED and rows.training]

needs_reference = pytest.mark.skipif(
    not os.path.isdir(REFERENCE), reason='no ../shared/reference')


@pytest.fixture
def recorded(monkeypatch):
    """Data sets are not made; the calls that would make them stand in for them."""
    def record(name):
        def call(*args, **kwargs):
            kwargs.pop('source', None)
            return [name, list(args), kwargs]

        return call

    for name in SIGNATURES:
        monkeypatch.setattr(datasets, name, record(name))


def plain(value):
    """Specs, functions and tuples as they are written in problem_sets.json."""
    if isinstance(value, Spec):
        return {'problem': value.callable.__name__, 'args': plain(value.args),
                'kwargs': plain(value.kwargs)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value.__name__ if callable(value) else value


def plain_row(row):
    return dict(plain(row.spec), dataset=plain(row.dataset), batch_size=row.batch_size)


def bound(call):
    """The arguments of a data set by name, those left out at their defaults."""
    if call is None:
        return None
    name, args, kwargs = call
    arguments = SIGNATURES[name].bind(*args, **kwargs)
    arguments.apply_defaults()
    return name, arguments.arguments


def published_sets():
    if not os.path.isdir(REFERENCE):
        return {}
    with open(os.path.join(REFERENCE, 'problem_sets.json')) as file:
        return json.load(file)


@needs_reference
@pytest.mark.parametrize('name', sorted(published_sets()))
def test_set_is_the_published_one(name, recorded):
    expected = published_sets()[name]
    rows = [plain_row(row) for row in getattr(problem_sets, name)()]
    expected = expected if isinstance(expected, list) else [expected]
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected):
        assert bound(row.pop('dataset')) == bound(wanted.pop('dataset'))
        assert row == wanted


@needs_reference
def test_table_has_every_published_flag():
    stems = set()
    for script in ('metarun', 'metatest'):
        with open(os.path.join(REFERENCE, f'flags_{script}.tsv')) as file:
            names = [line.split('\t')[0] for line in file]
        stems.update(name[len('include_'):-len('_problems')] for name in names
                     if name.startswith('include_'))
    assert stems == set(PUBLISHED)


# stem -> functions, where they differ from the plain pattern.
TRAINED_ON = {
    'noisy_bowl': ['bowl_problems_noisy'],
    'noisy_quadratic': ['quadratic_problems_noisy'],
    'large_quadratic': ['quadratic_problems_large'],
    'noisy_norm': ['norm_problems_noisy'],
    'noisy_sum': ['sum_problems_noisy'],
    'noisy_softmax_2_class': ['softmax_2_class_problems_noisy'],
    'noisy_optimization_test': ['optimization_test_problems_noisy'],
    'sparse_softmax': ['sparse_softmax_2_class_sparse_problems'],
    'one_hot_sparse_softmax': ['one_hot_sparse_softmax_2_class_sparse_problems'],
}


#: The sets that nothing is trained on.
BENCHMARKS = [stem for stem, rows in problem_sets.PROBLEM_SETS.items() if rows.training is None]


@pytest.mark.parametrize('stem', sorted(PUBLISHED))
def test_rows_of_the_table(stem, recorded):
    row = problem_sets.PROBLEM_SETS[stem]
    training, testing = ([plain_row(row) for row in rows(DIGITS)]
                         for rows in (row.training, row.testing))
    assert row.help.endswith('.')
    if hasattr(problem_sets, f'test_{stem}_problems'):
        assert testing == list(map(plain_row, getattr(problem_sets, f'test_{stem}_problems')()))
        assert all(row['dataset'][2] == {'train': True} for row in training)
        assert all(row['dataset'][2] == {'train': False} for row in testing)
    else:
        functions = TRAINED_ON.get(stem, [f'{stem}_problems'])
        assert training == testing == [
            plain_row(row) for name in functions for row in getattr(problem_sets, name)()]


@pytest.mark.parametrize('stem', ['mnist_mlp', 'mnist_mlp_relu', 'mnist_mlp_deeper',
                                  'mnist_conv_orig', 'mnist_conv_wider', 'vgg16'])
def test_training_and_testing_differ_only_in_the_data(stem, recorded):
    row = problem_sets.PROBLEM_SETS[stem]
    training, testing = row.training(None)[0], row.testing(None)[0]
    assert training._replace(dataset=None) == testing._replace(dataset=None, held_out=None)
    assert (training.held_out, testing.held_out) == (None, training.dataset)


@pytest.mark.parametrize('stem', BENCHMARKS)
def test_a_benchmark_names_its_problems_and_holds_examples_out(stem):
    rows = problem_sets.PROBLEM_SETS[stem].testing(DIGITS)
    assert len({row.name for row in rows}) == len(rows) and all(row.num_steps for row in rows)
    for row in rows:
        assert {row.dataset.size, row.held_out.size} == {297, 1500}


def blank_cifar10(train, source):
    return datasets.Dataset(np.zeros([130, 32, 32, 3], 'float32'), np.arange(130) % 10)


@pytest.mark.parametrize('stem', [
    pytest.param(stem, marks=[pytest.mark.slow] if stem == 'vgg16' else [])
    for stem in PUBLISHED])
def test_every_problem_has_an_objective(stem, monkeypatch):
    """With its own data, batch and initial values; of sets with ten rows the first three."""
    monkeypatch.setattr(datasets, 'cifar10', blank_cifar10)
    for rows in (problem_sets.PROBLEM_SETS[stem].training,
                 problem_sets.PROBLEM_SETS[stem].testing):
        for row in rows(DIGITS)[:3] if rows else []:
            assert np.isfinite(objective_of(row))


def objective_of(row):
    problem = row.spec.build()
    data, labels = None, None
    if row.dataset is not None:
        batch = row.dataset.batch_indices(1, row.batch_size)[0]
        data, labels = row.dataset.data[batch], row.dataset.labels[batch]
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(problem.objective(problem.init_tensors(), data, labels))


def test_data_source_reaches_the_data():
    row, = problem_sets.test_mnist_mlp_problems(DIGITS)
    assert row.dataset.source == 'digits (scikit-learn, 297 test images)'
    row, = problem_sets.PROBLEM_SETS['mnist_conv'].training(DIGITS)
    assert row.dataset.size == 1500
    assert len(problem_sets.test_problems(DIGITS)) == 12


def test_rosenbrock_adapter_runs():
    row, = problem_sets.adapter_rosenbrock_local()
    problem = row.spec.build()
    with tf.Graph().as_default(), tf.Session() as session:
        objective = problem.objective([tf.constant([1.0]), tf.constant([1.0])])
        problem.init_fn(session)
        assert session.run(objective) == 0.0
    row, = problem_sets.adapter_rosenbrock_worker()
    with tf.Graph().as_default():
        worker = row.spec.build()
        objective = worker.objective([tf.constant([1.0]), tf.constant([1.0])])
        assert 'worker' in objective.op.inputs[0].device


def test_a_row_is_made_of_a_published_row_or_of_another_row():
    spec = Spec(pg.Quadratic, (2,), {})
    assert Row(*(spec, None, None)) == Row(spec) == Row(*Row(spec))
    held_out = datasets.random_mlp(2, 3, 0)
    row = Row(spec, None, 5, held_out, 'small', 100)
    assert row[:3] == (spec, None, 5) and row.held_out is held_out
