"""What users of TensorFlow 1.15 do with estimators, `tf.contrib` and tf.keras."""

import sys

import numpy as np
import tensorflow as tf

from optimizer import load

tf.logging.set_verbosity(tf.logging.ERROR)
tf.config.experimental.set_virtual_device_configuration(
    tf.config.experimental.list_physical_devices('CPU')[0],
    [tf.config.experimental.VirtualDeviceConfiguration()] * 2)
INPUTS = np.random.RandomState(0).standard_normal([64, 4]).astype('float32')
TWO = tf.distribute.MirroredStrategy(['/cpu:0', '/cpu:1'])


def regression():
    targets = INPUTS.sum(1, keepdims=True)
    return tf.data.Dataset.from_tensor_slices(({'x': INPUTS}, targets)).repeat().batch(64)


def classes():
    labels = (INPUTS.sum(1) > 0).astype('int32')
    return tf.data.Dataset.from_tensor_slices(({'x': INPUTS}, labels)).repeat().batch(64)


def falls(estimator, data):
    """The loss falls; a second call goes on."""
    first = estimator.train(data, steps=1).evaluate(data, steps=1)['loss']
    assert estimator.train(data, steps=15).evaluate(data, steps=1)['loss'] < first
    assert estimator.get_variable_value('global_step') == 16


def canned(folder, scratch):
    columns = [tf.feature_column.numeric_column('x', shape=[4])]
    for index, (optimizer, strategy) in enumerate([
            (load(folder), None), (lambda: load(folder), TWO),
            (tf.contrib.estimator.clip_gradients_by_norm(load(folder), 1.0), None)]):
        config = tf.estimator.RunConfig(scratch + '/canned%d' % index, tf_random_seed=1,
                                        train_distribute=strategy)
        falls(tf.estimator.DNNClassifier([8], columns, optimizer=optimizer, config=config), classes)


def custom(folder, scratch):
    def model_fn(features, labels, mode):
        output = tf.layers.dense(features['x'], 1, None, name='output',
                                 kernel_initializer=tf.zeros_initializer())
        loss = tf.losses.mean_squared_error(labels, output)
        train = load(folder).minimize(loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    kernels = []
    for name, strategy in (('alone', None), ('both', TWO)):
        batch = 64 if strategy is None else 32
        estimator = tf.estimator.Estimator(model_fn, scratch + '/' + name, tf.estimator.RunConfig(
            tf_random_seed=1, train_distribute=strategy))
        estimator.train(lambda batch=batch: regression().unbatch().batch(batch), steps=5)
        kernels.append(estimator.get_variable_value('output/kernel'))
    np.testing.assert_allclose(kernels[0], kernels[1], rtol=1e-4)
    falls(tf.estimator.Estimator(model_fn, scratch + '/falls'), regression)


def keras_model(folder, scratch):
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=[4], name='x')])
    model.compile(optimizer=load(folder), loss='mse')
    losses = model.fit(INPUTS, INPUTS.sum(1, keepdims=True), epochs=10, verbose=0).history['loss']
    assert losses[-1] < losses[0]
    estimator = tf.keras.estimator.model_to_estimator(model, model_dir=scratch + '/keras')
    estimator.train(lambda: tf.data.Dataset.from_tensor_slices(
        ({'x_input': INPUTS}, INPUTS.sum(1, keepdims=True))).repeat().batch(64), steps=3)


def moving_averages(folder, scratch):
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.get_variable('weights', [4, 1])
        loss = tf.reduce_mean(tf.square(tf.matmul(INPUTS, weights) - INPUTS.sum(1, keepdims=True)))
        averaging = tf.contrib.opt.MovingAverageOptimizer(load(folder), 0.5)
        train = averaging.minimize(loss)
        saver = averaging.swapping_saver()
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(10):
            session.run(train)
        assert session.run(loss) < before
        saver.save(session, scratch + '/averages')


def slim_loop(folder, scratch):
    with tf.Graph().as_default():
        outputs = tf.contrib.layers.fully_connected(tf.constant(INPUTS), 1, None)
        tf.losses.mean_squared_error(INPUTS.sum(1, keepdims=True), outputs)
        loss = tf.losses.get_total_loss()
        tf.train.create_global_step()
        train = tf.contrib.training.create_train_op(
            loss, load(folder), transform_grads_fn=tf.contrib.training.clip_gradient_norms_fn(5.0))
        tf.contrib.training.train(train, scratch + '/slim',
                                  hooks=[tf.train.StopAtStepHook(num_steps=8)])
    assert tf.train.latest_checkpoint(scratch + '/slim').endswith('-8')


for program in (canned, custom, keras_model, moving_averages, slim_loop):
    program(sys.argv[1], sys.argv[2])
