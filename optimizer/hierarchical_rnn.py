"""HierarchicalRNN, "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813).

Three levels of recurrent networks: one small state for each parameter, one for each tensor, one for
the whole model. Levels are tied by biases from above and averages from below (section 3.1 of the
paper).
"""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf

from optimizer import rnn_cells, trainable_optimizer
from optimizer.features import RMS_EPSILON, initial_log_rate_rows, mean_square, rms_scale
from optimizer.layout import Layout
from optimizer.types import Rule, Theta, Update

MIN_LOG_LR = -33.0
FIXED_SCALE_DECAY = 0.93  # decay rates where they are not learned
FIXED_INPUT_DECAY = 0.89
LR_SHORTCUT_RATE = 1e-3  # the learning rate that `use_lr_shortcut` compares with

#: The arguments with which the scripts make it by default, where the constructor's differ.
PRESET: Dict[str, Any] = {
    'level_sizes': (10, 20, 20), 'use_problem_lr_mean': True, 'use_gradient_shortcut': True,
    'use_grad_products': True}

#: What can be read out of the parameters' states: the names of meta-parameters `<name>_weights
#: [units, 1]`, some with `<name>_bias [1]`.
READOUTS = ('update', 'learning_rate', 'attention', 'scl_decay', 'inp_decay')

INIT_VECTOR = 'Level%d_RNN/init_vector'  # the learned initial state of a level


class State(NamedTuple):
    """The optimizer's state."""
    chunks: list  # a ChunkState for each chunk
    tensors: list  # [units, tensors], the tensor level; empty without
    model: list  # [units, 1], the model level; empty without


class ChunkState(NamedTuple):
    """Rows of one chunk; an empty list in place of what is not kept."""
    parameter: tf.Tensor  # [units, size]
    gradients: tf.Tensor  # [scales, size], accumulated
    mean_squares: tf.Tensor  # [scales, size], of the accumulated gradients
    scale_decay: tf.Tensor  # [1, size], decay rate of the mean squares
    input_decay: tf.Tensor  # [1, size], decay rate of the accumulated gradients
    log_lr: tf.Tensor  # [1, size]


class Weights(NamedTuple):
    """What a step needs of the meta-parameters; None in place of what is not there."""
    cells: list  # for each level
    tensor_to_parameter: Optional[rnn_cells.Projection]  # biases from the levels above
    model_to_parameter: Optional[rnn_cells.Projection]
    model_to_tensor: Optional[rnn_cells.Projection]
    readouts: list  # which of READOUTS there are
    readout: rnn_cells.Projection  # onto all of them
    shortcuts: Optional[tf.Tensor]  # [1, scales], to the direction; with attention [2, ..]
    momentum: Optional[tf.Tensor]  # of the log learning rates
    offset: Optional[tf.Tensor]  # of the log step sizes


