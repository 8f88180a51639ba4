"""The state of a list of variables in slots, as `tf.train.Optimizer` calls them."""

from typing import Any, ContextManager, Dict, List, Sequence

import tensorflow.compat.v1 as tf

from optimizer import application, state, utils
from optimizer.hints import Gradient
from optimizer.state import Place

#: Where the learning rate is a function: how many steps were taken.
STEPS = Place(state.MODEL, 'steps')


def root_scope() -> ContextManager[Any]:
    """The scope in which slots get the same names wherever an optimizer is used."""
    return tf.variable_scope(tf.VariableScope(reuse=False), auxiliary_name_scope=False)


def initialized_value(variable: tf.Variable) -> tf.Tensor:
    """A variable's value, or where it has none yet, the value it will be initialised with."""
    return tf.cond(tf.is_variable_initialized(variable), variable.read_value,
                   lambda: variable.initial_value)


class Kept:
    """The state that an optimizer keeps for a list of variables, in one graph.

    Args:
      optimizer: makes the slots; has `learning_rate` and `weight_decay`.
      rule: the same with its meta-parameters in this graph.
      gradients, variables: of the first step. A variable with IndexedSlices is a table of which
        few rows are used in a step, if the optimizer can compute some rows by themselves.

    Attributes:
      slots: the list of variables that `changes` takes.
    """

    def __init__(self, optimizer: Any, rule: Any, gradients: Sequence[Gradient],
                 variables: Sequence[tf.Variable]) -> None:
        self._optimizer, self._model = optimizer, list(variables)
        shapes = utils.static_shapes(variables)
        self._tables = [index for index, both in enumerate(zip(gradients, variables))
                        if rule.computes_rows_alone and self._is_table(*both)]
        self._others = [index for index in range(len(shapes)) if index not in self._tables]
        self._layout = rule.layout([shapes[index] for index in self._others])
        key = rule.random_key()
        start = rule.initial_state(self._layout, initialized_value, key)
        offsets = [tf.zeros([1, chunk.size]) for chunk in self._layout.chunks
                   if rule.use_attention]
        self._plan = state.StatePlan(self._layout, start, offsets)
        initial = {self._place(place): value
                   for place, value in self._plan.take_apart(start, offsets).items()}
        for index in self._tables:
            initial.update(self._table_start(rule, index, shapes[index], key))
        if callable(optimizer.learning_rate):
            initial[STEPS] = tf.zeros([], tf.int64)
        self._places = list(initial)
        self.slots = [optimizer.slot(self._model[max(0, place.variable)], place.name, value)
                      for place, value in initial.items()]

    def _is_table(self, gradient, variable):
        """What a variable is once, it stays: its slots are of the one kind or the other."""
        if self._optimizer.get_slot(variable, application.ROWS) is not None:
            return True
        known = [name for name in self._optimizer.get_slot_names()
                 if name.startswith(state.CHUNK)
                 and self._optimizer.get_slot(variable, name) is not None]
        if not isinstance(gradient, (tf.Tensor, tf.IndexedSlices)):
            gradient = gradient.values[0]  # of the first replica
        return not known and isinstance(gradient, tf.IndexedSlices)

    def _place(self, place):
        """From the place in the layout, which knows no tables, to that in the list."""
        return place if place.variable < 0 else Place(self._others[place.variable], place.name)

    def _table_start(self, rule, index, shape, key):
        size = utils.num_elements(shape)
        rows = rule.initial_rows(size, initialized_value, key + [index, 1])
        table = application.table_state(rows, size // max(1, shape[0]))
        return {} if table is None else {Place(index, application.ROWS): table}

    def changes(self, rule: Any, gradients: Sequence[Gradient],
                variables: Sequence[tf.Variable],
                slots: Sequence[tf.Variable]) -> List[application.Change]:
        """One step: a list of `application.Change`.

        Args:
          rule: the optimizer with its meta-parameters in this graph.
          gradients, variables, slots: those of the model and `self.slots`; in a distribution
            strategy, of one device.
        """
        owners = dict(zip(self._places, slots))
        scaling = self._scaling(owners)
        kept = {place: tf.convert_to_tensor(slot) for place, slot in owners.items()
                if place.name != application.ROWS}
        old_state, offsets = self._plan.put_together(
            {place: kept[self._place(place)] for place in self._plan.places})
        changes: List[application.Change] = []
        new_state: Any = old_state
        new_offsets: Sequence[tf.Tensor] = offsets
        if self._tables:
            changes, new_state = application.table_rows(
                rule, [gradients[index] for index in self._tables],
                [variables[index] for index in self._tables],
                [owners.get(Place(index, application.ROWS)) for index in self._tables],
                old_state, scaling)
        if self._others:
            owned = [variables[index] for index in self._others]
            values = application.Values([tf.convert_to_tensor(each) for each in owned],
                                        old_state, offsets)
            new_values, new_state, new_offsets = application.next_values(
                rule, self._layout, [gradients[index] for index in self._others], values, scaling,
                [each.constraint for each in owned])
            changes += [application.Change(*both) for both in zip(owned, new_values)]
        for place, value in self._plan.take_apart(new_state, new_offsets).items():
            changes.append(application.Change(owners[self._place(place)], value))
        if STEPS in owners:
            changes.append(application.Change(owners[STEPS], kept[STEPS] + 1))
        return changes

    def _scaling(self, owners):
        rate, decay = self._optimizer.learning_rate, self._optimizer.weight_decay
        if callable(rate):
            rate = rate(tf.convert_to_tensor(owners[STEPS]))
        return application.Scaling(None if _is(rate, 1.0) else rate,
                                   None if _is(decay, 0.0) else decay)

    def _now(self):
        owners = dict(zip(self._places, self.slots))
        return self._plan.put_together({place: tf.convert_to_tensor(owners[self._place(place)])
                                        for place in self._plan.places})

    def true_params(self) -> Dict[str, tf.Tensor]:
        """Dict from names to the parameters beside which attention takes its gradients."""
        _, offsets = self._now()
        return {variable.name: variable - tf.cast(offset, variable.dtype.base_dtype)
                for variable, offset in zip(self._model, self._layout.to_tensors(offsets))}

    def log_learning_rates(self, rule: Any) -> Dict[str, tf.Tensor]:
        """Dict from names to the logarithms of the learning rates that the state has."""
        rows = [rule.log_rate_row(chunk) for chunk in getattr(self._now()[0], state.CHUNKS, [])]
        if any(row is None for row in rows):
            return {}
        names = [self._model[index].name for index in self._others]
        return dict(zip(names, self._layout.to_tensors(rows)))


def _is(value, number):
    return isinstance(value, (int, float)) and value == number
