"""Signals end a script with one line, where TensorFlow has not even been imported."""

import os
import signal
import subprocess
import sys

import pytest

from l2o.commandline import signals

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: In a job of the background, SIGINT is ignored, and stays so.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
%s
from l2o.commandline import signals
signals.install('metarun')
%s
time.sleep(60)
"""


def ended(before, action):
    return subprocess.run([sys.executable, '-c', PROGRAM % (before, action)], cwd=ROOT,
                          stderr=subprocess.PIPE, text=True, timeout=50)


@pytest.mark.parametrize('number, words', sorted(signals.WORDS.items()))
@pytest.mark.parametrize('before', ['', 'del os.set_blocking'], ids=['here', 'as on Windows'])
def test_a_signal_ends_the_process_with_one_line(number, words, before):
    done = ended(before, 'os.kill(os.getpid(), %d)' % number)
    assert (done.returncode, done.stderr) == (128 + number, 'metarun: %s\n' % words)


WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys
import absl.app, matplotlib.pyplot, multiprocessing.util, tensorflow.compat.v1, tensorflow.python
for module, names in ((os, 'set_blocking fork forkpty getuid geteuid getpgid setpgid setsid killpg '
                           'uname sched_getaffinity openpty mkfifo posix_spawn wait4 nice'),
                      (signal, 'SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGCONT SIGSTOP '
                               'SIGTSTP SIGWINCH SIGQUIT alarm setitimer pause pthread_kill')):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
for name in ('fcntl', 'pwd', 'grp', 'resource', 'termios', 'tty', 'pty', 'syslog'):
    sys.modules[name] = None
for room in ('commandline', 'evaluation', 'metatraining', 'optimizer', 'problems', 'runs',
             'techniques'):
    for module in pkgutil.iter_modules([room]):
        if module.name != 'keras':  # which is of TensorFlow 2
            importlib.import_module(room + '.' + module.name)
import metaopt, metarun, metatest
"""


def test_modules_need_nothing_that_windows_lacks():
    """Simulated: what only POSIX has is taken away before they are imported."""
    done = subprocess.run([sys.executable, '-c', WITHOUT_POSIX], cwd=ROOT, stderr=subprocess.PIPE,
                          text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_ignored_signal_stays_ignored():
    done = ended('signal.signal(%d, signal.SIG_IGN)' % signal.SIGINT,
                 'os.kill(os.getpid(), %d); sys.exit(7)' % signal.SIGINT)
    assert (done.returncode, done.stderr) == (7, '')
