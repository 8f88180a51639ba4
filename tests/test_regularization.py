"""Curvature penalties against numpy truth and finite differences, in both control flows."""
import itertools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.techniques import regularization
from l2o.techniques.regularization import Penalty

EIGENVALUES = np.array([9., -6., 4., 2., 1., 0.5, -0.25], np.float32)
SHAPES = [(2, 2), (), (2,)]
POINT = [np.array([[0.3, -0.5], [0.2, 0.7]], np.float32), np.float32(-0.4),
         np.array([0.6, 0.1], np.float32)]
OPTIONS = sorted(regularization.MEASURES)


@pytest.fixture(params=[1, 2], ids=['control_flow_1', 'control_flow_2'])
def control_flow(request):
    before = tf.control_flow_v2_enabled()
    switch = {1: tf.disable_control_flow_v2, 2: tf.enable_control_flow_v2}
    switch[request.param]()
    yield request.param
    switch[2 if before else 1]()


def symmetric(eigenvalues, seed=0):
    size = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.RandomState(seed).normal(size=(size, size)))
    return np.float32(basis @ np.diag(eigenvalues) @ basis.T)


def quadratic(matrix):
    def objective(params):
        vector = regularization.flatten(params)
        return 0.5 * tf.reduce_sum(vector * tf.linalg.matvec(matrix, vector))
    return objective


def quartic(params):
    """Not convex, with a Hessian that depends on the point; its Jacobian has full rank."""
    vector = regularization.flatten(params)
    mixed = tf.linalg.matvec(symmetric(EIGENVALUES, seed=1), vector)
    return 0.5 * tf.reduce_sum(vector * mixed) + 0.2 * tf.reduce_sum(mixed ** 4) / 81.


def convex(params):
    """log-sum-exp plus a quartic: a positive definite Hessian that depends on the point."""
    vector = regularization.flatten(params)
    mixed = tf.linalg.matvec(symmetric(np.arange(1., 8.), seed=2), vector)
    return tf.reduce_logsumexp(mixed) + tf.reduce_sum(vector ** 4 + vector ** 2)


class Function:
    """Arrays -> what `build(*placeholders)` gives for them; each call draws the same numbers."""

    def __init__(self, build, *shapes):
        with tf.Graph().as_default() as self.graph:
            tf.set_random_seed(1)
            self.inputs = [tf.placeholder(tf.float32, shape) for shape in shapes]
            self.outputs = build(*self.inputs)

    def __call__(self, *values):
        with tf.Session(graph=self.graph) as sess:
            return sess.run(self.outputs, dict(zip(self.inputs, values)))


def evaluate(build, *values):
    return Function(build, *[np.shape(value) for value in values])(*values)


def hessian_at(objective, point):
    """The Hessian [P, P] by automatic differentiation, one row for each parameter."""
    def build(vector):
        params = regularization.unflatten(vector, [tf.constant(p) for p in POINT])
        return tf.hessians(objective(params), vector)[0]
    return evaluate(build, point)


def flat(values):
    return np.concatenate([np.reshape(value, [-1]) for value in values])


# The spectrum.


def test_the_full_spectrum_when_lanczos_reaches_the_dimension(control_flow):
    spectrum = evaluate(lambda *p: regularization.spectral_density(
        quadratic(symmetric(EIGENVALUES)), list(p), iterations=7), *POINT)
    np.testing.assert_allclose(spectrum.eigenvalues, sorted(EIGENVALUES), atol=1e-4)
    np.testing.assert_allclose(spectrum.weights.sum(), 1., rtol=1e-5)


