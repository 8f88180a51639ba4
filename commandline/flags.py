"""The flags of metarun.py and metatest.py.

Every flag is a row of the table `FLAGS`. Names and defaults are those of the published scripts.
Flags `--include_<set>_problems` come from the table of problem sets.
"""

import collections
import math
import sys
import unicodedata

import numpy as np
from absl import flags as absl_flags

import metaopt
from evaluation import comparison
from optimizer import OPTIMIZERS, rnn_cells
from problems import problem_sets
from techniques import curriculum as curricula
from techniques import imitation, regularization

METARUN, METATEST = 'metarun', 'metatest'


class FlagError(ValueError):
    """Flags that don't go together or don't fit what is on disk; the message is one clear line."""


#: A flag. `defaults` is a dict from the scripts that have it to its default there; `allowed` names
#: the values it takes (each element, if it is a list): a key of `CHECKS` or a tuple of choices;
#: `idle` names the scripts in which it has no effect: it is there for published command lines.
Flag = collections.namedtuple('Flag', 'name defaults help allowed idle')

ANY, POSITIVE, NOT_NEGATIVE = 'any value', 'a positive number', 'a number of at least 0'
SHARE, BELOW_ONE = 'a number from 0 to 1', 'a number above 0 and below 1'
UP_TO_ONE = 'a number above 0, at most 1'
SIZE, FEW = 'a whole number from 1 to 4096', 'a whole number from 1 to 100'
MULTIPLIER = 'at most 0 or a number of at least 1'
FOLDER, TEXT = 'the name of a folder', 'text without control characters'
NAME, NAME_OR_NONE = 'a word of at most 100 bytes without /', 'empty or the name of a checkpoint'
SEED, SEED_OR_DRAW = 'a whole number from 0 to 2^31 - 1', 'a whole number from -1 to 2^31 - 1'

CHECKS = {
    ANY: lambda value: True,
    POSITIVE: lambda value: value > 0,
    NOT_NEGATIVE: lambda value: value >= 0,
    SHARE: lambda value: 0 <= value <= 1,
    BELOW_ONE: lambda value: 0 < value < 1,
    UP_TO_ONE: lambda value: 0 < value <= 1,
    SIZE: lambda value: 1 <= value <= 4096,
    FEW: lambda value: 1 <= value <= 100,
    MULTIPLIER: lambda value: value <= 0 or value >= 1,
    FOLDER: bool,
    TEXT: lambda value: True,
    NAME: lambda value: value and '/' not in value and len(value.encode()) <= 100,
    NAME_OR_NONE: lambda value: '/' not in value,
    SEED: lambda value: 0 <= value < 2 ** 31,
    SEED_OR_DRAW: lambda value: -1 <= value < 2 ** 31,
}


def _both(name, default, text, allowed=ANY, test_default=None):
    """A flag of both scripts; its default in metatest may differ."""
    test_default = default if test_default is None else test_default
    return Flag(name, {METARUN: default, METATEST: test_default}, text, allowed, ())


def _training(name, default, text, allowed=ANY, test_default=None):
    """A flag of both scripts that only meta-training heeds."""
    return _both(name, default, text, allowed, test_default)._replace(idle=(METATEST,))


def _nowhere(*arguments):
    """A flag of both scripts that neither heeds yet."""
    return _both(*arguments)._replace(idle=(METARUN, METATEST))


def _metarun(name, default, text, allowed=ANY):
    return Flag(name, {METARUN: default}, text, allowed, ())


def _metatest(name, default, text, allowed=ANY):
    return Flag(name, {METATEST: default}, text, allowed, ())


