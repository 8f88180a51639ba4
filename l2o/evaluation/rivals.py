"""Hand-made rules that TensorFlow 1 does not have: AdamW, Lion, Muon, Prodigy, schedule-free AdamW.

Each is written from its paper, a formula in one piece. All steps of a rule are computed from the
values that variables had before. Rows without a gradient count as rows with a gradient of zero.
"""

from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from optimizer import gradients as gradients_of
from optimizer.step import Change, assign_all

Rate = Union[float, tf.Tensor]
GradsAndVars = Iterable[Tuple[Any, tf.Variable]]

NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315  # Muon's coefficients
WARM_UP = 50  # steps in which the rate of schedule-free AdamW rises


class Rule(tf.train.Optimizer):
    """The base: a subclass defines `changes`.

    Args:
      learning_rate: a float or a tensor.
      weight_decay: decoupled.
      name: of its operations and slots.
    """

    def __init__(self, learning_rate: Rate, weight_decay: float, name: str) -> None:
        super().__init__(use_locking=False, name=name)
        self._rate, self._decay = learning_rate, weight_decay

    def changes(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                step: tf.Tensor) -> List[Tuple[tf.Variable, tf.Tensor]]:
        """One step: pairs (variable, new value), those of slots among them.

        Args:
          gradients: dense ones.
          variables: of the model.
          step: a float32 scalar, 1 in the first step.
        """
        raise NotImplementedError

    def apply_gradients(self, grads_and_vars: GradsAndVars,
                        global_step: Optional[tf.Variable] = None,
                        name: Optional[str] = None) -> tf.Operation:
        pairs = [pair for pair in grads_and_vars if pair[0] is not None]
        variables = [variable for _, variable in pairs]
        gradients = [gradients_of.dense(gradient, variable.shape.as_list())
                     for gradient, variable in pairs]
        with tf.init_scope():
            steps = self._create_non_slot_variable(0.0, 'steps', colocate_with=variables[0])
        step = steps + 1.0
        changes = self.changes(gradients, variables, step) + [(steps, step)]
        done = assign_all([Change(variable, value) for variable, value in changes])
        if global_step is not None:
            with tf.control_dependencies(done):
                done.append(global_step.assign_add(1).op)
        return tf.group(*done, name=name)

    def zeros(self, variable: tf.Variable, name: str) -> tf.Variable:
        """A slot of a variable that begins with zeros."""
        return self._zeros_slot(variable, name, self.get_name())

    def copy(self, variable: tf.Variable, name: str) -> tf.Variable:
        """A slot of a variable that begins with what the variable begins with."""
        with tf.init_scope():
            value = tf.cond(tf.is_variable_initialized(variable), variable.read_value,
                            lambda: variable.initial_value)
        return self._get_or_make_slot(variable, value, name, self.get_name())


def _adam(rate, gradient, first, second, step, betas, epsilon=1e-8):
    """Adam's step (arXiv 1412.6980, algorithm 1), and the moments after it."""
    first = betas[0] * first + (1.0 - betas[0]) * gradient
    second = betas[1] * second + (1.0 - betas[1]) * tf.square(gradient)
    mean = first / (1.0 - tf.pow(betas[0], step))
    root = tf.sqrt(second / (1.0 - tf.pow(betas[1], step)))
    return rate * mean / (root + epsilon), first, second


class AdamW(tf.train.AdamOptimizer):
    """Adam with decoupled weight decay (arXiv 1711.05101): x <- (1 - rate * decay) x, then Adam.

    Args:
      learning_rate: a float or a tensor.
      weight_decay: the decay; 0.01, as usual elsewhere.
    """

    def __init__(self, learning_rate: Rate = 1e-3, weight_decay: float = 0.01,
                 name: str = 'AdamW') -> None:
        super().__init__(learning_rate, name=name)
        self._shrinkage = learning_rate * weight_decay

    def apply_gradients(self, grads_and_vars: GradsAndVars,
                        global_step: Optional[tf.Variable] = None,
                        name: Optional[str] = None) -> tf.Operation:
        pairs = [pair for pair in grads_and_vars if pair[0] is not None]
        with tf.control_dependencies([gradient for gradient, _ in pairs]):
            decays = [variable.assign_sub(self._shrinkage * variable) for _, variable in pairs]
        with tf.control_dependencies(decays):
            return super().apply_gradients(pairs, global_step, name)


class Lion(Rule):
    """"Symbolic Discovery of Optimization Algorithms" (arXiv 2302.06675), algorithm 2:

        x <- x - rate * (sign(0.9 m + 0.1 g) + decay * x);  m <- 0.99 m + 0.01 g
    """

    def __init__(self, learning_rate: Rate = 1e-4, weight_decay: float = 0.1,
                 name: str = 'Lion') -> None:
        super().__init__(learning_rate, weight_decay, name)

    def changes(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                step: tf.Tensor) -> List[Tuple[tf.Variable, tf.Tensor]]:
        changes = []
        for g, x in zip(gradients, variables):
            m = self.zeros(x, 'momentum')
            direction = tf.sign(0.9 * m + 0.1 * g) + self._decay * x
            changes += [(x, x - self._rate * direction), (m, 0.99 * m + 0.01 * g)]
        return changes


