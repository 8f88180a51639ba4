"""Imports TensorFlow without its start-up noise; the scripts import this before anything else.

What TensorFlow writes to the standard error while it is imported is held back, and shown if the
import fails; its C++ code then reports fatal errors only. TF_CPP_MIN_LOG_LEVEL=0 (or 1) in the
environment lets everything through.
"""

import contextlib
import os
import sys
import tempfile
from typing import Iterator

LEVEL = 'TF_CPP_MIN_LOG_LEVEL'


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Holds back what anybody writes to file descriptor 2; shows it if the block raises."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def import_tensorflow() -> None:
    """Imports it quietly, unless the environment asks for noise or there is no standard error."""
    if os.environ.get(LEVEL) in ('0', '1') or sys.stderr is None:
        return
    os.environ[LEVEL] = '3'
    with held_back():
        import tensorflow.compat.v1  # noqa: F401


import_tensorflow()