#: Title -> the flags of a group.
GROUPS = collections.OrderedDict([
    ('files and data', [
        _both('train_dir', 'opt/', 'Folder of training runs: metarun writes into a folder there '
              'that is named after the optimizer; metatest reads meta-parameters from it.',
              FOLDER),
        _metatest('save_dir', 'opt/', 'Folder into which metatest writes its results.', FOLDER),
        _both('mnist_source', 'auto', 'Where handwritten digits come from: mnist (a file, the '
              'cache or a download), digits (embedded in scikit-learn), or auto: mnist where it '
              'is to be had, else digits.', ('auto', 'mnist', 'digits')),
        _both('data_dir', '', 'Folder with mnist.npz or cifar-10-batches-py.', TEXT),
        _metarun('seed', -1, 'Seed of everything random in the run; -1: draw one and record it.',
                 SEED_OR_DRAW),
    ]),
    ('problems', [
        _training('num_problems', 1, 'How many problems are drawn from the chosen sets, one after '
                  'another.', POSITIVE),
        _metarun('initial_params', 'own', 'Where optimizees start: own: the problem\'s own initial '
                 'values; normal: N(0, 1), as published.', ('own', 'normal')),
        _metarun('mini_batch_size', 10000, 'Examples on which the meta-objective is computed; all, '
                 'where the data set has fewer.', POSITIVE),
        _metarun('data_freeze', False, 'Keep these examples for all episodes on a problem; else '
                 'each episode draws its own.'),
    ]),
    ('optimizer', [
        _both('optimizer', 'HierarchicalRNN', 'The learned optimizer: one of %s.'
              % ', '.join(OPTIMIZERS), tuple(OPTIMIZERS)),
        _both('cell_cls', 'GRUCell', 'Cells of CoordinatewiseRNN: %s.'
              % ' or '.join(rnn_cells.CELLS), tuple(rnn_cells.CELLS)),
        _both('cell_size', 20, 'Units of each cell of CoordinatewiseRNN, and of the layers of '
              'RNNProp and L2ODM.', SIZE),
        _both('num_cells', 2, 'Cells of CoordinatewiseRNN, one upon the other.', FEW),
        _both('hrnn_level_sizes', [10, 20, 20], 'Units of HierarchicalRNN\'s levels: parameter, '
              'tensor, model; one to three numbers.', SIZE),
        _both('min_lr', 1e-6, 'Smallest initial learning rate.', POSITIVE),
        _both('max_lr', 1e-2, 'Largest initial learning rate; where there is only one, that one.',
              POSITIVE),
        _both('max_log_lr', 33.0, 'Bound of HierarchicalRNN\'s log learning rates.', POSITIVE),
        _both('zero_init_lr_weights', True, 'Learning rates do not change before meta-training.'),
        _both('dynamic_output_scale', True, 'Keep a learning rate for each parameter.'),
        _both('learnable_decay', True, 'Learn the decay rate of mean square gradients.'),
        _both('learnable_inp_decay', True, 'Learn the decay rate of accumulated gradients.'),
        _both('learnable_rnn_init', True, 'Learn the initial states of the recurrent networks.'),
        _both('num_gradient_scales', 4, 'Time scales on which gradients are accumulated.',
              FEW),
        _both('use_multiple_scale_decays', False, 'Average squares for longer on longer time '
              'scales.'),
        _both('use_gradient_shortcut', True, 'Add a linear function of the gradients to the step.'),
        _both('use_grad_products', True, 'Feature: products of gradients of adjacent time scales.'),
        _both('use_log_means_squared', True, 'Feature: log mean squares against their average.'),
        _both('use_relative_lr', True, 'Feature: log learning rate against the mean.'),
        _both('use_problem_lr_mean', True, 'That mean is over the whole model, not over the '
              'tensor.'),
        _both('use_extreme_indicator', False, 'Feature: how far the learning rate leaves '
              '1e-6 .. 1.'),
        _both('use_lr_shortcut', False, 'Feature: log learning rate against 1e-3.'),
        _both('use_attention', False, 'Take gradients at a point that the optimizer chooses.'),
        _both('hrnn_rnn_readout_scale', 0.5, 'Spread of HierarchicalRNN\'s initial read-outs.',
              POSITIVE),
        _both('hrnn_affine_scale', 0.5, 'Spread of the initial biases from level to level.',
              POSITIVE),
        _both('hrnn_default_decay_var_init', 2.2, 'Initial logit of HierarchicalRNN\'s gradient '
              'decay.'),
        _both('scale_decay_bias_init', 3.2, 'Initial logit of the decay of mean squares.'),
        _both('learning_rate_momentum_logit_init', 3.2, 'Initial logit of the learning rates\' '
              'momentum.'),
        _both('biasgrucell_scale', 0.5, 'Spread of the initial weights in HierarchicalRNN\'s '
              'cells.', POSITIVE),
        _both('biasgrucell_gate_bias_init', 2.2, 'Initial bias of the gates of these cells.'),
        _both('crnn_rnn_readout_scale', 0.5, 'Spread of CoordinatewiseRNN\'s initial read-outs.',
              POSITIVE),
        _both('crnn_default_decay_var_init', 2.2, 'Initial logit of CoordinatewiseRNN\'s decay.'),
    ]),
    ('meta-objective', [
        _training('use_log_objective', True, 'The meta-objective is the mean log of the relative '
                  'objective; else the weighted sum of the relative objectives.'),
        _training('use_numerator_epsilon', False, 'log((f + 1e-6) / (f0 + 1e-6)) in place of '
                  'log(f / f0 + 1e-6).'),
        _training('use_second_derivatives', True, 'Let the meta-gradient flow through the '
                  'gradients.'),
        _training('objective_training_max_multiplier', -1.0, 'End an unroll where the objective '
                  'exceeds the initial one by this factor; at most 0: never.', MULTIPLIER),
    ]),
    ('meta-training', [
        _training('num_meta_iterations', 5, 'Episodes on each problem.', POSITIVE),
        _metarun('fix_unroll', False, 'Unrolls of fixed length and number; else both are drawn '
                 'from exponential distributions (with --if_cl only the length is).'),
        _metarun('fix_unroll_length', 20, 'Steps of a fixed unroll.', POSITIVE),
        _metarun('fix_num_steps', 100, 'Steps of an episode of fixed unrolls without curriculum.',
                 POSITIVE),
        _metarun('fix_num_steps_eval', 100, 'Steps of a validation without curriculum.', POSITIVE),
        _training('min_num_unrolls', 10, 'Fewest unrolls of an episode, where drawn.', POSITIVE, 4),
        _training('num_unroll_scale', 40, 'How many more are expected.', POSITIVE, 10),
        _training('min_num_itr_partial_unroll', 10, 'Fewest steps of an unroll, where drawn.',
                  POSITIVE),
        _training('num_partial_unroll_itr_scale', 20, 'How many more are expected.', POSITIVE, 50),
        _training('reset_rnn_params', True, 'Begin every episode with fresh optimizer state.'),
        _metarun('meta_optimizer', 'rmsprop', 'Optimizer of the meta-parameters.',
                 tuple(metaopt.META_OPTIMIZERS)),
        _training('meta_learning_rate', 1e-6, 'Its learning rate.', POSITIVE),
        _metarun('meta_learning_rate_decay', 1.0, 'The factor by which its learning rate falls, '
                 'exponentially, in --meta_learning_rate_decay_steps; 1: not at all.', UP_TO_ONE),
        _metarun('meta_learning_rate_decay_steps', 1000, 'Unrolls in which it falls by this '
                 'factor.', POSITIVE),
        _training('rms_decay', 0.9, 'RMSProp\'s decay.', BELOW_ONE),
        _training('rms_epsilon', 1e-20, 'RMSProp\'s epsilon.', POSITIVE),
        _training('gradient_clip_level', 10000.0, 'Bound of the meta-gradient\'s norm; 0: none.',
                  NOT_NEGATIVE),
        _training('l2_reg', 0.0, 'Weight of half the squared norm of the meta-parameters, in units '
                  'of --l2_reg_scale.', NOT_NEGATIVE),
        _training('l2_reg_scale', 1e-3, 'Unit of --l2_reg.', NOT_NEGATIVE),
        _training('nan_l2_reg', 0.01, 'Where a meta-gradient is not finite, this times the '
                  'meta-parameter stands in for it.', NOT_NEGATIVE),
        _metarun('evaluation_period', 1, 'Meta-iterations from one validation to the next.',
                 POSITIVE),
        _metarun('evaluation_epochs', 20, 'Initial values and batch orders of a validation.',
                 POSITIVE),
        _metarun('save_period', 1, 'Meta-iterations from one saving of the run\'s state to the '
                 'next.', POSITIVE),
        _metarun('keep_checkpoints', 1, 'How many of the latest saved meta-parameters are kept, as '
                 'model.ckpt-<meta-iterations done>, beside the best, model.ckpt-0; '
                 '--restore_model_name of metatest opens them.', NOT_NEGATIVE),
        _metarun('overwrite', False, 'Begin anew where the run folder holds a run; else go on with '
                 'that run.'),
        _metarun('random_scaling', False, 'Train in coordinates of random size, as RNNProp was.'),
    ]),
    ('curriculum', [
        _metarun('if_cl', False, 'Curriculum: episodes grow longer, stage by stage.'),
        _metarun('cl_steps', list(curricula.PUBLISHED_STAGES), 'Steps of an episode in each '
                 'stage, increasing.', POSITIVE),
        _metarun('cl_patience', 3, 'Validations without improvement after which a stage is left.',
                 POSITIVE),
    ]),
    ('imitation', [
        _metarun('if_mt', False, 'Imitation: some unrolls learn from a teacher\'s steps.'),
        _metarun('mt_ratio', 0.1, 'Which share of the unrolls does.', SHARE),
        _metarun('mt_k', 1, 'How many of the teacher\'s steps make one of the student\'s.',
                 POSITIVE),
        _metarun('mt_teacher', 'adam', 'The teacher: %s.' % ', '.join(imitation.TEACHERS),
                 tuple(imitation.TEACHERS)),
        _metarun('mt_learning_rate', 0.01, 'The teacher\'s learning rate.', POSITIVE),
    ]),
    ('regularization', [
        _metarun('reg_optimizer', False, 'Add --alpha times the penalty, summed over an unroll\'s '
                 'steps, to the meta-objective.'),
        _metarun('reg_optimizee', False, 'Add --beta times the penalty to the objective that is '
                 'optimized.'),
        _metarun('reg_option', 'hessian', 'The penalty: hessian: trace; hessian-ev: largest '
                 'eigenvalue; hessian-esd: sum of the Lanczos eigenvalues; hessian-esd-mean-abs: '
                 'mean absolute eigenvalue; jacob: mean squared entry of the gradient; '
                 'jacob-norm: squared norm of the gradient.',
                 tuple(sorted(regularization.MEASURES))),
        _metarun('alpha', 5e-4, 'Weight of the penalty in the meta-objective.', NOT_NEGATIVE),
        _metarun('beta', 1e-4, 'Weight of the penalty in the objective that is optimized.',
                 NOT_NEGATIVE),
        _metarun('regularize_time', 'posterior', 'When the penalty counts: prior: in the first '
                 'share of an episode\'s unrolls, see --reg_scale; posterior: in the rest; none: '
                 'never; always.',
                 regularization.TIMES),
        _metarun('reg_scale', 0.5, 'Of n unrolls of an episode, those up to number int(n * '
                 'reg_scale + 1), counted from 0, are prior for --regularize_time.', SHARE),
        _metarun('hessian_itrs', 10, 'Random draws, products or Lanczos steps of the Hessian\'s '
                 'penalty.', POSITIVE),
    ]),
    ('evaluation', [
        _metatest('test_optimizer', [comparison.LEARNED], 'What metatest runs, a comma-separated '
                  'list: %s, the learned optimizer, and %s.' % (
                      comparison.LEARNED, ', '.join(comparison.HAND_TUNED)),
                  (comparison.LEARNED,) + tuple(comparison.HAND_TUNED)),
        _metatest('learning_rates', list(comparison.LEARNING_RATES), 'Learning rates with which '
                  'each hand-tuned optimizer is tried.', POSITIVE),
        _metatest('inspect', False, 'Draw for each problem what the learned optimizer does inside: '
                  'learning rates, norms of steps and gradients, the angle between them.'),
        _metatest('num_testing_itrs', 100, 'Steps of a test.', POSITIVE),
        _metatest('seeds', [6, 12, 18, 24, 30], 'Seeds of the initial values and batches: each '
                  'optimizer runs once for each.', SEED),
        _metatest('model_name', 'mt', 'Name of the tested model in file names.', NAME),
        _metatest('restore_model_name', '', 'Checkpoint in the run folder; empty: model.ckpt-0, or '
                  'else the latest.', NAME_OR_NONE),
    ]),
    ('reports', [
        _both('quiet', False, 'Write nothing but errors.'),
        _metarun('summary_period', 0, 'Unrolls from one report for TensorBoard to the next, in the '
                 'run folder; 0: none.', NOT_NEGATIVE),
        _training('set_profiling', False, 'Write a timeline of one unroll into the run folder, for '
                  'chrome://tracing.'),
    ]),
    ('machine', [
        _metarun('checkpoint_every', 0, 'Keep what the meta-gradient needs only at every so many '
                 'steps of an unroll and compute the rest anew: less memory, more time. The square '
                 'root of the unroll\'s length is a good choice; 0: keep everything.',
                 NOT_NEGATIVE),
        _metarun('swap_memory', False, 'Where there is a GPU, keep what the meta-gradient needs '
                 'in main memory; with version-1 control flow, which alone can do that. No effect '
                 'on a CPU but for that.'),
        _both('xla', False, 'Compile the learned optimizer\'s update rule with XLA, which takes '
              'seconds; steps then take less time. TensorFlow 2 only.'),
        _metarun('ps_hosts', '', 'Parameter servers of a cluster, host:port,host:port,...; empty: '
                 'train on this machine alone. For trusted networks only: whoever reaches a port '
                 'may run anything there.', TEXT),
        _metarun('worker_hosts', '', 'Workers of the cluster, as --ps_hosts; the first is the '
                 'chief, which validates and saves.', TEXT),
        _metarun('job_name', 'worker', 'What this process is in the cluster: ps or worker.',
                 ('ps', 'worker')),
        _training('task', 0, 'Index of this process in its list of hosts.', NOT_NEGATIVE),
        _metarun('cluster_timeout', 60, 'Seconds that a process waits for others of the cluster.',
                 POSITIVE),
        _training('ps_tasks', 0, 'How many parameter servers; --ps_hosts says so, too.',
                  NOT_NEGATIVE),
        _training('worker_tasks', 1, 'How many workers; --worker_hosts says so, too.', POSITIVE),
    ]),
])

