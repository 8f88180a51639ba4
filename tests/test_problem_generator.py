"""Every problem: agreement with the published code, gradients, derivatives, noise, errors."""

import math
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from problems import datasets
from problems import problem_generator as pg
from problems.problem_spec import Spec

GOLDEN = np.load(os.path.join(os.path.dirname(__file__), 'golden', 'problems.npz'))
QUADRATIC_7 = Spec(pg.Quadratic, (7,), {'random_seed': 5})
ROSENBROCK = Spec(pg.Rosenbrock, (), {})

# As in ../shared/reference/README.md.
GOLDEN_PROBLEMS = {
    'Quadratic': Spec(pg.Quadratic, (20,), {'random_seed': 3}),
    'Bowl': Spec(pg.Bowl, (5.0,), {'angle': math.pi / 4}),
    'Rosenbrock': ROSENBROCK,
    'LogSumExp': Spec(pg.LogSumExp, (), {}),
    'Ackley': Spec(pg.Ackley, (), {}),
    'Branin': Spec(pg.Branin, (), {}),
    'Rescale': Spec(pg.Rescale, (QUADRATIC_7,), {'scale': 10}),
    'SumTask': Spec(pg.SumTask, ([QUADRATIC_7, ROSENBROCK],), {}),
    'Norm': Spec(pg.Norm, (9,), {'random_seed': 4, 'norm_power': 3}),
    'DependencyChain': Spec(pg.DependencyChain, (6,), {}),
    'MatMulAlgorithm': Spec(pg.MatMulAlgorithm, (2, 7), {}),
    'OutwardSnake': Spec(pg.OutwardSnake, (6,), {}),
}

IMAGES = np.random.RandomState(0).rand(8, 14, 14, 1).astype('float32')
CLASSES = np.random.RandomState(1).randint(0, 5, 8)
FEATURES = np.random.RandomState(2).rand(20, 12).astype('float32')
FEATURE_CLASSES = np.random.RandomState(3).randint(0, 5, 20)
IDS = np.random.RandomState(4).randint(0, 3, [9, 4])
VECTORS = datasets.random_symmetric(6, 10, random_seed=5).data

# name -> (problem, data, labels), all smooth where they start.
PROBLEMS = {name: (spec, VECTORS, None) for name, spec in {
    'Quadratic': Spec(pg.Quadratic, (5,), {}),
    'Norm 1': Spec(pg.Norm, (5,), {'norm_power': 1.0}),
    'Norm 2.5': Spec(pg.Norm, (5,), {'norm_power': 2.5}),
    'IsotropicQuadratic': Spec(pg.IsotropicQuadratic, ([(2, 3), (), (4,)],), {}),
    'Bowl': Spec(pg.Bowl, (0.1,), {}),
    'Saddle': Spec(pg.Saddle, (), {}),
    'Rescale': Spec(pg.Rescale, (Spec(pg.Norm, (4,), {}),), {'scale': 0.1}),
    'LogObjective': Spec(pg.LogObjective, (QUADRATIC_7,), {}),
    'SumTask': Spec(pg.SumTask, ([QUADRATIC_7, ROSENBROCK, ROSENBROCK],), {}),
    'MinMaxWell': Spec(pg.MinMaxWell, (6,), {}),
    'OutwardSnake': Spec(pg.OutwardSnake, (6,), {}),
    'DependencyChain': Spec(pg.DependencyChain, (6,), {}),
    'ProjectionQuadratic': Spec(pg.ProjectionQuadratic, (6,), {}),
    'SumOfQuadratics': Spec(pg.SumOfQuadratics, (6,), {}),
    'MatMulAlgorithm': Spec(pg.MatMulAlgorithm, (2, 7), {}),
}.items()}
PROBLEMS.update({cls.__name__: (Spec(cls, (), {}), None, None) for cls in (
    pg.Ackley, pg.Beale, pg.Booth, pg.Branin, pg.LogSumExp, pg.Matyas, pg.Michalewicz,
    pg.Rosenbrock, pg.StyblinskiTang)})
