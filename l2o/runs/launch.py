"""Meta-trains with several processes: `python -m l2o.runs.launch --workers 2 -- <flags>`.

Starts parameter servers and workers of metarun.py on free ports of the loopback interface, hands
them the flags behind `--`, starts again what crashes, and ends the parameter servers when the run
is over.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, 'metarun.py')
PERIOD = 0.2  # seconds from one look at the processes to the next
GRACE = 60  # seconds for workers to notice the end of the run
WRONG_FLAGS = 2  # exit status of a process for which another start is of no use


class Member(NamedTuple):
    """A process of the run."""

    job: str  # 'ps' or 'worker'
    task: int  # its index in the job
    process: Any  # the `subprocess.Popen`
    restarts: int  # how often it was started again


class Launcher:
    """The processes of one run.

    Args:
      num_servers, num_workers: how many.
      arguments: flags of metarun.
      max_restarts: how often each process is started again.
      show: function of a line of text.
      start: function of a command line that gives a `subprocess.Popen`.
    """

    def __init__(self, num_servers: int, num_workers: int, arguments: Sequence[str],
                 max_restarts: int = 10, show: Callable[[str], Any] = print,
                 start: Callable[[List[str]], Any] = subprocess.Popen) -> None:
        self.hosts = _hosts(num_servers, num_workers)
        self._arguments, self._max_restarts = list(arguments), max_restarts
        self._show, self._popen = show, start
        self.members = [self._start(job, task) for job, count in (
            ('ps', num_servers), ('worker', num_workers)) for task in range(count)]

    def _start(self, job, task, restarts=0):
        arguments = [argument for argument in self._arguments
                     if not restarts or argument.lstrip('-').split('=')[0] != 'overwrite']
        command = [sys.executable, SCRIPT] + arguments + [
            '--ps_hosts=' + ','.join(self.hosts['ps']),
            '--worker_hosts=' + ','.join(self.hosts['worker']),
            '--job_name=' + job, '--task=%d' % task]
        return Member(job, task, self._popen(command), restarts)

    def run(self) -> int:
        """Until the chief has ended the run; returns the exit status."""
        status = None
        try:
            while status is None:
                time.sleep(PERIOD)
                status = self.look()
            if status == 0:
                self._wait(self._of('worker'), GRACE)
            return status
        finally:
            self.stop()

    def _of(self, job):
        return [member for member in self.members if member.job == job]

    def look(self) -> Optional[int]:
        """Starts again what has crashed; the run's exit status when that is known, else None."""
        for index, member in enumerate(self.members):
            status = member.process.poll()
            if status is None or (status == 0 and member.job == 'worker' and member.task):
                continue
            if status == 0 and member.job == 'worker':
                return 0
            name = '%s %d' % (member.job, member.task)
            if status == WRONG_FLAGS or member.restarts == self._max_restarts:
                self._show('launch: %s ended with status %d' % (name, status))
                return WRONG_FLAGS if status == WRONG_FLAGS else 1
            self._show('launch: %s ended with status %d; starting it again (%d of %d)' % (
                name, status, member.restarts + 1, self._max_restarts))
            self.members[index] = self._start(member.job, member.task, member.restarts + 1)
        return None

    def stop(self) -> None:
        """Ends the workers, then the parameter servers."""
        for job in ('worker', 'ps'):
            for member in self._of(job):
                member.process.terminate()
            self._wait(self._of(job), 10)
            for member in self._of(job):
                member.process.kill()
                member.process.wait()

    def _wait(self, members, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(member.process.poll() is None for member in members):
            time.sleep(PERIOD)


def _hosts(num_servers, num_workers):
    """Addresses with free ports for each job."""
    sockets = [socket.socket() for _ in range(num_servers + num_workers)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    addresses = ['127.0.0.1:%d' % each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return {'ps': addresses[:num_servers], 'worker': addresses[num_servers:]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--ps', type=_positive, default=1, help='parameter servers')
    parser.add_argument('--workers', type=_positive, default=2, help='workers')
    parser.add_argument('--max_restarts', type=int, default=10, help='of each process')
    parser.add_argument('flags', nargs='*', help='flags of metarun.py, behind --')
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    launcher = Launcher(options.ps, options.workers, options.flags, options.max_restarts,
                        lambda line: print(line, flush=True))
    try:
        sys.exit(launcher.run())
    except KeyboardInterrupt:
        sys.exit(130)


def _positive(word):
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError('must be at least 1')
    return number


if __name__ == '__main__':
    main()
