"""What is made from the flags: optimizers, problems, the configuration of a run."""

import inspect
import os

import tensorflow.compat.v1 as tf

import metaopt
from commandline.flags import FLAGS, METARUN, FlagError, include
from optimizer import OPTIMIZERS, RUN_FILE, checkpoints, describe
from problems import problem_sets
from problems.datasets import DataSource
from problems.problem_spec import Spec
from runs import cluster as clusters
from techniques import curriculum as curricula
from techniques import imitation, regularization


def run_folder(values):
    """The folder of a training run, named as published."""
    return os.path.join(values.train_dir, '%s_%s_%d_%d' % (
        values.optimizer, values.cell_cls, values.cell_size, values.num_cells))


#: Where an argument of an optimizer's constructor does not come from the flag of its own name: the
#: flag that gives it, or a function of the flags' values. The row None is for all optimizers.
ALIASES = {
    None: {
        'obj_train_max_multiplier': 'objective_training_max_multiplier',
        'init_lr_range': lambda values: (values.min_lr, values.max_lr),
    },
    'HierarchicalRNN': {
        'level_sizes': 'hrnn_level_sizes',
        'rnn_readout_scale': 'hrnn_rnn_readout_scale',
        'affine_scale': 'hrnn_affine_scale',
        'default_decay_var_init': 'hrnn_default_decay_var_init',
    },
    'CoordinatewiseRNN': {
        'cell_sizes': lambda values: [values.cell_size] * values.num_cells,
        'rnn_readout_scale': 'crnn_rnn_readout_scale',
        'default_decay_var_init': 'crnn_default_decay_var_init',
    },
    'RNNProp': {'units': 'cell_size'},
    'L2ODM': {'units': 'cell_size'},
    'GlobalLearningRate': {'initial_rate': 'max_lr'},
    'LearningRateSchedule': {'initial_rate': 'max_lr'},
    'TrainableAdam': {'learning_rate': 'max_lr'},
}


def optimizer_config(values):
    """(name, constructor arguments) of the learned optimizer: what `run.json` records.

    Every argument of the constructor that has a flag, by its name or by `ALIASES`, gets its value.

    Raises:
      FlagError: flags that the optimizer cannot follow.
    """
    _check_optimizer(values)
    name, script_flags = values.optimizer, {flag.name for flag in FLAGS}
    aliases = dict(ALIASES[None], **ALIASES.get(name, {}))
    arguments = {}
    for argument in constructor_arguments(OPTIMIZERS[name]):
        origin = aliases.get(argument, argument)
        if callable(origin):
            arguments[argument] = origin(values)
        elif origin in script_flags:
            arguments[argument] = getattr(values, origin)
    return name, arguments


def constructor_arguments(cls):
    """Names of what a constructor takes, and of what it hands on to its bases as `**kwargs`."""
    names = []
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names += [each.name for each in parameters if each.kind != each.VAR_KEYWORD]
        if all(each.kind != each.VAR_KEYWORD for each in parameters):
            break
    return names


def _check_optimizer(values):
    """Says which flags the optimizer cannot follow, by their names."""
    if values.min_lr > values.max_lr:
        raise FlagError('--min_lr=%g must not exceed --max_lr=%g' % (values.min_lr, values.max_lr))
    if values.optimizer != 'HierarchicalRNN':
        if values.use_attention:
            raise FlagError('--use_attention: only HierarchicalRNN has attention')
        return
    if len(values.hrnn_level_sizes) > 3:
        raise FlagError('--hrnn_level_sizes takes one to three numbers, not %d'
                        % len(values.hrnn_level_sizes))
    for name in ('use_relative_lr', 'use_extreme_indicator', 'use_lr_shortcut'):
        if getattr(values, name) and not values.dynamic_output_scale:
            raise FlagError('--%s needs --dynamic_output_scale' % name)


def optimizer_spec(values):
    """The `Spec` of the learned optimizer; its random numbers come from the graph's seed."""
    name, arguments = optimizer_config(values)
    return Spec(OPTIMIZERS[name], (), arguments)


def chosen_sets(values):
    """Names of the problem sets that the flags include."""
    chosen = [name for name in problem_sets.PROBLEM_SETS
              if getattr(values, include(name), False)]
    if not chosen:
        raise FlagError('no problem set is chosen: give at least one --include_<set>_problems, '
                        'for instance --include_mnist_mlp_problems')
    return chosen


def problems_and_data(values, script):
    """The rows of all chosen problem sets."""
    return [row for name in chosen_sets(values) for row in rows_of(values, name, script)]


