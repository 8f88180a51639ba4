"""Gradients of all kinds: dense, of some rows (IndexedSlices), several of one variable, none."""

import re
from typing import Any, Dict, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from optimizer.layout import Layout
from optimizer.types import Gradient, GradsAndVars, Update


def checked_pairs(grads_and_vars: GradsAndVars) -> List[Tuple[Gradient, tf.Variable]]:
    """The (gradient, variable) pairs that have a gradient, each variable once, in order of names.

    Raises: as `tf.train.Optimizer.apply_gradients`.
    """
    pairs = tuple(grads_and_vars)
    if not pairs:
        raise ValueError('No variables provided.')
    found: Dict[str, Any] = {}
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


def summed(gradients: Sequence[Gradient]) -> Gradient:
    """The sum of a variable's gradients."""
    if len(gradients) == 1:
        return gradients[0]
    if all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients):
        return tf.IndexedSlices(tf.concat([each.values for each in gradients], 0),
                                tf.concat([each.indices for each in gradients], 0))
    return tf.add_n([tf.convert_to_tensor(gradient) for gradient in gradients])


def touched_rows(gradient: Gradient,
                 table: tf.Variable) -> Tuple[tf.Tensor, tf.Tensor]:
    """The indices of the rows that have a gradient, each once, and their gradients."""
    if gradient is None:
        return tf.zeros([0], tf.int32), tf.zeros([0] + table.shape.as_list()[1:])
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.range(table.shape.as_list()[0]), gradient
    rows, positions = tf.unique(gradient.indices)
    return rows, tf.unsorted_segment_sum(gradient.values, positions, tf.size(rows))


# Gradients of some rows only, where the update rule sees all of them.


def dense(gradient: Gradient, shape: Sequence[int]) -> tf.Tensor:
    """A gradient as tensor: rows that IndexedSlices repeat are summed, None counts as zero."""
    if gradient is None:
        return tf.zeros(shape)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.cast(gradient.values, tf.float32)
        return tf.reshape(tf.unsorted_segment_sum(values, gradient.indices, shape[0]), shape)
    return gradient


def keep_untouched(layout: Layout, gradients: Sequence[Gradient],
                   masks_of_tensors: Sequence[tf.Tensor], update: Update,
                   state: Any) -> Update:
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


def touched(gradient: Gradient, shape: Sequence[int]) -> tf.Tensor:
    """1 where a variable of this shape has a gradient, else 0."""
    if gradient is None:
        return tf.zeros(shape)
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.ones_like(gradient, tf.float32)
    counts = tf.unsorted_segment_sum(tf.ones_like(gradient.indices, tf.float32),
                                     gradient.indices, shape[0])
    return tf.ones(shape) * tf.reshape(
        tf.cast(counts > 0.0, tf.float32), [shape[0]] + [1] * (len(shape) - 1))
