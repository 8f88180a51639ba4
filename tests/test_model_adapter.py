"""ModelAdapter: ordinary model code as a problem."""

import gc
import random
import weakref

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from l2o.metatraining import config
from optimizer.global_learning_rate import GlobalLearningRate
from problems import problem_generator as pg
from problems.datasets import Dataset
from problems.model_adapter import ModelAdapter
from problems.problem_spec import Spec


def rosenbrock(x, y):
    return (1 - x) ** 2 + 100 * (y - x ** 2) ** 2


def shared_weights(use_resource=None):
    """w is used twice, v comes from tf.Variable, c is a constant drawn at random."""
    def make_loss():
        constant = tf.get_variable('c', [], trainable=False, use_resource=use_resource,
                                   initializer=tf.random_uniform_initializer(1.0, 2.0))
        loss = constant * tf.Variable(tf.ones([2]), name='v', use_resource=use_resource)
        for reuse in (False, True):
            with tf.variable_scope('layer', reuse=reuse):
                loss *= tf.get_variable('w', [2], use_resource=use_resource)
        return tf.reduce_sum(loss)

    return make_loss, None


def test_rosenbrock_is_the_problem_of_the_same_name():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
    assert problem.param_shapes == [(1,), (1,)]
    with tf.Graph().as_default(), tf.Session() as session:
        parameters = [tf.constant([0.5]), tf.constant([-2.0])]
        objective = problem.objective(parameters)
        gradients = problem.gradients(objective, parameters)
        session.run(tf.local_variables_initializer())
        value, gradient = session.run([objective, gradients])
    np.testing.assert_allclose(value, rosenbrock(0.5, -2.0), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(gradient), [449.0, -450.0], rtol=1e-5)


def test_init_fn_initializes_the_constants():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
    with tf.Graph().as_default(), tf.Session() as session:
        objective = problem.objective([tf.constant([1.0]), tf.constant([2.0])])
        problem.init_fn(session)
        assert session.run(objective) == 100.0


def test_variables_are_local_and_hidden_from_optimizers():
    with tf.Graph().as_default():
        problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)
        assert not tf.local_variables()
        problem.objective(problem.init_tensors())
        problem.objective(problem.init_tensors())
        assert [variable.op.name for variable in tf.local_variables()] == ['adapted_model/c']
        assert not tf.global_variables() and not tf.trainable_variables()


def test_two_adapters_of_one_model_live_in_one_graph():
    with tf.Graph().as_default(), tf.Session() as session:
        problems = [ModelAdapter(pg.make_rosenbrock_loss_and_init) for _ in range(2)]
        objectives = [problem.objective([tf.ones([1]), tf.ones([1])]) for problem in problems]
        session.run(tf.local_variables_initializer())
        assert session.run(objectives) == [0.0, 0.0]


@pytest.mark.parametrize('use_resource', [False, True])
def test_shared_and_plain_variables_are_replaced(use_resource):
    problem = ModelAdapter(shared_weights, use_resource=use_resource)
    assert problem.param_shapes == [(2,), (2,)]
    with tf.Graph().as_default(), tf.Session() as session:
        initial = problem.init_tensors()
        parameters = [tf.constant([1.0, 2.0]), tf.constant([3.0, 5.0])]
        objectives = [problem.objective(parameters) for _ in range(2)]
        session.run(tf.local_variables_initializer())
        values, initial = session.run([objectives, initial])
    assert values[0] == values[1]
    assert 59.0 <= values[0] <= 118.0
    np.testing.assert_array_equal(initial[0], [1.0, 1.0])


def test_descends_inside_a_while_loop():
    problem = ModelAdapter(pg.make_rosenbrock_loss_and_init)

    def step(count, *parameters):
        objective = problem.objective(list(parameters))
        gradients = problem.gradients(objective, parameters)
        moved = [p - 1e-3 * g for p, g in zip(parameters, gradients)]
        return [count + 1] + moved

    with tf.Graph().as_default(), tf.Session() as session:
        start = [tf.constant(0), tf.constant([0.0]), tf.constant([0.5])]
        final = tf.while_loop(lambda count, *_: count < 50, step, start)
        session.run(tf.local_variables_initializer())
        _, x, y = session.run(final)
    assert rosenbrock(x[0], y[0]) < rosenbrock(0.0, 0.5) / 10


