"""The frame in which the scripts run: TensorFlow's modes, errors as one line."""

import contextlib
import os
import sys
from typing import Any, Callable

import tensorflow.compat.v1 as tf
from absl import app
from absl import flags as absl_flags
from absl.flags import FlagValues
from absl.logging import converter

from l2o.commandline.flags import METARUN, FlagError
from l2o.commandline.start import fail
from problems.image_files import DataError


def run_script(script: str, main: Callable[[FlagValues], Any]) -> None:
    """Sets TensorFlow up and runs `main(flag values)`, once `start.begin` has read the flags.

    What the user can mend (flags, files) ends with one line on stderr and exit status 2.
    """
    app.run(lambda _: _run(script, main, absl_flags.FLAGS), flags_parser=lambda args: args[:1])


def _run(script, main, values):
    _set_verbosity(values)
    set_up_tensorflow(script, values)
    try:
        with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(
                nowhere if values.quiet else sys.stdout):
            _write_any_name()
            main(values)
            sys.stdout.flush()
    except (FlagError, DataError) as error:
        fail(script, error)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        fail(script, 'there is not enough memory for this')
    except OSError as error:
        if error.filename is None:  # the standard output: nobody reads it, or its disk is full
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        fail(script, '%s: %s' % (error.filename or 'output', error.strerror or error))


def set_up_tensorflow(script: str, values: FlagValues) -> None:
    """TensorFlow's modes of this process."""
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    if not (script == METARUN and values.swap_memory):
        tf.enable_control_flow_v2()


def _write_any_name():
    """Characters that the standard output has no code for are written as escapes."""
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')


def _set_verbosity(values):
    """TensorFlow's Python code reports errors, and what else --verbosity asks for."""
    chosen = values['verbosity']
    tf.logging.set_verbosity(converter.absl_to_standard(chosen.value) if chosen.present
                             else tf.logging.ERROR)
