"""The examples run and train. The Keras one in a process of its own, with eager execution."""

import os
import re
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from examples import monitored_session, session

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def test_session(run_folder):
    losses = session.main(run_folder)
    assert losses[-1] < 0.7 * losses[0]


def test_monitored_session_goes_on(run_folder, tmp_path):
    first = monitored_session.main(run_folder, str(tmp_path))
    with tf.Graph().as_default():
        second = monitored_session.main(run_folder, str(tmp_path))
    assert first[-1] < 0.5 * first[0]
    assert second[0] < 0.5 * first[0]
    assert os.path.basename(tf.train.latest_checkpoint(str(tmp_path))) == 'model.ckpt-100'


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
def test_keras_fit(run_folder):
    output = subprocess.check_output([sys.executable, '-m', 'examples.keras_fit', run_folder],
                                     cwd=ROOT, stderr=subprocess.DEVNULL).decode()
    first, last = map(float, re.search(r'loss: (\S+) at first, (\S+) at', output).groups())
    assert last < 0.7 * first
