"""Learned optimizers: `tf.train.Optimizer`s whose update rule is trained."""

import collections

from optimizer.coordinatewise_rnn import CoordinatewiseRNN
from optimizer.global_learning_rate import GlobalLearningRate
from optimizer.hierarchical_rnn import HierarchicalRNN
from optimizer.l2o_dm import L2ODM
from optimizer.learning_rate_schedule import LearningRateSchedule
from optimizer.rnnprop import RNNProp
from optimizer.trainable_adam import TrainableAdam

#: Name -> class: the one table of the learned optimizers.
OPTIMIZERS = collections.OrderedDict((cls.__name__, cls) for cls in (
    HierarchicalRNN, CoordinatewiseRNN, RNNProp, L2ODM, GlobalLearningRate, LearningRateSchedule,
    TrainableAdam))
