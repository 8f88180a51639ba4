"""The layout in which the learned optimizers compute.

All parameters of a model are handled together, as rows of length N (the number of parameters),
features along the first axis: `[features, N]`. Rows are contiguous in memory, every operation is
one batched kernel, and a large model is cut into chunks of columns so that what one chunk needs
stays in the processor's cache.
"""

import copy
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

#: Chunks are padded to a multiple of so many columns: rows then begin at multiples of 64 bytes, and
#: TensorFlow slices and splits along the features without copying.
ALIGNMENT = 16


class Piece(NamedTuple):
    """Columns [start, start + size) of tensor number `tensor`."""
    tensor: int
    start: int
    size: int  # of a table in use, an int32 scalar


class Chunk:
    """A run of adjacent columns of the `[features, N]` layout: one or several pieces of tensors.

    Attributes:
      pieces: the pieces.
      sizes: their columns.
      padding: columns behind them that belong to no piece and count nowhere.
      size: all columns.
      alone: whether it is a part of a large tensor, in whatever company that comes.
      table: whether it is a table, see `Layout.with_tables`; a table has no padding.
      counted: `[1, size]`, 1 for the columns that count in sums, else 0; None: all do.
    """

    membership: tf.Tensor  # of a prepared chunk
    counted: Optional[tf.Tensor] = None

    def __init__(self, pieces: List[Piece], alone: bool = False,
                 table: bool = False) -> None:
        self.pieces = pieces
        self.alone = alone
        self.table = table
        self.sizes = [piece.size for piece in pieces]
        self.padding = 0 if table else -sum(self.sizes) % ALIGNMENT
        self.size = sum(self.sizes) + self.padding

    def prepare(self) -> 'Chunk':
        """Makes the tensor `membership`, once: call it outside of a loop.

        `membership [pieces here, size]` is 1 where the column belongs to the piece, else 0. As
        extra input rows of a matrix product it adds a bias of its own to every piece.

        Returns:
          a copy of this chunk that has `membership`, and with it `spread` and `sums`.
        """
        prepared = copy.copy(self)
        if self._whole():
            prepared.membership = tf.ones([1, self.size])
        else:
            owners = np.repeat(np.arange(len(self.pieces) + 1, dtype=np.int32),
                               self.sizes + [self.padding])
            prepared.membership = tf.one_hot(tf.constant(owners), len(self.pieces), axis=0,
                                             dtype=tf.float32)
        return prepared

    def _whole(self):
        return len(self.pieces) == 1 and not self.padding

    def spread(self, columns: tf.Tensor) -> tf.Tensor:
        """`[features, pieces here]` -> a tensor that broadcasts against `[features, size]`."""
        return columns if len(self.pieces) == 1 else tf.matmul(columns, self.membership)

    def sums(self, rows: tf.Tensor) -> tf.Tensor:
        """`[features, size]` -> `[features, pieces here]`, summed over each piece."""
        if self.counted is not None:
            rows *= self.counted
        if self._whole():
            return tf.reduce_sum(rows, axis=1, keepdims=True)
        return tf.matmul(rows, self.membership, transpose_b=True)


