"""What is made from the flags of optimizers: the learned optimizer, its run and its checkpoint."""

import os
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf
from absl.flags import FlagValues

from l2o.commandline.flags import FLAGS, FlagError
from l2o.metatraining import store
from optimizer import OPTIMIZERS, RUN_FILE, checkpoints, describe, runs_within
from optimizer.arguments import constructor_arguments
from problems.problem_spec import Spec


def run_folder(values: FlagValues) -> str:
    """The folder of a training run, named as published."""
    return os.path.join(values.train_dir, '%s_%s_%d_%d' % (
        _name(values), values.cell_cls, values.cell_size, values.num_cells))


class Made(NamedTuple):
    """An argument of a constructor that is made of several flags."""

    flags: Tuple[str, ...]
    make: Callable[..., Any]  # of their values


#: Where an argument of an optimizer's constructor does not come from the flag of its own name: the
#: flag that gives it, or how it is `Made`; None: its default stays. The row None is for all
#: optimizers.
ALIASES: Dict[Optional[str], Dict[str, Any]] = {
    None: {
        'obj_train_max_multiplier': 'objective_training_max_multiplier',
        'init_lr_range': Made(('min_lr', 'max_lr'), lambda low, high: (low, high)),
    },
    'HierarchicalRNN': {
        'level_sizes': 'hrnn_level_sizes',
        'rnn_readout_scale': 'hrnn_rnn_readout_scale',
        'affine_scale': 'hrnn_affine_scale',
        'default_decay_var_init': 'hrnn_default_decay_var_init',
        'cell_cls': None,
    },
    'CoordinatewiseRNN': {
        'cell_sizes': Made(('cell_size', 'num_cells'), lambda size, number: [size] * number),
        'rnn_readout_scale': 'crnn_rnn_readout_scale',
        'default_decay_var_init': 'crnn_default_decay_var_init',
    },
    'RNNProp': {'units': 'cell_size'},
    'L2ODM': {'units': 'cell_size'},
    'GlobalLearningRate': {'initial_rate': 'max_lr'},
    'LearningRateSchedule': {'initial_rate': 'max_lr'},
    'TrainableAdam': {'learning_rate': 'max_lr'},
}


def optimizer_config(values: FlagValues) -> Tuple[str, Dict[str, Any]]:
    """(name, constructor arguments) of the learned optimizer: what `run.json` records.

    Every argument of the constructor that has a flag, by its name or by `ALIASES`, gets its value.
    Where the run begins with an optimizer that is there, its arguments stand but for flags on the
    command line.

    Raises:
      FlagError: flags that the optimizer cannot follow.
    """
    name, begun_with = _name(values), _begun_with(values)
    _check_optimizer(values, name)
    script_flags = {flag.name for flag in FLAGS}
    aliases = dict(ALIASES[None], **ALIASES.get(name, {}))
    arguments = dict(begun_with[1]) if begun_with else {}
    for argument in constructor_arguments(OPTIMIZERS[name]):
        origin = aliases.get(argument, argument)
        made = origin if isinstance(origin, Made) else Made((origin,), lambda value: value)
        if script_flags.issuperset(made.flags) and not (
                argument in arguments and not any(values[flag].present for flag in made.flags)):
            arguments[argument] = made.make(*[getattr(values, flag) for flag in made.flags])
    return name, arguments


def _begun_with(values):
    """(name, constructor arguments) of the optimizer with which a run begins, or None."""
    if not getattr(values, 'begin_with', ''):  # metatest has no such flag
        return None
    try:
        name, arguments = describe(values.begin_with)
    except ValueError as error:
        raise FlagError('--begin_with: %s' % error) from error
    if name not in OPTIMIZERS:
        raise FlagError('--begin_with: %s is a %s, which is none of the optimizers %s' % (
            values.begin_with, name, ', '.join(OPTIMIZERS)))
    if values['optimizer'].present and values.optimizer != name:
        raise FlagError('--optimizer=%s, but --begin_with=%s is a %s' % (
            values.optimizer, values.begin_with, name))
    return name, arguments


