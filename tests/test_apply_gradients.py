"""A learned optimizer in anybody's model: sessions, checkpoints, scopes, all kinds of gradients."""

import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import every_optimizer, make
from optimizer import OPTIMIZERS, load
from optimizer.hierarchical_rnn import HierarchicalRNN
from optimizer.trainable_adam import TrainableAdam

TARGET = np.linspace(-1.0, 1.0, 6).reshape(2, 3).astype('float32')
START = np.array([[0.5, 1.0, -2.0], [0.3, 0.1, -0.7]], 'float32')

#: A small model: its variables and loss.
Model = collections.namedtuple('Model', 'variables loss')


def model(name='model'):
    """A matrix and a scalar to be fitted."""
    with tf.name_scope(name):
        matrix, scalar = tf.Variable(START, name='matrix'), tf.Variable(0.5, name='scalar')
        return Model([matrix, scalar], tf.reduce_sum(tf.square(matrix - scalar * TARGET)))


def run_steps(train, fetches, steps=5):
    """The values of `fetches` after some steps in a new session."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(steps):
            session.run(train)
        return session.run(fetches)


def assert_all_equal(found, expected):
    tf.nest.assert_same_structure(found, expected)
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_array_equal(one, other)


def alone(folder, steps=5):
    """What training one model in a graph of its own ends with."""
    with tf.Graph().as_default():
        here = model()
        return run_steps(load(folder).minimize(here.loss), here.variables, steps)


# Sessions.


def test_session_in_every_mode(run_folder, tensorflow_mode):
    here = model()
    learned = load(run_folder)
    train = learned.minimize(here.loss)
    assert isinstance(train, tf.Operation)
    before = run_steps(train, here.loss, 0)
    assert run_steps(train, here.loss, 30) < 0.9 * before
    assert len(tf.trainable_variables()) == 2


def _monitored_run(run_folder, checkpoints, steps):
    """Trains up to `steps` in all, in a new graph; returns parameters, state, meta-parameters."""
    with tf.Graph().as_default():
        here, learned = model(), load(run_folder)
        step = tf.train.get_or_create_global_step()
        train = learned.minimize(here.loss, global_step=step)
        everything = [here.variables, learned.variables(), learned.meta_parameters, step]
        with tf.train.MonitoredTrainingSession(
                checkpoint_dir=checkpoints, hooks=[tf.train.StopAtStepHook(last_step=steps)],
                save_summaries_steps=None, save_summaries_secs=None) as session:
            while not session.should_stop():
                session.run(train)
                if not session.should_stop():
                    continue
        with tf.Session() as session:
            tf.train.Saver().restore(session, tf.train.latest_checkpoint(checkpoints))
            return session.run(everything)


def test_monitored_session_stops_and_resumes_exactly(run_folder, tmp_path):
    whole = _monitored_run(run_folder, str(tmp_path / 'whole'), 6)
    half = _monitored_run(run_folder, str(tmp_path / 'halves'), 3)
    resumed = _monitored_run(run_folder, str(tmp_path / 'halves'), 6)
    assert half[-1] == 3 and resumed[-1] == 6
    assert_all_equal(resumed, whole)
    assert_all_equal(resumed[2], half[2])
    assert_all_equal(whole[0], alone(run_folder, 6))


def test_resuming_ignores_the_folder(make_run_folder, tmp_path):
    """A training checkpoint brings its own meta-parameters: nothing re-initializes them."""
    first = make_run_folder('GlobalLearningRate', {'initial_rate': 0.01})
    _monitored_run(first, str(tmp_path / 'training'), 2)
    second = make_run_folder('GlobalLearningRate', {'initial_rate': 0.5})
    resumed = _monitored_run(second, str(tmp_path / 'training'), 4)
    np.testing.assert_allclose(resumed[2], [0.01])


@pytest.mark.skipif(not hasattr(tf, 'estimator') or tf.__version__ >= '2',
                    reason='TensorFlow 2 has no estimators')
def test_estimator(run_folder, tmp_path):
    def model_fn(features, labels, mode):
        weights = tf.get_variable('weights', [3, 1], initializer=tf.zeros_initializer())
        loss = tf.reduce_mean(tf.square(tf.matmul(features, weights) - labels))
        train = load(run_folder).minimize(loss, global_step=tf.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    features = np.random.RandomState(0).standard_normal([16, 3]).astype('float32')
    labels = features.sum(1, keepdims=True)

    def input_fn():
        return tf.data.Dataset.from_tensors((features, labels)).repeat(20)

    def estimator(folder):
        return tf.estimator.Estimator(model_fn, str(tmp_path / folder),
                                      tf.estimator.RunConfig(tf_random_seed=1))

    whole, halves = estimator('whole').train(input_fn, steps=6), estimator('halves')
    halves.train(input_fn, steps=3)
    halves = estimator('halves').train(input_fn, steps=3)
    assert halves.get_variable_value('global_step') == 6
    for name in whole.get_variable_names():
        np.testing.assert_array_equal(whole.get_variable_value(name),
                                      halves.get_variable_value(name))
    assert estimator('whole').evaluate(input_fn)['loss'] < np.mean(np.square(labels))


# Scopes, graphs with several models and optimizers.


def test_global_step_and_var_list(run_folder):
    here = model()
    step = tf.train.get_or_create_global_step()
    train = load(run_folder).minimize(here.loss, step, var_list=here.variables[:1])
    (matrix, scalar), count = run_steps(train, [here.variables, step], 3)
    assert count == 3 and scalar == 0.5 and (matrix != START).all()


def test_scopes_change_nothing(run_folder):
    with tf.variable_scope('outer', reuse=tf.AUTO_REUSE), tf.name_scope('inner'):
        learned = load(run_folder)
        here = model()
        train = learned.minimize(here.loss)
    assert all(name == variable.op.name
               for name, variable in learned.named_meta_parameters.items())
    slots = set(variable.op.name for variable in learned.variables()) - set(
        learned.named_meta_parameters)
    assert slots == {'%s/HierarchicalRNN/%s' % (variable.op.name, name)
                     for variable in here.variables for name in ('state', 'tensors/0')} | {
                         here.variables[0].op.name + '/HierarchicalRNN/model/0'}
    assert_all_equal(run_steps(train, here.variables), alone(run_folder))


def test_reused_variables(run_folder):
    """Two towers that share their weights are one model."""
    losses = []
    for target in (1.0, 3.0):
        with tf.variable_scope('tower', reuse=tf.AUTO_REUSE):
            weights = tf.get_variable('weights', [4], initializer=tf.zeros_initializer())
            losses.append(tf.reduce_sum(tf.square(weights - target)))
    assert len(tf.trainable_variables()) == 1
    before, after = (run_steps(load(run_folder).minimize(tf.add_n(losses)), losses, steps)
                     for steps in (0, 30))
    assert sum(after) < sum(before)


def test_one_optimizer_for_several_models(run_folder):
    """Each model has state of its own and trains as it would alone."""
    learned = load(run_folder)
    models = [model('first'), model('second')]
    trains = [learned.minimize(each.loss, var_list=each.variables) for each in models]
    expected = alone(run_folder)
    for each in run_steps(trains, [each.variables for each in models]):
        assert_all_equal(each, expected)


def test_two_operations_on_the_same_variables_share_their_state(run_folder):
    learned, here = load(run_folder), model()
    trains = [learned.minimize(here.loss) for _ in range(2)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for index in range(5):
            session.run(trains[index % 2])
        assert_all_equal(session.run(here.variables), alone(run_folder))


def test_two_optimizers_in_one_graph(make_run_folder, run_folder, tmp_path):
    """Two of one class and one of another, each with its own checkpoint; saved and restored."""
    other = make_run_folder('HierarchicalRNN', {
        'level_sizes': [6, 5, 4], 'init_lr_range': [1e-2, 1e-2], 'use_gradient_shortcut': True,
        'random_seed': 2})
    folders = [run_folder, other, make_run_folder('RNNProp', {'units': 4})]
    models = [model('model_%d' % index) for index in range(3)]
    trains = [load(folder).minimize(each.loss, var_list=each.variables)
              for folder, each in zip(folders, models)]
    variables = [each.variables for each in models]
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(trains)
        path = saver.save(session, str(tmp_path / 'model'))
    with tf.Session() as session:
        saver.restore(session, path)
        for _ in range(3):
            session.run(trains)
        for folder, values in zip(folders, session.run(variables)):
            assert_all_equal(values, alone(folder))


@pytest.mark.slow
@pytest.mark.parametrize('gate', [tf.train.Optimizer.GATE_NONE, tf.train.Optimizer.GATE_OP,
                                  tf.train.Optimizer.GATE_GRAPH])
def test_gate_gradients(run_folder, gate):
    here = model()
    train = load(run_folder).minimize(here.loss, gate_gradients=gate)
    assert_all_equal(run_steps(train, here.variables), alone(run_folder))


@pytest.mark.slow
def test_inside_of_a_condition(run_folder, tensorflow_mode):
    """Training every other step; the state is created outside of the branch."""
    if tensorflow_mode.control_flow_v2 and not tensorflow_mode.resource_variables:
        pytest.skip('TensorFlow cannot assign reference variables in a function')
    learned, here = load(run_folder), model()
    turn = tf.placeholder(tf.bool, [])
    pairs = learned.compute_gradients(here.loss)

    def step():
        with tf.control_dependencies([learned.apply_gradients(pairs)]):
            return tf.constant(True)

    done = tf.cond(turn, step, lambda: tf.constant(False))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert [session.run(done, {turn: index % 2 == 0}) for index in range(9)].count(True) == 5
        assert_all_equal(session.run(here.variables), alone(run_folder))


def test_behind_other_operations(run_folder):
    """Control dependencies of the step are not those of the state's initial values."""
    here = model()
    feed = tf.placeholder(tf.float32, [])
    with tf.control_dependencies([here.loss, tf.identity(feed)]):
        train = load(run_folder).minimize(here.loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {feed: 1.0})