def rows_of(values, name, script):
    """The rows of one problem set, for meta-training or for tests."""
    problem_set = problem_sets.PROBLEM_SETS[name]
    source = DataSource(values.mnist_source, values.data_dir or None)
    return (problem_set.training if script == METARUN else problem_set.testing)(source)


def curriculum(values):
    """The `Curriculum`; without `--if_cl` one stage of fixed length."""
    if not values.if_cl:
        return curricula.Curriculum.fixed(values.fix_num_steps, values.fix_num_steps_eval)
    try:
        return curricula.Curriculum(values.cl_steps, values.cl_patience)
    except ValueError as error:
        raise FlagError('--cl_steps: %s' % error) from error


def unroll_functions(values):
    """The functions that draw the number of unrolls (None: by the curriculum) and their lengths.

    They draw from numpy's global generator, which `metaopt` seeds for every meta-iteration.
    """
    if values.fix_unroll:
        length = values.fix_unroll_length
        return None, lambda: length

    def draw(scale, least):
        return lambda: metaopt.sample_numiter(scale, least)

    lengths = draw(values.num_partial_unroll_itr_scale, values.min_num_itr_partial_unroll)
    if values.if_cl:
        return None, lengths
    return draw(values.num_unroll_scale, values.min_num_unrolls), lengths


def imitate(values):
    """The `Imitation`, or None."""
    if not values.if_mt:
        return None
    teacher = imitation.make_teacher(values.mt_teacher, values.mt_learning_rate)
    return metaopt.Imitation(teacher, values.mt_ratio, values.mt_k)


def penalty(values, seed=None):
    """The `Penalty`, or None where neither the optimizer nor the optimizee has one."""
    if not (values.reg_optimizer or values.reg_optimizee):
        return None
    return regularization.Penalty(
        values.reg_option, values.hessian_itrs, seed, alpha=values.alpha, beta=values.beta,
        on_optimizer=values.reg_optimizer, on_optimizee=values.reg_optimizee,
        time=values.regularize_time, scale=values.reg_scale)


def unroll_options(values):
    """The options of `optimizer.unroll.build_unroll` that save memory."""
    if values.checkpoint_every and values.swap_memory:
        raise FlagError('--checkpoint_every and --swap_memory do not go together')
    return {'checkpoint_every': values.checkpoint_every, 'swap_memory': values.swap_memory}


def xla(values):
    """Whether XLA shall compile update rules."""
    if values.xla and tf.__version__.startswith('1.'):
        raise FlagError('--xla needs TensorFlow 2, this is %s' % tf.__version__)
    return values.xla


def meta_optimizer(values):
    """The `MetaOptimizer`."""
    return metaopt.MetaOptimizer(values.meta_optimizer, values.rms_decay, values.rms_epsilon,
                                 values.l2_reg, values.l2_reg_scale, values.nan_l2_reg,
                                 values.meta_learning_rate_decay,
                                 values.meta_learning_rate_decay_steps)


def cluster(values):
    """The `Cluster` that this process is part of; None: it trains alone."""
    hosts = {job: _addresses(values, job + '_hosts') for job in ('ps', 'worker')}
    found = clusters.Cluster(hosts['ps'], hosts['worker'], values.job_name, values.task,
                             values.cluster_timeout)
    if not any(hosts.values()):
        _check_alone(values)
        return None
    for job, count, default in (('ps', values.ps_tasks, 0), ('worker', values.worker_tasks, 1)):
        if not hosts[job]:
            raise FlagError('--%s_hosts: a cluster needs at least one' % job)
        if count not in (default, len(hosts[job])):
            raise FlagError('--%s_tasks=%d, but --%s_hosts names %d'
                            % (job, count, job, len(hosts[job])))
    if values.task >= len(hosts[values.job_name]):
        raise FlagError('--task=%d, but --%s_hosts names %d: count from 0'
                        % (values.task, values.job_name, len(hosts[values.job_name])))
    return found


def _addresses(values, name):
    """The list of `host:port` in a flag."""
    addresses = [word.strip() for word in getattr(values, name).split(',') if word.strip()]
    for address in addresses:
        host, _, port = address.rpartition(':')
        if not host or not port.isdigit() or not 0 < int(port) < 2 ** 16:
            raise FlagError('--%s: %r is not host:port' % (name, address))
    return addresses


def _check_alone(values):
    """Flags of a cluster mean nothing without its hosts."""
    for flag, without in (('ps_tasks', 0), ('worker_tasks', 1), ('task', 0),
                          ('job_name', 'worker')):
        if getattr(values, flag) != without:
            raise FlagError('--%s=%s needs --ps_hosts and --worker_hosts, which name host:port of '
                            'every process' % (flag, getattr(values, flag)))


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
    names = [values.restore_model_name or metaopt.BEST_CHECKPOINT]
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


