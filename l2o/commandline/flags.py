"""The flags of metarun.py and metatest.py.

Every flag is a row of the table `FLAGS`. Names and defaults are those of the published scripts.
Flags `--include_<set>_problems` come from the table of problem sets.
"""

import collections
import difflib
import math
import sys
import unicodedata
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

import numpy as np
from absl import flags as absl_flags
from absl.flags import FlagValues

from l2o.evaluation import rules
from l2o.metatraining import meta_step, validation
from l2o.techniques import curriculum as curricula
from l2o.techniques import imitation, random_scaling, regularization
from optimizer import OPTIMIZERS, inner_loop, rnn_cells
from optimizer.hierarchical_rnn import PRESET
from problems import image_files, problem_sets

METARUN, METATEST = 'metarun', 'metatest'


class FlagError(ValueError):
    """Flags that don't go together or don't fit what is on disk; the message is one clear line."""


class Flag(NamedTuple):
    """A row of the table."""

    name: str
    defaults: Dict[str, Any]  # script -> default there; a script that is no key lacks the flag
    help: str  # one or more sentences that can be read alone: absl sorts flags by name
    allowed: Any  # values that are allowed (elements of a list): a key of `CHECKS`, or choices
    idle: Tuple[str, ...]  # scripts that have the flag for published command lines only


ANY, POSITIVE, NOT_NEGATIVE = 'any value', 'a positive number', 'a number of at least 0'
SHARE, BELOW_ONE = 'a number from 0 to 1', 'a number above 0 and below 1'
UP_TO_ONE, FROM_ZERO_BELOW_ONE = 'a number above 0, at most 1', 'a number from 0, below 1'
SIZE, FEW = 'a whole number from 1 to 4096', 'a whole number from 1 to 100'
ALL_OR_NUMBER = '-1 or a whole number of at least 0'
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
    FROM_ZERO_BELOW_ONE: lambda value: 0 <= value < 1,
    SIZE: lambda value: 1 <= value <= 4096,
    FEW: lambda value: 1 <= value <= 100,
    ALL_OR_NUMBER: lambda value: value >= -1,
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
    """A flag of both scripts that has no effect in metatest."""
    return _both(name, default, text, allowed, test_default)._replace(idle=(METATEST,))


