"""Signals end a script with one line, where TensorFlow has not even been imported."""

import os
import signal
import subprocess
import sys

import pytest

from commandline import endings

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(endings.__file__)))
PROGRAM = """
import os, signal, sys, time
%s
from commandline import endings
endings.install('metarun')
%s
time.sleep(60)
"""


def ended(before, action):
    return subprocess.run([sys.executable, '-c', PROGRAM % (before, action)], cwd=ROOT,
                          stderr=subprocess.PIPE, text=True, timeout=50)


@pytest.mark.parametrize('number, words', sorted(endings.WORDS.items()))
@pytest.mark.parametrize('before', ['', 'del os.set_blocking'], ids=['here', 'as on Windows'])
def test_a_signal_ends_the_process_with_one_line(number, words, before):
    done = ended(before, 'os.kill(os.getpid(), %d)' % number)
    assert (done.returncode, done.stderr) == (128 + number, 'metarun: %s\n' % words)


def test_an_ignored_signal_stays_ignored():
    done = ended('signal.signal(%d, signal.SIG_IGN)' % signal.SIGINT,
                 'os.kill(os.getpid(), %d); sys.exit(7)' % signal.SIGINT)
    assert (done.returncode, done.stderr) == (7, '')
