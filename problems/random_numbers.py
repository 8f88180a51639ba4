"""Where random numbers come from."""

import contextlib
import random
from typing import Iterator, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf


def generator(seed: Optional[int]) -> np.random.RandomState:
    """A generator of its own, of that seed; without one it begins anywhere."""
    return np.random.RandomState(seed)


@contextlib.contextmanager
def global_generators_from(seed: int) -> Iterator[None]:
    """Within it Python's and numpy's global generators begin at the seed, for code of others."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def key_of(parameters: Sequence[tf.Tensor]) -> tf.Tensor:
    """A key, int32 [2], for `tf.random.stateless_*`: another one wherever the parameters differ.

    So a loss with random numbers in it, dropout for instance, is a function of its parameters, and
    draws anew at every step.

    Args:
      parameters: floating-point tensors.
    """
    sums = tf.stack([tf.cast(tf.reduce_sum(parameter), tf.float32) for parameter in parameters])
    bits = tf.bitcast(tf.stop_gradient(sums), tf.int32)
    mixed = tf.reduce_sum(bits * (2 * tf.range(len(parameters)) + 1))
    return tf.stack([tf.bitwise.bitwise_and(mixed, 0xffff),
                     tf.abs(tf.bitwise.right_shift(mixed, 16))])
