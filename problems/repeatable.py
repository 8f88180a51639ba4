"""Whether a loss is a function of its inputs, so that what is done with it can be repeated."""

import re
from typing import Any, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems.datasets import Dataset
from problems.problem import Problem

# Operations that draw random numbers but take no seed, and operations that read the next element of
# something. A Python function may do either, unless it is a `tf.py_func(..., stateful=False)`.
_DRAWING = re.compile('Stateful(?!PartitionedCall)|Rng')
_READING_ON = re.compile('IteratorGetNext|QueueDequeue|ReaderRead|(Eager)?PyFunc$')


class Stateful(NamedTuple):
    """An operation that gives something else each time."""

    draws: bool  # random numbers from a state; else it reads on in data
    name: str
    kind: str


def stateful_operation(outputs: Sequence[tf.Tensor], definition: Any) -> Optional[Stateful]:
    """An operation on the way to some outputs that gives something else each time, or None.

    Args:
      outputs: tensors of a graph.
      definition: the GraphDef of the graph.
    """
    functions = {function.signature.name: function for function in definition.library.function}
    to_see, seen = [output.op for output in outputs], set()
    while to_see:
        node = to_see.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        if isinstance(node, tf.Operation):
            to_see += [tensor.op for tensor in node.inputs] + list(node.control_inputs)
            node = node.node_def
        if 'seed' in node.attr or _DRAWING.match(node.op):
            return Stateful(True, node.name, node.op)
        if _READING_ON.match(node.op):
            return Stateful(False, node.name, node.op)
        for value in node.attr.values():
            for called in [value.func] + list(value.list.func):
                if called.name in functions:
                    to_see += functions[called.name].node_def
    return None


def unrepeatable(problem: Problem, dataset: Optional[Dataset] = None) -> Optional[Stateful]:
    """What in a problem's loss or gradients is no function of parameters, examples and key.

    Args:
      problem: a `Problem`.
      dataset: its examples; None: it takes none.

    Returns:
      an operation, or None where there is none.
    """
    with tf.Graph().as_default() as graph:
        parameters = [tf.placeholder(tf.float32, shape) for shape in problem.param_shapes]
        examples = [] if dataset is None else [
            tf.placeholder(array.dtype, (None,) + array.shape[1:]) for array in dataset[:2]]
        objective = problem.objective(parameters, *examples)
        gradients = problem.gradients(objective, parameters, tf.placeholder(tf.int32, [2]))
        outputs = [objective] + [gradient.values if isinstance(gradient, tf.IndexedSlices)
                                 else gradient for gradient in gradients]
        return stateful_operation(outputs, graph.as_graph_def())
