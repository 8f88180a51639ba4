"""NormalizedMLP: normalised momenta mixed, and steps sized, by a small network for each tensor.

After Celo2 (arXiv 2602.19142: a direction from normalised features, brought to RMS 1 over each
tensor) and Celo (arXiv 2501.12670: a learned size of the step beside the learned direction). What
differs is where the network is: it runs once for each tensor, not for each parameter, so that a
step costs a few passes over memory.
"""

from typing import Any, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import trainable_optimizer
from optimizer.layout import Layout
from optimizer.types import Rule, Theta, Update

FAST, SLOW, SQUARE = 0.9, 0.99, 0.99  # decays of the two momenta and of the squared gradient
LEAST_RMS = 1e-2  # of a direction; a weaker one is not brought to RMS 1, and none stays none
TINY = 1e-30  # a mean square of the gradient that counts as zero
LOG_RANGE = 7.0  # logarithms that enter the network are at least minus this, relative to what is 1
TAIL = 0.01  # share of the planned steps that 1 - x is kept away from 0 by

#: What the network sees of a tensor, and its outputs, with their values before meta-training.
INPUTS = ('fast', 'slow', 'gradient', 'parameter', 'is_matrix', 'fan_in', 'size', 'depth',
          'steps_done', 'planned', 'x', 'x_squared', 'log_rest')
OUTPUTS = ('log_size', 'slow', 'gradient', 'log_smoothing', 'magnitude', 'agreement')
INITIAL_BIASES = {'log_size': -7.6, 'log_smoothing': -4.0}
INITIAL_WEIGHTS = {('parameter', 'log_size'): 0.3, ('fan_in', 'log_size'): -1.2,
                   ('is_matrix', 'log_size'): 1.4, ('log_rest', 'log_size'): 0.7}


class Moments(NamedTuple):
    """Rows `[1, size]`: sums, not means, of the gradient and its square, decayed."""
    fast: tf.Tensor  # of the gradient, decay 0.9
    slow: tf.Tensor  # of the gradient, decay 0.99
    square: tf.Tensor  # of its square, decay 0.99


class State(NamedTuple):
    """What one step hands to the next."""
    chunks: list  # the `Moments` of each chunk
    steps_done: tf.Tensor  # float32 []
    num_steps: tf.Tensor  # float32 [], how many meta-training plans; 0: not known


