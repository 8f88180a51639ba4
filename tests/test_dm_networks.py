"""The test networks of the L2O-DM and RNNProp programs compute what their formulas say."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from problems import datasets, problem_sets
from problems.dm_networks import BatchNormConvNet, SearchedCell, UniformQuadratics
from problems.image_files import DataSource


def convolve(images, filters, stride, padding):
    """[batch, height, width, inputs] -> [batch, height, width, outputs], one position at a time."""
    side = filters.shape[0]
    if padding == 'SAME':
        assert stride == 1
        images = np.pad(images, [(0, 0), (side // 2,) * 2, (side // 2,) * 2, (0, 0)], 'constant')
    count = (images.shape[1] - side) // stride + 1
    places = range(0, count * stride, stride)
    return np.stack([np.stack([
        np.einsum('byxi,yxio->bo', images[:, y:y + side, x:x + side], filters)
        for x in places], 1) for y in places], 1)


def normalize(values, scale, shift):
    axes = tuple(range(values.ndim - 1))
    return (values - values.mean(axes)) / np.sqrt(values.var(axes) + 1e-3) * scale + shift


def max_pool(images):
    side = images.shape[1] // 2 * 2
    even = images[:, :side, :side]
    return np.max([even[:, y::2, x::2] for y in (0, 1) for x in (0, 1)], 0)


def mean_pool(images):
    """The mean of the neighbours that there are."""
    _, height, width, _ = images.shape
    return np.stack([np.stack([
        images[:, max(y - 1, 0):y + 2, max(x - 1, 0):x + 2].mean((1, 2)) for x in range(width)], 1)
        for y in range(height)], 1)


def relu(values):
    return np.maximum(values, 0)


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def convnet(parameters, images, n_filters, stride, padding, n_dense, activation, last):
    rest = iter(parameters)
    features = images
    for _ in range(n_filters):
        features = convolve(features, next(rest), stride, padding) + next(rest)
        features = max_pool(activation(normalize(features, next(rest), next(rest))))
    features = features.reshape([len(images), -1])
    for _ in range(n_dense):
        features = features.dot(next(rest)) + next(rest)
        features = activation(normalize(features, next(rest), next(rest)))
    return last(features.dot(next(rest)) + next(rest))


def searched_cell(parameters, images):
    rest = iter(parameters)

    def block(features):
        features = convolve(features, next(rest), 1, 'SAME') + next(rest)
        return relu(normalize(features, next(rest), next(rest)))

    n0 = block(images)
    a = block(n0)
    n1 = block(n0)
    b = block(n1)
    n3 = mean_pool(n1) + a + b + n0
    return relu(n3.mean((1, 2)).dot(next(rest)) + next(rest))


CASES = [
    (BatchNormConvNet((1, 13, 13), 4, [(3, 2), (2, 3)], relu_logits=True),
     lambda values, images: convnet(values, images, 2, 1, 'VALID', 0, relu, relu)),
    (BatchNormConvNet((3, 17, 17), 4, [(3, 2), (2, 3)], stride=2, relu_logits=True),
     lambda values, images: convnet(values, images, 2, 2, 'VALID', 0, relu, relu)),
    (BatchNormConvNet((3, 12, 12), 4, [(5, 2), (3, 3)], dense_sizes=(6, 5),
                      activation=tf.nn.sigmoid),
     lambda values, images: convnet(values, images, 2, 1, 'VALID', 2, sigmoid, lambda x: x)),
    (BatchNormConvNet((3, 8, 8), 4, [(5, 2), (5, 3)], padding='SAME', dense_sizes=(6,)),
     lambda values, images: convnet(values, images, 2, 1, 'SAME', 1, relu, lambda x: x)),
    (SearchedCell((3, 5, 5), 4, 6), searched_cell),
]


@pytest.mark.parametrize('problem, formula', CASES)
def test_a_network_computes_what_plain_numpy_does(problem, formula):
    rng = np.random.RandomState(0)
    values = [rng.normal(size=shape) for shape in problem.param_shapes]
    channels, height, width = problem.image_shape
    images, labels = rng.normal(size=[7, height, width, channels]), rng.randint(0, 4, 7)
    logits = formula(values, images)
    losses = np.log(np.exp(logits).sum(1)) - logits[range(7), labels]
    parameters = [tf.constant(value, tf.float32) for value in values]
    found = problem.inference(parameters, tf.constant(images, tf.float32))
    objective = problem.objective(parameters, images.astype('float32'), labels)
    with tf.Session() as session:
        np.testing.assert_allclose(session.run(found), logits, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(session.run(objective), losses.mean(), rtol=1e-4)


def test_the_quadratics_are_the_mean_of_squared_residuals():
    problem = UniformQuadratics(random_seed=1)
    x = np.random.RandomState(0).normal(size=[128, 10]).astype('float32')
    expected = np.mean([np.sum((w.dot(row) - y) ** 2)
                        for w, row, y in zip(problem.w, x, problem.y)])
    with tf.Session() as session:
        assert session.run(problem.objective([tf.constant(x)])) == pytest.approx(expected, 1e-5)
    for constant in (problem.w, problem.y):
        assert constant.min() >= 0 and constant.max() < 1 and abs(constant.mean() - 0.5) < 0.02
    start, = problem.initial_values(3)
    assert start.shape == (128, 10) and abs(start.std() - 0.01) < 1e-3


def random_cifar10(train=True, source=None):
    rng = np.random.RandomState(0)
    return datasets.Dataset(rng.uniform(size=[130, 32, 32, 3]), np.arange(130) % 10)


@pytest.mark.parametrize('name, num_parameters', [
    # filters, biases, scales, shifts; dense layers
    ('dm_conv', (9 * 16 + 3 * 16) + (25 * 16 * 32 + 3 * 32) + 4 * 4 * 32 * 10 + 10),
    ('dm_cifar_conv', (27 * 16 + 3 * 16) + (25 * 16 * 32 + 3 * 32) + 32 * 10 + 10),
    ('dm_lenet', (75 * 6 + 18) + (150 * 16 + 48) + (400 * 120 + 360) + (120 * 84 + 252) + 850),
    ('dm_nas', (27 * 16 + 48) + 3 * (144 * 16 + 48) + 170),
    ('dm_cifar_multi', (75 * 16 + 48) + 2 * (400 * 16 + 48) + (256 * 32 + 96) + 330)])
def test_a_set_has_the_network_of_its_name(name, num_parameters, monkeypatch):
    monkeypatch.setattr(datasets, 'cifar10', random_cifar10)
    for make in (problem_sets.PROBLEM_SETS[name].training, problem_sets.PROBLEM_SETS[name].testing):
        (row,) = make(DataSource('digits'))
        problem = row.spec.build()
        assert sum(int(np.prod(shape)) for shape in problem.param_shapes) == num_parameters
        assert row.batch_size == 128
        start = problem.init_tensors(1)
        loss = problem.objective(start, row.dataset.data[:128], row.dataset.labels[:128])
        with tf.Session() as session:
            value, starts = session.run([loss, start])
        assert value == pytest.approx(np.log(10), abs=0.05)
        for shape, array in zip(problem.param_shapes, starts):
            assert (0.005 < array.std() < 0.015) if len(shape) > 1 else len(np.unique(array)) == 1
    assert row.held_out is not None
