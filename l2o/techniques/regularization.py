"""Penalties on the curvature of the optimizee's objective, met along the learned optimizer's path.

A learned optimizer that is trained in flat regions, or an optimizee that is held there, generalises
better ("Learning to Generalize Provably in Learning to Optimize", AISTATS 2023). The Hessian is
estimated by the means of PyHessian (arXiv 1912.07145): Hutchinson, power method, Lanczos.

The curvature measures are estimated from Hessian-vector products in loops that no gradient crosses:
each loop also gathers the measure's gradient with respect to the parameters, which is then
attached to the value. So penalties differentiate once, on either version of control flow and in
flat memory, also inside the unroll's own loop. The vectors that an estimate chose count as
constants there, see each measure; *second* derivatives are taken as zero (except those of `jacob`),
which only `use_second_derivatives` with a penalty on the optimizee could see.
"""
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Union

import tensorflow.compat.v1 as tf

from l2o.settings import default

Tensors = Sequence[tf.Tensor]
Function = Callable[[tf.Tensor], tf.Tensor]  # of a vector
ObjectiveOfList = Callable[[List[tf.Tensor]], tf.Tensor]

TIMES = ('prior', 'posterior', 'none', 'always')


class Spectrum(NamedTuple):
    """A spectral density."""
    eigenvalues: tf.Tensor  # [m]
    weights: tf.Tensor  # [m], their sum is 1


class Tridiagonal(NamedTuple):
    """H in the Krylov basis, a symmetric tridiagonal matrix."""
    alphas: tf.Tensor  # [m], its diagonal
    betas: tf.Tensor  # [m - 1], beside the diagonal
    basis: tf.Tensor  # [m, P], orthonormal rows


class _Penalty(NamedTuple):
    """The fields of a `Penalty`, not checked."""
    option: str = default('reg_option')
    iterations: int = default('hessian_itrs')
    seed: Optional[int] = None
    alpha: float = default('alpha')
    beta: float = default('beta')
    on_optimizer: bool = default('reg_optimizer')
    on_optimizee: bool = default('reg_optimizee')
    time: str = default('regularize_time')
    scale: float = default('reg_scale')


class Penalty(_Penalty):
    """A curvature measure with its weights and its place in an episode.

    `penalty(objective_fn, params)` -> scalar tensor, differentiable with respect to `params`. It
    enters the meta-objective as the sum over an unroll's steps, each on the step's mini-batch.

    Attributes:
      option: the measure, a key of MEASURES.
      iterations: random draws (`hessian`), matrix products (`hessian-ev`) or Lanczos steps
        (`hessian-esd`, `hessian-esd-mean-abs`); `jacob` and `jacob-norm` need none.
      seed: of the random vectors; None: the graph's.
      alpha: weight in the meta-objective, where on_optimizer is True.
      beta: weight in the optimizee's own objective, where on_optimizee is True.
      on_optimizer: whether it counts in the meta-objective.
      on_optimizee: whether it counts in the optimizee's objective.
      time: when the penalty counts in an episode of n unrolls, which are counted from 0: `prior`:
        in those up to number int(n scale); `posterior`: in those above number int(n scale + 1);
        `none`: never; `always`.
      scale: 0 to 1.

    Raises:
      ValueError: an argument is not among those above; the message says which are.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Penalty':
        self = super().__new__(cls, *args, **kwargs)
        _check_choice('penalty', self.option, sorted(MEASURES))
        _check_choice('time of regularization', self.time, TIMES)
        if self.iterations < 1:
            raise ValueError('a penalty needs at least 1 iteration, not %s' % self.iterations)
        if not 0 <= self.scale <= 1:
            raise ValueError('the share of regularized unrolls must be 0 to 1, not %s' % self.scale)
        return self

    @property
    def meta_weight(self) -> float:
        """Weight in the meta-objective."""
        return self.alpha if self.on_optimizer else 0.

    @property
    def inner_weight(self) -> float:
        """Weight in the optimizee's own objective."""
        return self.beta if self.on_optimizee else 0.

    @property
    def ever_counts(self) -> bool:
        """Whether there is an unroll in which the penalty counts."""
        some = {'prior': True, 'posterior': self.scale < 1, 'none': False, 'always': True}
        weighted = self.meta_weight != 0 or self.inner_weight != 0
        return weighted and some[self.time]

    def counts(self, unroll_index: int, num_unrolls: int) -> bool:
        """Whether the penalty counts in unroll `unroll_index` (from 0) of `num_unrolls`."""
        return self.ever_counts and {
            'prior': unroll_index <= int(num_unrolls * self.scale),
            'posterior': unroll_index > int(num_unrolls * self.scale + 1),
            'always': True}[self.time]

    def __call__(self, objective_fn: ObjectiveOfList, params: Tensors,
                 step: Union[int, tf.Tensor] = 0,
                 key: Optional[tf.Tensor] = None) -> tf.Tensor:
        """The penalty at `params`: a scalar tensor.

        Args:
          objective_fn: list of tensors -> scalar tensor; called inside loop bodies, so it must
            build all that depends on its argument anew.
          params: list of tensors of any shapes.
          step: scalar int; the random vectors differ from step to step.
          key: int32 [2], the seed of the random vectors; None: another one at each run.
        """
        measure = MEASURES[self.option]
        key = _draw_key(self.seed) if key is None else key
        key += tf.stack([0, tf.cast(step, tf.int32)])
        return measure(flat_objective(objective_fn, params), flatten(params),
                       self.iterations, key)

    def gradients(self, objective_fn: ObjectiveOfList, params: Tensors,
                  step: Union[int, tf.Tensor] = 0,
                  key: Optional[tf.Tensor] = None) -> List[tf.Tensor]:
        """The gradients of the penalty with respect to `params`, as a list.

        For a penalty in the optimizee's objective under `tf.cond`: call it within the branch and
        add its result to the objective's gradients. Differentiating twice through a version-1
        `tf.cond`, as a meta-gradient with second derivatives would do were the penalty added
        to the objective itself, fails at run time.
        """
        here = [tf.identity(param) for param in params]
        return tf.gradients(self(objective_fn, here, step, key), here,
                            unconnected_gradients=tf.UnconnectedGradients.ZERO)


