"""Noise on the standard error: held back, but not lost."""

import os
import subprocess
import sys

import pytest

from l2o.commandline import quiet_import


def test_noise_is_held_back(capfd):
    with quiet_import.held_back():
        os.write(2, b'noise')
    os.write(2, b'signal')
    assert capfd.readouterr().err == 'signal'


def test_noise_is_shown_where_the_import_fails(capfd):
    with pytest.raises(ImportError), quiet_import.held_back():
        os.write(2, b'the reason')
        raise ImportError
    os.write(2, b', signal')
    assert capfd.readouterr().err == 'the reason, signal'


@pytest.mark.slow
def test_pytest_ends_with_its_summary():
    """What is captured while conftest.py is imported is shown after it."""
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
                           __file__ + '::test_noise_is_held_back'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd=os.path.dirname(os.path.dirname(__file__)))
    assert b' passed in ' in done.stdout.splitlines()[-1], done.stdout.decode()
