"""The learned optimizers: the table of them, and `load`, which opens a trained one.

    optimizer = load('pretrained/...')
    train = optimizer.minimize(loss)
"""

import json
import os

import tensorflow.compat.v1 as tf

from optimizer import trainable_optimizer
from optimizer.coordinatewise_rnn import CoordinatewiseRNN
from optimizer.global_learning_rate import GlobalLearningRate
from optimizer.hierarchical_rnn import HierarchicalRNN
from optimizer.l2o_dm import L2ODM
from optimizer.learning_rate_schedule import LearningRateSchedule
from optimizer.rnnprop import RNNProp
from optimizer.trainable_adam import TrainableAdam

#: Name -> class.
OPTIMIZERS = {cls.__name__: cls for cls in (
    HierarchicalRNN, CoordinatewiseRNN, RNNProp, L2ODM, GlobalLearningRate, LearningRateSchedule,
    TrainableAdam)}

RUN_FILE = 'run.json'


def load(folder):
    """Opens a trained optimizer, to be used in the default graph.

    Args:
      folder: a run's folder or one of `pretrained/`: its `run.json` says under "optimizer" which
        class with which arguments, its checkpoint (`model.ckpt-0`, else the latest) gives the
        initial values of the meta-parameters.

    Returns:
      a `tf.train.Optimizer`.

    Raises:
      ValueError: there is no such folder, its `run.json` is missing, damaged or describes no
        optimizer of the table, or the checkpoint is missing or another optimizer's.
    """
    learned = build(*describe(folder))
    learned.init_from_checkpoint(folder)
    return learned


def describe(folder):
    """The (name, keyword arguments) of the optimizer in a run's folder; raises as `load` does."""
    if not tf.gfile.IsDirectory(folder):
        raise ValueError('There is no folder %s.' % folder)
    path = os.path.join(folder, RUN_FILE)
    if not tf.gfile.Exists(path):
        raise ValueError('%s has no %s: not the folder of a run.' % (folder, RUN_FILE))
    try:
        with tf.gfile.GFile(path) as file:
            described = json.load(file)['optimizer']
        name, arguments = described['name'], described['kwargs']
    except Exception as error:  # whatever json makes of a damaged file
        raise ValueError('%s is damaged or describes no optimizer (%s: %s).' % (
            path, type(error).__name__, error)) from error
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError('%s is damaged: "optimizer" must hold a name and an object kwargs.' % path)
    return name, arguments


def build(name, arguments, constants=None):
    """Makes the optimizer `name` of the table with these keyword arguments.

    `constants`, where given, are the values of the meta-parameters, which then are no variables;
    see `trainable_optimizer.with_constants`.

    Raises:
      ValueError: there is no such optimizer, or it does not take these arguments.
    """
    if name not in OPTIMIZERS:
        raise ValueError('Unknown optimizer %r: choose from %s.' % (name, ', '.join(OPTIMIZERS)))
    cls = OPTIMIZERS[name]
    if constants is not None:
        cls = trainable_optimizer.with_constants(cls, constants)
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError('%s does not take these arguments: %s.' % (name, error)) from error