def _nowhere(name, default, text, allowed=ANY):
    """A flag of both scripts that has no effect in either."""
    return _both(name, default, text, allowed)._replace(idle=(METARUN, METATEST))


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
        _metatest('save_dir', 'opt/', 'Folder into which metatest writes results. What '
                  'has been run is kept there, in runs/, and not run again.', FOLDER),
        _both('image_source', 'auto', 'Origin of images of 28 x 28: mnist, handwritten digits (a '
              'file, the cache or a download); digits, embedded in scikit-learn; fashion, clothes '
              '(files, the cache or a download); or auto: mnist where it is to be had, else '
              'digits.', image_files.IMAGE_SOURCES),
        _both('mnist_source', 'auto', 'Former name of image_source; auto leaves the choice to '
              'image_source.', ('auto', 'mnist', 'digits')),
        _both('text_file', '', 'File of text (UTF-8) for language models to learn; empty: the '
              'reference of the Python language, a part of the interpreter.', TEXT),
        _both('data_dir', '', 'Folder with mnist.npz, cifar-10-batches-py, or the idx files of '
              'Fashion-MNIST.', TEXT),
        _metarun('seed', -1, 'Seed of everything random in the run; -1: a seed is drawn and '
                 'recorded.', SEED_OR_DRAW),
        _both('overwrite', False, 'Begin anew where the folder of metarun holds a run, or that of '
              'metatest results of the same tests; else go on with these.'),
    ]),
    ('problems', [
        _training('num_problems', 1, 'Number of problems that are drawn from the chosen sets, one '
                  'after another.', POSITIVE),
        _metarun('problems_at_once', 1, 'Number of problems in each draw: they share a graph, and '
                 'each episode is on one of them.', POSITIVE),
        _metarun('initial_params', 'own', 'Initial values of optimizees: own: those that the '
                 'problem defines; normal: N(0, 1), as published.', ('own', 'normal')),
        _metarun('mini_batch_size', 10000, 'Number of examples on which the meta-objective is '
                 'computed; all, where the data set has fewer.', POSITIVE),
        _metarun('data_freeze', False, 'Compute the meta-objective on the same examples in all '
                 'episodes on a problem; else each episode draws examples anew.'),
    ]),
    ('optimizer', [
        _both('optimizer', 'HierarchicalRNN', 'The learned optimizer: one of %s.'
              % ', '.join(OPTIMIZERS), tuple(OPTIMIZERS)),
        _both('cell_cls', 'GRUCell', 'Class of the cells of CoordinatewiseRNN: %s.'
              % ' or '.join(rnn_cells.CELLS), tuple(rnn_cells.CELLS)),
        _both('cell_size', 20, 'Units of each cell of CoordinatewiseRNN, and of the layers of '
              'RNNProp and L2ODM.', SIZE),
        _both('num_cells', 2, 'Number of cells of CoordinatewiseRNN, one upon the other.', FEW),
        _both('hrnn_level_sizes', list(PRESET['level_sizes']), 'Units of the levels of '
              'HierarchicalRNN: parameter, tensor, model; one to three numbers.', SIZE),
        _both('min_lr', 1e-6, 'Smallest initial learning rate of a parameter.', POSITIVE),
        _both('max_lr', 1e-2, 'Largest initial learning rate of a parameter; for optimizers with '
              'a single learning rate, its initial value.', POSITIVE),
        _both('max_log_lr', 33.0, 'Upper bound of the log learning rates of HierarchicalRNN.'),
        _both('zero_init_lr_weights', True, 'Start the read-out of learning rates at 0: learning '
              'rates do not change before meta-training.'),
        _both('dynamic_output_scale', True, 'Keep a learning rate for each parameter.'),
        _both('learnable_decay', True, 'Learn the decay rate of mean square gradients.'),
        _both('learnable_inp_decay', True, 'Learn the decay rate of accumulated gradients.'),
        _both('learnable_rnn_init', True, 'Learn the initial states of the recurrent networks.'),
        _both('num_gradient_scales', 4, 'Number of time scales on which HierarchicalRNN '
              'accumulates gradients.', FEW),
        _both('use_multiple_scale_decays', False, 'Average squared gradients for longer on longer '
              'time scales (HierarchicalRNN).'),
        _both('use_gradient_shortcut', PRESET['use_gradient_shortcut'], 'Add a linear function of '
              'the gradients to the step (HierarchicalRNN).'),
        _both('use_grad_products', PRESET['use_grad_products'], 'Input feature of HierarchicalRNN: '
              'products of gradients of adjacent time scales.'),
        _both('use_log_means_squared', True, 'Input feature of HierarchicalRNN: log mean squares '
              'against the average over time scales.'),
        _both('use_relative_lr', True, 'Input feature of HierarchicalRNN: log learning rate '
              'against the mean.'),
        _both('use_problem_lr_mean', PRESET['use_problem_lr_mean'], 'Take the mean of '
              '--use_relative_lr over the whole model, not over the tensor.'),
        _both('use_extreme_indicator', False, 'Input feature of HierarchicalRNN: how far the '
              'learning rate leaves 1e-6 .. 1.'),
        _both('use_lr_shortcut', False, 'Input feature of HierarchicalRNN: log learning rate '
              'against 1e-3.'),
        _both('use_attention', False, 'Take gradients at a point that HierarchicalRNN chooses.'),
        _both('hrnn_rnn_readout_scale', 0.5, 'Spread of the initial read-outs of '
              'HierarchicalRNN.', POSITIVE),
        _both('hrnn_affine_scale', 0.5, 'Spread of the initial biases from level to level of '
              'HierarchicalRNN.', POSITIVE),
        _both('hrnn_default_decay_var_init', 2.2, 'Initial logit of the gradient decay of '
              'HierarchicalRNN.'),
        _both('scale_decay_bias_init', 3.2, 'Initial logit of the decay of mean squares '
              '(HierarchicalRNN).'),
        _both('learning_rate_momentum_logit_init', 3.2, 'Initial logit of the momentum of learning '
              'rates (HierarchicalRNN).'),
        _both('biasgrucell_scale', 0.5, 'Spread of the initial weights in the cells of '
              'HierarchicalRNN.', POSITIVE),
        _both('biasgrucell_gate_bias_init', 2.2, 'Initial bias of the gates in the cells of '
              'HierarchicalRNN.'),
        _both('crnn_rnn_readout_scale', 0.5, 'Spread of the initial read-outs of '
              'CoordinatewiseRNN.', POSITIVE),
        _both('crnn_default_decay_var_init', 2.2, 'Initial logit of the decay of '
              'CoordinatewiseRNN.'),
    ]),
    ('meta-objective', [
        _training('use_log_objective', True, 'Meta-objective: the mean log of the relative '
                  'objective; else the weighted sum of the relative objectives.'),
        _training('use_numerator_epsilon', False, 'Log objective: log((f + 1e-6) / (f0 + 1e-6)) in '
                  'place of log(f / f0 + 1e-6).'),
        _training('use_second_derivatives', True, 'Let the meta-gradient flow through the '
                  'gradients of the problem.'),
        _training('objective_training_max_multiplier', -1.0, 'Factor over the initial objective at '
                  'which an episode ends early; not positive: never.'),
    ]),
    ('meta-training', [
        _training('num_meta_iterations', 5, 'Number of episodes on each problem.', POSITIVE),
        _metarun('fix_unroll', False, 'Fix the number and length of unrolls; else both are drawn '
                 'from exponential distributions, but with --if_cl, where they are fixed, too.'),
        _metarun('fix_unroll_length', 20, 'Steps of an unroll, with --fix_unroll or --if_cl.',
                 POSITIVE),
        _metarun('fix_num_steps', 100, 'Steps of an episode, with --fix_unroll and without '
                 'curriculum.', POSITIVE),
        _metarun('fix_num_steps_eval', 100, 'Steps of a validation without curriculum.', POSITIVE),
        _training('min_num_unrolls', 10, 'Fewest unrolls of an episode, where the number is '
                  'drawn.', POSITIVE, 4),
        _training('num_unroll_scale', 40, 'Mean number of unrolls beyond --min_num_unrolls, where '
                  'the number is drawn.', POSITIVE, 10),
        _metarun('max_unrolls', 0, 'Number of unrolls after which the run ends, in the middle of '
                 'an episode if need be; 0: as many as --num_meta_iterations episodes have.',
                 NOT_NEGATIVE),
        _training('min_num_itr_partial_unroll', 10, 'Fewest steps of an unroll, where the length '
                  'is drawn.', POSITIVE),
        _training('num_partial_unroll_itr_scale', 20, 'Mean number of steps of an unroll beyond '
                  '--min_num_itr_partial_unroll, where the length is drawn.', POSITIVE, 50),
        _training('reset_rnn_params', True, 'Begin every episode with fresh optimizer state.'),
        _metarun('meta_optimizer', 'rmsprop', 'Optimizer of the meta-parameters: %s.'
                 % ', '.join(meta_step.META_OPTIMIZERS), tuple(meta_step.META_OPTIMIZERS)),
        _training('meta_learning_rate', 1e-6, 'Learning rate of the meta-optimizer.', POSITIVE),
        _metarun('meta_learning_rate_decay', 1.0, 'Factor by which the meta-learning rate falls, '
                 'exponentially, in --meta_learning_rate_decay_steps; 1: not at all.', UP_TO_ONE),
        _metarun('meta_learning_rate_decay_steps', 1000, 'Number of unrolls in which the '
                 'meta-learning rate falls by --meta_learning_rate_decay.', POSITIVE),
        _training('rms_decay', 0.9, 'Decay of mean squares in the meta-optimizer RMSProp.',
                  BELOW_ONE),
        _training('rms_epsilon', 1e-20, 'Epsilon of the meta-optimizer RMSProp.', POSITIVE),
        _metarun('meta_learning_rate_factors', [1.0], 'Factors of --meta_learning_rate, one for '
                 'each of --meta_learning_rate_shares.', POSITIVE),
        _metarun('meta_learning_rate_shares', [0.0], 'Shares of the run\'s meta-iterations from '
                 'which on --meta_learning_rate_factors count, increasing from 0.', SHARE),
        _metarun('average_decay', 0.0, 'Decay of a moving average of the meta-parameters, which is '
                 'validated and kept in place of the meta-parameters; 0: no average.',
                 FROM_ZERO_BELOW_ONE),
        _training('gradient_clip_level', 10000.0, 'Bound of the meta-gradient, see '
                  '--gradient_clip_by; 0: none.', NOT_NEGATIVE),
        _metarun('gradient_clip_by', 'entry', 'What --gradient_clip_level bounds: entry: each '
                 'entry of the meta-gradient; norm: the norm over all meta-parameters.',
                 ('entry', 'norm')),
        _training('l2_reg', 0.0, 'Weight of the squared norm of the meta-parameters in the '
                  'meta-objective.', NOT_NEGATIVE),
        _nowhere('l2_reg_scale', 1e-3, 'Published, but never used.', NOT_NEGATIVE),
        _nowhere('nan_l2_reg', 0.01, 'Published, but never used: what is not finite in a '
                 'meta-gradient counts as 0.', NOT_NEGATIVE),
        _metarun('evaluation_period', 1, 'Meta-iterations from one validation to the next.',
                 POSITIVE),
        _metarun('evaluation_epochs', 20, 'Number of runs of a validation, each with initial '
                 'values and a batch order of its own.', POSITIVE),
        _metarun('save_period', 1, 'Meta-iterations from one saving of the run\'s state to the '
                 'next.', POSITIVE),
        _metarun('keep_checkpoints', -1, 'Number of the latest validated meta-parameters that are '
                 'kept, as model.ckpt-<meta-iterations done>, beside the best, model.ckpt-0; '
                 '--restore_model_name of metatest opens them; -1: all. With --if_cl the best of '
                 'stage i is kept as model.ckpt-<i> instead.', ALL_OR_NUMBER),
        _metarun('random_scaling', False, 'Train in coordinates of random size, as RNNProp was.'),
        _metarun('scaling_of', 'coordinates', 'What gets a scale of its own in --random_scaling: '
                 'coordinates or tensors.', random_scaling.UNITS),
        _metarun('scaling_ranges', [3.0], 'Log ranges of --random_scaling, of which each episode '
                 'draws one.', NOT_NEGATIVE),
        _metarun('validation_score', 'mean', 'What a validation makes of the final losses: mean; '
                 'mean_log: the mean natural logarithm, in which problems of different size count '
                 'alike.', tuple(validation.SCORES)),
        _metarun('validation_floor', 1e-9, 'Losses below count as this in the score mean_log.',
                 POSITIVE),
        _metarun('episode_steps', [0], 'Steps of an episode in each part of the run, see '
                 '--episode_shares, in place of a curriculum or drawn numbers of unrolls; 0: as '
                 'those say.', NOT_NEGATIVE),
        _metarun('episode_shares', [0.0], 'Shares of the run\'s meta-iterations at which the '
                 'parts of --episode_steps begin, increasing from 0.', SHARE),
        _metarun('short_episodes', 0.0, 'Share of the episodes that have the first of '
                 '--episode_steps in all parts of the run.', SHARE),
        _metarun('episode_limit', 0.0, 'Meta-objective above which an episode is given up; 0: '
                 'none.', NOT_NEGATIVE),
    ]),
    ('meta-gradient', [
        _metarun('meta_gradient', 'backprop', 'Meta-gradients come from backprop, '
                 'back-propagation through an unroll, or from pes, persistent evolution '
                 'strategies, which credit an unroll with its effect on later ones.',
                 ('backprop', 'pes')),
        _metarun('pes_pairs', 2, 'Evolution strategies: pairs of perturbed optimizers, side by '
                 'side.', FEW),
        _metarun('pes_sigma', 0.03, 'Evolution strategies: standard deviation of the '
                 'perturbations of meta-parameters.', POSITIVE),
        _metarun('meta_objective_of', 'examples', 'Examples of which the meta-objective is '
                 'computed at each step: examples, --mini_batch_size of them; batches, the '
                 'step\'s own mini-batch, before the step, which costs nothing; other_batches, '
                 'mini-batches of a fifth of the examples that no step is made on.',
                 inner_loop.OBJECTIVES_OF),
        _metarun('late_emphasis', 0.0, 'How much more late unrolls of an episode count: e, where '
                 'an unroll that ends at the share x of the steps counts 1 - e + 3 e x^2 times; '
                 'its meta-gradient is clipped before.', SHARE),
        _metarun('unplanned_episodes', 0.0, 'Share of the episodes in which NormalizedMLP is not '
                 'told their number of steps, so that it learns to do without.', SHARE),
    ]),
    ('curriculum', [
        _metarun('if_cl', False, 'Curriculum: episodes grow longer, stage by stage.'),
        _metarun('cl_steps', list(curricula.PUBLISHED_STAGES), 'Curriculum: steps of an episode in '
                 'each stage, increasing.', POSITIVE),
        _metarun('cl_patience', 3, 'Curriculum: number of the validation in a stage from which on '
                 'the first that does not improve ends the stage.', POSITIVE),
    ]),
    ('imitation', [
        _metarun('if_mt', False, 'Imitation: some episodes learn from the steps of a teacher.'),
        _metarun('mt_ratio', 0.1, 'Imitation: the share of episodes that imitate the teacher.',
                 SHARE),
        _metarun('mt_k', 1, 'Imitation: the number of the teacher\'s steps that make one step of '
                 'the learned optimizer.', POSITIVE),
        _metarun('mt_teacher', 'adam', 'Imitation: the teacher, one of %s.'
                 % ', '.join(imitation.TEACHERS), tuple(imitation.TEACHERS)),
        _metarun('mt_learning_rate', 0.01, 'Imitation: the learning rate of the teacher.',
                 POSITIVE),
    ]),
    ('regularization', [
        _metarun('reg_optimizer', False, 'Regularization: add --alpha times the penalty, '
                 'summed over the steps of an unroll, to the meta-objective.'),
        _metarun('reg_optimizee', False, 'Regularization: add --beta times the penalty to the '
                 'objective that is optimized.'),
        _metarun('reg_option', 'hessian', 'Regularization: the penalty. hessian: trace of the '
                 'Hessian; hessian-ev: largest eigenvalue; hessian-esd: sum of the Lanczos '
                 'eigenvalues; hessian-esd-mean-abs: mean absolute eigenvalue; jacob: mean squared '
                 'entry of the gradient; jacob-norm: squared norm of the gradient.',
                 tuple(sorted(regularization.MEASURES))),
        _metarun('alpha', 5e-4, 'Weight of the penalty in the meta-objective.', NOT_NEGATIVE),
        _metarun('beta', 1e-4, 'Weight of the penalty in the objective that is optimized.',
                 NOT_NEGATIVE),
        _metarun('regularize_time', 'posterior', 'Regularization: when the penalty counts. prior: '
                 'in the first share of an episode\'s unrolls, --reg_scale; posterior: in the '
                 'rest; none: never; always: in all.', regularization.TIMES),
        _metarun('reg_scale', 0.5, 'Regularization: the share of an episode\'s unrolls that '
                 '--regularize_time speaks of.', SHARE),
        _metarun('hessian_itrs', 10, 'Regularization: random draws, products or Lanczos steps of a '
                 'penalty of the Hessian.', POSITIVE),
    ]),
    ('evaluation', [
        _metatest('test_optimizer', [rules.LEARNED], 'Optimizers that metatest runs, a '
                  'comma-separated list: %s, the learned optimizer, and %s.' % (
                      rules.LEARNED, ', '.join(rules.HAND_TUNED)),
                  (rules.LEARNED,) + tuple(rules.HAND_TUNED)),
        _metatest('learned', '', 'Learned optimizers that metatest compares, a comma-separated '
                  'list: folders of runs, or names of shipped ones; empty: the run in --train_dir.',
                  TEXT),
        _metatest('learning_rates', list(rules.LEARNING_RATES), 'Learning rates with which '
                  'each hand-tuned optimizer is tried.', POSITIVE),
        _metatest('schedules', [rules.CONSTANT], 'Schedules of the learning rates of hand-tuned '
                  'optimizers, a comma-separated list: %s.' % ', '.join(rules.SCHEDULES),
                  tuple(rules.SCHEDULES)),
        _metatest('finalists', 0, 'Number of learning rates of each grid that run with all seeds: '
                  'the best with the first seed; 0: all.', NOT_NEGATIVE),
        _metatest('screening_steps', 0, 'Steps of the runs that choose --finalists, at most those '
                  'of the test; 0: as many.', NOT_NEGATIVE),
        _metatest('equal_time', False, 'Run each hand-tuned optimizer at its best learning rate '
                  'also for as many steps as take the time of the learned optimizer.'),
        _metatest('planned', True, 'Tell learned optimizers that can use it, NormalizedMLP, how '
                  'many steps the test has.'),
        _metatest('cards', False, 'Write a model card into the folder of each learned optimizer: '
                  'README.md, card.json, curves.png.'),
        _metatest('jobs', 1, 'Number of processes that metatest runs tests in; results are the '
                  'same with any number, but times of steps are less exact.', FEW),
        _metatest('inspect', False, 'Draw for each problem what the learned optimizer does inside: '
                  'learning rates, norms of steps and gradients, the angle between them.'),
        _metatest('num_testing_itrs', 100, 'Steps of a test; 0: as many as each problem of a '
                  'benchmark set says, or 100.', NOT_NEGATIVE),
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
        _metarun('job_name', 'worker', 'Job of this process in the cluster: ps or worker.',
                 ('ps', 'worker')),
        _training('task', 0, 'Index of this process in the list of hosts of its job.',
                  NOT_NEGATIVE),
        _metarun('cluster_timeout', 60, 'Seconds that a process waits for others of the cluster.',
                 POSITIVE),
        _training('ps_tasks', 0, 'Number of parameter servers; --ps_hosts says so, too.',
                  NOT_NEGATIVE),
        _training('worker_tasks', 1, 'Number of workers; --worker_hosts says so, too.', POSITIVE),
    ]),
])

