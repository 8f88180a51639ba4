"""What Keras's users do: replicas, own loops, .h5, schedules, callbacks, two optimizers."""

import copy
import os
import pickle
import sys

import keras
import numpy as np
import tensorflow as tf

from optimizer.keras import LearnedOptimizer

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices('CPU')[0], [tf.config.LogicalDeviceConfiguration()] * 2)
INPUTS = np.random.RandomState(0).standard_normal([64, 4]).astype('float32')
TARGETS = INPUTS.sum(1, keepdims=True)


def model(optimizer):
    keras.utils.set_random_seed(1)
    made = keras.Sequential([
        keras.Input([4]), keras.layers.Dense(8, 'relu'), keras.layers.Dense(1)])
    made.compile(optimizer=optimizer, loss=keras.losses.MeanSquaredError())
    return made


def fit(made, epochs=4, **options):
    return made.fit(INPUTS, TARGETS, 64, epochs, 0, shuffle=False, **options).history['loss']


def replicas(folder, scratch):
    ends, two = [], tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])
    for strategy in (tf.distribute.get_strategy(), two):
        with strategy.scope():
            made = model(LearnedOptimizer(folder))
        fit(made)
        kernel = made.trainable_variables[0].value
        ends.append([each.numpy() for each in getattr(kernel, 'values', [kernel])])
    for replica in ends[1]:
        np.testing.assert_allclose(replica, ends[0][0], atol=1e-4)


def own_loop(variable, value, learned):
    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(value ** 2)
        learned.apply_gradients([(tape.gradient(loss, value), variable)])
        return loss

    return [float(step()) for _ in range(10)]


def loops(folder, scratch):
    of_keras, of_tensorflow = keras.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])
    losses = [own_loop(of_keras, of_keras.value, LearnedOptimizer(folder)),
              own_loop(of_tensorflow, of_tensorflow, LearnedOptimizer(folder))]
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def files(folder, scratch):
    for suffix in ('.keras', '.h5'):
        made = model(LearnedOptimizer(folder))
        fit(made)
        made.save(scratch + '/model' + suffix)
        loaded = keras.models.load_model(scratch + '/model' + suffix)
        np.testing.assert_allclose(made.predict(INPUTS, verbose=0),
                                   loaded.predict(INPUTS, verbose=0), atol=1e-6)
        assert int(loaded.optimizer.iterations) == int(made.optimizer.iterations)
        np.testing.assert_allclose(fit(loaded), fit(made), rtol=1e-5)
    names = [variable.path for variable in made.optimizer.variables]
    assert len(set(names)) == len(names) and any('dense' in name for name in names)


def callbacks(folder, scratch):
    schedule = keras.optimizers.schedules.CosineDecay(1.0, 10)
    losses = fit(model(LearnedOptimizer(folder, learning_rate=schedule, weight_decay=1e-4,
                                        global_clipnorm=10.0)), 10)
    assert losses[-1] < losses[0]
    options = {'use_ema': True, 'gradient_accumulation_steps': 2, 'loss_scale_factor': 128.0}
    losses = fit(model(LearnedOptimizer(folder, **options)), 10)
    assert losses[-1] < losses[0]
    path = scratch + '/best.weights.h5'
    made = model(LearnedOptimizer(folder))
    fit(made, callbacks=[
        keras.callbacks.ModelCheckpoint(path, save_weights_only=True, verbose=0),
        keras.callbacks.LearningRateScheduler(lambda epoch: 0.5), keras.callbacks.TerminateOnNaN()])
    assert os.path.exists(path) and float(made.optimizer.learning_rate) == 0.5


def resumption(folder, scratch):
    whole = model(LearnedOptimizer(folder))
    fit(whole, 6)
    half = model(LearnedOptimizer(folder))
    fit(half, 3)
    checkpoint = tf.train.Checkpoint(model=half, optimizer=half.optimizer)
    path = checkpoint.save(scratch + '/checkpoint')
    again = model(LearnedOptimizer(folder))
    again.optimizer.build(again.trainable_variables)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path)
    fit(again, 3)
    for one, other in zip(again.get_weights(), whole.get_weights()):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def two_optimizers(folder, scratch):
    generator, judge = model(LearnedOptimizer(folder)), model(LearnedOptimizer(folder))
    for made in (generator, judge):
        before = made.get_weights()
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(judge(tf.concat([INPUTS[:, :3], generator(INPUTS)], 1)) ** 2)
        weights = made.trainable_variables
        made.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        assert any((one != other).any() for one, other in zip(before, made.get_weights()))


def play(folder, scratch):
    """A GAN's two optimizers in one function: the judge's loss falls, the other's players stay."""
    generator, judge = model(LearnedOptimizer(folder)), model(LearnedOptimizer(folder))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            made = tf.concat([INPUTS[:, :3], generator(INPUTS)], 1)
            loss = tf.reduce_mean(tf.square(judge(made)) + tf.square(judge(INPUTS) - 1.0))
        judge.optimizer.apply(tape.gradient(loss, judge.trainable_variables),
                              judge.trainable_variables)
        return loss

    generator.optimizer.build(generator.trainable_variables)
    before = generator.get_weights()
    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    for one, other in zip(before, generator.get_weights()):
        np.testing.assert_array_equal(one, other)


