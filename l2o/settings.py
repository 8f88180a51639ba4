"""The settings of a meta-training, each declared once; knows nothing of TensorFlow.

A row says by which published name a setting is known, to `metarun.py` as a flag and to
`metaopt.train_optimizer` as a keyword; which field of the records holds it; its default, what
values it may have, and what it does. Flags, keywords and records are made from the rows
(`l2o.commandline.flags`, `l2o.metatraining.options`, `default` below).

A technique is a row too: its record, the settings that fill it, and the setting that turns it on.
"""

import collections
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from l2o import names
from l2o.bounds import (
    ALL_OR_NUMBER,
    ANY,
    BELOW_ONE,
    FEW,
    FROM_ZERO_BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    SHARE_OR_OTHER,
    TEXT,
    UP_TO_ONE,
)

PUBLISHED_STAGES = (100, 200, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000)


class Setting(NamedTuple):
    """A row of the table."""

    name: str  # published
    #: Where the value is kept: names of fields from a `MetaTraining` on, or from the record of the
    #: technique, joined by dots. Empty: it only decides what is on.
    field: str
    default: Any
    help: str  # one or more sentences that can be read alone
    allowed: Any = ANY  # values that are allowed (elements of a tuple): bounds, or choices
    of: Tuple[str, ...] = ()  # where it counts: techniques or kinds of lengths; empty: everywhere
    stored: Callable[[Any], Any] = lambda value: value  # the value -> what the field holds


class Technique(NamedTuple):
    """A technique of meta-training: what its settings fill and what turns it on."""

    name: str
    field: str  # of `MetaTraining`, which holds the technique's record, or nothing where it is off
    record: str  # the record's class, 'module.Class', imported once the technique is on
    switches: Tuple[Setting, ...]  # any of them turns it on
    settings: Tuple[Setting, ...]  # their fields are the record's
    turns_on: Callable[[Any], bool] = bool  # whether such a value of a switch does


