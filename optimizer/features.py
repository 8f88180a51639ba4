"""Small formulas that the learned optimizers share: features of gradients, initial rates, keys."""

from typing import List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.layout import Layout

RMS_EPSILON = 1e-16  # added to a mean square before its root or logarithm
MEAN_SQUARE_EPSILON = 1e-12  # added to a squared gradient before it is averaged


def mean_square(gradient: tf.Tensor, decay: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
    """The decayed mean of the squared gradient, all `[rows, N]`.

    `decay * previous + (1 - decay) * (gradient^2 + 1e-12)`; where `previous` is still zero, in
    a parameter's first step and only then, simply `gradient^2 + 1e-12`.
    """
    decay *= tf.cast(tf.not_equal(previous[:1], 0.0), tf.float32)
    return (1.0 - decay) * (tf.square(gradient) + MEAN_SQUARE_EPSILON) + decay * previous


def rms_scale(gradient: tf.Tensor, mean_squared: tf.Tensor) -> tf.Tensor:
    """`asinh(gradient / sqrt(mean_squared + 1e-16))`: the gradient against its RMS, squashed."""
    return asinh(gradient * tf.rsqrt(mean_squared + RMS_EPSILON))


def asinh(x: tf.Tensor) -> tf.Tensor:
    """`tf.asinh`, several times as fast: made of functions that TensorFlow vectorizes."""
    sign = 1.0 - 2.0 * tf.cast(x < 0.0, tf.float32)  # not tf.sign: its zero would stop gradients
    square = tf.square(x)
    return sign * tf.log1p(sign * x + square / (tf.sqrt(square + 1.0) + 1.0))


def initial_log_rates(shape: Sequence[int], lr_range: Tuple[float, float],
                      key: tf.Tensor) -> tf.Tensor:
    """Log learning rates for the parameters of one tensor, drawn log-uniformly from `lr_range`.

    Half of the spread is common to the tensor, so that tensors differ among each other too. With
    equal bounds every rate is that bound. `key`, int32 [2], is the seed of a stateless draw.
    """
    if lr_range[0] == lr_range[1]:
        return tf.fill(shape, np.float32(np.log(lr_range[0])))
    own, common = (_uniform(size, key, [0, part]) for part, size in enumerate((shape, [])))
    return _half(lr_range, own) + _half(lr_range, common)


def initial_log_rate_rows(layout: Layout, lr_range: Tuple[float, float],
                          key: tf.Tensor) -> List[tf.Tensor]:
    """`initial_log_rates` of all tensors with fewer operations: a row `[1, size]` for each chunk.

    The key of tensor i is `key + [i, 0]`.
    """
    if lr_range[0] == lr_range[1]:
        return [initial_log_rates([1, chunk.size], lr_range, key) for chunk in layout.chunks]
    own = layout.to_chunks([_uniform(shape, key, [index, 0])
                            for index, shape in enumerate(layout.shapes)])
    common = [_uniform([1, 1], key, [index, 1]) for index in range(layout.num_tensors)]
    return [_half(lr_range, row) + chunk.spread(_half(
        lr_range, tf.concat([common[piece.tensor] for piece in chunk.pieces], 1)))
            for chunk, row in zip(layout.prepare().chunks, own)]


def _uniform(shape, key, offset):
    """The numbers of `tf.random.stateless_uniform` between 0 and 1, by one operation, not ten."""
    return tf.raw_ops.StatelessRandomUniform(shape=shape, seed=key + offset)


def _half(lr_range, numbers):
    """Half a logarithm between the bounds for each number between 0 and 1."""
    low, high = (np.float32(np.log(bound) / 2.0) for bound in lr_range)
    return numbers * (high - low) + low


def random_key(seed: Optional[int] = None) -> tf.Tensor:
    """The seed of stateless draws: int32 [2], another one at each run of the session."""
    return tf.random_uniform([2], maxval=2 ** 31 - 1 - 2 ** 20, dtype=tf.int32, seed=seed)
