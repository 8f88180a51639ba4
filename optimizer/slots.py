"""The state of a list of variables in slots, as `tf.train.Optimizer` calls them."""

from typing import Any, ContextManager, Dict, List, Sequence

import tensorflow.compat.v1 as tf

from optimizer import state_plan, step
from optimizer.state_plan import Place
from optimizer.types import Gradient, Theta

#: Where the learning rate is a function: how many steps were taken.
STEPS = Place(state_plan.MODEL, 'steps')


def root_scope() -> ContextManager[Any]:
    """The scope in which slots get the same names wherever an optimizer is used."""
    return tf.variable_scope(tf.VariableScope(reuse=False), auxiliary_name_scope=False)


def initialized_value(variable: tf.Variable) -> tf.Tensor:
    """A meta-parameter's value, or where it has none yet, the value it will be initialised with.

    The branches are functions whatever the program uses: control flow of version 1 in a graph is
    refused by `tf.add_check_numerics_ops` and by others who look at every operation.
    """
    switches = not tf.control_flow_v2_enabled()
    if switches:
        tf.enable_control_flow_v2()
    try:
        return tf.cond(tf.is_variable_initialized(variable), variable.read_value,
                       lambda: variable.initial_value)
    finally:
        if switches:
            tf.disable_control_flow_v2()


class SlotState:
    """The state that an optimizer keeps for a list of variables, in one graph.

    Args:
      optimizer: the `TrainableOptimizer`, which makes the slots.
      theta: the values with which its meta-parameters begin in this graph.
      gradients, variables: of the first step. A variable with IndexedSlices is a table of which
        few rows are used in a step, if the optimizer can compute some rows by themselves.

    Attributes:
      slots: the list of variables that `changes` takes.
    """

    def __init__(self, optimizer: Any, theta: Theta, gradients: Sequence[Gradient],
                 variables: Sequence[tf.Variable]) -> None:
        self._optimizer, self._model = optimizer, list(variables)
        self._scales_steps = 'learning_rate' in optimizer.OPTIONS
        tables = [index for index, both in enumerate(zip(gradients, variables))
                  if optimizer.computes_rows_alone and self._is_table(*both)]
        self._plan, initial = state_plan.StatePlan.begin(optimizer, theta, variables, tables)
        if self._scales_steps and callable(optimizer.learning_rate):
            initial[STEPS] = tf.zeros([], tf.int64)
        self._places = list(initial)
        self.slots = [optimizer.slot(self._model[max(0, place.variable)], place.name, value)
                      for place, value in initial.items()]

    def _is_table(self, gradient, variable):
        """Whether a variable's state is kept by rows: as its slots say, where it has some."""
        if self._optimizer.get_slot(variable, state_plan.ROWS) is not None:
            return True
        if self._optimizer.use_attention and variable.constraint is not None:
            return False  # true rows are not whole columns, for which the constraint may hold
        known = [name for name in self._optimizer.get_slot_names()
                 if name.startswith(state_plan.CHUNK)
                 and self._optimizer.get_slot(variable, name) is not None]
        if not isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
            gradient = gradient.values[0]  # of the first replica
        return not known and isinstance(gradient, tf.IndexedSlices)

    def changes(self, theta: Theta, gradients: Sequence[Gradient],
                variables: Sequence[tf.Variable],
                slots: Sequence[tf.Variable]) -> List[step.Change]:
        """One step: a list of `step.Change`.

        Args:
          theta: the values of the meta-parameters.
          gradients, variables, slots: those of the model and `self.slots`; in a distribution
            strategy, of one device.
        """
        owners = dict(zip(self._places, slots))
        steps = owners.get(STEPS)
        changes = step.changes(self._optimizer, theta, self._plan, gradients, variables, owners,
                               self._scaling(steps),
                               [variable.constraint for variable in variables])
        if steps is not None:
            changes.append(step.Change(steps, tf.convert_to_tensor(steps) + 1))
        return changes

    def _scaling(self, steps):
        if not self._scales_steps:
            return step.NO_SCALING
        rate, decay = self._optimizer.learning_rate, self._optimizer.weight_decay
        if callable(rate):
            rate = rate(tf.convert_to_tensor(steps))
        return step.Scaling(None if _is(rate, 1.0) else rate, None if _is(decay, 0.0) else decay)

    def _now(self):
        owners = dict(zip(self._places, self.slots))
        return self._plan.put_together({place: tf.convert_to_tensor(owners[place])
                                        for place in self._plan.places})

    def true_params(self) -> Dict[str, tf.Tensor]:
        """Dict from names to the parameters beside which attention takes its gradients."""
        _, offsets = self._now()
        return {variable.name: variable - tf.cast(offset, variable.dtype.base_dtype)
                for variable, offset in zip(self._model, self._plan.layout.to_tensors(offsets))}

    def log_learning_rates(self) -> Dict[str, tf.Tensor]:
        """Dict from names to the logarithms of the learning rates that the state has."""
        chunks = getattr(self._now()[0], state_plan.CHUNKS, [])
        rows = [self._optimizer.log_rate_row(chunk) for chunk in chunks]
        if any(row is None for row in rows):
            return {}
        return dict(zip([variable.name for variable in self._model],
                        self._plan.layout.to_tensors(rows)))


def _is(value, number):
    return isinstance(value, (int, float)) and value == number
