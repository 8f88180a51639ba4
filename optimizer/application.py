"""One step of a learned optimizer on somebody's variables: what it computes from and assigns.

Variables of all kinds, gradients of all kinds, weight decay, constraints, tables of embeddings.

With attention a variable holds the point at which the next gradient is taken. What is kept beside
it is its offset from the true parameters: whatever assigns another value to the variable (a
restored checkpoint, clipping, averaging) moves the true parameters along.
"""

import re
import typing

import tensorflow.compat.v1 as tf

from optimizer.hints import Constraint, Gradient, GradsAndVars, Nest
from optimizer.utils import Layout

#: The state of a table of embeddings, a row for each of the table's rows.
ROWS = 'table_state'


class Update(typing.NamedTuple):
    """What one step of an update rule gives."""
    steps: list  # for each chunk of the layout a row [1, size] to add to the true parameters
    attention: typing.Optional[list]  # rows from the old true parameters to the next point, or None
    state: Nest  # after the step


#: (gradients, state) -> `Update`; (gradients, state, parameters) where the class sees those.
Rule = typing.Callable[..., Update]


class Values(typing.NamedTuple):
    """What a step computes from, and what it computes."""
    variables: list  # of the model
    state: Nest  # of the optimizer
    #: With attention a row [1, size] for each chunk: variable - true parameter.
    offsets: typing.Sequence[tf.Tensor] = ()


class Scaling(typing.NamedTuple):
    """What the user lays over the learned steps; None: nothing."""
    learning_rate: typing.Any = None  # scalar, a factor of the steps
    weight_decay: typing.Any = None  # the share of the parameters that is taken off at rate 1


NO_SCALING = Scaling()


class Change(typing.NamedTuple):
    """A new value for a variable, or for some rows of it."""
    variable: tf.Variable
    value: tf.Tensor
    rows: typing.Any = None  # their indices


# What apply_gradients is given.


def checked_pairs(grads_and_vars: GradsAndVars) -> typing.List[typing.Tuple[Gradient, tf.Variable]]:
    """The (gradient, variable) pairs that have a gradient, each variable once, in order of names.

    Raises: as `tf.train.Optimizer.apply_gradients`.
    """
    pairs = tuple(grads_and_vars)
    if not pairs:
        raise ValueError('No variables provided.')
    found: typing.Dict[str, typing.Any] = {}
    for gradient, variable in pairs:
        if gradient is None:
            continue
        if isinstance(variable, tf.Tensor):
            raise NotImplementedError('Trying to update a Tensor', variable)
        found.setdefault(variable.name, (variable, []))[1].append(_converted(gradient))
    if not found:
        raise ValueError('No gradients provided for any variable: %s.'
                         % [str(variable) for _, variable in pairs])
    return [(_sum(found[name][1]), found[name][0]) for name in sorted(found, key=_by_number)]


