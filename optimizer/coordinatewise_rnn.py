"""CoordinatewiseRNN: one recurrent network for every parameter, without levels above it."""

from typing import Any, NamedTuple, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from optimizer import features, rnn_cells
from optimizer.coordinatewise_optimizer import CoordinatewiseOptimizer
from optimizer.types import Theta


class State(NamedTuple):
    """Rows `[., size]`."""
    rnn: tf.Tensor  # the stacked cells' states
    mean_square: tf.Tensor  # of the gradient, decayed
    decay: tf.Tensor  # of the next mean square
    learning_rate: tf.Tensor


class Weights(NamedTuple):
    """What the rule needs of the meta-parameters."""
    cells: list
    update: tf.Tensor  # [1, units]
    decay: Optional[rnn_cells.Projection]  # None: the decay is a constant
    rate: Optional[rnn_cells.Projection]  # None: the learning rates stay


class CoordinatewiseRNN(CoordinatewiseOptimizer):
    """A stack of recurrent cells shared by all parameters, after "Learning to learn by gradient
    descent by gradient descent" (arXiv 1606.04474), with the input and output scaling of
    "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813):

        input            asinh(g / sqrt(mean square of g))
        learning rate    rate = 2 sigmoid(W_rate h + b_rate) rate
        decay            sigmoid(W_decay h + b_decay), of the next step's mean square
        step             -rate * W_update h

    Args:
      cell_sizes: units of each cell.
      cell_cls: class of the cells, or its name in `rnn_cells.CELLS`.
      init_lr_range: bounds from which initial learning rates are drawn, log-uniformly.
      dynamic_output_scale: let the learning rates change from step to step.
      learnable_decay: learn the decay; else it is the constant sigmoid(default_decay_var_init).
      zero_init_lr_weights: learning rates do not change before meta-training.
      rnn_readout_scale: spread of the initial read-outs from the cells.
      default_decay_var_init: initial logit of the decay.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: no cells, sizes that aren't positive, or an unknown cell.
    """

    def __init__(self, cell_sizes: Sequence[int], cell_cls: Union[str, type],
                 init_lr_range: Tuple[float, float] = (1.0, 1.0),
                 dynamic_output_scale: bool = True, learnable_decay: bool = True,
                 zero_init_lr_weights: bool = False, rnn_readout_scale: float = 0.5,
                 default_decay_var_init: float = 2.2, name: str = 'CoordinatewiseRNN',
                 **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if not cell_sizes or min(cell_sizes) < 1:
            raise ValueError('cell_sizes must be positive: %s.' % (cell_sizes,))
        if not 0 < init_lr_range[0] <= init_lr_range[1]:
            raise ValueError('init_lr_range must be 0 < low <= high: %s.' % (init_lr_range,))
        self.init_lr_range = init_lr_range
        self.draws_state = init_lr_range[0] < init_lr_range[1]
        self.dynamic_output_scale = dynamic_output_scale
        self._decay_logit = default_decay_var_init
        self._create_cell(cell_sizes, rnn_cells.cell_class(cell_cls))
        self._create_readouts(cell_sizes[-1], rnn_readout_scale, learnable_decay,
                              zero_init_lr_weights)

    def _create_cell(self, cell_sizes, cell_cls):
        self._cell = rnn_cells.MultiRNNCell(
            [cell_cls(size) for size in cell_sizes])
        scopes = ['multi_rnn_cell/cell_%d/%s' % (index, cell_cls.scope)
                  for index in range(len(cell_sizes))]
        self._cell.build(self.create_meta_parameter, scopes, num_inputs=1)
        self.create_meta_parameter('init_vector', (1, self._cell.state_size),
                                   tf.random_uniform_initializer(-1.0, 1.0))

    def _create_readouts(self, units, scale, learnable_decay, zero_init_lr_weights):
        random = rnn_cells.normal_initializer(scale, units)
        zeros = tf.zeros_initializer()
        create = self.create_meta_parameter
        create('update_weights', (units, 1), random)
        if learnable_decay:
            create('decay_weights', (units, 1), random)
            create('decay_bias', (1,), tf.constant_initializer(self._decay_logit))
        if self.dynamic_output_scale:
            create('learning_rate_weights', (units, 1), zeros if zero_init_lr_weights else random)
            create('learning_rate_bias', (1,), zeros)

    def initial_rows(self, size: int, theta: Theta, key: tf.Tensor) -> State:
        return State(rnn=tf.tile(tf.transpose(theta['init_vector']), [1, size]),
                     mean_square=tf.ones([1, size]), decay=tf.ones([1, size]),
                     learning_rate=tf.exp(features.initial_log_rates([1, size], self.init_lr_range,
                                                                  key)))

    def log_rate_row(self, chunk_state: State) -> Optional[tf.Tensor]:
        return tf.log(chunk_state.learning_rate)

    def prepare(self, weights: Theta) -> Weights:
        def readout(name):
            if name + '_weights' not in weights:
                return None
            return rnn_cells.read_projection(weights[name + '_weights'], weights[name + '_bias'])

        return Weights(self._cell.read(weights), tf.transpose(weights['update_weights']),
                       readout('decay'), readout('learning_rate'))

    def row_rule(self, weights: Weights, gradient: tf.Tensor, rows: State,
                 steps_done: tf.Tensor) -> Tuple[tf.Tensor, State]:
        mean_square = features.mean_square(gradient, rows.decay, rows.mean_square)
        output, rnn = self._cell.step(weights.cells, features.rms_scale(gradient, mean_square),
                                      rows.rnn)
        rate, decay = rows.learning_rate, tf.ones_like(rows.decay) * tf.sigmoid(self._decay_logit)
        if weights.rate is not None:
            rate *= 2.0 * tf.sigmoid(rnn_cells.project(weights.rate, output))
        if weights.decay is not None:
            decay = tf.sigmoid(rnn_cells.project(weights.decay, output))
        return -rate * tf.matmul(weights.update, output), State(rnn, mean_square, decay, rate)
