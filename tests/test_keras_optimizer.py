"""The Keras optimizer: same trajectory as the version-1 class; compile, fit, save, load, XLA.

Keras needs eager execution, which the other tests switch off: this file runs itself as a script in
a process of its own, once, and each test looks at one of its findings.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

HERE = os.path.dirname(os.path.abspath(__file__))
START = [np.array([[0.5, 1.0, -2.0], [0.3, 0.1, -0.7]], 'float32'), np.zeros([3], 'float32')]
INPUTS = np.random.RandomState(0).standard_normal([16, 2]).astype('float32')
TARGETS = (INPUTS.dot([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]]) + 0.3).astype('float32')
STEPS = 10
ATTENTION = {'level_sizes': [5, 4, 3], 'init_lr_range': [1e-2, 1e-2], 'use_attention': True,
             'random_seed': 3}

pytestmark = pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')


# In the process of its own.


def linear_model(keras):
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
    model.set_weights(START)
    return model


def fit(keras, optimizer, epochs=STEPS, model=None, jit_compile=False):
    """Trains a linear model, a full batch each step."""
    model = model or linear_model(keras)
    model.compile(optimizer, keras.losses.MeanSquaredError(), jit_compile=jit_compile)
    losses = model.fit(INPUTS, TARGETS, batch_size=16, epochs=epochs, verbose=0,
                       shuffle=False).history['loss']
    return model, losses


def weights_of(model):
    return [weight.tolist() for weight in model.get_weights()]


def find_trajectories(keras, make, folders, scratch):
    """The final weights for each folder, and for the first one compiled with XLA, too."""
    plain = [weights_of(fit(keras, make(folder))[0]) for folder in folders]
    return plain + [weights_of(fit(keras, make(folders[0]), jit_compile=True)[0])]


def find_saved(keras, make, folders, scratch):
    """Training on after saving and loading, without the folder; and in one go."""
    found = []
    for suffix in ('.keras', '.h5'):
        model, _ = fit(keras, make(folders[0]), epochs=4)
        path = os.path.join(scratch, 'model' + suffix)
        model.save(path)
        os.rename(folders[0], folders[0] + '_moved')
        loaded = keras.models.load_model(path)
        os.rename(folders[0] + '_moved', folders[0])
        loaded.fit(INPUTS, TARGETS, batch_size=16, epochs=STEPS - 4, verbose=0, shuffle=False)
        found.append([weights_of(loaded), int(loaded.optimizer.iterations)])
    return [found, weights_of(fit(keras, make(folders[0]))[0])]


def find_learning_rates(keras, make, folders, scratch):
    """With rate 0 nothing moves; 2 is twice the first step of 1."""
    found = [weights_of(fit(keras, make(folders[0], learning_rate=rate), epochs=1)[0])
             for rate in (0.0, 1.0, 2.0)]
    config = make(folders[0], learning_rate=0.5, clipnorm=1.0).get_config()
    return [found, config['learning_rate'], config['clipnorm']]


def find_embeddings(keras, make, folders, scratch):
    """Tables [5, 2] of ones of which rows 1 and 3 are used; the last two compiled with XLA."""
    found = []
    for folder, jit_compile in [(folder, False) for folder in folders] + [
            (folders[0], True), (folders[2], True)]:
        model = keras.Sequential([keras.Input([3], dtype='int32'), keras.layers.Embedding(5, 2)])
        model.set_weights([np.ones([5, 2], 'float32')])
        model.compile(make(folder), keras.losses.MeanSquaredError(), jit_compile=jit_compile)
        model.fit(np.array([[1, 3, 1]]), np.zeros([1, 3, 2]), epochs=3, verbose=0)
        found.append(model.get_weights()[0].tolist())
    return found


def find_named_embeddings(keras, make, folders, scratch):
    """Losses of variables of several ranks under two names, one a table's."""
    class Weigh(keras.layers.Layer):
        def __init__(self, shape, name_of_weight):
            super().__init__()
            self._description = shape, name_of_weight

        def build(self, _):
            shape, name = self._description
            self.scale = self.add_weight(shape=shape, initializer='ones', name=name)

        def call(self, inputs):
            return inputs @ self.scale if len(self.scale.shape) == 2 else inputs * self.scale

    def losses(folder, shape, name):
        model = keras.Sequential([keras.Input([2]), Weigh(shape, name),
                                  keras.layers.Dense(3, kernel_initializer='ones')])
        return fit(keras, make(folder), 4, model)[1]

    return [[losses(folder, shape, name) for name in ('embeddings', 'other')]
            for folder, shape in ((folders[0], ()), (folders[0], (2,)), (folders[0], (2, 2)),
                                  (folders[3], (2, 2)))]


def find_float16(keras, make, folders, scratch):
    """Variables of float16, and a loss-scaling optimizer around ours."""
    losses = []
    for policy in ('float16', 'mixed_float16'):
        keras.config.set_dtype_policy(policy)
        model = keras.Sequential([keras.Input([2]), keras.layers.Dense(3)])
        losses.append(fit(keras, make(folders[0]), epochs=20, model=model)[1])
    keras.config.set_dtype_policy('float32')
    return losses


