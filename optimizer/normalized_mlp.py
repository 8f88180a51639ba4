"""NormalizedMLP: normalised momenta mixed, and steps sized, by a small network for each tensor.

After Celo2 (arXiv 2602.19142: a direction from normalised features, brought to RMS 1 over each
tensor) and Celo (arXiv 2501.12670: a learned size of the step beside the learned direction). What
differs is where the network is: it runs once for each tensor, not for each parameter, so that a
step costs a few passes over memory.
"""

import collections
import contextlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import trainable_optimizer
from optimizer.layout import Layout
from optimizer.meta_parameters import outermost_graph
from optimizer.types import Rule, Theta, Update

FAST, SLOW, SQUARE = 0.9, 0.99, 0.99  # decays of the two momenta and of the squared gradient
AGREEMENT = 0.98  # decay of the agreement of successive gradients
LEAST_RMS = 1e-2  # of a direction; a weaker one is not brought to RMS 1, and none stays none
TINY = 1e-30  # a mean square of the gradient that counts as zero
LOG_RANGE = 7.0  # logarithms that enter the network are at least minus this, relative to what is 1
TAIL = 0.01  # share of the planned steps that 1 - x is kept away from 0 by

#: What the network sees of a tensor, and its outputs, with their values before meta-training.
INPUTS = ('fast', 'slow', 'gradient', 'parameter', 'is_matrix', 'fan_in', 'size', 'depth',
          'steps_done', 'planned', 'x', 'x_squared', 'log_rest', 'agreement', 'growth')
OUTPUTS = ('log_size', 'slow', 'gradient', 'log_smoothing', 'magnitude', 'agreement',
           'orthogonal', 'log_decay')
INITIAL_BIASES = {'log_size': -7.6, 'log_smoothing': -4.0, 'orthogonal': 1.5, 'log_decay': -6.5}
INITIAL_WEIGHTS = {('parameter', 'log_size'): 0.3, ('fan_in', 'log_size'): -1.2,
                   ('is_matrix', 'log_size'): 1.4, ('log_rest', 'log_size'): 0.7,
                   ('depth', 'log_size'): -0.5, ('is_matrix', 'log_decay'): 3.5}

#: The brake: once the gradient is so many times its usual size, steps shrink as it grows.
BRAKE, STRONGEST_BRAKE = 10.0, 0.01
RISE, FALL = 0.003, 0.02  # shares of the way that the logarithm of the usual size goes in a step

#: Where the number of steps is not known: the share of the mean in the parameters, and the power of
#: time that it weights points with, plus 1.
OF_MEAN, WEIGHTED = 0.8, 4.0

#: The power of the share of a table's rows that have a gradient, by which their steps are divided:
#: between 0.5, which is where momentum takes a row whose gradients are noise, and 1, all the same.
RARITY = 0.75

#: A tensor whose rows are looked up has at most this fan-in, however many rows it has: a lookup is
#: a product with a vector of one 1. Chosen on recommenders, words and bigrams of small size.
LOOKUP_FAN_IN = 3.0

#: Orthogonal directions: the coefficients of Newton and Schulz's iteration that Muon uses, how many
#: iterations, and the rows of a block, into which a large matrix is cut.
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
ITERATIONS = 4
BLOCK = 64

#: The power of a column's RMS by which an orthogonal direction's columns are divided: between 0, as
#: Muon, and 1, where all neurons move by the same. Chosen on 30 tasks of `mixed_small`.
COLUMNS = 0.5


class Moments(NamedTuple):
    """Rows `[1, size]`: sums, not means, of the gradient and its square, decayed."""
    fast: tf.Tensor  # of the gradient, decay 0.9
    slow: tf.Tensor  # of the gradient, decay 0.99
    square: tf.Tensor  # of its square, decay 0.99
    ahead: list  # of one row, z - parameters; empty where the number of steps is known


class Tensors(NamedTuple):
    """Rows `[1, tensors]`."""
    agreement: tf.Tensor  # decayed sum of (gradient * its fast mean before) / (mean square)


