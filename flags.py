"""The flags of metarun.py and metatest.py, and what is made from them.

Every flag is a row of a table: name, default, help and what values are allowed. Names and defaults
are those of the published scripts; where the two scripts differ, a row says both defaults. Flags
`--include_<set>_problems` come from the table of problem sets.
"""

import collections
import os
import sys

import tensorflow.compat.v1 as tf
from absl import app
from absl import flags as absl_flags

import comparison
import metaopt
from optimizer import OPTIMIZERS, rnn_cells
from problems import problem_sets
from problems.datasets import DataError, DataSource
from problems.problem_spec import Spec
from techniques import curriculum as curricula
from techniques import imitation, regularization

METARUN, METATEST = 'metarun', 'metatest'


class FlagError(ValueError):
    """Flags that don't go together or don't fit what is on disk; the message is one clear line."""


#: A flag. `default` is its value in metarun, `test_default` in metatest; None: the script lacks it.
#: `check` tells whether a value is allowed, `allowed` says so in words.
Flag = collections.namedtuple('Flag', 'group name default test_default help check allowed')

_ABSENT = object()
_CHECKS = {
    'any value': lambda value: True,
    'a positive number': lambda value: value > 0,
    'a number of at least 0': lambda value: value >= 0,
    'a number from 0 to 1': lambda value: 0 <= value <= 1,
    'a number above 0 and below 1': lambda value: 0 < value < 1,
}


def _group(title, *rows):
    """Flags of one group; a row is (name, default, help, allowed=.., test=..)."""
    made = []
    for name, default, text, *rest in rows:
        options = dict(allowed='any value', test=default)
        options.update(rest[0] if rest else {})
        allowed = options['allowed']
        check = _CHECKS.get(allowed) or _choice(allowed)
        made.append(Flag(title, name, default, options['test'], text, check, allowed))
    return made


def _choice(allowed):
    return lambda value: value in allowed


def _only_metarun(allowed='any value'):
    return dict(allowed=allowed, test=_ABSENT)


def _only_metatest(default, allowed='any value'):
    return dict(allowed=allowed, test=default)


_POSITIVE, _NOT_NEGATIVE = dict(allowed='a positive number'), dict(allowed='a number of at least 0')
_BELOW_ONE = dict(allowed='a number above 0 and below 1')

