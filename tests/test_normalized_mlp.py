"""NormalizedMLP: its formula in plain numpy, its scales, and what must be safe."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from optimizer import normalized_mlp, step
from optimizer.normalized_mlp import NormalizedMLP
from problems.problem import Problem

SHAPES = [(), (3,), (5, 8), (1,), (3, 3, 2, 4), (80, 60), (70, 59)]
MATRICES = sum(len(shape) > 1 for shape in SHAPES)


def meta_parameters(rng):
    """Values that no coefficient is trivial with."""
    shapes = {'linear/w': (15, 8), 'linear/b': (8,), 'hidden/w': (15, 16), 'hidden/b': (16,),
              'output/w': (16, 8)}
    values = {name: 0.15 * rng.standard_normal(shape) for name, shape in shapes.items()}
    values['linear/b'][0] -= 5.0
    return values


def half_log(mean_square):
    return 0.5 * np.log(mean_square + np.exp(-14.0)) + 3.5


def softsign(x):
    return x / (1.0 + np.abs(x))


def unscaled_orthogonalized(matrix):
    """The polynomial applied to the matrix itself, and not to its product with its transpose."""
    wide = matrix.shape[0] < matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / np.sqrt(np.linalg.norm(x @ x.T))
    for _ in range(4):
        gram = x @ x.T
        x = (3.4445 * np.eye(len(x)) - 4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.T


def with_near_columns(matrix):
    """Columns divided by the square root of their RMS, and the whole by its RMS."""
    x = matrix / np.sqrt(np.sqrt(np.mean(matrix ** 2, axis=0)))
    return x / np.sqrt(np.mean(x ** 2))


def formula_step(theta, g, x, memory, t, num_steps, growth):
    """One step of one tensor, as the class describes it: the step and what is remembered."""
    fast, slow, square, agreement = memory
    product = np.mean(g * fast)  # with the mean of the gradients before, not corrected
    fast = 0.9 * fast + 0.1 * g
    slow = 0.99 * slow + 0.01 * g
    square = 0.99 * square + 0.01 * g ** 2
    m1, m2, v = fast / (1 - 0.9 ** t), slow / (1 - 0.99 ** t), square / (1 - 0.99 ** t)
    agreement = 0.98 * agreement + 0.02 * softsign(product / np.mean(v))
    share = min(1.0, (t - 1) / num_steps) if num_steps else 0.0
    fan_in = np.prod(x.shape[:-1])
    inputs = np.array(
        [half_log(np.mean(value ** 2) / np.mean(v)) for value in (m1, m2, g)]
        + [half_log(np.mean(x ** 2)), x.ndim > 1, 0.5 * np.log(fan_in) - 1.5,
           0.25 * np.log(x.size) - 1.5, np.log(MATRICES) - 1.5, np.log(t) / 3.0 - 1.0,
           bool(num_steps), share, share ** 2, np.log(1.0 - share + 0.01), 10.0 * agreement,
           np.clip(growth, -3, 3)])
    outputs = inputs @ theta['linear/w'] + theta['linear/b'] + np.tanh(
        inputs @ theta['hidden/w'] + theta['hidden/b']) @ theta['output/w']
    (log_size, of_slow, of_gradient, log_smoothing, magnitude, of_agreement, orthogonal,
     log_decay) = outputs
    scale = 1.0 / np.sqrt(v + np.exp(np.clip(log_smoothing, -10, 3)) ** 2 * np.mean(v))
    d = (m1 + of_slow * m2 + of_gradient * g) * scale
    d = d * (1.0 + np.tanh(magnitude) * np.abs(softsign(d))
             + np.tanh(of_agreement) * softsign(d * g * scale))
    rms = np.sqrt(np.mean(d ** 2))
    u = d / rms
    if x.ndim > 1:
        how = 1.0 / (1.0 + np.exp(-orthogonal))
        matrix = with_near_columns(unscaled_orthogonalized(d.reshape(fan_in, -1))).reshape(d.shape)
        u = (1.0 - how) * u + how * matrix
    size = np.exp(np.clip(log_size, -16, 0) - np.clip(growth - np.log(10), 0, np.log(100)))
    size *= rms / np.sqrt(rms ** 2 + 1e-4)
    decay = min(0.1, size * np.exp(np.clip(log_decay, -16, 0)))
    return -size * u - decay * x, (fast, slow, square, agreement)


def formula_path(theta, start, gradients, num_steps):
    """The parameters after steps with these gradients."""
    reached, memories, usual = [np.copy(x) for x in start], [(0.0,) * 4] * len(SHAPES), None
    ends, means = [np.copy(x) for x in start], [np.copy(x) for x in start]
    for t, of_step in enumerate(gradients, 1):
        size = 0.5 * np.log(np.mean([np.mean(g ** 2) for g in of_step]))
        growth = 0.0 if usual is None else size - usual
        usual = size if usual is None else usual + (
            0.003 if growth > 0 else 0.02) * max(growth, -3)
        for index, g in enumerate(of_step):
            step, memories[index] = formula_step(theta, g, reached[index], memories[index], t,
                                                 num_steps, growth)
            ends[index] = ends[index] + step
            c = 4.0 / (t + 3.0)
            means[index] = (1.0 - c) * means[index] + c * ends[index]
            reached[index] = ends[index] if num_steps else 0.2 * ends[index] + 0.8 * means[index]
    return reached


@pytest.mark.parametrize('num_steps', [None, 6])
def test_steps_are_those_of_the_formula(num_steps):
    """The gradient grows a hundredfold in the middle, and falls again: the brake is in it."""
    rng = np.random.RandomState(0)
    theta = meta_parameters(rng)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    gradients = [[scale * rng.standard_normal(shape) for shape in SHAPES]
                 for scale in (0.1, 0.1, 0.2, 0.1, 10.0, 0.1, 0.01, 0.1)]
    found = trained(NormalizedMLP(num_steps), start, gradients, theta)
    for one, other in zip(found, formula_path(theta, start, gradients, num_steps)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('rows, columns, blocks', [
    (150, 200, 3), (200, 150, 4), (300, 10, 1), (10, 300, 1), (64, 64, 1), (130, 70, 3)])
def test_large_matrices_are_made_orthogonal_in_blocks_of_rows(rows, columns, blocks):
    matrices = np.random.RandomState(0).standard_normal([2, rows, columns])
    with tf.Session() as session:
        found = session.run(normalized_mlp.orthogonalized(
            tf.constant(matrices, tf.float32), (rows, columns)))
    height = -(-rows // blocks)
    for matrix, one in zip(matrices, found):
        parts = [matrix[begin:begin + height] for begin in range(0, rows, height)]
        together = with_near_columns(
            np.concatenate([unscaled_orthogonalized(part) for part in parts]))
        np.testing.assert_allclose(one, together, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('noise', [0.0, 5.0])
def test_a_table_of_rows_moves_as_it_does_with_a_dense_gradient(noise, monkeypatch):
    """Though a row that has a gradient in one of four steps is moved in those alone; that fan-in
    counts for less is left out."""
    monkeypatch.setattr(normalized_mlp, 'LOOKUP_FAN_IN', 40.0)
    rng = np.random.RandomState(0)
    gradients = rng.standard_normal([40, 6]) + noise * rng.standard_normal([160, 40, 6])
    order = [part for _ in range(40) for part in np.split(rng.permutation(40), 4)]
    lengths = []
    for sparse in (False, True):
        table = tf.Variable(tf.zeros([40, 6]))
        rows, here = tf.placeholder(tf.int32, [10]), tf.placeholder(tf.float32, [40, 6])
        gradient = tf.IndexedSlices(tf.gather(here, rows), rows)
        if not sparse:
            gradient = tf.unsorted_segment_sum(gradient.values, rows, 40)
        train = NormalizedMLP(random_seed=0).apply_gradients([(gradient, table)])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for part, values in zip(order, gradients):
                session.run(train, {rows: part, here: values})
            lengths.append(np.sqrt(np.mean(session.run(table) ** 2)))
    assert 0.4 < lengths[1] / lengths[0] < 2.0


@pytest.mark.parametrize('in_the_unroll', [False, True])
def test_a_row_s_step_does_not_depend_on_how_many_rows_a_table_has(in_the_unroll):
    """A first step on all rows of tables of 30 and of 3,000, whose sizes differ but little."""
    sizes = []
    for rows in (30, 3000):
        start = np.random.RandomState(0).standard_normal([rows, 6]).astype('float32')
        gradient = tf.IndexedSlices(tf.constant(np.sign(start)), tf.range(rows), [rows, 6])
        optimizer, table = NormalizedMLP(random_seed=0), tf.Variable(start)
        if in_the_unroll:
            layout, theta = optimizer.layout([(rows, 6)]), optimizer.read_meta_parameters()
            update = step.step_rule(optimizer, layout, theta)(
                [gradient], optimizer.initial_state(layout, theta, tf.constant([1, 2])), [table])
            moves, = layout.to_tensors(update.steps)
        else:
            moves = optimizer.apply_gradients([(gradient, table)])
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            found = session.run(moves)
            found = session.run(table) - start if found is None else found
            sizes.append(np.sqrt(np.mean(found ** 2)))
    assert 0.5 < sizes[1] / sizes[0] < 2.0


def test_the_brake_holds_where_gradients_explode_and_lets_go():
    """At once, and once the large gradient has become the usual one."""
    start, small, large = [np.zeros([4, 4])], [np.ones([4, 4])], [np.full([4, 4], 1e4)]

    def last_step(path):
        return np.abs(trained(NormalizedMLP(9000, random_seed=0), start, path[:-1])[0]
                      - trained(NormalizedMLP(9000, random_seed=0), start, path)[0]).max()

    assert last_step([small] * 60 + [large]) < 0.05 * last_step([small] * 61)
    assert last_step([small] * 60 + [large] * 900) > 0.3 * last_step([small] * 960)


def trained(optimizer, start, gradients, theta=None, dtype=tf.float32):
    """The parameters after steps with these gradients."""
    variables = [tf.Variable(value, dtype=dtype) for value in start]
    places = [tf.placeholder(dtype, variable.shape) for variable in variables]
    train = optimizer.apply_gradients(zip(places, variables))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, value in (theta or {}).items():
            optimizer.named_meta_parameters['LOL/NormalizedMLP/' + name].load(value, session)
        for of_step in gradients:
            session.run(train, dict(zip(places, of_step)))
        return session.run(variables)


@pytest.mark.parametrize('factor', [1e-10, 1e12])
def test_steps_do_not_depend_on_the_size_of_the_gradient(factor):
    rng = np.random.RandomState(1)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    gradients = [[rng.standard_normal(shape) for shape in SHAPES] for _ in range(3)]
    found = trained(NormalizedMLP(random_seed=0), start,
                    [[factor * g for g in of_step] for of_step in gradients])
    expected = trained(NormalizedMLP(random_seed=0), start, gradients)
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_nothing_moves_without_a_gradient():
    start = [np.ones(shape) for shape in SHAPES + [(0, 3)]]
    zeros = [np.zeros_like(value) for value in start]
    for one, other in zip(trained(NormalizedMLP(), start, [zeros] * 3), start):
        np.testing.assert_array_equal(one, other)


def test_parameters_of_zero_begin_to_move():
    start = [np.zeros(shape) for shape in SHAPES]
    for value in trained(NormalizedMLP(), start, [[np.ones(shape) for shape in SHAPES]] * 3):
        assert np.isfinite(value).all() and (value < 0.0).all()


def test_steps_vanish_once_gradients_do():
    """What is left of the momenta fades; it is not brought to RMS 1 for ever."""
    start, some = [np.zeros([4, 4])], [np.ones([4, 4])]
    silence = [[np.zeros([4, 4])]]
    early, late = (trained(NormalizedMLP(9000, random_seed=0), start, [some] + silence * steps)[0]
                   for steps in (3000, 3100))
    np.testing.assert_allclose(late, early, rtol=1e-6)


def test_half_precision_with_small_gradients():
    start = [np.ones([20, 30])]
    gradients = [[np.full([20, 30], 6e-8)]] * 3
    found = trained(NormalizedMLP(), start, gradients, dtype=tf.float16)[0]
    assert np.isfinite(found).all() and (found < 1.0).all()


class Bowl(Problem):
    """A quadratic bowl."""

    def __init__(self):
        super().__init__([(4, 3)])

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(tf.square(parameters[0])) + 0.1


def test_an_unroll_takes_the_planned_number_of_steps_from_its_feed():
    """It counts where the optimizer's state begins."""
    fed, planned = NormalizedMLP(random_seed=0), NormalizedMLP(7, random_seed=0)
    unrolls = [optimizer.train(Bowl()) for optimizer in (fed, planned)]
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        reached = []
        for unroll, more in zip(unrolls, ({fed.planned_steps: 7.0}, {})):
            feed = {unroll.objective_weights: np.full(5, 0.2), unroll.batches: np.zeros([5, 0]),
                    unroll.initial_params[0]: np.ones([4, 3])}
            feed.update(more)
            reached.append(session.run(unroll.next_state, feed))
    assert reached[0].optimizer.num_steps == 7.0
    np.testing.assert_array_equal(reached[0].params[0], reached[1].params[0])


