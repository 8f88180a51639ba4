"""Rules written for the published code's `TrainableOptimizer` are meta-trained, saved and loaded as
our own of the same formula are."""

import copy

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from optimizer import checkpoints, trainable_optimizer
from optimizer.global_learning_rate import GlobalLearningRate
from optimizer.learning_rate_schedule import LearningRateSchedule
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec


class Rate(trainable_optimizer.TrainableOptimizer):
    """One rate, without state; it is made before the base, under a name that the base has too."""

    def __init__(self, initial_rate=0.1, **kwargs):
        with tf.variable_scope('LOL'):
            self.learning_rate = tf.get_variable(
                'global_learning_rate', [], initializer=tf.constant_initializer(initial_rate))
        super().__init__('Rate', [], **kwargs)

    def _compute_update(self, param, grad, state):
        return param - self.learning_rate * grad, state


class Schedule(trainable_optimizer.TrainableOptimizer):
    """A rate for each step, which is counted in whole numbers."""

    def __init__(self, initial_rate=0.1, n_steps=1000, **kwargs):
        super().__init__('Schedule', ['itr'], **kwargs)
        with tf.variable_scope('LOL'):
            self.rates = [tf.get_variable('learning_rates', [n_steps],
                                          initializer=tf.constant_initializer(initial_rate))]

    def _initialize_state(self, var):
        return {'itr': tf.constant(0, tf.int32)}

    def _compute_update(self, param, grad, state):
        index = tf.minimum(state['itr'], self.rates[0].shape.as_list()[0] - 1)
        return param - tf.gather(self.rates[0], index) * grad, {'itr': state['itr'] + 1}


class Unfinished(trainable_optimizer.TrainableOptimizer):
    """Names a state, as an attribute, that it does not begin."""

    state_keys = ['momentum']

    def __init__(self):
        super().__init__('Unfinished')


PAIRS = [(Rate, GlobalLearningRate, 'LOL/global_learning_rate'),
         (Schedule, LearningRateSchedule, 'LOL/learning_rates')]
BOTH = pytest.mark.parametrize('published, ours, name', PAIRS)


def meta_train(folder, cls, **options):
    """What a meta-training of four unrolls ends with: its result, its meta-parameters."""
    result = metaopt.train_optimizer(
        str(folder), Spec(cls, (), {'initial_rate': 0.03}),
        [Row(Spec(pg.Quadratic, (3,), {'random_seed': 1}))], 1, 2, learning_rate=1e-2, out=None,
        seed=3, fix_unroll=True, fix_unroll_length=4, fix_num_steps=8, evaluation_epochs=1,
        **options)
    with np.load(str(folder / 'state.npz')) as saved:
        return result, {name[len('values/'):]: saved[name] for name in saved.files
                        if name.startswith('values/LOL/')}


@BOTH
@pytest.mark.parametrize('options', [{}, {'checkpoint_every': 2}, {'meta_gradient': 'pes'}])
def test_is_meta_trained_as_our_own(published, ours, name, options, tmp_path, request):
    if options and not tf.control_flow_v2_enabled():  # as in the scripts
        tf.enable_control_flow_v2()
        request.addfinalizer(tf.disable_control_flow_v2)
    (result, found), (expected_result, expected) = (
        meta_train(tmp_path / cls.__name__, cls, **options) for cls in (published, ours))
    assert np.max(np.abs(found[name] - 0.03)) > 1e-3
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    assert result.best_cost == pytest.approx(expected_result.best_cost, rel=1e-5)


@BOTH
def test_begins_with_what_was_saved(published, ours, name, tmp_path):
    """Both read the same checkpoint, which holds neither's initial rate."""
    checkpoint, objectives = meta_train(tmp_path, published)[0].checkpoint, {}
    assert np.all(checkpoints.read_checkpoint(checkpoint)[name] != 0.1)
    for cls in (published, ours):
        with tf.Graph().as_default():
            objectives[cls] = metaopt.test_optimizer(
                cls(0.1), pg.Quadratic(3, random_seed=1), 6, seed=1, logdir=checkpoint)[0]
    np.testing.assert_allclose(objectives[published], objectives[ours], rtol=1e-5)


@BOTH
def test_only_the_rule_scales_its_steps(published, ours, name):
    """The published code has no factor of steps: what a rule calls so is its own."""
    variable = tf.Variable(1.0)
    step = published(0.1).apply_gradients([(tf.constant(3.0), variable)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step)
        assert session.run(variable) == pytest.approx(0.7)


def test_its_variables_are_meta_parameters_and_nothing_of_the_model():
    model = tf.get_variable('model', [2])
    optimizer = Rate()
    assert optimizer.named_meta_parameters == {'LOL/global_learning_rate': optimizer.learning_rate}
    assert tf.trainable_variables() == [model]


def test_its_slots_have_the_names_of_its_state():
    variable, optimizer = tf.Variable([1.0, 2.0]), Schedule()
    optimizer.minimize(tf.reduce_sum(variable ** 2))
    assert optimizer.get_slot_names() == ['itr']
    assert optimizer.get_slot(variable, 'itr') in optimizer.variables()


def test_a_copy_for_another_graph_has_its_own_variables():
    optimizer = Rate(0.2)
    with tf.Graph().as_default():
        other = copy.deepcopy(optimizer)
        assert other.learning_rate is not optimizer.learning_rate
        assert other.meta_parameters == [other.learning_rate]


def test_a_state_that_is_named_must_be_begun():
    with pytest.raises(ValueError, match=r"Unfinished._initialize_state gives \[\], but its "
                                         r"state_keys are \['momentum'\]"):
        Unfinished().apply_gradients([(tf.constant(3.0), tf.Variable(1.0))])