class Muon(Rule):
    """Orthogonal momentum for matrices, AdamW for the rest (Jordan et al., "Muon", 2024).

        m <- 0.95 m + g;  x <- (1 - rate * decay) x - rate * sqrt(max(1, rows / columns)) * O

    where O is g + 0.95 m after `newton_schulz`. A tensor of rank 2 or more is a matrix of
    prod(shape[:-1]) rows. Both parts have the same rate and decay.
    """

    def __init__(self, learning_rate: Rate = 0.02, weight_decay: float = 0.01,
                 name: str = 'Muon') -> None:
        super().__init__(learning_rate, weight_decay, name)

    def changes(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                step: tf.Tensor) -> List[Tuple[tf.Variable, tf.Tensor]]:
        changes = []
        for g, x in zip(gradients, variables):
            m, shape = self.zeros(x, 'momentum'), x.shape.as_list()
            if len(shape) < 2:
                v = self.zeros(x, 'square')
                move, first, second = _adam(self._rate, g, m, v, step, (0.9, 0.999))
                changes += [(m, first), (v, second)]
            else:
                momentum = 0.95 * m + g
                matrix = tf.reshape(g + 0.95 * momentum, [-1, shape[-1]])
                rows, columns = matrix.shape.as_list()
                scale = self._rate * max(1.0, rows / columns) ** 0.5
                move = scale * tf.reshape(newton_schulz(matrix), shape)
                changes.append((m, momentum))
            changes.append((x, x - self._rate * self._decay * x - move))
        return changes


def newton_schulz(matrix: tf.Tensor, iterations: int = 5) -> tf.Tensor:
    """A matrix with singular values near 1 in place of those of `matrix`, by

        X <- (a + b X X' + c (X X')^2) X

    from X = matrix / |matrix|, on the smaller side.
    """
    rows, columns = matrix.shape.as_list()
    x = matrix / (tf.norm(matrix) + 1e-7)
    x = tf.transpose(x) if rows > columns else x
    a, b, c = NEWTON_SCHULZ
    for _ in range(iterations):
        gram = tf.matmul(x, x, transpose_b=True)
        x = a * x + tf.matmul(b * gram + c * tf.matmul(gram, gram), x)
    return tf.transpose(x) if rows > columns else x


class Prodigy(Rule):
    """"Prodigy: An Expeditiously Adaptive Parameter-Free Learner" (arXiv 2306.06101), algorithm 4.

    The distance d to the solution is estimated; the rate is a factor of it, 1 as it comes.
    """

    def __init__(self, learning_rate: Rate = 1.0, weight_decay: float = 0.01,
                 initial_distance: float = 1e-6, name: str = 'Prodigy') -> None:
        super().__init__(learning_rate, weight_decay, name)
        self._initial_distance = initial_distance

    def changes(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                step: tf.Tensor) -> List[Tuple[tf.Variable, tf.Tensor]]:
        beta1, beta2 = 0.9, 0.999
        with tf.init_scope():
            d, r = (self._create_non_slot_variable(value, name, colocate_with=variables[0])
                    for name, value in (('distance', self._initial_distance), ('product', 0.0)))
        rate, changes, norms, products = self._rate * d, [], [], []
        for g, x in zip(gradients, variables):
            m, v, s = (self.zeros(x, name) for name in ('first', 'second', 'sum'))
            first = beta1 * m + (1.0 - beta1) * d * g
            second = beta2 * v + (1.0 - beta2) * tf.square(d * g)
            total = beta2 ** 0.5 * s + (1.0 - beta2 ** 0.5) * rate * d * g
            products.append(tf.reduce_sum(g * (self.copy(x, 'start') - x)))
            norms.append(tf.reduce_sum(tf.abs(total)))
            move = rate * (first / (tf.sqrt(second) + d * 1e-8) + self._decay * x)
            changes += [(m, first), (v, second), (s, total), (x, x - move)]
        product = beta2 ** 0.5 * r + (1.0 - beta2 ** 0.5) * rate * d * tf.add_n(products)
        estimate = product / tf.maximum(tf.add_n(norms), 1e-30)
        return changes + [(r, product), (d, tf.maximum(d, estimate))]


class ScheduleFreeAdamW(Rule):
    """"The Road Less Scheduled" (arXiv 2405.15682), algorithm 1, with a warm-up of 50 steps.

        y = 0.1 z + 0.9 x;  z <- z - rate * (g(y) / (sqrt(v) + epsilon) + decay * y)
        x <- (1 - c) x + c z,  c = rate^2 / (the sum of rate^2 so far)

    A variable holds y, where gradients are taken; the optimizer is judged at x, `true_params`.

    Attributes:
      use_attention: that gradients are taken beside the parameters.
    """

    use_attention = True
    BETA = 0.9

    def __init__(self, learning_rate: Rate = 1e-2, weight_decay: float = 0.01,
                 name: str = 'ScheduleFreeAdamW') -> None:
        super().__init__(learning_rate, weight_decay, name)

    def changes(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable],
                step: tf.Tensor) -> List[Tuple[tf.Variable, tf.Tensor]]:
        with tf.init_scope():
            weights = self._create_non_slot_variable(0.0, 'weights', colocate_with=variables[0])
        rate = self._rate * tf.minimum(1.0, step / WARM_UP)
        total = weights + tf.square(rate)
        share, changes = tf.square(rate) / total, [(weights, total)]
        for g, y in zip(gradients, variables):
            z, v = self.copy(y, 'z'), self.zeros(y, 'square')
            x = (y - (1.0 - self.BETA) * z) / self.BETA
            second = 0.999 * v + 0.001 * tf.square(g)
            root = tf.sqrt(second / (1.0 - tf.pow(0.999, step)))
            moved = z - rate * (g / (root + 1e-8) + self._decay * y)
            average = (1.0 - share) * x + share * moved
            changes += [(v, second), (z, moved),
                        (y, (1.0 - self.BETA) * moved + self.BETA * average)]
        return changes

    def true_params(self, var_list: Iterable[tf.Variable]) -> List[tf.Tensor]:
        """The averages x, a tensor for each variable."""
        return [(y - (1.0 - self.BETA) * self.copy(y, 'z')) / self.BETA for y in var_list]
