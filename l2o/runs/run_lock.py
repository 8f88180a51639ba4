"""The lock of a run's folder: one process at a time trains in it.

The system holds the lock for the process and lets go of it however the process ends, also on
another machine that shares the folder over a network. What is left of it is a file that says who
was the last to hold it.
"""

import contextlib
import os
import socket
from typing import Any, Iterator

try:
    import fcntl
    msvcrt: Any = None
except ImportError:  # Windows
    import msvcrt  # type: ignore[import-not-found,no-redef]

LOCK = 'lock'

_LOCKED_BYTE = 2 ** 30  # on Windows, where nobody can read what is locked; the text is before it


class FolderInUseError(RuntimeError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """The folder, made if need be, is this process's alone until the end of the block.

    Where the folder's file system knows no locks, nothing is locked.

    Raises:
      FolderInUseError: another process holds the lock; it is named.
      OSError: the lock's file cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, LOCK), 'a+b') as file:
        try:
            _lock(file)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors='replace').strip() or 'another process'
            raise FolderInUseError('another process is at work in %s: %s' % (folder, holder)
                                   ) from None
        except OSError:  # the file system knows none
            pass
        file.truncate(0)
        file.write(b'process %d on %s\n' % (os.getpid(), socket.gethostname().encode()))
        file.flush()
        yield


def _lock(file):
    """Locks an open file until it is closed.

    Raises:
      BlockingIOError: somebody else has locked it.
    """
    if msvcrt is None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    file.seek(_LOCKED_BYTE)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError as error:  # what Windows says of a locked byte
        raise BlockingIOError(error.errno, error.strerror) from error
    finally:
        file.seek(0)