def test_the_full_spectrum_of_a_non_quadratic():
    truth = np.linalg.eigvalsh(hessian_at(quartic, flat(POINT)))
    spectrum = evaluate(lambda *p: regularization.spectral_density(
        quartic, list(p), iterations=7), *POINT)
    np.testing.assert_allclose(spectrum.eigenvalues, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('eigenvalues, iterations', [
    (EIGENVALUES, 20),                       # more steps than dimensions
    ([3., 3., 3., -1., -1., -1., -1.], 7),   # a breakdown after two steps
    (7 * [2.], 5),                           # ... after one
    (7 * [0.], 5),                           # nothing to find
])
def test_breakdown_leaves_exact_eigenvalues(eigenvalues, iterations, control_flow):
    spectrum = evaluate(lambda *p: regularization.spectral_density(
        quadratic(symmetric(np.array(eigenvalues))), list(p), iterations), *POINT)
    assert np.isfinite(spectrum.eigenvalues).all()
    np.testing.assert_allclose(spectrum.weights.sum(), 1., rtol=1e-5)
    found = spectrum.eigenvalues[spectrum.weights > 1e-6]
    np.testing.assert_allclose(sorted(set(found.round(3))), sorted(set(eigenvalues)), atol=2e-3)


def test_lanczos_stays_orthogonal_and_reproduces_the_matrix():
    matrix = symmetric(np.logspace(-3, 3, 30))
    start = np.float32(np.random.RandomState(0).normal(size=30))
    result = evaluate(lambda v: regularization.lanczos(
        lambda vector: tf.linalg.matvec(matrix, vector), v, 25), start / np.linalg.norm(start))
    kept = np.linalg.norm(result.basis, axis=1) > 0.5
    basis = result.basis[kept]
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-5)
    tridiagonal = np.diag(result.alphas) + np.diag(result.betas, 1) + np.diag(result.betas, -1)
    np.testing.assert_allclose(basis @ matrix @ basis.T, tridiagonal[kept][:, kept], atol=2e-3)


# Values.


def penalty_value(option, objective, iterations, point=POINT):
    return evaluate(lambda *p: Penalty(option, iterations=iterations)(objective, list(p)), *point)


def test_trace(control_flow):
    diagonal = np.diag(EIGENVALUES)
    np.testing.assert_allclose(penalty_value('hessian', quadratic(diagonal), 1),
                               EIGENVALUES.sum(), rtol=1e-5)
    matrix = symmetric(EIGENVALUES)
    deviation = np.sqrt(2 * (np.sum(matrix ** 2) - np.sum(np.diag(matrix) ** 2)) / 1000)
    estimate = penalty_value('hessian', quadratic(matrix), 1000)
    assert abs(estimate - np.trace(matrix)) < 4 * deviation


@pytest.mark.parametrize('sign', [1, -1])
def test_top_eigenvalue_keeps_its_sign(sign, control_flow):
    value = penalty_value('hessian-ev', quadratic(symmetric(sign * EIGENVALUES)), 40)
    np.testing.assert_allclose(value, sign * 9., rtol=1e-4)


def test_top_eigenvalue_takes_one_power_step_less_than_products():
    matrix = symmetric(EIGENVALUES)
    start = np.linspace(1., 2., len(matrix)).astype('float32')

    def value(iterations):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(regularization, '_random_direction',
                          lambda *_: tf.constant(start / np.linalg.norm(start)))
            return penalty_value('hessian-ev', quadratic(matrix), iterations)

    for iterations in (1, 2, 4):
        vector = np.linalg.matrix_power(matrix, iterations - 1).dot(start)
        expected = vector.dot(matrix).dot(vector) / vector.dot(vector)
        np.testing.assert_allclose(value(iterations), expected, rtol=1e-4)


def test_top_eigenvalue_of_a_non_quadratic():
    truth = np.linalg.eigvalsh(hessian_at(convex, flat(POINT)))
    np.testing.assert_allclose(penalty_value('hessian-ev', convex, 40), truth[-1], rtol=1e-3)


@pytest.mark.parametrize('iterations', [3, 7])
def test_the_eigenvalue_measures_agree_with_the_density(iterations, control_flow):
    """The sum, and the weighted mean modulus."""
    with tf.Graph().as_default(), tf.Session() as sess:
        params = [tf.constant(p) for p in POINT]
        spectrum = regularization.spectral_density(quartic, params, iterations, seed=3)
        values = [Penalty(option, iterations, seed=3)(quartic, params)
                  for option in ('hessian-esd', 'hessian-esd-mean-abs')]
        spectrum, values = sess.run([spectrum, values])
    expected = [np.sum(spectrum.eigenvalues),
                np.sum(spectrum.weights * np.abs(spectrum.eigenvalues))]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_the_sum_of_all_eigenvalues_is_the_trace():
    np.testing.assert_allclose(penalty_value('hessian-esd', quadratic(symmetric(EIGENVALUES)), 9),
                               EIGENVALUES.sum(), rtol=1e-4)


def test_jacob_is_the_mean_of_the_squared_gradient_and_jacob_norm_the_sum():
    matrix = symmetric(EIGENVALUES)
    squares = (matrix @ flat(POINT)) ** 2
    for option, expected in (('jacob', np.mean(squares)), ('jacob-norm', np.sum(squares))):
        np.testing.assert_allclose(penalty_value(option, quadratic(matrix), 1), expected,
                                   rtol=1e-4)