def _by_number(name):
    """A key that sorts `w_2` before `w_10`."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


def _converted(gradient):
    try:
        gradient = tf.convert_to_tensor_or_indexed_slices(gradient)
    except (TypeError, ValueError) as error:
        raise TypeError('Gradient must be convertible to a Tensor or IndexedSlices, or None: %s'
                        % (gradient,)) from error
    if not isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
        raise TypeError('Gradient must be a Tensor, IndexedSlices, or None: %s' % (gradient,))
    return gradient


def _sum(gradients):
    if len(gradients) == 1:
        return gradients[0]
    if all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        return tf.IndexedSlices(tf.concat([each.values for each in gradients], 0),
                                tf.concat([each.indices for each in gradients], 0))
    return tf.add_n([tf.convert_to_tensor(gradient) for gradient in gradients])


# The step.


def next_values(optimizer: typing.Any, layout: Layout, gradients: typing.Sequence[Gradient],
                values: Values, scaling: Scaling = NO_SCALING,
                constraints: typing.Sequence[Constraint] = ()) -> Values:
    """One step as a pure function.

    Args:
      optimizer: a `TrainableOptimizer`.
      layout: of the variables.
      gradients: a tensor or IndexedSlices for each variable; None: none of it moves.
      values: `Values` before the step.
      scaling: a `Scaling`.
      constraints: empty, or for each variable None or what projects a value after the step.

    Returns:
      `Values` after the step.
    """
    before = []
    if optimizer.use_attention:
        before = [row - offset for row, offset in zip(layout.to_chunks(values.variables),
                                                      values.offsets)]
    update = optimizer.step_rule(layout)(
        gradients, values.state, layout.to_tensors(before) if before else values.variables)
    if not optimizer.use_attention:
        steps = layout.to_tensors(_scaled(update.steps, scaling))
        moved = [_move(value, step, scaling) for value, step in zip(values.variables, steps)]
        return Values(_constrained(moved, constraints), update.state)
    true, attended = (
        [_move(row, step, scaling) for row, step in zip(before, _scaled(rows, scaling))]
        for rows in (update.steps, update.attention))
    if any(constraints):
        true = layout.to_chunks(_constrained(layout.to_tensors(true), constraints))
    moved = _constrained([tf.cast(new, old.dtype) for old, new
                          in zip(values.variables, layout.to_tensors(attended))], constraints)
    return Values(moved, update.state, [
        row - true_row for row, true_row in zip(layout.to_chunks(moved), true)])


def table_rows(optimizer: typing.Any, gradients: typing.Sequence[Gradient],
               tables: typing.Sequence[tf.Variable], states: typing.Sequence[tf.Variable],
               before: typing.Any,
               scaling: Scaling) -> typing.Tuple[typing.List[Change], typing.Any]:
    """One step of those rows of tables that have a gradient.

    Args:
      optimizer: a `CoordinatewiseOptimizer`.
      gradients, tables, states: for each table its gradient, variable and variable of states.
      before: the state of the other variables, for what belongs to the model.
      scaling: a `Scaling`.

    Returns:
      a list of `Change`, and `before` with what belongs to the model after the step.
    """
    touched = [_touched_rows(*both) for both in zip(gradients, tables)]
    chunks = [_gather_state(optimizer, state, rows, table)
              for (rows, _), table, state in zip(touched, tables, states)]
    update = optimizer.update_rule(None)(
        [tf.reshape(tf.cast(sums, tf.float32), [1, -1]) for _, sums in touched],
        before._replace(chunks=chunks))
    changes = []
    for index, (table, (rows, _)) in enumerate(zip(tables, touched)):
        old = tf.gather(table, rows)
        step = tf.reshape(_scaled(update.steps, scaling)[index], tf.shape(old))
        changes.append(_change_of_rows(table, rows, _move(old, step, scaling)))
        state = table_state(update.state.chunks[index], _width(table.shape))
        if state is not None:
            changes.append(Change(states[index], state, rows))
    return changes, update.state._replace(chunks=before.chunks)


def _change_of_rows(table, rows, values):
    """Of the whole table where it has a constraint, which may hold for columns."""
    if table.constraint is None:
        return Change(table, values, rows)
    return Change(table, table.constraint(tf.tensor_scatter_nd_update(
        tf.convert_to_tensor(table), rows[:, tf.newaxis], values)))


def table_state(nest: typing.Any, width: int) -> typing.Optional[tf.Tensor]:
    """Rows `[features, rows * width]` in a nest -> `[rows, all features * width]`, or None."""
    leaves = tf.nest.flatten(nest)
    if not leaves:
        return None
    features = sum(leaf.shape.as_list()[0] for leaf in leaves)
    cut = tf.reshape(tf.concat(leaves, 0), [features, -1, width])
    return tf.reshape(tf.transpose(cut, [1, 0, 2]), [-1, features * width])


def _gather_state(optimizer, state, rows, table):
    nest = optimizer.initial_rows(1, lambda variable: tf.zeros(variable.shape),
                                  tf.zeros([2], tf.int32))
    sizes = [leaf.shape.as_list()[0] for leaf in tf.nest.flatten(nest)]
    if not sizes:
        return nest
    cut = tf.reshape(tf.gather(state, rows), [-1, sum(sizes), _width(table.shape)])
    flat = tf.reshape(tf.transpose(cut, [1, 0, 2]), [sum(sizes), -1])
    return tf.nest.pack_sequence_as(nest, tf.split(flat, sizes, axis=0))


def _width(shape):
    """The numbers in a row of a table."""
    return shape[1:].num_elements()


def _touched_rows(gradient, table):
    """The indices of the rows that have a gradient, each once, and their gradients."""
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.range(table.shape.as_list()[0]), gradient
    rows, positions = tf.unique(gradient.indices)
    return rows, tf.unsorted_segment_sum(gradient.values, positions, tf.size(rows))


def _scaled(rows, scaling):
    rate = scaling.learning_rate
    return rows if rate is None else [tf.cast(rate, tf.float32) * row for row in rows]


def _move(value, step, scaling):
    """`value + step` in the wider of float32 and the type of `value`, which the sum has; less the
    weight decay."""
    dtype = tf.float64 if value.dtype.base_dtype == tf.float64 else tf.float32
    wide = tf.cast(value, dtype)
    if scaling.weight_decay is not None:
        decay = tf.cast(scaling.weight_decay, dtype)
        if scaling.learning_rate is not None:
            decay *= tf.cast(scaling.learning_rate, dtype)
        wide -= decay * wide
    return tf.cast(wide + tf.cast(step, dtype), value.dtype.base_dtype)


def _constrained(values, constraints):
    if not any(constraints):
        return values
    return [value if constraint is None else constraint(value)
            for value, constraint in zip(values, constraints)]


def assign_all(changes: typing.Sequence[Change]) -> typing.List[tf.Operation]:
    """The operations that make changes, all after every new value has been computed."""
    with tf.control_dependencies([change.value for change in changes]):
        return [change.variable.assign(change.value).op if change.rows is None else
                change.variable.scatter_update(tf.IndexedSlices(change.value, change.rows)).op
                for change in changes]


# Gradients of some rows only, where the update rule sees all of them.


def dense(gradient: Gradient, shape: typing.Sequence[int]) -> tf.Tensor:
    """A gradient as tensor: rows that IndexedSlices repeat are summed, None counts as zero."""
    if gradient is None:
        return tf.zeros(shape)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.cast(gradient.values, tf.float32)
        return tf.reshape(tf.unsorted_segment_sum(values, gradient.indices, shape[0]), shape)
    return gradient


def keep_untouched(layout: Layout, gradients: typing.Sequence[Gradient], update: Update,
                   state: typing.Any) -> Update:
    """The update where there is a gradient, elsewhere no step and the old state."""
    masks = [row > 0.0 for row in layout.to_chunks(
        [_touched(gradient, shape) for gradient, shape in zip(gradients, layout.shapes)])]

    def only_touched(rows):
        return rows and [tf.where_v2(mask, row, tf.zeros_like(row))
                         for mask, row in zip(masks, rows)]

    def choose(mask, new, old):
        return tf.nest.map_structure(lambda *both: tf.where_v2(mask, *both), new, old)

    kept = {}
    if hasattr(state, 'chunks'):
        kept['chunks'] = [choose(*each) for each in zip(masks, update.state.chunks, state.chunks)]
    if hasattr(state, 'by_tensor'):
        kept['by_tensor'] = [old if gradient is None else new for gradient, new, old in zip(
            gradients, update.state.by_tensor, state.by_tensor)]
    return Update(only_touched(update.steps), only_touched(update.attention),
                  update.state._replace(**kept))


def _touched(gradient, shape):
    """1 where a variable of this shape has a gradient, else 0."""
    if gradient is None:
        return tf.zeros(shape)
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.ones(shape)
    counts = tf.unsorted_segment_sum(tf.ones_like(gradient.indices, tf.float32),
                                     gradient.indices, shape[0])
    return tf.ones(shape) * tf.reshape(
        tf.cast(counts > 0.0, tf.float32), [shape[0]] + [1] * (len(shape) - 1))
