"""The sets of problems and their table, compared with the published ones."""

import inspect
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from problems import datasets, problem_sets
from problems import problem_generator as pg
from problems.image_files import DataSource
from problems.problem_spec import Row, Spec, as_row

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'golden')
DIGITS = DataSource('digits')
SIGNATURES = {name: inspect.signature(getattr(datasets, name)) for name in (
    'random', 'random_binary', 'random_symmetric', 'random_mlp', 'noisy_parity_class', 'mnist',
    'cifar10')}

_names = set()
for _script in ('metarun', 'metatest'):
    with open(os.path.join(GOLDEN, 'flags_%s.tsv' % _script)) as _file:
        _names.update(_line.split('\t')[0] for _line in _file)
#: The sets as published; others came later.
PUBLISHED = [name for name in problem_sets.PROBLEM_SETS if 'include_%s_problems' % name in _names]


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
    with open(os.path.join(GOLDEN, 'problem_sets.json')) as file:
        return json.load(file)


@pytest.mark.parametrize('name', sorted(published_sets()))
def test_set_is_the_published_one(name, recorded):
    expected = published_sets()[name]
    rows = [plain_row(row) for row in getattr(problem_sets, name)()]
    expected = expected if isinstance(expected, list) else [expected]
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected):
        assert bound(row.pop('dataset')) == bound(wanted.pop('dataset'))
        assert row == wanted


def test_table_has_every_published_flag():
    stems = {name[len('include_'):-len('_problems')] for name in _names
             if name.startswith('include_')}
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
    assert training == [plain_row(row) for row in row.training()]
    assert row.help.endswith('.')
    if hasattr(problem_sets, 'test_%s_problems' % stem):
        assert testing == list(map(plain_row, getattr(problem_sets, 'test_%s_problems' % stem)()))
        assert all(row['dataset'][2] == {'train': True} for row in training)
        assert all(row['dataset'][2] == {'train': False} for row in testing)
    else:
        functions = TRAINED_ON.get(stem, ['%s_problems' % stem])
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
    assert as_row((spec, None, 3)) == as_row(Row(spec, None, 3)) == Row(spec, None, 3)
    assert as_row((spec, None, 3, 'two', 5)) == Row(spec, None, 3, name='two')
    held_out = datasets.random_mlp(2, 3, 0)
    row = Row(spec, None, 5, held_out, 'small', 100)
    assert row[:3] == (spec, None, 5) and row.held_out is held_out


def test_sparse_gradients_are_the_six_published_problems():
    rows = problem_sets.PROBLEM_SETS['sparse_gradient'].testing()
    assert list(map(plain_row, rows)) == published_sets()['sparse_gradient_problems']
    assert len(rows) == 6


DRAWN = ['dependency_chain', 'fully_connected_random_2_class', 'outward_snake',
         'projection_quadratic', 'sum_of_quadratics']


@pytest.mark.parametrize('stem', DRAWN)
def test_data_that_are_drawn_follow_from_the_seed_alone(stem):
    before = np.random.get_state()[1].copy()
    first, again, other = (problem_sets.PROBLEM_SETS[stem].testing(None, seed)
                           for seed in (3, 3, 4))
    for row, same, different in zip(first, again, other):
        np.testing.assert_array_equal(row.dataset.data, same.dataset.data)
        np.testing.assert_array_equal(row.dataset.labels, same.dataset.labels)
        assert not np.array_equal(row.dataset.data, different.dataset.data)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def constants(problem):
    """All arrays that define a problem, those of the problems inside it too."""
    inside = getattr(problem, 'problems', None) or [getattr(problem, 'problem', None)]
    return [value for value in vars(problem).values() if isinstance(value, np.ndarray)] + [
        array for each in inside if each is not None for array in constants(each)]


@pytest.mark.parametrize('stem', ['quadratic', 'noisy_quadratic', 'norm', 'noisy_norm', 'rescale',
                                  'log_objective', 'sparse_gradient', 'sum', 'noisy_sum'])
def test_problems_that_are_drawn_follow_from_the_seed_alone(stem):
    for row in problem_sets.PROBLEM_SETS[stem].testing():
        first, again, other = (constants(row.spec.build(seed)) for seed in (3, 3, 30))
        assert len(first) == len(again) == len(other)
        for one, same, different in zip(first, again, other):
            np.testing.assert_array_equal(one, same)
            is_bowl = one.shape == (2, 2)
            assert is_bowl or not np.array_equal(one, different)
        assert [array.tobytes() for array in constants(row.spec.seeded(3).build())] == [
            array.tobytes() for array in first]


def test_the_terms_of_a_sum_are_different_problems():
    spec = Spec(pg.SumTask, ([Spec(pg.Quadratic, (3,), {}), Spec(pg.Quadratic, (3,), {})],), {})
    left, right = spec.build(5).problems
    assert not np.array_equal(left.w, right.w)


def test_a_seed_changes_only_problems_that_lack_one():
    seeded = Spec(pg.Quadratic, (3,), {'random_seed': 1})
    assert seeded.seeded(2) is seeded
    assert Spec(pg.Quadratic, (3, 1), {}).seeded(2).args == (3, 1)
    assert Spec(pg.Quadratic, (3, 1), {}).seeded(2).kwargs == {}
    without = Spec(pg.SoftmaxRegression, (3, 2), {})
    assert without.seeded(2) is without and without.build(2).param_shapes == [(3, 2), (2,)]
    assert Spec(pg.Quadratic, (3,), {}).seeded(None).kwargs == {}


def test_a_problem_is_written_in_words():
    spec = Spec(pg.Rescale, (Spec(pg.FullyConnected, (4, 2), {
        'hidden_sizes': (3,), 'activation': tf.nn.relu}),), {'scale': 2.0})
    words = 'Rescale(FullyConnected(4, 2, hidden_sizes=(3), activation=relu), scale=2.0)'
    assert str(spec) == Row(spec).title == words
    assert Row(spec, name='narrow').title == 'narrow'
    assert str(Spec(pg.SumTask, ([pg.Rosenbrock()],), {})) == 'SumTask((Rosenbrock))'


def test_rows_with_name_and_seed_are_taken_apart_as_published(recorded):
    rows = problem_sets.test_problems(DIGITS)
    names = [name for _, _, _, name, seed in rows if seed == 5678]
    assert len(set(names)) == len(rows) == 12
