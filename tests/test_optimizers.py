"""Every optimizer of the table: meta-parameters, training a model, the unroll, meta-training."""

import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import every_optimizer, make, small
from l2o.techniques import regularization
from optimizer import OPTIMIZERS, inner_loop, rnn_cells, trainable_optimizer, unroll
from optimizer.hierarchical_rnn import PRESET, HierarchicalRNN
from optimizer.layout import Layout
from optimizer.trainable_adam import TrainableAdam
from problems import datasets
from problems import problem_generator as pg
from problems.problem import Problem

START = [np.float32(0.5), np.array([1.0, -2.0, 0.3], 'float32'),
         np.array([[0.1, -0.4], [1.5, 0.2]], 'float32')]

#: Names and shapes of the published checkpoint: level sizes [10, 20, 20] and the flags' defaults.
PUBLISHED = {
    'Layer2_RNN/BiasGRUCell/candidate/Affine/Bias': [20],
    'Layer2_RNN/BiasGRUCell/candidate/Affine/Matrix': [40, 20],
    'Layer2_RNN/BiasGRUCell/gates/Affine/Bias': [40],
    'Layer2_RNN/BiasGRUCell/gates/Affine/Matrix': [40, 40],
    'Level0_RNN/init_vector': [1, 10],
    'Level1_RNN/init_vector': [1, 20],
    'Level2_RNN/init_vector': [1, 20],
    'PerTensor/GradsToDelta/Matrix': [4, 1],
    'PerTensor/Layer0_RNN/BiasGRUCell/candidate/Affine/Bias': [10],
    'PerTensor/Layer0_RNN/BiasGRUCell/candidate/Affine/Matrix': [22, 10],
    'PerTensor/Layer0_RNN/BiasGRUCell/gates/Affine/Bias': [20],
    'PerTensor/Layer0_RNN/BiasGRUCell/gates/Affine/Matrix': [22, 20],
    'PerTensor/Layer0_RNN/Global/Affine/Bias': [30],
    'PerTensor/Layer0_RNN/Global/Affine/Matrix': [20, 30],
    'PerTensor/Layer0_RNN/Param/Affine/Bias': [30],
    'PerTensor/Layer0_RNN/Param/Affine/Matrix': [20, 30],
    'PerTensor/Layer1_RNN/Affine/Bias': [60],
    'PerTensor/Layer1_RNN/Affine/Matrix': [20, 60],
    'PerTensor/Layer1_RNN/BiasGRUCell/candidate/Affine/Bias': [20],
    'PerTensor/Layer1_RNN/BiasGRUCell/candidate/Affine/Matrix': [42, 20],
    'PerTensor/Layer1_RNN/BiasGRUCell/gates/Affine/Bias': [40],
    'PerTensor/Layer1_RNN/BiasGRUCell/gates/Affine/Matrix': [42, 40],
    'PerTensor/learning_rate_momentum_logit': [],
    'PerTensor/param_stepsize_offset': [],
    'inp_decay_bias': [1], 'inp_decay_weights': [10, 1],
    'learning_rate_bias': [1], 'learning_rate_weights': [10, 1],
    'scl_decay_bias': [1], 'scl_decay_weights': [10, 1],
    'update_weights': [10, 1],
}


class Mixed(Problem):
    """A well-behaved objective of a scalar, a vector and a matrix that all depend on each other."""

    def __init__(self):
        super().__init__([value.shape for value in START])

    def _objective(self, parameters, data, labels):
        scalar, vector, matrix = parameters
        return (tf.square(scalar - 1.0) + tf.reduce_sum(tf.square(vector - scalar))
                + tf.reduce_sum(tf.square(matrix - vector[:2])) + 0.1)


def initialize(session):
    session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])