@pytest.mark.parametrize('option', OPTIONS)
def test_no_curvature_gives_zero(option):
    assert penalty_value(option, lambda params: 0. * tf.reduce_sum(params[0]), 5) == 0.
    assert penalty_value(option, lambda params: tf.constant(3.), 5) == 0.


@pytest.mark.parametrize('option', [option for option in OPTIONS if 'hessian' in option])
def test_random_vectors_change_with_run_and_step_but_repeat_with_the_seed(option):
    def values():
        with tf.Graph().as_default(), tf.Session() as sess:
            params = [tf.constant(p) for p in POINT]
            penalty = Penalty(option, iterations=2, seed=5)
            tensors = [penalty(quartic, params, step=step) for step in (0, 1)]
            return [float(v) for _ in range(3) for v in sess.run(tensors)]
    first = values()
    assert first == values()
    assert len(set(first)) == len(first)


# Derivatives.

EXACT = [('hessian', quartic, 3), ('hessian-ev', convex, 40), ('hessian-ev', quartic, 40),
         ('hessian-esd', quartic, 7), ('hessian-esd-mean-abs', convex, 7), ('jacob', quartic, 1),
         ('jacob-norm', quartic, 1)]


def central_difference(function, value, width):
    difference = np.float64(function(value + width)) - np.float64(function(value - width))
    return difference / (2 * width)


