"""One step of a learned optimizer on somebody's variables: what it computes from and assigns.

Variables of all kinds, gradients of all kinds, weight decay, constraints, tables of embeddings.

With attention a variable holds the point at which the next gradient is taken. What is kept beside
it is its offset from the true parameters: whatever assigns another value to the variable (a
restored checkpoint, clipping, averaging) moves the true parameters along.
"""

from typing import Any, Dict, List, NamedTuple, Sequence

import tensorflow.compat.v1 as tf

from optimizer import gradients as gradients_of
from optimizer.layout import Layout
from optimizer.state_plan import ROWS
from optimizer.types import Constraint, Gradient, Nest, Rule, Theta


class Values(NamedTuple):
    """What a step computes from, and what it computes."""
    variables: list  # of the model
    state: Nest  # of the optimizer
    #: With attention a row [1, size] for each chunk: variable - true parameter.
    offsets: Sequence[tf.Tensor] = ()


class Scaling(NamedTuple):
    """What the user lays over the learned steps; None: nothing."""
    learning_rate: Any = None  # scalar, a factor of the steps
    weight_decay: Any = None  # the share of the parameters that is taken off at rate 1


NO_SCALING = Scaling()


class Change(NamedTuple):
    """A new value for a variable, or for some rows of it."""
    variable: tf.Variable
    value: tf.Tensor
    rows: Any = None  # their indices


def step_rule(optimizer: Any, layout: Layout, theta: Theta) -> Rule:
    """The update rule of a `TrainableOptimizer` for gradients of any kind.

    Args:
      optimizer: the `TrainableOptimizer`.
      layout: of the parameters.
      theta: the values of the meta-parameters, see `TrainableOptimizer.update_rule`.

    Returns:
      the function (gradients, state, parameters) -> Update, where a gradient is a tensor of the
      variable's shape, IndexedSlices, or None, and `parameters` are tensors of these shapes.
      What has no gradient gets a step of zero and keeps its state; averages over a tensor that has
      IndexedSlices are over their rows.
    """
    dense_rule = optimizer.update_rule(layout, theta)
    if optimizer.xla and not layout.tables:  # each number of rows would be compiled anew
        dense_rule = tf.function(dense_rule, jit_compile=True, autograph=False)

    def rule(gradients, state, parameters):
        rows = layout.to_chunks([gradients_of.dense(gradient, shape) for gradient, shape
                                 in zip(gradients, layout.shapes)])
        more = [layout.to_chunks(parameters)] if optimizer.sees_parameters else []
        if all(isinstance(gradient, tf.Tensor) for gradient in gradients):
            return dense_rule(rows, state, *more)
        touched = [gradients_of.touched(gradient, shape)
                   for gradient, shape in zip(gradients, layout.shapes)]
        read_by_rows = [index for index, gradient in enumerate(gradients)
                        if isinstance(gradient, tf.IndexedSlices)]
        update = optimizer.update_rule(layout.counting(touched, read_by_rows), theta)(
            rows, state, *more)
        return gradients_of.keep_untouched(layout, gradients, touched, update, state)

    return rule


def next_values(optimizer: Any, layout: Layout, theta: Theta,
                gradients: Sequence[Gradient], values: Values,
                scaling: Scaling = NO_SCALING,
                constraints: Sequence[Constraint] = ()) -> Values:
    """One step as a pure function.

    Args:
      optimizer: a `TrainableOptimizer`.
      layout: of the variables.
      theta: the values of the meta-parameters.
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
    update = step_rule(optimizer, layout, theta)(
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


def changes(optimizer: Any, theta: Theta, plan: Any,
            gradients: Sequence[Gradient], variables: Sequence[tf.Variable],
            owners: Dict[Any, tf.Variable], scaling: Scaling,
            constraints: Sequence[Constraint]) -> List[Change]:
    """One step on variables, and on the state beside them, as a list of `Change`.

    Args:
      optimizer: a `TrainableOptimizer`.
      theta: the values of the meta-parameters.
      plan: a `StatePlan`. Of the tables in its layout, the rows with a gradient are computed.
      gradients: for each variable a tensor, IndexedSlices, or None.
      variables: of the model.
      owners: dict from the places of the plan to the variables that keep the state.
      scaling: a `Scaling`.
      constraints: for each variable None or what projects a value after the step.
    """
    gradients, constraints, rows = list(gradients), list(constraints), {}
    for index in plan.layout.tables:
        rows[index], gradients[index] = gradients_of.touched_rows(gradients[index],
                                                                  variables[index])
        constraints[index] = None  # which may hold for whole columns: see `_change`
    layout = plan.layout.in_use([tf.size(rows[index]) for index in plan.layout.tables])

    def rows_of(place):
        return rows[place.variable] if place.name == ROWS else None

    values = Values([_read(variable, rows.get(index)) for index, variable in enumerate(variables)],
                    *plan.put_together({place: _read(owners[place], rows_of(place))
                                        for place in plan.places}))
    moved = next_values(optimizer, layout, theta, gradients, values, scaling, constraints)
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


def assign_all(changes: Sequence[Change]) -> List[tf.Operation]:
    """The operations that make changes, all after every new value has been computed."""
    computed = tf.group(*[change.value for change in changes])  # one edge for each assignment
    with tf.control_dependencies([computed]):
        return [change.variable.assign(change.value, read_value=False) if change.rows is None else
                change.variable.scatter_update(tf.IndexedSlices(change.value, change.rows)).op
                for change in changes]
