"""A learned optimizer takes the place of TensorFlow's own: state, replicas, graphs, options.

Many of these are TensorFlow's tests of its optimizers, told anew.
"""

import copy
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimizer
from conftest import every_optimizer, make, small
from optimizer import OPTIMIZERS, load
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.hierarchical_rnn import HierarchicalRNN

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

def steps(train, fetches, count=1, feed=None):
    """The values of `fetches` after some steps in a new session."""
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(count):
            session.run(train, feed)
        return session.run(fetches)


# State goes to its own variable.


def trained(name, path, lists, count=3, made='abc', **changes):
    """Trains a, b, c, each list by a `minimize` of its own, from a checkpoint if there is one.

    Saves what comes out at `path`; returns the values by name.
    """
    start = {'a': [3.0, -2.0, 1.0], 'b': [-30.0, 20.0, 10.0], 'c': [[5.0, 1.0, 0.5]] * 1500}
    with tf.Graph().as_default(), tf.Session() as session:
        variables = {key: tf.get_variable(key, initializer=start[key]) for key in made}
        loss = tf.add_n([scale * tf.reduce_sum(tf.square(variables[key] - 1.0))
                         for key, scale in (('a', 1.0), ('b', 100.0), ('c', 0.1))])
        learned = make(name, **changes)
        train = tf.group(*[learned.minimize(loss, var_list=[variables[key] for key in each])
                           for each in lists])
        saver = tf.train.Saver()
        if os.path.exists(path + '.index'):
            saver.restore(session, path)
        else:
            session.run(tf.global_variables_initializer())
        for _ in range(count):
            session.run(train)
        saver.save(session, path, write_meta_graph=False)
        return session.run(variables)


ORDERS = [(['abc'], ['cab'], 'abc'), (['abc'], ['abc'], 'cba'), (['ab', 'c'], ['c', 'ba'], 'bca')]


@pytest.mark.parametrize('name, changes, before, after, made', [
    ('TrainableAdam', {}) + order for order in ORDERS] + [
    (name, changes) + ORDERS[2] for name, changes in (
        ('HierarchicalRNN', {}), ('HierarchicalRNN', {'use_attention': True}), ('RNNProp', {}),
        ('CoordinatewiseRNN', {}))])
def test_a_restored_state_goes_to_its_own_variable(name, changes, before, after, made, tmp_path):
    whole, halves = str(tmp_path / 'whole'), str(tmp_path / 'halves')
    expected = trained(name, whole, before, 6, **changes)
    trained(name, halves, before, 3, **changes)
    found = trained(name, halves, after, 3, made, **changes)
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


@pytest.mark.parametrize('name', ['HierarchicalRNN', 'RNNProp', 'TrainableAdam'])
def test_a_state_that_is_missing_is_an_error_that_names_the_variable(name, tmp_path):
    trained(name, str(tmp_path / 'model'), ['ab'])
    with pytest.raises(tf.errors.NotFoundError, match='c/%s/' % name):
        trained(name, str(tmp_path / 'model'), ['abc'])


def test_a_new_variable_beside_old_ones_leaves_them_their_state(tmp_path):
    """Everything that a checkpoint has is restored by name; the new variable starts afresh."""
    trained('TrainableAdam', str(tmp_path / 'model'), ['ab'], 3)
    with tf.Graph().as_default(), tf.Session() as session:
        a, b, new = (tf.get_variable(key, [3]) for key in ('a', 'b', 'a_new'))
        learned = make('TrainableAdam')
        learned.minimize(tf.reduce_sum(a + b + new))
        known = {name for name, _ in tf.train.list_variables(str(tmp_path / 'model'))}
        session.run(tf.global_variables_initializer())
        tf.train.Saver([variable for variable in tf.global_variables()
                        if variable.op.name in known]).restore(session, str(tmp_path / 'model'))
        slots = session.run([learned.get_slot(variable, 'state') for variable in (a, b, new)])
    reader = tf.train.load_checkpoint(str(tmp_path / 'model'))
    np.testing.assert_array_equal(slots[0], reader.get_tensor('a/TrainableAdam/state'))
    np.testing.assert_array_equal(slots[1], reader.get_tensor('b/TrainableAdam/state'))
    np.testing.assert_array_equal(slots[2], np.zeros([2, 3]))