#: Title -> the settings that belong to no technique.
SETTINGS: Dict[str, Tuple[Setting, ...]] = collections.OrderedDict([
    ('optimizer', (
        Setting('begin_with', 'begin_with', '', 'Folder of a run, or name of a shipped optimizer, '
                'whose meta-parameters the training begins with; the optimizer is of the same kind '
                'and size; empty: with the initial ones.', TEXT,
                stored=lambda folder: folder or None),
    )),
    ('problems', (
        Setting('problems_at_once', 'problems_at_once', 1, 'Number of problems in each draw: they '
                'share a graph, and each episode is on one of them.', POSITIVE),
        Setting('initial_params', 'initial_params', 'own', 'Initial values of optimizees: own: '
                'those that the problem defines; normal: N(0, 1), as published.',
                ('own', 'normal')),
        Setting('mini_batch_size', 'mini_batch_size', 10000, 'Number of examples on which the '
                'meta-objective is computed; all, where the data set has fewer.', POSITIVE),
        Setting('data_freeze', 'data_freeze', False, 'Compute the meta-objective on the same '
                'examples in all episodes on a problem; else each episode draws examples anew.'),
    )),
    ('meta-objective', (
        Setting('meta_objective', 'meta_objective', 'relative', 'The meta-objective of an unroll. '
                'relative: objectives before each step relative to the initial one, see '
                '--use_log_objective. published_sum, that of L2O-DM and RNNProp: the plain sum of '
                'the losses on mini-batches before each step and after the last, of examples drawn '
                'with replacement; what is imitated then has meta-optimizer slots of its own.',
                ('relative', 'published_sum')),
        Setting('objective_training_max_multiplier', 'obj_train_max_multiplier', -1.0, 'Factor '
                'over the initial objective at which an episode ends early; not positive: never.'),
    )),
    ('meta-training', (
        Setting('fix_unroll', '', False, 'Fix the number and length of unrolls; else both are '
                'drawn from exponential distributions, but with --if_cl, where they are fixed, '
                'too.'),
        Setting('fix_unroll_length', 'unroll_length', 20, 'Steps of an unroll, with --fix_unroll '
                'or --if_cl.', POSITIVE, of=('fixed', 'curriculum', 'scheduled')),
        Setting('fix_num_steps', 'curriculum.stages', 100, 'Steps of an episode, with --fix_unroll '
                'and without curriculum.', POSITIVE, of=('fixed', 'scheduled'),
                stored=lambda steps: (steps,)),
        Setting('fix_num_steps_eval', 'curriculum.last_validation_steps', 100, 'Steps of a '
                'validation without curriculum.', POSITIVE, of=('drawn', 'fixed', 'scheduled')),
        Setting('min_num_unrolls', 'num_unrolls.least', 10, 'Fewest unrolls of an episode, where '
                'the number is drawn.', POSITIVE, of=('drawn',)),
        Setting('num_unroll_scale', 'num_unrolls.scale', 40, 'Mean number of unrolls beyond '
                '--min_num_unrolls, where the number is drawn.', POSITIVE, of=('drawn',)),
        Setting('max_unrolls', 'max_unrolls', 0, 'Number of unrolls after which the run ends, in '
                'the middle of an episode if need be; 0: as many as --num_meta_iterations episodes '
                'have.', NOT_NEGATIVE),
        Setting('min_num_itr_partial_unroll', 'unroll_length.least', 10, 'Fewest steps of an '
                'unroll, where the length is drawn.', POSITIVE, of=('drawn',)),
        Setting('num_partial_unroll_itr_scale', 'unroll_length.scale', 20, 'Mean number of steps '
                'of an unroll beyond --min_num_itr_partial_unroll, where the length is drawn.',
                POSITIVE, of=('drawn',)),
        Setting('reset_rnn_params', 'reset_state', True, 'Begin every episode with fresh optimizer '
                'state.'),
        Setting('meta_optimizer', 'meta_optimizer.name', 'rmsprop', 'Optimizer of the '
                'meta-parameters: %s.' % ', '.join(names.META_OPTIMIZERS), names.META_OPTIMIZERS),
        # The published scripts have this default, the published function another one.
        Setting('meta_learning_rate', 'meta_optimizer.learning_rate', 1e-6, 'Learning rate of the '
                'meta-optimizer.', POSITIVE),
        Setting('meta_learning_rate_decay', 'meta_optimizer.decay_rate', 1.0, 'Factor by which the '
                'meta-learning rate falls, exponentially, in --meta_learning_rate_decay_steps; 1: '
                'not at all.', UP_TO_ONE),
        Setting('meta_learning_rate_decay_steps', 'meta_optimizer.decay_steps', 1000, 'Number of '
                'unrolls in which the meta-learning rate falls by --meta_learning_rate_decay.',
                POSITIVE),
        Setting('rms_decay', 'meta_optimizer.rms_decay', 0.9, 'Decay of mean squares in the '
                'meta-optimizer RMSProp.', BELOW_ONE),
        Setting('rms_epsilon', 'meta_optimizer.rms_epsilon', 1e-20, 'Epsilon of the meta-optimizer '
                'RMSProp.', POSITIVE),
        Setting('meta_learning_rate_factors', 'meta_optimizer.rate_factors.1', (1.0,), 'Factors of '
                '--meta_learning_rate, one for each of --meta_learning_rate_shares.', POSITIVE),
        Setting('meta_learning_rate_shares', 'meta_optimizer.rate_factors.0', (0.0,), 'Shares of '
                'the run\'s meta-iterations from which on --meta_learning_rate_factors count, '
                'increasing from 0.', SHARE),
        Setting('average_decay', 'meta_optimizer.average_decay', 0.0, 'Decay of a moving average '
                'of the meta-parameters, which is validated and kept in place of the '
                'meta-parameters; 0: no average.', FROM_ZERO_BELOW_ONE),
        # Here, too, the published function has another default.
        Setting('gradient_clip_level', 'meta_optimizer.gradient_clip', 10000.0, 'Bound of the '
                'meta-gradient, see --gradient_clip_by; 0: none.', NOT_NEGATIVE),
        Setting('gradient_clip_by', 'meta_optimizer.clip_by', 'entry', 'What --gradient_clip_level '
                'bounds: entry: each entry of the meta-gradient; norm: the norm over all '
                'meta-parameters.', ('entry', 'norm')),
        Setting('l2_reg', 'meta_optimizer.l2_reg', 0.0, 'Weight of the squared norm of the '
                'meta-parameters in the meta-objective.', NOT_NEGATIVE),
        Setting('evaluation_period', 'validation.period', 1, 'Meta-iterations from one validation '
                'to the next.', POSITIVE),
        Setting('evaluation_epochs', 'validation.epochs', 20, 'Number of runs of a validation, '
                'each with initial values and a batch order of its own.', POSITIVE),
        Setting('validation_score', 'validation.score', 'mean', 'What a validation makes of the '
                'final losses: mean; mean_log: the mean natural logarithm, in which problems of '
                'different size count alike.', names.SCORES),
        Setting('validation_floor', 'validation.floor', 1e-9, 'Losses below count as this in the '
                'score mean_log.', POSITIVE),
        Setting('episode_steps', 'episodes.steps', (0,), 'Steps of an episode in each part of the '
                'run, see --episode_shares, in place of a curriculum or drawn numbers of unrolls; '
                '0: as those say.', NOT_NEGATIVE, of=('scheduled',)),
        Setting('episode_shares', 'episodes.begins', (0.0,), 'Shares of the run\'s meta-iterations '
                'at which the parts of --episode_steps begin, increasing from 0.', SHARE,
                of=('scheduled',)),
        Setting('short_episodes', 'episodes.short_share', 0.0, 'Share of the episodes that have '
                'the first of --episode_steps in all parts of the run.', SHARE, of=('scheduled',)),
        Setting('episode_limit', 'episode_limit', 0.0, 'Meta-objective above which an episode is '
                'given up; 0: none.', NOT_NEGATIVE, stored=lambda limit: limit or None),
    )),
    ('meta-gradient', (
        Setting('meta_objective_of', 'objectives_of', 'examples', 'Examples of which the '
                'meta-objective is computed at each step: examples, --mini_batch_size of them; '
                'batches, the step\'s own mini-batch, before the step, which costs nothing; '
                'other_batches, mini-batches of a fifth of the examples that no step is made on.',
                names.OBJECTIVES_OF),
        Setting('late_emphasis', 'late_emphasis', 0.0, 'How much more late unrolls of an episode '
                'count: e, where an unroll that ends at the share x of the steps counts 1 - e + 3 '
                'e x^2 times; its meta-gradient is clipped before.', SHARE),
        Setting('unplanned_episodes', 'unplanned_share', 0.0, 'Share of the episodes in which '
                'NormalizedMLP is not told their number of steps, so that it learns to do without.',
                SHARE),
    )),
    ('curriculum', (
        Setting('if_cl', '', False, 'Curriculum: episodes grow longer, stage by stage.'),
        Setting('cl_steps', 'curriculum.stages', PUBLISHED_STAGES, 'Curriculum: steps of an '
                'episode in each stage, increasing.', POSITIVE, of=('curriculum',)),
        Setting('cl_patience', 'curriculum.patience', 3, 'Curriculum: number of the validation in '
                'a stage from which on the first that does not improve ends the stage.', POSITIVE,
                of=('curriculum',)),
    )),
    ('machine', (
        Setting('checkpoint_every', 'checkpoint_every', 0, 'Keep what the meta-gradient needs only '
                'at every so many steps of an unroll and compute the rest anew: less memory, more '
                'time. The square root of the unroll\'s length is a good choice; 0: keep '
                'everything.', NOT_NEGATIVE),
        Setting('swap_memory', 'swap_memory', False, 'Where there is a GPU, keep what the '
                'meta-gradient needs in main memory; with version-1 control flow, which alone can '
                'do that. No effect on a CPU but for that.'),
        Setting('xla', 'xla', False, 'Compile the learned optimizer\'s update rule with XLA, which '
                'takes seconds; steps then take less time. TensorFlow 2 only.'),
    )),
])

