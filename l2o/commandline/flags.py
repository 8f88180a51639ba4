"""The flags of metarun.py and metatest.py; without TensorFlow, so that help comes at once.

Every flag is a row of the table `FLAGS`; settings of meta-training are rows of `l2o.settings`.
Names and defaults are those of the published scripts. Flags `--include_<set>_problems` come from
the table of problem sets.
"""

import collections
import difflib
import sys
from typing import Any, Dict, Iterable, List, NamedTuple, Tuple

from absl import flags as absl_flags
from absl.flags import FlagValues

from l2o import names, settings
from l2o.bounds import (
    ANY,
    FEW,
    FOLDER,
    LARGEST_INTEGER,
    NAME,
    NAME_OR_NONE,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SEED_OR_DRAW,
    SIZE,
    TEXT,
    Numbers,
    Text,
    allows,
    in_words,
)

METARUN, METATEST = 'metarun', 'metatest'


class FlagError(ValueError):
    """Flags that don't go together or don't fit what is on disk; the message is one clear line."""


class Flag(NamedTuple):
    """A row of the table."""

    name: str
    defaults: Dict[str, Any]  # script -> default there; a script that is no key lacks the flag
    help: str  # one or more sentences that can be read alone: absl sorts flags by name
    allowed: Any  # values that are allowed (elements of a list): of `l2o.bounds`, or choices
    idle: Tuple[str, ...]  # scripts that have the flag for published command lines only


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