class HierarchicalRNN(trainable_optimizer.TrainableOptimizer):
    """A hierarchical recurrent network that learns to optimize.

    For each parameter with gradient g, with rates d_in, d_scale that the state chooses
    (section 3.2 of the paper):

        accumulated gradients   a_s = d_s a_s + (1 - d_s) g,  d_s = d_in^(1 / 2^s), s = 0, 1, ..
        scaled gradients        m_s = asinh(a_s / sqrt(mean square of a_s))
        state                   h = GRU(features of m, mean squares and rates; biases from above)
        step                    -exp(eta + offset) * direction / RMS(direction over the tensor)

    with direction = W_u h + W_m m and eta the parameter's log learning rate, eta = eta + W_eta h.

    Args:
      level_sizes: units of the parameter, tensor and model level; one to three levels.
      init_lr_range: bounds from which initial learning rates are drawn, log-uniformly.
      learnable_decay: learn the decay rate of the mean squares (and of the accumulated gradients).
      dynamic_output_scale: keep a learning rate for each parameter; else the step is minus the
        direction itself.
      use_attention: choose the point at which the next gradient is taken.
      use_log_objective: see `TrainableOptimizer`.
      num_gradient_scales: on how many time scales gradients are accumulated.
      zero_init_lr_weights: learning rates do not change before meta-training.
      use_log_means_squared: feature: log mean squares against their average over the scales.
      use_relative_lr: feature: log learning rate against the mean.
      use_extreme_indicator: feature: how far the learning rate is above 1 or below 1e-6.
      max_log_lr: upper bound of the log learning rate.
      obj_train_max_multiplier: see `TrainableOptimizer`.
      use_problem_lr_mean: the mean of `use_relative_lr` is over the model, not over the tensor.
      use_gradient_shortcut: W_m above; else the direction comes from the state alone.
      use_lr_shortcut: feature: log learning rate against 1e-3.
      use_grad_products: feature: products of scaled gradients of adjacent scales.
      use_multiple_scale_decays: longer scales average their mean squares for longer, too.
      use_numerator_epsilon: see `TrainableOptimizer`.
      learnable_inp_decay: learn the decay rate of the accumulated gradients.
      learnable_rnn_init: learn the initial states; else they are drawn from U(-1, 1).
      random_seed: of everything random in the optimizer.
      rnn_readout_scale: spread of the initial read-outs from the parameters' states.
      affine_scale: spread of the initial biases from the levels above.
      default_decay_var_init: initial logit of the decay rate of the accumulated gradients.
      scale_decay_bias_init: initial logit of the decay rate of the mean squares.
      learning_rate_momentum_logit_init: initial logit of the momentum of log learning rates.
      biasgrucell_scale: spread of the cells' initial weights.
      biasgrucell_gate_bias_init: initial bias of the cells' gates.
      use_second_derivatives: see `TrainableOptimizer`.
      cell_cls: class of the cells of all levels: `rnn_cells.BiasGRUCell` or one derived from it.

    Raises:
      ValueError: a number of levels that isn't 1, 2 or 3, sizes or scales that aren't positive, or
        learning-rate features without `dynamic_output_scale`.
    """

    computes_rows_alone = True

    def __init__(self, level_sizes: Sequence[int],
                 init_lr_range: Tuple[float, float] = (1e-6, 1e-2),
                 learnable_decay: bool = True, dynamic_output_scale: bool = True,
                 use_attention: bool = False, use_log_objective: bool = True,
                 num_gradient_scales: int = 4, zero_init_lr_weights: bool = True,
                 use_log_means_squared: bool = True, use_relative_lr: bool = True,
                 use_extreme_indicator: bool = False, max_log_lr: float = 33,
                 obj_train_max_multiplier: float = -1, use_problem_lr_mean: bool = False,
                 use_gradient_shortcut: bool = False, use_lr_shortcut: bool = False,
                 use_grad_products: bool = False, use_multiple_scale_decays: bool = False,
                 use_numerator_epsilon: bool = False, learnable_inp_decay: bool = True,
                 learnable_rnn_init: bool = True, random_seed: Optional[int] = None,
                 rnn_readout_scale: float = 0.5, affine_scale: float = 0.5,
                 default_decay_var_init: float = 2.2, scale_decay_bias_init: float = 3.2,
                 learning_rate_momentum_logit_init: float = 3.2, biasgrucell_scale: float = 0.5,
                 biasgrucell_gate_bias_init: float = 2.2, use_second_derivatives: bool = True,
                 cell_cls: type = rnn_cells.BiasGRUCell,
                 name: str = 'HierarchicalRNN') -> None:
        super().__init__(
            name, use_attention=use_attention, use_log_objective=use_log_objective,
            obj_train_max_multiplier=obj_train_max_multiplier,
            use_second_derivatives=use_second_derivatives,
            use_numerator_epsilon=use_numerator_epsilon, random_seed=random_seed)
        self.level_sizes = tuple(level_sizes)
        self.init_lr_range = init_lr_range
        self.dynamic_output_scale = dynamic_output_scale
        self.num_gradient_scales = num_gradient_scales
        self.max_log_lr = float(max_log_lr)
        self.use_log_means_squared = use_log_means_squared
        self.use_relative_lr = use_relative_lr
        self.use_extreme_indicator = use_extreme_indicator
        self.use_problem_lr_mean = use_problem_lr_mean
        self.use_lr_shortcut = use_lr_shortcut
        self.use_grad_products = use_grad_products and num_gradient_scales > 1
        self.use_multiple_scale_decays = use_multiple_scale_decays
        self._check_arguments()
        self.draws_state = not learnable_rnn_init or init_lr_range[0] < init_lr_range[1]
        if not (isinstance(cell_cls, type) and issubclass(cell_cls, rnn_cells.BiasGRUCell)):
            raise ValueError('cell_cls must be rnn_cells.BiasGRUCell or derived from it: only such '
                             'cells take a bias from the level above, not %r.' % (cell_cls,))
        self._cell_cls = cell_cls
        self._create_cells(biasgrucell_scale, biasgrucell_gate_bias_init, affine_scale)
        self._learnable_rnn_init = learnable_rnn_init
        if learnable_rnn_init:
            start = tf.random_uniform_initializer(-1.0, 1.0)
            for level, size in enumerate(self.level_sizes):
                self.create_meta_parameter(INIT_VECTOR % level, (1, size), start)
        self._create_readouts(rnn_readout_scale, zero_init_lr_weights, use_gradient_shortcut,
                              learning_rate_momentum_logit_init)
        self._create_decays(rnn_readout_scale, learnable_decay, learnable_inp_decay,
                            scale_decay_bias_init, default_decay_var_init)

    def _check_arguments(self):
        if len(self.level_sizes) not in (1, 2, 3):
            raise ValueError('HierarchicalRNN has 1, 2 or 3 levels, not %d.'
                             % len(self.level_sizes))
        if min(self.level_sizes) < 1:
            raise ValueError('Level sizes must be positive: %s.' % (self.level_sizes,))
        if self.num_gradient_scales < 1:
            raise ValueError('num_gradient_scales must be positive: %d.' % self.num_gradient_scales)
        low, high = self.init_lr_range
        if not 0 < low <= high:
            raise ValueError('init_lr_range must be 0 < low <= high: %s.' % (self.init_lr_range,))
        lr_features = self.use_relative_lr or self.use_extreme_indicator or self.use_lr_shortcut
        if lr_features and not self.dynamic_output_scale:
            raise ValueError('use_relative_lr, use_extreme_indicator and use_lr_shortcut need '
                             'dynamic_output_scale.')

    def _num_features(self):
        scales = self.num_gradient_scales
        return (scales + (scales - 1) * self.use_grad_products + scales * self.use_log_means_squared
                + self.use_relative_lr + self.use_extreme_indicator + self.use_lr_shortcut)

    # Meta-parameters.

    def _create_cells(self, scale, gate_bias_init, affine_scale):
        features, sizes = self._num_features(), self.level_sizes
        scopes = ['PerTensor/Layer0_RNN', 'PerTensor/Layer1_RNN', 'Layer2_RNN']
        inputs = [features] + [sizes[0] + features * self._passes_features()] + list(sizes[1:2])
        self._cells = []
        for scope, size, num_inputs in zip(scopes, sizes, inputs):
            cell = self._cell_cls(size, scale, gate_bias_init)
            cell.build(self.create_meta_parameter, scope, num_inputs)
            self._cells.append(cell)

        def bias(scope, source, target):
            return rnn_cells.Affine(self.create_meta_parameter, scope, sizes[source],
                                    3 * sizes[target], affine_scale)

        self._tensor_to_parameter = self._model_to_parameter = self._model_to_tensor = None
        if len(sizes) > 1:
            self._tensor_to_parameter = bias(scopes[0] + '/Param/Affine', 1, 0)
        if len(sizes) > 2:
            self._model_to_parameter = bias(scopes[0] + '/Global/Affine', 2, 0)
            self._model_to_tensor = bias(scopes[1] + '/Affine', 2, 1)

    def _passes_features(self):
        """Whether the tensor level sees the features beside the parameters' states."""
        return self._num_features() != self.num_gradient_scales

    def _create_readouts(self, scale, zero_init_lr_weights, use_gradient_shortcut, momentum_logit):
        readout = (self.level_sizes[0], 1)
        random = rnn_cells.normal_initializer(scale, readout[0])
        zeros = tf.zeros_initializer()
        create, scales = self.create_meta_parameter, self.num_gradient_scales
        update_weights = create('update_weights', readout, random)
        if self.dynamic_output_scale:
            create('learning_rate_weights', readout, zeros if zero_init_lr_weights else random)
            create('learning_rate_bias', (1,), zeros)
        averaging = rnn_cells.normal_initializer(0.1, scales, mean=1.0 / scales)
        if use_gradient_shortcut:
            create('PerTensor/GradsToDelta/Matrix', (scales, 1), averaging)
        if self.use_attention:
            create('attention_weights', readout, lambda *_, **__: getattr(
                update_weights, 'initial_value', update_weights))  # an array in eager mode
            if use_gradient_shortcut:
                create('PerTensor/GradsToAttnDelta/Matrix', (scales, 1), averaging)
        if self.dynamic_output_scale:
            create('PerTensor/learning_rate_momentum_logit', (),
                   tf.constant_initializer(momentum_logit))
            create('PerTensor/param_stepsize_offset', (), tf.constant_initializer(-1.0))

    def _create_decays(self, scale, learn_both, learn_input, scale_bias_init, input_bias_init):
        readout = (self.level_sizes[0], 1)
        random = rnn_cells.normal_initializer(scale, readout[0])
        for name, learn, bias_init in (
                ('scl_decay', learn_both, scale_bias_init),
                ('inp_decay', learn_both and learn_input and self.num_gradient_scales > 1,
                 input_bias_init)):
            if learn:
                self.create_meta_parameter(name + '_weights', readout, random)
                self.create_meta_parameter(name + '_bias', (1,),
                                           tf.constant_initializer(bias_init))

    # State.

    def initial_state(self, layout: Layout, theta: Theta, key: tf.Tensor) -> State:
        if self._learnable_rnn_init:
            levels = [tf.transpose(theta[INIT_VECTOR % level])
                      for level in range(len(self.level_sizes))]
        else:
            levels = [tf.random.stateless_uniform([size, 1], key + [0, level], -1.0, 1.0)
                      for level, size in enumerate(self.level_sizes)]
        chunks, accumulates = [], self.num_gradient_scales > 1
        for chunk, log_lr in zip(layout.chunks, initial_log_rate_rows(
                layout, self.init_lr_range, key + [1, 0])):
            log_lr = tf.clip_by_value(log_lr, MIN_LOG_LR, self.max_log_lr)
            zeros = tf.zeros([1, chunk.size])
            accumulators = tf.zeros([self.num_gradient_scales, chunk.size])
            chunks.append(ChunkState(
                tf.tile(levels[0], [1, chunk.size]), accumulators if accumulates else [],
                accumulators, scale_decay=zeros, input_decay=zeros if accumulates else [],
                log_lr=log_lr if self.dynamic_output_scale else []))
        tensors = [tf.tile(level, [1, layout.num_tensors]) for level in levels[1:2]]
        return State(chunks, tensors, levels[2:])

    def log_rate_row(self, chunk_state: ChunkState) -> Optional[tf.Tensor]:
        return chunk_state.log_lr if self.dynamic_output_scale else None

    # Update rule.

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        layout, weights = layout.prepare(), self._weights(theta)
        return lambda gradients, state: self._step(layout, weights, gradients, state)

    def _weights(self, theta):
        """The `Weights` by the values of the meta-parameters, a dict from names."""
        readouts = [name for name in READOUTS if name + '_weights' in theta]
        shortcuts = [theta[name] for name in ('PerTensor/GradsToDelta/Matrix',
                                              'PerTensor/GradsToAttnDelta/Matrix') if name in theta]
        from_above: List[Any] = [affine and affine.read(theta) for affine in (
            self._tensor_to_parameter, self._model_to_parameter, self._model_to_tensor)]
        momentum = offset = None
        if self.dynamic_output_scale:
            momentum = tf.sigmoid(theta['PerTensor/learning_rate_momentum_logit'])
            offset = theta['PerTensor/param_stepsize_offset']
        return Weights(
            [cell.read(theta) for cell in self._cells], *from_above, readouts=readouts,
            readout=rnn_cells.read_projection(
                tf.concat([theta[name + '_weights'] for name in readouts], 1),
                tf.concat([theta.get(name + '_bias', tf.zeros([1])) for name in readouts], 0)),
            shortcuts=tf.transpose(tf.concat(shortcuts, 1)) if shortcuts else None,
            momentum=momentum, offset=offset)

    def _step(self, layout, weights, gradients, state):
        """One step of all parameters: section 3 of the paper, from top to bottom.

        Args:
          layout: prepared.
          weights: the `Weights`.
          gradients: a row `[1, size]` for each chunk.
          state: the `State`.

        Returns:
          the `Update`.
        """
        scales = self.num_gradient_scales
        mean_scales = scales if self.use_multiple_scale_decays else 1
        # Biases from the levels above (3.1).
        bias = tf.zeros([1, layout.num_tensors])
        if weights.tensor_to_parameter is not None:
            bias += rnn_cells.project(weights.tensor_to_parameter, state.tensors[0])
        if weights.model_to_parameter is not None:
            bias += rnn_cells.project(weights.model_to_parameter, state.model[0])
        biases, mean_log_lrs = layout.per_chunk(bias), self._mean_log_lrs(layout, state.chunks)

        chunks, averages, directions, attentions, log_steps = [], [], [], [], []
        for chunk, g, old, bias, mean_log_lr in zip(layout.chunks, gradients, state.chunks, biases,
                                                    mean_log_lrs):
            # Momentum on several time scales (3.2.2).
            if scales > 1:
                g += _root_powers(old.input_decay, scales) * (old.gradients - g)
            # Dynamic input scaling (3.2.3).
            mean_squares = mean_square(g, _root_powers(old.scale_decay, mean_scales),
                                       old.mean_squares)
            scaled = rms_scale(g, mean_squares)
            # The parameter level (3.1), whose state h is all that the read-outs see.
            features = self._features(chunk, scaled, mean_squares, old.log_lr, mean_log_lr)
            inputs = tf.concat(features + [chunk.membership, old.parameter], 0)
            h = self._cells[0].step(weights.cells[0], inputs, old.parameter, bias)
            out = dict(zip(weights.readouts, tf.split(rnn_cells.project(weights.readout, h),
                                                      len(weights.readouts), axis=0)))
            # The direction of the step, and of the attended point (3.2.1).
            direct = [0.0, 0.0]
            if weights.shortcuts is not None:
                direct = tf.split(tf.matmul(weights.shortcuts, scaled),
                                  1 + self.use_attention, axis=0)
            directions.append(out['update'] + direct[0])
            if self.use_attention:
                attentions.append(out['attention'] + direct[1])
            # The step's length (3.2.4).
            log_lr = []
            if self.dynamic_output_scale:
                log_step = _clip(old.log_lr + out['learning_rate'], MIN_LOG_LR, self.max_log_lr)
                log_lr = weights.momentum * old.log_lr + (1.0 - weights.momentum) * log_step
                log_steps.append(log_step)
            averages.append(self._sums(chunk, h, inputs))
            chunks.append(ChunkState(
                h, g if scales > 1 else [], mean_squares, log_lr=log_lr,
                scale_decay=_decay(out, 'scl_decay', FIXED_SCALE_DECAY, h),
                input_decay=_decay(out, 'inp_decay', FIXED_INPUT_DECAY, h) if scales > 1 else []))
        # The levels above: averages over each tensor, then the last tensor's state (3.1).
        tensors, model = state.tensors, state.model
        if tensors:
            bias = 0.0
            if model:
                bias = rnn_cells.project(weights.model_to_tensor, model[0])
            inputs = _cell_inputs(layout.tensor_means(averages), tensors[0])
            tensors = [self._cells[1].step(weights.cells[1], inputs, tensors[0], bias)]
        if model:
            inputs = _cell_inputs(tensors[0][:, -1:], model[0])
            model = [self._cells[2].step(weights.cells[2], inputs, model[0])]
        # Directions of RMS 1 times the step's length, or the directions themselves.
        if self.dynamic_output_scale:
            steps = _scale(layout, directions, log_steps, weights.offset)
            attended = _scale(layout, attentions, log_steps, 0.0) if self.use_attention else None
        else:
            steps = [-direction for direction in directions]
            attended = [-direction for direction in attentions] if self.use_attention else None
        return Update(steps, attended, State(chunks, tensors, model))

    def _mean_log_lrs(self, layout, chunks):
        """For each chunk the mean that `use_relative_lr` compares with, `[1, pieces]`; None where
        unused."""
        if not self.use_relative_lr:
            return [None] * len(chunks)
        sums = [chunk.sums(rows.log_lr) for chunk, rows in zip(layout.chunks, chunks)]
        if not self.use_problem_lr_mean:
            return layout.per_chunk(layout.tensor_means(sums))
        mean = tf.add_n([tf.reduce_sum(s) for s in sums]) / layout.num_counted()
        return [tf.fill([1, len(chunk.pieces)], mean) for chunk in layout.chunks]

    def _features(self, chunk, scaled, mean_squares, log_lr, mean_log_lr):
        """The inputs of the parameter level (3.3), a list of `[features, size]`."""
        features = [scaled]
        if self.use_grad_products:
            # The gradient of a split is much faster than that of a slice.
            last = self.num_gradient_scales - 1
            features.append(tf.split(scaled, [last, 1])[0] * tf.split(scaled, [1, last])[1])
        if self.use_log_means_squared:
            logs = tf.log(mean_squares + RMS_EPSILON)
            features.append(logs - tf.reduce_mean(logs, axis=0, keepdims=True))
        if self.use_relative_lr:
            features.append(log_lr - chunk.spread(mean_log_lr))
        if self.use_extreme_indicator:
            features.append(tf.nn.relu(log_lr) - tf.nn.relu(math.log(1e-6) - log_lr))
        if self.use_lr_shortcut:
            features.append(log_lr - math.log(LR_SHORTCUT_RATE))
        return features

    def _sums(self, chunk, parameter, inputs):
        """Sums over pieces of what the tensor level averages, `[features, pieces]`."""
        sums, features = [chunk.sums(parameter)], self._num_features()
        if self._passes_features():
            others = inputs.shape.as_list()[0] - features
            sums.append(chunk.sums(tf.split(inputs, [features, others])[0]))
        return tf.concat(sums, 0)


