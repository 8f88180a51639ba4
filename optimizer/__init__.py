"""The learned optimizers: the table of them, and `load`, which opens a trained one.

    optimizer = load('rnnprop')
    train = optimizer.minimize(loss)

The rest of a program stays as it is.
"""

import difflib
import json
import os
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import checkpoints
from optimizer.arguments import check_names, warn_of_small_factor, with_num_steps
from optimizer.coordinatewise_rnn import CoordinatewiseRNN
from optimizer.global_learning_rate import GlobalLearningRate
from optimizer.hierarchical_rnn import HierarchicalRNN
from optimizer.l2o_dm import L2ODM
from optimizer.learning_rate_schedule import LearningRateSchedule
from optimizer.normalized_mlp import NormalizedMLP
from optimizer.rnnprop import RNNProp
from optimizer.trainable_adam import TrainableAdam
from optimizer.trainable_optimizer import TrainableOptimizer
from optimizer.types import Folder, Rate

__version__ = '0.1.0'  # of the whole project

#: Name -> class.
OPTIMIZERS = {cls.__name__: cls for cls in (
    HierarchicalRNN, CoordinatewiseRNN, RNNProp, L2ODM, NormalizedMLP, GlobalLearningRate,
    LearningRateSchedule, TrainableAdam)}

RUN_FILE = 'run.json'

_PACKAGE = os.path.dirname(os.path.abspath(__file__))

#: Where the shipped optimizers are: in this package where it is installed, beside it in a checkout.
PRETRAINED = os.path.join(_PACKAGE, 'pretrained')
if not os.path.isdir(PRETRAINED):
    PRETRAINED = os.path.join(os.path.dirname(_PACKAGE), 'pretrained')


def load(folder: Folder, learning_rate: Rate = 1.0, weight_decay: Union[float, tf.Tensor] = 0.0,
         num_steps: Optional[int] = None, **options: Any) -> TrainableOptimizer:
    """Opens a trained optimizer, to be used in any graph.

    Everything is read now: the folder may then be moved or removed.

    Args:
      folder: a run's folder, one of `pretrained/`, or its name, as 'rnnprop'. Its `run.json` says
        under "optimizer" which class with which arguments, its checkpoint (`model.ckpt-0`, else
        the latest) gives the initial values of the meta-parameters.
      learning_rate: a factor of all steps: a float, tensor or variable, or a function of the number
        of steps taken before, such as one of Keras's schedules. 1.0 is the learned step, whose
        size needs no tuning; this is not the learning rate of another optimizer.
      weight_decay: decoupled weight decay, as AdamW's: each step also takes off learning_rate *
        weight_decay * parameter. In an embedding, of the rows with a gradient only.
      num_steps: after how many steps training ends, for optimizers that can be told, as
        NormalizedMLP; None: not known.
      **options: arguments of the optimizer's class that go before those in `run.json`, as `name`.

    Returns:
      a `tf.train.Optimizer`.

    Warns:
      UserWarning: a `learning_rate` below 0.01.

    Raises:
      ValueError: there is no such folder, its `run.json` is missing, damaged or describes no
        optimizer of the table, or the checkpoint is missing or another optimizer's; or it takes no
        `num_steps`.
    """
    folder = find(folder)
    name, described = describe(folder)
    told = with_num_steps(OPTIMIZERS, name, dict(described, **options), num_steps)
    warn_of_small_factor(learning_rate)
    learned = build(name, told, checkpoints.read_checkpoint(folder))
    learned.init_from_checkpoint(folder)  # which says what is missing
    learned.learning_rate, learned.weight_decay = learning_rate, weight_decay
    return learned


def find(folder: Folder) -> str:
    """The folder as it is given, or where there is none, the shipped optimizer of that name.

    Raises:
      ValueError: there is neither.
    """
    folder = os.path.expanduser(os.fspath(folder))
    if tf.gfile.IsDirectory(folder):
        return folder
    name = os.path.basename(os.path.normpath(folder))
    shipped = os.path.join(PRETRAINED, name)
    if folder in (name, os.path.join('pretrained', name)) and tf.gfile.IsDirectory(shipped):
        return shipped
    near = difflib.get_close_matches(name.lower(), shipped_names(), 1)
    raise ValueError('There is no folder %s, and no shipped optimizer of that name: %s.' % (
        folder, 'did you mean %s' % near[0] if near else
        'there are %s' % (', '.join(shipped_names()) or 'none')))


def shipped_names() -> List[str]:
    """The names of the optimizers in `pretrained/`."""
    return [os.path.basename(run) for run in runs_within(PRETRAINED)]


def describe(folder: Folder) -> Tuple[str, Dict[str, Any]]:
    """The (name, keyword arguments) of the optimizer in a run's folder; raises as `load`."""
    folder = find(folder)
    path = os.path.join(folder, RUN_FILE)
    if not tf.gfile.Exists(path):
        raise ValueError('%s has no %s: not the folder of a run.%s' % (
            folder, RUN_FILE, _runs_in_words(folder)))
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


def runs_within(folder: str) -> List[str]:
    """The folders of runs that lie in a folder; none where there is no such folder."""
    if not tf.gfile.IsDirectory(folder):
        return []
    return [os.path.join(folder, name) for name in sorted(tf.gfile.ListDirectory(folder))
            if tf.gfile.Exists(os.path.join(folder, name, RUN_FILE))]


def _runs_in_words(folder):
    found = runs_within(folder)
    return ' Runs are in %s.' % ', '.join(found) if found else ''


def build(name: str, arguments: Dict[str, Any],
          values: Optional[Dict[str, np.ndarray]] = None) -> TrainableOptimizer:
    """Makes the optimizer `name` of the table with these keyword arguments.

    Args:
      name: of the table.
      arguments: of the class.
      values: what meta-parameters begin with, arrays by published names, where there is one of
        their shape; all others are drawn.

    Raises:
      ValueError: there is no such optimizer, or it does not take these arguments.
    """
    if '.' in name:
        raise ValueError('%s is a class of its author, none of the table: make it in your program '
                         'and call its init_from_checkpoint(folder).' % name)
    if name not in OPTIMIZERS:
        raise ValueError('Unknown optimizer %r: choose from %s.' % (name, ', '.join(OPTIMIZERS)))
    check_names(name, OPTIMIZERS[name], arguments)
    try:
        return OPTIMIZERS[name].made_with(values or {}, **arguments)
    except TypeError as error:
        raise ValueError('%s does not take these arguments: %s.' % (name, error)) from error
