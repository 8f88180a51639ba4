"""HierarchicalRNN, "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813).

Three levels of recurrent networks: one small state for each parameter, one for each tensor, one for
the whole model. Levels are tied by biases from above and averages from below (section 3.1 of the
paper).
"""

import collections
import math

import tensorflow.compat.v1 as tf

from optimizer import rnn_cells, trainable_optimizer, utils

MIN_LOG_LR = -33.0
FIXED_SCALE_DECAY = 0.93  # decay rates where they are not learned
FIXED_INPUT_DECAY = 0.89
LR_SHORTCUT_RATE = 1e-3  # the learning rate that `use_lr_shortcut` compares with

#: The arguments with which the scripts make it by default, where the constructor's differ.
PRESET = {'level_sizes': (10, 20, 20), 'use_problem_lr_mean': True, 'use_gradient_shortcut': True,
          'use_grad_products': True}

#: State: a ChunkState for each chunk, the tensors' `[units, tensors]` and the model's `[units, 1]`.
State = collections.namedtuple('State', 'chunks tensors model')

#: Rows of one chunk: `parameter [units, size]`; `gradients`, `mean_squares`, `[scales, size]`;
#: the decay rates and the log learning rate, `[1, size]`.
ChunkState = collections.namedtuple(
    'ChunkState', 'parameter gradients mean_squares scale_decay input_decay log_lr')

#: What is read out of the new parameter states, rows `[1, size]`.
Readout = collections.namedtuple(
    'Readout', 'direction attention log_step log_lr scale_decay input_decay')

