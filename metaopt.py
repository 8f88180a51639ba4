"""Meta-training and evaluation of learned optimizers.

`train_optimizer` meta-trains: on each of a series of problems it runs episodes of unrolls and steps
the meta-optimizer after every unroll ("Learned Optimizers that Scale and Generalize",
arXiv 1703.04813, section 4), with the curriculum, imitation and curvature penalties of "Training
Stronger Baselines for Learning to Optimize" (arXiv 2010.09089). `test_optimizer` and
`run_wall_clock_test` are those of `evaluation`.
"""

import gc
import sys
from typing import Any, Callable, Dict, Optional, Sequence, TextIO

import numpy as np

from l2o.evaluation.rollout import run_wall_clock_test, test_optimizer
from l2o.evaluation.run_report import RunReport
from l2o.metatraining import draw, history, inherited, meta_step, options, record, reporting
from l2o.metatraining.config import (
    Evaluation,
    MetaOptimizer,
    MetaTraining,
    NothingFiniteError,
    Run,
    TrainingResult,
    Validation,
)
from l2o.metatraining.context import Context
from l2o.metatraining.drawing import draw_problems
from l2o.metatraining.progress import DRAWS, PROBLEM, Progress
from l2o.metatraining.store import Store, saved_facts
from l2o.metatraining.training_session import TrainingSession
from l2o.runs import machines
from l2o.techniques.imitation import Imitation
from optimizer import OPTIMIZERS
from problems.problem_spec import as_row
from problems.repeatable import unrepeatable

__all__ = ['Evaluation', 'Imitation', 'MetaOptimizer', 'MetaTraining', 'NothingFiniteError', 'Run',
           'TrainingResult', 'Validation', 'register_optimizers', 'run_wall_clock_test',
           'sample_numiter', 'sigmoid_weights', 'test_optimizer', 'train_optimizer']

NONFINITE_LIMIT = 10  # meta-iterations in a row without any finite unroll that end a run


def register_optimizers() -> Dict[str, type]:
    """The learned optimizers: dict from names to classes."""
    return dict(OPTIMIZERS)


def sample_numiter(scale: float, min_steps: int = 50, rng: Any = np.random) -> int:
    """`min_steps` plus a rounded exponential draw of mean `scale`, at most 3 times `min_steps`."""
    return int(np.clip(np.round(rng.exponential(scale)) + min_steps, 0, 3 * min_steps))


def sigmoid_weights(n: int, slope: float = 0.1, offset: float = 5) -> np.ndarray:
    """Objective weights [n] that grow as sigmoid(slope * (step - offset)) and sum to 1."""
    weights = 1.0 / (1.0 + np.exp(-slope * (np.arange(n) - offset)))
    return weights / np.sum(weights)