@every_optimizer
def test_slots_and_names(name):
    """`get_slot_names`, `get_slot`, `get_name`, and `variables` that include meta-parameters."""
    learned, variable = make(name), tf.get_variable('w', [3])
    learned.minimize(tf.reduce_sum(tf.square(variable)))
    assert learned.get_name() == name
    slots = [learned.get_slot(variable, slot) for slot in learned.get_slot_names()]
    assert slots and all(slot.op.name.startswith('w/%s/' % name) for slot in slots)
    everything = {each.name for each in learned.variables()}
    assert everything == {each.name for each in slots + learned.meta_parameters}
    with tf.Session() as session:  # initialising exactly these suffices
        session.run(tf.variables_initializer(learned.variables() + [variable]))
        assert not session.run(tf.report_uninitialized_variables()).size


@pytest.mark.parametrize('name', ['HierarchicalRNN', 'RNNProp'])
def test_object_checkpoint(name, tmp_path):
    def program(path, count):
        with tf.Graph().as_default(), tf.Session() as session:
            w = tf.get_variable('w', initializer=[3.0, -2.0, 1.0])
            learned = make(name)
            train = learned.minimize(tf.reduce_sum(tf.square(w - 1.0)))
            checkpoint = tf.train.Checkpoint(w=w, optimizer=learned)
            session.run(tf.global_variables_initializer())
            if path is not None:
                status = checkpoint.restore(path)
                status.assert_consumed()
                status.initialize_or_restore(session)
            for _ in range(count):
                session.run(train)
            return session.run(w), checkpoint.save(str(tmp_path / 'model'), session=session)

    whole, _ = program(None, 6)
    _, half = program(None, 3)
    np.testing.assert_array_equal(program(half, 3)[0], whole)


# What the model's variables are, the optimizer goes on from.


def test_values_from_outside_are_gone_on_from_with_attention_too():
    variable = tf.get_variable('w', initializer=[0.5, -1.0])
    learned = HierarchicalRNN([4, 3], use_attention=True, init_lr_range=(1e-2, 1e-2))
    train = learned.apply_gradients([(tf.constant([1.0, 2.0]), variable)])
    true, = learned.true_params([variable])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        before, attended = session.run([true, variable])
        assert (before != attended).any()
        variable.load(attended + 8.0, session)
        np.testing.assert_allclose(session.run(true), before + 8.0, rtol=1e-6)
        session.run(train)
        assert (session.run(variable) > 6.0).all()


@every_optimizer
def test_a_variable_that_is_listed_twice_gets_the_sum_of_its_gradients(name):
    values = []
    for gradients in ([[1.0, -2.0], [3.0, 1.0]], [[4.0, -1.0]]):
        with tf.Graph().as_default():
            variable = tf.get_variable('w', initializer=[0.5, -1.0])
            train = make(name).apply_gradients(
                [(tf.constant(gradient), variable) for gradient in gradients])
            values.append(steps(train, variable, 2))
    np.testing.assert_array_equal(*values)


@every_optimizer
@pytest.mark.parametrize('sparse', [False, True])
def test_the_constraint_is_applied_after_the_step(name, sparse):
    variable = tf.get_variable('w', [3, 2], initializer=tf.ones_initializer(),
                               constraint=lambda value: tf.clip_by_value(value, 0.9999, 1.0001))
    rows = tf.gather(variable, [0, 2]) if sparse else tf.identity(variable)
    value = steps(make(name).minimize(tf.reduce_sum(tf.square(rows) * 50.0)), variable, 3)
    assert (value != 1.0).any()
    np.testing.assert_allclose(value, 1.0, atol=1.001e-4)


def test_the_constraint_holds_for_the_true_parameters_too():
    variable = tf.get_variable('w', initializer=[0.01], constraint=tf.nn.relu)
    learned = HierarchicalRNN([4, 3], use_attention=True, init_lr_range=(1.0, 1.0))
    train = learned.minimize(tf.reduce_sum(variable))
    attended, true = steps(train, [variable, learned.true_params([variable])[0]], 5)
    assert attended >= 0.0 and true >= -1e-6