def test_updates_before_the_step(run_folder):
    """`UPDATE_OPS` as of batch normalization run first."""
    here, count = model(), tf.Variable(0, trainable=False)
    tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, tf.assign_add(count, 1))
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        train = load(run_folder).minimize(here.loss)
    assert run_steps(train, count) == 5


def test_clipped_gradients(run_folder):
    learned, here = load(run_folder), model()
    gradients, variables = zip(*learned.compute_gradients(here.loss))
    clipped, _ = tf.clip_by_global_norm(gradients, 0.5)
    train = learned.apply_gradients(zip(clipped, variables))
    before, after = (run_steps(train, here.loss, steps) for steps in (0, 30))
    assert after < before


# Variables and gradients of every kind.


def test_variables_without_gradient_are_skipped(run_folder):
    here, other = model(), tf.Variable(7.0)
    train = load(run_folder).minimize(here.loss)
    assert run_steps(train, other) == 7.0


def test_no_gradient_at_all(run_folder):
    variable = tf.Variable(1.0)
    with pytest.raises(ValueError, match='No gradients'):
        load(run_folder).apply_gradients([(None, variable)])


def test_unknown_shape_is_refused(run_folder):
    start = tf.placeholder_with_default(np.zeros([2, 3], 'float32'), None)
    vague = tf.Variable(start, validate_shape=False, name='vague')
    with pytest.raises(ValueError, match='fully defined shape.*vague'):
        load(run_folder).apply_gradients([(tf.ones([2, 3]), vague)])