class Model:
    """The problem `Mixed` as somebody's model, trained by `apply_gradients`."""

    def __init__(self, optimizer, problem=None, start=START):
        self.optimizer, self.problem = optimizer, problem or Mixed()
        self.variables = [tf.Variable(value, name='model', dtype=tf.float32) for value in start]
        self.loss = self.problem.objective(self.variables)
        self.train = optimizer.minimize(self.loss)

    def trajectory(self, session, steps):
        """The parameters after each step."""
        path = []
        for _ in range(steps):
            session.run(self.train)
            path.append(session.run(self.variables))
        return path


class Unrolled:
    """An unroll of an optimizer on a problem."""

    def __init__(self, optimizer, problem=None, start=START, **arguments):
        self.graph = optimizer.train(problem or Mixed(), **arguments)
        self._start = start

    def feed(self, steps, first=True, **more):
        feed = {self.graph.objective_weights: np.full(steps, 1.0 / steps),
                self.graph.batches: np.zeros([steps, 0]), self.graph.first_unroll: first}
        feed.update(zip(self.graph.initial_params, self._start))
        feed.update({getattr(self.graph, name): value for name, value in more.items()})
        return feed

    def run(self, session, steps, first=True, **more):
        """Runs and carries on; returns what is handed to the next unroll."""
        return session.run([self.graph.next_state, self.graph.carry],
                           self.feed(steps, first, **more))[0]


def assert_all_close(found, expected, **tolerances):
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_allclose(one, other, **tolerances)


def assert_all_equal(found, expected):
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(expected)):
        np.testing.assert_array_equal(one, other)


# Meta-parameters.


@every_optimizer
def test_constructor_makes_all_meta_parameters(name):
    optimizer = make(name)
    made = tf.global_variables()
    assert {variable.name for variable in optimizer.meta_parameters} == {
        variable.name for variable in made}
    assert list(optimizer.named_meta_parameters) == [variable.op.name for variable in made]
    assert all(variable.op.name.startswith('LOL/') for variable in made)
    assert all(variable.dtype.base_dtype == tf.float32 for variable in made)
    Model(optimizer)
    Unrolled(optimizer)
    assert len(optimizer.meta_parameters) == len(made)
    assert not set(made) & set(tf.trainable_variables())


def test_hierarchical_rnn_has_the_published_meta_parameters():
    optimizer = HierarchicalRNN(**PRESET)
    assert {name: variable.shape.as_list()
            for name, variable in optimizer.named_meta_parameters.items()} == {
                'LOL/' + name: shape for name, shape in PUBLISHED.items()}


@pytest.mark.parametrize('name, units', [('RNNProp', 20), ('L2ODM', 2)])
def test_layers_are_named_as_published(name, units):
    optimizer = OPTIMIZERS[name]()
    shapes = {key: variable.shape.as_list()
              for key, variable in optimizer.named_meta_parameters.items()}
    scope = 'LOL/%s/' % name
    expected = {'lstm_1/w_gates': [units + 20, 80], 'lstm_1/b_gates': [80],
                'lstm_2/w_gates': [40, 80], 'lstm_2/b_gates': [80],
                'linear/w': [20, 1], 'linear/b': [1]}
    if name == 'RNNProp':
        expected.update({'input_projection/w': [2, 20], 'input_projection/b': [20]})
    assert shapes == {scope + key: shape for key, shape in expected.items()}


# Training a model.


@every_optimizer
def test_minimize_trains(name):
    model = Model(make(name))
    step = tf.train.get_or_create_global_step()
    train = model.optimizer.minimize(model.loss, global_step=step)
    assert isinstance(train, tf.Operation)
    with tf.Session() as session:
        initialize(session)
        before = session.run(model.variables)
        for _ in range(5):
            session.run(train)
        assert session.run(step) == 5
        after = session.run(model.variables)
    for one, other in zip(before, after):
        assert np.isfinite(other).all() and (one != other).all()