FLAGS = (
    _group(
        'files and data',
        ('train_dir', 'opt/', 'Folder of training runs: metarun writes there, into a folder named '
         'after the optimizer; metatest reads meta-parameters from there.'),
        ('save_dir', _ABSENT, 'Folder into which metatest writes its results.',
         _only_metatest('opt/')),
        ('mnist_source', 'auto', 'Where handwritten digits come from: mnist (a file, the cache or '
         'a download), digits (embedded in scikit-learn), or auto: mnist where it is to be had, '
         'else digits.', dict(allowed=('auto', 'mnist', 'digits'))),
        ('data_dir', '', 'Folder with mnist.npz or cifar-10-batches-py.'),
        ('seed', -1, 'Seed of everything random in the run; -1: draw one and record it.',
         _only_metarun()),
    ) + _group(
        'problems',
        ('num_problems', 1, 'How many problems are drawn from the chosen sets, one after another.',
         _POSITIVE),
        ('initial_params', 'own', 'Where optimizees start: own: the problem\'s own initial values; '
         'normal: N(0, 1), as published.', dict(allowed=('own', 'normal'), test=_ABSENT)),
        ('mini_batch_size', 10000, 'Examples on which the meta-objective is computed; all, where '
         'the data set has fewer.', _only_metarun('a positive number')),
        ('data_freeze', False, 'Keep these examples for all episodes on a problem.',
         _only_metarun()),
    ) + _group(
        'optimizer',
        ('optimizer', 'HierarchicalRNN', 'The learned optimizer: one of %s.'
         % ', '.join(OPTIMIZERS), dict(allowed=tuple(OPTIMIZERS))),
        ('cell_cls', 'GRUCell', 'Cells of CoordinatewiseRNN: %s.' % ' or '.join(rnn_cells.CELLS),
         dict(allowed=tuple(rnn_cells.CELLS))),
        ('cell_size', 20, 'Units of each cell of CoordinatewiseRNN, and of the layers of RNNProp '
         'and L2ODM.', _POSITIVE),
        ('num_cells', 2, 'Cells of CoordinatewiseRNN.', _POSITIVE),
        ('hrnn_level_sizes', [10, 20, 20], 'Units of HierarchicalRNN\'s levels: parameter, tensor, '
         'model; one to three numbers.'),
        ('min_lr', 1e-6, 'Smallest initial learning rate.', _POSITIVE),
        ('max_lr', 1e-2, 'Largest initial learning rate.', _POSITIVE),
        ('max_log_lr', 33.0, 'Bound of the log learning rate.'),
        ('zero_init_lr_weights', True, 'Learning rates do not change before meta-training.'),
        ('dynamic_output_scale', True, 'Keep a learning rate for each parameter.'),
        ('learnable_decay', True, 'Learn the decay rate of mean square gradients.'),
        ('learnable_inp_decay', True, 'Learn the decay rate of accumulated gradients.'),
        ('learnable_rnn_init', True, 'Learn the initial states of the recurrent networks.'),
        ('num_gradient_scales', 4, 'Time scales on which gradients are accumulated.', _POSITIVE),
        ('use_multiple_scale_decays', False, 'Longer time scales average squares for longer, too.'),
        ('use_gradient_shortcut', True, 'Add a linear function of the gradients to the step.'),
        ('use_grad_products', True, 'Feature: products of gradients of adjacent time scales.'),
        ('use_log_means_squared', True, 'Feature: log mean squares against their average.'),
        ('use_relative_lr', True, 'Feature: log learning rate against the mean.'),
        ('use_problem_lr_mean', True, 'That mean is over the whole model, not over the tensor.'),
        ('use_extreme_indicator', False, 'Feature: how far the learning rate leaves 1e-6 .. 1.'),
        ('use_lr_shortcut', False, 'Feature: log learning rate against 1e-3.'),
        ('use_attention', False, 'Take gradients at a point that the optimizer chooses.'),
        ('hrnn_rnn_readout_scale', 0.5, 'Spread of HierarchicalRNN\'s initial read-outs.',
         _POSITIVE),
        ('hrnn_affine_scale', 0.5, 'Spread of the initial biases from level to level.', _POSITIVE),
        ('hrnn_default_decay_var_init', 2.2, 'Initial logit of HierarchicalRNN\'s gradient decay.'),
        ('scale_decay_bias_init', 3.2, 'Initial logit of the decay of mean squares.'),
        ('learning_rate_momentum_logit_init', 3.2, 'Initial logit of the learning rates\' '
         'momentum.'),
        ('biasgrucell_scale', 0.5, 'Spread of the initial weights in HierarchicalRNN\'s cells.',
         _POSITIVE),
        ('biasgrucell_gate_bias_init', 2.2, 'Initial bias of the gates of these cells.'),
        ('crnn_rnn_readout_scale', 0.5, 'Spread of CoordinatewiseRNN\'s initial read-outs.',
         _POSITIVE),
        ('crnn_default_decay_var_init', 2.2, 'Initial logit of CoordinatewiseRNN\'s decay.'),
    ) + _group(
        'meta-objective',
        ('use_log_objective', True, 'The meta-objective is the mean log of the relative objective; '
         'else their weighted sum.'),
        ('use_numerator_epsilon', False, 'log((f + 1e-6) / (f0 + 1e-6)), not log(f / f0 + 1e-6).'),
        ('use_second_derivatives', True, 'Let the meta-gradient flow through the gradients.'),
        ('objective_training_max_multiplier', -1.0, 'End an unroll where the objective exceeds the '
         'initial one by this factor; -1: never.'),
    ) + _group(
        'meta-training',
        ('num_meta_iterations', 5, 'Episodes on each problem.', _POSITIVE),
        ('fix_unroll', False, 'Unrolls of fixed length and number; else both are drawn from '
         'exponential distributions.', _only_metarun()),
        ('fix_unroll_length', 20, 'Steps of a fixed unroll.', _only_metarun('a positive number')),
        ('fix_num_steps', 100, 'Steps of an episode of fixed unrolls without curriculum.',
         _only_metarun('a positive number')),
        ('fix_num_steps_eval', 100, 'Steps of a validation without curriculum.',
         _only_metarun('a positive number')),
        ('min_num_unrolls', 10, 'Fewest unrolls of an episode, where drawn.',
         dict(allowed='a positive number', test=4)),
        ('num_unroll_scale', 40, 'How many more are expected.',
         dict(allowed='a positive number', test=10)),
        ('min_num_itr_partial_unroll', 10, 'Fewest steps of an unroll, where drawn.', _POSITIVE),
        ('num_partial_unroll_itr_scale', 20, 'How many more are expected.',
         dict(allowed='a positive number', test=50)),
        ('reset_rnn_params', True, 'Begin every episode with fresh optimizer state.'),
        ('meta_optimizer', 'rmsprop', 'Optimizer of the meta-parameters.',
         dict(allowed=tuple(metaopt.META_OPTIMIZERS), test=_ABSENT)),
        ('meta_learning_rate', 1e-6, 'Its learning rate.', _POSITIVE),
        ('rms_decay', 0.9, 'RMSProp\'s decay.', _BELOW_ONE),
        ('rms_epsilon', 1e-20, 'RMSProp\'s epsilon.', _NOT_NEGATIVE),
        ('gradient_clip_level', 10000.0, 'Bound of the meta-gradient\'s norm; 0: none.',
         _NOT_NEGATIVE),
        ('l2_reg', 0.0, 'Weight of half the squared norm of the meta-parameters, in units of '
         '--l2_reg_scale.', _NOT_NEGATIVE),
        ('l2_reg_scale', 1e-3, 'Unit of --l2_reg.', _NOT_NEGATIVE),
        ('nan_l2_reg', 0.01, 'Where a meta-gradient is not finite, this times the meta-parameter '
         'stands in for it.', _NOT_NEGATIVE),
        ('evaluation_period', 1, 'Meta-iterations from one validation to the next.',
         _only_metarun('a positive number')),
        ('evaluation_epochs', 20, 'Initial values and batch orders of a validation.',
         _only_metarun('a positive number')),
        ('save_period', 1, 'Meta-iterations from one saving to the next.',
         _only_metarun('a positive number')),
    ) + _group(
        'curriculum',
        ('if_cl', False, 'Curriculum: episodes grow longer, stage by stage.', _only_metarun()),
        ('cl_steps', list(curricula.PUBLISHED_STAGES), 'Steps of an episode in each stage.',
         _only_metarun()),
        ('cl_patience', 3, 'Validations without improvement after which a stage is left.',
         _only_metarun('a positive number')),
    ) + _group(
        'imitation',
        ('if_mt', False, 'Imitation: some unrolls learn from a teacher\'s steps.',
         _only_metarun()),
        ('mt_ratio', 0.1, 'Which share of the unrolls does.',
         _only_metarun('a number from 0 to 1')),
        ('mt_k', 1, 'How many of the teacher\'s steps make one of the student\'s.',
         _only_metarun('a positive number')),
        ('mt_teacher', 'adam', 'The teacher.', _only_metarun(tuple(imitation.TEACHERS))),
        ('mt_learning_rate', 0.01, 'Its learning rate.', _only_metarun('a positive number')),
    ) + _group(
        'regularization',
        ('reg_optimizer', False, 'Add --alpha times the penalty to the meta-objective.',
         _only_metarun()),
        ('reg_optimizee', False, 'Add --beta times the penalty to the objective that is optimized.',
         _only_metarun()),
        ('reg_option', 'hessian', 'The penalty: hessian: trace; hessian-ev: largest eigenvalue; '
         'hessian-esd: mean absolute eigenvalue; jacob: squared norm of the gradient.',
         _only_metarun(tuple(sorted(regularization.MEASURES)))),
        ('alpha', 5e-4, 'Weight of the penalty in the meta-objective.',
         _only_metarun('a number of at least 0')),
        ('beta', 1e-4, 'Weight of the penalty in the objective that is optimized.',
         _only_metarun('a number of at least 0')),
        ('regularize_time', 'posterior', 'When the penalty counts: prior: in the first share of an '
         'episode\'s unrolls; posterior: in the rest; none: never; always.',
         _only_metarun(regularization.TIMES)),
        ('reg_scale', 0.5, 'That share.', _only_metarun('a number from 0 to 1')),
        ('hessian_itrs', 10, 'Random draws, products or Lanczos steps of the Hessian\'s penalty.',
         _only_metarun('a positive number')),
    ) + _group(
        'evaluation',
        ('test_optimizer', _ABSENT, 'What metatest runs, a comma-separated list: %s, the learned '
         'optimizer, and %s.' % (comparison.LEARNED, ', '.join(comparison.HAND_TUNED)),
         _only_metatest([comparison.LEARNED])),
        ('learning_rates', _ABSENT, 'Learning rates that each hand-tuned optimizer is tried with.',
         _only_metatest(list(comparison.LEARNING_RATES))),
        ('num_testing_itrs', _ABSENT, 'Steps of a test.', _only_metatest(100, 'a positive number')),
        ('seeds', _ABSENT, 'Seeds of the initial values and batches of each run.',
         _only_metatest([6, 12, 18, 24, 30])),
        ('model_name', _ABSENT, 'Name of the tested model in file names.', _only_metatest('mt')),
        ('restore_model_name', _ABSENT, 'Checkpoint in the run folder; empty: model.ckpt-0, or the '
         'latest.', _only_metatest('')),
    ) + _group(
        'machine',
        ('set_profiling', False, 'Write a timeline of some steps for chrome://tracing.'),
        ('xla', False, 'Compile with XLA.'),
        ('ps_tasks', 0, 'Parameter servers; 0: train on this machine alone.', _NOT_NEGATIVE),
        ('worker_tasks', 1, 'Workers.', _POSITIVE),
        ('task', 0, 'Index of this worker.', _NOT_NEGATIVE),
    ))