#: Those of how a meta-training is carried out: fields of a `Run`.
RUN = (
    Setting('save_period', 'save_period', 1, 'Meta-iterations from one saving of the run\'s state '
            'to the next.', POSITIVE),
    Setting('keep_checkpoints', 'keep_checkpoints', -1, 'Number of the latest validated '
            'meta-parameters that are kept, as model.ckpt-<meta-iterations done>, beside the best, '
            'model.ckpt-0; --restore_model_name of metatest opens them; -1: all. With --if_cl the '
            'best of stage i is kept as model.ckpt-<i> instead.', ALL_OR_NUMBER),
)

#: Title -> the techniques under it.
TECHNIQUES: Dict[str, Tuple[Technique, ...]] = collections.OrderedDict([
    ('meta-training', (
        Technique(
            'random_scaling', 'wrappers.random_scaling', 'l2o.techniques.random_scaling.Scaling',
            (Setting('random_scaling', '', False, 'Train in coordinates of random size, as RNNProp '
                     'was.'),),
            (Setting('scaling_of', 'unit', 'coordinates', 'What gets a scale of its own in '
                     '--random_scaling: coordinates or tensors.', names.SCALED_UNITS),
             Setting('scaling_ranges', 'ranges', (3.0,), 'Log ranges of --random_scaling, of which '
                     'each episode draws one.', NOT_NEGATIVE))),
    )),
    ('meta-gradient', (
        Technique(
            'pes', 'evolution', 'l2o.techniques.evolution_strategies.Config',
            (Setting('meta_gradient', '', 'backprop', 'Meta-gradients come from backprop, '
                     'back-propagation through an unroll, or from pes, persistent evolution '
                     'strategies, which credit an unroll with its effect on later ones.',
                     ('backprop', 'pes')),),
            (Setting('pes_pairs', 'pairs', 2, 'Evolution strategies: pairs of perturbed '
                     'optimizers, side by side.', FEW),
             Setting('pes_sigma', 'sigma', 0.03, 'Evolution strategies: standard deviation of the '
                     'perturbations of meta-parameters.', POSITIVE),
             Setting('pes_reuse', 'reuse', False, 'Evolution strategies: a perturbation lasts for '
                     'an episode (noise reuse), not for an unroll: less variance in long '
                     'episodes.')),
            turns_on=lambda value: value == 'pes'),
    )),
    ('imitation', (
        Technique(
            'imitation', 'imitation', 'l2o.techniques.imitation.Imitation',
            (Setting('if_mt', '', False, 'Imitation: some episodes learn from the steps of a '
                     'teacher.'),),
            (Setting('mt_ratio', 'ratio', 0.1, 'Imitation: the share of episodes that imitate the '
                     'teacher.', SHARE),
             Setting('mt_ratios', 'ratios', (-1.0,), 'Imitation: the share of episodes that '
                     'imitate the teacher, in each stage of a curriculum; the last one goes on. '
                     '-1: that of --mt_ratio.', SHARE_OR_OTHER),
             Setting('mt_k', 'steps_per_label', 1, 'Imitation: the number of the teacher\'s steps '
                     'that make one step of the learned optimizer.', POSITIVE),
             Setting('mt_optimizers', 'teacher', ('adam',), 'Imitation: the teacher, of %s; of '
                     'several, episodes that imitate take them in turn.'
                     % ', '.join(names.TEACHERS), names.TEACHERS),
             Setting('mt_learning_rate', 'learning_rate', 0.01, 'Imitation: the learning rate of '
                     'the teacher.', POSITIVE))),
    )),
    ('regularization', (
        Technique(
            'penalty', 'penalty', 'l2o.techniques.regularization.Penalty',
            (Setting('reg_optimizer', 'on_optimizer', False, 'Regularization: add --alpha times '
                     'the penalty, summed over the steps of an unroll, to the meta-objective.'),
             Setting('reg_optimizee', 'on_optimizee', False, 'Regularization: add --beta times the '
                     'penalty to the objective that is optimized.')),
            (Setting('reg_option', 'option', 'hessian', 'Regularization: the penalty. hessian: '
                     'trace of the Hessian; hessian-ev: largest eigenvalue; hessian-esd: sum of '
                     'the Lanczos eigenvalues; hessian-esd-mean-abs: mean absolute eigenvalue; '
                     'jacob: mean squared entry of the gradient; jacob-norm: squared norm of the '
                     'gradient.', names.MEASURES),
             Setting('alpha', 'alpha', 5e-4, 'Weight of the penalty in the meta-objective.',
                     NOT_NEGATIVE),
             Setting('beta', 'beta', 1e-4, 'Weight of the penalty in the objective that is '
                     'optimized.', NOT_NEGATIVE),
             Setting('regularize_time', 'time', 'posterior', 'Regularization: when the penalty '
                     'counts. prior: in the first share of an episode\'s unrolls, --reg_scale; '
                     'posterior: in the rest; none: never; always: in all.', names.TIMES),
             Setting('reg_scale', 'scale', 0.5, 'Regularization: the share of an episode\'s '
                     'unrolls that --regularize_time speaks of.', SHARE),
             Setting('hessian_itrs', 'iterations', 10, 'Regularization: random draws, products or '
                     'Lanczos steps of a penalty of the Hessian.', POSITIVE))),
    )),
])


def techniques() -> List[Technique]:
    """All techniques."""
    return [technique for row in TECHNIQUES.values() for technique in row]


def settings() -> Dict[str, Setting]:
    """All settings by name; those of techniques with what they count in and their whole path."""
    found = {setting.name: setting for row in SETTINGS.values() for setting in row}
    for technique in techniques():
        for setting in technique.switches + technique.settings:
            path = setting.field and '%s.%s' % (technique.field, setting.field)
            found[setting.name] = setting._replace(field=path, of=(technique.name,))
    return found


def under(title: str) -> List[Setting]:
    """The settings under a title, those of techniques too."""
    return list(SETTINGS.get(title, ())) + [
        setting for technique in TECHNIQUES.get(title, ())
        for setting in technique.switches + technique.settings]


def default(name: str) -> Any:
    """What the field of a record holds where a setting is not given."""
    setting = dict(settings(), **{row.name: row for row in RUN})[name]
    return setting.stored(setting.default)