PROBLEMS.update({
    'SoftmaxRegression': (
        Spec(pg.SoftmaxRegression, (12, 5), {}), FEATURES, FEATURE_CLASSES),
    'SoftmaxRegression 2': (
        Spec(pg.SoftmaxRegression, (12, 2), {}), FEATURES, FEATURE_CLASSES % 2),
    'SparseSoftmaxRegression': (
        Spec(pg.SparseSoftmaxRegression, (5, 3), {}), IDS, IDS[:, 0]),
    'OneHotSparseSoftmaxRegression': (
        Spec(pg.OneHotSparseSoftmaxRegression, (5, 3), {}), IDS, IDS[:, 0]),
    'FullyConnected': (
        Spec(pg.FullyConnected, (12, 5), {'hidden_sizes': [6, 7]}), FEATURES, FEATURE_CLASSES),
    'FullyConnected 2': (
        Spec(pg.FullyConnected, (12, 2), {'activation': tf.tanh}), FEATURES,
        FEATURE_CLASSES % 2),
    'ConvNet': (
        Spec(pg.ConvNet, ((1, 14, 14), 5, ((3, 3, 4), (5, 5, 4))), {'activation': tf.tanh}),
        IMAGES, CLASSES),
    'ConvNet test': (
        Spec(pg.ConvNet, ((1, 14, 14), 5, ((3, 3, 4, 1), (3, 3, 6, 1))),
             {'activation': tf.tanh, 'affine_size': 24}),
        IMAGES, CLASSES),
    'ConvNetOrig': (
        Spec(pg.ConvNetOrig, ((1, 14, 14), 5, ((3, 3, 4),)), {'activation': tf.tanh}),
        IMAGES, CLASSES),
    'VGG': (
        Spec(pg.VGG, ((1, 14, 14), 5, ((4, 4), (6,)), (7,)), {'activation': tf.tanh}),
        IMAGES, CLASSES),
})


def relative_error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def random_values(problem, scale, seed=0):
    rng = np.random.RandomState(seed)
    return [(scale * rng.randn(*shape)).astype('float32') for shape in problem.param_shapes]


@pytest.mark.parametrize('name', sorted(GOLDEN_PROBLEMS))
def test_agrees_with_the_published_code(name):
    problem = GOLDEN_PROBLEMS[name].build()
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = [tf.constant(GOLDEN['%s/param%s' % (name, index)])
                      for index in range(len(problem.param_shapes))]
        objective = problem.objective(parameters, tf.constant(GOLDEN['data']))
        value, gradients = session.run([objective, problem.gradients(objective, parameters)])
    assert relative_error(value, GOLDEN[name + '/objective']) < 1e-5
    for index, gradient in enumerate(gradients):
        assert relative_error(gradient, GOLDEN['%s/grad%s' % (name, index)]) < 1e-5


@pytest.mark.parametrize('power', [1.0, 2.0, 3.0])
def test_the_norm_at_no_distance(power):
    """1e-6 is added to each difference, before the power: (4 (1e-6)^3)^(1/3) = 1.6e-6."""
    problem = pg.Norm(4, random_seed=4, norm_power=power)
    problem.w, problem.y = np.eye(4, dtype='float32'), np.ones([4, 1], 'float32')
    at_the_minimum = [tf.ones([4, 1])]
    objective = problem.objective(at_the_minimum)
    with tf.Session() as session:
        value, (gradient,) = session.run([objective, problem.gradients(objective, at_the_minimum)])
    assert value == pytest.approx(4 ** (1 / power) * 1e-6, rel=1e-3)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize('name', ['Quadratic', 'Norm'])
def test_constants_are_the_published_ones(name):
    state = np.random.get_state()[1].copy()
    problem = GOLDEN_PROBLEMS[name].build()
    np.testing.assert_array_equal(problem.w, GOLDEN[name + '/w'])
    np.testing.assert_array_equal(problem.y, GOLDEN[name + '/y'])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize('name', sorted(PROBLEMS))
def test_gradient_step_descends(name):
    """From the problem's own start; data and labels come from placeholders of unknown shape."""
    spec, data, labels = PROBLEMS[name]
    problem = spec.build()
    with tf.Graph().as_default(), tf.Session() as session:
        variables = problem.init_variables(seed=3)
        places = [None if array is None else tf.placeholder(dtype)
                  for array, dtype in ((data, tf.float32), (labels, tf.int32))]
        feed = {place: array for place, array in zip(places, (data, labels))
                if place is not None}
        objective = problem.objective(variables, *places)
        gradients = [tf.convert_to_tensor(gradient)
                     for gradient in problem.gradients(objective, variables)]
        norm = tf.global_norm(gradients)
        assert objective.shape.rank == 0
        assert [tuple(g.shape.as_list()) for g in gradients] == list(map(tuple,
                                                                         problem.param_shapes))
        session.run(tf.global_variables_initializer())
        before, gradient_norm = session.run([objective, norm], feed)
        size = min(0.05, 1e-3 * abs(before) / gradient_norm) / gradient_norm
        session.run([variable.assign_sub(size * gradient)
                     for variable, gradient in zip(variables, gradients)], feed)
        after = session.run(objective, feed)
    assert np.isfinite(before) and np.isfinite(gradient_norm)
    assert after < before