@every_optimizer
def test_save_restore_and_repetition_are_exact(name, tmp_path):
    """The same run twice, and a run saved and continued in a new session, agree bit for bit."""
    model = Model(make(name))
    saver = tf.train.Saver()
    with tf.Session() as session:
        initialize(session)
        start = saver.save(session, str(tmp_path / 'start'))
        path = model.trajectory(session, 3)
        middle = saver.save(session, str(tmp_path / 'middle'))
        path += model.trajectory(session, 3)
    for checkpoint, expected in ((start, path), (middle, path[3:])):
        with tf.Session() as session:
            saver.restore(session, checkpoint)
            assert_all_equal(model.trajectory(session, len(expected)), expected)


def test_trainable_adam_equals_adam():
    models = [Model(TrainableAdam(1e-2, 0.8, 0.99, 1e-6)),
              Model(tf.train.AdamOptimizer(1e-2, 0.8, 0.99, 1e-6))]
    with tf.Session() as session:
        initialize(session)
        found, expected = (model.trajectory(session, 20) for model in models)
    assert_all_close(found, expected, rtol=2e-5, atol=1e-6)


# The unroll.


@every_optimizer
def test_unroll_continues_and_equals_apply_gradients(name):
    """Two unrolls of 3 steps, one of 6, and 6 times `apply_gradients` reach the same point."""
    optimizer = make(name)
    model, unrolled = Model(optimizer), Unrolled(optimizer)
    with tf.Session() as session:
        initialize(session)
        path = model.trajectory(session, 6)
        once = unrolled.run(session, 6)
        for steps in range(1, 6):
            assert_all_close(unrolled.run(session, steps).params, path[steps - 1], rtol=2e-5,
                             atol=1e-6)
        unrolled.run(session, 3)
        twice = unrolled.run(session, 3, first=False)
        assert_all_close(session.run(unrolled.graph.state), twice, rtol=0)
    assert_all_close(once.params, path[5], rtol=2e-5, atol=1e-6)
    assert_all_close(twice, once, rtol=2e-5, atol=1e-6)


@every_optimizer
def test_meta_training_lowers_the_meta_objective(name):
    optimizer = make(name)
    problem = pg.Quadratic(3, random_seed=2)
    unrolled = Unrolled(optimizer, problem, start=[np.ones([3, 1], 'float32')])
    gradients = tf.gradients(unrolled.graph.meta_objective, optimizer.meta_parameters)
    assert all(gradient is not None for gradient in gradients)
    step = tf.train.AdamOptimizer(0.02).apply_gradients(zip(gradients, optimizer.meta_parameters))
    with tf.Session() as session:
        initialize(session)
        feed = unrolled.feed(8)
        for gradient, key in zip(session.run(gradients, feed), optimizer.named_meta_parameters):
            assert np.isfinite(gradient).all(), key
            assert np.any(gradient), key
        costs = [session.run([unrolled.graph.meta_objective, step], feed)[0] for _ in range(8)]
        costs.append(session.run(unrolled.graph.meta_objective, feed))
    assert np.isfinite(costs).all()
    assert costs[-1] < costs[0]


def test_reset_state_alone_keeps_the_parameters():
    optimizer = make('TrainableAdam')
    unrolled = Unrolled(optimizer)
    with tf.Session() as session:
        initialize(session)
        reached = unrolled.run(session, 4)
        again = unrolled.run(session, 2, first=False, reset_state=True)
        assert again.optimizer.steps_done == 2
        fresh = Unrolled(optimizer, start=reached.params)
        session.run(tf.local_variables_initializer())
        fresh = fresh.run(session, 2)
    assert_all_close(again.params, fresh.params, rtol=1e-6)
    assert again.initial_objective == reached.initial_objective