def define(script, flag_values=absl_flags.FLAGS):
    """Defines the flags of `METARUN` or `METATEST`."""
    for flag in FLAGS:
        default = flag.default if script == METARUN else flag.test_default
        if default is not _ABSENT:
            _define(flag, default, flag_values)
    for name, problem_set in problem_sets.PROBLEM_SETS.items():
        absl_flags.DEFINE_boolean('include_%s_problems' % name, False, problem_set.help,
                                  flag_values=flag_values)


def _define(flag, default, flag_values):
    kinds = {bool: absl_flags.DEFINE_boolean, int: absl_flags.DEFINE_integer,
             float: absl_flags.DEFINE_float, str: absl_flags.DEFINE_string, list: _define_list}
    kinds[type(default)](flag.name, default, flag.help, flag_values=flag_values)
    allowed = flag.allowed if isinstance(flag.allowed, str) else 'one of ' + ', '.join(flag.allowed)
    absl_flags.register_validator(flag.name, flag.check, 'must be ' + allowed,
                                  flag_values=flag_values)


def _define_list(name, default, text, flag_values):
    parser = _ListParser(type(default[0]))
    absl_flags.DEFINE(parser, name, ','.join(map(str, default)), text, flag_values=flag_values,
                      serializer=absl_flags.CsvListSerializer(','))


