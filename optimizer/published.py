"""Update rules written for the published code's `TrainableOptimizer`.

Such a class passes `state_keys`, the names of its state, to the constructor, and defines

* `_initialize_state(var)`: a dict with these keys, the state of one tensor before the first step;
  `var` has its shape.
* `_compute_update(param, grad, state)`: the new `(param, state)`; with attention `(param, attended
  point, state)`.
"""

import typing

import tensorflow.compat.v1 as tf

from optimizer.application import Rule, Update
from optimizer.utils import Layout


class State(typing.NamedTuple):
    """The state of a published rule."""
    by_tensor: list  # a dict for each tensor


def initial_state(optimizer: typing.Any, layout: Layout) -> State:
    """The state of an optimizer with `_initialize_state`."""
    states = []
    for shape in layout.shapes:
        state = optimizer._initialize_state(tf.zeros(shape))
        if sorted(state) != sorted(optimizer.state_keys or ()):
            raise ValueError('%s._initialize_state gives %s, but its state_keys are %s.' % (
                type(optimizer).__name__, sorted(state), sorted(optimizer.state_keys or ())))
        states.append({key: tf.convert_to_tensor(value, tf.float32)
                       for key, value in state.items()})
    return State(states)


def update_rule(optimizer: typing.Any, layout: Layout) -> Rule:
    """The rule of an optimizer with `_compute_update`."""

    def rule(gradients, state, parameters):
        given = list(zip(layout.to_tensors(parameters), layout.to_tensors(gradients),
                         state.by_tensor))
        moved = [optimizer._compute_update(*each) for each in given]
        old = [param for param, _, _ in given]

        def rows(index):
            return layout.to_chunks([new[index] - param for new, param in zip(moved, old)])

        return Update(rows(0), rows(1) if optimizer.use_attention else None,
                      State([new[-1] for new in moved]))

    return rule
