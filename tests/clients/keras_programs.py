"""What Keras's users do: replicas, own loops, .h5, schedules, callbacks, two optimizers."""

import os
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
        ends.append([copy.numpy() for copy in getattr(kernel, 'values', [kernel])])
    for copy in ends[1]:
        np.testing.assert_allclose(copy, ends[0][0], atol=1e-4)


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
        assert fit(loaded)[-1] < fit(made)[0] * 2
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


for program in (replicas, loops, files, callbacks, resumption, two_optimizers):
    program(sys.argv[1], sys.argv[2])