# Embeddings.


@pytest.mark.parametrize('name', sorted(
    name for name, cls in OPTIMIZERS.items() if issubclass(cls, CoordinatewiseOptimizer)))
@pytest.mark.parametrize('width', [(), (2,)])
def test_a_table_moves_as_if_all_rows_were_computed(name, width):
    """A row sees the gradients of the steps in which it is used, and no zeros in the others."""
    start = np.random.RandomState(0).standard_normal((6,) + width).astype('float32')
    ids = tf.placeholder(tf.int32, [None])
    table = tf.get_variable('table', initializer=start)
    rows = [tf.get_variable('row_%d' % row, initializer=start[row:row + 1]) for row in range(6)]
    learned, alone = make(name), make(name)
    train = learned.minimize(tf.reduce_sum(tf.square(tf.gather(table, ids) - 1.0)),
                             var_list=[table])
    trains = [alone.apply_gradients([(2.0 * (row - 1.0), row)]) for row in rows]
    copy = [there.assign(here) for here, there in zip(learned.meta_parameters,
                                                      alone.meta_parameters)]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(copy)
        session.run(tf.variables_initializer([
            each for each in alone.variables()
            if each.name not in {one.name for one in alone.meta_parameters}]))
        for _ in range(3):  # the same rows each time: the count of steps is the same for all
            session.run([train, trains[1], trains[4]], {ids: [4, 1]})
        found, expected = session.run([table, rows])
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[[0, 2, 3, 5]], start[[0, 2, 3, 5]])


@pytest.mark.parametrize('attention', [False, True])
def test_the_rows_in_use_are_the_whole_table_to_averages(attention):
    """They move as a variable of these rows alone does."""
    start = np.random.RandomState(0).standard_normal((3000, 2)).astype('float32')
    rows = np.array([4, 1, 2999])
    table = tf.get_variable('table', initializer=start)
    alone = tf.get_variable('alone', initializer=start[rows])
    values = []
    for variable, used in ((table, tf.gather(table, np.append(rows, rows[0]))),
                           (alone, tf.gather(alone, [0, 1, 2, 0]) + 0.0 * tf.reduce_sum(alone))):
        learned = HierarchicalRNN([4, 3, 2], init_lr_range=(1e-2, 1e-2), random_seed=1,
                                  use_attention=attention, use_problem_lr_mean=True)
        train = learned.minimize(tf.reduce_sum(tf.square(used - 1.0)), var_list=[variable])
        values.append(steps(train, [variable, learned.true_params([variable])[0]], 3))
    for found, expected in zip(*values):
        np.testing.assert_allclose(found[rows], expected, rtol=1e-5)
        others = np.setdiff1d(np.arange(3000), rows)
        np.testing.assert_array_equal(found[others], start[others])


@pytest.mark.parametrize('name', ['RNNProp', 'HierarchicalRNN', 'NormalizedMLP'])
def test_few_rows_of_a_table_are_computed(name):
    """Nothing in the step has the size of the table."""
    table = tf.get_variable('table', [1000, 8])
    train = make(name).minimize(tf.reduce_sum(tf.gather(table, [3, 5])))
    reached, waiting = set(), [train]
    while waiting:
        operation = waiting.pop()
        if operation not in reached:
            reached.add(operation)
            waiting += [each.op for each in operation.inputs] + list(operation.control_inputs)
    sizes = [output.shape.num_elements() or 0 for operation in reached
             for output in operation.outputs
             if operation.type not in ('Identity', 'ReadVariableOp')
             and not output.dtype._is_ref_dtype]
    assert max(sizes) < 8000 * 2  # the shape (gradient, reading) of the table itself at most


def test_a_table_may_get_dense_gradients_later():
    table = tf.get_variable('table', [4, 2], initializer=tf.ones_initializer())
    learned = make('TrainableAdam')
    sparse = learned.minimize(tf.reduce_sum(tf.gather(table, [1])))
    dense = learned.minimize(tf.reduce_sum(table))
    assert learned.get_slot_names() == ['steps_done', 'table_state']
    value = steps([sparse], table)
    assert (value[1] < 1.0).all() and (value[[0, 2, 3]] == 1.0).all()
    assert (steps([dense], table) < 1.0).all()


