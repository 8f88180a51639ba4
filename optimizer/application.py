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
from optimizer.state import ROWS
from optimizer.utils import Layout


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
        found.setdefault(variable.name, (variable, []))[1].append(_converted(gradient, variable))
    if not found:
        raise ValueError('No gradients provided for any variable: %s.'
                         % [str(variable) for _, variable in pairs])
    return [(summed(found[name][1]), found[name][0]) for name in sorted(found, key=_by_number)]


def _by_number(name):
    """A key that sorts `w_2` before `w_10`."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', name)]


def _converted(gradient, variable):
    try:
        gradient = tf.convert_to_tensor_or_indexed_slices(gradient)
    except (TypeError, ValueError) as error:
        raise TypeError('Gradient must be convertible to a Tensor or IndexedSlices, or None: %s'
                        % (gradient,)) from error
    if not isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
        raise TypeError('Gradient must be a Tensor, IndexedSlices, or None: %s' % (gradient,))
    check(gradient, variable)
    return gradient


def check(gradient: Gradient, variable: tf.Variable) -> None:
    """Raises a ValueError where a variable is not of floating-point numbers, or its gradient not of
    its shape."""
    if not variable.dtype.is_floating:
        raise ValueError('%s has the type %s: a learned optimizer needs floating-point numbers.'
                         % (variable.name, variable.dtype.base_dtype.name))
    if isinstance(gradient, tf.IndexedSlices):
        shape, wanted, of = gradient.values.shape[1:], variable.shape[1:], 'in a row '
    else:
        shape, wanted, of = gradient.shape, variable.shape, ''
    if not wanted.is_compatible_with(shape):
        raise ValueError('%s has the shape %s, its gradient %s%s.' % (
            variable.name, variable.shape, of, shape))


def summed(gradients: typing.Sequence[Gradient]) -> Gradient:
    """The sum of a variable's gradients."""
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


def changes(optimizer: typing.Any, plan: typing.Any, gradients: typing.Sequence[Gradient],
            variables: typing.Sequence[tf.Variable], owners: typing.Dict[typing.Any, tf.Variable],
            scaling: Scaling, constraints: typing.Sequence[Constraint]) -> typing.List[Change]:
    """One step on variables, and on the state beside them, as a list of `Change`.

    Args:
      optimizer: a `TrainableOptimizer`.
      plan: a `StatePlan`. Of the tables in its layout, the rows with a gradient are computed.
      gradients: for each variable a tensor, IndexedSlices, or None.
      variables: of the model.
      owners: dict from the places of the plan to the variables that keep the state.
      scaling: a `Scaling`.
      constraints: for each variable None or what projects a value after the step.
    """
    gradients, constraints, rows = list(gradients), list(constraints), {}
    for index in plan.layout.tables:
        rows[index], gradients[index] = _touched_rows(gradients[index], variables[index])
        constraints[index] = None  # which may hold for whole columns: see `_change`
    layout = plan.layout.in_use([tf.size(rows[index]) for index in plan.layout.tables])

    def rows_of(place):
        return rows[place.variable] if place.name == ROWS else None

    values = Values([_read(variable, rows.get(index)) for index, variable in enumerate(variables)],
                    *plan.put_together({place: _read(owners[place], rows_of(place))
                                        for place in plan.places}))
    moved = next_values(optimizer, layout, gradients, values, scaling, constraints)
    return [_change(variable, value, rows.get(index))
            for index, (variable, value) in enumerate(zip(variables, moved.variables))
            ] + [Change(owners[place], value, rows_of(place))
                 for place, value in plan.take_apart(moved.state, moved.offsets).items()]


def _read(variable, rows):
    return tf.convert_to_tensor(variable) if rows is None else tf.gather(variable, rows)


def _change(variable, value, rows):
    """Of a whole table where it has a constraint."""
    if rows is None or getattr(variable, 'constraint', None) is None:
        return Change(variable, value, rows)
    return Change(variable, variable.constraint(tf.tensor_scatter_nd_update(
        tf.convert_to_tensor(variable), rows[:, tf.newaxis], value)))


def _touched_rows(gradient, table):
    """The indices of the rows that have a gradient, each once, and their gradients."""
    if gradient is None:
        return tf.zeros([0], tf.int32), tf.zeros([0] + table.shape.as_list()[1:])
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


def keep_untouched(layout: Layout, gradients: typing.Sequence[Gradient],
                   masks_of_tensors: typing.Sequence[tf.Tensor], update: Update,
                   state: typing.Any) -> Update:
    """The update where there is a gradient, elsewhere no step and the old state.

    `masks_of_tensors` are what `touched` gives for the gradients.
    """
    masks = [row > 0.0 for row in layout.to_chunks(masks_of_tensors)]

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


def touched(gradient: Gradient, shape: typing.Sequence[int]) -> tf.Tensor:
    """1 where a variable of this shape has a gradient, else 0."""
    if gradient is None:
        return tf.zeros(shape)
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.ones_like(gradient, tf.float32)
    counts = tf.unsorted_segment_sum(tf.ones_like(gradient.indices, tf.float32),
                                     gradient.indices, shape[0])
    return tf.ones(shape) * tf.reshape(
        tf.cast(counts > 0.0, tf.float32), [shape[0]] + [1] * (len(shape) - 1))
