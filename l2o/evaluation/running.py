"""Runs candidates on problems: one run, many runs on several cores, a comparison over grids.

At one seed all candidates get the same problem, initial values and batches. What has been run is
kept, so that a comparison that was interrupted goes on where it stopped.
"""

import collections
import concurrent.futures
import concurrent.futures.process
import multiprocessing
import os
import signal
import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.evaluation import comparison, rollout
from l2o.evaluation.rules import Candidate, is_default, label
from problems.problem_spec import Row

HELD_OUT_LIMIT = 10000  # of more held-out examples, so many are measured
HELD_OUT_BATCH = 1000  # examples of one evaluation of held-out examples
ALONG_THE_WAY = 20  # how many times in a run some held-out examples are measured, ...
ALONG_THE_WAY_LIMIT = 2000  # ... so many; the best of these is what who keeps checkpoints has
EQUAL_TIME_LIMIT = 50  # at equal time a rule runs for at most so many times the steps


class Trial(NamedTuple):
    """One run: a candidate on a problem."""

    candidate: Candidate
    row: Row  # with a name
    seed: int  # of the problem, initial values and batches
    num_steps: int


class Grids(NamedTuple):
    """How the learning rates of a rule are compared."""

    finalists: int = 0  # rates of a grid that run with all seeds, the best with the first; 0: all
    screening_steps: int = 0  # length of the runs that choose them; 0: that of the test
    equal_time: bool = False  # whether rules also run for as long as a learned optimizer takes


ALL_RATES = Grids()


class EqualTime(NamedTuple):
    """The result of a rule when it has used a learned optimizer's time."""

    problem: str
    learned: str  # the learned optimizer
    summary: Any  # the `Summary` of the rule, as at equal steps
    num_steps: int  # that the rule takes in the time
    final: float  # mean final loss over the seeds
    held_out_loss: Optional[float] = None  # the mean over the seeds


class Comparison(NamedTuple):
    """What a comparison gives."""

    curves: list  # a `Curve` for each seed of what was run with all seeds
    screened: list  # those of learning rates that were left out after the first seed
    equal_time: List[EqualTime]


class WorkerDied(RuntimeError):
    """A process that ran trials was ended from outside."""


class Silent:
    """Takes note of the progress of a comparison, and shows nothing."""

    def expect(self, number: int) -> None:
        """So many more trials are going to be run."""

    def done(self, trial: Trial, curve: comparison.Curve, was_kept: bool) -> None:
        """A trial has been run, or its result been kept from before."""


# One run.


def run(trial: Trial) -> comparison.Curve:
    """Runs one trial: a `Curve`."""
    candidate, row, seed, num_steps = trial
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(seed)
        problem, optimizer = row.spec.build(seed), candidate.make(num_steps)
        test = rollout.OptimizerRun(optimizer, problem, num_steps, row.dataset, row.batch_size,
                                    seed)
        held_out = _HeldOut(problem, test, row.held_out) if row.held_out else None
        with tf.Session(graph=graph) as session:
            test.start(session)
            losses, step_time, way = _take_steps(session, test, num_steps, held_out)
            last_loss = float(session.run(test.objective))
            end = held_out.measure(session, HELD_OUT_LIMIT) if held_out else (None, None)
    return comparison.Curve(
        candidate.optimizer, candidate.learning_rate, row.name, seed, losses, step_time,
        candidate.schedule, held_out_loss=end[0], accuracy=end[1], last_loss=last_loss,
        best_held_out_loss=min((loss for loss, _ in way), default=None),
        best_accuracy=max((each for _, each in way if each is not None), default=None))


