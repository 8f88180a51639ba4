"""Recurrent cells in the `[features, N]` layout: every column is one sequence.

A cell is made in two steps, `cell = Cell(num_units)` and `cell.build(create, scope, num_inputs)`,
where `create(name, shape, initializer)` makes a meta-parameter. `cell.read(theta)` then brings the
weights into the form in which `cell.step(weights, inputs, state)` takes them; `theta` is a dict
from the names of meta-parameters to their values. Read once, outside of a loop; step inside of it.
Weight matrices are stored as in published checkpoints, `[inputs + units, outputs]`.
"""

import math
from typing import Any, Callable, List, NamedTuple, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from optimizer.types import Create, Theta


def normal_initializer(scale: float, num_inputs: int,
                       mean: float = 0.0) -> Callable[..., tf.Tensor]:
    """N(mean, (scale / sqrt(num_inputs))^2): keeps the size of a projection of unit inputs."""
    return tf.random_normal_initializer(mean, scale / math.sqrt(num_inputs))


class Projection(NamedTuple):
    """`matrix x + bias`."""
    matrix: tf.Tensor  # [outputs, inputs]
    bias: tf.Tensor  # [outputs, 1]


def read_projection(matrix: tf.Tensor, bias: tf.Tensor) -> Projection:
    """The `Projection` by a stored matrix `[inputs, outputs]` and bias `[outputs]`."""
    return Projection(tf.transpose(matrix), bias[:, tf.newaxis])


def project(projection: Projection, *columns: tf.Tensor) -> tf.Tensor:
    """`[outputs, N]`: the projection of columns `[inputs, N]`, given in one or several parts."""
    columns = columns[0] if len(columns) == 1 else tf.concat(columns, 0)
    return tf.matmul(projection.matrix, columns) + projection.bias


class Affine:
    """The meta-parameters `<scope>/Matrix [inputs, outputs]` and `<scope>/Bias [outputs]`."""

    def __init__(self, create: Create, scope: str, num_inputs: int, num_outputs: int, scale: float,
                 bias_init: float = 0.0) -> None:
        self._scope = scope
        create(scope + '/Matrix', (num_inputs, num_outputs), normal_initializer(scale, num_inputs))
        create(scope + '/Bias', (num_outputs,), tf.constant_initializer(bias_init))

    def read(self, theta: Theta) -> Projection:
        """Returns the `Projection`."""
        return read_projection(theta[self._scope + '/Matrix'], theta[self._scope + '/Bias'])


class BiasGRUWeights(NamedTuple):
    """The weights of a `BiasGRUCell`: those of the gates r, u and of the candidate c in one."""
    from_inputs: tf.Tensor  # [3 units, inputs]
    bias: tf.Tensor  # [3 units, 1]
    from_state: tf.Tensor  # [3 units, units], zero for c
    candidate_from_state: tf.Tensor  # [units, units]


class BiasGRUCell:
    """A gated recurrent unit (arXiv 1406.1078) that takes an additional bias from outside.

        r = sigmoid(W_r [x, h] + b_r + bias_r),  u = sigmoid(W_u [x, h] + b_u + bias_u)
        c = tanh(W_c [x, r h] + b_c + bias_c),   h' = u h + (1 - u) c

    Args:
      num_units: size of the state.
      scale: spread of the initial weights, see `normal_initializer`.
      gate_bias_init: initial bias of both gates.
    """

    def __init__(self, num_units: int, scale: float = 0.1, gate_bias_init: float = 0.0) -> None:
        self.num_units = num_units
        self._scale = scale
        self._gate_bias_init = gate_bias_init

    def build(self, create: Create, scope: str, num_inputs: int) -> None:
        rows = num_inputs + self.num_units
        self._gates = Affine(create, scope + '/BiasGRUCell/gates/Affine', rows,
                             2 * self.num_units, self._scale, self._gate_bias_init)
        self._candidate = Affine(create, scope + '/BiasGRUCell/candidate/Affine', rows,
                                 self.num_units, self._scale)

    def read(self, theta: Theta) -> BiasGRUWeights:
        """Returns the `BiasGRUWeights`."""
        gates, candidate = self._gates.read(theta), self._candidate.read(theta)
        sizes = [gates.matrix.shape.as_list()[1] - self.num_units, self.num_units]
        gates_from_inputs, gates_from_state = tf.split(gates.matrix, sizes, axis=1)
        candidate_from_inputs, candidate_from_state = tf.split(candidate.matrix, sizes, axis=1)
        return BiasGRUWeights(
            from_inputs=tf.concat([gates_from_inputs, candidate_from_inputs], 0),
            bias=tf.concat([gates.bias, candidate.bias], 0),
            from_state=tf.concat([gates_from_state, tf.zeros_like(candidate_from_state)], 0),
            candidate_from_state=candidate_from_state)

    @staticmethod
    def step(weights: BiasGRUWeights, inputs: tf.Tensor, state: tf.Tensor,
             bias: Union[float, tf.Tensor] = 0.0) -> tf.Tensor:
        """One step.

        Biases enter as weights of the membership rows, and one matrix product serves both gates and
        the candidate.

        Args:
          weights: what `read` returned.
          inputs: `[num_inputs + pieces + num_units, N]`: the inputs proper, rows that tell which
            piece a column belongs to (`Chunk.membership`; for a single piece a row of ones), and
            once more the state.
          state: `[num_units, N]`.
          bias: `[3 * num_units, pieces]`, for r, u and c of each piece.

        Returns:
          the new state.
        """
        units = state.shape.as_list()[0]
        matrix = tf.concat([weights.from_inputs, weights.bias + bias, weights.from_state], 1)
        gates, candidate = tf.split(tf.matmul(matrix, inputs), [2 * units, units], axis=0)
        reset, update = tf.split(tf.sigmoid(gates), 2, axis=0)
        new = tf.tanh(candidate + tf.matmul(weights.candidate_from_state, reset * state))
        return new + update * (state - new)