#: Flags that may differ where a run goes on.
FREE = ('train_dir', 'data_dir', 'seed', 'save_period', 'keep_checkpoints', 'overwrite', 'quiet',
        'summary_period', 'set_profiling', 'ps_hosts', 'worker_hosts', 'job_name', 'task',
        'cluster_timeout', 'ps_tasks', 'worker_tasks')

#: All flags.
FLAGS = [flag for group in GROUPS.values() for flag in group]


def define(script, flag_values=absl_flags.FLAGS):
    """Defines the flags of `METARUN` or `METATEST`."""
    for flag in FLAGS:
        if script in flag.defaults:
            _define(flag, script, flag_values)
    for name, problem_set in problem_sets.PROBLEM_SETS.items():
        absl_flags.DEFINE_boolean(include(name), False, problem_set.help, flag_values=flag_values,
                                  module_name=sys.argv[0])


def include(name):
    """The flag that includes a problem set."""
    return 'include_%s_problems' % name


def _define(flag, script, flag_values):
    default, text = flag.defaults[script], flag.help
    if script in flag.idle:
        text += ' (No effect in %s.)' % script
    definers = {bool: absl_flags.DEFINE_boolean, int: absl_flags.DEFINE_integer,
                float: absl_flags.DEFINE_float, str: absl_flags.DEFINE_string, list: _define_list}
    definers[type(default)](flag.name, default, text, flag_values=flag_values,
                            module_name=sys.argv[0])
    absl_flags.register_validator(flag.name, lambda value: _allows(flag, value),
                                  'must be ' + _allowed_in_words(flag, default),
                                  flag_values=flag_values)


