"""Recurrent cells in the `[features, N]` layout: every column is one sequence.

A cell is used in three steps: `cell = Cell(num_units)`; `cell.build(create, scope, num_inputs)`,
where `create(name, shape, initializer)` makes a meta-parameter; and `step = cell.prepare()`, which
reads the weights once and returns the function that makes one step, to be called inside of a loop.
Weight matrices are stored as in published checkpoints, `[inputs + units, outputs]`.
"""

import math

import tensorflow.compat.v1 as tf


def normal_initializer(scale, num_inputs, mean=0.0):
    """N(mean, (scale / sqrt(num_inputs))^2): keeps the size of a projection of unit inputs."""
    return tf.random_normal_initializer(mean, scale / math.sqrt(num_inputs))


class Affine:
    """`Matrix^T x + Bias`: `<scope>/Matrix [inputs, outputs]` and `<scope>/Bias [outputs]`."""

    def __init__(self, create, scope, num_inputs, num_outputs, scale, bias_init=0.0):
        self.matrix = create(scope + '/Matrix', (num_inputs, num_outputs),
                             normal_initializer(scale, num_inputs))
        self.bias = create(scope + '/Bias', (num_outputs,), tf.constant_initializer(bias_init))

    def prepare(self):
        """Returns the function `[inputs, T]` -> `[outputs, T]`."""
        weights, bias = tf.transpose(self.matrix), self.bias[:, tf.newaxis]
        return lambda columns: tf.matmul(weights, columns) + bias


class BiasGRUCell:
    """A gated recurrent unit (arXiv 1406.1078) that takes an additional bias from outside.

        r = sigmoid(W_r [x, h] + b_r + bias_r),  u = sigmoid(W_u [x, h] + b_u + bias_u)
        c = tanh(W_c [x, r h] + b_c + bias_c),   h' = u h + (1 - u) c

    Args:
      num_units: size of the state.
      scale: spread of the initial weights, see `normal_initializer`.
      gate_bias_init: initial bias of both gates.
    """

    def __init__(self, num_units, scale=0.1, gate_bias_init=0.0):
        self.num_units = num_units
        self._scale = scale
        self._gate_bias_init = gate_bias_init

    def build(self, create, scope, num_inputs):
        rows = num_inputs + self.num_units
        self._num_inputs = num_inputs
        self._gates = Affine(create, scope + '/BiasGRUCell/gates/Affine', rows,
                             2 * self.num_units, self._scale, self._gate_bias_init)
        self._candidate = Affine(create, scope + '/BiasGRUCell/candidate/Affine', rows,
                                 self.num_units, self._scale)

    def prepare(self):
        """Reads the weights; returns `step(inputs, state, bias=0.0)`.

        `step` takes `inputs [num_inputs + pieces + num_units, N]`: the inputs proper, rows that
        tell which piece a column belongs to (`Chunk.membership`; for a single piece a row of ones),
        and once more the `state [num_units, N]`; and `bias [3 * num_units, pieces]` for r, u and c
        of each piece. It returns the new state. The biases enter as weights of the membership rows,
        and one matrix product serves both gates and the candidate.
        """
        units, split = self.num_units, self._num_inputs
        gates, candidate = tf.transpose(self._gates.matrix), tf.transpose(self._candidate.matrix)
        from_inputs = tf.concat([gates[:, :split], candidate[:, :split]], 0)
        from_state = tf.concat([gates[:, split:], tf.zeros([units, units])], 0)
        own_bias = tf.concat([self._gates.bias, self._candidate.bias], 0)[:, tf.newaxis]
        candidate_from_state = candidate[:, split:]

        def step(inputs, state, bias=0.0):
            weights = tf.concat([from_inputs, own_bias + bias, from_state], 1)
            gates, candidate = tf.split(tf.matmul(weights, inputs), [2 * units, units], axis=0)
            reset, update = tf.split(tf.sigmoid(gates), 2, axis=0)
            new = tf.tanh(candidate + tf.matmul(candidate_from_state, reset * state))
            return new + update * (state - new)

        return step