class State(NamedTuple):
    """What one step hands to the next."""
    chunks: list  # the `Moments` of each chunk
    tensors: Tensors
    usual: tf.Tensor  # float32 [], the logarithm of the usual size of the model's gradient
    steps_done: tf.Tensor  # float32 []
    num_steps: tf.Tensor  # float32 [], how many meta-training plans; 0: not known


class NormalizedMLP(trainable_optimizer.TrainableOptimizer):
    """A learned optimizer whose network sees, and steers, one tensor of parameters at a time.

    With the bias-corrected means m1 (0.9) and m2 (0.99) of the gradient g, v (0.99) of its square,
    and coefficients that a network gives for each tensor:

        s = 1 / sqrt(v + smoothing^2 * mean(v))
        d = (m1 + slow * m2 + gradient * g) * s
        d = d * (1 + magnitude * |softsign(d)| + agreement * softsign(d * g * s))
        u = d / RMS(d), and for matrices (1 - orthogonal) * d / RMS(d) + orthogonal * O / RMS(O)
        step = -size * (u + decay * parameter)

    O is a matrix near to d with singular values near 1, as Muon's, and columns of RMS nearer to 1
    (see `orthogonalized`); a tensor of rank 2 or more is a matrix of prod(shape[:-1]) rows. A row
    of a table that has a gradient rarely takes the larger steps. The fan-in of a table is at most
    3, however many rows it has.

    The network, one layer of tanh units beside a linear map, sees for each tensor the logarithms of
    RMS(m1), RMS(m2), RMS(g), each relative to sqrt(mean(v)), and of RMS(parameters), fan-in, number
    of parameters, of matrices in the model and of steps done; whether it is a matrix; whether the
    number of steps is planned, and if so, of the share x of them that is done: x, x^2, log(1 - x);
    how well successive gradients agree; and how the model's gradient has grown. Before
    meta-training the coefficients are about those of an orthogonal, normalised Adam with a small
    decay.

    Sizes are at most 1, and fall with the number of matrices. A brake holds where training goes
    wrong: from a gradient on that is 10 times its usual size, sizes fall as that grows, down to a
    hundredth. The usual size follows, so that they come back. Steps do not change where the
    loss is multiplied by a constant.

    Where the number of steps is not known, steps are those of a point z, and the parameters lie
    between z and its mean x, as in schedule-free learning (arXiv 2405.15682):

        z = z + step
        x = (1 - c) x + c z,  c = 4 / (t + 3)
        parameters = 0.2 z + 0.8 x

    Args:
      num_steps: after how many steps training ends; None: not known.
      units: of the tanh layer.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: `num_steps` or `units` below 1.
    """

    computes_rows_alone = True
    sees_parameters = True
    draws_state = False

    def __init__(self, num_steps: Optional[int] = None, units: int = 16,
                 name: str = 'NormalizedMLP', **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        for argument, value in (('num_steps', num_steps), ('units', units)):
            if value is not None and value < 1:
                raise ValueError('NormalizedMLP needs %s of 1 or more, not %s.' % (argument, value))
        self._num_steps = num_steps
        self._planned_steps: Dict[tf.Graph, tf.Tensor] = {}
        shapes = {'linear/w': [len(INPUTS), len(OUTPUTS)], 'linear/b': [len(OUTPUTS)],
                  'hidden/w': [len(INPUTS), units], 'hidden/b': [units],
                  'output/w': [units, len(OUTPUTS)]}
        initializers = dict(_linear_initializers(),
                            **{
            'hidden/w': tf.random_normal_initializer(stddev=0.4),
            'output/w': tf.random_normal_initializer(stddev=0.01)})
        for layer, shape in shapes.items():
            self.create_meta_parameter('NormalizedMLP/' + layer, shape,
                                       initializers.get(layer, tf.zeros_initializer()))

    @property
    def planned_steps(self) -> Optional[tf.Tensor]:
        """A float32 placeholder of the current graph, read when a state begins, where `num_steps`
        is None: meta-training feeds the length of the episode; 0, the default: not known. None in
        eager code."""
        graph = outermost_graph()
        if graph is not None and graph not in self._planned_steps:
            with tf.init_scope(), tf.name_scope(None):
                self._planned_steps[graph] = tf.placeholder_with_default(0.0, [], 'planned_steps')
        return self._planned_steps.get(graph)

    def init_from_checkpoint(self, path: str) -> None:
        with _saying_what_to_do():
            super().init_from_checkpoint(path)

    def start_from(self, values: Dict[str, np.ndarray]) -> None:
        with _saying_what_to_do():
            super().start_from(values)

    def layout(self, shapes: Sequence[Sequence[int]]) -> Layout:
        return Layout(shapes, max_chunk=2 ** 62)

    def initial_state(self, layout: Layout, theta: Theta, key: tf.Tensor) -> State:
        placeholder = self.planned_steps
        planned = tf.zeros([]) if placeholder is None else tf.identity(placeholder)
        zeros = [tf.zeros([1, chunk.size]) for chunk in layout.chunks]
        return State([Moments(each, each, each, [] if self._num_steps else [each])
                      for each in zeros],
                     Tensors(tf.zeros([1, layout.num_tensors])), tf.zeros([]), tf.zeros([]),
                     planned)

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        layout = layout.prepare()
        return lambda gradients, state, parameters: _step(layout, theta, self._num_steps,
                                                          gradients, state, parameters)


_ADVICE = ('NormalizedMLP with 13 inputs is an earlier version: load the shipped normalized_mlp, '
           'or meta-train again with its flags.txt.')


@contextlib.contextmanager
def _saying_what_to_do():
    """What would be right is said where a checkpoint is of the rule before orthogonal directions,
    whose network has 13 inputs."""
    try:
        yield
    except ValueError as error:
        if 'linear/w' not in str(error) or _ADVICE in str(error):
            raise
        raise ValueError('%s %s' % (error, _ADVICE)) from error


class MeanSquares(NamedTuple):
    """Of each tensor, `[tensors]`; of sums, not means, over time."""
    fast: tf.Tensor
    slow: tf.Tensor
    gradient: tf.Tensor
    parameter: tf.Tensor
    square: tf.Tensor  # the mean of the squares' decayed sum
    product: tf.Tensor  # of gradient and `fast` before


def _step(layout, weights, num_steps, gradients, state, parameters):
    """One step of all tensors; `gradients` and `parameters` have a row for each chunk."""
    t = state.steps_done + 1.0
    # Decayed sums become means, with Adam's correction for the zeros that they began with.
    to_mean = {decay: (1.0 - decay) / (1.0 - tf.pow(decay, t)) for decay in (FAST, SLOW, SQUARE)}

    moments = [Moments(FAST * old.fast + g, SLOW * old.slow + g, SQUARE * old.square + tf.square(g),
                       old.ahead)
               for old, g in zip(state.chunks, gradients)]
    means = _mean_squares(layout, state.chunks, moments, gradients, parameters)
    square = to_mean[SQUARE] * means.square
    relative = tf.stack([tf.square(to_mean[FAST]) * means.fast,
                         tf.square(to_mean[SLOW]) * means.slow,
                         means.gradient]) / (square + TINY)
    agreement = AGREEMENT * state.tensors.agreement + tf.nn.softsign(
        (1.0 - FAST) * means.product / (square + TINY))
    usual, growth = _growth(layout, means.gradient, state.usual, t)
    planned = tf.cast(state.num_steps if num_steps is None else num_steps, tf.float32)
    inputs = tf.concat([_half_log(relative), _half_log(means.parameter)[tf.newaxis],
                        _constants(layout), _progress(
                            state.steps_done, planned, layout.num_tensors),
                        10.0 * (1.0 - AGREEMENT) * agreement,
                        tf.fill([1, layout.num_tensors], tf.clip_by_value(growth, -3.0, 3.0))], 0)
    outputs = dict(zip(OUTPUTS, tf.unstack(_network(weights, tf.stop_gradient(inputs)))))
    sizes = tf.exp(tf.clip_by_value(outputs['log_size'], -16.0, 0.0)
                   - tf.clip_by_value(growth - np.log(BRAKE), 0.0, -np.log(STRONGEST_BRAKE)))

    mixing = layout.per_chunk(tf.stack([
        tf.exp(2.0 * tf.clip_by_value(outputs['log_smoothing'], -10.0, 3.0)) * square,
        outputs['slow'] * to_mean[SLOW], outputs['gradient'],
        tf.tanh(outputs['magnitude']), tf.tanh(outputs['agreement'])]))
    directions = []
    for chunk, m, g, own in zip(layout.chunks, moments, gradients, mixing):
        smoothing, of_slow, of_gradient, magnitude, of_agreement = tf.split(chunk.spread(own), 5)
        scale = tf.rsqrt(to_mean[SQUARE] * m.square + (smoothing + TINY))
        d = scale * tf.add_n([to_mean[FAST] * m.fast, of_slow * m.slow, of_gradient * g])
        directions.append(d + d * (magnitude * tf.abs(tf.nn.softsign(d))
                                   + of_agreement * tf.nn.softsign(d * g * scale)))
    squares = layout.tensor_means([_sums_of_squares(chunk, d)
                                   for chunk, d in zip(layout.chunks, directions)])[0]
    shares = _shares(layout)
    rarely = tf.pow(shares, RARITY)
    squares *= tf.square(rarely)
    how = tf.sigmoid(outputs['orthogonal'])
    # An orthogonal direction has RMS 1 over all elements, also where only some of them count.
    counted = 1.0 if layout.counts is None else tf.sqrt(shares)
    # Rows: factors of the direction, of the orthogonal one, and of the parameters.
    to_unit, sizes = tf.rsqrt(squares + TINY), sizes * tf.sqrt(squares / (squares + LEAST_RMS ** 2))
    factors = layout.per_chunk(-tf.stack([
        sizes * (1.0 - how * _is_cut(layout.shapes)) * to_unit,
        sizes * how * counted / rarely,
        tf.minimum(sizes * tf.exp(tf.clip_by_value(outputs['log_decay'], -16.0, 0.0)) / shares,
                   0.1)]))
    steps = []
    for chunk, own, *terms in zip(layout.chunks, factors, directions,
                                  _orthogonal(layout, directions), parameters):
        steps.append(tf.add_n([factor * term for factor, term
                               in zip(tf.split(chunk.spread(own), 3), terms)]))
    if num_steps is None:
        steps, moments = _averaged(layout, steps, moments, planned, t, shares)
    return Update(steps, None, State(moments, Tensors(agreement), usual, t, state.num_steps))


def _averaged(layout, steps, moments, planned, t, shares):
    """The steps of the parameters y from those of z, and the moments with z - y after them.

    A step of y is (1 - OF_MEAN + OF_MEAN * c) * step + c * (z - y). Where the number of steps is
    planned, it is that of z.
    """
    # A row of a table makes up for the steps in which it had no gradient.
    c = tf.minimum(WEIGHTED / (t + (WEIGHTED - 1.0)) / shares, 1.0)
    of_each = tf.where_v2(planned > 0.0, [[1.0], [0.0]], [1.0 - OF_MEAN + OF_MEAN * c, c])
    moved, ahead = [], []
    for chunk, own, step, old in zip(layout.chunks, layout.per_chunk(of_each), steps, moments):
        of_step, of_ahead = tf.split(chunk.spread(own), 2)
        moved.append(of_step * step + of_ahead * old.ahead[0])
        ahead.append(old._replace(ahead=[old.ahead[0] + step - moved[-1]]))
    return moved, ahead


def _mean_squares(layout, before, moments, gradients, parameters):
    """The `MeanSquares`."""
    sums = [tf.concat([_sums_of_squares(chunk, m.fast), _sums_of_squares(chunk, m.slow),
                       _sums_of_squares(chunk, g), _sums_of_squares(chunk, p),
                       chunk.sums(m.square), chunk.sums(g * old.fast)], 0)
            for chunk, old, m, g, p in zip(layout.chunks, before, moments, gradients, parameters)]
    return MeanSquares(*tf.unstack(layout.tensor_means(sums)))


def _growth(layout, gradient, usual, t):
    """The logarithm of the usual size of the model's gradient, and of what it is now in its units.

    The usual size follows a gradient that shrinks, but rises slowly.
    """
    size = 0.5 * tf.log(tf.reduce_mean(gradient) + TINY)
    growth = tf.where_v2(t > 1.0, size - usual, 0.0)
    follow = tf.where_v2(growth > 0.0, RISE, FALL) * tf.maximum(growth, -3.0)
    return tf.where_v2(t > 1.0, usual + follow, size), growth


def _is_cut(shapes):
    """1 for the tensors that have orthogonal directions, `[tensors]`, else 0."""
    return tf.constant([float(_sides(shape) is not None) for shape in shapes])


def _sides(shape):
    """Rows and columns of a tensor as a matrix; None where a side is below 2."""
    if len(shape) < 2:
        return None
    rows, columns = int(np.prod(shape[:-1])), int(shape[-1])
    return (rows, columns) if min(rows, columns) > 1 else None


def _shares(layout):
    """The share of each tensor that the step is made on, `[tensors]`: 1 but for rows of tables."""
    sizes = [max(1, np.prod(shape, dtype=int)) for shape in layout.shapes]
    if layout.counts is not None:
        return layout.counts / tf.constant(sizes, tf.float32)
    return tf.stack([tf.maximum(1.0, tf.cast(here, tf.float32)) / size
                     if index in layout.tables else tf.ones([])
                     for index, (here, size) in enumerate(zip(layout.sizes, sizes))])


def _orthogonal(layout, rows):
    """Orthogonal matrices near to the tensors that are matrices, of RMS 1; zeros for the others.

    Takes and gives a row for each chunk. Tensors of one shape are computed together.
    """
    tensors = layout.to_tensors([row if chunk.counted is None else row * chunk.counted
                                 for chunk, row in zip(layout.chunks, rows)])
    groups: Dict[Any, List[int]] = collections.OrderedDict()
    for index, shape in enumerate(layout.shapes):
        if _sides(shape) is not None:
            key = index if index in layout.tables else _sides(shape)
            groups.setdefault(key, []).append(index)
    found = [tf.zeros_like(tensor) for tensor in tensors]
    for members in groups.values():
        sides = _sides(layout.shapes[members[0]])
        matrices = [tf.reshape(tensors[index], [-1, sides[1]]) for index in members]
        batch = tf.stack(matrices) if len(matrices) > 1 else matrices[0][tf.newaxis]
        result = orthogonalized(batch, sides, members[0] in layout.tables)
        for index, value in zip(members, tf.unstack(result, len(members))):
            found[index] = tf.reshape(value, tf.shape(tensors[index]))
    return layout.to_chunks(found)


def orthogonalized(matrices: tf.Tensor, sides: Tuple[int, int],
                   is_table: bool = False) -> tf.Tensor:
    """Brings singular values near to one another, and the RMS of each matrix to 1.

    Newton and Schulz's iteration X <- (a + b X X' + c (X X')^2) X as in Muon, but on X X' alone (or
    X' X, whichever is smaller); the product of the polynomials is applied in the end. A matrix
    whose smaller side is above `BLOCK` is cut into blocks of so many rows, each for itself. Then
    each column, a neuron's incoming weights, is divided by a power of its RMS. NorMuon (arXiv
    2510.05491, section 3) does so with second moments over time, and altogether.

    Args:
      matrices: `[n, rows, columns]`.
      sides: the static rows and columns.
      is_table: whether only some of the rows are there; then it is X' X, and uncut.
    """
    rows, columns = sides
    blocks = -(-rows // BLOCK) if min(sides) > BLOCK and not is_table else 1
    height = -(-rows // blocks)
    wide = height <= columns and not is_table
    x = matrices
    if blocks > 1:
        x = tf.pad(x, [[0, 0], [0, blocks * height - rows], [0, 0]]) if rows % height else x
        x = tf.reshape(x, [-1, height, columns])
    gram = tf.matmul(x, x, transpose_a=not wide, transpose_b=wide)
    to_unit = tf.rsqrt(tf.reduce_sum(tf.square(gram), [1, 2], keepdims=True) + TINY)
    gram *= to_unit
    a, b, c = NEWTON_SCHULZ
    identity, product = tf.eye(height if wide else columns), None
    for iteration in range(ITERATIONS):
        polynomial = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = polynomial if product is None else tf.matmul(polynomial, product)
        if iteration + 1 < ITERATIONS:
            gram = tf.matmul(polynomial, tf.matmul(gram, polynomial))
    product *= tf.sqrt(to_unit)
    x = tf.matmul(product, x) if wide else tf.matmul(x, product)
    x = tf.reshape(x, [-1, blocks * height, columns])[:, :rows] if blocks > 1 else x
    squares = tf.reduce_mean(tf.square(x), 1, keepdims=True) + TINY
    scale = tf.pow(squares, -0.5 * COLUMNS)
    scale *= tf.rsqrt(tf.reduce_mean(squares * tf.square(scale), 2, keepdims=True))
    return x * scale


def _network(weights, inputs):
    """`[inputs, tensors]` -> `[outputs, tensors]`."""
    linear_w, linear_b, hidden_w, hidden_b, output_w = [
        tf.transpose(weights['NormalizedMLP/' + layer]) for layer in (
            'linear/w', 'linear/b', 'hidden/w', 'hidden/b', 'output/w')]
    hidden = tf.tanh(tf.matmul(hidden_w, inputs) + hidden_b[:, tf.newaxis])
    return tf.matmul(linear_w, inputs) + linear_b[:, tf.newaxis] + tf.matmul(output_w, hidden)


def _sums_of_squares(chunk, row):
    """Of each piece, `[1, pieces]`."""
    if len(chunk.pieces) == 1 and not chunk.padding and chunk.counted is None:
        return tf.reshape(2.0 * tf.nn.l2_loss(row), [1, 1])  # one pass over memory
    return chunk.sums(tf.square(row))


def _half_log(mean_squares):
    """The logarithm of an RMS, about 1 above its least value."""
    return 0.5 * tf.log(mean_squares + np.exp(-2.0 * LOG_RANGE)) + LOG_RANGE / 2.0


def _constants(layout):
    """What the network sees of the tensors' shapes, `[4, tensors]`."""
    shapes = layout.shapes
    fans = np.array([np.prod(shape[:-1], dtype=float) for shape in shapes])
    fans[layout.read_by_rows] = np.minimum(fans[layout.read_by_rows], LOOKUP_FAN_IN)
    sizes = np.array([np.prod(shape, dtype=float) for shape in shapes])
    ranks = np.array([len(shape) for shape in shapes])
    matrices = np.full(len(shapes), np.maximum(np.sum(ranks > 1), 1.0))
    return tf.constant(np.stack([ranks > 1, 0.5 * np.log(np.maximum(fans, 1.0)) - 1.5,
                                 0.25 * np.log(np.maximum(sizes, 1.0)) - 1.5,
                                 np.log(matrices) - 1.5]), tf.float32)


def _progress(steps_done, num_steps, num_tensors):
    """What the network sees of the time, `[5, tensors]`."""
    planned = tf.cast(num_steps > 0.0, tf.float32)
    x = planned * tf.clip_by_value(steps_done / tf.maximum(num_steps, 1.0), 0.0, 1.0)
    time = tf.stack([tf.log(steps_done + 1.0) / 3.0 - 1.0, planned, x, tf.square(x),
                     tf.log(1.0 - x + TAIL)])
    return tf.tile(time[:, tf.newaxis], [1, num_tensors])


def _linear_initializers():
    """Where meta-training begins: normalised Adam, sizes as is usual for tensors of each kind."""
    weights = np.zeros([len(INPUTS), len(OUTPUTS)], 'float32')
    for (entering, leaving), value in INITIAL_WEIGHTS.items():
        weights[INPUTS.index(entering), OUTPUTS.index(leaving)] = value
    biases = np.array([INITIAL_BIASES.get(name, 0.0) for name in OUTPUTS], 'float32')
    return {'linear/w': tf.constant_initializer(weights),
            'linear/b': tf.constant_initializer(biases)}