def _name(values):
    """The name of the learned optimizer's class."""
    begun_with = _begun_with(values)
    return begun_with[0] if begun_with else values.optimizer


def _check_optimizer(values, name):
    """Says which flags the optimizer cannot follow, by their names."""
    if values.min_lr > values.max_lr:
        raise FlagError('--min_lr=%g must not exceed --max_lr=%g' % (values.min_lr, values.max_lr))
    if values.filters_apart and name != 'L2ODM':
        raise FlagError('--filters_apart: only L2ODM has a network for filters')
    if name != 'HierarchicalRNN':
        if values.use_attention:
            raise FlagError('--use_attention: only HierarchicalRNN has attention')
        return
    if len(values.hrnn_level_sizes) > 3:
        raise FlagError('--hrnn_level_sizes takes one to three numbers, not %d'
                        % len(values.hrnn_level_sizes))
    for feature in ('use_relative_lr', 'use_extreme_indicator', 'use_lr_shortcut'):
        if getattr(values, feature) and not values.dynamic_output_scale:
            raise FlagError('--%s needs --dynamic_output_scale' % feature)


def optimizer_spec(values: FlagValues) -> Spec:
    """The `Spec` of the learned optimizer; its random numbers come from the graph's seed."""
    name, arguments = optimizer_config(values)
    return Spec(OPTIMIZERS[name], (), arguments)


def xla(values: FlagValues) -> bool:
    """Whether XLA shall compile update rules."""
    if values.xla and tf.__version__.startswith('1.'):
        raise FlagError('--xla needs TensorFlow 2, this is %s' % tf.__version__)
    return values.xla


def learned(values: FlagValues) -> Tuple[str, Tuple[str, Dict[str, Any]]]:
    """What metatest evaluates: folder of the run, (name, constructor arguments) of its optimizer.

    Where --train_dir itself holds a `run.json`, as the folders of `pretrained/` do, that describes
    the optimizer; else the flags name both the run in --train_dir and its optimizer.

    Raises:
      FlagError: there is no such folder, or its record is damaged.
    """
    if os.path.exists(os.path.join(values.train_dir, RUN_FILE)):
        try:
            return values.train_dir, describe(values.train_dir)
        except ValueError as error:
            raise FlagError('--train_dir: %s' % error) from error
    folder = run_folder(values)
    if not os.path.isdir(folder):
        others = runs_within(values.train_dir)
        raise FlagError('--train_dir: there is no run in %s: %s' % (
            folder, 'there is %s' % ', '.join(others) if others else 'metarun.py makes one'))
    return folder, optimizer_config(values)


def checkpoint(values: FlagValues, folder: str) -> str:
    """The checkpoint in a run's folder that metatest evaluates.

    Raises:
      FlagError: there is none, or none of that name.
    """
    names = [values.restore_model_name or store.BEST_CHECKPOINT]
    if not values.restore_model_name:
        try:
            names.append(os.path.basename(checkpoints.latest_checkpoint(folder) or ''))
        except ValueError as error:
            raise FlagError('--train_dir: %s' % error) from error
    found = [name for name in names if os.path.exists(os.path.join(folder, name + '.index'))]
    if not found:
        raise FlagError('--restore_model_name: there is no checkpoint %s in %s'
                        % (' or '.join(filter(None, names)), folder))
    return os.path.join(folder, found[0])


def check_checkpoint(make_optimizer: Callable[[], Any]) -> None:
    """Builds the optimizer once, so that a wrong checkpoint is found before anything is run."""
    with tf.Graph().as_default():
        try:
            make_optimizer()
        except Exception as error:  # whatever comes of the arguments in a damaged record
            raise FlagError('--train_dir: %s' % error) from error
