"""Meta-training described by the published names, which are those of the flags."""

from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from l2o.metatraining.config import (
    Drawn,
    EpisodeSchedule,
    Imitation,
    MetaOptimizer,
    MetaTraining,
    Run,
    Validation,
)
from l2o.techniques import evolution_strategies
from l2o.techniques.curriculum import PUBLISHED_STAGES, Curriculum
from l2o.techniques.regularization import Penalty
from optimizer.inner_loop import NoPenalty
from problems.problem_spec import Row


class Keywords(NamedTuple):
    """What the flags of these names say; `metarun.py --helpfull` explains each."""

    fix_unroll: bool = False
    fix_unroll_length: int = 20
    fix_num_steps: int = 100
    fix_num_steps_eval: int = 100
    min_num_unrolls: int = 10
    num_unroll_scale: float = 40
    max_unrolls: int = 0
    min_num_itr_partial_unroll: int = 10
    num_partial_unroll_itr_scale: float = 20
    episode_steps: Sequence[int] = (0,)
    episode_shares: Sequence[float] = (0.0,)
    short_episodes: float = 0.0
    episode_limit: float = 0.0
    initial_params: str = 'own'
    reset_rnn_params: bool = True
    mini_batch_size: int = 10000
    data_freeze: bool = False
    random_scaling: bool = False
    scaling_ranges: Sequence[float] = (3.0,)
    scaling_of: str = 'coordinates'
    problems_at_once: int = 1
    meta_gradient: str = 'backprop'
    pes_pairs: int = 2
    pes_sigma: float = 0.03
    meta_objective_of: str = 'examples'
    late_emphasis: float = 0.0
    unplanned_episodes: float = 0.0
    if_cl: bool = False
    cl_steps: Sequence[int] = PUBLISHED_STAGES
    cl_patience: int = 3
    if_mt: bool = False
    mt_ratio: float = 0.1
    mt_k: int = 1
    mt_teacher: str = 'adam'
    mt_learning_rate: float = 0.01
    reg_optimizer: bool = False
    reg_optimizee: bool = False
    reg_option: str = 'hessian'
    alpha: float = 5e-4
    beta: float = 1e-4
    regularize_time: str = 'posterior'
    reg_scale: float = 0.5
    hessian_itrs: int = 10
    meta_optimizer: str = 'rmsprop'
    meta_learning_rate_decay: float = 1.0
    meta_learning_rate_decay_steps: int = 1000
    meta_learning_rate_factors: Sequence[float] = (1.0,)
    meta_learning_rate_shares: Sequence[float] = (0.0,)
    average_decay: float = 0.0
    gradient_clip_by: str = 'entry'
    rms_decay: float = 0.9
    rms_epsilon: float = 1e-20
    l2_reg: float = 0.0
    evaluation_period: int = 1
    evaluation_epochs: int = 20
    validation_score: str = 'mean'
    validation_floor: float = 1e-9
    checkpoint_every: int = 0
    swap_memory: bool = False
    xla: bool = False


#: Options of `metaopt.train_optimizer` that were fields by another name -> the field.
FORMER_NAMES = {'evaluation': 'validation', 'imitate': 'imitation'}


def described(training: MetaTraining, run: Run,
              options: Dict[str, Any]) -> Tuple[MetaTraining, Run]:
    """The records of a run of which single fields are given by name.

    Args:
      training, run: a `MetaTraining`, a `Run`.
      options: dict of fields of either, of `FORMER_NAMES`, and of `Keywords`; those describe a
        `MetaTraining` of their own, in place of `training`.

    Returns:
      `MetaTraining`, `Run`.

    Raises:
      TypeError: an option is none of these.
      ValueError: see `meta_training`.
    """
    fields, words, carried_out = {}, {}, {}
    for name, value in options.items():
        name = FORMER_NAMES.get(name, name)
        if name in Run._fields:
            carried_out[name] = value
        elif name in Keywords._fields and not isinstance(value, MetaOptimizer):
            words[name] = value
        elif name in MetaTraining._fields:
            fields[name] = value
        else:
            raise TypeError('train_optimizer has no option %r' % name)
    run = run._replace(**carried_out)
    if set(words) <= set(MetaTraining._fields) - {'meta_optimizer'}:  # the same by both names
        return training._replace(**dict(fields, **words)), run
    training = meta_training(Keywords()._replace(**words), run.seed)
    return training._replace(**fields), run