def test_unroll_stops_early_where_the_objective_explodes():
    """The step at which the bound is first exceeded is the last one."""
    optimizer = make('GlobalLearningRate', initial_rate=1.5, obj_train_max_multiplier=20)
    unrolled = Unrolled(optimizer)
    endless = Unrolled(make('GlobalLearningRate', initial_rate=1.5))
    with tf.Session() as session:
        initialize(session)
        objectives, steps, cost = session.run(
            [unrolled.graph.problem_objectives, unrolled.graph.steps_taken,
             unrolled.graph.meta_objective], unrolled.feed(10))
        whole = session.run(endless.graph.problem_objectives, endless.feed(10))
    bound = 20 * whole[0]
    assert 1 < steps < 10
    assert len(objectives) == steps + 1
    np.testing.assert_allclose(objectives, whole[:steps + 1], rtol=1e-5)
    assert objectives[-1] > bound and (objectives[:-1] <= bound).all()
    np.testing.assert_allclose(cost, np.mean(np.log(objectives / objectives[0] + 1e-6)), rtol=1e-5)


@pytest.mark.parametrize('multiplier, steps, expected', [
    (20, 10, True), (20, 1, False), (1e30, 10, False), (0, 10, False), (-2.5, 10, False)])
def test_unroll_says_whether_the_objective_exploded(multiplier, steps, expected):
    """Also where it did at the last step; without a positive multiplier nothing ends an unroll."""
    unrolled = Unrolled(make('GlobalLearningRate', initial_rate=1.5,
                             obj_train_max_multiplier=multiplier))
    with tf.Session() as session:
        initialize(session)
        graph = unrolled.graph
        ended, taken = session.run([graph.ended_early, graph.steps_taken], unrolled.feed(steps))
        assert (ended, taken < steps) == (expected, expected)
        if expected:
            assert session.run(graph.ended_early, unrolled.feed(taken))


class Shifted(Problem):
    """(x - 2)^2 + shift."""

    def __init__(self, shift):
        super().__init__([(1,)])
        self.shift = shift

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(tf.square(parameters[0] - 2.0)) + self.shift


def slopes_below(shift, **more):
    """What a larger learning rate, which is better, adds to meta- and imitation objective."""
    optimizer = make('GlobalLearningRate', use_log_objective=more.pop('log'),
                     use_numerator_epsilon=more.pop('epsilon', False))
    unrolled = Unrolled(optimizer, Shifted(shift), [[5.0]])
    graph = unrolled.graph
    gradients = [tf.gradients(tf.where(graph.imitate, graph.imitation_objective,
                                       graph.meta_objective), optimizer.meta_parameters)[0],
                 graph.meta_objective]
    with tf.Session() as session:
        initialize(session)
        return session.run(gradients, unrolled.feed(5, **more))


@pytest.mark.parametrize('shift', [0.0, 100.0, -100.0, -9.5, -8.5])
def test_a_negative_objective_does_not_turn_the_search_round(shift):
    """From 9 + shift: divided by its modulus; the logarithm, of positive numbers only, is NaN."""
    assert slopes_below(shift, log=False)[0] < 0
    for epsilon in (False, True):
        slope, cost = slopes_below(shift, log=True, epsilon=epsilon)
        assert np.isnan([slope, cost]).all() if shift < 0 else slope < 0 and np.isfinite(cost)


def test_imitation_does_not_see_the_logarithm_of_a_negative_objective():
    assert np.isfinite(slopes_below(-100.0, log=True, imitate=True)[0])


def test_meta_objective_without_logarithm():
    """The sum of the weighted objectives, over the initial one."""
    unrolled = Unrolled(make('GlobalLearningRate', use_log_objective=False))
    weights = np.array([0.1, 0.2, 0.7], 'float32')
    with tf.Session() as session:
        initialize(session)
        cost, objectives = session.run(
            [unrolled.graph.meta_objective, unrolled.graph.problem_objectives],
            unrolled.feed(3, objective_weights=weights))
    np.testing.assert_allclose(cost, np.dot(weights, objectives[1:]) / objectives[0], rtol=1e-6)


