"""A learned optimizer changes nothing else in a program: its checks, its seeds, its determinism."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import MODES
from optimizer import OPTIMIZERS, load, shipped_names

DRAWN = {'init_lr_range': (1e-3, 1e-1)}
ARGUMENTS = {
    'HierarchicalRNN': {'level_sizes': [4, 3, 2], 'init_lr_range': (1e-2, 1e-2)},
    'CoordinatewiseRNN': {'cell_sizes': [3], 'cell_cls': 'GRUCell'},
    'RNNProp': {'units': 3}, 'L2ODM': {'units': 3}, 'GlobalLearningRate': {'initial_rate': 0.1},
    'LearningRateSchedule': {'initial_rate': 0.1, 'n_steps': 3}, 'TrainableAdam': {},
    'NormalizedMLP': {}}
VARIANTS = [(name, {}) for name in sorted(ARGUMENTS)] + [
    ('HierarchicalRNN', DRAWN), ('CoordinatewiseRNN', DRAWN),
    ('HierarchicalRNN', {'learnable_rnn_init': False}),
    ('HierarchicalRNN', {'use_attention': True})]
every_variant = pytest.mark.parametrize('name, changes', VARIANTS)
every_shipped_optimizer = pytest.mark.parametrize('name', shipped_names())


def make(name, changes):
    return OPTIMIZERS[name](**dict(ARGUMENTS[name], random_seed=1, **changes))


def minimize(learned):
    """One step on a dense variable and two rows of a table, the step counted."""
    learned.learning_rate = lambda steps: 0.9 ** tf.cast(steps, tf.float32)
    variable = tf.get_variable('w', initializer=[1.0, -2.0])
    table = tf.get_variable('table', initializer=np.ones([5, 2], 'float32'))
    loss = tf.reduce_sum(tf.square(variable)) + tf.reduce_sum(tf.square(tf.gather(table, [0, 3])))
    return learned.minimize(loss, tf.train.get_or_create_global_step())


@every_variant
@pytest.mark.parametrize('tensorflow_mode', MODES[::2], indirect=True)
def test_tf_add_check_numerics_ops_works_beside_it(name, changes, tensorflow_mode):
    """It refuses control flow of version 1, which no optimizer leaves in a graph."""
    train = minimize(make(name, changes))
    check = tf.add_check_numerics_ops()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run([train, check])
    kinds = {operation.type for operation in tf.get_default_graph().get_operations()}
    assert not kinds & {'Switch', 'RefSwitch', 'Merge', 'RefMerge', 'Enter', 'RefEnter', 'Exit'}


def random_operations():
    return [operation.name for operation in tf.get_default_graph().get_operations()
            if 'Random' in operation.type and 'Stateless' not in operation.type]


@every_shipped_optimizer
def test_a_shipped_optimizer_has_no_random_operation(name):
    minimize(load(name))
    assert not random_operations()


@every_variant
def test_a_loaded_optimizer_has_a_random_operation_only_where_it_draws(
        name, changes, make_run_folder):
    learned = load(make_run_folder(name, dict(ARGUMENTS[name], **changes)))
    minimize(learned)
    assert bool(random_operations()) == learned.draws_state


@every_variant
def test_whether_states_are_drawn_is_known(name, changes):
    learned = make(name, changes)
    layout = learned.layout([[3, 2], [4]])
    theta = learned.read_meta_parameters()
    starts = [tf.nest.flatten(learned.initial_state(layout, theta, tf.constant([key, 7])))
              for key in (1, 2)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        one, other = session.run(starts)
    same = all(np.array_equal(*pair) for pair in zip(one, other))
    assert same == (not learned.draws_state)


@pytest.mark.skipif(tf.__version__ < '2', reason='seeds of TensorFlow 1 count all operations')
@every_shipped_optimizer
def test_a_model_that_is_built_after_load_has_the_initial_values_that_it_has_without(name):
    def initial_values(before):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(3)
            before()
            weights = tf.get_variable('weights', [3, 2])
            noise = tf.random_normal([2])
            session.run(tf.global_variables_initializer())
            return session.run([weights, noise])

    for found, expected in zip(initial_values(lambda: load(name)), initial_values(lambda: None)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 cannot be told')
def test_deterministic_operations_need_no_seed_where_nothing_is_random():
    done = subprocess.run([sys.executable, '-c', '''
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
import keras
from optimizer import load, shipped_names
from optimizer.keras import LearnedOptimizer
for name in shipped_names():
    variable = keras.Variable([1.0, -2.0])
    LearnedOptimizer(name).apply([variable.value], [variable])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.compat.v1.get_variable('w', initializer=[1.0, -2.0])
        train = load(name).minimize(tf.reduce_sum(tf.square(variable)))
        session.run(tf.compat.v1.global_variables_initializer())
        session.run(train)
'''], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr


def test_a_new_state_begins_with_restored_meta_parameters(tmp_path, tensorflow_mode):
    """The checkpoint is restored first; only what has no value then is initialized."""
    def program(restore):
        with tf.Graph().as_default(), tf.Session() as session:
            learned = OPTIMIZERS['HierarchicalRNN']([4, 3], random_seed=1 + restore)
            saver = tf.train.Saver(learned.named_meta_parameters)
            variable = tf.get_variable('w', initializer=[1.0, -2.0])
            learned.minimize(tf.reduce_sum(tf.square(variable)))
            if restore:
                saver.restore(session, str(tmp_path / 'model'))
                session.run(tf.variables_initializer(
                    [each for each in tf.global_variables()
                     if each not in learned.meta_parameters]))
            else:
                session.run(tf.global_variables_initializer())
                saver.save(session, str(tmp_path / 'model'))
            return session.run(learned.get_slot(variable, 'tensors/0'))

    np.testing.assert_array_equal(program(False), program(True))
