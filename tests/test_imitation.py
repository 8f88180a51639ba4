"""Teachers against the real optimizers of tf.train, and the labels they give."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.techniques import imitation

NUM_STEPS = 20
REAL = {
    'adam': lambda: tf.train.AdamOptimizer(0.01),
    'rmsprop': lambda: tf.train.RMSPropOptimizer(0.01, decay=0.9, epsilon=1e-10),
    'nag': lambda: tf.train.MomentumOptimizer(0.01, 0.9, use_nesterov=True),
    'sgd': lambda: tf.train.GradientDescentOptimizer(0.01),
}


class Regression:
    """|X w + b - y|^2 on a batch; without data, on a fixed one."""

    def __init__(self):
        self.fixed = tf.constant([[1., -2., 0.5], [0.3, 0.2, -1.]]), tf.constant([0.7, -0.4])

    def objective(self, params, data=None, labels=None):
        if data is None:
            data, labels = self.fixed
        weights, bias = params
        return tf.reduce_mean(tf.square(tf.linalg.matvec(data, weights) + bias - labels))

    def gradients(self, objective, params, key):
        del key
        return tf.gradients(objective, params)


def inputs():
    rng = np.random.RandomState(0)
    data = rng.normal(size=(50, 3)).astype(np.float32)
    labels = rng.normal(size=50).astype(np.float32)
    batches = rng.randint(50, size=(NUM_STEPS, 8)).astype(np.int32)
    return data, labels, batches, [np.array([1., -1., 2.], np.float32), np.float32(0.5)]


def real_trajectory(name, data, labels, batches, start):
    """Parameters before the first step and after each, by the optimizer of tf.train."""
    with tf.Graph().as_default(), tf.Session() as sess:
        variables = [tf.get_variable('v%s' % i, initializer=v) for i, v in enumerate(start)]
        rows = tf.placeholder(tf.int32, [None])
        loss = Regression().objective(
            variables, *[None if d is None else tf.gather(d, rows) for d in (data, labels)])
        train = REAL[name]().minimize(loss, var_list=variables)
        sess.run(tf.global_variables_initializer())
        points = [sess.run(variables)]
        for batch in batches:
            sess.run(train, {rows: batch})
            points.append(sess.run(variables))
    return points


def teacher_unroll(name, data, labels, batches, start, **kwargs):
    with tf.Graph().as_default(), tf.Session() as sess:
        teacher = imitation.make_teacher(name)
        params = [tf.placeholder(tf.float32) for _ in start]
        unroll = imitation.unroll_teacher(
            teacher, Regression(), params, teacher.initial_state(params), tf.constant(batches),
            data, labels, **kwargs)
        return sess.run(unroll, dict(zip(params, start)))


@pytest.mark.parametrize('with_data', [True, False])
@pytest.mark.parametrize('name', sorted(imitation.TEACHERS))
def test_steps_equal_those_of_the_real_optimizer(name, with_data):
    data, labels, batches, start = inputs()
    if not with_data:
        data = labels = None
    points = real_trajectory(name, data, labels, batches, start)
    unroll = teacher_unroll(name, data, labels, batches, start)
    for i, steps in enumerate(unroll.steps):
        moved = [after[i] - before[i] for before, after in zip(points, points[1:])]
        np.testing.assert_allclose(steps, moved, rtol=1e-4, atol=2e-6)
        np.testing.assert_allclose(unroll.params[i], points[-1][i], rtol=1e-5)


@pytest.mark.parametrize('name', sorted(imitation.TEACHERS))
def test_a_label_sums_k_teacher_steps(name):
    data, labels, batches, start = inputs()
    single = teacher_unroll(name, data, labels, batches, start)
    grouped = teacher_unroll(name, data, labels, batches, start, steps_per_label=4)
    for ones, sums in zip(single.steps, grouped.steps):
        assert sums.shape == (NUM_STEPS // 4,) + ones.shape[1:]
        expected = ones.reshape((-1, 4) + ones.shape[1:]).sum(axis=1)
        np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', sorted(imitation.TEACHERS))
def test_a_second_unroll_goes_on_from_the_returned_state(name):
    data, labels, batches, start = inputs()
    whole = teacher_unroll(name, data, labels, batches, start)
    with tf.Graph().as_default(), tf.Session() as sess:
        teacher = imitation.make_teacher(name)
        params = [tf.constant(value) for value in start]
        first = imitation.unroll_teacher(teacher, Regression(), params,
                                         teacher.initial_state(params), batches[:7], data, labels)
        second = imitation.unroll_teacher(teacher, Regression(), first.params, first.state,
                                          batches[7:], data, labels)
        steps, end = sess.run([second.steps, second.params])
    for got, expected in zip(steps + end, [s[7:] for s in whole.steps] + whole.params):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


def test_no_gradient_flows_through_a_teacher():
    data, labels, batches, start = inputs()
    with tf.Graph().as_default():
        params = [tf.constant(value) for value in start]
        teacher = imitation.make_teacher('adam')
        unroll = imitation.unroll_teacher(teacher, Regression(), params,
                                          teacher.initial_state(params), batches, data, labels)
        assert tf.gradients(unroll.steps + unroll.params, params) == [None, None]


def test_bad_arguments():
    with pytest.raises(ValueError, match="unknown teacher 'lion'.*adam, rmsprop, nag, sgd"):
        imitation.make_teacher('lion')
    with pytest.raises(ValueError, match='at least 1 teacher step'):
        imitation.unroll_teacher(None, None, [], (), None, steps_per_label=0)