def test_sizes_fall_towards_the_planned_end():
    start, gradients = [np.zeros([4, 4])], [[np.ones([4, 4])]]
    path = [trained(NormalizedMLP(50, random_seed=0), start, gradients * steps)[0]
            for steps in (1, 2, 49, 50)]
    assert np.abs(path[3] - path[2]).max() < 0.5 * np.abs(path[1] - path[0]).min()


@pytest.mark.parametrize('argument', ['num_steps', 'units'])
def test_wrong_arguments(argument):
    with pytest.raises(ValueError, match='needs %s of 1 or more, not 0' % argument):
        NormalizedMLP(**{argument: 0})


def test_a_checkpoint_of_the_rule_before_is_refused_with_what_to_do(tmp_path):
    path = str(tmp_path / 'model.ckpt-0')
    with tf.Graph().as_default(), tf.Session() as session:
        shapes = {'linear/w': [13, 6], 'linear/b': [6], 'hidden/w': [13, 16], 'hidden/b': [16],
                  'output/w': [16, 6]}
        variables = {'LOL/NormalizedMLP/' + layer: tf.Variable(tf.zeros(shape))
                     for layer, shape in shapes.items()}
        session.run(tf.global_variables_initializer())
        tf.train.Saver(variables).save(session, path)
    with pytest.raises(ValueError, match='load the shipped normalized_mlp, or meta-train again'):
        NormalizedMLP().init_from_checkpoint(path)
