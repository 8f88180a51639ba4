"""An episode: unrolls one after another on new initial values, a meta-step after each."""

from typing import Any, List, NamedTuple, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import UnrollReport
from l2o.metatraining.context import Context
from l2o.metatraining.draw import Draw
from l2o.metatraining.drawing import draw_key
from l2o.metatraining.progress import EPISODE
from l2o.metatraining.trained_problem import EpisodeStart


class Plan(NamedTuple):
    """What is drawn of an episode before it begins."""

    lengths: List[int]  # steps of each unroll
    start: EpisodeStart
    planned: int  # the number of steps that the optimizer is told; 0: it is not
    teacher: Any  # a `TeacherRun` that all of its unrolls imitate; None: it imitates nothing
    stride: int  # batches that the teacher sees in each step of the student
    batches: np.ndarray  # int [steps * stride, batch size], of the teacher's steps
    other_batches: Optional[np.ndarray]  # int [steps, batch size], of the steps' objectives
    #: Int [unrolls, batch size], of the objective after the last step of each.
    last_batches: Optional[np.ndarray]


def run_episode(context: Context, draw: Draw, session: tf.Session) -> None:
    """Trains on one episode of one of the problems of a draw.

    An episode that imitates does so in all of its unrolls: the teacher's trajectory goes on from
    unroll to unroll, and the student is at the teacher's points and sees the first of the batches
    that each label sums up ("Training Stronger Baselines for Learning to Optimize",
    arXiv 2010.09089, section 3.2).

    All that is random in it comes from `Progress.generator`. The episode ends early where its
    objective explodes, where the run is at its end, and where the chief of a cluster has gone on.

    Args:
      context: the run's; its `Progress` takes note of every unroll and of the episode.
      draw: what is trained on.
      session: of the draw's graph.
    """
    training, progress = context.training, context.progress
    rng = progress.generator(EPISODE, progress.meta_iterations)
    trained = (draw.trained[0] if len(draw.trained) == 1
               else draw.trained[rng.randint(len(draw.trained))])
    if trained.examples.is_part and not training.data_freeze:
        trained.examples.load_others(session, rng)
    plan = _plan(context, trained, rng)
    fresh = training.reset_state or not _is_usable(trained.carried_state(session))
    rate_factor = {draw.rate_factor: training.meta_optimizer.rate_factor(context.share)}
    finite, done, labels, teacher_state = 0, 0, None, None
    for index, length in enumerate(plan.lengths):
        if context.machine.left_behind(progress):
            break
        key = draw_key(rng)
        here = plan.batches[done * plan.stride:(done + length) * plan.stride]
        share_done = (done + length) / sum(plan.lengths)
        importance = 1.0 + training.late_emphasis * (3.0 * share_done ** 2 - 1.0)
        if plan.teacher is not None:
            params = plan.start.params if index == 0 else session.run(trained.unroll.state.params)
            labels, teacher_state = plan.teacher.run(session, params, teacher_state, here, key,
                                                     plan.start.feed)
        feed = trained.feed(
            plan.start, here[::plan.stride], key, first_unroll=index == 0,
            reset_state=index == 0 and fresh, planned=plan.planned, importance=importance,
            teacher_steps=labels, regularize=training.penalty.counts(index, len(plan.lengths)),
            other_batches=None if plan.other_batches is None
            else plan.other_batches[done:done + length],
            last_batch=None if plan.last_batches is None else plan.last_batches[index])
        feed.update(rate_factor)
        report = _run_unroll(context, trained, session, feed, plan.teacher is not None)
        finite, done = finite + is_finite(report), done + length
        if (report.ended_early or _is_too_high(report, training.episode_limit)
                or progress.unrolls == training.max_unrolls):
            break
    progress.nonfinite_streak = 0 if finite else progress.nonfinite_streak + 1
    progress.iteration += 1
    progress.meta_iterations += 1


def _plan(context, trained, rng):
    """What is drawn of an episode before it begins: a `Plan`."""
    training = context.training
    lengths = _unroll_lengths(context, rng)
    start = trained.draw_start(rng)
    unplanned = training.unplanned_share and rng.uniform() < training.unplanned_share
    teacher = _teacher(context, trained, rng)
    stride = 1 if teacher is None else training.imitation.steps_per_label
    batches = trained.examples.batches(sum(lengths) * stride, rng)
    others = None
    if training.objectives_of == 'other_batches':
        others = trained.examples.other_batches(sum(lengths), rng)
    last = trained.examples.batches(len(lengths), rng) if training.is_summed else None
    return Plan(lengths, start, 0 if unplanned else sum(lengths), teacher, stride, batches, others,
                last)


def _teacher(context, trained, rng):
    """The teacher of an episode, or None; several take the episodes that imitate in turn."""
    training, progress = context.training, context.progress
    stage = progress.curriculum.stage if len(training.curriculum.stages) > 1 else None
    if not trained.teachers or rng.uniform() >= training.imitation.share(stage):
        return None
    progress.imitated += 1
    return trained.teachers[(progress.imitated - 1) % len(trained.teachers)]


def is_finite(report: UnrollReport) -> bool:
    """Whether an unroll's meta-objective and all of its meta-gradient are finite."""
    return report.nonfinite_share == 0 and bool(np.isfinite(report.meta_objective))


def _is_too_high(report, limit):
    """Whether an episode is given up."""
    return limit is not None and not report.imitated and not report.meta_objective <= limit


def _is_usable(state):
    """Whether an episode can go on with a carried state: there was one before, and it is finite."""
    return (all(np.isfinite(array).all() for array in state)
            and any(array.any() for array in state))


def _unroll_lengths(context, rng):
    """The number of steps of each unroll of an episode."""
    training, length = context.training, context.training.unroll_length
    steps = _episode_steps(context, rng)

    def draw():
        return length if isinstance(length, int) else length.draw(rng)

    if steps is None:
        return [draw() for _ in range(training.num_unrolls.draw(rng))]
    lengths = []
    while steps > 0:
        lengths.append(min(draw(), steps))
        steps -= lengths[-1]
    return lengths


def _episode_steps(context, rng):
    """The number of steps of an episode; None: as many as the unrolls that are drawn have."""
    schedule, share = context.training.episodes, context.share
    if schedule is None:
        return context.training.curriculum.train_steps(context.progress.curriculum)
    if rng.uniform() < schedule.short_share:
        return schedule.steps[0]
    return [steps for steps, begin in zip(schedule.steps, schedule.begins) if begin <= share][-1]


def _run_unroll(context, trained, session, feed, imitates):
    """One unroll and one step of the meta-optimizer, reported: an `UnrollReport`."""
    progress, reporter = context.progress, context.reporter
    details: Any = {}
    trace: Any = {}
    if reporter.wants_details(progress):
        details = {'objectives': trained.unroll.problem_objectives,
                   'state': trained.unroll.next_state.optimizer}
    if reporter.wants_timeline(progress):
        trace = dict(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                     run_metadata=tf.RunMetadata())
    report, details, _, _ = session.run(
        [trained.step.report, details, trained.step.imitate if imitates else trained.step.train,
         trained.unroll.carry], feed, **trace)
    if trace:
        reporter.timeline(trace['run_metadata'])
    report = UnrollReport(imitated=imitates, **report)
    progress.nonfinite_unrolls += not is_finite(report)
    reporter.unroll(progress, report, details)
    progress.unrolls += 1
    return report