# Learning rate and weight decay.


@every_optimizer
def test_learning_rate_multiplies_the_steps(make_run_folder, name):
    folder = make_run_folder(name, small(name))
    start, moved = np.array([0.5, -1.0], 'float32'), []
    for rate in (1.0, 0.5, lambda step: 0.5, lambda step: 0.25 * tf.cast(step + 2, tf.float32),
                 np.float32(0.5)):
        with tf.Graph().as_default():
            variable = tf.get_variable('w', initializer=start)
            train = load(folder, learning_rate=rate).apply_gradients(
                [(tf.constant([1.0, 2.0]), variable)])
            moved.append(steps(train, variable) - start)
    for each in moved[1:]:
        np.testing.assert_allclose(each, 0.5 * moved[0], rtol=1e-4, atol=1e-7)


def test_learning_rate_may_be_a_variable_or_follow_the_global_step(make_run_folder):
    folder = make_run_folder('GlobalLearningRate', {'initial_rate': 1.0})
    step = tf.train.get_or_create_global_step()
    rate = tf.train.piecewise_constant(step, [0, 1], [0.5, 0.25, 0.0])
    variable = tf.get_variable('w', initializer=[1.0])
    train = load(folder, learning_rate=rate).apply_gradients([(tf.constant([1.0]), variable)], step)
    np.testing.assert_allclose(steps(train, variable, 4), [0.25])


def test_a_schedule_counts_the_steps_and_is_resumed(make_run_folder, tmp_path):
    folder = make_run_folder('GlobalLearningRate', {'initial_rate': 1.0})
    variable = tf.get_variable('w', initializer=[0.0])
    train = load(folder, learning_rate=lambda step: tf.cast(step, tf.float32)).apply_gradients(
        [(tf.constant([1.0]), variable)])
    saver = tf.train.Saver()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        session.run(train)
        path = saver.save(session, str(tmp_path / 'model'))
    with tf.Session() as session:
        saver.restore(session, path)
        session.run(train)
        np.testing.assert_array_equal(session.run(variable), [-3.0])


@pytest.mark.parametrize('attention', [False, True])
@pytest.mark.parametrize('sparse', [False, True])
def test_weight_decay_is_decoupled(attention, sparse):
    """The parameters lose learning_rate * weight_decay of themselves beside the learned step."""
    values = []
    for decay in (0.0, 0.1):
        with tf.Graph().as_default():
            variable = tf.get_variable('w', initializer=[[0.5], [-1.0]])
            learned = HierarchicalRNN([4, 3], use_attention=attention, random_seed=1,
                                      init_lr_range=(1e-2, 1e-2))
            if not attention and sparse:
                learned = make('RNNProp')
            learned.learning_rate, learned.weight_decay = 0.5, decay
            gradient = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([0, 1]))
            train = learned.apply_gradients(
                [(gradient if sparse else tf.convert_to_tensor([[1.0], [2.0]]), variable)])
            values.append(steps(train, learned.true_params([variable])[0]))
    np.testing.assert_allclose(values[0] - values[1], 0.05 * np.array([[0.5], [-1.0]]), rtol=1e-4)


# Folders and names.


def test_shipped_optimizers_have_names_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert 'rnnprop' in optimizer.shipped_names()
    for name in ('rnnprop', os.path.join('pretrained', 'rnnprop')):
        assert type(load(name)).__name__ == 'RNNProp'
    with pytest.raises(ValueError, match='no folder nonsense.*hierarchical_rnn, l2o_dm'):
        load('nonsense')


