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


def resumes(make, scratch, data):
    """Ends where a whole training ends, variables and state; state is named by its variable."""
    whole, halves = (make(tf.estimator.RunConfig('%s/%s' % (scratch, name), tf_random_seed=1))
                     for name in ('whole', 'halves'))
    whole.train(data, steps=6)
    for _ in range(2):
        halves.train(data, steps=3)
    names = whole.get_variable_names()
    for name in names:
        np.testing.assert_array_equal(whole.get_variable_value(name),
                                      halves.get_variable_value(name), name)
    owners = {name.split('/TrainableAdam/')[0].replace('/part_0', '') for name in names
              if '/TrainableAdam/' in name}
    trained = {name for name in names if name.endswith(('kernel', 'bias', 'weights'))}
    assert owners == trained, (owners, trained)


def canned(folder, scratch):
    columns = [tf.feature_column.numeric_column('x', shape=[4])]
    for index, (optimizer, strategy) in enumerate([
            (load(folder), None), (lambda: load(folder), TWO),
            (tf.contrib.estimator.clip_gradients_by_norm(load(folder), 1.0), None)]):
        config = tf.estimator.RunConfig(scratch + '/canned%d' % index, tf_random_seed=1,
                                        train_distribute=strategy)
        falls(tf.estimator.DNNClassifier([8], columns, optimizer=optimizer, config=config), classes)
    resumes(lambda config: tf.estimator.DNNClassifier(
        [8], columns, optimizer=load(folder), config=config), scratch + '/dnn', classes)


def of_two_parts(folder, scratch):
    """A table of embeddings, two instances, one of them in the parameters."""
    def data():
        words = np.arange(64) % 7
        return tf.data.Dataset.from_tensor_slices(
            ({'x': INPUTS, 'word': words}, (words > 3).astype('int32'))).repeat().batch(64)

    words = tf.feature_column.categorical_column_with_identity('word', 9)
    combined = tf.estimator.DNNLinearCombinedClassifier(
        scratch + '/combined', linear_feature_columns=[words], linear_optimizer=load(folder),
        dnn_feature_columns=[tf.feature_column.embedding_column(words, 3)], dnn_hidden_units=[4],
        dnn_optimizer=load(folder))
    falls(combined, data)
    slots = [name for name in combined.get_variable_names() if name.endswith('/table_state')]
    assert len(slots) == 2, slots

    def model_fn(features, labels, mode, params):
        loss = tf.losses.sparse_softmax_cross_entropy(labels, tf.layers.dense(features['x'], 2))
        train = params['optimizer'].minimize(loss, tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    falls(tf.estimator.Estimator(model_fn, params={'optimizer': load(folder)}), data)


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
    resumes(lambda config: tf.estimator.Estimator(model_fn, config=config), scratch + '/own',
            regression)


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
    values = [slim_trains(folder, scratch + '/' + name, steps)
              for name, steps in (('whole', 8), ('halves', 3), ('halves', 5))]
    for name in ('fully_connected/weights', 'fully_connected/weights/TrainableAdam/state'):
        np.testing.assert_array_equal(*[each.get_tensor(name) for each in (values[0], values[2])])


def slim_trains(folder, directory, steps):
    with tf.Graph().as_default():
        tf.set_random_seed(1)
        outputs = tf.contrib.layers.fully_connected(tf.constant(INPUTS), 1, None)
        tf.losses.mean_squared_error(INPUTS.sum(1, keepdims=True), outputs)
        loss = tf.losses.get_total_loss()
        tf.train.create_global_step()
        train = tf.contrib.training.create_train_op(
            loss, load(folder), transform_grads_fn=tf.contrib.training.clip_gradient_norms_fn(5.0))
        tf.contrib.training.train(train, directory,
                                  hooks=[tf.train.StopAtStepHook(num_steps=steps)])
    return tf.train.load_checkpoint(directory)


for program in (canned, of_two_parts, custom, keras_model, moving_averages, slim_loop):
    program(sys.argv[1], sys.argv[2])
