"""Runs command lines of this project, some at a time, each on one core."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PERIOD = 0.2  # seconds from one look at the processes to the next


class Command(NamedTuple):
    """A command line, and the file for what it says."""

    name: str
    words: Tuple[str, ...]
    log: str


class Job(NamedTuple):
    """A command that is running."""

    command: Command
    process: Any  # the `subprocess.Popen`
    begin: float  # seconds


def of_script(folder, name, script, arguments):
    """The `Command` of a script of this project, whose log is in a folder."""
    return Command(name, (sys.executable, os.path.join(ROOT, script)) + tuple(arguments),
                   os.path.join(folder, name + '.log'))


def show(line):
    """Prints a line at once."""
    print(line)
    sys.stdout.flush()


def run(commands, jobs, show=show):
    """Runs commands, so many at a time, each on one core.

    Raises:
      RuntimeError: one of them failed; the others are then ended.
    """
    environment = dict(os.environ, TF_NUM_INTRAOP_THREADS='1', TF_NUM_INTEROP_THREADS='1')
    waiting, running = list(commands), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                command = waiting.pop(0)
                with open(command.log, 'a') as log:
                    running.append(Job(command, subprocess.Popen(
                        command.words, stdout=log, stderr=log, env=environment), time.time()))
            time.sleep(PERIOD)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                show('%s: %s, %d s' % (job.command.name, _last_line(job.command.log),
                                       time.time() - job.begin))
                if job.process.returncode:
                    raise RuntimeError('%s failed, see %s' % (job.command.name, job.command.log))
    finally:
        for job in running:
            job.process.terminate()
        for job in running:
            job.process.wait()


def _last_line(path):
    with open(path) as log:
        return (log.read().split('\n')[-2:] or [''])[0]


@contextlib.contextmanager
def ending(name):
    """Where commands are run: ends the program `name` where one fails, or at a signal."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except RuntimeError as error:
        sys.exit('%s: %s' % (name, error))
    except KeyboardInterrupt:
        sys.exit(130)