@pytest.mark.parametrize('name', ['a b', 'run[1]', 'back\\slash', 'a*b?', '{a}'])
def test_folders_of_any_name_load(make_run_folder, name, tmp_path):
    folder = str(tmp_path / name)
    shutil.copytree(make_run_folder('GlobalLearningRate', {'initial_rate': 0.5}), folder)
    learned = load(folder)
    os.rename(os.path.join(folder, 'model.ckpt-0.index'), os.path.join(folder, 'b.ckpt-3.index'))
    os.rename(os.path.join(folder, 'model.ckpt-0.data-00000-of-00001'),
              os.path.join(folder, 'b.ckpt-3.data-00000-of-00001'))
    with open(os.path.join(folder, 'checkpoint'), 'w') as file:
        file.write('model_checkpoint_path: "b.ckpt-3"\n')
    latest = load(folder)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(learned.meta_parameters + latest.meta_parameters) == [0.5, 0.5]


@pytest.mark.parametrize('remove', [True, False])
def test_values_are_read_when_load_is_called(make_run_folder, tmp_path, monkeypatch, remove):
    shutil.copytree(make_run_folder('GlobalLearningRate', {'initial_rate': 0.5}),
                    str(tmp_path / 'run'))
    monkeypatch.chdir(tmp_path)
    learned = load('run')
    if remove:
        shutil.rmtree('run')
    monkeypatch.chdir('/')
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(learned.meta_parameters) == [0.5]


# One instance, several graphs.


@pytest.mark.parametrize('name', ['HierarchicalRNN', 'NormalizedMLP', 'RNNProp'])
def test_an_instance_works_in_every_graph(make_run_folder, name):
    learned = load(make_run_folder(name, small(name)))
    values = []
    for _ in range(3):
        with tf.Graph().as_default():
            variable = tf.get_variable('w', initializer=[0.5, -1.0])
            train = learned.minimize(tf.reduce_sum(tf.square(variable)))
            assert all(each.graph is tf.get_default_graph() for each in learned.variables())
            assert all(each.graph is tf.get_default_graph() for each in learned.meta_parameters)
            values.append(steps(train, variable, 3))
    assert (values[0] != [0.5, -1.0]).all()
    for value in values[1:]:
        np.testing.assert_array_equal(value, values[0])
    assert all(each.graph is tf.get_default_graph() for each in learned.meta_parameters)


