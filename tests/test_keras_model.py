"""A Keras 3 model as a problem: initial values, loss, what is random in it."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from problems.datasets import Dataset
from problems.keras_model import KerasModel
from problems.problem_spec import Spec

pytestmark = pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')


@pytest.fixture(name='keras', scope='module')
def fixture_keras():
    import keras
    return keras


DATA = np.random.RandomState(0).standard_normal([30, 4]).astype('float32')
CLASSES = np.arange(30) % 3


def perceptron(*more_layers, units=1, **kwargs):
    def make():
        import keras
        layers = [keras.layers.Dense(5, activation='relu', **kwargs)]
        layers += [layer() for layer in more_layers]
        return keras.Sequential([keras.Input([4])] + layers + [keras.layers.Dense(units)])

    return make


def values_of(problem, parameters, labels, times=1):
    """The objective, so many times, and the accuracy."""
    with tf.Graph().as_default(), tf.Session() as session:
        data, given = tf.constant(DATA), tf.constant(labels)
        objective = problem.objective(list(map(tf.constant, parameters)), data, given)
        accuracy = problem.accuracy(list(map(tf.constant, parameters)), data, given)
        return [session.run(objective) for _ in range(times)], (
            None if accuracy is None else session.run(accuracy))


def forward(parameters, data=DATA):
    weights, bias, output, output_bias = parameters
    return np.maximum(data.dot(weights) + bias, 0).dot(output) + output_bias


@pytest.mark.usefixtures('keras')
def test_initial_values_follow_from_the_seed():
    problem = KerasModel(perceptron(), 'mse')
    assert problem.param_shapes == [(4, 5), (5,), (5, 1), (1,)]
    first, again, other = (problem.initial_values(seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert np.abs(first[0] - other[0]).max() > 0.1
    with tf.Graph().as_default(), tf.Session() as session:
        np.testing.assert_array_equal(session.run(problem.init_tensors(1))[0], first[0])


@pytest.mark.usefixtures('keras')
@pytest.mark.parametrize('loss, expected', [
    ('mae', lambda outputs, labels: np.abs(outputs - labels).mean()),
    (lambda labels, outputs: tf.square(labels - outputs[:, 0]),
     lambda outputs, labels: np.square(outputs - labels).mean())])
def test_the_loss_is_the_models(loss, expected):
    problem, labels = KerasModel(perceptron(), loss), DATA.sum(1)
    parameters = problem.initial_values(1)
    found, accuracy = values_of(problem, parameters, labels)
    assert accuracy is None
    np.testing.assert_allclose(found[0], expected(forward(parameters)[:, 0], labels), rtol=1e-5)


def test_regularizers_count_and_classes_are_counted(keras):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    plain = KerasModel(perceptron(units=3), loss)
    regularized = KerasModel(perceptron(units=3, kernel_regularizer='l2'), loss)
    parameters = plain.initial_values(1)
    (without,), accuracy = values_of(plain, parameters, CLASSES)
    (with_penalty,), _ = values_of(regularized, parameters, CLASSES)
    np.testing.assert_allclose(with_penalty - without, 0.01 * np.square(parameters[0]).sum(),
                               rtol=1e-3)
    np.testing.assert_allclose(
        accuracy, np.mean(forward(parameters).argmax(1) == CLASSES), rtol=1e-6)


def test_dropout_draws_anew_where_the_parameters_differ_and_alone_then(keras):
    problem = KerasModel(perceptron(lambda: keras.layers.Dropout(0.5)), 'mse')
    parameters, labels = problem.initial_values(1), DATA.sum(1)
    found, _ = values_of(problem, parameters, labels, times=2)
    assert found[0] == found[1]
    drawn = {values_of(problem, [parameters[0] + 1e-6 * index] + parameters[1:], labels)[0][0]
             for index in range(4)}
    assert len({round(float(value), 4) for value in drawn}) == 4


@pytest.mark.usefixtures('keras')
def test_it_is_optimized():
    problem, dataset = KerasModel(perceptron(), 'mse'), Dataset(DATA, DATA.sum(1))
    with tf.Graph().as_default():
        losses, _, _ = metaopt.test_optimizer(
            tf.train.AdamOptimizer(0.05), problem, 30, dataset, 10, seed=1)
    assert losses[-1] < 0.5 * losses[0]
    assert str(Spec(KerasModel, (perceptron(), 'mse'), {})) == 'KerasModel(make, mse)'


@pytest.mark.parametrize('make, message', [
    (lambda: 3, 'must return a Keras 3 model, not int'),
    (lambda: __import__('keras').Sequential([__import__('keras').layers.Dense(2)]),
     'no trainable variables: begin it with keras.Input')])
def test_what_is_no_model_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        KerasModel(make, 'mse')
