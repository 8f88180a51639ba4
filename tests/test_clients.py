"""Programs as users write them: the loss falls, resumption is exact, state is where it belongs."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from optimizer import load

HERE = os.path.dirname(os.path.abspath(__file__))

#: Programs in `tests/clients`, each in a process of its own, and the TensorFlow they are for.
PROGRAMS = [('keras_programs.py', 2), ('estimators.py', 1)]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('mode_of_the_scripts')]


@pytest.mark.parametrize('program, version', PROGRAMS)
def test_program(program, version, make_run_folder, tmp_path):
    if int(tf.__version__.split('.')[0]) != version:
        pytest.skip('for TensorFlow %d' % version)
    folder = make_run_folder('TrainableAdam', {'learning_rate': 0.03})
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, 'clients', program), folder, str(tmp_path)],
        stderr=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=os.path.dirname(HERE)))
    assert done.returncode == 0, done.stderr.decode()[-3000:]


def regression(seed=0):
    """A variable and the loss of a least-squares problem."""
    inputs = np.random.RandomState(seed).standard_normal([32, 4]).astype('float32')
    weights = tf.get_variable('weights', [4, 1], initializer=tf.zeros_initializer())
    return weights, tf.reduce_mean(tf.square(tf.matmul(inputs, weights) - inputs.sum(1)[:, None]))


def falls(train, loss, steps=20):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(steps):
            session.run(train)
        assert session.run(loss) < before


def test_monitored_session_with_a_scaffold(run_folder, tmp_path):
    """A saver, an init function and a restoring scaffold of one's own; resumption is exact."""
    def run(folder, steps):
        with tf.Graph().as_default():
            weights, loss = regression()
            step = tf.train.get_or_create_global_step()
            learned = load(run_folder)
            train = learned.minimize(loss, global_step=step)
            scaffold = tf.train.Scaffold(
                saver=tf.train.Saver(max_to_keep=1),
                init_fn=lambda scaffold, session: weights.load(np.ones([4, 1]), session))
            with tf.train.MonitoredTrainingSession(
                    checkpoint_dir=str(tmp_path / folder), scaffold=scaffold,
                    hooks=[tf.train.StopAtStepHook(last_step=steps)]) as session:
                while not session.should_stop():
                    value, _ = session.run([weights, train])
            with tf.Session() as session:
                scaffold.saver.restore(session, tf.train.latest_checkpoint(str(tmp_path / folder)))
                return session.run([weights] + learned.variables())

    whole = run('whole', 6)
    run('halves', 3)
    for one, other in zip(run('halves', 6), whole):
        np.testing.assert_array_equal(one, other)


def test_training_in_a_while_loop(run_folder):
    weights, loss = regression()
    learned = load(run_folder)
    learned.minimize(loss)  # makes the state

    def body(index):
        inputs = np.random.RandomState(0).standard_normal([32, 4]).astype('float32')
        with tf.control_dependencies([index]):
            value = weights.read_value()
        error = tf.matmul(inputs, value) - inputs.sum(1)[:, None]
        gradient = tf.matmul(inputs, error, transpose_a=True) / 16.0
        with tf.control_dependencies([learned.apply_gradients([(gradient, weights)])]):
            return index + 1

    falls(tf.while_loop(lambda index: index < 5, body, [tf.constant(0)],
                        parallel_iterations=1), loss, 4)


def test_loss_scaling(run_folder):
    module = tf.train.experimental if tf.__version__ < '2' else tf.mixed_precision
    weights, loss = regression()
    scaled = module.MixedPrecisionLossScaleOptimizer(load(run_folder), 'dynamic')
    falls(scaled.minimize(loss), loss)


def test_averages_of_the_variables(run_folder):
    weights, loss = regression()
    train = load(run_folder).minimize(loss)
    average = tf.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([train]):
        train = average.apply([weights])
    falls(train, loss)


@pytest.mark.parametrize('same', [True, False])
def test_two_players(run_folder, same):
    """A GAN's two losses, with one instance for both or one for each."""
    player, judge = tf.get_variable('player', [3]), tf.get_variable('judge', [3])
    first = load(run_folder)
    second = first if same else load(run_folder)
    product = tf.reduce_sum(player * judge)
    trains = [first.minimize(tf.square(product - 1.0), var_list=[player]),
              second.minimize(-product + tf.reduce_sum(tf.square(judge)), var_list=[judge])]
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run([player, judge])
        session.run(trains[0])
        np.testing.assert_array_equal(session.run(judge), before[1])
        session.run(trains[1])
        assert (session.run(judge) != before[1]).all()


def test_a_loss_that_becomes_nan_is_not_hidden(run_folder):
    """-sum(y log(softmax)) has a gradient that is NaN where a probability is 0."""
    logits = tf.get_variable('logits', initializer=[[0.0, 200.0]])
    loss = -tf.reduce_sum([[1.0, 0.0]] * tf.log(tf.nn.softmax(logits)))
    train = load(run_folder).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(train)
        assert np.isnan(session.run(logits)).any()
