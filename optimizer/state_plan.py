"""How an optimizer's state is kept: as tensors that each belong to one variable, by name.

In a step, state lies in the layout of `optimizer.layout`, where small tensors share a chunk. What
is kept from step to step belongs to the variables one by one, so that a checkpoint gives each
variable its own state in whatever order a program lists them.
"""

from typing import Any, Dict, Iterable, List, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf

from optimizer.layout import Layout, static_shapes
from optimizer.types import Theta

#: Fields of an optimizer's state, a named tuple, that are cut up among variables.
CHUNKS, COLUMNS, BY_TENSOR = 'chunks', 'tensors', 'by_tensor'


#: The start of the names under which chunks are kept.
CHUNK = 'state'

#: The name under which the state of a table is kept, a row for each of its rows.
ROWS = 'table_state'

#: In place of a variable's number: what belongs to the model as a whole.
MODEL = -1


class Place(NamedTuple):
    """Where a tensor of the state is kept: under a name, with one of the variables."""
    variable: int  # or MODEL
    name: str


class StatePlan:
    """Takes the state for a list of variables apart, and puts it together again.

    What is a state: a named tuple in which some fields have a meaning,

    * `chunks`: for each chunk of the layout a nest of tensors `[features, size]`. A chunk that is
      part of a large tensor is kept leaf by leaf, without a copy. Tensors that share a chunk keep
      one tensor `[all features, size]` each, a table one tensor `[rows, all features * width]`,
      so that few rows of a large one can be read and written.
    * `tensors`: a nest of tensors `[features, number of tensors]`: each keeps its column.
    * `by_tensor`: a list with a dict for each tensor, whose keys are the names.

    All else belongs to the model as a whole.

    Args:
      layout: of the variables.
      state: a state, for the structure and the static shapes.
      offsets: a row `[1, size]` for each chunk that is kept beside it, see `step.Values`; or empty.

    Attributes:
      places: of all tensors.
    """

    def __init__(self, layout: Layout, state: Any,
                 offsets: Sequence[tf.Tensor] = ()) -> None:
        self.layout = layout
        self._state, self._offsets = state, offsets
        self._common = [field for field in state._fields
                        if field not in (CHUNKS, COLUMNS, BY_TENSOR)]
        self.places = list(self.take_apart(state, offsets))

    @classmethod
    def begin(cls, optimizer: Any, theta: Theta, variables: Sequence[Any],
              tables: Sequence[int]) -> Tuple[
                  'StatePlan', Dict[Place, tf.Tensor]]:
        """The plan for an optimizer's state on some variables, and the state before the first step.

        Args:
          optimizer: a `TrainableOptimizer`.
          theta: the values of its meta-parameters.
          variables: of the model.
          tables: the numbers of those that are tables, see `Layout.with_tables`.
        """
        layout = optimizer.layout(static_shapes(variables)).with_tables(tables)
        key = optimizer.random_key() if optimizer.draws_state else tf.zeros([2], tf.int32)
        start = optimizer.initial_state(layout, theta, key)
        offsets = [tf.zeros([1, chunk.size]) for chunk in layout.chunks if optimizer.use_attention]
        plan = cls(layout, start, offsets)
        return plan, plan.take_apart(start, offsets)

    def take_apart(self, state: Any,
                   offsets: Sequence[tf.Tensor] = ()) -> Dict[Place, tf.Tensor]:
        """A state and offsets -> dict from `Place` to tensor."""
        kept = {}
        for chunk, named in zip(self.layout.chunks, self._chunk_leaves(state, offsets)):
            kept.update(self._chunk_apart(chunk, named))
        for name, leaf in _named_leaves(getattr(state, COLUMNS, ()), COLUMNS):
            for variable, column in enumerate(tf.unstack(leaf, axis=1)):
                kept[Place(variable, name)] = column
        for variable, nest in enumerate(getattr(state, BY_TENSOR, ())):
            kept.update({Place(variable, name): leaf
                         for name, leaf in _named_leaves(nest, '')})
        for field in self._common:
            kept.update({Place(MODEL, name): leaf
                         for name, leaf in _named_leaves(getattr(state, field), field)})
        return kept

    def put_together(self, kept: Dict[Place, tf.Tensor]) -> Tuple[
            Any, List[tf.Tensor]]:
        """The inverse of `take_apart`: dict from `Place` to tensor -> a state, offsets."""
        changes = {field: _like(getattr(self._state, field), field, MODEL, kept)
                   for field in self._common}
        together = [self._chunk_together(chunk, named, kept) for chunk, named
                    in zip(self.layout.chunks, self._chunk_leaves(self._state, self._offsets))]
        offsets = [leaves.pop() for leaves in together] if self._offsets else []
        if hasattr(self._state, CHUNKS):
            changes[CHUNKS] = [tf.nest.pack_sequence_as(nest, leaves)
                               for nest, leaves in zip(self._state.chunks, together)]
        if hasattr(self._state, COLUMNS):
            names = [name for name, _ in _named_leaves(self._state.tensors, COLUMNS)]
            changes[COLUMNS] = tf.nest.pack_sequence_as(self._state.tensors, [
                tf.stack([kept[Place(variable, name)]
                          for variable in range(self.layout.num_tensors)], axis=1)
                for name in names])
        if hasattr(self._state, BY_TENSOR):
            changes[BY_TENSOR] = [_like(nest, '', variable, kept)
                                  for variable, nest in enumerate(self._state.by_tensor)]
        return self._state._replace(**changes), offsets

    def _chunk_leaves(self, state, offsets):
        """For each chunk the names and tensors that it keeps; the offset comes last."""
        nests = getattr(state, CHUNKS, [()] * len(self.layout.chunks))
        leaves = [_named_leaves(nest, '') for nest in nests]
        return [named + [('offset', offsets[index])] if self._offsets else named
                for index, named in enumerate(leaves)]

    def _chunk_apart(self, chunk, named):
        if not named:
            return {}
        if chunk.table:
            tensor = chunk.pieces[0].tensor
            features = sum(leaf.shape.as_list()[0] for _, leaf in named)
            width = self.layout.width(tensor)
            cut = tf.reshape(tf.concat([leaf for _, leaf in named], 0), [features, -1, width])
            return {Place(tensor, ROWS): tf.reshape(tf.transpose(cut, [1, 0, 2]),
                                                    [-1, features * width])}
        if chunk.alone:
            piece, = chunk.pieces
            return {Place(piece.tensor, '%s/%s' % (self._piece_name(piece), name)): leaf
                    for name, leaf in named}
        rows = tf.concat([leaf for _, leaf in named], 0)
        sizes = chunk.sizes + ([chunk.padding] if chunk.padding else [])
        columns = [rows] if len(sizes) == 1 else tf.split(rows, sizes, axis=1)
        return {Place(piece.tensor, self._piece_name(piece)): part
                for piece, part in zip(chunk.pieces, columns)}

    def _chunk_together(self, chunk, named, kept):
        """The inverse of `_chunk_apart`; `named` gives names and shapes."""
        if chunk.alone:
            piece, = chunk.pieces
            return [kept[Place(piece.tensor, '%s/%s' % (self._piece_name(piece), name))]
                    for name, _ in named]
        sizes = [leaf.shape.as_list()[0] for _, leaf in named]
        if chunk.table and sizes:
            tensor = chunk.pieces[0].tensor
            cut = tf.reshape(kept[Place(tensor, ROWS)], [-1, sum(sizes), self.layout.width(tensor)])
            return tf.split(tf.reshape(tf.transpose(cut, [1, 0, 2]), [sum(sizes), -1]), sizes)
        columns = [kept[Place(piece.tensor, self._piece_name(piece))]
                   for piece in chunk.pieces if sizes]
        if chunk.padding:
            columns.append(tf.zeros([sum(sizes), chunk.padding]))
        return tf.split(tf.concat(columns, 1), sizes, axis=0) if sizes else []

    def _piece_name(self, piece):
        """The same whatever other tensors the list has."""
        whole = piece.size == self.layout.sizes[piece.tensor]
        return CHUNK if whole else '%s/from_%d' % (CHUNK, piece.start)


def _named_leaves(nest, name):
    """The tensors of a nest in the order of `tf.nest.flatten`, with names made of their places."""
    items: Iterable[Tuple[Any, Any]]
    if isinstance(nest, tuple) and hasattr(nest, '_fields'):
        items = zip(nest._fields, nest)
    elif isinstance(nest, dict):
        items = sorted(nest.items())
    elif isinstance(nest, (list, tuple)):
        items = enumerate(nest)
    else:
        return [(name or 'rows', nest)]
    return [leaf for key, value in items
            for leaf in _named_leaves(value, '%s/%s' % (name, key) if name else str(key))]


def _like(nest, name, variable, kept):
    return tf.nest.pack_sequence_as(
        nest, [kept[Place(variable, each)] for each, _ in _named_leaves(nest, name)])