class LSTMCell:
    """Long short-term memory, gates in the order i, j, f, o, forget bias 1, state rows `[c, h]`.

        c' = sigmoid(f + 1) c + sigmoid(i) tanh(j),   h' = sigmoid(o) tanh(c')

    Args:
      num_units: size of c and of h.
      names: of the variables for weights and bias, below the scope.
    """

    scope = 'lstm_cell'

    def __init__(self, num_units: int, names: Tuple[str, str] = ('kernel', 'bias')) -> None:
        self.num_units = num_units
        self.state_size = 2 * num_units
        self._names = names

    def build(self, create: Create, scope: str, num_inputs: int) -> None:
        rows, columns = num_inputs + self.num_units, 4 * self.num_units
        self._variables = ['%s/%s' % (scope, name) for name in self._names]
        create(self._variables[0], (rows, columns), normal_initializer(1.0, rows))
        create(self._variables[1], (columns,), tf.zeros_initializer())

    def read(self, theta: Theta) -> Projection:
        """Returns the `Projection` onto the gates."""
        return read_projection(*[theta[name] for name in self._variables])

    def step(self, weights: Projection, inputs: tf.Tensor,
             state: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """`[inputs, N]`, `[2 units, N]` -> output `[units, N]`, new state."""
        memory, hidden = tf.split(state, 2, axis=0)
        i, j, f, o = tf.split(project(weights, inputs, hidden), 4, axis=0)
        memory = memory * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
        hidden = tf.sigmoid(o) * tf.tanh(memory)
        return hidden, tf.concat([memory, hidden], 0)


class GRUCell:
    """Gated recurrent unit (arXiv 1406.1078), gates in the order r, u with initial bias 1."""

    scope = 'gru_cell'

    def __init__(self, num_units: int) -> None:
        self.num_units = num_units
        self.state_size = num_units

    def build(self, create: Create, scope: str, num_inputs: int) -> None:
        rows, units = num_inputs + self.num_units, self.num_units
        self._scope = scope
        for part, columns, bias in (('gates', 2 * units, tf.ones_initializer()),
                                    ('candidate', units, tf.zeros_initializer())):
            create('%s/%s/kernel' % (scope, part), (rows, columns), normal_initializer(1.0, rows))
            create('%s/%s/bias' % (scope, part), (columns,), bias)

    def read(self, theta: Theta) -> List[Projection]:
        """Returns two `Projection`s: onto the gates, onto the candidate."""
        return [read_projection(*[theta['%s/%s/%s' % (self._scope, part, name)]
                                  for name in ('kernel', 'bias')])
                for part in ('gates', 'candidate')]

    def step(self, weights: List[Projection], inputs: tf.Tensor,
             state: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """`[inputs, N]`, `[units, N]` -> output and new state `[units, N]`."""
        gates, candidate = weights
        reset, update = tf.split(tf.sigmoid(project(gates, inputs, state)), 2, axis=0)
        new = tf.tanh(project(candidate, inputs, reset * state))
        new = new + update * (state - new)
        return new, new


class MultiRNNCell:
    """Cells stacked on each other; the state is the cells' states, joined along the features."""

    def __init__(self, cells: Sequence[Union[LSTMCell, GRUCell]]) -> None:
        self._cells = list(cells)
        self._state_sizes = [cell.state_size for cell in self._cells]
        self.state_size = sum(self._state_sizes)
        self.num_units = self._cells[-1].num_units

    def build(self, create: Create, scopes: Sequence[str], num_inputs: int) -> None:
        for cell, scope in zip(self._cells, scopes):
            cell.build(create, scope, num_inputs)
            num_inputs = cell.num_units

    def read(self, theta: Theta) -> List[Any]:
        """Returns a list with the weights of each cell."""
        return [cell.read(theta) for cell in self._cells]

    def step(self, weights: List[Any], inputs: tf.Tensor,
             state: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        """`[inputs, N]`, `[state_size, N]` -> output `[units, N]`, new state."""
        states = tf.split(state, self._state_sizes, axis=0)
        for index, cell in enumerate(self._cells):
            inputs, states[index] = cell.step(weights[index], inputs, states[index])
        return inputs, tf.concat(states, 0)


#: The cells that `--cell_cls` can name.
CELLS = {cls.__name__: cls for cls in (LSTMCell, GRUCell)}


def cell_class(name: Union[str, type]) -> Any:
    """The class of that name; a class is returned as it is.

    Raises:
      ValueError: there is no such cell.
    """
    if not isinstance(name, str):
        return name
    if name not in CELLS:
        raise ValueError('Unknown cell %r: choose from %s.' % (name, ', '.join(sorted(CELLS))))
    return CELLS[name]