def test_imitation_follows_the_teacher():
    """The teacher's steps are subtracted; the imitation objective is the weighted distance."""
    unrolled = Unrolled(make('GlobalLearningRate', initial_rate=0.0))
    teacher = [np.full((2,) + value.shape, 0.25, 'float32') for value in START]
    more = dict(imitate=True)
    with tf.Session() as session:
        initialize(session)
        feed = unrolled.feed(2, **more)
        feed.update(zip(unrolled.graph.teacher_steps, teacher))
        reached, cost = session.run([unrolled.graph.next_state.params,
                                     unrolled.graph.imitation_objective], feed)
    for start, end in zip(START, reached):
        np.testing.assert_allclose(end, start - 0.5, rtol=1e-6)
    # The learner takes no steps: half the mean square of 0.25, at each step with weight 1 / 2.
    np.testing.assert_allclose(cost, 0.5 * 0.25 ** 2, rtol=1e-6)


def test_penalty_counts_only_where_it_is_asked_for():
    class Three(inner_loop.NoPenalty):
        meta_weight = 0.5

        def __call__(self, objective_fn, params, step=0, key=None):
            return 3.0 + 0.0 * objective_fn(params)

    unrolled = Unrolled(make('GlobalLearningRate'), penalty=Three())
    with tf.Session() as session:
        initialize(session)
        costs = [session.run(unrolled.graph.meta_objective, unrolled.feed(4, regularize=on))
                 for on in (False, True)]
    np.testing.assert_allclose(costs[1] - costs[0], 0.5 * 4 * 3.0, rtol=1e-5)


def test_the_penalty_is_that_of_each_step_s_mini_batch():
    """The mean square of the gradient of (w x)^2 / 2, on the one example that the step sees."""
    class Line(Problem):
        needs_data = True

        def _objective(self, parameters, data, labels):
            return 0.5 * tf.reduce_mean(tf.square(parameters[0] * data))

    data = datasets.Dataset(np.array([[1.0], [2.0], [3.0]], 'float32'), np.zeros(3, 'int32'))
    penalty = regularization.Penalty('jacob', alpha=0.25, on_optimizer=True, time='always')
    unrolled = Unrolled(make('GlobalLearningRate', initial_rate=0.0), Line([(1,)]), [[2.0]],
                        dataset=data, penalty=penalty)
    graph = unrolled.graph
    feed = unrolled.feed(2, batches=[[2], [0]], regularize=True)
    with tf.Session() as session:
        initialize(session)
        total, cost = session.run([graph.penalty, graph.meta_objective], feed)
        feed[graph.regularize] = False
        plain = session.run(graph.meta_objective, feed)
    np.testing.assert_allclose(total, 18.0 ** 2 + 2.0 ** 2, rtol=1e-5)
    np.testing.assert_allclose(cost - plain, 0.25 * total, rtol=1e-5)


class Lookup(Problem):
    """Least squares of some rows of a table, the others unused: sparse gradients."""

    def __init__(self):
        super().__init__([(5, 2), (2,)])

    def _objective(self, parameters, data, labels):
        table, offset = parameters
        return tf.reduce_sum(tf.square(tf.gather(table, [1, 3, 3]) + offset - 1.0)) + 0.1


@pytest.mark.parametrize('name, second_derivatives', [
    pytest.param('HierarchicalRNN', True, marks=pytest.mark.slow), ('RNNProp', False),
    ('NormalizedMLP', False)])