DIFFERENTIATED = ['FullyConnected', 'FullyConnected 2', 'SoftmaxRegression', 'ConvNet',
                  'SparseSoftmaxRegression', 'Norm 2.5', 'MatMulAlgorithm', 'Ackley',
                  'LogObjective']


def directional_derivatives(problem, data, labels, parameters, direction):
    """The objective and its first three derivatives along a direction."""
    derivatives = [problem.objective(parameters, data, labels)]
    for _ in range(3):
        gradients = problem.gradients(derivatives[-1], parameters)
        derivatives.append(tf.add_n([tf.reduce_sum(tf.convert_to_tensor(gradient) * along)
                                     for gradient, along in zip(gradients, direction)]))
    return derivatives


@pytest.mark.parametrize('name', DIFFERENTIATED)
def test_second_and_third_derivatives(name):
    """Each derivative is the slope of the one before, by differences."""
    spec, data, labels = PROBLEMS[name]
    problem = spec.build()
    start, direction = random_values(problem, 0.3), random_values(problem, 1.0, seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = [tf.placeholder(tf.float32, shape) for shape in problem.param_shapes]
        derivatives = directional_derivatives(problem, data, labels, parameters, direction)

        def at(distance):
            point = [value + distance * along for value, along in zip(start, direction)]
            return np.array(session.run(derivatives, dict(zip(parameters, point))))

        step = 1e-3
        slopes = (at(step) - at(-step)) / (2 * step)
        exact = at(0.0)
    np.testing.assert_allclose(slopes[:-1], exact[1:], rtol=0.05, atol=0.05)


def pool_by_reshaping(features, unused_size, unused_strides, unused_padding):
    _, height, width, channels = features.shape.as_list()
    cut = features[:, :height // 2 * 2, :width // 2 * 2]
    return tf.reduce_max(
        tf.reshape(cut, [-1, height // 2, 2, width // 2, 2, channels]), [2, 4])


@pytest.mark.parametrize('name', ['ConvNet test', 'VGG'])
def test_derivatives_through_max_pooling(name, monkeypatch):
    """Pooling has kinks, so differences are of no use: compared with another way to pool."""
    spec, data, labels = PROBLEMS[name]
    problem = spec.build()
    with tf.Graph().as_default(), tf.Session() as session:
        start = [tf.constant(value) for value in random_values(problem, 0.3)]
        direction = random_values(problem, 1.0, seed=1)
        pooled = directional_derivatives(problem, data, labels, start, direction)
        monkeypatch.setattr(tf.nn, 'max_pool', pool_by_reshaping)
        reshaped = directional_derivatives(problem, data, labels, start, direction)
        pooled, reshaped = session.run([pooled, reshaped])
    np.testing.assert_allclose(pooled, reshaped, rtol=1e-4)
    assert abs(pooled[2]) > 1 and abs(pooled[3]) > 1


def test_gradients_inside_a_while_loop():
    problem = pg.FullyConnected(12, 5, hidden_sizes=(6,))
    with tf.Graph().as_default(), tf.Session() as session:
        data, labels = tf.placeholder(tf.float32), tf.placeholder(tf.int32)

        def step(count, *parameters):
            batch = tf.range(4 * count, 4 * count + 4)
            objective = problem.objective(
                parameters, tf.gather(data, batch), tf.gather(labels, batch))
            gradients = problem.gradients(objective, parameters)
            return [count + 1] + [p - 0.1 * g for p, g in zip(parameters, gradients)]

        start = [tf.constant(value) for value in random_values(problem, 0.3)]
        final = tf.while_loop(lambda count, *_: count < 5, step, [tf.constant(0)] + start)[1:]
        unrolled = [tf.constant(0)] + start
        for _ in range(5):
            unrolled = step(*unrolled)
        feed = {data: FEATURES, labels: FEATURE_CLASSES}
        looped, expected = session.run([final, unrolled[1:]], feed)
    for actual, wanted in zip(looped, expected):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('n_classes', [2, 5])
def test_cross_entropy(n_classes):
    problem = pg.FullyConnected(12, n_classes, hidden_sizes=(4,))
    labels = FEATURE_CLASSES % n_classes
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        logits = problem.inference(values, FEATURES)
        fetched = session.run([logits, problem.objective(values, FEATURES, labels),
                               problem.accuracy(values, FEATURES, labels)])
    logits, objective, accuracy = fetched
    targets = np.eye(n_classes)[labels]
    if n_classes == 2:
        losses = np.log1p(np.exp(logits)) - targets * logits
        np.testing.assert_allclose(objective, losses.mean(), rtol=1e-5)
    else:
        losses = np.log(np.exp(logits).sum(1)) - (targets * logits).sum(1)
        np.testing.assert_allclose(objective, losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(accuracy, np.mean(logits.argmax(1) == labels), rtol=1e-6)


def test_sparse_and_one_hot_regressions_agree():
    sparse, dense = (cls(5, 3) for cls in (pg.SparseSoftmaxRegression,
                                           pg.OneHotSparseSoftmaxRegression))
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(sparse, 1.0)]
        objectives = [problem.objective(values, IDS, IDS[:, 0]) for problem in (sparse, dense)]
        gradients = [problem.gradients(objective, values)[0]
                     for problem, objective in zip((sparse, dense), objectives)]
        assert isinstance(gradients[0], tf.IndexedSlices)
        objectives, gradients = session.run(
            [objectives, [tf.convert_to_tensor(gradient) for gradient in gradients]])
    np.testing.assert_allclose(objectives[0], objectives[1], rtol=1e-5)
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


NOISY = {
    'Quadratic': pg.Quadratic(40, random_seed=1, noise_stdev=3.0),
    'SumTask': pg.SumTask([Spec(pg.Quadratic, (40,), {'noise_stdev': 3.0})]),
    'SumTask, both': pg.SumTask([Spec(pg.Quadratic, (40,), {'noise_stdev': 1.8})], 2.4),
}


@pytest.mark.parametrize('name', sorted(NOISY))
def test_noise(name):
    problem = NOISY[name]
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        objective = problem.objective(values)
        exact = session.run(tf.gradients(objective, values))[0]
        noisy, = problem.gradients(objective, values)
        noise = np.array([session.run(noisy) - exact for _ in range(50)])
    assert abs(noise.mean()) < 0.3 and 2.8 < noise.std() < 3.2
    assert len(np.unique(noise[:, 0])) == 50


@pytest.mark.parametrize('problem', [
    NOISY['SumTask, both'], pg.SparseProblem(Spec(pg.Quadratic, (40,), {}), 0.5, noise_stdev=1.0),
    pg.SparseSoftmaxRegression(5, 3, noise_stdev=1.0)], ids=['dense', 'zeroed', 'sparse'])
def test_noise_is_a_function_of_the_key(problem):
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        objective = problem.objective(values, np.zeros([2, 4]), [0, 1])
        gradients = [[tf.convert_to_tensor(gradient)
                      for gradient in problem.gradients(objective, values, tf.constant(key))]
                     for key in ([1, 2], [1, 2], [1, 3])]
        one, same, other = session.run(gradients)
    np.testing.assert_equal(one, same)
    assert all((left != right).any() for left, right in zip(one, other))


def test_gradients_that_take_no_key_as_in_the_published_code_keep_working():
    class Doubled(pg.Quadratic):
        def gradients(self, objective, parameters):
            return [2.0 * gradient for gradient in super().gradients(objective, parameters)]

    class Negated(Doubled):
        def gradients(self, objective, parameters):
            return [-gradient for gradient in super().gradients(objective, parameters)]

    problem = Negated(3, random_seed=1)
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.ones([3, 1])]
        objective = problem.objective(values)
        plain = tf.gradients(objective, values)
        found = session.run([problem.gradients(objective, values, tf.constant([1, 2])),
                             problem.gradients(objective, values), plain])
    for gradients in found[:2]:
        np.testing.assert_allclose(gradients[0], -2.0 * found[2][0], rtol=1e-6)


def test_noise_of_sparse_gradients_stays_sparse():
    problem = pg.SparseSoftmaxRegression(5, 3, noise_stdev=1.0)
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        objective = problem.objective(values, np.zeros([2, 4]), [0, 1])
        gradient = problem.gradients(objective, values)[0]
        assert isinstance(gradient, tf.IndexedSlices)
        rows = session.run(tf.convert_to_tensor(gradient))
    assert rows[0].all() and not rows[1:].any()


def test_sparse_problem_zeroes_most_entries():
    spec = Spec(pg.Quadratic, (400,), {'random_seed': 1})
    problem = pg.SparseProblem(spec, zero_probability=0.9, noise_stdev=1.0)
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        gradient, = problem.gradients(problem.objective(values), values)
        gradients = np.array([session.run(gradient) for _ in range(10)])
    assert 0.88 < np.mean(gradients == 0) < 0.92


def initial_values(problem, seed=None):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(problem.init_tensors(seed))


def test_initial_values():
    first, again, other = (initial_values(pg.VGG((3, 8, 8), 10, ((4, 4),)), seed)
                           for seed in (1, 1, 2))
    for left, right in zip(first, again):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0], other[0])
    weights, bias = initial_values(pg.FullyConnected(784, 10))[:2]
    assert 0.0097 < weights.std() < 0.0103 and 0.005 < bias.std() < 0.015
    weights, _ = initial_values(pg.SoftmaxRegression(100, 50))
    assert 0.115 < weights.std() < 0.125
    x, y = np.array([initial_values(pg.Branin(), seed)[0] for seed in range(20)]).T
    assert -5 <= x.min() and x.max() <= 10 and 0 <= y.min() and 10 < y.max() <= 15
    theta_a, _ = initial_values(pg.MatMulAlgorithm(2, 7))
    np.testing.assert_allclose((theta_a ** 2).sum(0), 1.0, rtol=1e-5)
    two = initial_values(pg.IsotropicQuadratic([(5,), (5,)]), seed=1)
    assert not np.array_equal(two[0], two[1])


def test_rescale_starts_at_the_same_objective():
    spec = Spec(pg.Quadratic, (9,), {'random_seed': 2})
    values = []
    for problem in (spec.build(), pg.Rescale(spec, scale=200.0)):
        with tf.Graph().as_default(), tf.Session() as session:
            values.append(session.run(problem.objective(problem.init_tensors(seed=4))))
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def test_minima():
    for problem, point in [(pg.Rosenbrock(), [1, 1]), (pg.Beale(), [3, 0.5]),
                           (pg.Booth(), [1, 3]), (pg.Matyas(), [0, 0])]:
        with tf.Graph().as_default(), tf.Session() as session:
            assert abs(session.run(problem.objective([tf.constant(point, tf.float32)]))) < 1e-6


def test_variables():
    problem = pg.SumTask([QUADRATIC_7, ROSENBROCK])
    with tf.Graph().as_default():
        problem.init_variables(trainable=True)
        local = [tf.GraphKeys.LOCAL_VARIABLES]
        variables = problem.init_variables(collections=local)
        assert len(tf.trainable_variables()) == len(tf.global_variables()) == 2
        assert tf.local_variables() == variables
        assert all(variable.dtype.base_dtype == tf.float32 for variable in variables)


def test_convolutional_shapes():
    train = pg.ConvNet((1, 28, 28), 10, ((3, 3, 8), (5, 5, 8)))
    assert train.param_shapes == [
        (3, 3, 1, 8), (8,), (5, 5, 8, 8), (8,), (28 * 28 * 8, 10), (10,)]
    original = pg.ConvNetOrig((1, 28, 28), 10, ((3, 3, 8), (5, 5, 8)))
    assert original.param_shapes == [(3, 3, 1, 8), (5, 5, 8, 8), (28 * 28 * 8, 10), (10,)]
    test = pg.ConvNet((3, 32, 32), 10, ((3, 3, 16, 2), (5, 5, 32, 2)), affine_size=32)
    assert test.param_shapes == [
        (3, 3, 3, 16), (16,), (5, 5, 16, 32), (32,), (32, 10), (10,)]
    assert pg.ConvNet((1, 28, 28), 10, ((3, 3, 16, 1), (5, 5, 32, 1))).affine_size == 512


@pytest.mark.parametrize('conv_filter', [(3, 3, 4), (3, 3, 4, 1)])
def test_logits_pass_through_the_activation(conv_filter):
    problem = pg.ConvNet((1, 14, 14), 5, (conv_filter,))
    with tf.Graph().as_default(), tf.Session() as session:
        values = [tf.constant(value) for value in random_values(problem, 1.0)]
        logits = session.run(problem.inference(values, IMAGES))
    assert logits.min() == 0.0


def test_the_training_form_adds_a_bias_to_each_convolution():
    problem = pg.ConvNet((1, 14, 14), 5, ((3, 3, 2),))
    values = [np.zeros(shape, 'float32') for shape in problem.param_shapes]
    values[1][:] = [3.0, -1.0]  # after relu 3 in the first channel, 0 in the second
    values[2][:, 4] = 0.5
    values[3][:] = [-1.0, 0.0, 1.0, 2.0, 3.0]
    with tf.Graph().as_default(), tf.Session() as session:
        logits = session.run(problem.inference(list(map(tf.constant, values)), IMAGES[:1]))
    np.testing.assert_allclose(logits, [[0.0, 0.0, 1.0, 2.0, 3.0 + 0.5 * 3 * 14 * 14]])


def test_labels_that_are_no_class_ids_are_refused():
    problem, data = pg.SoftmaxRegression(2, 3), tf.zeros([4, 2])
    parameters = [tf.zeros([2, 3]), tf.zeros([3])]
    for labels, message in ((tf.zeros([4, 0], tf.int32), 'the data set has no labels'),
                            (tf.zeros([4, 3], tf.int32), 'have 3 numbers'),
                            (tf.zeros([4]), 'not whole numbers')):
        with pytest.raises(ValueError, match=message):
            problem.objective(parameters, data, labels)
    assert problem.objective(parameters, data, tf.zeros([4, 1], tf.int32)).shape == []


@pytest.mark.parametrize('name', ['Quadratic', 'FullyConnected', 'SumTask', 'MatMulAlgorithm'])
def test_initial_values_depend_on_the_seed_alone(name):
    problem = PROBLEMS[name][0].build(1)
    with tf.Graph().as_default():
        tf.set_random_seed(5)
        tf.random_normal([3])
        first = problem.initial_values(2)
    again, other, free = (problem.initial_values(seed) for seed in (2, 3, None))
    assert [value.shape for value in first] == [tuple(shape) for shape in problem.param_shapes]
    for one, same, different, drawn in zip(first, again, other, free):
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, different) and not np.array_equal(one, drawn)


@pytest.mark.parametrize('make, message', [
    (lambda: pg.Bowl(0.0), 'must be positive'),
    (lambda: pg.MatMulAlgorithm(2, 9), 'k from n'),
    (lambda: pg.ConvNet((1, 28, 28), 10, ((3, 3, 8), (3, 3, 8, 1))), 'triples'),
    (lambda: pg.ConvNet((1, 28, 28), 10, ((3, 3, 16, 1),), affine_size=7), 'inputs, not 7'),
    (lambda: pg.ConvNet((1, 4, 4), 10, ((3, 3, 8, 1), (3, 3, 8, 1))), 'too small'),
    (lambda: pg.Quadratic(3).objective([]), 'Quadratic has 1 parameter tensors, not 0'),
    (lambda: pg.Quadratic(3).gradients(None, [1, 2]), 'not 2'),
    (lambda: pg.OutwardSnake(3).objective([tf.zeros([3])]), 'OutwardSnake needs data'),
    (lambda: pg.SoftmaxRegression(2, 3).objective([0, 0], tf.zeros([4, 2])), 'needs labels'),
    (lambda: pg.Quadratic(3).gradients(tf.constant(1.0), [tf.zeros([3, 1])]), 'not depend'),
])
def test_errors(make, message):
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize('classes', [2, 5])
def test_objectives_of_several_points(classes):
    """All at once as one by one."""
    problem = pg.FullyConnected(7, classes, hidden_sizes=(3, 4))
    rng = np.random.RandomState(0)
    points = [rng.standard_normal((6,) + tuple(shape)).astype('float32')
              for shape in problem.param_shapes]
    data, labels = rng.standard_normal((9, 7)).astype('float32'), rng.randint(classes, size=9)
    one_by_one = [problem.objective([point[index] for point in points], data, labels)
                  for index in range(6)]
    at_once = problem.objectives([tf.constant(point) for point in points], data, labels)
    with tf.Session() as session:
        np.testing.assert_allclose(*session.run([at_once, tf.stack(one_by_one)]), rtol=1e-5)