class Layout:
    """How a list of tensors lies in the `[features, N]` layout.

    Large tensors come first: they make chunks of their own, which need no `membership` in sums.
    What they leave over and small tensors share the chunks behind.

    Args:
      shapes: static shapes of the tensors, in order.
      max_chunk: columns in one chunk, at most (but at least `ALIGNMENT`).
      max_pieces: tensors (or parts of them) in one chunk, at most.
      large: elements from which on a tensor is large.

    Attributes:
      sizes: the elements of each tensor.
      tables: the numbers of the tensors that are tables, see `with_tables`.
      read_by_rows: the numbers of the tensors that have sparse gradients, whether or not a step
        computes some rows only.
      counts: float32 `[tensors]`, how many elements of each count in means; None: all do.
    """

    counts: Optional[tf.Tensor] = None

    def __init__(self, shapes: Sequence[Sequence[int]], max_chunk: int = 65536,
                 max_pieces: int = 8, large: int = 4096) -> None:
        self.shapes = [tuple(shape) for shape in shapes]
        self.sizes = [num_elements(shape) for shape in self.shapes]
        self.num_tensors = len(self.shapes)
        self.tables: List[int] = []
        self.read_by_rows: List[int] = []
        self._bounds = max_chunk, max_pieces, large
        self._set_chunks(self._cut(*self._bounds))

    def _set_chunks(self, chunks):
        self.chunks = chunks
        self.pieces = [piece for chunk in chunks for piece in chunk.pieces]
        self._in_order = [piece.tensor for piece in self.pieces] == list(range(self.num_tensors))

    def with_tables(self, tables: Sequence[int]) -> 'Layout':
        """A copy in which these tensors are tables, of which a step computes some rows only.

        Each makes one chunk, behind those of the other tensors.
        """
        layout = copy.copy(self)
        layout.tables = layout.read_by_rows = list(tables)
        layout._set_chunks(layout._cut(*self._bounds))
        return layout

    def in_use(self, numbers: Sequence[tf.Tensor]) -> 'Layout':
        """A copy in which the tables have so many rows, an int32 scalar for each of `tables`."""
        layout = copy.copy(self)
        layout.sizes = list(self.sizes)
        for tensor, number in zip(self.tables, numbers):
            layout.sizes[tensor] = number * self.width(tensor)
        layout._set_chunks(self.chunks[:len(self.chunks) - len(self.tables)]
                           + layout._table_chunks())
        return layout

    def counting(self, masks: Sequence[tf.Tensor], read_by_rows: Sequence[int]) -> 'Layout':
        """A copy whose sums and means are over the elements where the tensors' masks are 1, not
        0: what a step of those alone would average.

        Args:
          masks: float32, of the tensors' shapes.
          read_by_rows: the numbers of the tensors that have sparse gradients.
        """
        layout = copy.copy(self)
        layout.read_by_rows = list(read_by_rows)
        layout.counts = tf.stack([tf.maximum(1.0, tf.reduce_sum(mask)) for mask in masks])
        chunks = [copy.copy(chunk) for chunk in self.chunks]
        for chunk, row in zip(chunks, self.to_chunks(masks)):
            chunk.counted = row
        layout._set_chunks(chunks)
        return layout

    def num_counted(self) -> tf.Tensor:
        """How many elements count in means, a float32 scalar."""
        return (tf.cast(sum(self.sizes), tf.float32) if self.counts is None
                else tf.reduce_sum(self.counts))

    def width(self, tensor: int) -> int:
        """The elements in a row of a table."""
        return num_elements(self.shapes[tensor][1:])

    def _table_chunks(self):
        return [Chunk([Piece(tensor, 0, self.sizes[tensor])], table=True) for tensor in self.tables]

    def _cut(self, max_chunk, max_pieces, large):
        groups: List[List[Piece]] = []
        shared: List[Piece] = []
        for tensor, size in enumerate(self.sizes):
            if tensor in self.tables:
                continue
            whole = size - size % ALIGNMENT if size >= large else 0
            if whole:
                groups.extend([piece] for piece in _pieces(tensor, 0, whole, max_chunk))
            if size > whole or not size:
                shared.extend(_pieces(tensor, whole, size, max_chunk))
        return ([Chunk(group, alone=True) for group in groups]
                + [Chunk(group) for group in _gather(shared, max_chunk, max_pieces)]
                + self._table_chunks())

    def prepare(self) -> 'Layout':
        """A copy of this layout with prepared chunks, see there."""
        prepared = copy.copy(self)
        prepared.chunks = [chunk.prepare() for chunk in self.chunks]
        return prepared

    def to_chunks(self, tensors: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """A list of tensors -> a list with one `[1, chunk size]` float32 row for each chunk."""
        flat = [tf.reshape(tf.cast(tensor, tf.float32), [1, -1]) for tensor in tensors]
        return [flat[chunk.pieces[0].tensor] if chunk.table else
                _join([_slice(flat[p.tensor], p, self.sizes[p.tensor]) for p in chunk.pieces]
                      + ([tf.zeros([1, chunk.padding])] if chunk.padding else []))
                for chunk in self.chunks]

    def to_tensors(self, rows: Sequence[tf.Tensor]) -> List[tf.Tensor]:
        """The inverse of `to_chunks`: one row for each chunk -> a list of shaped tensors."""
        parts: List[List[tf.Tensor]] = [[] for _ in self.shapes]
        for chunk, row in zip(self.chunks, rows):
            sizes = chunk.sizes + ([chunk.padding] if chunk.padding else [])
            split = [row] if len(sizes) == 1 else tf.split(row, sizes, axis=1)
            for piece, part in zip(chunk.pieces, split):
                parts[piece.tensor].append(part)
        return [tf.reshape(_join(part), (-1,) + shape[1:] if tensor in self.tables else shape)
                for tensor, (part, shape) in enumerate(zip(parts, self.shapes))]

    def per_chunk(self, columns: tf.Tensor) -> List[tf.Tensor]:
        """`[features, tensors]` -> for each chunk `[features, pieces]`, the columns of the tensors
        that its pieces belong to."""
        if not self._in_order:
            columns = tf.gather(columns, [piece.tensor for piece in self.pieces], axis=1)
        return tf.split(columns, [len(chunk.pieces) for chunk in self.chunks], axis=1)

    def tensor_means(self, chunk_sums: Sequence[tf.Tensor]) -> tf.Tensor:
        """Sums over pieces, `[features, pieces of the chunk]` for each chunk, -> the means over
        whole tensors, `[features, tensors]`."""
        sums = _join(chunk_sums)
        sizes = [1 if self.counts is not None or tensor in self.tables else max(1, size)
                 for tensor, size in enumerate(self.sizes)]
        if self._in_order:
            means = sums / tf.constant(sizes, tf.float32)
        else:
            average = np.zeros([len(self.pieces), self.num_tensors], np.float32)
            for row, piece in enumerate(self.pieces):
                average[row, piece.tensor] = 1.0 / sizes[piece.tensor]
            means = tf.matmul(sums, tf.constant(average))
        if self.counts is not None:
            return means / self.counts
        if not self.tables:
            return means
        return means / tf.cast(tf.stack(
            [tf.maximum(1, self.sizes[tensor]) if tensor in self.tables else 1
             for tensor in range(self.num_tensors)]), tf.float32)


def _pieces(tensor, start, end, max_chunk):
    """Cuts columns of a tensor into pieces of about equal size, all but the last one aligned."""
    parts = max(1, -(-(end - start) // max_chunk))
    length = -(-(end - start) // parts)
    length += -length % ALIGNMENT
    bounds = (list(range(start, end, max(1, length))) or [start]) + [end]
    return [Piece(tensor, first, last - first) for first, last in zip(bounds, bounds[1:])]


def _gather(pieces, max_chunk, max_pieces):
    """Puts consecutive pieces together, as many as a chunk may hold."""
    groups: List[List[Piece]] = []
    for piece in pieces:
        if (not groups or len(groups[-1]) == max_pieces
                or sum(other.size for other in groups[-1]) + piece.size > max_chunk):
            groups.append([])
        groups[-1].append(piece)
    return groups


def _slice(row, piece, size):
    return row if piece.size == size else row[:, piece.start:piece.start + piece.size]


def _join(parts):
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=1)


def num_elements(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def static_shapes(tensors: Sequence[tf.Variable]) -> List[List[int]]:
    """The static shapes of `tensors`; ValueError names the first that isn't fully known."""
    for tensor in tensors:
        if not tensor.shape.is_fully_defined():
            raise ValueError('A learned optimizer needs a fully defined shape for every variable; '
                             '%s has shape %s.' % (tensor.name, tensor.shape))
    return [tensor.shape.as_list() for tensor in tensors]
