"""CoordinatewiseRNN: one recurrent network for every parameter, without levels above it."""

import collections

import tensorflow.compat.v1 as tf

from optimizer import rnn_cells, trainable_optimizer, utils

#: Rows `[., size]`: the stacked cells' states, decayed mean square, its decay, learning rate.
State = collections.namedtuple('State', 'rnn mean_square decay learning_rate')


class CoordinatewiseRNN(trainable_optimizer.CoordinatewiseOptimizer):
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
      rnn_readout_scale, default_decay_var_init: initial values of the meta-parameters.
      **kwargs: see `TrainableOptimizer`.

    Raises:
      ValueError: no cells, sizes that aren't positive, or an unknown cell.
    """

    def __init__(self, cell_sizes, cell_cls, init_lr_range=(1.0, 1.0), dynamic_output_scale=True,
                 learnable_decay=True, zero_init_lr_weights=False, rnn_readout_scale=0.5,
                 default_decay_var_init=2.2, name='CoordinatewiseRNN', **kwargs):
        super().__init__(name, **kwargs)
        if not cell_sizes or min(cell_sizes) < 1:
            raise ValueError('cell_sizes must be positive: %s.' % (cell_sizes,))
        if not 0 < init_lr_range[0] <= init_lr_range[1]:
            raise ValueError('init_lr_range must be 0 < low <= high: %s.' % (init_lr_range,))
        self.init_lr_range = init_lr_range
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
        self._init_vector = self.create_meta_parameter(
            'init_vector', (1, self._cell.state_size),
            tf.random_uniform_initializer(-1.0, 1.0))

    def _create_readouts(self, units, scale, learnable_decay, zero_init_lr_weights):
        random = rnn_cells.normal_initializer(scale, units)
        zeros = tf.zeros_initializer()

        def affine(name, weights_init, bias_init):
            return (self.create_meta_parameter(name + '_weights', (units, 1), weights_init),
                    self.create_meta_parameter(name + '_bias', (1,), bias_init))

        self._update_weights = self.create_meta_parameter('update_weights', (units, 1), random)
        self._decay = None
        if learnable_decay:
            self._decay = affine('decay', random, tf.constant_initializer(self._decay_logit))
        if self.dynamic_output_scale:
            self._rate = affine('learning_rate', zeros if zero_init_lr_weights else random, zeros)

    def initial_rows(self, size, read, key):
        return State(rnn=tf.tile(tf.transpose(read(self._init_vector)), [1, size]),
                     mean_square=tf.ones([1, size]), decay=tf.ones([1, size]),
                     learning_rate=tf.exp(utils.initial_log_rates([1, size], self.init_lr_range,
                                                                  key)))

    def log_rate_row(self, chunk_state):
        return tf.log(chunk_state.learning_rate)

    def row_rule(self):
        cell_step = self._cell.prepare()
        update_weights = tf.transpose(self._update_weights)
        new_decay, rate_change = self._prepare_decay(), self._prepare_rate_change()

        def rule(gradient, state, steps_done):
            del steps_done
            mean_square = utils.mean_square(gradient, state.decay, state.mean_square)
            output, rnn = cell_step(utils.rms_scale(gradient, mean_square), state.rnn)
            rate = state.learning_rate * rate_change(output)
            step = -rate * tf.matmul(update_weights, output)
            return step, State(rnn, mean_square, new_decay(output), rate)

        return rule

    def _prepare_decay(self):
        if self._decay is None:
            return lambda output: tf.fill([1, output.shape.as_list()[1]],
                                          tf.sigmoid(self._decay_logit))
        return _sigmoid_readout(*self._decay)

    def _prepare_rate_change(self):
        if not self.dynamic_output_scale:
            return lambda output: 1.0
        read_out = _sigmoid_readout(*self._rate)
        return lambda output: 2.0 * read_out(output)


def _sigmoid_readout(weights, bias):
    """The function `[units, size]` -> `sigmoid(weights^T x + bias)`, `[1, size]`."""
    weights, bias = tf.transpose(weights), bias[:, tf.newaxis]
    return lambda output: tf.sigmoid(tf.matmul(weights, output) + bias)