def test_partitioned_variables(run_folder):
    weights = tf.get_variable('weights', [6, 3], initializer=tf.ones_initializer(),
                              partitioner=tf.fixed_size_partitioner(3))
    loss = tf.reduce_sum(tf.square(tf.matmul(tf.ones([2, 6]), tf.convert_to_tensor(weights)) - 1.0))
    assert len(tf.trainable_variables()) == 3
    train = load(run_folder).minimize(loss)
    assert run_steps(train, loss, 30) < run_steps(train, loss, 0)


@pytest.mark.parametrize('dtype, tolerance', [(tf.float16, 4e-3), (tf.bfloat16, 3e-2),
                                              (tf.float64, 1e-5)])
def test_other_types(run_folder, dtype, tolerance):
    """Computed in float32 and cast back: close to what float32 variables do."""
    variable = tf.Variable(tf.cast(START, dtype))
    loss = tf.reduce_sum(tf.square(variable - tf.cast(TARGET, dtype)))
    twin = tf.Variable(START)
    twin_loss = tf.reduce_sum(tf.square(twin - TARGET))
    trains = [load(run_folder).minimize(each, var_list=[of])
              for each, of in ((loss, variable), (twin_loss, twin))]
    found, expected = run_steps(trains, [tf.cast(variable, tf.float32), twin])
    assert variable.dtype.base_dtype == dtype
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_float64_keeps_its_digits():
    """A step of 1e-3 leaves the digits that float32 does not have."""
    variable = tf.Variable(np.float64(1.0) + 1e-12)
    train = OPTIMIZERS['GlobalLearningRate'](1e-3).apply_gradients(
        [(tf.constant(1.0, tf.float64), variable)])
    assert abs(run_steps(train, variable, 1) - (1.0 + 1e-12 - np.float64(np.float32(1e-3)))) < 1e-15