def train_optimizer(logdir: str, optimizer_spec: Optional[Any],
                    problems_and_data: Sequence[Sequence[Any]],
                    num_problems: int, num_meta_iterations: int,
                    num_unroll_func: Optional[Callable[[], int]] = None,
                    num_partial_unroll_itrs_func: Optional[Callable[[], int]] = None,
                    learning_rate: Optional[float] = None, gradient_clip: Optional[float] = None,
                    is_chief: bool = True,
                    select_random_problems: bool = True,
                    callbacks: Optional[Sequence[Callable[[Any], Any]]] = None,
                    obj_train_max_multiplier: Optional[float] = None,
                    out: Optional[TextIO] = sys.stdout, *,
                    training: Optional[MetaTraining] = None, run: Run = Run(),
                    **changes: Any) -> TrainingResult:
    """Meta-trains the optimizer that a `Spec` describes.

    Args:
      logdir: folder of the run; created if need be. The meta-parameters of the best validation
        are saved there as `model.ckpt-0`, and `run.json` says what the run is, so that
        `optimizer.load` opens it and the same call goes on with it.
      optimizer_spec: has `build()`, which returns a `TrainableOptimizer`; None: the optimizer of
        `begin_with`.
      problems_and_data: list of `Row`, or of (problem spec, dataset or None, batch size or None),
        with or without a name and a seed.
      num_problems: how many times problems are drawn, one draw after another; a draw is one
        problem, or `training.problems_at_once`.
      num_meta_iterations: episodes on each draw.
      num_unroll_func: called for each episode, returns its number of unrolls; None: see
        `training.num_unrolls`.
      num_partial_unroll_itrs_func: called for each unroll, returns its number of steps; None: see
        `training.unroll_length`.
      learning_rate: of the meta-optimizer; None: that of `training`, 1e-4 by default.
      gradient_clip: bound of the meta-gradient, see `MetaOptimizer.clip_by`; not positive: none;
        None: that of `training`, 5 by default.
      is_chief: whether this process saves checkpoints.
      select_random_problems: draw the problems; else go through a shuffled list of them.
      callbacks: functions of the problem (built), called after each draw.
      obj_train_max_multiplier: an unroll ends early where the objective exceeds the initial one by
        this factor; -1: never; None: as `training` says, by default never.
      out: file for the lines of progress, where `run` has no reporter.
      training: a `MetaTraining`: what is learned, and from what. None: the defaults; with
        `begin_with`, the settings that metarun made that optimizer with, see
        `l2o.metatraining.inherited`.
      run: a `Run`: how that is carried out.
      **changes: what shall be different in `training` and `run`, nothing else of which changes:
        fields of either; and settings by their published names, those of the flags: `fix_unroll`,
        `if_cl`, `if_mt`, `evaluation_epochs` and all others of `l2o.settings`.

    Returns:
      a `TrainingResult`.

    Raises:
      ValueError: no problems to draw from, keywords that do not go together, or a saved state that
        doesn't fit.
      TypeError: an unknown option.
      OSError: the folder cannot be written.
      NothingFiniteError: no unroll was finite, in the run or in so many meta-iterations in a row.
      l2o.runs.cluster.ClusterError: the chief did not begin in time.
      l2o.runs.run_lock.FolderInUseError: another process trains in the folder.
    """
    if not problems_and_data:
        raise ValueError('There are no problems to train on.')
    rows = list(map(as_row, problems_and_data))
    optimizer_spec, training = inherited.or_given(
        optimizer_spec, training, dict(changes, num_unrolls=num_unroll_func,
                                       meta_learning_rate=learning_rate,
                                       gradient_clip_level=gradient_clip),
        rows, num_meta_iterations)
    training, run = options.described(training, run, changes)
    training = options.with_arguments(training, changes, {
        'meta_learning_rate': learning_rate, 'gradient_clip_level': gradient_clip,
        'objective_training_max_multiplier': obj_train_max_multiplier})
    if not (changes.get('fix_unroll') or changes.get('if_cl')):
        training = options.with_functions(training, num_unroll_func, num_partial_unroll_itrs_func)
    options.check(training)
    machine = run.machine or machines.OneMachine()
    seed = _seed(run, logdir)
    described = record.described(optimizer_spec, rows, training, num_problems, num_meta_iterations,
                                 select_random_problems)
    writes = is_chief and machine.is_chief
    reporter = run.reporter or reporting.Reporter(
        out, history=history.History(logdir) if writes else None)
    context = Context(
        training, run._replace(seed=seed), Progress(seed, machine.task),
        Store(logdir, described, run.keep_checkpoints, writes), machine, reporter,
        num_meta_iterations, num_problems)
    with context.store.lock():
        _begin(context, optimizer_spec, rows)
        return _run(context, optimizer_spec, rows, select_random_problems, callbacks or ())


def _seed(run, logdir):
    """The seed: the given one, that of the run that goes on, or a drawn one."""
    if run.seed is not None:
        return run.seed
    saved = saved_facts(logdir) if run.resume else None
    return np.random.RandomState().randint(2 ** 31 - 1) if saved is None else saved['seed']


def _run(context, optimizer_spec, rows, select_random_problems, callbacks):
    """What is left of a run: one draw of problems after another; a `TrainingResult`."""
    training, progress, machine = context.training, context.progress, context.machine
    draws = draw_problems(len(rows), context.num_problems, training.problems_at_once,
                          select_random_problems, progress.generator(DRAWS))
    report = RunReport(context.store.folder)
    try:
        while progress.problem < context.num_problems and not progress.complete:
            built = draw.build(optimizer_spec, [rows[index] for index in draws[progress.problem]],
                               training, machine, progress.generator(PROBLEM, progress.problem))
            for trained in built.trained:
                _check_that_it_repeats(context, trained)
                for callback in callbacks:
                    callback(trained.problem)
            with machine.session(built.graph, progress,
                                 lambda session, built=built: built.load(session, progress.values)
                                 ) as session:
                here = TrainingSession(context, built, session)
                if machine.is_chief:
                    _train(context, here, report)
                else:
                    _help(context, here)
            del built, here
            gc.collect()  # graphs are cyclic, and large
        machine.end(progress)
        _report(context, report, last=True)
    finally:
        context.reporter.end()
    if machine.is_chief:
        _check_that_some_are_finite(progress)
    best_cost = min(progress.best_cost, progress.baseline_cost)
    return TrainingResult(
        best_cost, context.store.best_checkpoint if np.isfinite(best_cost) else None,
        progress.meta_iterations, progress.unrolls, progress.nonfinite_unrolls,
        progress.trained_is_best)