def find_planned(keras, make, folders, scratch):
    """The number of steps that ends up in the description; what a class without one says."""
    described = make(folders[3], num_steps=77).get_config()['learned']['kwargs']
    try:
        make(folders[2], num_steps=77)
    except ValueError as error:
        return [described['num_steps'], str(error)]


def find_factors(keras, make, folders, scratch):
    """How often factors and schedules are warned of; loading a model does not warn again."""
    import warnings
    falling = keras.optimizers.schedules.CosineDecay
    counts = []
    for make_one in [lambda rate=rate: make(folders[0], learning_rate=rate) for rate in (
            1e-3, 1e-4, falling(1e-3, 100), 0.01, 1.0, falling(1.0, 100))] + [
                lambda: type(make(folders[0])).from_config(
                    dict(make(folders[0]).get_config(), learning_rate=1e-3))]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            make_one()
        counts.append(len([each for each in caught if 'multiplies' in str(each.message)]))
    return counts


def find_step_sizes(keras, make, folders, scratch):
    """What `StepSizes` logs of a step, a second epoch's included, and the step itself."""
    from optimizer.keras import StepSizes
    model = keras.Sequential([keras.Input([2]), keras.layers.Dense(4, name='first'),
                              keras.layers.Dense(3, name='second')])
    model.compile(make(folders[0], learning_rate=0.5), 'mse')
    before = weights_of(model)
    history = model.fit(INPUTS, TARGETS, batch_size=16, epochs=1, verbose=0,
                        callbacks=[StepSizes()]).history
    after = weights_of(model)
    longer = model.fit(INPUTS, TARGETS, batch_size=4, epochs=2, verbose=0,
                       callbacks=[StepSizes(every=3)]).history
    return [history, before, after, longer]


def find_unused(keras, make, folders, scratch):
    """Eager `apply` with a variable that has no gradient."""
    variables = [keras.Variable(value) for value in START]
    make(folders[0]).apply([np.ones([2, 3], 'float32'), None], variables)
    return [variable.numpy().tolist() for variable in variables]


def find_twice(keras, make, folders, scratch):
    """A variable that is listed twice, and one whose gradient is the sum."""
    found = []
    for gradients in ([[1.0, -2.0], [3.0, 1.0]], [[4.0, -1.0]]):
        variable = keras.Variable([0.5, -1.0])
        make(folders[0]).apply_gradients([(np.array(each, 'float32'), variable)
                                          for each in gradients])
        found.append(variable.numpy().tolist())
    return found


def find_digits(keras, make, folders, scratch):
    """Losses of a small convolutional network on handwritten digits."""
    from sklearn.datasets import load_digits
    keras.utils.set_random_seed(1)
    images, labels = load_digits(return_X_y=True)
    images = images[:512].reshape([-1, 8, 8, 1]).astype('float32') / 16
    model = keras.Sequential([
        keras.Input([8, 8, 1]), keras.layers.Conv2D(8, 3, activation='relu'),
        keras.layers.MaxPooling2D(), keras.layers.Flatten(), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=make(folders[0]), loss=loss, jit_compile=False)
    return model.fit(images, labels[:512], epochs=5, batch_size=64, verbose=0).history['loss']


def find_errors(keras, make, folders, scratch):
    """The messages of wrong uses."""
    from optimizer import load
    messages = []
    for wrong in (lambda: make(os.path.join(scratch, 'absent')), make,
                  lambda: load(folders[0]).apply_gradients([]),
                  tf.function(lambda: load(folders[0]).apply_gradients([]), autograph=False),
                  lambda: make(folders[0]).apply_gradients(
                      [(np.ones([3, 1], 'float32'), keras.Variable(np.ones([3])))])):
        try:
            wrong()
            messages.append(None)
        except (ValueError, RuntimeError) as error:
            messages.append(str(error))
    return messages


def main(scratch, folders):
    import keras

    from optimizer.keras import LearnedOptimizer
    findings = {name[len('find_'):]: find(keras, LearnedOptimizer, folders, scratch)
                for name, find in list(globals().items()) if name.startswith('find_')}
    with open(os.path.join(scratch, 'findings.json'), 'w') as file:
        json.dump(findings, file)


# The tests.


@pytest.fixture(scope='module')
def folders(run_folder, make_run_folder):
    return [run_folder, make_run_folder('HierarchicalRNN', ATTENTION),
            make_run_folder('RNNProp', {'units': 4}),
            make_run_folder('NormalizedMLP', {'units': 4, 'num_steps': STEPS})]


@pytest.fixture(scope='module')
def findings(folders, tmp_path_factory):
    scratch = str(tmp_path_factory.mktemp('keras'))
    root = os.path.dirname(HERE)
    done = subprocess.run(
        [sys.executable, os.path.abspath(__file__), scratch] + folders, stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([root, HERE]), KERAS_BACKEND='tensorflow'))
    assert done.returncode == 0, done.stderr.decode()
    with open(os.path.join(scratch, 'findings.json')) as file:
        return json.load(file)


