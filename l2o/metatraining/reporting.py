"""What meta-training tells while it runs: progress on a terminal or in lines, TensorBoard, a trace.

A `Reporter` is told of every unroll and validation by `metaopt.train_optimizer`; what it needs
beyond the few numbers of each unroll it asks for (`wants_details`, `wants_timeline`), so that
what is switched off costs nothing.
"""

import errno
import os
import socket
import time
from typing import Any, Callable, Dict, List, Optional, TextIO

import numpy as np
import tensorflow.compat.v1 as tf
import tqdm

from l2o.metatraining.config import UnrollReport
from l2o.metatraining.history import History
from l2o.metatraining.progress import Progress
from l2o.runs import run_files

LINE_PERIOD = 60  # seconds between lines of progress
REFRESH_PERIOD = 0.5  # seconds between changes of the bar
TIMELINE = 'timeline.json'


class Reporter:
    """Shows progress, writes summaries and a timeline.

    Args:
      out: file to write progress to, a bar if it is a terminal, else lines; None: show nothing.
      summaries: a `Summaries`, or None.
      timeline: folder for `timeline.json`, the trace of one unroll; None: write none.
      clock: gives seconds.
      prefix: what every line begins with.
      history: a `history.History`; None: none is kept.
    """

    def __init__(self, out: Optional[TextIO], summaries: Optional['Summaries'] = None,
                 timeline: Optional[str] = None, clock: Callable[[], float] = time.time,
                 prefix: str = '', history: Optional[History] = None) -> None:
        self._display = _display(out, clock, prefix)
        self._summaries, self._timeline, self._history = summaries, timeline, history
        self._objectives: List[float] = []

    def begin(self, progress: Progress, num_meta_iterations: Optional[int]) -> None:
        """Meta-training begins, or goes on from `progress`.

        Args:
          progress: has `meta_iterations`, those done.
          num_meta_iterations: how many there shall be; None: that is not known.
        """
        self._display.begin(progress.meta_iterations, num_meta_iterations)
        if self._history is not None:
            self._history.begin(progress)

    def notice(self, text: str) -> None:
        """Shows a line that the user should know."""
        self._display.line([text])

    def wants_details(self, progress: Progress) -> bool:
        """Whether the coming unroll shall be reported with `details`."""
        return self._summaries is not None and self._summaries.due(progress.unrolls)

    def wants_timeline(self, progress: Progress) -> bool:
        """Whether the coming unroll shall be traced; not the first, which sets the graph up."""
        return self._timeline is not None and progress.unrolls > 0

    def timeline(self, metadata: tf.RunMetadata) -> None:
        """Takes the `RunMetadata` of the unroll."""
        write_timeline(os.path.join(self._timeline or '', TIMELINE), metadata)
        self._timeline = None

    def unroll(self, progress: Progress, report: UnrollReport,
               details: Optional[Dict[str, Any]] = None) -> None:
        """Takes note of an unroll.

        Args:
          progress: has `curriculum`, `meta_iterations` and `unrolls` (before this one).
          report: a `config.UnrollReport`.
          details: where `wants_details`, a dict: `objectives [n + 1]`; `state`, the optimizer's
            state, a nest of arrays.
        """
        if not report.imitated:
            self._objectives.append(float(report.meta_objective))
        if details:
            self._summaries.unroll(progress, report, details)
        if self._history is not None:
            self._history.unroll(report)
        self._display.unroll(progress, report)

    def validation(self, progress: Progress, stage: int, cost: float, improved: bool) -> None:
        """Reports a validation, with the mean meta-objective of the unrolls since the last one."""
        steps = ' after %d steps' % progress.validation_steps if progress.validation_steps else ''
        self._display.line(self._done(progress, stage) + [
            'validation %.4g%s%s' % (cost, steps, ' (best)' if improved else '')])
        if self._history is not None:
            self._history.validation(progress, stage, cost, improved)
        if self._summaries is not None:
            self._summaries.validation(progress, stage, cost)

    def episode(self, progress: Progress) -> None:
        """Reports the unrolls since the last time, where there is no validation."""
        self._display.line(self._done(progress, progress.curriculum.stage))

    def _done(self, progress, stage):
        """What was done since the last time, in words."""
        parts = ['meta-iteration %d' % progress.meta_iterations, 'stage %d' % (stage + 1)]
        if self._objectives:
            parts.append('meta-objective %.4g' % np.mean(self._objectives))
        self._objectives = []
        return parts + nonfinite_in_words(progress)

    def end(self) -> None:
        """Meta-training has ended, or was interrupted."""
        self._display.end()
        if self._summaries is not None:
            self._summaries.close()