def _check_that_it_repeats(context, trained):
    """Says so where a problem is random in a way that no run can repeat."""
    found = unrepeatable(trained.problem, trained.examples.dataset)
    if found is not None:
        context.reporter.notice(
            'the loss of %s %s (operation %s, %s): a run that is stopped and goes on differs from '
            'one that is not' % (
                type(trained.problem).__name__, 'draws random numbers from a state, not by '
                'tf.random.stateless_* and problems.random_numbers.key_of'
                if found.draws else 'reads on in data', found.name, found.kind))


def _begin(context, optimizer_spec, rows):
    """Goes on from what the run's folder holds, or begins there; tells the reporter."""
    progress, machine, first_checkpoint = context.progress, context.machine, None
    if machine.is_chief:
        context.store.begin(context.run.resume)
        if context.run.resume:
            first_checkpoint = context.store.restore(
                progress, context.training.begin_with, lambda: meta_step.saved_types(
                    optimizer_spec.build, context.training.meta_optimizer,
                    context.training.imitates_apart))
        if context.store.writes:
            record.write(context.store.folder, context.store.described, context.run, rows)
    machine.begin(progress, context.run.resume)
    total = context.num_problems * context.num_meta_iterations
    context.reporter.begin(progress, total if machine.is_chief else None)
    if first_checkpoint:
        context.reporter.notice('begins with the meta-parameters in %s' % first_checkpoint)


def _train(context, here, report):
    """What is left of the meta-iterations on a draw of problems: the loop of meta-training."""
    training, progress, machine = context.training, context.progress, context.machine
    if progress.trained_is_best:  # an interruption may have come between the two savings
        context.store.save_best(progress.best)
    if progress.iteration == 0:
        here.save()  # before any checkpoint, so that it is known whose that is
        here.validate_baseline()
    while progress.iteration < context.num_meta_iterations and not progress.complete:
        here.run_episode()
        spent = 0 < training.max_unrolls <= progress.unrolls
        if spent or progress.iteration % training.validation.period == 0:
            here.validate()
        progress.complete = progress.complete or spent
        last = progress.complete or progress.iteration == context.num_meta_iterations
        saves = last or progress.iteration % context.run.save_period == 0
        if saves:
            here.save()
            _report(context, report)
        machine.publish(progress, saves)
        if progress.nonfinite_streak >= NONFINITE_LIMIT:
            _check_that_some_are_finite(progress)
    progress.next_problem()


def _report(context, report, last=False):
    """Draws the history of the run, from time to time and at its end."""
    if context.store.writes:
        optimizer = context.store.described['optimizer']['name']
        report.write(history.read(context.store.folder), [
            'Optimizer: %s, seed %d' % (optimizer, context.run.seed)], last)


def _help(context, here):
    """What a worker beside the chief does: episodes, until the chief leaves these problems.

    Validation, saving and the curriculum are the chief's.
    """
    progress = context.progress
    while context.machine.follow(progress):
        here.run_episode()
        if progress.iteration % context.training.validation.period == 0:
            context.reporter.episode(progress)


def _check_that_some_are_finite(progress):
    if progress.nonfinite_streak >= NONFINITE_LIMIT:
        which = 'the last %d meta-iterations' % progress.nonfinite_streak
    elif progress.unrolls and progress.nonfinite_unrolls == progress.unrolls:
        which = 'the run'
    else:
        return
    raise NothingFiniteError(
        'every unroll of %s had a non-finite objective or gradient, so nothing can be learned: '
        'begin with smaller steps or values, or end unrolls early '
        '(objective_training_max_multiplier)' % which)