# The measures: (objective of a flat vector, point [P], iterations, random key) -> scalar.


def trace(objective: Function, point: tf.Tensor, iterations: int, key: tf.Tensor) -> tf.Tensor:
    """The Hessian's trace, by Hutchinson's estimator.

    The mean of z^T H z over `iterations` random sign vectors z, whose derivative is exact.
    """
    def signs(index):
        uniform = tf.random.stateless_uniform(tf.shape(point), key + tf.stack([index, 0]))
        return _like(2. * tf.round(uniform) - 1., point)

    value, grad = _sum_of_forms(objective, point, signs, iterations)
    return _attach(value / iterations, grad / iterations, point)


def top_eigenvalue(objective: Function, point: tf.Tensor, iterations: int,
                   key: tf.Tensor) -> tf.Tensor:
    """The Hessian's eigenvalue of largest modulus, with its sign, by the power method.

    v <- H v / |H v| until only one of `iterations` products is left, then v^T H v. The derivative
    takes v for a constant, which is exact for an eigenvector (Hellmann-Feynman).
    """
    hvp = _hessian_vector_product(objective, point)
    _, vector = tf.while_loop(
        lambda index, _: index < iterations - 1,
        lambda index, vector: (index + 1, _normalize(hvp(vector))),
        (tf.constant(0), _random_direction(point, key)), back_prop=False)
    return _attach(*_bilinear_form(objective, point, vector, vector), point=point)


def sum_of_eigenvalues(objective: Function, point: tf.Tensor, iterations: int,
                       key: tf.Tensor) -> tf.Tensor:
    """The sum of the eigenvalues of the tridiagonal matrix of `iterations` Lanczos steps.

    It is that of the Hessian in the Krylov space, sum_i q_i^T H q_i over the basis. The derivative
    takes the space for a constant: exact once the space holds all eigenvectors that the random
    start touches, and then the trace's.
    """
    tridiagonal = lanczos(_hessian_vector_product(objective, point),
                          _random_direction(point, key), iterations)
    return _attach(*_sum_of_forms(objective, point, lambda index: tridiagonal.basis[index],
                                  iterations), point=point)


