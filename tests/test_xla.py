"""XLA changes times, not results."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import make
from l2o.commandline import flags, optimizer_flags
from l2o.evaluation import rollout
from optimizer import unroll
from problems import datasets
from problems import problem_generator as pg

DATA = datasets.random_mlp(3, 20, 0)
on_tensorflow_2 = pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 2 only')
on_tensorflow_1 = pytest.mark.skipif(tf.__version__ >= '2', reason='TensorFlow 1 only')
optimizers = pytest.mark.parametrize('name', [
    pytest.param('HierarchicalRNN', marks=pytest.mark.slow), 'TrainableAdam'])

pytestmark = pytest.mark.usefixtures('mode_of_the_scripts')


def make_compiled(name, xla):
    optimizer = make(name, **{'use_attention': True} if name == 'HierarchicalRNN' else {})
    optimizer.xla = xla
    return optimizer


def perceptron():
    return pg.FullyConnected(3, 2, hidden_sizes=(3,))


def compiled_functions():
    """Of the default graph: names of the functions that XLA compiles."""
    return [function.signature.name for function in tf.get_default_graph().as_graph_def(
    ).library.function if function.attr['_XlaMustCompile'].b]


def unrolled(name, xla, checkpoint_every):
    """Objectives and meta-gradients of an unroll, the objective after a rollout."""
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), tf.Session() as session:
        optimizer, problem = make_compiled(name, xla), perceptron()
        graph = optimizer.train(problem, DATA, checkpoint_every=checkpoint_every)
        rollout = unroll.build_rollout(optimizer, problem, DATA)
        gradients = [tf.convert_to_tensor(gradient) for gradient
                     in tf.gradients(graph.meta_objective, optimizer.meta_parameters)]
        assert bool(compiled_functions()) == xla
        batches, key = rng.randint(20, size=[5, 7]), [1, 2]
        feed = {graph.objective_weights: np.full(5, 0.2), graph.batches: batches,
                graph.random_key: key, rollout.batches: batches, rollout.random_key: key}
        for places in (graph.initial_params, rollout.initial_params):
            rng.seed(1)
            feed.update({place: rng.standard_normal(shape) for place, shape
                         in zip(places, problem.param_shapes)})
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return session.run([graph.problem_objectives, rollout.final_objective] + gradients, feed)


@on_tensorflow_2
@pytest.mark.parametrize('checkpoint_every', [0, pytest.param(2, marks=pytest.mark.slow)])
@optimizers
def test_unrolls_agree(name, checkpoint_every):
    """Entries that are small beside the largest are sums of terms that cancel: rounding shows."""
    found, expected = [unrolled(name, xla, checkpoint_every) for xla in (True, False)]
    largest = max(np.max(np.abs(tensor)) for tensor in expected[2:])
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * largest)


@on_tensorflow_2
@optimizers
def test_steps_in_a_model_agree(name):
    losses = []
    for xla in (True, False):
        with tf.Graph().as_default():
            losses.append(rollout.test_optimizer(make_compiled(name, xla), perceptron(), 10, DATA,
                                                 5, seed=2)[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


class Values:
    """The value of the flag."""

    xla = True


@on_tensorflow_1
def test_refused_on_tensorflow_1():
    with pytest.raises(flags.FlagError, match='^--xla needs TensorFlow 2'):
        optimizer_flags.xla(Values)


@on_tensorflow_2
def test_allowed_on_tensorflow_2():
    assert optimizer_flags.xla(Values)