def _take_steps(session, test, num_steps, held_out):
    """The losses before each step, the seconds of a step, and held-out (loss, accuracy) along the
    way. The time is the median over parts of the run; the first step counts if it is alone."""
    step, losses, way, seconds = test.stepper(session), [], [], []
    ends = sorted({-(-num_steps * part // ALONG_THE_WAY) for part in range(1, ALONG_THE_WAY + 1)}
                  | {1})
    for begin, end in zip([0] + ends, ends):
        start = time.perf_counter()
        losses += [step() for _ in range(end - begin)]
        if begin or num_steps == 1:
            seconds.append((time.perf_counter() - start) / (end - begin))
            if held_out:
                way.append(held_out.measure(session, ALONG_THE_WAY_LIMIT))
    return losses, float(np.median(seconds)), way


class _HeldOut:
    """Loss and accuracy on examples that no step sees."""

    def __init__(self, problem: Any, test: rollout.OptimizerRun, dataset: Any) -> None:
        self._arrays = [array[:HELD_OUT_LIMIT] for array in (dataset.data, dataset.labels)]
        self._places = [tf.placeholder(array.dtype, (None,) + array.shape[1:])
                        for array in self._arrays]
        self._wanted = [problem.objective(test.true_parameters, *self._places)]
        accuracy = problem.accuracy(test.true_parameters, *self._places)
        self._wanted += [] if accuracy is None else [accuracy]

    def measure(self, session: tf.Session, limit: int) -> Tuple[float, Optional[float]]:
        """Of the first examples, at most `limit`: the loss, and the accuracy, None where there are
        no classes."""
        data, labels = (array[:limit] for array in self._arrays)
        begins = range(0, len(data), HELD_OUT_BATCH)
        means = [session.run(self._wanted, dict(zip(self._places, (
            data[begin:begin + HELD_OUT_BATCH], labels[begin:begin + HELD_OUT_BATCH]))))
            for begin in begins]
        weights = [len(data[begin:begin + HELD_OUT_BATCH]) for begin in begins]
        loss, accuracy = (list(np.average(means, 0, weights)) + [None])[:2]
        return float(loss), None if accuracy is None else float(accuracy)


# Many runs.


class Runner:
    """Runs trials, those that have not been run before, on some processes.

    Args:
      kept: has `read(trial)`, a `Curve` or None, and `write(trial, curve)`; None: nothing is kept.
      jobs: the number of processes; their results are the same as with one.
      remake: for more than one process: a function that can be pickled and makes the (candidates,
        rows) of all trials again, called in each process.
      observer: see `Silent`.
    """

    def __init__(self, kept: Any = None, jobs: int = 1, remake: Optional[Callable[[], Any]] = None,
                 observer: Any = None) -> None:
        if jobs > 1 and remake is None:
            raise ValueError('More than one job needs remake.')
        self._kept, self._observer = kept, observer or Silent()
        self._jobs, self._remake = jobs, remake
        self._pool: Any = None

    def run(self, trials: Sequence[Trial]) -> List[comparison.Curve]:
        """The curves of these trials, in their order.

        Raises:
          WorkerDied: a process was ended from outside.
        """
        self._observer.expect(len(trials))
        curves: List[Any] = [self._kept.read(trial) if self._kept else None for trial in trials]
        missing = [index for index, curve in enumerate(curves) if curve is None]
        for trial, curve in zip(trials, curves):
            if curve is not None:
                self._observer.done(trial, curve, True)
        for place, curve in self._results([trials[index] for index in missing]):
            index = missing[place]
            curves[index] = curve
            if self._kept:
                self._kept.write(trials[index], curve)
            self._observer.done(trials[index], curve, False)
        return curves

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
            self._pool = None

    def _results(self, trials):
        """Pairs (index of the trial, curve), as they are done."""
        if min(self._jobs, len(trials)) < 2:
            return ((index, run(trial)) for index, trial in enumerate(trials))
        return self._results_of_processes(trials)

    def _results_of_processes(self, trials):
        if self._pool is None:
            # They begin anew: a copy of a process in which TensorFlow has run would hang.
            self._pool = concurrent.futures.ProcessPoolExecutor(
                self._jobs, multiprocessing.get_context('spawn'), _begin_worker,
                (self._remake, os.getpid()))
        try:
            futures = {
                self._pool.submit(_run_named, label(trial.candidate), trial.row.name, trial.seed,
                                  trial.num_steps): index for index, trial in enumerate(trials)}
            for future in concurrent.futures.as_completed(futures):
                yield futures[future], future.result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise WorkerDied('a process was ended from outside') from error


#: What `remake` has made in this process: 'candidates' and 'rows', by their names.
_made: Dict[str, Any] = {}


def _begin_worker(remake, parent):
    """Signals end the process as they do by default, and so does the parent's end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)

    def follow():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    candidates, rows = remake()
    _made['candidates'] = {label(candidate): candidate for candidate in candidates}
    _made['rows'] = {row.name: row for row in rows}


def _run_named(candidate, row, seed, num_steps):
    return run(Trial(_made['candidates'][candidate], _made['rows'][row], seed, num_steps))


# Comparisons.


def compare(candidates: Sequence[Candidate], rows: Sequence[Row], seeds: Sequence[int],
            num_steps: Optional[int], runner: Runner, grids: Grids = ALL_RATES) -> Comparison:
    """Runs all candidates on all problems with all seeds, but for what the grids leave out.

    Args:
      candidates: a list of `Candidate`.
      rows: a list of `Row`, each with a name.
      seeds: a list.
      num_steps: of a run on a row that has none of its own; None: it has.
      runner: a `Runner`.
      grids: how learning rates are compared.

    Returns:
      a `Comparison`.
    """
    plan: List[Any] = [(row, num_steps or row.num_steps, candidates) for row in rows]
    screened = []
    if grids.finalists:
        plan, screened = _screen(plan, seeds[0], runner, grids)
    curves = runner.run([Trial(candidate, row, seed, length) for row, length, chosen in plan
                         for candidate in chosen for seed in seeds])
    equal_time = _equal_time(plan, seeds, curves, runner) if grids.equal_time else []
    return Comparison(curves, screened, equal_time)


def _screen(plan, seed, runner, grids):
    """The plan without the learning rates that are left out, and the curves of these.

    Adam as it comes is not left out, nor the one rate of each grid that is best over all rows.
    """
    trials = [[Trial(candidate, row, seed, min(length, grids.screening_steps or length))
               for candidate in candidates if not candidate.is_learned]
              for row, length, candidates in plan]
    found = runner.run([trial for row_trials in trials for trial in row_trials])
    singles = comparison.single_settings(comparison.summarize(found))
    curves, smaller, left_out = iter(found), [], []
    for (row, length, candidates), row_trials in zip(plan, trials):
        results = [(trial.candidate, next(curves)) for trial in row_trials]
        results.sort(key=lambda result: comparison.final_loss(result[1].losses))
        places: Dict[Tuple[str, str], int] = collections.Counter()
        finalists = set()
        for candidate, curve in results:
            grid = candidate.optimizer, candidate.schedule
            if (places[grid] < grids.finalists or is_default(candidate)
                    or label(candidate) in singles):
                finalists.add(candidate)
            else:
                left_out.append(curve)
            places[grid] += 1
        smaller.append((row, length, [candidate for candidate in candidates
                                      if candidate.is_learned or candidate in finalists]))
    return smaller, left_out


def _equal_time(plan, seeds, curves, runner):
    """The best rate of each grid, and Adam as it comes, run for as long as each learned optimizer
    takes."""
    summaries = [summary for summary in comparison.summarize(curves)
                 if summary.best or is_default(summary)]
    found, trials = [], []
    for row, length, candidates in plan:
        own = [summary for summary in summaries if summary.problem == row.name]
        by_label = {label(candidate): candidate for candidate in candidates}
        for learned in [summary for summary in own if summary.learning_rate is None]:
            for rule in [summary for summary in own if summary.learning_rate is not None]:
                ratio = min(learned.step_time / rule.step_time, EQUAL_TIME_LIMIT)
                steps = max(1, int(length * ratio))
                found.append(EqualTime(row.name, learned.optimizer, rule, steps, np.inf))
                trials += [Trial(by_label[label(rule)], row, seed, steps) for seed in seeds]
    ended = iter(runner.run(trials))
    return [_with_results(each, [next(ended) for _ in seeds]) for each in found]


def _with_results(equal_time, curves):
    return equal_time._replace(
        final=float(np.mean([comparison.final_loss(curve.losses) for curve in curves])),
        held_out_loss=comparison.mean_of_known([curve.held_out_loss for curve in curves]))
