"""What a script does first, before TensorFlow is imported: it reads its command line.

So `--help` and what is wrong with a flag come at once.
"""

import contextlib
import sys
from typing import Iterator, NoReturn

from absl import (
    app,
    logging,  # noqa: F401  defines --verbosity
)
from absl import flags as absl_flags

from l2o.commandline import usage
from l2o.commandline.flags import FlagError, define


def begin(script: str) -> None:
    """Ends the process where the command line asks for help or is wrong; else flags have values."""
    define(script)
    app.define_help_flags()
    if set(sys.argv[1:]) & set(usage.WORDS):
        sys.stdout.write(usage.page(script) + '\n')
        sys.exit()
    try:
        rest = absl_flags.FLAGS(sys.argv)[1:]
        if rest:
            raise FlagError('what is %r? every argument is --flag=value' % rest[0])
    except (absl_flags.Error, FlagError) as error:
        fail(script, error)


@contextlib.contextmanager
def errors_in_one_line(script: str, folder: str) -> Iterator[None]:
    """Ends the process by `fail` where a file, that of `folder` if it is not named, cannot be read
    or written, or where a ValueError says what is wrong."""
    try:
        yield
    except OSError as error:
        fail(script, '%s: %s' % (error.filename or folder, error.strerror or error))
    except ValueError as error:
        fail(script, error)


def fail(script: str, error: object) -> NoReturn:
    """Ends the process: one line on stderr, exit status 2."""
    sys.stderr.write('%s: %s\n' % (script, ' '.join(str(error).split())))
    sys.exit(2)