#: Title -> the flags of a group, but those of `l2o.settings`.
SCRIPT_FLAGS: Dict[str, List[Flag]] = collections.OrderedDict([
    ('files and data', [
        _both('train_dir', 'opt/', 'Folder of training runs: metarun writes into a folder there '
              'that is named after the optimizer; metatest reads meta-parameters from it.',
              FOLDER),
        _metatest('save_dir', 'opt/', 'Folder into which metatest writes results. What '
                  'has been run is kept there, in runs/, and not run again.', FOLDER),
        _both('image_source', 'auto', 'Origin of images of 28 x 28: mnist, handwritten digits (a '
              'file, the cache or a download); digits, embedded in scikit-learn; fashion, clothes '
              '(files, the cache or a download); or auto: mnist where it is to be had, else '
              'digits.', names.IMAGE_SOURCES),
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
        _both('problem', '', 'Problems of one\'s own, FILE.py:NAME, a comma-separated list: NAME '
              'is a Problem, a Row with examples, a list of these, or a function that returns one '
              'or that makes a model.', TEXT),
        _both('only', '', 'Names of the problems that are taken of the chosen sets, a '
              'comma-separated list; empty: all. Validation sets stay whole.', TEXT),
        _training('num_problems', 1, 'Number of problems that are drawn from the chosen sets, one '
                  'after another.', POSITIVE),
    ]),
    ('optimizer', [
        _both('optimizer', 'HierarchicalRNN', 'The learned optimizer: one of %s.'
              % ', '.join(names.OPTIMIZERS), names.OPTIMIZERS),
        _both('cell_cls', 'GRUCell', 'Class of the cells of CoordinatewiseRNN: %s.'
              % ' or '.join(names.CELLS), names.CELLS),
        _both('cell_size', 20, 'Units of each cell of CoordinatewiseRNN, and of the layers of '
              'RNNProp and L2ODM.', SIZE),
        _both('num_cells', 2, 'Number of cells of CoordinatewiseRNN, one upon the other.', FEW),
        _both('filters_apart', False, 'Train a network of its own for the filters of convolutions '
              '(L2ODM).'),
        _both('hrnn_level_sizes', list(names.PRESET['level_sizes']), 'Units of the levels of '
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
        _both('use_gradient_shortcut', names.PRESET['use_gradient_shortcut'], 'Add a linear '
              'function of the gradients to the step (HierarchicalRNN).'),
        _both('use_grad_products', names.PRESET['use_grad_products'], 'Input feature of '
              'HierarchicalRNN: products of gradients of adjacent time scales.'),
        _both('use_log_means_squared', True, 'Input feature of HierarchicalRNN: log mean squares '
              'against the average over time scales.'),
        _both('use_relative_lr', True, 'Input feature of HierarchicalRNN: log learning rate '
              'against the mean.'),
        _both('use_problem_lr_mean', names.PRESET['use_problem_lr_mean'], 'Take the mean of '
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
    ]),
    ('meta-training', [
        _training('num_meta_iterations', 5, 'Number of episodes on each problem.', POSITIVE),
        _nowhere('l2_reg_scale', 1e-3, 'Published, but never used.', NOT_NEGATIVE),
        _nowhere('nan_l2_reg', 0.01, 'Published, but never used: what is not finite in a '
                 'meta-gradient counts as 0.', NOT_NEGATIVE),
    ]),
    ('meta-gradient', []),
    ('curriculum', []),
    ('imitation', []),
    ('regularization', []),
    ('evaluation', [
        _metatest('test_optimizer', [names.LEARNED], 'Optimizers that metatest runs, a '
                  'comma-separated list: %s, the learned optimizer, and %s.' % (
                      names.LEARNED, ', '.join(names.HAND_TUNED)),
                  (names.LEARNED,) + names.HAND_TUNED),
        _metatest('learned', '', 'Learned optimizers that metatest compares, a comma-separated '
                  'list: folders of runs, or names of shipped ones; empty: the run in --train_dir.',
                  TEXT),
        _metatest('learning_rates', list(names.LEARNING_RATES), 'Learning rates with which '
                  'each hand-tuned optimizer is tried; %s, which finds its rate itself, has the '
                  'rate 1 alone.' % ', '.join(names.RATE_FREE), POSITIVE),
        _metatest('schedules', [names.CONSTANT], 'Schedules of the learning rates of hand-tuned '
                  'optimizers, a comma-separated list: %s; %s, which needs none, has constant '
                  'rates alone.' % (', '.join(names.SCHEDULES), ', '.join(names.SCHEDULE_FREE)),
                  names.SCHEDULES),
        _metatest('finalists', 0, 'Number of learning rates of each grid that run with all seeds: '
                  'the best with the first seed; 0: all.', NOT_NEGATIVE),
        _metatest('screening_steps', 0, 'Steps of the runs that choose --finalists, at most those '
                  'of the test; 0: as many.', NOT_NEGATIVE),
        _metatest('equal_time', False, 'Run each hand-tuned optimizer at its best learning rate '
                  'also for as many steps as take the time of the learned optimizer.'),
        _metatest('planned', True, 'Tell learned optimizers that can use it, NormalizedMLP, how '
                  'many steps the test has.'),
        _metatest('l2l_record', False, 'Write L2L_eval_loss_record.pickle-<problem>, too, as the '
                  'programs of L2O-DM and RNNProp do: the losses after each step, of the first '
                  'seed.'),
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
                 'run folder; 0: none, as history.csv and report.html are written in any case. At '
                 'every unroll a run takes a tenth longer and writes 5 KB each, at every tenth '
                 'next to nothing.', NOT_NEGATIVE),
        _training('set_profiling', False, 'Write a timeline of one unroll into the run folder, for '
                  'chrome://tracing.'),
    ]),
    ('machine', [
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

#: Settings of meta-training that metatest has too, for published command lines: name -> default
#: there.
_IN_METATEST = {
    'min_num_unrolls': 4, 'num_unroll_scale': 10, 'min_num_itr_partial_unroll': 10,
    'num_partial_unroll_itr_scale': 50, 'reset_rnn_params': True, 'meta_learning_rate': 1e-6,
    'rms_decay': 0.9, 'rms_epsilon': 1e-20, 'gradient_clip_level': 10000.0, 'l2_reg': 0.0,
    'objective_training_max_multiplier': -1.0}


def _of_setting(setting):
    """The flag of a setting."""
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    if setting.name in _IN_METATEST:
        return _training(setting.name, default, setting.help, setting.allowed,
                         _IN_METATEST[setting.name])
    make = _both if setting.name == 'xla' else _metarun
    return make(setting.name, default, setting.help, setting.allowed)


def groups() -> Dict[str, List[Flag]]:
    """Title -> the flags of a group."""
    found = collections.OrderedDict(
        (title, own + list(map(_of_setting, settings.under(title))))
        for title, own in SCRIPT_FLAGS.items())
    found['meta-training'] += map(_of_setting, settings.RUN)
    return found


#: All flags.
FLAGS = [flag for group in groups().values() for flag in group]


#: Another spelling, in the published README -> the flag.
SPELLINGS = {'include_mnist_conv_problem': 'include_mnist_conv_problems'}


def define(script: str, flag_values: FlagValues = absl_flags.FLAGS) -> None:
    """Defines the flags of `METARUN` or `METATEST`."""
    here: Any = {'flag_values': flag_values, 'module_name': sys.argv[0]}
    for flag in FLAGS:
        if script in flag.defaults:
            _define(flag, script, here)
    for name in sets(script):
        text, _ = names.PROBLEM_SETS[name]
        absl_flags.DEFINE_boolean(include(name), False, text, **here)
        if script == METARUN:
            absl_flags.DEFINE_boolean(
                include_in_validation(name), False, 'Validate on these problems, not on those that '
                'are trained on: ' + text, **here)
    for spelling, name in SPELLINGS.items():
        absl_flags.DEFINE_alias(spelling, name, **here)


def sets(script: str) -> List[str]:
    """Names of the problem sets that a script can use."""
    return [name for name, (_, is_trained_on) in names.PROBLEM_SETS.items()
            if script == METATEST or is_trained_on]


def include(name: str) -> str:
    """The flag that includes a problem set."""
    return 'include_%s_problems' % name


def include_in_validation(name: str) -> str:
    """The flag that includes a problem set in the validation."""
    return 'include_%s_validation' % name


def _define(flag, script, here):
    default, text, allowed = flag.defaults[script], flag.help, flag.allowed
    if script in flag.idle:
        text += ' (No effect in %s.)' % script
    if isinstance(default, list):
        absl_flags.DEFINE(_ListParser(type(default[0]), allowed), flag.name, default, text,
                          serializer=_ListSerializer(), **here)
    elif isinstance(default, bool):
        absl_flags.DEFINE_boolean(flag.name, default, text, **here)
    elif isinstance(default, int):
        low, high = max(allowed.low, -LARGEST_INTEGER), min(allowed.high, LARGEST_INTEGER)
        absl_flags.DEFINE_integer(flag.name, default, text, lower_bound=low + allowed.above,
                                  upper_bound=high - allowed.below, **here)
    elif not isinstance(allowed, (Numbers, Text)):
        absl_flags.DEFINE(_EnumParser(allowed), flag.name, default, text,
                          serializer=absl_flags.ArgumentSerializer(), **here)
    else:
        make: Any = (absl_flags.DEFINE_float if isinstance(default, float)
                     else absl_flags.DEFINE_string)
        make(flag.name, default, text, **here)
        absl_flags.register_validator(flag.name, lambda value: allows(allowed, value),
                                      'must be ' + in_words(allowed),
                                      flag_values=here['flag_values'])


class _ListSerializer(absl_flags.ArgumentSerializer):
    """Writes a list with commas."""

    def serialize(self, value):
        return ','.join(map(str, value))


class _EnumParser(absl_flags.EnumParser):
    """Parses a word of some choices; of another one it says which may have been meant."""

    def parse(self, argument):
        if argument not in self.enum_values:
            raise ValueError('must be %s%s' % (in_words(tuple(self.enum_values)),
                                               suggestion(argument, self.enum_values)))
        return argument


class _ListParser(absl_flags.ArgumentParser):
    """Parses a comma-separated list of at least one word or number."""

    def __init__(self, kind: type, allowed: Any) -> None:
        noun = {str: 'words', int: 'whole numbers', float: 'numbers'}[kind]
        self._kind, self._allowed = kind, allowed
        self.syntactic_help = 'a comma-separated list of %s' % noun

    def parse(self, argument):
        if isinstance(argument, list):
            return argument
        words = [word.strip() for word in argument.split(',')]
        try:
            values = [self._kind(word) for word in words] if all(words) else []
        except ValueError:
            values = []
        if not values:
            raise ValueError('must be ' + self.syntactic_help)
        for value in values:
            if not allows(self._allowed, value):
                raise ValueError('must be a list, each element %s%s' % (
                    in_words(self._allowed), '' if isinstance(self._allowed, (Numbers, Text))
                    else suggestion(value, self._allowed)))
        return values


def suggestion(word: str, choices: Iterable[str]) -> str:
    """`; did you mean ...?`, where one of the choices is like the word; else nothing."""
    by_lower_case = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1)
    return '; did you mean %s?' % by_lower_case[found[0]] if found else ''