def test_empty_variable(run_folder):
    here, empty = model(), tf.Variable(tf.zeros([0, 3]))
    loss = here.loss + tf.reduce_sum(empty)
    after = run_steps(load(run_folder).minimize(loss), loss, 30)
    assert np.isfinite(after) and after < run_steps(tf.no_op(), loss, 0)


def _embedding(ids, rows=6):
    """A table of embeddings [rows, 2] that starts at 1, and a dense variable [2]; the loss."""
    table, offset = tf.Variable(tf.ones([rows, 2])), tf.Variable(tf.zeros([2]))
    return [table, offset], tf.reduce_sum(tf.square(
        tf.nn.embedding_lookup(table, ids) + offset - 3.0))


@every_optimizer
def test_rows_without_gradient_keep_values_and_state(name):
    learned = make(name)
    ids = tf.placeholder(tf.int32, [None])
    variables, loss = _embedding(ids)
    pairs = learned.compute_gradients(loss)
    assert isinstance(pairs[0][0], tf.IndexedSlices)
    train = learned.apply_gradients(pairs)
    slots = [learned.get_slot(variables[0], slot) for slot in ('state', 'table_state')]
    kept = [variables[0]] + [slot for slot in slots if slot is not None]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train, {ids: [0, 1, 2, 3, 4, 5]})
        before = session.run(kept)
        session.run(train, {ids: [2, 1, 5, 1]})
        after = session.run(kept)
    for old, new in zip(before, after):
        if old.shape[0] != 6:  # state as rows [n, 6 * 2]
            old, new = (rows.reshape([-1, 6, 2]).swapaxes(0, 1) for rows in (old, new))
        np.testing.assert_array_equal(old[[0, 3, 4]], new[[0, 3, 4]])
        assert all((old[row] != new[row]).any() for row in (1, 2, 5))


@every_optimizer
def test_rows_with_gradient_move_as_with_a_dense_one(name):
    """All rows are touched, some repeatedly: IndexedSlices and the dense gradient agree.

    The table has three rows: beyond that NormalizedMLP takes larger steps where rows are read.
    """
    learned = make(name)
    ids = [0, 1, 2, 1, 1]
    sparse, loss = _embedding(ids, rows=3)
    dense, dense_loss = _embedding(ids, rows=3)
    gradients = tf.gradients(dense_loss, dense)
    trains = [learned.minimize(loss, var_list=sparse),
              learned.apply_gradients(zip(map(tf.convert_to_tensor, gradients), dense))]
    found, expected = run_steps(trains, [sparse, dense])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_slices_without_dense_shape():
    variable = tf.Variable(tf.zeros([3, 2]))
    slices = tf.IndexedSlices(tf.ones([2, 2]), tf.constant([1, 1], tf.int64))
    train = OPTIMIZERS['GlobalLearningRate'](0.5).apply_gradients([(slices, variable)])
    np.testing.assert_array_equal(run_steps(train, variable, 1), [[0, 0], [-1, -1], [0, 0]])


def test_attention_with_slices():
    """Rows without a gradient stay at their true parameters."""
    learned = HierarchicalRNN([4, 3], use_attention=True, init_lr_range=(1e-2, 1e-2))
    variables, loss = _embedding([1, 2])
    train = learned.minimize(loss)
    table, true_table = run_steps(train, [variables[0], learned.true_params(variables)[0]], 3)
    np.testing.assert_array_equal(table[[0, 3, 4, 5]], 1.0)
    np.testing.assert_array_equal(true_table[[0, 3, 4, 5]], 1.0)
    assert (true_table[[1, 2]] != 1.0).all()


def test_dense_gradients_cost_nothing_more():
    """No operation that only sparse gradients need."""
    here = model()
    TrainableAdam().minimize(here.loss)
    kinds = {operation.type for operation in tf.get_default_graph().get_operations()}
    assert not kinds & {'UnsortedSegmentSum', 'ScatterNd', 'Where'}


def test_state_starts_from_loaded_values(make_run_folder):
    """Initial states are meta-parameters: all initializers at once still give the loaded ones."""
    folder = make_run_folder('HierarchicalRNN', {'level_sizes': [4, 3], 'random_seed': 7})
    learned, here = load(folder), model()
    learned.minimize(here.loss)
    vector = learned.named_meta_parameters['LOL/Level1_RNN/init_vector']
    for _ in range(5):
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            columns, expected = session.run([[learned.get_slot(variable, 'tensors/0')
                                              for variable in here.variables], vector])
            for column in columns:
                np.testing.assert_array_equal(column, expected[0])
