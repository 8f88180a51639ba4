"""Noise on the standard error: held back, but not lost."""

import os

import pytest

from commandline import quiet


def test_noise_is_held_back(capfd):
    with quiet.held_back():
        os.write(2, b'noise')
    os.write(2, b'signal')
    assert capfd.readouterr().err == 'signal'


def test_noise_is_shown_where_the_import_fails(capfd):
    with pytest.raises(ImportError), quiet.held_back():
        os.write(2, b'the reason')
        raise ImportError
    os.write(2, b', signal')
    assert capfd.readouterr().err == 'the reason, signal'