class _ListParser(absl_flags.ArgumentParser):
    """Parses a comma-separated list of names or of positive numbers."""

    def __init__(self, kind):
        self._kind = kind
        noun = {str: 'names', int: 'positive whole numbers', float: 'positive numbers'}[kind]
        self.syntactic_help = 'a comma-separated list of %s' % noun

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        try:
            values = [self._kind(word.strip()) for word in argument.split(',')]
        except ValueError:
            values = []
        if not all(values) or not values or (self._kind is not str and min(values) <= 0):
            raise ValueError('must be ' + self.syntactic_help)
        return values


# What is made from the flags.


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
        raise FlagError('--hrnn_level_sizes takes one to three numbers')
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


def optimizer_spec(values, seed=None):
    """The `Spec` of the learned optimizer."""
    name, arguments = optimizer_config(values)
    return Spec(OPTIMIZERS[name], (), dict(arguments, random_seed=seed))


def chosen_sets(values):
    """Names of the problem sets that the flags include."""
    chosen = [name for name in problem_sets.PROBLEM_SETS
              if getattr(values, 'include_%s_problems' % name)]
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


def curriculum(values):
    """The `Curriculum`; without `--if_cl` one stage of fixed length."""
    if not values.if_cl:
        return curricula.Curriculum.fixed(values.fix_num_steps, values.fix_num_steps_eval)
    try:
        return curricula.Curriculum(values.cl_steps, values.cl_patience)
    except ValueError as error:
        raise FlagError('--cl_steps: %s' % error) from error