def mean_absolute_eigenvalue(objective: Function, point: tf.Tensor, iterations: int,
                             key: tf.Tensor) -> tf.Tensor:
    """The mean of |lambda| under the spectral density, from `iterations` Lanczos steps.

    With T = U diag(lambda) U^T the tridiagonal matrix, Q the basis and z = q_1 its random start,
    this is sum_i U_1i^2 |lambda_i| = s^T H z, where s = Q sign(T) e_1 stands for sign(H) z. Its
    derivative takes s and z for constants: exact where the eigenvalues share one sign, and in the
    mean over z for any, since d tr|H| = tr(sign(H) dH). This costs one product, not one for each
    eigenvalue.
    """
    start = _random_direction(point, key)
    hvp = _hessian_vector_product(objective, point)
    tridiagonal = lanczos(hvp, start, iterations)
    values, vectors = _eigh(tridiagonal)
    signs = tf.linalg.matvec(vectors, tf.sign(values) * vectors[0])
    sign_of_h_z = tf.linalg.matvec(tridiagonal.basis, signs, transpose_a=True)
    return _attach(*_bilinear_form(objective, point, sign_of_h_z, start), point=point)


def mean_squared_gradient(objective: Function, point: tf.Tensor, iterations: int,
                          key: tf.Tensor) -> tf.Tensor:
    """The mean of the squared entries of the gradient, the (only) row of the Jacobian."""
    del iterations, key
    return tf.reduce_mean(tf.square(_gradient(objective(point), point)))


def squared_gradient_norm(objective: Function, point: tf.Tensor, iterations: int,
                          key: tf.Tensor) -> tf.Tensor:
    """|g|^2, the squared norm of the gradient."""
    del iterations, key
    return tf.reduce_sum(tf.square(_gradient(objective(point), point)))


#: Option -> measure; the two with a suffix are this project's own.
MEASURES = {
    'hessian': trace,
    'hessian-ev': top_eigenvalue,
    'hessian-esd': sum_of_eigenvalues,
    'hessian-esd-mean-abs': mean_absolute_eigenvalue,
    'jacob': mean_squared_gradient,
    'jacob-norm': squared_gradient_norm,
}


def spectral_density(objective_fn: ObjectiveOfList, params: Tensors, iterations: int = 10,
                     seed: Optional[int] = None) -> Spectrum:
    """The empirical spectral density of the Hessian of `objective_fn` at `params`.

    Stochastic Lanczos quadrature with one random start: the eigenvalues of the tridiagonal matrix,
    each weighted by the square of its eigenvector's first entry. Once `iterations` reaches the
    number of parameters the eigenvalues are the Hessian's own; steps beyond it, or beyond an
    early breakdown, show as eigenvalues 0 of weight 0.

    Args:
      objective_fn: list of tensors -> scalar tensor.
      params: list of tensors of any shapes.
      iterations: m, the number of Lanczos steps.
      seed: of the start vector; None: the graph's.

    Returns:
      A Spectrum of two [m] tensors.
    """
    point = flatten(params)
    hvp = _hessian_vector_product(flat_objective(objective_fn, params), point)
    start = _random_direction(point, _draw_key(seed))
    values, vectors = _eigh(lanczos(hvp, start, iterations))
    return Spectrum(values, tf.square(vectors[0]))


def lanczos(hvp: Function, start: tf.Tensor, iterations: int,
            tolerance: float = 1e-5) -> Tridiagonal:
    """Lanczos tridiagonalisation of a symmetric matrix, with full reorthogonalisation.

    Where the Krylov space ends (beta below `tolerance` times the largest entry so far), the
    remaining entries and basis vectors are zero.

    Args:
      hvp: [P] tensor -> [P] tensor, the product with the matrix; called inside a loop's body.
      start: [P], of norm 1.
      iterations: m.
      tolerance: the relative size of a beta that is zero but for rounding.

    Returns:
      A Tridiagonal.
    """
    def body(index, vector, alphas, betas, basis):
        row = tf.one_hot(index, iterations)
        basis += row[:, tf.newaxis] * vector
        product = hvp(vector)
        alphas += row * _dot(vector, product)
        rest = _orthogonalize(_orthogonalize(product, basis), basis)
        beta = tf.norm(rest)
        largest = tf.reduce_max(tf.abs(tf.concat([alphas, betas], axis=0)))
        goes_on = tf.cast(beta > tolerance * largest, tf.float32)
        following = _like(goes_on * _normalize(rest), start)
        return index + 1, following, alphas, betas + row * goes_on * beta, basis

    zeros = tf.zeros([iterations])
    first = tf.constant(0), start, zeros, zeros, zeros[:, tf.newaxis] * start
    _, _, alphas, betas, basis = tf.while_loop(lambda index, *_: index < iterations, body, first,
                                               back_prop=False)
    return Tridiagonal(alphas, betas[:-1], basis)