def meta_training(words: Keywords, seed: Optional[int] = None,
                  validation_rows: Sequence[Row] = ()) -> MetaTraining:
    """The `MetaTraining` that `Keywords` describe.

    Args:
      words: the `Keywords`.
      seed: of the penalty's random vectors.
      validation_rows: see `Validation`.

    Raises:
      ValueError: words that do not go together; the message begins with one of them.
    """
    if words.checkpoint_every and words.swap_memory:
        raise ValueError('checkpoint_every and swap_memory do not go together')
    num_unrolls, unroll_length = _unrolls(words)
    return MetaTraining(
        curriculum=_curriculum(words), num_unrolls=num_unrolls, unroll_length=unroll_length,
        max_unrolls=words.max_unrolls, episodes=_episodes(words),
        episode_limit=words.episode_limit or None,
        initial_params=words.initial_params, reset_state=words.reset_rnn_params,
        mini_batch_size=words.mini_batch_size, data_freeze=words.data_freeze,
        scaling_ranges=tuple(words.scaling_ranges) if words.random_scaling else (),
        scaling_of=words.scaling_of, objectives_of=words.meta_objective_of,
        late_emphasis=words.late_emphasis, unplanned_share=words.unplanned_episodes,
        evolution=_evolution(words), problems_at_once=words.problems_at_once,
        imitation=_imitation(words),
        penalty=_penalty(words, seed), meta_optimizer=_meta_optimizer(words),
        validation=Validation(words.evaluation_period, words.evaluation_epochs,
                              tuple(validation_rows), words.validation_score,
                              words.validation_floor),
        checkpoint_every=words.checkpoint_every, swap_memory=words.swap_memory, xla=words.xla)


def _curriculum(words):
    """The `Curriculum`; without `if_cl` one stage of fixed length."""
    if not words.if_cl:
        return Curriculum.fixed(words.fix_num_steps, words.fix_num_steps_eval)
    curriculum = Curriculum(tuple(words.cl_steps), words.cl_patience)
    try:
        curriculum.check()
    except ValueError as error:
        raise ValueError('cl_steps: %s' % error) from error
    return curriculum


def _unrolls(words):
    """The number of unrolls of an episode (None: as many as it needs) and their lengths."""
    if words.fix_unroll or words.if_cl or any(words.episode_steps):
        return None, words.fix_unroll_length
    return (Drawn(words.num_unroll_scale, words.min_num_unrolls),
            Drawn(words.num_partial_unroll_itr_scale, words.min_num_itr_partial_unroll))


def _episodes(words):
    """The `EpisodeSchedule`, or None."""
    if not any(words.episode_steps):
        return None
    if words.if_cl:
        raise ValueError('episode_steps and if_cl do not go together')
    if not all(words.episode_steps):
        raise ValueError('episode_steps: an episode takes at least 1 step')
    begins = _shares(words, 'episode_shares', 'episode_steps')
    return EpisodeSchedule(tuple(words.episode_steps), begins, words.short_episodes)


def _shares(words, name, values_name):
    """Shares of the run, one for each of some values.

    Raises:
      ValueError: they do not increase from 0, or are not as many.
    """
    shares, values = tuple(getattr(words, name)), tuple(getattr(words, values_name))
    if len(shares) != len(values) or shares[0] != 0.0 or tuple(sorted(set(shares))) != shares:
        raise ValueError('%s=%s must begin with 0 and increase, one for each of %s=%s' % (
            name, ','.join(map(str, shares)), values_name, ','.join(map(str, values))))
    return shares


def _imitation(words):
    if not words.if_mt:
        return None
    return Imitation(words.mt_teacher, words.mt_ratio, words.mt_k, words.mt_learning_rate)


def _evolution(words):
    """The `Config` of persistent evolution strategies; None: back-propagation."""
    if words.meta_gradient == 'backprop':
        return None
    if words.if_mt or words.reg_optimizer or words.reg_optimizee:
        raise ValueError('meta_gradient=pes goes neither with if_mt nor with reg_optimizer and '
                         'reg_optimizee')
    return evolution_strategies.Config(words.pes_pairs, words.pes_sigma)


def _penalty(words, seed):
    """The `Penalty`; `NoPenalty` where neither the optimizer nor the optimizee has one."""
    if not (words.reg_optimizer or words.reg_optimizee):
        return NoPenalty()
    return Penalty(
        words.reg_option, words.hessian_itrs, seed, alpha=words.alpha, beta=words.beta,
        on_optimizer=words.reg_optimizer, on_optimizee=words.reg_optimizee,
        time=words.regularize_time, scale=words.reg_scale)


def _meta_optimizer(words):
    begins = _shares(words, 'meta_learning_rate_shares', 'meta_learning_rate_factors')
    return MetaOptimizer(
        name=words.meta_optimizer, rms_decay=words.rms_decay, rms_epsilon=words.rms_epsilon,
        l2_reg=words.l2_reg, clip_by=words.gradient_clip_by,
        decay_rate=words.meta_learning_rate_decay,
        decay_steps=words.meta_learning_rate_decay_steps,
        rate_factors=tuple(zip(begins, words.meta_learning_rate_factors)),
        average_decay=words.average_decay)
