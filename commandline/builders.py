"""What is made from the flags: optimizers, problems, the configuration of a run."""

import os

import tensorflow.compat.v1 as tf

from commandline.flags import FLAGS, METARUN, FlagError, include
from metatraining import store
from optimizer import OPTIMIZERS, RUN_FILE, checkpoints, describe
from problems import problem_sets
from problems.datasets import DataSource
from problems.problem_spec import Spec


def run_folder(values):
    """The folder of a training run, named as published."""
    return os.path.join(values.train_dir, '%s_%s_%d_%d' % (
        values.optimizer, values.cell_cls, values.cell_size, values.num_cells))


def optimizer_config(values):
    """(name, constructor arguments) of the learned optimizer: what `run.json` records."""
    rates = (values.min_lr, values.max_lr)
    if rates[0] > rates[1]:
        raise FlagError('--min_lr=%g must not exceed --max_lr=%g' % rates)
    shared = {name: getattr(values, name) for name in (
        'use_log_objective', 'use_second_derivatives', 'use_numerator_epsilon')}
    shared['obj_train_max_multiplier'] = values.objective_training_max_multiplier
    return values.optimizer, dict(shared, **_OPTIMIZER_ARGUMENTS[values.optimizer](values, rates))


def _hierarchical_rnn_arguments(values, rates):
    names = ('learnable_decay dynamic_output_scale use_attention num_gradient_scales '
             'zero_init_lr_weights use_log_means_squared use_relative_lr use_extreme_indicator '
             'max_log_lr use_problem_lr_mean use_gradient_shortcut use_lr_shortcut '
             'use_grad_products use_multiple_scale_decays learnable_inp_decay learnable_rnn_init '
             'scale_decay_bias_init learning_rate_momentum_logit_init biasgrucell_scale '
             'biasgrucell_gate_bias_init').split()
    if len(values.hrnn_level_sizes) > 3:
        raise FlagError('--hrnn_level_sizes takes one to three numbers, not %d'
                        % len(values.hrnn_level_sizes))
    for name in ('use_relative_lr', 'use_extreme_indicator', 'use_lr_shortcut'):
        if getattr(values, name) and not values.dynamic_output_scale:
            raise FlagError('--%s needs --dynamic_output_scale' % name)
    return dict({name: getattr(values, name) for name in names},
                level_sizes=list(values.hrnn_level_sizes), init_lr_range=rates,
                rnn_readout_scale=values.hrnn_rnn_readout_scale,
                affine_scale=values.hrnn_affine_scale,
                default_decay_var_init=values.hrnn_default_decay_var_init)


def _coordinatewise_rnn_arguments(values, rates):
    return dict(cell_sizes=[values.cell_size] * values.num_cells, cell_cls=values.cell_cls,
                init_lr_range=rates, dynamic_output_scale=values.dynamic_output_scale,
                learnable_decay=values.learnable_decay,
                zero_init_lr_weights=values.zero_init_lr_weights,
                rnn_readout_scale=values.crnn_rnn_readout_scale,
                default_decay_var_init=values.crnn_default_decay_var_init)


def _lstm_arguments(values, rates):
    del rates
    return dict(units=values.cell_size)


def _rate_argument(name):
    """Optimizers that begin at one learning rate begin at the largest."""
    return lambda values, rates: {name: rates[1]}


#: Optimizer -> function of (flag values, bounds of initial learning rates) -> its own arguments.
_OPTIMIZER_ARGUMENTS = {
    'HierarchicalRNN': _hierarchical_rnn_arguments,
    'CoordinatewiseRNN': _coordinatewise_rnn_arguments,
    'RNNProp': _lstm_arguments,
    'L2ODM': _lstm_arguments,
    'GlobalLearningRate': _rate_argument('initial_rate'),
    'LearningRateSchedule': _rate_argument('initial_rate'),
    'TrainableAdam': _rate_argument('learning_rate'),
}


def optimizer_spec(values):
    """The `Spec` of the learned optimizer; its random numbers come from the graph's seed."""
    name, arguments = optimizer_config(values)
    return Spec(OPTIMIZERS[name], (), arguments)


def chosen_sets(values):
    """Names of the problem sets that the flags include."""
    chosen = [name for name in problem_sets.PROBLEM_SETS
              if getattr(values, include(name))]
    if not chosen:
        raise FlagError('no problem set is chosen: give at least one --include_<set>_problems, '
                        'for instance --include_mnist_mlp_problems')
    return chosen


def problems_and_data(values, script):
    """The rows (spec, dataset, batch size) of all chosen problem sets."""
    source = DataSource(values.mnist_source, values.data_dir or None)
    rows = []
    for name in chosen_sets(values):
        problem_set = problem_sets.PROBLEM_SETS[name]
        rows += (problem_set.training if script == METARUN else problem_set.testing)(source)
    return rows


def xla(values):
    """Whether XLA shall compile update rules."""
    if values.xla and tf.__version__.startswith('1.'):
        raise FlagError('--xla needs TensorFlow 2, this is %s' % tf.__version__)
    return values.xla


def learned(values):
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
        raise FlagError('--train_dir: there is no run in %s (its name is made of --optimizer, '
                        '--cell_cls, --cell_size and --num_cells)' % folder)
    return folder, optimizer_config(values)


def checkpoint(values, folder):
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


def check_checkpoint(make_optimizer):
    """Builds the optimizer once, so that a wrong checkpoint is found before anything is run."""
    with tf.Graph().as_default():
        try:
            make_optimizer()
        except Exception as error:  # whatever comes of the arguments in a damaged record
            raise FlagError('--train_dir: %s' % error) from error


def as_dict(values, script):
    """The values of the script's own flags, without the problem sets that were not chosen."""
    names = [flag.name for flag in FLAGS if script in flag.defaults]
    included = {include(name): True for name in chosen_sets(values)}
    return dict({name: getattr(values, name) for name in names}, **included)