def flatten(tensors: Tensors) -> tf.Tensor:
    """One vector [P] with the entries of all `tensors`."""
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], axis=0)


def unflatten(vector: tf.Tensor, like: Tensors) -> List[tf.Tensor]:
    """The inverse of `flatten`: a list of tensors with the shapes of those in `like`."""
    sizes = tf.stack([tf.size(tensor) for tensor in like])
    parts = tf.split(vector, sizes, num=len(like))
    return [_like(tf.reshape(part, tf.shape(tensor)), tensor) for part, tensor in zip(parts, like)]


def flat_objective(objective_fn: ObjectiveOfList, params: Tensors) -> Function:
    """`objective_fn` as a function of the flat vector of all parameters."""
    return lambda vector: objective_fn(unflatten(vector, params))


def _hessian_vector_product(objective, point):
    """v -> H v, for use inside a loop's body: the whole path is built anew at each call."""
    def product(vector):
        here = tf.identity(point)
        grad = _gradient(objective(here), here)
        return _gradient(_dot(grad, vector), here)
    return product


def _bilinear_form(objective, point, left, right):
    """(u^T H v, its gradient with respect to the point) for constant vectors u and v."""
    here = tf.identity(tf.stop_gradient(point))
    left, right = tf.stop_gradient(left), tf.stop_gradient(right)
    value = _dot(left, _hessian_vector_product(objective, here)(right))
    return value, _gradient(value, here)


def _sum_of_forms(objective, point, vector, count):
    """(The sum of v^T H v over v = vector(0 .. count - 1), its gradient), for constant v."""
    def body(index, value, grad):
        v = vector(index)
        more, more_grad = _bilinear_form(objective, point, v, v)
        return index + 1, value + more, grad + more_grad

    return tf.while_loop(lambda index, *_: index < count, body,
                         (tf.constant(0), tf.constant(0.), tf.zeros_like(point)),
                         back_prop=False)[1:]


def _attach(value, grad, point):
    """`value`, with `grad` as its gradient with respect to `point`."""
    change = point - tf.stop_gradient(point)
    return tf.stop_gradient(value) + _dot(tf.stop_gradient(grad), change)


def _gradient(objective, point):
    grad = tf.gradients(objective, point, unconnected_gradients=tf.UnconnectedGradients.ZERO)[0]
    return _like(tf.convert_to_tensor(grad), point)


def _eigh(tridiagonal):
    """Eigenvalues [m] and eigenvectors [m, m] (columns) of a Tridiagonal."""
    above = tf.pad(tf.linalg.diag(tridiagonal.betas), [[0, 1], [1, 0]])
    return tf.linalg.eigh(tf.linalg.diag(tridiagonal.alphas) + above + tf.transpose(above))


def _orthogonalize(vector, basis):
    overlaps = tf.linalg.matvec(basis, vector)
    return vector - tf.linalg.matvec(basis, overlaps, transpose_a=True)


def _normalize(vector):
    """The vector with norm 1; a zero vector stays zero."""
    return vector / tf.maximum(tf.norm(vector), 1e-30)


def _random_direction(point, key):
    return _normalize(_like(tf.random.stateless_normal(tf.shape(point), key), point))


def _draw_key(seed):
    """Two ints, drawn anew at each session run but once in it, outside of every loop.

    Stateful random operations inside a loop would run in an order that differs from run to run.
    """
    with tf.init_scope():
        return tf.random.uniform([2], maxval=tf.int32.max, dtype=tf.int32, seed=seed)


def _dot(left, right):
    return tf.reduce_sum(left * right)


def _like(tensor, other):
    """`tensor` with the static shape of `other`."""
    tensor.set_shape(other.shape)
    return tensor


def _check_choice(what, value, choices):
    if value not in choices:
        raise ValueError('unknown %s %r: choose from %s' % (what, value, ', '.join(choices)))