# Keras's own tests of optimizers, told anew.


def moved(folder, gradients, steps=1, start=(1.0, 2.0), **options):
    variable, learned = keras.Variable(start), LearnedOptimizer(folder, **options)
    for _ in range(steps):
        learned.apply([tf.constant(gradients)], [variable])
    return variable.numpy(), learned


def clipping(folder, scratch):
    for options, same in (({'clipnorm': 1.0}, [0.6, 0.8]), ({'clipvalue': 1.0}, [1.0, 1.0]),
                          ({'global_clipnorm': 1.0}, [0.6, 0.8])):
        np.testing.assert_allclose(moved(folder, [3.0, 4.0], 3, **options)[0],
                                   moved(folder, same, 3)[0], rtol=1e-6)
    for two in ({'clipnorm': 1.0, 'clipvalue': 1.0}, {'clipnorm': 1.0, 'global_clipnorm': 1.0}):
        try:
            LearnedOptimizer(folder, **two)
        except ValueError as error:
            assert 'Only one of' in str(error)
        else:
            raise AssertionError(two)


def counting(folder, scratch):
    value, learned = moved(folder, [1.0, 1.0], 4, gradient_accumulation_steps=2)
    assert int(learned.iterations) == 2 and int(learned._iterations) == 4
    np.testing.assert_allclose(value, moved(folder, [1.0, 1.0], 2)[0], rtol=1e-6)
    learned.apply([], [])
    assert int(learned.iterations) == 2
    scaled, _ = moved(folder, [8.0, 8.0], 3, loss_scale_factor=8.0)
    np.testing.assert_allclose(scaled, moved(folder, [1.0, 1.0], 3)[0], rtol=1e-6)


def averaging(folder, scratch):
    variable = keras.Variable([1.0, 2.0])
    learned = LearnedOptimizer(folder, use_ema=True, ema_momentum=0.5)
    expected = None
    for _ in range(3):
        learned.apply([tf.constant([1.0, 1.0])], [variable])
        value = variable.numpy()
        expected = value if expected is None else 0.5 * expected + 0.5 * value
    learned.finalize_variable_values([variable])
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


def rates_and_constraints(folder, scratch):
    variable = keras.Variable([1.0, 0.001])
    variable.constraint = keras.constraints.NonNeg()
    learned = LearnedOptimizer(folder, learning_rate=0.5)
    learned.learning_rate = 2.0
    learned.apply([tf.constant([1.0, 1.0])], [variable])
    assert float(learned.learning_rate) == 2.0 and variable.numpy()[1] == 0.0
    decayed, _ = moved(folder, [0.0, 0.0], weight_decay=0.1)
    plain, _ = moved(folder, [0.0, 0.0])
    np.testing.assert_allclose(plain - decayed, [0.1, 0.2], rtol=1e-5)
    try:
        learned.apply([tf.constant([1.0])], [keras.Variable([1.0])])
    except ValueError as error:
        assert 'Unknown variable' in str(error)
    else:
        raise AssertionError('a variable that it was not built with')


def copies(folder, scratch):
    made = model(LearnedOptimizer(folder))
    fit(made, 2)
    again = [pickle.loads(pickle.dumps(made)), copy.deepcopy(made)]
    ends = [fit(each, 2) for each in [made] + again]
    assert ends[0] == ends[1] == ends[2]
    learned = keras.optimizers.deserialize(keras.optimizers.serialize(LearnedOptimizer(folder)))
    assert fit(model(learned), 2) == fit(model(LearnedOptimizer(folder)), 2)


def ways_to_compile(folder, scratch):
    """The same losses however the steps are carried out."""
    losses = []
    for options in ({}, {'jit_compile': True}, {'run_eagerly': True}, {'steps_per_execution': 2}):
        keras.utils.set_random_seed(1)
        made = model(LearnedOptimizer(folder))
        made.compile(made.optimizer, keras.losses.MeanSquaredError(), **options)
        losses.append(made.fit(INPUTS, TARGETS, 32, 3, 0, shuffle=False).history['loss'])
    for each in losses[1:]:
        np.testing.assert_allclose(each, losses[0], rtol=1e-5)


def mixed_precision(folder, scratch):
    keras.config.set_dtype_policy('mixed_float16')
    made = model(LearnedOptimizer(folder))
    losses = fit(made, 8)
    assert losses[-1] < losses[0]
    made.save(scratch + '/mixed.keras')
    assert fit(keras.models.load_model(scratch + '/mixed.keras'), 2) == fit(made, 2)
    keras.config.set_dtype_policy('float32')


for program in (replicas, loops, files, callbacks, resumption, two_optimizers, play, clipping,
                counting, averaging, rates_and_constraints, copies, ways_to_compile,
                mixed_precision):
    program(sys.argv[1], sys.argv[2])