def test_sparse_gradients_mean_the_same_in_the_unroll(name, second_derivatives):
    optimizer = make(name, use_second_derivatives=second_derivatives)
    problem, start = Lookup(), [np.ones([5, 2], 'float32') * 3, np.zeros([2], 'float32')]
    variables = [tf.Variable(value) for value in start]
    loss = problem.objective(variables)
    train = optimizer.apply_gradients(zip(problem.gradients(loss, variables), variables))
    unrolled = Unrolled(optimizer, problem, start)
    gradients = tf.gradients(unrolled.graph.meta_objective, optimizer.meta_parameters)
    with tf.Session() as session:
        initialize(session)
        reached = unrolled.run(session, 4).params
        assert all(np.isfinite(value).all()
                   for value in session.run(gradients, unrolled.feed(4)))
        for _ in range(4):
            session.run(train)
        assert_all_close(reached, session.run(variables), rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(reached[0][[0, 2, 4]], 3.0)
    assert (reached[0][[1, 3]] != 3.0).all()


# HierarchicalRNN.


class Chunked(HierarchicalRNN):
    """A HierarchicalRNN that cuts its parameters into many chunks."""

    def layout(self, shapes):
        return Layout(shapes, max_chunk=16, max_pieces=2)


@pytest.mark.parametrize('changes', [pytest.param({}, marks=pytest.mark.slow), {
    'use_problem_lr_mean': False, 'use_attention': True}])
def test_chunks_do_not_change_the_result(changes):
    arguments = small('HierarchicalRNN', **changes)
    whole, cut = HierarchicalRNN(**arguments), Chunked(**arguments)
    copy = [there.assign(here)
            for here, there in zip(whole.meta_parameters, cut.meta_parameters)]
    problem = pg.IsotropicQuadratic([(), (3,), (5, 8), (1,), (2,)])
    start = [np.random.RandomState(0).standard_normal(shape) for shape in problem.param_shapes]
    models = [Model(optimizer, problem, start) for optimizer in (whole, cut)]
    layouts = [optimizer.layout(problem.param_shapes) for optimizer in (whole, cut)]
    assert len(layouts[0].pieces) == 5 and len(layouts[0].chunks) == 1
    assert len(layouts[1].pieces) > 5 and len(layouts[1].chunks) > 2
    with tf.Session() as session:
        session.run(tf.variables_initializer(whole.meta_parameters + cut.meta_parameters))
        session.run(copy)
        initialize_state(session, whole, cut)
        found, expected = (model.trajectory(session, 5) for model in models)
    assert_all_close(found, expected, rtol=1e-4, atol=1e-6)


def initialize_state(session, *optimizers):
    """Initializes all variables but the meta-parameters."""
    kept = {variable.name for optimizer in optimizers for variable in optimizer.meta_parameters}
    session.run(tf.variables_initializer(
        [variable for variable in tf.global_variables() if variable.name not in kept]))


def test_many_tensors():
    """More tensors than fit into one chunk."""
    optimizer = make('HierarchicalRNN')
    variables = [tf.Variable(tf.ones([2 + index % 3])) for index in range(20)]
    loss = tf.add_n([tf.reduce_sum(tf.square(variable)) for variable in variables])
    train = optimizer.minimize(loss, var_list=variables)
    with tf.Session() as session:
        initialize(session)
        before = session.run(loss)
        for _ in range(10):
            session.run(train)
        assert session.run(loss) < before


@pytest.mark.parametrize('shortcut', [True, pytest.param(False, marks=pytest.mark.slow)])
def test_attention(shortcut):
    """The variables are the attended points; unroll and `apply_gradients` agree on both."""
    optimizer = make('HierarchicalRNN', use_attention=True, use_gradient_shortcut=shortcut)
    model, unrolled = Model(optimizer), Unrolled(optimizer)
    true_params = optimizer.true_params(model.variables)
    with tf.Session() as session:
        initialize(session)
        assert_all_equal(session.run(true_params), START)
        model.trajectory(session, 5)
        found = session.run([true_params, model.variables])
        reached = unrolled.run(session, 5)
        assert_all_close(found, [reached.params, reached.attended], rtol=2e-5, atol=1e-6)
        unrolled.run(session, 2)
        twice = unrolled.run(session, 3, first=False)
    assert_all_close(twice, reached, rtol=2e-5, atol=1e-6)
    assert not np.allclose(reached.params[1], reached.attended[1])


def test_true_params_without_attention_are_the_variables():
    model = Model(make('TrainableAdam'))
    with tf.Session() as session:
        initialize(session)
        assert_all_equal(session.run(model.optimizer.true_params(model.variables)), START)


def test_true_params_names_unknown_variables():
    optimizer = make('HierarchicalRNN', use_attention=True)
    Model(optimizer)
    other = tf.Variable(1.0, name='stranger')
    with pytest.raises(ValueError, match='stranger'):
        optimizer.true_params([other])


def test_random_initial_states_are_uniform_between_minus_one_and_one():
    optimizer = make('HierarchicalRNN', level_sizes=[500, 500, 500], learnable_rnn_init=False)
    state = optimizer.initial_state(optimizer.layout([(3,)]), tf.convert_to_tensor,
                                    tf.constant([1, 2]))
    levels = [state.chunks[0].parameter[:, 0], state.tensors[0][:, 0], state.model[0][:, 0]]
    with tf.Session() as session:
        for level in session.run(levels):
            assert -1.0 <= level.min() < -0.95 and 0.95 < level.max() <= 1.0
            assert abs(level.std() - 3 ** -0.5) < 0.05


def test_attention_starts_as_the_direction_of_the_step():
    optimizer = make('HierarchicalRNN', use_attention=True)
    parameters = optimizer.named_meta_parameters
    with tf.Session() as session:
        initialize(session)
        update, attention = session.run([parameters['LOL/update_weights'],
                                         parameters['LOL/attention_weights']])
    np.testing.assert_array_equal(attention, update)
    assert np.any(update)


FEATURES = ('use_log_means_squared', 'use_relative_lr', 'use_extreme_indicator', 'use_lr_shortcut',
            'use_grad_products')
DECAYS = ('learnable_decay', 'learnable_inp_decay', 'use_multiple_scale_decays',
          'learnable_rnn_init', 'dynamic_output_scale')


def _one_step(**changes):
    """The change of one step by a HierarchicalRNN with these arguments."""
    with tf.Graph().as_default(), tf.Session() as session:
        model = Model(make('HierarchicalRNN', **changes))
        initialize(session)
        model.trajectory(session, 2)
        return session.run(model.variables)


@pytest.mark.slow
@pytest.mark.parametrize('choice', [
    dict(zip(FEATURES, on)) for on in itertools.product([False, True], repeat=len(FEATURES))
    if sum(on) in (0, 1, len(FEATURES))], ids=lambda choice: '-'.join(
        name for name in FEATURES if choice[name]) or 'none')
def test_features(choice):
    assert all(np.isfinite(value).all() for value in _one_step(**choice))


@pytest.mark.slow
@pytest.mark.parametrize('levels, off', [([4, 3, 2], off) for off in DECAYS] + [
    ([4], DECAYS[0]), ([4, 3], DECAYS[-1])])
def test_levels_and_decays(levels, off):
    features = {name: off != 'dynamic_output_scale' for name in FEATURES[1:4]}
    changes = {off: off == 'use_multiple_scale_decays'}
    assert all(np.isfinite(value).all()
               for value in _one_step(level_sizes=levels, **dict(features, **changes)))


@pytest.mark.parametrize('scales', [1, 2])
def test_gradient_scales(scales):
    assert all(np.isfinite(value).all() for value in _one_step(num_gradient_scales=scales))


def test_hierarchical_rnn_takes_the_class_of_its_cells():
    class Slow(rnn_cells.BiasGRUCell):
        """Keeps more of the state."""

        def __init__(self, num_units, scale, gate_bias_init):
            super().__init__(num_units, scale, gate_bias_init + 1.5)

    learned = make('HierarchicalRNN', cell_cls=Slow, biasgrucell_gate_bias_init=2.5)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        biases = session.run([variable for name, variable in learned.named_meta_parameters.items()
                              if name.endswith('gates/Affine/Bias')])
    assert biases and all((bias == 4.0).all() for bias in biases)


# Errors.


@pytest.mark.parametrize('name, changes, message', [
    ('HierarchicalRNN', {'level_sizes': [1, 2, 3, 4]}, '1, 2 or 3 levels'),
    ('HierarchicalRNN', {'level_sizes': [0]}, 'positive'),
    ('HierarchicalRNN', {'num_gradient_scales': 0}, 'num_gradient_scales'),
    ('HierarchicalRNN', {'init_lr_range': (1e-2, 1e-3)}, 'init_lr_range'),
    ('HierarchicalRNN', {'dynamic_output_scale': False}, 'dynamic_output_scale'),
    ('HierarchicalRNN', {'cell_cls': rnn_cells.GRUCell}, 'cell_cls must be rnn_cells.BiasGRUCell'),
    ('CoordinatewiseRNN', {'cell_sizes': []}, 'cell_sizes'),
    ('CoordinatewiseRNN', {'cell_cls': 'Abacus'}, 'Abacus'),
    ('CoordinatewiseRNN', {'init_lr_range': (0.0, 1.0)}, 'init_lr_range'),
    ('LearningRateSchedule', {'n_steps': 0}, 'n_steps'),
    ('TrainableAdam', {'beta1': 1.0}, 'beta'),
])
def test_wrong_arguments(name, changes, message):
    with pytest.raises(ValueError, match=message):
        make(name, **changes)


def test_build_rollout_reaches_what_the_unroll_reaches():
    optimizer = make('HierarchicalRNN')
    problem = Mixed()
    rollout, unrolled = unroll.build_rollout(optimizer, problem), Unrolled(optimizer)
    with tf.Session() as session:
        initialize(session)
        feed = dict(zip(rollout.initial_params, START))
        feed[rollout.batches] = np.zeros([6, 0])
        final, objective = session.run([rollout.final_params, rollout.final_objective], feed)
        reached = unrolled.run(session, 6).params
        assert_all_close(final, reached, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(objective, session.run(problem.objective(
            [tf.constant(value) for value in reached])), rtol=1e-4)


# Classes written for the published code.


class PublishedMomentum(trainable_optimizer.TrainableOptimizer):
    """Momentum as a user of the published code would have written it."""

    def __init__(self, use_attention=False):
        super().__init__('PublishedMomentum', ['momentum'], use_attention=use_attention)
        with tf.variable_scope('LOL'):
            self.rate = tf.get_variable('rate', [], initializer=tf.constant_initializer(0.1))

    def _initialize_state(self, var):
        return {'momentum': tf.zeros(var.get_shape())}

    def _compute_update(self, param, grad, state):
        momentum = 0.9 * state['momentum'] + grad
        new = param - self.rate * momentum
        state = {'momentum': momentum}
        return (new, new - self.rate * momentum, state) if self.use_attention else (new, state)


@pytest.mark.parametrize('attention', [False, True])
def test_a_rule_of_the_published_code_trains_in_a_model_and_in_the_unroll(attention):
    optimizer = PublishedMomentum(attention)
    model, unrolled = Model(optimizer), Unrolled(optimizer)
    with tf.Session() as session:
        initialize(session)
        before = session.run(model.loss)
        model.trajectory(session, 6)
        assert session.run(model.loss) < before
        found = session.run(optimizer.true_params(model.variables))
        assert_all_close(unrolled.run(session, 6).params, found, rtol=1e-5, atol=1e-6)
    assert sorted(optimizer.get_slot_names()) == ['momentum'] + ['state'] * attention


def test_published_momentum_equals_tensorflows():
    models = [Model(PublishedMomentum()), Model(tf.train.MomentumOptimizer(0.1, 0.9))]
    with tf.Session() as session:
        initialize(session)
        found, expected = (model.trajectory(session, 10) for model in models)
    assert_all_close(found, expected, rtol=1e-5)