def _scale(layout, directions, log_steps, offset):
    """Minus the directions, brought to RMS 1 over each tensor, times the step sizes (3.2.4)."""
    squares = [chunk.sums(tf.square(row)) for chunk, row in zip(layout.chunks, directions)]
    factors = layout.per_chunk(-tf.exp(offset) * tf.rsqrt(
        layout.tensor_means(squares) + RMS_EPSILON))
    return [tf.exp(log_step) * direction * chunk.spread(factor)
            for chunk, factor, direction, log_step in zip(layout.chunks, factors, directions,
                                                          log_steps)]


def _clip(value, low, high):
    """The value is clipped; the gradient flows as if it weren't."""
    return value + tf.stop_gradient(tf.clip_by_value(value, low, high) - value)


def _root_powers(decay, scales):
    """`decay, decay^(1/2), decay^(1/4), ..`: `[1, size]` -> `[scales, size]`."""
    powers = [decay]
    while len(powers) < scales:
        powers.append(tf.sqrt(powers[-1]))
    return decay if scales == 1 else tf.concat(powers, 0)


def _decay(readouts, name, fixed, like):
    """The decay rates `[1, size]` that are read out, or the fixed one."""
    if name in readouts:
        return tf.sigmoid(readouts[name])
    return fixed * tf.ones_like(like[:1])


def _cell_inputs(columns, state):
    """What a cell takes beside `state` where all columns belong to one piece."""
    return tf.concat([columns, tf.ones([1, columns.shape.as_list()[1]]), state], 0)