#: Flags that may differ where a run goes on.
FREE = ('train_dir', 'data_dir', 'seed', 'save_period', 'keep_checkpoints', 'overwrite', 'quiet',
        'summary_period', 'set_profiling', 'ps_hosts', 'worker_hosts', 'job_name', 'task',
        'cluster_timeout', 'ps_tasks', 'worker_tasks')

#: All flags.
FLAGS = [flag for group in GROUPS.values() for flag in group]


#: Another spelling, in the published README -> the flag.
SPELLINGS = {'include_mnist_conv_problem': 'include_mnist_conv_problems'}


def define(script: str, flag_values: FlagValues = absl_flags.FLAGS) -> None:
    """Defines the flags of `METARUN` or `METATEST`."""
    for flag in FLAGS:
        if script in flag.defaults:
            _define(flag, script, flag_values)
    for name in sets(script):
        text = problem_sets.PROBLEM_SETS[name].help
        absl_flags.DEFINE_boolean(include(name), False, text, flag_values=flag_values,
                                  module_name=sys.argv[0])
        if script == METARUN:
            absl_flags.DEFINE_boolean(
                include_in_validation(name), False, 'Validate on these problems, not on those that '
                'are trained on: ' + text, flag_values=flag_values, module_name=sys.argv[0])
    for spelling, name in SPELLINGS.items():
        absl_flags.DEFINE_alias(spelling, name, flag_values=flag_values, module_name=sys.argv[0])