#: What a chunk gives before whole tensors are known: its inputs, features first; the direction of
#: its step (and of the attended point), still to be divided by its RMS over the tensor; and the log
#: of the step's size.
Proposal = collections.namedtuple('Proposal', 'inputs direction attention log_step')


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
      dynamic_output_scale: keep a learning rate for each parameter.
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
      learnable_rnn_init: learn the initial states; else they are random.
      random_seed: of everything random in the optimizer.
      rnn_readout_scale, affine_scale, default_decay_var_init, scale_decay_bias_init,
      learning_rate_momentum_logit_init, biasgrucell_scale, biasgrucell_gate_bias_init: initial
        values of the meta-parameters.
      use_second_derivatives: see `TrainableOptimizer`.

    Raises:
      ValueError: a number of levels that isn't 1, 2 or 3, sizes or scales that aren't positive, or
        learning-rate features without `dynamic_output_scale`.
    """

    def __init__(self, level_sizes, init_lr_range=(1e-6, 1e-2), learnable_decay=True,
                 dynamic_output_scale=True, use_attention=False, use_log_objective=True,
                 num_gradient_scales=4, zero_init_lr_weights=True, use_log_means_squared=True,
                 use_relative_lr=True, use_extreme_indicator=False, max_log_lr=33,
                 obj_train_max_multiplier=-1, use_problem_lr_mean=False,
                 use_gradient_shortcut=False, use_lr_shortcut=False, use_grad_products=False,
                 use_multiple_scale_decays=False, use_numerator_epsilon=False,
                 learnable_inp_decay=True, learnable_rnn_init=True, random_seed=None,
                 rnn_readout_scale=0.5, affine_scale=0.5, default_decay_var_init=2.2,
                 scale_decay_bias_init=3.2, learning_rate_momentum_logit_init=3.2,
                 biasgrucell_scale=0.5, biasgrucell_gate_bias_init=2.2,
                 use_second_derivatives=True, name='HierarchicalRNN'):
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
        self._create_cells(biasgrucell_scale, biasgrucell_gate_bias_init, affine_scale)
        self._create_init_vectors(learnable_rnn_init)
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
        if self._uses_lr_features() and not self.dynamic_output_scale:
            raise ValueError('use_relative_lr, use_extreme_indicator and use_lr_shortcut need '
                             'dynamic_output_scale.')

    def _uses_lr_features(self):
        return self.use_relative_lr or self.use_extreme_indicator or self.use_lr_shortcut

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
            cell = rnn_cells.BiasGRUCell(size, scale, gate_bias_init)
            cell.build(self.create_meta_parameter, scope, num_inputs)
            self._cells.append(cell)

        def bias(scope, source, target):
            return rnn_cells.Affine(self.create_meta_parameter, scope, sizes[source],
                                    3 * sizes[target], affine_scale)

        if len(sizes) > 1:
            self._tensor_to_parameter = bias(scopes[0] + '/Param/Affine', 1, 0)
        if len(sizes) > 2:
            self._model_to_parameter = bias(scopes[0] + '/Global/Affine', 2, 0)
            self._model_to_tensor = bias(scopes[1] + '/Affine', 2, 1)

    def _passes_features(self):
        """Whether the tensor level sees the features beside the parameters' states."""
        return self._num_features() != self.num_gradient_scales

    def _create_init_vectors(self, learnable):
        start = tf.random_uniform_initializer(-1.0, 1.0)
        if learnable:
            self._init_vectors = [
                self.create_meta_parameter('Level%d_RNN/init_vector' % level, (1, size), start)
                for level, size in enumerate(self.level_sizes)]
        else:
            self._init_vectors = None

    def _create_readouts(self, scale, zero_init_lr_weights, use_gradient_shortcut, momentum_logit):
        readout = (self.level_sizes[0], 1)
        random = rnn_cells.normal_initializer(scale, readout[0])
        zeros = tf.zeros_initializer()
        create = self.create_meta_parameter
        self._update_weights = create('update_weights', readout, random)
        self._lr_weights = create('learning_rate_weights', readout,
                                  zeros if zero_init_lr_weights else random)
        self._lr_bias = create('learning_rate_bias', (1,), zeros)
        self._attention_weights = self._shortcut = self._attention_shortcut = None
        scales = self.num_gradient_scales
        averaging = rnn_cells.normal_initializer(0.1, scales, mean=1.0 / scales)
        if use_gradient_shortcut:
            self._shortcut = create('PerTensor/GradsToDelta/Matrix', (scales, 1), averaging)
        if self.use_attention:
            self._attention_weights = create('attention_weights', readout, random)
            if use_gradient_shortcut:
                self._attention_shortcut = create('PerTensor/GradsToAttnDelta/Matrix', (scales, 1),
                                                  averaging)
        if self.dynamic_output_scale:
            self._lr_momentum_logit = create('PerTensor/learning_rate_momentum_logit', (),
                                             tf.constant_initializer(momentum_logit))
            self._stepsize_offset = create('PerTensor/param_stepsize_offset', (),
                                           tf.constant_initializer(-1.0))

    def _create_decays(self, scale, learn_both, learn_input, scale_bias_init, input_bias_init):
        readout = (self.level_sizes[0], 1)
        random = rnn_cells.normal_initializer(scale, readout[0])

        def decay(name, learn, bias_init):
            if not learn:
                return None
            return (self.create_meta_parameter(name + '_weights', readout, random),
                    self.create_meta_parameter(name + '_bias', (1,),
                                               tf.constant_initializer(bias_init)))

        self._scale_decay = decay('scl_decay', learn_both, scale_bias_init)
        self._input_decay = decay('inp_decay', learn_both and learn_input and self._accumulates(),
                                  input_bias_init)

    # State.

    def initial_state(self, layout, read, key):
        levels = self._initial_level_states(read, key)
        log_lrs = layout.to_chunks([self._initial_log_lr(shape, key + [1 + index, 0])
                                    for index, shape in enumerate(layout.shapes)])
        chunks = [self._initial_chunk_state(chunk.size, levels[0], log_lr)
                  for chunk, log_lr in zip(layout.chunks, log_lrs)]
        tensors = [tf.tile(level, [1, layout.num_tensors]) for level in levels[1:2]]
        return State(chunks, tensors, levels[2:])

    def _initial_chunk_state(self, size, parameter, log_lr):
        zeros, accumulators = tf.zeros([1, size]), tf.zeros([self.num_gradient_scales, size])
        return ChunkState(
            parameter=tf.tile(parameter, [1, size]),
            gradients=accumulators if self._accumulates() else [],
            mean_squares=accumulators,
            scale_decay=zeros,
            input_decay=zeros if self._accumulates() else [],
            log_lr=log_lr if self.dynamic_output_scale else [])

    def _accumulates(self):
        return self.num_gradient_scales > 1

    def _initial_level_states(self, read, key):
        if self._init_vectors is None:
            return [tf.random.stateless_normal([size, 1], key + [0, level])
                    for level, size in enumerate(self.level_sizes)]
        return [tf.transpose(read(vector)) for vector in self._init_vectors]

    def _initial_log_lr(self, shape, key):
        log_lr = utils.initial_log_rates(shape, self.init_lr_range, key)
        return tf.clip_by_value(log_lr, MIN_LOG_LR, self.max_log_lr)

    def log_rate_row(self, chunk_state):
        return chunk_state.log_lr if self.dynamic_output_scale else None

    # Update rule.

    def update_rule(self, layout):
        layout = layout.prepare()
        propose, bias_of_pieces = self._prepare_proposals(), self._prepare_biases(layout)
        move_tensors, move_model = self._prepare_tensor_level(layout), self._prepare_model_level()
        offset = self._stepsize_offset + 0.0 if self.dynamic_output_scale else 0.0

        def rule(gradients, state):
            bias, mean_log_lr = bias_of_pieces(state), self._mean_log_lr(layout, state.chunks)
            proposals, chunks = zip(*[
                propose(chunk, gradient, rows, bias, mean_log_lr)
                for chunk, gradient, rows in zip(layout.chunks, gradients, state.chunks)])
            tensors = move_tensors(proposals, chunks, state)
            new_state = State(list(chunks), tensors, move_model(tensors, state))
            log_steps = [proposal.log_step for proposal in proposals]
            steps = self._scale(layout, [p.direction for p in proposals], log_steps, offset)
            attention = None
            if self.use_attention:
                attention = self._scale(layout, [p.attention for p in proposals], log_steps, 0.0)
            return trainable_optimizer.Update(steps, attention, new_state)

        return rule

    def _prepare_biases(self, layout):
        """The function state -> what the upper levels add to the parameter level's gates,
        `[3 * units, pieces]`."""
        sources = []
        if len(self.level_sizes) > 1:
            sources.append((self._tensor_to_parameter.prepare(), lambda state: state.tensors[0]))
        if len(self.level_sizes) > 2:
            sources.append((self._model_to_parameter.prepare(), lambda state: state.model[0]))

        def biases(state):
            zero = tf.zeros([1, layout.num_tensors])
            return layout.per_piece(sum((affine(level(state)) for affine, level in sources), zero))

        return biases

    def _mean_log_lr(self, layout, chunks):
        """The mean that `use_relative_lr` compares with, `[1, pieces]`; None where unused."""
        if not self.use_relative_lr:
            return None
        sums = [chunk.sums(rows.log_lr) for chunk, rows in zip(layout.chunks, chunks)]
        if not self.use_problem_lr_mean:
            return layout.per_piece(layout.tensor_means(sums))
        mean = tf.add_n([tf.reduce_sum(s) for s in sums]) / float(sum(layout.sizes))
        return tf.fill([1, len(layout.pieces)], mean)

    def _prepare_proposals(self):
        """The function that lets one chunk's parameters propose their steps:
        (chunk, gradient, rows, bias, mean_log_lr) -> Proposal, new ChunkState."""
        cell_step, read_out = self._cells[0].prepare(), self._prepare_readouts()

        def propose(chunk, gradient, rows, bias, mean_log_lr):
            gradients = self._accumulate(gradient, rows)
            mean_squares = utils.mean_square(gradients, self._scale_decays(rows), rows.mean_squares)
            scaled = utils.rms_scale(gradients, mean_squares)
            mean = None if mean_log_lr is None else chunk.spread(chunk.take(mean_log_lr))
            inputs = tf.concat(self._features(scaled, mean_squares, rows.log_lr, mean)
                               + [chunk.membership, rows.parameter], 0)
            parameter = cell_step(inputs, rows.parameter, chunk.take(bias))
            out = read_out(parameter, scaled, rows.log_lr)
            proposal = Proposal(inputs, out.direction, out.attention, out.log_step)
            return proposal, ChunkState(
                parameter, gradients if self._accumulates() else [], mean_squares,
                out.scale_decay, out.input_decay if self._accumulates() else [], out.log_lr)

        return propose

    def _accumulate(self, gradient, rows):
        """The gradient accumulated on each time scale, `[scales, size]`."""
        if not self._accumulates():
            return gradient
        decays = _root_powers(rows.input_decay, self.num_gradient_scales)
        return gradient + decays * (rows.gradients - gradient)

    def _scale_decays(self, rows):
        scales = self.num_gradient_scales if self.use_multiple_scale_decays else 1
        return _root_powers(rows.scale_decay, scales)

    def _features(self, scaled, mean_squares, log_lr, mean_log_lr):
        """The inputs of the parameter level, a list of `[features, size]`."""
        features = [scaled]
        if self.use_grad_products:
            # The gradient of a split is much faster than that of a slice.
            last = self.num_gradient_scales - 1
            features.append(tf.split(scaled, [last, 1])[0] * tf.split(scaled, [1, last])[1])
        if self.use_log_means_squared:
            logs = tf.log(mean_squares + utils.RMS_EPSILON)
            features.append(logs - tf.reduce_mean(logs, axis=0, keepdims=True))
        if self.use_relative_lr:
            features.append(log_lr - mean_log_lr)
        if self.use_extreme_indicator:
            features.append(tf.nn.relu(log_lr) - tf.nn.relu(math.log(1e-6) - log_lr))
        if self.use_lr_shortcut:
            features.append(log_lr - math.log(LR_SHORTCUT_RATE))
        return features

    def _prepare_readouts(self):
        """The function that reads everything out of the new parameter states:
        (parameter, scaled, log_lr) -> Readout."""
        project = self._prepare_projection()
        shortcuts = [w for w in (self._shortcut, self._attention_shortcut) if w is not None]
        shortcuts = tf.transpose(tf.concat(shortcuts, 1)) if shortcuts else None
        new_rates = self._prepare_rates()

        def read_out(parameter, scaled, log_lr):
            rows = project(parameter)
            direct = [0.0, 0.0] if shortcuts is None else _rows(tf.matmul(shortcuts, scaled))
            log_step, new_log_lr = new_rates(rows['learning_rate'], log_lr)
            return Readout(
                direction=rows['update'] + direct[0],
                attention=rows['attention'] + direct[1] if self.use_attention else None,
                log_step=log_step, log_lr=new_log_lr,
                scale_decay=_decay_row(rows, 'scale_decay', FIXED_SCALE_DECAY, parameter),
                input_decay=_decay_row(rows, 'input_decay', FIXED_INPUT_DECAY, parameter))

        return read_out

    def _prepare_projection(self):
        """The function parameter state -> dict of rows `[1, size]`: all read-outs at once."""
        zero = tf.zeros([1])
        readouts = [('update', self._update_weights, zero),
                    ('learning_rate', self._lr_weights, self._lr_bias)]
        if self.use_attention:
            readouts.append(('attention', self._attention_weights, zero))
        for name, decay in (('scale_decay', self._scale_decay), ('input_decay', self._input_decay)):
            if decay is not None:
                readouts.append((name,) + decay)
        names, weights, biases = zip(*readouts)
        weights = tf.transpose(tf.concat(weights, 1))
        bias = tf.concat(biases, 0)[:, tf.newaxis]
        return lambda parameter: dict(zip(names, _rows(tf.matmul(weights, parameter) + bias)))

    def _prepare_rates(self):
        """The function (change, log_lr) -> log of the step's size, new log learning rate."""
        if not self.dynamic_output_scale:
            return lambda change, _: (tf.log(2.0) + tf.log_sigmoid(change), [])
        momentum = tf.sigmoid(self._lr_momentum_logit)

        def new_rates(change, log_lr):
            moved = log_lr + change
            # The value is clipped; the gradient flows as if it weren't.
            moved += tf.stop_gradient(tf.clip_by_value(moved, MIN_LOG_LR, self.max_log_lr) - moved)
            return moved, momentum * log_lr + (1.0 - momentum) * moved

        return new_rates

    def _prepare_tensor_level(self, layout):
        """The function (proposals, new chunk states, old state) -> new tensor states."""
        if len(self.level_sizes) < 2:
            return lambda proposals, chunks, state: []
        cell_step = self._cells[1].prepare()
        bias_from_model = self._model_to_tensor.prepare() if len(self.level_sizes) > 2 else None

        def move(proposals, chunks, state):
            sums = [self._tensor_inputs(*both) for both in zip(layout.chunks, proposals, chunks)]
            bias = bias_from_model(state.model[0]) if bias_from_model else 0.0
            inputs = _cell_inputs(layout.tensor_means(sums), state.tensors[0])
            return [cell_step(inputs, state.tensors[0], bias)]

        return move

    def _tensor_inputs(self, chunk, proposal, rows):
        """Sums over pieces of what the tensor level averages, `[features, pieces]`."""
        sums = chunk.sums(rows.parameter)
        if not self._passes_features():
            return sums
        features = self._num_features()
        others = proposal.inputs.shape.as_list()[0] - features
        return tf.concat([sums, chunk.sums(tf.split(proposal.inputs, [features, others])[0])], 0)

    def _prepare_model_level(self):
        """The function (new tensor states, old state) -> new model state."""
        if len(self.level_sizes) < 3:
            return lambda tensors, state: []
        cell_step = self._cells[2].prepare()
        return lambda tensors, state: [
            cell_step(_cell_inputs(tensors[0][:, -1:], state.model[0]), state.model[0])]

    def _scale(self, layout, directions, log_steps, offset):
        """Minus the directions, brought to RMS 1 over each tensor, times the step sizes."""
        if not self.dynamic_output_scale:
            return [-tf.exp(log_step) * direction
                    for log_step, direction in zip(log_steps, directions)]
        squares = [chunk.sums(tf.square(row)) for chunk, row in zip(layout.chunks, directions)]
        factors = layout.per_piece(-tf.exp(offset) * tf.rsqrt(
            layout.tensor_means(squares) + utils.RMS_EPSILON))
        return [tf.exp(log_step) * direction * chunk.spread(chunk.take(factors))
                for chunk, direction, log_step in zip(layout.chunks, directions, log_steps)]


def _root_powers(decay, scales):
    """`decay, decay^(1/2), decay^(1/4), ..`: `[1, size]` -> `[scales, size]`."""
    powers = [decay]
    while len(powers) < scales:
        powers.append(tf.sqrt(powers[-1]))
    return decay if scales == 1 else tf.concat(powers, 0)


def _rows(matrix):
    return tf.split(matrix, matrix.shape.as_list()[0], axis=0)


def _decay_row(rows, name, fixed, like):
    return tf.sigmoid(rows[name]) if name in rows else tf.fill([1, like.shape.as_list()[1]], fixed)


def _cell_inputs(columns, state):
    """What a cell takes beside `state` where all columns belong to one piece."""
    return tf.concat([columns, tf.ones([1, columns.shape.as_list()[1]]), state], 0)
