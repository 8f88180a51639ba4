"""L2O-DM, "Learning to learn by gradient descent by gradient descent" (arXiv 1606.04474)."""

from typing import Any, Callable, NamedTuple, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import rnn_cells
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.layout import Layout
from optimizer.types import Rule, Theta, Update

PREPROCESS_P = 5.0  # appendix A of the paper: gradients below exp(-p) count linearly
FLOAT32_EPSILON = 1.1920929e-07


class Network(NamedTuple):
    """The weights of the two LSTM layers and of the read-out."""
    lstm: list
    linear: rnn_cells.Projection


class LSTMOptimizer(CoordinatewiseOptimizer):
    """What L2O-DM and RNNProp share: two LSTM layers for each parameter and a linear read-out."""

    draws_state = False

    def __init__(self, name: str, num_inputs: int, units: int, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.scope = name
        self._cell = rnn_cells.MultiRNNCell(
            [rnn_cells.LSTMCell(units, ('w_gates', 'b_gates')) for _ in range(2)])
        self._cell.build(self.create_meta_parameter, [name + '/lstm_1', name + '/lstm_2'],
                         num_inputs)
        self.create_projection('linear', units, 1)

    def create_projection(self, layer: str, num_inputs: int, num_outputs: int) -> None:
        """Meta-parameters `<layer>/w [inputs, outputs]` and `<layer>/b [outputs]`."""
        self.create_meta_parameter('%s/%s/w' % (self.scope, layer), (num_inputs, num_outputs),
                                   rnn_cells.normal_initializer(1.0, num_inputs))
        self.create_meta_parameter('%s/%s/b' % (self.scope, layer), (num_outputs,),
                                   tf.zeros_initializer())

    def read_projection(self, weights: Theta, layer: str) -> rnn_cells.Projection:
        return rnn_cells.read_projection(*[weights['%s/%s/%s' % (self.scope, layer, name)]
                                           for name in 'wb'])

    def initial_lstm_rows(self, size: int) -> tf.Tensor:
        return tf.zeros([self._cell.state_size, size])

    def prepare(self, weights: Theta) -> Any:
        return Network(self._cell.read(weights), self.read_projection(weights, 'linear'))

    def network(self, weights: Network, inputs: tf.Tensor,
                lstm: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """Inputs `[inputs, size]` and the layers' states -> output `[1, size]`, new states."""
        output, lstm = self._cell.step(weights.lstm, inputs, lstm)
        return rnn_cells.project(weights.linear, output), lstm


class L2ODM(LSTMOptimizer):
    """The coordinatewise LSTM optimizer.

    Each gradient enters as logarithm and sign (appendix A of the paper),

        max(log(|g| + eps) / p, -1),  clip(g e^p, -1, 1),  p = 5, eps the float32 epsilon,

    and the step is `output_scale` times the network's output.

    Args:
      units: of both LSTM layers.
      output_scale: of the step.
      filters_apart: whether tensors of rank 4, the filters of convolutions, have a network of their
        own, as the paper has it on CIFAR-10 (section 3.3).
      **kwargs: see `TrainableOptimizer`.
    """

    def __init__(self, units: int = 20, output_scale: float = 0.01, filters_apart: bool = False,
                 name: str = 'L2ODM', **kwargs: Any) -> None:
        self._filters_apart = filters_apart
        super().__init__(name, num_inputs=2, units=units, **kwargs)
        self.output_scale = output_scale

    def create_meta_parameter(self, name: str, shape: Sequence[int],
                              initializer: Callable[..., tf.Tensor]) -> Any:
        if self._filters_apart:
            super().create_meta_parameter(_of_filters(name), shape, initializer)
        return super().create_meta_parameter(name, shape, initializer)

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> tf.Tensor:
        return self.initial_lstm_rows(size)

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        of_rest = super().update_rule(layout, theta)
        if not self._filters_apart:
            return of_rest
        of_filters = super().update_rule(layout, {
            name: theta[_of_filters(name)] for name in theta if _of_filters(name) in theta})

        def rule(gradients, state):
            rest, filters = of_rest(gradients, state), of_filters(gradients, state)
            steps, rows = zip(*[
                _chosen(layout, chunk, *networks) for chunk, *networks in zip(
                    layout.chunks, zip(rest.steps, rest.state.chunks),
                    zip(filters.steps, filters.state.chunks))])
            return Update(list(steps), None, rest.state._replace(chunks=list(rows)))

        return rule

    def row_rule(self, weights: Network, gradient: tf.Tensor, rows: tf.Tensor,
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        output, rows = self.network(weights, log_and_sign(gradient), rows)
        return self.output_scale * output, rows


def _of_filters(name):
    """The name of a meta-parameter in the network for filters."""
    scope, _, rest = name.partition('/')
    return '%s/filters/%s' % (scope, rest)


def _chosen(layout, chunk, of_rest, of_filters):
    """What holds for each column of a chunk, of what two networks give for all of it."""
    are_filters = [len(layout.shapes[piece.tensor]) == 4 for piece in chunk.pieces]
    if len(set(are_filters)) == 1:
        return of_filters if are_filters[0] else of_rest
    columns = np.repeat(are_filters + [False], chunk.sizes + [chunk.padding])
    return tuple(tf.where_v2(columns, *both) for both in zip(of_filters, of_rest))


def log_and_sign(gradient: tf.Tensor) -> tf.Tensor:
    """`[1, size]` -> the two inputs of L2O-DM, `[2, size]`."""
    logs = tf.log(tf.abs(gradient) + FLOAT32_EPSILON) / PREPROCESS_P
    signs = tf.clip_by_value(gradient * tf.exp(PREPROCESS_P), -1.0, 1.0)
    return tf.concat([tf.maximum(logs, -1.0), signs], 0)