def sets(script: str) -> List[str]:
    """Names of the problem sets that a script can use."""
    return [name for name, rows in problem_sets.PROBLEM_SETS.items()
            if script == METATEST or rows.training is not None]


def include(name: str) -> str:
    """The flag that includes a problem set."""
    return 'include_%s_problems' % name


def include_in_validation(name: str) -> str:
    """The flag that includes a problem set in the validation."""
    return 'include_%s_validation' % name


def _define(flag, script, flag_values):
    default, text = flag.defaults[script], flag.help
    if script in flag.idle:
        text += ' (No effect in %s.)' % script
    options = dict(flag_values=flag_values, module_name=sys.argv[0])
    definers: Dict[type, Any] = {
        bool: absl_flags.DEFINE_boolean, int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float, str: absl_flags.DEFINE_string}
    if isinstance(default, list) or isinstance(flag.allowed, tuple):
        kind = default[0] if isinstance(default, list) else default
        absl_flags.DEFINE(_Parser(type(kind), isinstance(default, list), flag.allowed), flag.name,
                          default, text, serializer=_Serializer(), **options)
    else:
        definers[type(default)](flag.name, default, text, **options)
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
        words = _one_of(words)
    elif words == ANY:
        words = 'a finite number'
    return 'a list, each element ' + words if isinstance(default, list) else words