class LSTMCell:
    """Long short-term memory, gates in the order i, j, f, o, forget bias 1, state rows `[c, h]`.

        c' = sigmoid(f + 1) c + sigmoid(i) tanh(j),   h' = sigmoid(o) tanh(c')

    Args:
      num_units: size of c and of h.
      names: of the variables for weights and bias, below the scope.
    """

    scope = 'lstm_cell'

    def __init__(self, num_units, names=('kernel', 'bias')):
        self.num_units = num_units
        self.state_size = 2 * num_units
        self._names = names

    def build(self, create, scope, num_inputs):
        rows, columns = num_inputs + self.num_units, 4 * self.num_units
        self._weights = create('%s/%s' % (scope, self._names[0]), (rows, columns),
                               normal_initializer(1.0, rows))
        self._bias = create('%s/%s' % (scope, self._names[1]), (columns,), tf.zeros_initializer())

    def prepare(self):
        """Returns `step`: `[inputs, N]`, `[2 units, N]` -> output `[units, N]`, new state."""
        units = self.num_units
        project = _projection(self._weights, self._bias)

        def step(inputs, state):
            gates = project(inputs, state[units:])
            i, j, f, o = tf.split(gates, 4, axis=0)
            memory = state[:units] * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
            hidden = tf.sigmoid(o) * tf.tanh(memory)
            return hidden, tf.concat([memory, hidden], 0)

        return step


class GRUCell:
    """Gated recurrent unit (arXiv 1406.1078), gates in the order r, u with initial bias 1."""

    scope = 'gru_cell'

    def __init__(self, num_units):
        self.num_units = num_units
        self.state_size = num_units

    def build(self, create, scope, num_inputs):
        rows, units = num_inputs + self.num_units, self.num_units
        weights = normal_initializer(1.0, rows)
        self._gates = (create(scope + '/gates/kernel', (rows, 2 * units), weights),
                       create(scope + '/gates/bias', (2 * units,), tf.ones_initializer()))
        self._candidate = (create(scope + '/candidate/kernel', (rows, units), weights),
                           create(scope + '/candidate/bias', (units,), tf.zeros_initializer()))

    def prepare(self):
        """Returns `step`: `[inputs, N]`, `[units, N]` -> output and new state `[units, N]`."""
        project_gates = _projection(*self._gates)
        project_candidate = _projection(*self._candidate)

        def step(inputs, state):
            reset, update = tf.split(tf.sigmoid(project_gates(inputs, state)), 2, axis=0)
            candidate = tf.tanh(project_candidate(inputs, reset * state))
            new_state = candidate + update * (state - candidate)
            return new_state, new_state

        return step


def _projection(weights, bias):
    """The function (inputs, hidden) -> `weights^T [inputs; hidden] + bias`."""
    weights, bias = tf.transpose(weights), bias[:, tf.newaxis]
    return lambda inputs, hidden: tf.matmul(weights, tf.concat([inputs, hidden], 0)) + bias


class MultiRNNCell:
    """Cells stacked on each other; the state is the cells' states, joined along the features."""

    def __init__(self, cells):
        self._cells = list(cells)
        self.state_size = sum(cell.state_size for cell in self._cells)
        self.num_units = self._cells[-1].num_units

    def build(self, create, scopes, num_inputs):
        for cell, scope in zip(self._cells, scopes):
            cell.build(create, scope, num_inputs)
            num_inputs = cell.num_units

    def prepare(self):
        """Returns `step`: `[inputs, N]`, `[state_size, N]` -> output `[units, N]`, new state."""
        cell_steps = [cell.prepare() for cell in self._cells]
        sizes = [cell.state_size for cell in self._cells]

        def step(inputs, state):
            states = tf.split(state, sizes, axis=0)
            for index, cell_step in enumerate(cell_steps):
                inputs, states[index] = cell_step(inputs, states[index])
            return inputs, tf.concat(states, 0)

        return step


#: The cells that `--cell_cls` can name.
CELLS = {cls.__name__: cls for cls in (LSTMCell, GRUCell)}


def cell_class(name):
    """The class of that name; a class is returned as it is.

    Raises:
      ValueError: there is no such cell.
    """
    if isinstance(name, str) and name not in CELLS:
        raise ValueError('Unknown cell %r: choose from %s.' % (name, ', '.join(sorted(CELLS))))
    return CELLS.get(name, name)
