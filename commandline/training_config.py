"""From flags to the records of a meta-training, `MetaTraining` and `Run`."""

from commandline import builders
from commandline.flags import FlagError
from metatraining.config import (
    Drawn,
    EpisodeSchedule,
    Imitation,
    MetaOptimizer,
    MetaTraining,
    Run,
    Validation,
)
from optimizer.unroll import NoPenalty
from techniques import regularization
from techniques.curriculum import Curriculum


def meta_training(values, seed):
    """What is learned: the `MetaTraining`.

    Args:
      values: of the flags.
      seed: of the run.

    Raises:
      FlagError: flags that do not go together.
    """
    if values.checkpoint_every and values.swap_memory:
        raise FlagError('--checkpoint_every and --swap_memory do not go together')
    num_unrolls, unroll_length = _unrolls(values)
    validation = Validation(
        values.evaluation_period, values.evaluation_epochs,
        tuple(builders.validation_rows(values, seed)), values.validation_score,
        values.validation_floor)
    return MetaTraining(
        curriculum=_curriculum(values), num_unrolls=num_unrolls, unroll_length=unroll_length,
        initial_params=values.initial_params, reset_state=values.reset_rnn_params,
        mini_batch_size=values.mini_batch_size, data_freeze=values.data_freeze,
        episodes=_episodes(values), episode_limit=values.episode_limit or None,
        scaling_ranges=tuple(values.scaling_ranges) if values.random_scaling else (),
        problems_at_once=values.problems_at_once, imitation=_imitation(values),
        penalty=_penalty(values, seed), meta_optimizer=_meta_optimizer(values),
        validation=validation, checkpoint_every=values.checkpoint_every,
        swap_memory=values.swap_memory, xla=builders.xla(values))


def run(values, seed, machine, reporter):
    """How it is carried out: the `Run`."""
    return Run(seed=seed, resume=not values.overwrite, save_period=values.save_period,
               keep_checkpoints=values.keep_checkpoints, machine=machine, reporter=reporter)


def _curriculum(values):
    """The `Curriculum`; without `--if_cl` one stage of fixed length."""
    if not values.if_cl:
        return Curriculum.fixed(values.fix_num_steps, values.fix_num_steps_eval)
    curriculum = Curriculum(tuple(values.cl_steps), values.cl_patience)
    try:
        curriculum.check()
    except ValueError as error:
        raise FlagError('--cl_steps: %s' % error) from error
    return curriculum


def _unrolls(values):
    """The number of unrolls of an episode (None: as many as it needs) and their lengths."""
    if values.fix_unroll or values.if_cl or any(values.episode_steps):
        return None, values.fix_unroll_length
    return (Drawn(values.num_unroll_scale, values.min_num_unrolls),
            Drawn(values.num_partial_unroll_itr_scale, values.min_num_itr_partial_unroll))


def _episodes(values):
    """The `EpisodeSchedule`, or None."""
    if not any(values.episode_steps):
        return None
    if values.if_cl:
        raise FlagError('--episode_steps and --if_cl do not go together')
    if not all(values.episode_steps):
        raise FlagError('--episode_steps: an episode takes at least 1 step')
    return EpisodeSchedule(tuple(values.episode_steps), values.short_episodes)


def _rate_factors(values):
    shares, factors = values.meta_learning_rate_shares, values.meta_learning_rate_factors
    if len(shares) != len(factors) or shares[0] != 0.0 or sorted(set(shares)) != shares:
        raise FlagError('--meta_learning_rate_shares=%s must begin with 0 and increase, one for '
                        'each of --meta_learning_rate_factors=%s'
                        % (','.join(map(str, shares)), ','.join(map(str, factors))))
    return tuple(zip(shares, factors))


def _imitation(values):
    if not values.if_mt:
        return None
    return Imitation(values.mt_teacher, values.mt_ratio, values.mt_k, values.mt_learning_rate)


def _penalty(values, seed):
    """The `Penalty`; `NoPenalty` where neither the optimizer nor the optimizee has one."""
    if not (values.reg_optimizer or values.reg_optimizee):
        return NoPenalty()
    return regularization.Penalty(
        values.reg_option, values.hessian_itrs, seed, alpha=values.alpha, beta=values.beta,
        on_optimizer=values.reg_optimizer, on_optimizee=values.reg_optimizee,
        time=values.regularize_time, scale=values.reg_scale)


def _meta_optimizer(values):
    return MetaOptimizer(
        name=values.meta_optimizer, rms_decay=values.rms_decay, rms_epsilon=values.rms_epsilon,
        l2_reg=values.l2_reg, clip_by=values.gradient_clip_by,
        decay_rate=values.meta_learning_rate_decay,
        decay_steps=values.meta_learning_rate_decay_steps,
        rate_factors=_rate_factors(values), average_decay=values.average_decay)
