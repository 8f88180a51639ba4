"""Reads checkpoints so that a damaged one is a ValueError.

TensorFlow checks the blocks of a checkpoint's index and the tensors by checksums, but not where the
index's last bytes say that the blocks are: some versions abort the process on such damage.
"""

import os
import shutil
import tempfile
from typing import Dict, List, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

#: TensorFlow's readers take a checkpoint's path for a pattern in which these are special.
_SPECIAL = '*?[\\'

#: The checkpoint of a run's best meta-parameters.
BEST_CHECKPOINT = 'model.ckpt-0'

# The end of an index: two pairs (offset, size) of blocks, padding, a magic number.
_FOOTER_BYTES, _MAGIC = 48, b'\x57\xfb\x80\x8b\x24\x75\x47\xdb'
_BLOCK_TRAILER_BYTES = 5


def checkpoint_in(path: str) -> str:
    """The checkpoint at a path: a folder's `model.ckpt-0`, else its latest; or the path itself."""
    if not tf.gfile.IsDirectory(path):
        return path
    best = os.path.join(path, BEST_CHECKPOINT)
    if tf.gfile.Exists(best + '.index'):
        return best
    latest = latest_checkpoint(path)
    if latest is None:
        raise ValueError('There is no checkpoint in %s.' % path)
    return latest


def latest_checkpoint(folder: str) -> Optional[str]:
    """The checkpoint that a folder's file `checkpoint` names, or None.

    `tf.train.latest_checkpoint` takes brackets and backslashes in names of folders for patterns.
    """
    try:
        state = tf.train.get_checkpoint_state(folder)
    except Exception as error:  # whatever comes of a damaged file
        raise ValueError('%s is damaged: %s' % (
            os.path.join(folder, 'checkpoint'), error)) from error
    if not state or not tf.gfile.Exists(state.model_checkpoint_path + '.index'):
        return None
    return state.model_checkpoint_path


def read_checkpoint(path: str) -> Dict[str, np.ndarray]:
    """Dict from names to arrays; `path` as for `checkpoint_in`.

    Raises:
      ValueError: there is no readable checkpoint.
    """
    path = checkpoint_in(path)
    return _reading(path, lambda reader: {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})


def read_variables(path: str, expected: Dict[str, Tuple[List[int], tf.DType]]
                   ) -> Dict[str, np.ndarray]:
    """The values of these variables.

    Args:
      path: as for `checkpoint_in`.
      expected: dict from names to (shape, type).

    Returns:
      dict from names to arrays.

    Raises:
      ValueError: there is no readable checkpoint, or variables are missing from it or have other
        shapes or types there (the message lists them).
    """
    path = checkpoint_in(path)
    shapes = _reading(path, lambda reader: reader.get_variable_to_shape_map())
    types = _reading(path, lambda reader: reader.get_variable_to_dtype_map())
    wrong = ['%s %s (%s)' % (name, shape, _in_words(shapes, types, name))
             for name, (shape, dtype) in expected.items()
             if shapes.get(name) != shape or types[name] != dtype]
    if wrong:
        raise ValueError('The checkpoint %s does not hold the meta-parameters. Expected (found): '
                         '%s.' % (path, ', '.join(wrong)))
    return _reading(path, lambda reader: {name: reader.get_tensor(name) for name in expected})


def _in_words(shapes, types, name):
    if name not in shapes:
        return 'missing'
    return '%s%s' % (shapes[name], '' if types[name] == tf.float32 else ' ' + types[name].name)


def _reading(path, read):
    """What `read(reader)` gives."""
    try:
        _check_index(path + '.index')
        if any(character in path for character in _SPECIAL):
            return _reading_a_copy(path, read)
        return read(tf.train.load_checkpoint(path))
    except Exception as error:  # the versions of TensorFlow raise many kinds
        reason = (str(error) or type(error).__name__).split('\n')[0]
        raise ValueError('No readable checkpoint at %s: %s' % (path, reason)) from error


def _reading_a_copy(path, read):
    """What `read(reader)` gives for a copy of the checkpoint under a plain name."""
    folder, name = os.path.split(path)
    scratch = tempfile.mkdtemp()
    try:
        for file in tf.gfile.ListDirectory(folder):
            if file == name + '.index' or file.startswith(name + '.data-'):
                with tf.gfile.GFile(os.path.join(folder, file), 'rb') as source:
                    with open(os.path.join(scratch, 'copy' + file[len(name):]), 'wb') as target:
                        target.write(source.read())
        return read(tf.train.load_checkpoint(os.path.join(scratch, 'copy')))
    finally:
        shutil.rmtree(scratch)


def _check_index(path):
    if not tf.gfile.Exists(path):
        raise ValueError('there is no %s' % path)
    with tf.gfile.GFile(path, 'rb') as file:
        content = file.read()
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or not footer.endswith(_MAGIC):
        raise ValueError('%s is no index of a checkpoint' % path)
    position = 0
    for _ in range(2):
        offset, position = _varint(footer, position)
        size, position = _varint(footer, position)
        if offset + size + _BLOCK_TRAILER_BYTES > len(content) - _FOOTER_BYTES:
            raise ValueError('%s is damaged' % path)


def _varint(content, position):
    """The number that begins at a position, seven bits a byte, and where it ends."""
    number = shift = 0
    while content[position] & 0x80:
        number |= (content[position] & 0x7f) << shift
        position, shift = position + 1, shift + 7
    return number | content[position] << shift, position + 1
