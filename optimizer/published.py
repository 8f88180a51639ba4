"""Update rules written for the published code's `TrainableOptimizer`.

Such a class passes `state_keys`, the names of its state, to the constructor, and defines

* `_initialize_state(var)`: a dict with these keys, the state of one tensor before the first step;
  `var` has its shape. A class without state need not define it.
* `_compute_update(param, grad, state)`: the new `(param, state)`; with attention `(param, attended
  point, state)`.

The variables that its constructor makes in the variable scope `LOL` are its meta-parameters. Its
other attributes are its own: a rate that it keeps as `learning_rate` scales no step but its own.
"""

import copy
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from optimizer.layout import Layout
from optimizer.types import Rule, Theta, Update


class State(NamedTuple):
    """The state of a published rule."""
    by_tensor: list  # a dict for each tensor, float32 also where the rule counts in whole numbers


def initial_state(optimizer: Any, layout: Layout) -> State:
    """The state of an optimizer with `_initialize_state`."""
    return State([_cast(_initial(optimizer, shape)) for shape in layout.shapes])


def update_rule(optimizer: Any, layout: Layout, theta: Theta) -> Rule:
    """The rule of an optimizer with `_compute_update`."""
    types = [{key: value.dtype for key, value in _initial(optimizer, shape).items()}
             for shape in layout.shapes]
    reading = _reading(optimizer, theta)

    def rule(gradients, state, parameters):
        states = [_cast(kept, own) for kept, own in zip(state.by_tensor, types)]
        old = layout.to_tensors(parameters)
        moved = [reading._compute_update(*each)
                 for each in zip(old, layout.to_tensors(gradients), states)]

        def rows(index):
            return layout.to_chunks([new[index] - param for new, param in zip(moved, old)])

        return Update(rows(0), rows(1) if optimizer.use_attention else None,
                      State([_cast(new[-1]) for new in moved]))

    return rule


def _reading(optimizer, theta):
    """A copy whose attributes hold the values `theta` in place of the variables that the
    constructor has made."""
    values = optimizer.values_by_variable(theta)

    def read(attribute):
        if type(attribute) in (list, tuple):
            return type(attribute)(map(read, attribute))
        if type(attribute) is dict:
            return {key: read(value) for key, value in attribute.items()}
        return values.get(id(attribute), attribute)

    reading = copy.copy(optimizer)
    vars(reading).update((name, read(attribute)) for name, attribute in vars(optimizer).items())
    return reading


def _initial(optimizer, shape):
    """The state of one tensor, of the types that the rule gives it."""
    has_state = hasattr(optimizer, '_initialize_state')
    state = optimizer._initialize_state(tf.zeros(shape)) if has_state else {}
    if sorted(state) != sorted(optimizer.state_keys or ()):
        raise ValueError('%s._initialize_state gives %s, but its state_keys are %s.' % (
            type(optimizer).__name__, sorted(state), sorted(optimizer.state_keys or ())))
    return {key: tf.convert_to_tensor(value) for key, value in state.items()}


def _cast(state, types=None):
    """A state as float32, in which it is kept, or as the types of a dict."""
    return {key: tf.cast(value, types[key] if types else tf.float32)
            for key, value in state.items()}