class NormalizedMLP(trainable_optimizer.TrainableOptimizer):
    """A learned optimizer whose network sees, and steers, one tensor of parameters at a time.

    With the bias-corrected means m1 (0.9) and m2 (0.99) of the gradient g, v (0.99) of its square,
    and coefficients that a network gives for each tensor:

        s = 1 / sqrt(v + smoothing^2 * mean(v))
        d = (m1 + slow * m2 + gradient * g) * s
        d = d * (1 + magnitude * |softsign(d)| + agreement * softsign(d * g * s))
        step = -size * d / RMS(d)

    Before meta-training the coefficients are about those of normalised Adam: 0 but for the sizes
    and a small smoothing. The network, one layer of tanh units beside a linear map, sees for each
    tensor the logarithms of RMS(m1), RMS(m2), RMS(g), each relative to sqrt(mean(v)), and of
    RMS(parameters), fan-in, number of parameters, of matrices in the model and of steps done;
    whether it is a matrix; whether the number of steps is planned, and if so, of the share x of
    them that is done: x, x^2, log(1 - x). Sizes are at most 1. Steps do not change where the loss
    is multiplied by a constant.

    Args:
      num_steps: after how many steps training ends; None: not known.
      units: of the tanh layer.
      **kwargs: see `TrainableOptimizer`.

    Attributes:
      planned_steps: a float32 placeholder, read when a state begins, where `num_steps` is None:
        meta-training feeds the length of the episode; 0, the default: not known. None in eager
        code.

    Raises:
      ValueError: `num_steps` or `units` below 1.
    """

    computes_rows_alone = True
    sees_parameters = True
    draws_state = False

    def __init__(self, num_steps: Optional[int] = None, units: int = 16,
                 name: str = 'NormalizedMLP', **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if units < 1 or (num_steps is not None and num_steps < 1):
            raise ValueError('NormalizedMLP needs num_steps and units of 1 or more, not %s and %s.'
                             % (num_steps, units))
        self._num_steps = num_steps
        self.planned_steps = None
        if not tf.executing_eagerly():
            with tf.init_scope():
                self.planned_steps = tf.placeholder_with_default(0.0, [], name='planned_steps')
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

    def layout(self, shapes: Sequence[Sequence[int]]) -> Layout:
        return Layout(shapes, max_chunk=2 ** 62)

    def initial_state(self, layout: Layout, theta: Theta, key: tf.Tensor) -> State:
        planned = tf.zeros([]) if self.planned_steps is None else tf.identity(self.planned_steps)
        return State([Moments(*[tf.zeros([1, chunk.size])] * 3) for chunk in layout.chunks],
                     tf.zeros([]), planned)

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        layout = layout.prepare()
        return lambda gradients, state, parameters: _step(layout, theta, self._num_steps,
                                                          gradients, state, parameters)


def _step(layout, weights, num_steps, gradients, state, parameters):
    """One step of all tensors; `gradients` and `parameters` have a row for each chunk."""
    t = state.steps_done + 1.0
    # Decayed sums become means, with Adam's correction for the zeros that they began with.
    to_mean = {decay: (1.0 - decay) / (1.0 - tf.pow(decay, t)) for decay in (FAST, SLOW, SQUARE)}

    moments = [Moments(FAST * old.fast + g, SLOW * old.slow + g, SQUARE * old.square + tf.square(g))
               for old, g in zip(state.chunks, gradients)]
    sums = [tf.concat([_sums_of_squares(chunk, m.fast), _sums_of_squares(chunk, m.slow),
                       _sums_of_squares(chunk, g), _sums_of_squares(chunk, p),
                       chunk.sums(m.square)], 0)
            for chunk, m, g, p in zip(layout.chunks, moments, gradients, parameters)]
    fast, slow, gradient, parameter, square = tf.unstack(layout.tensor_means(sums))
    square = to_mean[SQUARE] * square
    relative = tf.stack([tf.square(to_mean[FAST]) * fast, tf.square(to_mean[SLOW]) * slow,
                         gradient]) / (square + TINY)
    inputs = tf.concat([_half_log(relative), _half_log(parameter)[tf.newaxis],
                        _constants(layout.shapes), _progress(
                            state.steps_done, state.num_steps if num_steps is None else num_steps,
                            layout.num_tensors)], 0)
    outputs = dict(zip(OUTPUTS, tf.unstack(_network(weights, tf.stop_gradient(inputs)))))

    coefficients = layout.per_chunk(tf.stack([
        tf.exp(2.0 * tf.clip_by_value(outputs['log_smoothing'], -10.0, 3.0)) * square,
        outputs['slow'] * to_mean[SLOW], outputs['gradient'],
        tf.tanh(outputs['magnitude']), tf.tanh(outputs['agreement'])]))
    directions = []
    for chunk, m, g, own in zip(layout.chunks, moments, gradients, coefficients):
        smoothing, slow, gradient, magnitude, agreement = tf.split(chunk.spread(own), 5)
        scale = tf.rsqrt(to_mean[SQUARE] * m.square + (smoothing + TINY))
        d = scale * tf.add_n([to_mean[FAST] * m.fast, slow * m.slow, gradient * g])
        directions.append(d + d * (magnitude * tf.abs(tf.nn.softsign(d))
                                   + agreement * tf.nn.softsign(d * g * scale)))
    squares = layout.tensor_means([_sums_of_squares(chunk, d)[0:1]
                                   for chunk, d in zip(layout.chunks, directions)])
    sizes = layout.per_chunk(-tf.exp(tf.clip_by_value(outputs['log_size'], -16.0, 0.0))
                             * tf.rsqrt(squares + LEAST_RMS ** 2))
    steps = [chunk.spread(size) * d
             for chunk, size, d in zip(layout.chunks, sizes, directions)]
    return Update(steps, None, State(moments, t, state.num_steps))


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


def _constants(shapes):
    """What the network sees of the tensors' shapes, `[4, tensors]`."""
    fans = np.array([np.prod(shape[:-1], dtype=float) for shape in shapes])
    sizes = np.array([np.prod(shape, dtype=float) for shape in shapes])
    ranks = np.array([len(shape) for shape in shapes])
    matrices = np.full(len(shapes), np.maximum(np.sum(ranks > 1), 1.0))
    return tf.constant(np.stack([ranks > 1, 0.5 * np.log(np.maximum(fans, 1.0)) - 1.5,
                                 0.25 * np.log(np.maximum(sizes, 1.0)) - 1.5,
                                 np.log(matrices) - 1.5]), tf.float32)


def _progress(steps_done, num_steps, num_tensors):
    """What the network sees of the time, `[5, tensors]`."""
    num_steps = tf.cast(num_steps, tf.float32)
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