@pytest.mark.parametrize('option, objective, iterations', EXACT)
def test_the_derivative_by_finite_differences(option, objective, iterations, control_flow):
    penalty = Penalty(option, iterations=iterations, seed=5)

    def value_and_gradient(vector):
        params = regularization.unflatten(vector, [tf.constant(p) for p in POINT])
        value = penalty(objective, params)
        return value, tf.gradients(value, params)

    function = Function(value_and_gradient, [7])
    gradient = flat(function(flat(POINT))[1])
    for direction in np.random.RandomState(0).normal(size=(2, 7)):
        moved = central_difference(
            lambda t, d=direction: function(flat(POINT) + t * d)[0], 0., 1e-2)
        np.testing.assert_allclose(gradient @ direction, moved, rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize('option', OPTIONS)
def test_gradients_are_those_of_the_value(option):
    penalty = Penalty(option, iterations=3, seed=5)

    def both(*params):
        params = list(params)
        direct = tf.gradients(penalty(convex, params, 0), params)
        return direct, penalty.gradients(convex, params, 0)

    for direct, method in zip(*evaluate(both, *POINT)):
        np.testing.assert_allclose(method, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('option, objective, iterations', EXACT)
def test_the_derivative_through_an_outer_loop(option, objective, iterations, control_flow):
    """A meta-parameter (a learning rate) gets its gradient through four steps of descent.

    The penalty lies in a branch, as in the unroll.
    """
    penalty = Penalty(option, iterations=iterations, seed=5)

    def total_and_slope(rate):
        def body(step, params, total):
            total += tf.cond(step > 0, lambda: penalty(objective, params, step), lambda: 0.)
            grads = tf.gradients(objective(params), params)
            return step + 1, [p - rate * g for p, g in zip(params, grads)], total
        start = tf.constant(0), [tf.constant(p) for p in POINT], tf.constant(0.)
        total = tf.while_loop(lambda step, *_: step < 4, body, start)[2]
        return total, tf.gradients(total, rate)[0]

    function = Function(total_and_slope, [])
    expected = central_difference(lambda rate: function(rate)[0], 0.02, 4e-3)
    np.testing.assert_allclose(function(0.02)[1], expected, rtol=3e-2)


@pytest.mark.parametrize('second_derivatives', [False, True])
@pytest.mark.parametrize('option', OPTIONS)
def test_a_penalty_in_the_inner_objective_of_an_outer_loop(option, second_derivatives,
                                                           control_flow):
    """As --reg_optimizee: the descent itself follows the penalty's gradient."""
    penalty = Penalty(option, iterations=3)

    def slope(rate):
        def body(step, params):
            own = tf.gradients(convex(params), params)
            added = tf.cond(step > 0, lambda: penalty.gradients(convex, params, step),
                            lambda: [tf.zeros_like(param) for param in params])
            grads = [grad + 0.01 * more for grad, more in zip(own, added)]
            if not second_derivatives:
                grads = [tf.stop_gradient(grad) for grad in grads]
            return step + 1, [param - rate * grad for param, grad in zip(params, grads)]
        start = tf.constant(0), [tf.constant(p) for p in POINT]
        end = tf.while_loop(lambda step, *_: step < 3, body, start)[1]
        return tf.gradients(convex(end), rate)[0]

    assert evaluate(slope, np.float32(0.01)) < 0


def test_mean_absolute_eigenvalue_differentiates_in_the_mean():
    """Over all sign vectors as starts the derivative is that of the mean |lambda| exactly."""
    point = np.array([0.3, -0.5, 0.2, 0.7], np.float32)
    mixing = symmetric([3., -2., 1., -1.])

    def objective(vector):
        mixed = tf.linalg.matvec(mixing, vector)
        return tf.reduce_sum(vector * mixed) + tf.reduce_sum(tf.sin(2 * mixed))

    hessian = Function(lambda v: tf.hessians(objective(v), v)[0], [4])

    def truth(vector):
        return np.mean(np.abs(np.linalg.eigvalsh(hessian(vector))))

    def mean_gradient(vector):
        with pytest.MonkeyPatch.context() as patch:
            gradients = []
            for signs in itertools.product([-0.5, 0.5], repeat=4):
                patch.setattr(regularization, '_random_direction',
                              lambda *_, signs=signs: tf.constant(signs))
                value = regularization.mean_absolute_eigenvalue(objective, vector, 4, key=None)
                gradients.append(tf.gradients(value, vector)[0])
            return tf.add_n(gradients) / len(gradients)

    gradient = evaluate(mean_gradient, point)
    expected = [central_difference(lambda t, d=d: truth(point + t * d), 0., 1e-2)
                for d in np.eye(4)]
    np.testing.assert_allclose(gradient, expected, rtol=1e-2, atol=1e-2)


# When it counts.


@pytest.mark.parametrize('time, scale, expected', [
    ('prior', 0.5, [1, 1, 1, 1, 0, 0]), ('posterior', 0.5, [0, 0, 0, 0, 0, 1]),
    ('prior', 0.3, [1, 1, 0, 0, 0, 0]), ('posterior', 0.3, [0, 0, 0, 1, 1, 1]),
    ('prior', 0., [1, 0, 0, 0, 0, 0]), ('posterior', 0., [0, 0, 1, 1, 1, 1]),
    ('prior', 1., [1, 1, 1, 1, 1, 1]), ('posterior', 1., [0, 0, 0, 0, 0, 0]),
    ('none', 0.5, [0, 0, 0, 0, 0, 0]), ('always', 0.5, [1, 1, 1, 1, 1, 1]),
])
def test_when_a_penalty_counts(time, scale, expected):
    """As published: unroll number int(n scale) + 1 counts neither as early nor as late."""
    penalty = Penalty(on_optimizer=True, time=time, scale=scale)
    assert [penalty.counts(index, 6) for index in range(6)] == [bool(e) for e in expected]
    assert penalty.ever_counts == any(expected)


def test_at_twenty_unrolls_and_half_the_last_eight_are_posterior():
    penalty = Penalty(on_optimizee=True, time='posterior', scale=0.5)
    assert [index for index in range(20) if penalty.counts(index, 20)] == list(range(12, 20))


def test_weights():
    penalty = Penalty(alpha=0.3, beta=0.2, on_optimizer=True, time='always')
    assert (penalty.meta_weight, penalty.inner_weight) == (0.3, 0.)
    penalty = Penalty(alpha=0.3, beta=0.2, on_optimizee=True, time='always')
    assert (penalty.meta_weight, penalty.inner_weight) == (0., 0.2)
    assert penalty.ever_counts
    unused = Penalty(time='always')
    assert not unused.ever_counts and not unused.counts(0, 1)


@pytest.mark.parametrize('arguments, message', [
    (dict(option='hesian'), 'hessian, hessian-esd, hessian-esd-mean-abs, hessian-ev, jacob'),
    (dict(time='later'), 'prior, posterior, none, always'),
    (dict(iterations=0), 'at least 1 iteration'),
    (dict(scale=1.5), '0 to 1'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Penalty(**arguments)


def test_flatten_and_unflatten_are_inverse():
    vector, parts = evaluate(lambda *p: (
        regularization.flatten(p), regularization.unflatten(regularization.flatten(p), p)), *POINT)
    assert vector.shape == (7,)
    assert [part.shape for part in parts] == SHAPES
    for part, value in zip(parts, POINT):
        np.testing.assert_array_equal(part, value)
