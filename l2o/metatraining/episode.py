"""An episode: unrolls one after another on new initial values, a meta-step after each."""

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import MetaTraining, UnrollReport
from l2o.metatraining.problem_graph import Feed, ProblemGraph, draw_key
from l2o.metatraining.progress import Progress
from l2o.metatraining.reporting import Reporter
from l2o.runs.machines import OneMachine


def run_episode(graph: ProblemGraph, session: tf.Session, training: MetaTraining,
                progress: Progress, share: float, reporter: Reporter, machine: OneMachine,
                rng: np.random.RandomState, rate_feed: Feed) -> None:
    """Trains on one episode of a problem.

    An episode that imitates does so in all of its unrolls: the teacher's trajectory goes on from
    unroll to unroll, and the student is at the teacher's points and sees the first of the batches
    that each label sums up ("Training Stronger Baselines for Learning to Optimize",
    arXiv 2010.09089, section 3.2).

    Args:
      graph: a `ProblemGraph`.
      session: of its graph.
      training: the `MetaTraining`.
      progress: the run's `Progress`, which takes note of every unroll.
      share: of the run that is done, 0 to 1.
      reporter: told of every unroll.
      machine: where the run is; the episode ends when it is left behind.
      rng: decides everything random in the episode.
      rate_feed: what else to feed, the meta-learning rate's factor.
    """
    lengths = _unroll_lengths(training, progress, share, rng)
    start = graph.draw_start(rng)
    unplanned = training.unplanned_share and rng.uniform() < training.unplanned_share
    planned = 0 if unplanned else sum(lengths)
    stage = progress.curriculum.stage if len(training.curriculum.stages) > 1 else None
    imitates = bool(graph.teachers) and rng.uniform() < training.imitation.share(stage)
    if imitates:
        teacher = graph.teachers[progress.imitated % len(graph.teachers)]
        progress.imitated += 1
    stride = training.imitation.steps_per_label if imitates else 1
    batches = graph.examples.batches(sum(lengths) * stride, rng)
    others = None
    if training.objectives_of == 'other_batches':
        others = graph.examples.other_batches(sum(lengths), rng)
    fresh = training.reset_state or not _is_usable(graph.carried_state(session))
    finite, done, labels, teacher_state = 0, 0, None, None
    for index, length in enumerate(lengths):
        if machine.left_behind(progress):
            break
        key, here = draw_key(rng), batches[done * stride:(done + length) * stride]
        share_done = (done + length) / sum(lengths)
        importance = 1.0 + training.late_emphasis * (3.0 * share_done ** 2 - 1.0)
        if imitates:
            params = start.params if index == 0 else session.run(graph.unroll.state.params)
            labels, teacher_state = teacher.run(session, params, teacher_state, here, key,
                                                start.feed)
        feed = graph.feed(start, here[::stride], key, first_unroll=index == 0,
                          reset_state=index == 0 and fresh, planned=planned,
                          importance=importance, teacher_steps=labels,
                          other_batches=None if others is None else others[done:done + length],
                          regularize=training.penalty.counts(index, len(lengths)))
        feed.update(rate_feed)
        report = _run_unroll(graph, session, feed, imitates, progress, reporter)
        finite, done = finite + is_finite(report), done + length
        if (report.ended_early or _is_too_high(report, training.episode_limit)
                or progress.unrolls == training.max_unrolls):
            break
    progress.nonfinite_streak = 0 if finite else progress.nonfinite_streak + 1


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


def _unroll_lengths(training, progress, share, rng):
    """The number of steps of each unroll of an episode."""
    def draw():
        length = training.unroll_length
        return length if isinstance(length, int) else length.draw(rng)

    if training.num_unrolls is not None:
        return [draw() for _ in range(training.num_unrolls.draw(rng))]
    lengths, left = [], _episode_steps(training, progress, share, rng)
    while left > 0:
        lengths.append(min(draw(), left))
        left -= lengths[-1]
    return lengths


def _episode_steps(training, progress, share, rng):
    """The number of steps of an episode."""
    schedule = training.episodes
    if schedule is None:
        return training.curriculum.train_steps(progress.curriculum)
    if rng.uniform() < schedule.short_share:
        return schedule.steps[0]
    return [steps for steps, begin in zip(schedule.steps, schedule.begins) if begin <= share][-1]


def _run_unroll(graph, session, feed, imitates, progress, reporter):
    """One unroll and one step of the meta-optimizer, reported: an `UnrollReport`."""
    details, trace = {}, {}
    if reporter.wants_details(progress):
        details = {'objectives': graph.unroll.problem_objectives,
                   'state': graph.unroll.next_state.optimizer}
    if reporter.wants_timeline(progress):
        trace = dict(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                     run_metadata=tf.RunMetadata())
    report, details, _, _ = session.run(
        [graph.step.report, details, graph.step.train, graph.unroll.carry], feed, **trace)
    if trace:
        reporter.timeline(trace['run_metadata'])
    report = UnrollReport(imitated=imitates, **report)
    progress.nonfinite_unrolls += not is_finite(report)
    reporter.unroll(progress, report, details)
    progress.unrolls += 1
    return report