def test_scopes_made_unique_are_no_trouble():
    def build():
        def make_loss():
            with tf.variable_scope(None, default_name='layer'):
                return tf.reduce_sum(tf.get_variable('w', [3]) ** 2)

        return make_loss, None

    problem = ModelAdapter(build)
    with tf.Graph().as_default(), tf.Session() as session:
        for _ in range(3):
            objective = problem.objective([tf.fill([3], 2.0)])
        assert session.run(objective) == 12.0


def model(make_loss, make_init_fn=None):
    """An adapter of a loss."""
    return ModelAdapter(lambda: (make_loss, make_init_fn))


def ones(name, shape=(1,), **options):
    return tf.get_variable(name, shape, initializer=tf.ones_initializer(), **options)


def square_at_2(value):
    return tf.reduce_sum((value - 2) ** 2)


def with_regularizer():
    w = ones('w', regularizer=lambda w: 10 * tf.reduce_sum(w ** 2))
    return square_at_2(w) + tf.losses.get_regularization_loss()


def with_regularizer_of_a_scope():
    with tf.variable_scope('layer', regularizer=lambda w: 10 * tf.reduce_sum(w ** 2)):
        w = ones('w')
    with tf.variable_scope('layer', reuse=True):  # no second loss
        assert tf.get_variable('w') is w
    return square_at_2(w) + tf.losses.get_regularization_loss('layer')


def with_total_loss():
    tf.losses.mean_squared_error([2.0], ones('w'), weights=1.0)
    return tf.losses.get_total_loss()


def with_a_collection_of_its_own():
    w = ones('w')
    tf.add_to_collection('losses', square_at_2(w))
    tf.add_to_collection('losses', 10 * tf.reduce_sum(w ** 2))
    return tf.add_n(tf.get_collection('losses'))


def with_trainable_variables():
    with tf.variable_scope('layer'):
        w = ones('w')
    unused = tf.get_variable('moving_mean', [1], trainable=False)
    assert tf.trainable_variables() and unused not in tf.trainable_variables()
    assert len(tf.global_variables()) == 2
    return square_at_2(w) + sum(10 * tf.reduce_sum(v ** 2) for v in tf.trainable_variables('layer')
                                if 'bias' not in v.name)


@pytest.mark.parametrize('make_loss, value, gradient', [
    (with_regularizer, 91, 62), (with_regularizer_of_a_scope, 91, 62), (with_total_loss, 1, 2),
    (with_a_collection_of_its_own, 91, 62), (with_trainable_variables, 91, 62)])
@pytest.mark.parametrize('in_loop', [False, True])
def test_losses_in_collections_are_right_at_every_build(make_loss, value, gradient, in_loop,
                                                        tensorflow_mode):
    problem = model(make_loss)
    for collection in (tf.GraphKeys.REGULARIZATION_LOSSES, tf.GraphKeys.LOSSES, 'losses'):
        tf.add_to_collection(collection, tf.constant(1000.0))  # of somebody else

    def build(*unused):
        at = [tf.constant([3.0])]
        found = problem.objective(at)
        return [found, problem.gradients(found, at)[0][0]]

    collections = {key: list(tf.get_collection(key)) for key in tf.get_default_graph().collections
                   if key != tf.GraphKeys.WHILE_CONTEXT}
    builds = [tf.while_loop(lambda count, *_: count < 1, lambda count, *_: [count + 1] + build(),
                            [0, 0.0, 0.0])[1:] if in_loop else build() for _ in range(3)]
    with tf.Session() as session:
        session.run(tf.local_variables_initializer())
        for found in session.run(builds):
            np.testing.assert_allclose(found, [value, gradient])
    for key, before in collections.items():
        assert tf.get_collection(key) == before or key == tf.GraphKeys.LOCAL_VARIABLES


def test_models_find_the_names_of_an_empty_graph():
    names = []

    def make_loss():
        with tf.variable_scope(None, default_name='layer'):
            w = ones('w')
        names.append(tf.trainable_variables()[0].name)
        assert tf.trainable_variables('layer/w') and not tf.trainable_variables('adapted')
        return tf.reduce_sum(w)

    problem = model(make_loss)
    with tf.name_scope('outside'), tf.variable_scope('outside'):
        for _ in range(2):
            problem.objective([tf.ones([1])])
    assert names == ['layer/w:0', 'layer/w:0', 'layer/w_1:0']