def _allows(flag, value):
    """Whether a value, or each element of a list, is allowed, as what TensorFlow makes of it."""
    if isinstance(value, list):
        return all(_allows(flag, element) for element in value)
    if isinstance(flag.allowed, tuple):
        return value in flag.allowed
    if isinstance(value, str):
        return _is_text(value) and bool(CHECKS[flag.allowed](value))
    if isinstance(value, float):
        value = _as_float32(value)
    return math.isfinite(value) and abs(value) < 2 ** (31 if isinstance(value, int) else 128) and (
        CHECKS[flag.allowed](value))


def _as_float32(value):
    """The nearest float32, as a float; those that TensorFlow takes for 0 are."""
    with np.errstate(over='ignore', under='ignore'):
        rounded = float(np.float32(value))
    return 0.0 if abs(rounded) < np.finfo(np.float32).tiny else rounded


def _is_text(value):
    """Whether files can be named so: valid Unicode without control characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return all(unicodedata.category(character) != 'Cc' for character in value)


def _allowed_in_words(flag, default):
    words = flag.allowed
    if isinstance(words, tuple):
        words = 'one of ' + ', '.join(words)
    elif words == ANY:
        words = 'a finite number'
    return 'a list, each element ' + words if isinstance(default, list) else words


def _define_list(name, default, text, **options):
    absl_flags.DEFINE(_ListParser(type(default[0])), name, ','.join(map(str, default)), text,
                      serializer=absl_flags.CsvListSerializer(','), **options)


class _ListParser(absl_flags.ArgumentParser):
    """Parses a comma-separated list of at least one word or number."""

    def __init__(self, kind):
        noun = {str: 'words', int: 'whole numbers', float: 'numbers'}[kind]
        self._kind, self.syntactic_help = kind, 'a comma-separated list of %s' % noun

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        words = [word.strip() for word in argument.split(',')]
        try:
            if all(words):
                return [self._kind(word) for word in words]
        except ValueError:
            pass
        raise ValueError('must be ' + self.syntactic_help)
