"""The optimization problems that learned optimizers are trained and tested on.

Quadratics, two-dimensional test functions, problems made from other problems, and problems built
to have one particular difficulty. The neural networks, defined in their own modules, are
published here too, so that every problem is `problem_generator.<Class>`.

Source: "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813), section 4.1 and
appendix. Random problems draw their constants from the generator of their `random_seed`; without
one they are other problems each time.
"""

import math
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from problems.classifiers import (  # noqa: F401
    FullyConnected,
    OneHotSparseSoftmaxRegression,
    SoftmaxClassifier,
    SoftmaxRegression,
    SparseSoftmaxRegression,
)
from problems.convnets import VGG, ConvNet, ConvNetOrig  # noqa: F401
from problems.problem import Gradient, Problem, Wrapper, draw_key
from problems.problem_spec import Spec, build
from problems.random_numbers import generator

EPSILON = 1e-6
_TINY = 1e-12


# Quadratics and norms.


class _RandomLinear(Problem):
    """Base of the functions of W x - y: x and y [ndim, 1], W [ndim, ndim], all N(0, 1)."""

    def __init__(self, ndim: int, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__([(ndim, 1)], random_seed, noise_stdev)
        rng = generator(random_seed)
        self.w = rng.randn(ndim, ndim).astype('float32')
        self.y = rng.randn(ndim, 1).astype('float32')

    def _residual(self, parameters):
        return tf.matmul(self.w, parameters[0]) - self.y


class Quadratic(_RandomLinear):
    """f(x) = 1/2 ||W x - y||^2 with W [ndim, ndim], y [ndim, 1] drawn from N(0, 1)."""

    def _objective(self, parameters, data, labels):
        return tf.nn.l2_loss(self._residual(parameters))


class Norm(_RandomLinear):
    """f(x) = (sum_i (|d_i| + 1e-6)^p)^(1/p) with d = W x - y: the p-norm of d, smoothed."""

    def __init__(self, ndim: int, random_seed: Optional[int] = None, noise_stdev: float = 0.0,
                 norm_power: float = 2.0) -> None:
        super().__init__(ndim, random_seed, noise_stdev)
        self.norm_power = norm_power

    def _objective(self, parameters, data, labels):
        magnitudes = tf.abs(self._residual(parameters)) + EPSILON
        return tf.reduce_sum(magnitudes ** self.norm_power) ** (1.0 / self.norm_power)


class IsotropicQuadratic(Problem):
    """f(x) = ||x||^2, summed over any number of parameter tensors of any shape."""

    def _objective(self, parameters, data, labels):
        return tf.add_n([tf.reduce_sum(tf.square(parameter)) for parameter in parameters])


class Bowl(Problem):
    """f(x) = 1/2 ||A x||^2 with A = diag(sqrt(condition_number), 1) rotation(angle), x [2, 1].

    Raises:
      ValueError: the condition number is not positive.
    """

    def __init__(self, condition_number: float, angle: float = 0.0,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        if condition_number <= 0:
            raise ValueError('the condition number must be positive, not %s' % condition_number)
        super().__init__([(2, 1)], random_seed, noise_stdev)
        self.condition_number = condition_number
        self.angle = angle
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        stretch = np.diag([math.sqrt(condition_number), 1.0])
        self.matrix = stretch.dot(rotation).astype('float32')

    def _objective(self, parameters, data, labels):
        return tf.nn.l2_loss(tf.matmul(self.matrix, parameters[0]))


# Two-dimensional test functions: en.wikipedia.org/wiki/Test_functions_for_optimization.


class Problem2D(Problem):
    """Base of the functions of two numbers, kept in one tensor of shape [2].

    A subclass defines `surface(x, y)` and, where it does not start from N(0, 1), the intervals
    `x_range` and `y_range` in which the initial point is uniform.
    """

    x_range: Optional[Tuple[float, float]] = None
    y_range: Optional[Tuple[float, float]] = None

    def __init__(self, random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        super().__init__([(2,)], random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        if self.x_range is None:
            return super().init_tensors(seed)
        low, high = zip(self.x_range, self.y_range or self.x_range)
        return [tf.random_uniform([2], seed=seed) * np.subtract(high, low).astype('float32') + low]

    def _objective(self, parameters, data, labels):
        x, y = tf.unstack(tf.reshape(parameters[0], [2]))
        return self.surface(x, y)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Returns the value at (x, y), elementwise."""
        raise NotImplementedError


class Rosenbrock(Problem2D):
    """(1 - x)^2 + 100 (y - x^2)^2; minimum 0 at (1, 1)."""

    x_range = (-5.0, 10.0)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return (1 - x) ** 2 + 100 * (y - x ** 2) ** 2


class Saddle(Problem2D):
    """x^2 - y^2: a saddle point at the origin, unbounded below."""

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return x ** 2 - y ** 2


class LogSumExp(Problem2D):
    """log(e^(x + 3y - 0.1) + e^(x - 3y - 0.1) + e^(-x - 0.1) + 1)."""

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.log(tf.exp(x + 3 * y - 0.1) + tf.exp(x - 3 * y - 0.1) + tf.exp(-x - 0.1) + 1)


class Ackley(Problem2D):
    """-20 e^(-0.2 sqrt((x^2 + y^2) / 2)) - e^((cos 2 pi x + cos 2 pi y) / 2) + e + 20."""

    x_range = (-32.768, 32.768)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        waves = tf.cos(2 * math.pi * x) + tf.cos(2 * math.pi * y)
        return (-20 * tf.exp(-0.2 * tf.sqrt(0.5 * (x ** 2 + y ** 2)))
                - tf.exp(0.5 * waves) + math.e + 20)


class Beale(Problem2D):
    """(1.5 - x + xy)^2 + (2.25 - x + xy^2)^2 + (2.625 - x + xy^3)^2; minimum 0 at (3, 0.5)."""

    x_range = (-4.5, 4.5)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return ((1.5 - x + x * y) ** 2 + (2.25 - x + x * y ** 2) ** 2
                + (2.625 - x + x * y ** 3) ** 2)


class Booth(Problem2D):
    """(x + 2y - 7)^2 + (2x + y - 5)^2; minimum 0 at (1, 3)."""

    x_range = (-10.0, 10.0)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


class StyblinskiTang(Problem2D):
    """1/2 (x^4 - 16 x^2 + 5x + y^4 - 16 y^2 + 5y) + 80; minimum about 1.67, raised above 0."""

    x_range = (-5.0, 5.0)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return 0.5 * sum(z ** 4 - 16 * z ** 2 + 5 * z for z in (x, y)) + 80


class Matyas(Problem2D):
    """0.26 (x^2 + y^2) - 0.48 xy; minimum 0 at the origin."""

    x_range = (-10.0, 10.0)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return 0.26 * (x ** 2 + y ** 2) - 0.48 * x * y


class Branin(Problem2D):
    """(y - 5.1 x^2 / (4 pi^2) + 5x / pi - 6)^2 + 10 (1 - 1 / (8 pi)) cos x + 10."""

    x_range = (-5.0, 10.0)
    y_range = (0.0, 15.0)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        valley = y - 5.1 / (4 * math.pi ** 2) * x ** 2 + 5 / math.pi * x - 6
        return valley ** 2 + 10 * (1 - 1 / (8 * math.pi)) * tf.cos(x) + 10


class Michalewicz(Problem2D):
    """2 - sin x sin^10(x^2 / pi) - sin y sin^10(2 y^2 / pi)."""

    x_range = (0.0, math.pi)

    @staticmethod
    def surface(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        steepness = 10
        return (2 - tf.sin(x) * tf.sin(x ** 2 / math.pi) ** steepness
                - tf.sin(y) * tf.sin(2 * y ** 2 / math.pi) ** steepness)


# Problems made from other problems.


class Rescale(Wrapper):
    """f(x / scale) for the f of another problem; starts at `scale` times its initial values."""

    def __init__(self, problem_spec: Union[Problem, Spec], scale: float = 10.0,
                 noise_stdev: float = 0.0, random_seed: Optional[int] = None) -> None:
        super().__init__(problem_spec, noise_stdev, random_seed)
        self.scale = scale

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return [value * self.scale for value in self.problem.init_tensors(seed)]

    def _objective(self, parameters, data, labels):
        scaled = [parameter / self.scale for parameter in parameters]
        return self.problem.objective(scaled, data, labels)


class LogObjective(Wrapper):
    """log(f(x) + 1e-6) - log(1e-6) for the f of another problem: 0 where f is 0."""

    def __init__(self, problem_spec: Union[Problem, Spec],
                 random_seed: Optional[int] = None) -> None:
        super().__init__(problem_spec, random_seed=random_seed)

    def _objective(self, parameters, data, labels):
        objective = self.problem.objective(parameters, data, labels)
        return tf.log(objective + EPSILON) - math.log(EPSILON)


class SparseProblem(Wrapper):
    """Another problem, each entry of its gradient set to 0 with a given probability.

    The noise is added first, so that a zeroed entry is exactly 0. Gradients are dense tensors.
    """

    def __init__(self, problem_spec: Union[Problem, Spec], zero_probability: float = 0.99,
                 noise_stdev: float = 0.0, random_seed: Optional[int] = None) -> None:
        super().__init__(problem_spec, noise_stdev, random_seed)
        self.zero_prob = zero_probability

    def gradients(self, objective: tf.Tensor, parameters: Sequence[tf.Tensor],
                  key: Optional[tf.Tensor] = None) -> List[Gradient]:
        gradients = super().gradients(objective, parameters, key)
        return [self._zero_entries(tf.convert_to_tensor(gradient), draw_key(key, draw))
                for draw, gradient in enumerate(gradients, start=len(gradients))]

    def _zero_entries(self, gradient, key):
        shape = tf.shape(gradient)
        kept = (tf.random_uniform(shape) if key is None
                else tf.random.stateless_uniform(shape, key)) >= self.zero_prob
        return tf.where(kept, gradient, tf.zeros_like(gradient))


class SumTask(Problem):
    """f_1(x_1) + f_2(x_2) + ...: several problems, each with its own parameters.

    Data and labels go to every problem. The gradient of each has the noise of its own problem
    and, independently, that of the sum. Problems without a seed get `random_seed` plus their
    number.
    """

    def __init__(self, problem_specs: Sequence[Union[Problem, Spec]], noise_stdev: float = 0.0,
                 random_seed: Optional[int] = None) -> None:
        self.problems = [build(spec, None if random_seed is None else random_seed + number)
                         for number, spec in enumerate(problem_specs)]
        self.needs_data = any(problem.needs_data for problem in self.problems)
        shapes = [shape for problem in self.problems for shape in problem.param_shapes]
        super().__init__(shapes, random_seed, noise_stdev)

    def init_fn(self, session: tf.Session) -> None:
        for problem in self.problems:
            problem.init_fn(session)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        tensors: List[tf.Tensor] = []
        for problem in self.problems:
            tensor_seed = None if seed is None else seed + len(tensors)
            tensors.extend(problem.init_tensors(tensor_seed))
        return tensors

    def _objective(self, parameters, data, labels):
        objectives, start = [], 0
        for problem in self.problems:
            end = start + len(problem.param_shapes)
            objectives.append(problem.objective(parameters[start:end], data, labels))
            start = end
        return tf.add_n(objectives)

    def _noise_stdevs(self):
        return [math.hypot(self.noise_stdev, stdev)
                for problem in self.problems for stdev in problem._noise_stdevs()]


# Problems with one particular difficulty.


class _Vector(Problem):
    """Base of the problems with one parameter x of shape [ndim]."""

    def __init__(self, ndim: int, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__([(ndim,)], random_seed, noise_stdev)
        self.ndim = ndim


class MinMaxWell(_Vector):
    """max(x^2) + 1 / min(x^2) - 2 + 1e-12: all but two entries of the gradient are 0."""

    def _objective(self, parameters, data, labels):
        squares = tf.square(parameters[0])
        return tf.reduce_max(squares) + 1 / tf.reduce_min(squares) - 2 + _TINY


class OutwardSnake(_Vector):
    """A winding path out to infinity, along which the ideal step length stays constant.

    sum_b d_b0 / (||x|| + 1e-6) + sum_b sum_i ((x_i - pi cos x_(i-1)) d_bi)^2
    for a batch d of shape [batch, ndim].
    """

    needs_data = True

    def _objective(self, parameters, data, labels):
        x = parameters[0]
        data = tf.reshape(data, [-1, self.ndim])
        radius = tf.sqrt(tf.reduce_sum(tf.square(x)))
        distances = x[1:] - math.pi * tf.cos(x[:-1])
        return (tf.reduce_sum(data[:, 0] / (radius + EPSILON))
                + tf.reduce_sum(tf.square(distances * data[:, 1:])))


class DependencyChain(Problem):
    """sum_(i=1..ndim) x_0^2 + x_i^2 / (x_(i-1)^2 + 1e-6), x of shape [ndim + 1].

    The best x_i depends on the entry before it, so that they have to be found in order.
    """

    def __init__(self, ndim: int, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__([(ndim + 1,)], random_seed, noise_stdev)
        self.ndim = ndim

    def _objective(self, parameters, data, labels):
        squares = tf.square(parameters[0])
        return tf.reduce_sum(squares[0] + squares[1:] / (squares[:-1] + EPSILON))


class _RowVector(Problem):
    """Base of the problems with a parameter x [1, ndim] and data d [batch, ndim]."""

    needs_data = True

    def __init__(self, ndim: int, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        super().__init__([(1, ndim)], random_seed, noise_stdev)
        self.ndim = ndim

    def _objective(self, parameters, data, labels):
        return self._loss(parameters[0], tf.reshape(data, [-1, self.ndim]))

    def _loss(self, x, data):
        raise NotImplementedError


class ProjectionQuadratic(_RowVector):
    """sum over the batch and the entries of (x d)^2: each example probes some directions."""

    def _loss(self, x, data):
        return tf.reduce_sum(tf.square(x * data))


class SumOfQuadratics(_RowVector):
    """sum (x - d)^2 - sum d^2 + 1e-12: a bowl at each example; over symmetric data least at 0."""

    def _loss(self, x, data):
        return tf.reduce_sum(tf.square(x - data)) - tf.reduce_sum(tf.square(data)) + _TINY


class MatMulAlgorithm(Problem):
    """Searches an algorithm that multiplies n x n matrices with k multiplications of numbers.

    With P = (A theta_a) * (B theta_b), elementwise, the algorithm computes vec(c) = P theta_c.
    A, B [n^4, n^2] hold all pairs of one-hot matrices, C their products. The best theta_c
    follows from the parameters theta_a, theta_b [n^2, k] by least squares; the objective is
    what is left, ||P theta_c - C||^2. Zero means a correct algorithm.

    Raises:
      ValueError: not n >= 2 and n^2 <= k <= n^3.
    """

    def __init__(self, n: int, k: int) -> None:
        if n < 2 or not n ** 2 <= k <= n ** 3:
            raise ValueError('n must be 2 or more and k from n^2 to n^3, not %s, %s' % (n, k))
        super().__init__([(n ** 2, k), (n ** 2, k)])
        one_hots = np.eye(n ** 2, dtype='float32').reshape(n ** 2, n, n)
        lefts = np.repeat(one_hots, n ** 2, axis=0)
        rights = np.tile(one_hots, [n ** 2, 1, 1])
        self.a, self.b, self.c = (
            matrices.reshape(n ** 4, n ** 2)
            for matrices in (lefts, rights, np.matmul(lefts, rights)))

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        """Returns N(0, 1) matrices whose columns are scaled to length 1."""
        return [tf.nn.l2_normalize(value, 0)
                for value in super().init_tensors(seed)]

    def _objective(self, parameters, data, labels):
        products = tf.matmul(self.a, parameters[0]) * tf.matmul(self.b, parameters[1])
        normal_matrix = tf.matmul(products, products, transpose_a=True)
        projection = tf.matmul(products, self.c, transpose_a=True)
        theta_c = tf.matrix_solve(normal_matrix, projection)
        return tf.reduce_sum(tf.square(tf.matmul(products, theta_c) - self.c))


def make_rosenbrock_loss_and_init(
        device: Optional[str] = None) -> Tuple[Callable[[], tf.Tensor], Callable[..., Any]]:
    """A model that computes Rosenbrock's function of two variables, for `ModelAdapter`.

    Args:
      device: where its operations are placed, or None.

    Returns:
      (make_loss, make_init_fn): the first builds the loss from variables x, y and a constant;
      the second takes variables and returns a function that initializes them in a session.
    """
    def make_loss():
        with tf.name_scope('optimizee'), tf.device(device):
            x = tf.get_variable('x', [1])
            y = tf.get_variable('y', [1])
            steepness = tf.get_variable('c', [1], trainable=False,
                                        initializer=tf.constant_initializer(100.0))
            return tf.squeeze((1 - x) ** 2 + steepness * (y - x ** 2) ** 2)

    def make_init_fn(variables):
        with tf.device(device):
            initialize = tf.variables_initializer(variables)
        return lambda session: session.run(initialize)

    return make_loss, make_init_fn