# Progress.


def _display(out, clock, prefix):
    if out is None:
        return _Nothing()
    kind = _Bar if getattr(out, 'isatty', lambda: False)() else _Lines
    return kind(out, clock, prefix)


class _Nothing:
    """Shows nothing."""

    def begin(self, done, total):
        pass

    def unroll(self, progress, report):
        pass

    def line(self, parts):
        pass

    def end(self):
        pass


class _Lines(_Nothing):
    """A line a minute, and one for each validation."""

    _period: float = LINE_PERIOD

    def __init__(self, out: TextIO, clock: Callable[[], float], prefix: str) -> None:
        self._out, self._clock, self._prefix = out, clock, prefix

    def begin(self, done, total):
        self._begun = self._last = self._clock()
        self._first, self._total, self._steps = done, total, 0

    def unroll(self, progress, report):
        self._steps += int(report.steps)
        now = self._clock()
        if now - self._last >= self._period:
            self._show(progress, report, now)
            self._last, self._steps = now, 0

    def _show(self, progress, report, now):
        total = '' if self._total is None else '/%d' % self._total
        parts = ['meta-iteration %d%s' % (progress.meta_iterations, total)]
        parts += self._status(progress, report, now) + nonfinite_in_words(progress)
        done = progress.meta_iterations - self._first
        if done and total:
            left = (now - self._begun) / done * (self._total - progress.meta_iterations)
            parts.append('%s left' % in_words(left))
        self.line(parts)

    def _status(self, progress, report, now):
        kind = 'imitation objective' if report.imitated else 'meta-objective'
        return ['stage %d' % (progress.curriculum.stage + 1),
                '%s %.4g' % (kind, report.meta_objective),
                '%.3g steps/s' % (self._steps / max(now - self._last, 1e-9))]

    def line(self, parts):
        self._write(self._prefix + ', '.join(parts + ['%.0f s' % (self._clock() - self._begun)]))

    def _write(self, text):
        self._out.write(text + '\n')
        self._out.flush()


class _Bar(_Lines):
    """A bar at the bottom of a terminal, lines of validations above it."""

    _period = REFRESH_PERIOD

    def begin(self, done, total):
        super().begin(done, total)
        sized = _has_size(self._out)
        self._bar = tqdm.tqdm(
            total=total, initial=done, file=self._out, leave=False, desc='meta-iteration',
            dynamic_ncols=sized, ncols=None if sized else 80, nrows=None if sized else 24,
            bar_format='{desc} {n_fmt}/{total_fmt} |{bar:5}| {remaining} left{postfix}')

    def _show(self, progress, report, now):
        self._bar.n = progress.meta_iterations
        self._bar.set_postfix_str(', '.join(self._status(progress, report, now)))

    def _write(self, text):
        self._bar.write(text, file=self._out)

    def end(self):
        self._bar.close()


