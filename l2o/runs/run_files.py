"""The files of a run's folder: whole at any moment, the numbered ones few, none left behind.

Every file is written under a name of its own and then renamed, so that two processes that write one
file do not disturb each other. Of the two files of a TensorFlow
checkpoint one is renamed after the other; a run that was killed in between writes its best one
again where it goes on.
"""

import errno
import functools
import os
import re
import shutil
import uuid
from typing import Dict, Optional

import numpy as np
import tensorflow.compat.v1 as tf

CHECKPOINT = 'model.ckpt'  # number 0 is the best, number n the one after n meta-iterations
STATE = 'state.npz'
ASIDE = 'before-'  # of the names of checkpoints that another run has left

_NEW = '.new'
_STATE = b'model_checkpoint_path: "%(name)s"\nall_model_checkpoint_paths: "%(name)s"\n'
_NUMBERED = re.compile(re.escape(CHECKPOINT) + r'-(\d+)\.(index|data-\d{5}-of-\d{5})$')
_LEFT_BEHIND = re.compile(
    r'.*\.new$|checkpoint\.tmp\w+$|%s-\d+\..*\.tempstate\d+$' % re.escape(CHECKPOINT))


def write(path: str, content: bytes) -> None:
    """Writes bytes: at any moment the file holds either the old content or the new, whole.

    Raises:
      OSError: it cannot be written; the old file stays.
    """
    new = os.path.join(os.path.dirname(path), uuid.uuid4().hex + _NEW)
    try:
        with open(new, 'xb') as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(new, path)
    except OSError as error:
        _remove(new)
        raise OSError(error.errno, error.strerror, path) from error


def write_checkpoint(folder: str, number: int, values: Dict[str, np.ndarray]) -> None:
    """Writes arrays by names as the TensorFlow checkpoint `model.ckpt-<number>`.

    Raises:
      OSError: it cannot be written.
    """
    name = '%s-%d' % (CHECKPOINT, number)
    path = os.path.join(folder, name)
    names = sorted(values)
    save = _saver(tuple((key, values[key].dtype, values[key].shape) for key in names))
    try:
        save(path, *[values[key] for key in names])
        if number == 0:
            write(os.path.join(folder, 'checkpoint'), _STATE % {b'name': name.encode()})
    except tf.errors.OpError as error:
        tidy(folder)
        raise OSError(errno.EIO, error.message.split('\n')[0], path) from error


@functools.lru_cache(maxsize=1)
def _saver(signature):
    """The function (path, arrays...) that writes tensors of these (name, type, shape)."""
    with tf.Graph().as_default() as graph:
        path = tf.placeholder(tf.string, [])
        places = [tf.placeholder(dtype, shape) for _, dtype, shape in signature]
        save = tf.raw_ops.SaveV2(
            prefix=path, tensor_names=[name for name, _, _ in signature], tensors=places,
            shape_and_slices=[''] * len(signature))
    session = tf.Session(graph=graph)
    return lambda *feeds: session.run(save, dict(zip([path] + places, feeds)))


def keep_latest(folder: str, number: int) -> None:
    """Removes the numbered checkpoints but the best one and the latest `number`."""
    found = sorted({int(match.group(1)) for match in _matches(folder, _NUMBERED)} - {0})
    old = set(found[:max(0, len(found) - number)])
    for match in _matches(folder, _NUMBERED):
        if int(match.group(1)) in old:
            _remove(os.path.join(folder, match.group(0)))


def newest_checkpoint(folder: str) -> Optional[str]:
    """The path of the numbered checkpoint that was written last; None where there is none."""
    written = [(os.path.getmtime(os.path.join(folder, match.group(0))), int(match.group(1)))
               for match in _matches(folder, _NUMBERED) if match.group(2) == 'index']
    return os.path.join(folder, '%s-%d' % (CHECKPOINT, max(written)[1])) if written else None


def set_checkpoints_aside(folder: str) -> Dict[str, str]:
    """Copies all numbered checkpoints, so that a run can write its own beside them.

    Copies that are there already stay: the new ones then are `before-before-...`.

    Returns:
      dict from the checkpoints' names to those of the copies.
    """
    names, aside = {}, ASIDE
    while any(name.startswith(aside) for name in os.listdir(folder)):
        aside += ASIDE
    for match in _matches(folder, _NUMBERED):
        shutil.copy2(os.path.join(folder, match.group(0)),
                     os.path.join(folder, aside + match.group(0)))
        name = '%s-%s' % (CHECKPOINT, match.group(1))
        names[name] = aside + name
    return names


def tidy(folder: str) -> None:
    """Removes what a process that was killed while it wrote has left behind."""
    for match in _matches(folder, _LEFT_BEHIND):
        _remove(os.path.join(folder, match.group(0)))


def discard(folder: str) -> None:
    """Removes a run's state and checkpoints, so that another run can begin there."""
    tidy(folder)
    for name in (STATE, 'checkpoint'):
        _remove(os.path.join(folder, name))
    for match in _matches(folder, _NUMBERED):
        _remove(os.path.join(folder, match.group(0)))


def _matches(folder, pattern):
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return list(filter(None, map(pattern.match, names)))


def _remove(path):
    try:
        os.remove(path)
    except OSError:
        pass