@pytest.mark.parametrize('dtype', [tf.float64, tf.float16])
def test_other_floating_point_types_are_computed_as_the_model_wants(dtype):
    def make_loss():
        w = tf.get_variable('w', [2], dtype, tf.ones_initializer(dtype))
        return tf.reduce_sum((w - tf.constant(0.5, dtype)) ** 2)

    problem = model(make_loss)
    with tf.Session() as session:
        at = [tf.constant([2.0, 3.0])]
        value = problem.objective(at)
        gradient, = problem.gradients(value, at)
        assert value.dtype == gradient.dtype == tf.float32
        np.testing.assert_allclose(session.run(value), 8.5)
        np.testing.assert_allclose(session.run(gradient), [3.0, 5.0])
    start, = problem.initial_values(1)
    assert start.dtype == np.float32 and start.tolist() == [1.0, 1.0]


def test_partitioned_variables_are_one_parameter():
    def make_loss():
        with tf.variable_scope('layer', partitioner=tf.fixed_size_partitioner(2)):
            table = tf.get_variable('table', [4, 3], initializer=tf.constant_initializer(2.0))
        return tf.reduce_sum(tf.nn.embedding_lookup(table, [0, 3]) ** 2)

    problem = model(make_loss)
    assert problem.param_shapes == [(4, 3)]
    with tf.Session() as session:
        at = tf.reshape(tf.range(12.0), [4, 3])
        assert session.run(problem.objective([at])) == 5 + 81 + 100 + 121
    np.testing.assert_array_equal(problem.initial_values(0)[0], np.full([4, 3], 2.0))


def initialized_at_100(variables):
    operations = [tf.assign(variable, tf.fill(variable.shape, 100.0)) for variable in variables]
    return lambda session: session.run(operations)


def around_3():
    def make_loss():
        w = tf.get_variable('w', [2], initializer=tf.zeros_initializer())
        return tf.reduce_sum((w - 3.0) ** 2)
    return make_loss, initialized_at_100


def test_a_custom_initializer_decides_where_a_test_starts():
    values, _, _ = metaopt.test_optimizer(tf.train.GradientDescentOptimizer(0.01),
                                          ModelAdapter(around_3), 1)
    assert values == [18818.0]


def test_a_custom_initializer_decides_where_training_starts(tmp_path):
    row = (Spec(ModelAdapter, (around_3,), {}), None, None)
    result = metaopt.train_optimizer(
        str(tmp_path), Spec(GlobalLearningRate, (1e-12,), {}), [row], 1, 1, lambda: 1, lambda: 1,
        seed=7, out=None,
        validation=config.Validation(1, 1))
    assert result.best_cost == 18818.0


def test_a_custom_initializer_sees_parameters_first_and_decides_constants():
    def make_loss():
        constant = tf.get_variable('c', [], trainable=False)
        return tf.reduce_sum(constant * ones('w'))

    def make_init_fn(variables):
        assert [variable.op.name for variable in variables] == ['w', 'c']
        return initialized_at_100(variables)

    problem = model(make_loss, make_init_fn)
    with tf.Session() as session:
        objective = problem.objective(problem.init_tensors(1))
        problem.init_fn(session)
        assert session.run(objective) == 100.0 ** 2
        tf.get_default_graph().finalize()
        problem.init_fn(session)


def test_a_checkpoint_initializes_a_model_by_its_own_names(tmp_path):
    with tf.Graph().as_default(), tf.Session() as session:
        variable = tf.get_variable('layer/w', initializer=[7.0, 8.0])
        session.run(variable.initializer)
        path = tf.train.Saver([variable]).save(session, str(tmp_path / 'model'))

    def make_loss():
        with tf.variable_scope('layer'):
            return tf.reduce_sum(tf.get_variable('w', [2]))

    def make_init_fn(variables):
        saver = tf.train.Saver(variables)
        return lambda session: saver.restore(session, path)

    problem = model(make_loss, make_init_fn)
    with tf.Session() as session:
        assert session.run(problem.objective(problem.init_tensors())) == 15.0


def random_model():
    def make_loss():
        scale = tf.get_variable('scale', [3], trainable=False,
                                initializer=tf.random_normal_initializer())
        w = tf.get_variable('w', [3], initializer=tf.random_normal_initializer())
        return tf.reduce_sum(scale * (w - 2) ** 2)
    return make_loss, None