def _has_size(terminal):
    """Whether a terminal knows its size: some pseudo-terminals say 0."""
    try:
        return os.get_terminal_size(terminal.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def nonfinite_in_words(progress: Progress) -> List[str]:
    """What to say of unrolls that were not finite, a list: nothing, where there were none."""
    count = progress.nonfinite_unrolls
    return ['%d unrolls not finite' % count] if count else []


def in_words(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return '%.0f s' % seconds
    return '%.0f min' % (seconds / 60) if seconds < 6000 else '%.1f h' % (seconds / 3600)


# TensorBoard.


class Summaries:
    """Writes event files for TensorBoard; the steps are unrolls.

    Args:
      folder: where to.
      period: unrolls from one report to the next.

    Its methods raise OSError where the file cannot be written.
    """

    def __init__(self, folder: str, period: int) -> None:
        self._period = period
        name = 'events.out.tfevents.%d.%s' % (time.time(), socket.gethostname())
        # Not by tf.summary.FileWriter: errors come up in a thread of its own.
        self._path = os.path.join(folder, name)
        self._records = tf.io.TFRecordWriter(self._path)
        self._write_event(file_version='brain.Event:2')

    def due(self, unrolls: int) -> bool:
        """Whether the unroll after so many is reported."""
        return unrolls % self._period == 0

    def unroll(self, progress: Progress, report: UnrollReport, details: Dict[str, Any]) -> None:
        """Writes the numbers of an unroll and histograms of the optimizer's state."""
        values = report._asdict()
        values.pop('ended_early')
        kind = 'imitation_objective' if values.pop('imitated') else 'meta_objective'
        values[kind] = values.pop('meta_objective')
        problem = 'problem_%d' % progress.problem
        values[problem + '/objective'] = values.pop('objective')
        values['nonfinite_unrolls'] = progress.nonfinite_unrolls
        values['stage'] = progress.curriculum.stage + 1
        summary = [_number('unroll/' + name, value) for name, value in sorted(values.items())]
        summary.append(_histogram(problem + '/objectives', details['objectives']))
        for name, arrays in sorted(_leaves(details['state']).items()):
            summary.append(_histogram('state/' + name, np.concatenate(arrays)))
        self._write(summary, progress)

    def validation(self, progress: Progress, stage: int, cost: float) -> None:
        """Writes the cost of a validation."""
        self._write([_number('validation/cost', cost), _number('validation/stage', stage + 1)],
                    progress)

    def _write(self, values, progress):
        self._write_event(summary=tf.Summary(value=values), step=progress.unrolls)

    def _write_event(self, **fields):
        try:
            self._records.write(tf.Event(wall_time=time.time(), **fields).SerializeToString())
            self._records.flush()
        except Exception as error:  # the versions of TensorFlow raise many kinds
            raise OSError(errno.EIO, 'cannot be written', self._path) from error

    def close(self) -> None:
        """Closes the file."""
        try:
            self._records.close()
        except Exception:  # it was flushed, or that has failed
            pass


def _number(tag, value):
    return tf.Summary.Value(tag=tag, simple_value=float(value))


def _histogram(tag, values, bins=30):
    """A histogram of the finite ones of `values`."""
    values = np.asarray(values, 'float64').reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        values = np.zeros(1)
    counts, edges = np.histogram(values, bins)
    return tf.Summary.Value(tag=tag, histo=tf.HistogramProto(
        min=values.min(), max=values.max(), num=values.size, sum=values.sum(),
        sum_squares=np.square(values).sum(), bucket_limit=edges[1:].tolist(),
        bucket=counts.tolist()))


def _leaves(state, path=()):
    """The arrays of a nest, flat, by the names of the fields that lead to them."""
    if hasattr(state, '_asdict'):
        children = [(path + (name,), child) for name, child in state._asdict().items()]
    elif isinstance(state, (list, tuple)):
        children = [(path, child) for child in state]
    else:
        return {'/'.join(path) or 'all': [np.reshape(state, -1)]}
    found: Dict[str, List[np.ndarray]] = {}
    for child_path, child in children:
        for name, arrays in _leaves(child, child_path).items():
            found.setdefault(name, []).extend(arrays)
    return found


# Where the time goes.


def write_timeline(path: str, metadata: tf.RunMetadata) -> None:
    """Writes the step statistics of a `RunMetadata` for chrome://tracing."""
    from tensorflow.python.client import timeline

    text = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
    run_files.write(path, text.encode())
