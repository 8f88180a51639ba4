"""The types that the optimizers share: what hints are made of, and what a step gives."""

import os
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Tuple, Union

import tensorflow.compat.v1 as tf

#: Values of meta-parameters by their names, as `MetaParameters.read_meta_parameters` gives them.
Theta = Mapping[str, tf.Tensor]

#: (name, shape, initializer) -> a new meta-parameter.
Create = Callable[..., tf.Variable]

#: What `tf.gradients` gives; None where the objective does not depend on the variable.
Gradient = Union[tf.Tensor, tf.IndexedSlices, None]

#: Pairs as from `compute_gradients`.
GradsAndVars = Iterable[Tuple[Gradient, tf.Variable]]

#: A variable's, or None: what projects a value after a step.
Constraint = Optional[Callable[[tf.Tensor], tf.Tensor]]

#: What steps are multiplied by; or a function of the number of steps taken before.
Rate = Union[float, tf.Tensor, tf.Variable, Callable[[tf.Tensor], tf.Tensor]]

#: A folder.
Folder = Union[str, os.PathLike]

#: Named tuples, lists and dicts of tensors, as `tf.nest` takes them.
Nest = Any


class Update(NamedTuple):
    """What one step of an update rule gives."""
    steps: list  # for each chunk of the layout a row [1, size] to add to the true parameters
    attention: Optional[list]  # rows from the old true parameters to the next point, or None
    state: Nest  # after the step


#: (gradients, state) -> `Update`; (gradients, state, parameters) where the class sees those.
Rule = Callable[..., Update]