class _Serializer(absl_flags.ArgumentSerializer):
    """Writes a list with commas."""

    def serialize(self, value):
        return ','.join(map(str, value)) if isinstance(value, list) else str(value)


class _Parser(absl_flags.ArgumentParser):
    """Parses a word or number of some choices, or a comma-separated list of at least one."""

    def __init__(self, kind: type, is_list: bool, allowed: Any) -> None:
        noun = {str: 'words', int: 'whole numbers', float: 'numbers'}[kind]
        self._kind, self._is_list = kind, is_list
        self._choices = allowed if isinstance(allowed, tuple) else None
        self.syntactic_help = 'a comma-separated list of %s' % noun if is_list else ''

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        if not self._is_list:
            return self._check(argument)
        words = [word.strip() for word in argument.split(',')]
        try:
            values = [self._kind(word) for word in words] if all(words) else []
        except ValueError:
            values = []
        if not values:
            raise ValueError('must be ' + self.syntactic_help)
        return list(map(self._check, values))

    def _check(self, value):
        if self._choices and value not in self._choices:
            raise ValueError('must be %s%s%s' % (
                'a list, each element ' if self._is_list else '', _one_of(self._choices),
                suggestion(value, self._choices)))
        return value


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`; did you mean ...?`, where one of the choices is like the word; else nothing."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1)
    return '; did you mean %s?' % by_lower_case[found[0]] if found else ''


def _one_of(choices):
    return 'one of ' + ', '.join(choices)
