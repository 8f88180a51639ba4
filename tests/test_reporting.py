"""What meta-training tells: lines, a bar on a terminal, event files, a timeline."""

import collections
import fcntl
import glob
import io
import json
import os
import pty
import struct
import termios

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metaopt
import metarun
from l2o.commandline import flags
from l2o.metatraining import config, history, reporting
from l2o.metatraining.progress import Progress
from l2o.techniques import curriculum as curricula
from l2o.techniques import regularization
from optimizer import OPTIMIZERS
from problems import problem_generator as pg
from problems.problem_spec import Spec

State = collections.namedtuple('State', 'log_lr rnn')
DETAILS = {'objectives': np.array([2.0, 1.0]),
           'state': State(log_lr=[np.full([1, 3], -7.0), np.full([2], -5.0)],
                          rnn=(np.zeros([2, 2]),))}


def report(meta_objective=0.5, imitated=False, steps=10):
    return config.UnrollReport(meta_objective=meta_objective, objective=3.0, gradient_norm=4.0,
                                nonfinite_share=0.25, penalty=6.0, steps=steps, imitated=imitated)


def new_progress():
    return Progress(seed=1)


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def events(folder):
    """Tag -> list of (step, value or histogram) in a folder's event files."""
    found = {}
    for path in sorted(glob.glob(os.path.join(str(folder), 'events.*'))):
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                kind = value.WhichOneof('value')
                found.setdefault(value.tag, []).append((event.step, getattr(value, kind)))
    return found


# Progress.


def test_a_line_for_each_validation():
    out, clock, progress = io.StringIO(), Clock(), new_progress()
    reporter = reporting.Reporter(out, clock=clock)
    reporter.begin(progress, 3)
    reporter.unroll(progress, report(0.25))
    reporter.unroll(progress, report(0.75))
    reporter.unroll(progress, report(9.0, imitated=True))
    clock.now += 12
    reporter.validation(progress, 0, 1.23456, True)
    reporter.validation(progress, 1, float('nan'), False)
    assert out.getvalue() == (
        'meta-iteration 0, stage 1, meta-objective 0.5, validation 1.235 (best), 12 s\n'
        'meta-iteration 0, stage 2, validation nan, 12 s\n')


def test_a_line_a_minute():
    out, clock, progress = io.StringIO(), Clock(), new_progress()
    reporter = reporting.Reporter(out, clock=clock)
    progress.meta_iterations = 5  # goes on from there
    reporter.begin(progress, 15)
    for second in range(1, 121):
        clock.now += 1
        if second == 100:
            progress.meta_iterations = 7
        reporter.unroll(progress, report(second / 100, steps=20, imitated=second == 60))
    assert out.getvalue() == (
        'meta-iteration 5/15, stage 1, imitation objective 0.6, 20 steps/s, 60 s\n'
        'meta-iteration 7/15, stage 1, meta-objective 1.2, 20 steps/s, 8 min left, 120 s\n')


def test_a_bar_on_a_terminal():
    out, clock, progress = Terminal(), Clock(), new_progress()
    reporter = reporting.Reporter(out, clock=clock)
    reporter.begin(progress, 4)
    clock.now += 1
    progress.meta_iterations = 1
    reporter.unroll(progress, report(steps=500))
    reporter.validation(progress, 0, 2.0, True)
    reporter.end()
    text = out.getvalue()
    assert 'meta-iteration 1/4' in text and '500 steps/s' in text and 'left, stage 1' in text
    assert 'validation 2 (best), 1 s\n' in text
    assert text.rstrip(' ').endswith('\r')  # the bar is wiped away


