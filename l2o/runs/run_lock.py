"""The lock of a run's folder: one process at a time trains in it.

The system holds the lock for the process and lets go of it however the process ends, also on
another machine that shares the folder over a network. What is left of it is a file that says who
was the last to hold it.
"""

import contextlib
import os
import socket
import threading
from typing import Any, Iterator, Set, Tuple

fcntl: Any = None
msvcrt: Any = None
try:
    import fcntl
except ImportError:  # not POSIX: Windows, or a system that locks no files
    with contextlib.suppress(ImportError):
        import msvcrt

LOCK = 'lock'

_LOCKED_BYTE = 2 ** 30  # on Windows, where nobody can read what is locked; the text is before it

_held: Set[Tuple[str, int]] = set()  # folders by their real paths, and the threads that hold them


class FolderInUseError(RuntimeError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """The folder, made if need be, is this thread's alone until the end of the block.

    A block inside of the block may ask for it again. Where the system or the folder's file system
    knows no locks, nothing is locked.

    Raises:
      FolderInUseError: somebody else holds the lock; the process and its machine are named.
      OSError: the lock's file cannot be written.
    """
    own = os.path.realpath(folder), threading.get_ident()
    if own in _held:
        yield
        return
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, LOCK), 'a+b', buffering=0) as file:
        try:
            _lock(file)
            file.truncate(0)
            file.write(b'process %d on %s\n' % (os.getpid(), socket.gethostname().encode()))
        except BlockingIOError:
            file.seek(0)
            holder = file.read().decode(errors='replace').strip()
            raise FolderInUseError('another run is at work in %s%s' % (
                folder, holder and ': %s' % holder)) from None
        except OSError:  # the file system knows no locks, or is full
            pass
        _held.add(own)
        try:
            yield
        finally:
            _held.remove(own)


def _lock(file):
    """Locks an open file until it is closed.

    Raises:
      BlockingIOError: somebody else has locked it.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if msvcrt is None:
        return
    file.seek(_LOCKED_BYTE)
    try:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except PermissionError as error:  # what Windows says of a locked byte
        raise BlockingIOError(error.errno, error.strerror) from error
    finally:
        file.seek(0)
