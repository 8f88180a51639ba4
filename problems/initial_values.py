"""How the parameters of networks begin."""

import math
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem import Problem


class Start(NamedTuple):
    """A parameter tensor that begins at N(mean, stdev^2), independently in each entry."""

    shape: tuple
    stdev: float = 0.0
    mean: Any = 0.0  # a number, or an array of the shape


def he(*shape: int) -> Start:
    """Weights before a relu: variance 2 / inputs (arXiv 1502.01852, section 2.2).

    Args:
      shape: of a matrix [inputs, outputs] or of filters [height, width, inputs, outputs].
    """
    return Start(shape, math.sqrt(2 / _fans(shape)[0]))


def glorot(*shape: int) -> Start:
    """Weights before anything else: variance 2 / (inputs + outputs) (Glorot and Bengio, 2010)."""
    return Start(shape, math.sqrt(2 / sum(_fans(shape))))


def constant(value: Union[float, np.ndarray], *shape: int) -> Start:
    """Biases, and the scales and shifts of normalization: they begin at `value`, all or each."""
    return Start(shape, 0.0, value)


def dense(sizes: Sequence[int], weights: Callable[..., Start] = glorot,
          last: Callable[..., Start] = glorot) -> List[Start]:
    """The starts of dense layers [W, b, W, b, ...] between consecutive `sizes`; biases 0.

    Args:
      weights, last: functions like `glorot`, for all layers but the last and for that.
    """
    starts = []
    for layer, (inputs, units) in enumerate(zip(sizes[:-1], sizes[1:])):
        start = last if layer == len(sizes) - 2 else weights
        starts += [start(inputs, units), constant(0.0, units)]
    return starts


def shapes(starts: Sequence[Start]) -> List[Tuple[int, ...]]:
    """The shapes of all `starts`."""
    return [start.shape for start in starts]


def draw(problem: Problem, starts: Sequence[Start], seed: Optional[int]) -> List[tf.Tensor]:
    """The initial tensors of `problem`, whose `param_shapes` are those of `starts`."""
    return [start.mean + start.stdev * value
            for start, value in zip(starts, Problem.init_tensors(problem, seed))]


def _fans(shape):
    """The number of inputs and of outputs of a unit."""
    receptive_field = int(np.prod(shape[:-2]))
    return receptive_field * shape[-2], receptive_field * shape[-1]