def test_starts_and_constants_depend_on_seeds_alone():
    def run(problem, built_before, seed):
        with tf.Graph().as_default(), tf.Session() as session:
            tf.set_random_seed(built_before)
            for _ in range(built_before):
                tf.random_normal([2])
            objective = problem.objective([tf.zeros([3])])
            initial = problem.init_tensors(seed)
            session.run(tf.local_variables_initializer())
            return session.run([objective, initial[0]])

    spec = Spec(ModelAdapter, (random_model,), {})
    objective, start = run(spec.build(4), 1, 2)
    np.testing.assert_array_equal(start, spec.build(5).initial_values(2)[0])
    again = run(spec.build(4), 3, 3)
    assert again[0] == objective and not np.array_equal(again[1], start)
    assert run(spec.build(5), 1, 2)[0] != objective
    problem = spec.build(4)
    drawn = [problem.initial_values()[0] for _ in range(2)]
    assert not np.array_equal(*drawn)


def test_models_that_draw_from_the_global_generators_repeat():
    def make_loss():
        w = tf.Variable(np.random.randn(3).astype('float32') + random.random())
        return tf.reduce_sum(w * np.random.randn(3).astype('float32'))

    before = random.getstate(), np.random.get_state()[1].copy()
    problem = model(make_loss)
    first, again, other = (problem.initial_values(seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    with tf.Session() as session:
        values = session.run([problem.objective([tf.ones([3])]) for _ in range(2)])
    assert values[0] == values[1]
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_layers_of_keras_are_parts_of_models():
    def make_loss():
        hidden = tf.keras.layers.Dense(3, activation='relu')(tf.ones([5, 4]))
        return tf.reduce_mean(tf.keras.layers.Dense(1)(hidden) ** 2)

    problem = model(make_loss)
    assert problem.param_shapes == [(4, 3), (3,), (3, 1), (1,)]
    for one, same, other in zip(*(problem.initial_values(seed) for seed in (1, 1, 2))):
        np.testing.assert_array_equal(one, same)
        assert one.ndim == 1 or not np.array_equal(one, other)
    with tf.Session() as session:
        at = [tf.ones(shape) for shape in problem.param_shapes]
        assert session.run(problem.objective(at)) == (3 * (4 + 1) + 1) ** 2


def test_initial_tensors_without_a_seed_are_new_at_every_evaluation():
    with tf.Session() as session:
        initial = ModelAdapter(random_model).init_tensors()
        assert not np.array_equal(session.run(initial), session.run(initial))


def test_a_model_inside_other_problems():
    inside = Spec(ModelAdapter, (around_3,), {})
    wrapped = Spec(pg.Rescale, (inside,), {'scale': 2.0})
    problem = Spec(pg.SumTask, ([inside, wrapped],), {}).build(1)
    with tf.Session() as session:
        objective = problem.objective(problem.init_tensors(1))
        problem.init_fn(session)
        assert session.run(objective) == 2 * 18818.0


def test_no_graph_is_kept_alive():
    problem = ModelAdapter(random_model)
    graphs = []
    for _ in range(3):
        with tf.Graph().as_default() as graph:
            graphs.append(weakref.ref(graph))
            problem.objective(problem.init_tensors())
            problem.initial_values(1)
    del graph
    gc.collect()
    assert [reference() for reference in graphs] == [None] * 3


def dropout():
    return tf.reduce_sum(tf.nn.dropout(ones('w'), rate=0.5))


def noise_in_a_branch():
    w = ones('w')
    return tf.cond(w[0] > 0, lambda: tf.reduce_sum(w + tf.random_normal([1], name='noise')),
                   lambda: tf.reduce_sum(w))


def shuffled():
    return tf.reduce_sum(ones('w', [3]) * tf.random_shuffle(tf.range(3.0)))


@pytest.mark.parametrize('make_loss, name', [
    (dropout, 'RandomUniform'), (noise_in_a_branch, 'noise'), (shuffled, 'RandomShuffle')])
def test_a_loss_that_draws_from_a_state_is_refused(make_loss, name, tensorflow_mode):
    with pytest.raises(ValueError, match='draws random numbers: operation .*%s' % name):
        model(make_loss)


def of_an_iterator():
    data = tf.data.Dataset.from_tensor_slices([1.0, 2.0]).repeat()
    return tf.reduce_sum(ones('w') * tf.data.make_one_shot_iterator(data).get_next())


def of_a_queue():
    queue = tf.FIFOQueue(9, tf.float32, [[]])
    return tf.reduce_sum(ones('w') * queue.dequeue())


def of_python():
    noise = tf.py_func(np.random.standard_normal, [], tf.double)
    return tf.reduce_sum(ones('w') * tf.cast(noise, tf.float32))


@pytest.mark.parametrize('make_loss, name', [
    (of_an_iterator, 'IteratorGetNext'), (of_a_queue, 'QueueDequeue'), (of_python, 'PyFunc')])
def test_a_loss_that_reads_other_data_each_time_is_refused(make_loss, name):
    with pytest.raises(ValueError, match='other data each time: operation .*%s' % name):
        model(make_loss)


def test_a_generator_is_refused():
    generator = getattr(tf.random, 'Generator', None) or tf.random.experimental.Generator
    with pytest.raises(ValueError, match='draws random numbers: operation'):
        model(lambda: tf.reduce_sum(ones('w') * generator.from_seed(1).normal([1])))


def test_stateless_random_numbers_are_welcome():
    problem = model(lambda: tf.reduce_sum(ones('w') * tf.random.stateless_uniform([1], [1, 2])))
    with tf.Session() as session:
        values = [session.run(problem.objective([tf.ones([1])])) for _ in range(2)]
    assert values[0] == values[1]


def changing_model():
    """Builds with other variables each time."""
    count = [0]

    def make_loss():
        count[0] += 1
        return tf.reduce_sum(ones('w%d' % count[0]))
    return make_loss


def shrinking_model():
    layers = []

    def make_loss():
        loss = tf.reduce_sum(ones('always'))
        if not layers:
            layers.append(ones('once'))
        return loss
    return make_loss


@pytest.mark.parametrize('make_loss, message', [
    (lambda: tf.constant(1.0), 'no trainable'),
    (lambda: None, 'must return a floating-point tensor, not None'),
    (lambda: tf.cast(tf.reduce_sum(ones('w')), tf.int32), 'must return a floating-point tensor'),
    (lambda: ones('w', [32]) ** 2, r'one number, not .* of the shape \[32\]: take the mean')])
def test_what_is_no_loss_is_refused(make_loss, message):
    with pytest.raises(ValueError, match=message):
        model(make_loss)


@pytest.mark.parametrize('make_loss, message', [
    (changing_model(), 'creates the variable w2 where it created w1'),
    (shrinking_model(), 'creates the variable once at its first call only')])
def test_a_model_that_changes_is_refused(make_loss, message):
    problem = model(make_loss)
    with pytest.raises(ValueError, match=message):
        problem.objective([tf.zeros(shape) for shape in problem.param_shapes])


def test_the_number_of_parameters_is_checked():
    with tf.Graph().as_default(), pytest.raises(ValueError, match='2 parameter tensors, not 1'):
        ModelAdapter(pg.make_rosenbrock_loss_and_init).objective([tf.zeros([1])])


# Mini-batches.


def model_of_batches():
    def make_loss(data, labels):
        weights = tf.get_variable('weights', [3, 1])
        return tf.reduce_mean(tf.square(tf.matmul(data, weights)[:, 0] - labels))

    return make_loss, None


def test_a_loss_of_a_mini_batch_gets_data_and_labels():
    problem = ModelAdapter(model_of_batches, example_shape=(3,), label_type='float32')
    assert problem.needs_data and problem.param_shapes == [(3, 1)]
    data = np.arange(12.0).reshape(4, 3)
    dataset = Dataset(data, data.sum(1) + 0.5)
    weights, = problem.initial_values(1)
    with tf.Graph().as_default(), tf.Session() as session:
        loss = problem.objective([tf.constant(weights)], tf.constant(dataset.data),
                                 tf.constant(dataset.labels))
        np.testing.assert_allclose(
            session.run(loss), np.square(data.dot(weights)[:, 0] - dataset.labels).mean(),
            rtol=1e-5)
    with tf.Graph().as_default():
        losses, _, _ = metaopt.test_optimizer(
            tf.train.AdamOptimizer(0.05), problem, 30, dataset, 2, seed=1)
    assert losses[-1] < losses[0]
