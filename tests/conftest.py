"""What all tests share: graph mode, a fresh default graph for each test, TensorFlow's modes."""

import collections

import pytest
import tensorflow.compat.v1 as tf

tf.disable_eager_execution()

#: Which kind of variables and of control flow TensorFlow makes where nothing else is said.
Mode = collections.namedtuple('Mode', 'resource_variables control_flow_v2')

MODES = [Mode(False, False), Mode(False, True), Mode(True, False), Mode(True, True)]


@pytest.fixture(autouse=True)
def _fresh_graph():
    """A default graph of its own for each test."""
    with tf.Graph().as_default():
        yield


@pytest.fixture(params=MODES, ids=lambda mode: '%s-flow%d' % (
    'resource' if mode.resource_variables else 'reference', 1 + mode.control_flow_v2))
def tensorflow_mode(request):
    """Runs the test in each of TensorFlow's modes."""
    before = Mode(tf.resource_variables_enabled(), tf.control_flow_v2_enabled())
    _switch(request.param)
    yield request.param
    _switch(before)


def _switch(mode):
    (tf.enable_resource_variables if mode.resource_variables else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if mode.control_flow_v2 else tf.disable_control_flow_v2)()