@pytest.mark.parametrize('again', [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copied_or_pickled_it_is_the_same_optimizer_without_state(make_run_folder, again):
    """Estimators make deep copies of their `params`."""
    folder, values = make_run_folder('RNNProp', {'units': 3}), []
    for make_again in (lambda one: one, again):
        with tf.Graph().as_default():
            learned = load(folder, learning_rate=0.5, weight_decay=0.1)
            other = make_again(learned)
            assert type(other) is type(learned) and other.get_name() == learned.get_name()
            variable = tf.get_variable('w', initializer=[0.5, -1.0])
            values.append(steps(other.minimize(tf.reduce_sum(tf.square(variable))), variable, 3))
    np.testing.assert_array_equal(*values)


# TensorFlow's own tests of optimizers.


def test_wrong_pairs():
    learned, variable = make('TrainableAdam'), tf.get_variable('w', [2])
    with pytest.raises(ValueError, match='No variables provided'):
        learned.apply_gradients([])
    with pytest.raises(ValueError, match='No gradients provided for any variable.*w'):
        learned.apply_gradients([(None, variable)])
    with pytest.raises(ValueError, match='No gradients'):
        learned.minimize(tf.constant(3.0), var_list=[variable])
    with pytest.raises(TypeError, match='Gradient must be'):
        learned.apply_gradients([(object(), variable)])
    with pytest.raises(ValueError, match=r'w:0 has the shape \(2,\), its gradient \(2, 1\)'):
        learned.apply_gradients([(tf.ones([2, 1]), variable)])
    for dtype in (tf.int32, tf.complex64):
        other = tf.get_variable(dtype.name, initializer=tf.ones([2], dtype))
        with pytest.raises(ValueError, match='%s:0 has the type %s: .*float' % ((dtype.name,) * 2)):
            learned.apply_gradients([(tf.ones([2], dtype), other)])


def test_what_would_never_be_called_is_refused():
    class Decayed(OPTIMIZERS['TrainableAdam']):
        def _apply_dense(self, grad, var):
            return super()._apply_dense(grad, var)

    with pytest.raises(TypeError, match='Decayed overrides _apply_dense'):
        Decayed()


def test_no_trainable_variables():
    variable = tf.get_variable('w', [2], trainable=False)
    with pytest.raises(ValueError, match='No.*variables'):
        make('TrainableAdam').minimize(tf.reduce_sum(5.0 * variable))


def test_stopped_gradients():
    first, second = tf.get_variable('first', [2]), tf.get_variable('second', [2])
    pairs = make('TrainableAdam').compute_gradients(tf.reduce_sum(
        first * tf.stop_gradient(second)))
    assert [gradient is None for gradient, _ in pairs] == [False, True]


def test_a_tensor_is_no_variable():
    tensor = tf.ones([2])
    pairs = make('TrainableAdam').compute_gradients(tf.reduce_sum(tensor * 3.0), [tensor])
    assert pairs[0][1] is tensor
    with pytest.raises(NotImplementedError, match='Trying to update a Tensor'):
        make('TrainableAdam').apply_gradients(pairs)


@pytest.mark.parametrize('method', [tf.AggregationMethod.DEFAULT,
                                    tf.AggregationMethod.EXPERIMENTAL_ACCUMULATE_N])
def test_aggregation_methods_and_given_gradients(method):
    variable = tf.get_variable('w', initializer=[1.0, 2.0])
    train = make('GlobalLearningRate', initial_rate=0.1).minimize(
        3.0 * variable, aggregation_method=method, grad_loss=tf.constant([42.0, -42.0]))
    np.testing.assert_allclose(steps(train, variable), [1.0 - 12.6, 2.0 + 12.6], rtol=1e-6)


def test_gradients_that_are_variables():
    variable = tf.get_variable('w', initializer=[1.0, 2.0])
    descent = make('GlobalLearningRate', initial_rate=0.1)
    pairs = descent.compute_gradients(tf.reduce_sum(5.0 * variable))
    kept = [(tf.get_variable('gradient', [2], initializer=tf.zeros_initializer()), variable)]
    train = descent.apply_gradients(kept)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(kept[0][0].assign(pairs[0][0]))
        session.run(train)
        np.testing.assert_allclose(session.run(variable), [0.5, 1.5])


def test_the_step_is_in_the_collection_of_train_ops():
    variable, step = tf.get_variable('w', [2]), tf.train.get_or_create_global_step()
    train = make('RNNProp').minimize(tf.reduce_sum(variable), global_step=step, name='my_train')
    assert tf.get_collection(tf.GraphKeys.TRAIN_OP) == [train] and train.name == 'my_train'


def test_two_sessions_do_not_share_state():
    variable = tf.get_variable('w', initializer=[1.0])
    train = make('TrainableAdam').minimize(tf.reduce_sum(tf.square(variable)))
    np.testing.assert_array_equal(steps(train, variable, 3), steps(train, variable, 3))


def test_no_state_without_a_step():
    make('RNNProp').compute_gradients(tf.reduce_sum(tf.get_variable('w', [2])))
    assert all(each.op.name == 'w' or each.op.name.startswith('LOL/')
               for each in tf.global_variables())


# Replicas.


def test_replicas_stay_equal_in_graph_mode():
    """A program of its own: logical devices are set up before anything else."""
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'tests', 'clients', 'replicas.py')],
                          stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=ROOT))
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def test_replicas_call_apply_gradients():
    strategy = tf.distribute.MirroredStrategy(['/cpu:0'])
    with strategy.scope(), pytest.raises(RuntimeError, match='in the function that the strategy'):
        variable = tf.get_variable('w', [2])
        make('TrainableAdam').apply_gradients([(tf.ones([2]), variable)])


@every_optimizer
@pytest.mark.parametrize('shape', [(), (0, 3), (5000,), (70, 1000)])
def test_variables_of_all_sizes(name, shape):
    """A large tensor is computed in parts, and keeps them under names of their own."""
    variable, learned = tf.get_variable('w', initializer=np.ones(shape, 'float32')), make(name)
    train = learned.minimize(tf.reduce_sum(tf.square(variable)))
    value = steps(train, variable, 2)
    assert value.shape == shape and np.isfinite(value).all() and (value != 1.0).all()