def unroll_functions(values, rng):
    """The functions that draw the number of unrolls (None: by the curriculum) and their lengths."""
    if values.fix_unroll:
        return None, lambda: values.fix_unroll_length

    def draw(scale, least):
        return lambda: metaopt.sample_numiter(scale, least, rng)

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


def meta_optimizer(values):
    """The `MetaOptimizer`."""
    return metaopt.MetaOptimizer(values.meta_optimizer, values.rms_decay, values.rms_epsilon,
                                 values.l2_reg, values.l2_reg_scale, values.nan_l2_reg)


def checkpoint(values):
    """The checkpoint that metatest evaluates.

    Raises:
      FlagError: there is no such folder or checkpoint.
    """
    folder = run_folder(values)
    if not os.path.isdir(folder):
        raise FlagError('--train_dir: there is no run in %s (its name is made of --optimizer, '
                        '--cell_cls, --cell_size and --num_cells)' % folder)
    names = [values.restore_model_name] if values.restore_model_name else [
        metaopt.BEST_CHECKPOINT + '-0', os.path.basename(tf.train.latest_checkpoint(folder) or '')]
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
        except ValueError as error:
            raise FlagError(str(error)) from error


def as_dict(values, script):
    """The values of the script's own flags, without the problem sets that were not chosen."""
    names = [flag.name for flag in FLAGS
             if (flag.default if script == METARUN else flag.test_default) is not _ABSENT]
    included = {'include_%s_problems' % name: True for name in chosen_sets(values)}
    return dict({name: getattr(values, name) for name in names}, **included)


# The scripts' frame.


def run_script(script, main):
    """Parses the command line, sets TensorFlow up and runs `main(flag values)`.

    What the user can mend (flags, files) ends with one line on stderr and exit status 2.
    """
    define(script)
    values = absl_flags.FLAGS
    app.run(lambda _: _run(script, main, values), flags_parser=lambda args: _parse(script, args))


def _parse(script, args):
    try:
        rest = absl_flags.FLAGS(args)[1:]
        if rest:
            raise FlagError('what is %r? every argument is --flag=value' % rest[0])
    except (absl_flags.Error, FlagError) as error:
        fail(script, error)
    return args[:1]


def _run(script, main, values):
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    try:
        main(values)
    except (FlagError, DataError) as error:
        fail(script, error)


def fail(script, error):
    """Ends the process: one line on stderr, exit status 2."""
    sys.stderr.write('%s: %s\n' % (script, ' '.join(str(error).split())))
    sys.exit(2)