def version_one(folder):
    """The same training in a graph with the version-1 class."""
    from optimizer import load
    weights, bias = (tf.Variable(value) for value in START)
    loss = tf.reduce_mean(tf.square(tf.matmul(INPUTS, weights) + bias - TARGETS))
    train = load(folder).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(STEPS):
            session.run(train)
        return session.run([weights, bias])


@pytest.mark.parametrize('index, tolerance', [
    (0, 3e-7), (1, 3e-7), (2, 3e-7), (3, 3e-7), (4, 3e-6)])
def test_trajectory_is_that_of_version_one(findings, folders, index, tolerance):
    expected = version_one((folders + folders[:1])[index])
    for found, value in zip(findings['trajectories'][index], expected):
        np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance)


def test_saving_and_loading(findings):
    """As a .keras and as an .h5 file, state and count of steps included."""
    found, whole = findings['saved']
    for loaded, iterations in found:
        assert iterations == STEPS
        for one, other in zip(loaded, whole):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_learning_rate_is_a_factor(findings):
    (still, once, twice), rate, clipnorm = findings['learning_rates']
    for start, *moved in zip(START, still, once, twice):
        np.testing.assert_array_equal(moved[0], start)
        np.testing.assert_allclose(moved[2] - start, 2 * (moved[1] - start), atol=1e-6)
    assert (rate, clipnorm) == (0.5, 1.0)


def test_rows_without_gradient_stay(findings):
    for table in map(np.array, findings['embeddings']):
        np.testing.assert_array_equal(table[[0, 2, 4]], 1.0)
        assert (table[[1, 3]] != 1.0).all()


@pytest.mark.parametrize('index, folder', [(0, 0), (1, 1), (2, 2), (3, 3), (4, 0), (5, 2)])
def test_embeddings_move_as_in_version_one(findings, folders, index, folder):
    from optimizer import load
    table = tf.get_variable('table', [5, 2], initializer=tf.ones_initializer())
    loss = tf.reduce_mean(tf.square(tf.gather(table, [1, 3, 1])))
    train = load(folders[folder]).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(train)
        np.testing.assert_allclose(findings['embeddings'][index], session.run(table), rtol=3e-6)


def test_a_variable_that_is_named_as_a_table_moves_as_any_other(findings):
    for named, other in findings['named_embeddings']:
        # Orthogonal directions of a kernel whose columns are equal amplify rounding.
        np.testing.assert_allclose(named, other, rtol=2e-4)
        assert named[-1] != named[0]


def test_keras_2_is_refused(tmp_path):
    (tmp_path / 'keras.py').write_text("__version__ = '2.15.0'")
    done = subprocess.run(
        [sys.executable, '-c', 'import optimizer.keras'], stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join([str(tmp_path), os.path.dirname(HERE)])))
    assert done.returncode and done.stderr.decode().splitlines()[-1] == (
        'ImportError: optimizer.keras needs Keras 3, as of TensorFlow 2.16; this is Keras 2.15.0. '
        'In graphs use optimizer.load.')


def test_float16(findings):
    for losses in findings['float16']:
        assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_the_planned_number_of_steps_is_the_one_given(findings):
    described, refusal = findings['planned']
    assert described == 77
    assert refusal == 'RNNProp takes no num_steps: of the learned optimizers NormalizedMLP does.'


def test_a_factor_that_would_be_the_learning_rate_of_adam_is_warned_of_once(findings):
    assert findings['factors'] == [1, 1, 1, 0, 0, 0, 0]


def test_step_sizes_are_in_the_history_by_layer(findings):
    history, before, after, longer = findings['step_sizes']
    changes = [np.array(new) - old for new, old in zip(after, map(np.array, before))]
    for layer, own in (('first', changes[:2]), ('second', changes[2:])):
        logged = [value for name, value in history.items() if name == 'step_size/' + layer]
        assert len(logged) == 1, sorted(history)
        rms = np.sqrt(np.mean(np.square(np.concatenate([np.ravel(each) for each in own]))))
        np.testing.assert_allclose(logged[0], [rms], rtol=1e-4)
        assert len(longer['step_size/' + layer]) == 2
    assert history['times_learned_step'] == [0.5]


def test_variable_without_gradient_stays(findings):
    used, unused = findings['unused']
    assert (np.array(used, 'float32') != START[0]).all()
    np.testing.assert_array_equal(unused, START[1])


def test_a_variable_that_is_listed_twice_gets_the_sum_of_its_gradients(findings):
    np.testing.assert_allclose(*findings['twice'], rtol=1e-6)


def test_digits(findings):
    losses = findings['digits']
    assert losses[-1] < 0.9 * losses[0]


def test_errors(findings):
    absent, nothing, eager, function, shape = findings['errors']
    assert 'no folder' in absent
    assert 'needs the folder of a run' in nothing
    assert 'optimizer.keras.LearnedOptimizer' in eager
    assert function == eager
    assert 'has the shape (3,), its gradient (3, 1)' in shape


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