@pytest.mark.parametrize('columns', [0, 60])
def test_a_bar_fits_its_terminal(columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', columns and 24, columns, 0, 0))
    with os.fdopen(theirs, 'w') as out:
        progress, clock = new_progress(), Clock()
        reporter = reporting.Reporter(out, clock=clock)
        reporter.begin(progress, 4)
        clock.now += 1
        reporter.unroll(progress, report(steps=123456))
        shown = os.read(ours, 65536).decode().split('\r')
        reporter.end()
    os.close(ours)
    assert any('meta-iteration 0/4' in line for line in shown)
    assert max(map(len, shown)) <= (columns or 80)


@pytest.mark.parametrize('seconds, words', [
    (0, '0 s'), (99, '99 s'), (150, '2 min'), (5900, '98 min'), (7200, '2.0 h')])
def test_durations(seconds, words):
    assert reporting.in_words(seconds) == words


def test_silence():
    reporter, progress = reporting.Reporter(None), new_progress()
    reporter.begin(progress, 1)
    assert not reporter.wants_details(progress) and not reporter.wants_timeline(progress)
    reporter.unroll(progress, report())
    reporter.validation(progress, 0, 1.0, True)
    reporter.end()


# History.


def rows_of(folder):
    return [(int(row['meta_iterations']), int(row['problem']), float(row['validation']))
            for row in history.read(str(folder))]


def test_the_history_has_a_row_for_each_validation(tmp_path):
    clock, progress = Clock(), new_progress()
    reporter = reporting.Reporter(None, clock=clock, history=history.History(str(tmp_path), clock))
    reporter.begin(progress, 3)
    reporter.unroll(progress, report(0.25))
    reporter.unroll(progress, report(0.75))
    reporter.unroll(progress, report(9.0, imitated=True))
    clock.now += 12
    progress.validation_steps = 40
    reporter.validation(progress, 1, 1.5, True)
    reporter.validation(progress, 1, float('nan'), False)
    first, second = history.read(str(tmp_path))
    assert float(first['meta_objective']) == 0.5 and float(first['imitation_objective']) == 9.0
    assert (first['stage'], first['validation_steps'], first['best'], first['seconds']) == (
        '2', '40', '1', '12.0')
    assert second['meta_objective'] == '' and second['validation'] == 'nan'


@pytest.mark.parametrize('state, kept', [
    ((0, 0, 0), []), ((0, 1, 1), [0, 1]), ((0, 2, 2), [0, 1, 2]), ((1, 0, 2), [0, 1, 2]),
    ((1, 1, 3), [0, 1, 2, 3, 4])])
def test_a_run_that_goes_on_leaves_out_the_rows_after_its_saved_state(state, kept, tmp_path):
    """State: draw, meta-iterations on it, meta-iterations in all."""
    progress, clock = new_progress(), Clock()
    first = history.History(str(tmp_path), clock)
    first.begin(progress)
    for index, (problem, done) in enumerate([(0, 0), (0, 1), (0, 2), (1, 2), (1, 3)]):
        progress.problem, progress.meta_iterations = problem, done
        clock.now += 10
        first.validation(progress, 0, float(index), False)
    progress.problem, progress.iteration, progress.meta_iterations = state
    clock.now += 1000  # the interruption
    second = history.History(str(tmp_path), clock)
    second.begin(progress)
    clock.now += 5
    second.validation(progress, 0, 9.0, False)
    assert [int(value) for _, _, value in rows_of(tmp_path)] == kept + [9]
    assert float(history.read(str(tmp_path))[-1]['seconds']) == 10 * len(kept) + 5


# TensorBoard.


def test_event_files_hold_what_was_reported(tmp_path):
    progress = new_progress()
    reporter = reporting.Reporter(None, reporting.Summaries(str(tmp_path), 2))
    reporter.begin(progress, 1)
    for step in range(5):
        wanted = reporter.wants_details(progress)
        assert wanted == (step % 2 == 0)
        reporter.unroll(progress, report(step, imitated=step == 4), DETAILS if wanted else {})
        progress.unrolls += 1
    reporter.validation(progress, 1, 0.125, True)
    found = events(tmp_path)  # already there: each report is flushed
    reporter.end()
    assert found['unroll/meta_objective'] == [(0, 0.0), (2, 2.0)]
    assert found['unroll/imitation_objective'] == [(4, 4.0)]
    for tag, value in (('gradient_norm', 4.0), ('nonfinite_share', 0.25), ('penalty', 6.0),
                       ('problem_0/objective', 3.0), ('stage', 1.0)):
        assert found['unroll/' + tag] == [(step, value) for step in (0, 2, 4)]
    assert found['validation/cost'] == [(5, 0.125)] and found['validation/stage'] == [(5, 2.0)]
    rates = found['state/log_lr'][0][1]
    assert (rates.min, rates.max, rates.num, rates.sum) == (-7, -5, 5, -31)
    assert sum(rates.bucket) == 5 and len(rates.bucket) == len(rates.bucket_limit)
    assert found['state/rnn'][0][1].num == 4
    assert found['problem_0/objectives'][0][1].sum == 3


def test_histogram_of_what_is_not_finite():
    histogram = reporting._histogram('tag', [np.nan, np.inf, 2.0]).histo
    assert (histogram.num, histogram.min, histogram.max) == (1, 2, 2)
    assert reporting._histogram('tag', [np.nan]).histo.num == 1


# In a real run.


def train(folder, reporter):
    metaopt.train_optimizer(
        str(folder), Spec(OPTIMIZERS['TrainableAdam'], (), {}),
        [(Spec(pg.Quadratic, (3,), {}), None, None)], num_problems=2, num_meta_iterations=2,
        num_partial_unroll_itrs_func=lambda: 3, run=metaopt.Run(seed=1, reporter=reporter),
        training=metaopt.MetaTraining(
            curriculum=curricula.Curriculum.fixed(6), validation=metaopt.Validation(1, 1),
            imitation=metaopt.Imitation('sgd', 0.5),
            penalty=regularization.Penalty('jacob', on_optimizer=True, time='always')))


def test_event_files_of_a_run(tmp_path):
    train(tmp_path, reporting.Reporter(None, reporting.Summaries(str(tmp_path), 3)))
    found = events(tmp_path)
    assert [step for step, _ in found['unroll/gradient_norm']] == [0, 3, 6]
    assert [step for step, _ in found['validation/cost']] == [0, 2, 4, 4, 6, 8]
    assert any(tag.startswith('state/') for tag in found)
    assert {'unroll/problem_0/objective', 'unroll/problem_1/objective'} <= set(found)
    assert all(value > 0 for _, value in found['unroll/penalty'])
    kinds = [found.get('unroll/' + kind, []) for kind in ('meta_objective', 'imitation_objective')]
    assert sorted(step for kind in kinds for step, _ in kind) == [0, 3, 6]


class Spy:
    """Counts the fetches of each run of an unroll."""

    def __init__(self, monkeypatch):
        self.fetched, run = [], tf.Session.run

        def counting_run(session, fetches, *args, **kwargs):
            self.fetched.append(len(tf.nest.flatten(fetches)))
            self.options = getattr(self, 'options', []) + [bool(kwargs)]
            return run(session, fetches, *args, **kwargs)

        monkeypatch.setattr(tf.Session, 'run', counting_run)


def test_off_means_no_fetch(tmp_path, monkeypatch):
    off = Spy(monkeypatch)
    train(tmp_path / 'off', reporting.Reporter(None))
    assert not events(tmp_path / 'off') and not any(off.options)
    unroll = len(config.UnrollReport._fields) - 1 + 2
    assert off.fetched.count(unroll) == 8


def test_timeline_of_a_run(tmp_path):
    train(tmp_path, reporting.Reporter(None, timeline=str(tmp_path)))
    with open(str(tmp_path / reporting.TIMELINE)) as handle:
        trace = json.load(handle)['traceEvents']
    names = {event.get('args', {}).get('op') for event in trace}
    assert 'MatMul' in names or 'Mul' in names


def test_event_files_of_a_new_folder(tmp_path):
    """The folder of the run is there before the event file."""
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN, values)
    values(['metarun', '--train_dir=%s' % (tmp_path / 'new'), '--include_bowl_problems', '--quiet',
            '--optimizer=GlobalLearningRate', '--fix_unroll', '--num_meta_iterations=1',
            '--evaluation_epochs=1', '--summary_period=1'])
    metarun.main(values)
    assert events(tmp_path / 'new' / 'GlobalLearningRate_GRUCell_20_2')['unroll/steps']
