"""Meta-training and evaluation of learned optimizers.

`train_optimizer` meta-trains: on each of a series of problems it runs episodes of unrolls and steps
the meta-optimizer after every unroll ("Learned Optimizers that Scale and Generalize",
arXiv 1703.04813, section 4), with the curriculum, imitation and curvature penalties of "Training
Stronger Baselines for Learning to Optimize" (arXiv 2010.09089). `test_optimizer` and
`run_wall_clock_test` are those of `evaluation`.
"""

import gc
import sys
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, TextIO

import numpy as np

from l2o.evaluation.rollout import run_wall_clock_test, test_optimizer
from l2o.metatraining import config, meta_step, options, reporting, training_graph
from l2o.metatraining.config import (
    Evaluation,
    Imitation,
    MetaOptimizer,
    MetaTraining,
    NothingFiniteError,
    Run,
    TrainingResult,
    Validation,
)
from l2o.metatraining.episode import run_episode
from l2o.metatraining.progress import Progress
from l2o.metatraining.store import Store
from l2o.metatraining.validation import Validator
from l2o.runs import machines
from l2o.techniques.averaging import MovingAverage
from optimizer import OPTIMIZERS
from problems.problem_spec import as_row

__all__ = ['Evaluation', 'Imitation', 'MetaOptimizer', 'MetaTraining', 'NothingFiniteError', 'Run',
           'TrainingResult', 'Validation', 'register_optimizers', 'run_wall_clock_test',
           'sample_numiter', 'sigmoid_weights', 'test_optimizer', 'train_optimizer']

NONFINITE_LIMIT = 10  # meta-iterations in a row without any finite unroll that end a run

# First words of the sequences that number the run's random generators, see `Progress.generator`.
_DRAWS, _PROBLEM, _VALIDATION, _EPISODE = range(4)


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


def train_optimizer(logdir: str, optimizer_spec: Any, problems_and_data: Sequence[Sequence[Any]],
                    num_problems: int, num_meta_iterations: int,
                    num_unroll_func: Optional[Callable[[], int]] = None,
                    num_partial_unroll_itrs_func: Optional[Callable[[], int]] = None,
                    learning_rate: Optional[float] = None, gradient_clip: Optional[float] = None,
                    is_chief: bool = True,
                    select_random_problems: bool = True,
                    callbacks: Optional[Sequence[Callable[[Any], Any]]] = None,
                    obj_train_max_multiplier: Optional[float] = None,
                    out: Optional[TextIO] = sys.stdout, *,
                    training: MetaTraining = MetaTraining(), run: Run = Run(),
                    **changes: Any) -> TrainingResult:
    """Meta-trains the optimizer that a `Spec` describes.

    Args:
      logdir: folder of the run; created if need be. The meta-parameters of the best validation
        are saved there as `model.ckpt-0`.
      optimizer_spec: has `build()`, which returns a `TrainableOptimizer`.
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
      training: a `MetaTraining`: what is learned, and from what.
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
    """
    if not problems_and_data:
        raise ValueError('There are no problems to train on.')
    training, run = options.described(training, run, changes)
    training = options.with_arguments(training, changes, {
        'meta_learning_rate': learning_rate, 'gradient_clip_level': gradient_clip,
        'objective_training_max_multiplier': obj_train_max_multiplier})
    if not (changes.get('fix_unroll') or changes.get('if_cl')):
        training = options.with_functions(training, num_unroll_func, num_partial_unroll_itrs_func)
    options.check(training)
    seed = np.random.RandomState().randint(2 ** 31 - 1) if run.seed is None else run.seed
    machine, reporter = run.machine or machines.OneMachine(), run.reporter
    reporter = reporter or reporting.Reporter(out)
    progress = Progress(seed, machine.task, config.as_data(training))
    store = Store(logdir, run.keep_checkpoints, is_chief and machine.is_chief)
    first_checkpoint = None
    if machine.is_chief:
        store.begin(run.resume)
        if run.resume:
            first_checkpoint = store.restore(progress, lambda: meta_step.saved_types(
                optimizer_spec.build, training.meta_optimizer))
    machine.begin(progress, run.resume)
    work = _Work(training, run, progress, store, machine, reporter, num_meta_iterations,
                 num_problems)
    draws = _draw_problems(len(problems_and_data), num_problems, training.problems_at_once,
                           select_random_problems, progress.generator(_DRAWS))
    reporter.begin(progress, num_problems * num_meta_iterations if machine.is_chief else None)
    if first_checkpoint:
        reporter.notice('begins with the meta-parameters in %s' % first_checkpoint)
    try:
        while progress.problem < num_problems and not progress.complete:
            rows = [as_row(problems_and_data[index])
                    for index in draws[progress.problem]]
            graph = training_graph.build(
                optimizer_spec, rows, training, machine,
                progress.generator(_PROBLEM, progress.problem))
            for callback in callbacks or ():
                for problem in graph.problems:
                    callback(problem.problem)
            (_train if machine.is_chief else _help)(work, graph)
            del graph
            gc.collect()  # graphs are cyclic, and large
        machine.end(progress)
    finally:
        reporter.end()
    if machine.is_chief:
        _check_that_some_are_finite(progress)
    best_cost = min(progress.best_cost, progress.baseline_cost)
    return TrainingResult(best_cost, store.best_checkpoint if np.isfinite(best_cost) else None,
                          progress.meta_iterations, progress.unrolls, progress.nonfinite_unrolls,
                          progress.trained_is_best)


class _Work(NamedTuple):
    """What stays the same in all of a run."""

    training: MetaTraining
    run: Run
    progress: Progress
    store: Store
    machine: Any
    reporter: Any
    num_meta_iterations: int  # on each draw of problems
    num_problems: int  # draws


def _train(work, graph):
    """What is left of the meta-iterations on a draw of problems: the loop of meta-training."""
    training, progress, store, machine = work.training, work.progress, work.store, work.machine
    if progress.trained_is_best:  # an interruption may have come between the two savings
        store.save_best(progress.best)
    with machine.session(graph.graph, progress, _loader(graph, progress)) as session:
        _load_carried_state(work, graph, session)
        validator = Validator(graph.validations, training.validation,
                              progress.generator(_VALIDATION, progress.problem))
        if progress.iteration == 0:
            _save(work, graph, session)  # before any checkpoint, so that it is known whose that is
            _validate_baseline(work, graph, session, validator)
        while progress.iteration < work.num_meta_iterations and not progress.complete:
            _run_episode(work, graph, session)
            spent = 0 < training.max_unrolls <= progress.unrolls
            if spent or progress.iteration % training.validation.period == 0:
                _validate(work, graph, session, validator)
            progress.complete = progress.complete or spent
            last = progress.complete or progress.iteration == work.num_meta_iterations
            saves = last or progress.iteration % work.run.save_period == 0
            if saves:
                _save(work, graph, session)
            machine.publish(progress, saves)
            if progress.nonfinite_streak >= NONFINITE_LIMIT:
                _check_that_some_are_finite(progress)
    progress.next_problem()


def _help(work, graph):
    """What a worker beside the chief does: episodes, until the chief leaves these problems.

    Validation, saving and the curriculum are the chief's.
    """
    progress, machine = work.progress, work.machine
    with machine.session(graph.graph, progress, _loader(graph, progress)) as session:
        while machine.follow(progress):
            _run_episode(work, graph, session)
            if progress.iteration % work.training.validation.period == 0:
                work.reporter.episode(progress)


def _run_episode(work, graph, session):
    """An episode on one of the problems, at the meta-learning rate of this part of the run."""
    progress, config = work.progress, work.training.meta_optimizer
    rng = progress.generator(_EPISODE, progress.meta_iterations)
    problem = graph.problems[0] if len(graph.problems) == 1 else graph.problems[
        rng.randint(len(graph.problems))]
    if problem.examples.is_part and not work.training.data_freeze:
        problem.examples.load_others(session, rng)
    share = progress.meta_iterations / (work.num_meta_iterations * work.num_problems)
    run_episode(problem, session, work.training, progress, share, work.reporter, work.machine, rng,
                {graph.rate_factor: config.rate_factor(share)})
    progress.iteration += 1
    progress.meta_iterations += 1


def _validate_baseline(work, graph, session, validator):
    """Validates what the training on these problems begins with: the best so far."""
    progress = work.progress
    progress.curriculum = progress.curriculum.compare_anew()
    values, cost = _validation_cost(work, graph, session, validator)
    progress.best, progress.best_cost, progress.baseline_cost = {}, np.inf, np.inf
    if np.isfinite(cost):
        progress.baseline_cost = cost
        work.store.save_best(values)
    work.reporter.validation(progress, progress.curriculum.stage, cost, bool(np.isfinite(cost)))


def _validate(work, graph, session, validator):
    """Validates the meta-parameters and does what the curriculum then says."""
    curriculum, progress, stage = (work.training.curriculum, work.progress,
                                   work.progress.curriculum.stage)
    values, cost = _validation_cost(work, graph, session, validator)
    progress.curriculum, verdict = curriculum.update(progress.curriculum, cost)
    if verdict.improved:
        progress.best, progress.best_cost = values, cost
    best = verdict.improved and progress.trained_is_best
    if best:
        work.store.save_best(values)
    if len(curriculum.stages) == 1:
        work.store.save_validated(progress.meta_iterations, values)
    elif verdict.improved:
        work.store.save_best_of_stage(stage, values)
    work.reporter.validation(progress, stage, cost, best)
    if progress.best and (verdict.advanced or verdict.finished):
        _load_but_count(graph, session, progress.best)
    if verdict.advanced:
        _begin_stage(work, graph, session, validator)
    progress.complete = verdict.finished


def _begin_stage(work, graph, session, validator):
    """Validates the best of the stage before at the new stage's length: this is to beat.

    Where nothing trained was as good as what the run began with, that is validated, too.
    """
    progress, store = work.progress, work.store
    untrained = None if progress.trained_is_best else store.read_best()
    progress.baseline_cost = np.inf
    if untrained:
        _load_but_count(graph, session, untrained)
        progress.baseline_cost = _validation_cost(work, graph, session, validator)[1]
        _load_but_count(graph, session, progress.best)
    _, cost = _validation_cost(work, graph, session, validator)
    progress.curriculum = progress.curriculum.begin(cost)
    progress.best_cost = progress.curriculum.best_cost
    if progress.trained_is_best:
        store.save_best(progress.best)
    work.reporter.validation(progress, progress.curriculum.stage, cost, progress.trained_is_best)


def _validation_cost(work, graph, session, validator):
    """The present meta-parameters, or their moving average, and what they cost."""
    training, machine = work.training, work.machine
    values, frozen = machine.read_frozen(session, graph.variables)
    if training.meta_optimizer.average_decay:
        values = MovingAverage.applied(values)
        frozen = {graph.variables[name].value(): value for name, value in values.items()}
    steps = training.curriculum.validation_steps(work.progress.curriculum)
    return values, validator.cost(session, steps, frozen)


def _save(work, graph, session):
    """Saves what the run needs to go on."""
    progress = work.progress
    progress.values = session.run(graph.variables)
    if not work.training.reset_state:
        progress.carried = [problem.carried_state(session) for problem in graph.problems]
    work.store.save(progress)


def _load_carried_state(work, graph, session):
    if work.progress.iteration and not work.training.reset_state:
        for problem, values in zip(graph.problems, work.progress.carried):
            problem.load_carried_state(session, values)


def _loader(graph, progress):
    """The function of a session that gives shared variables the values that are saved."""
    return lambda session: _load(graph, session, progress.values)


def _load_but_count(graph, session, values):
    """Gives variables other values; meta-steps are counted on."""
    _load(graph, session, {name: value for name, value in values.items() if name != 'global_step'})


def _load(graph, session, values):
    for name, value in values.items():
        graph.variables[name].load(value, session)


def _draw_problems(num_rows, num_draws, at_once, at_random, rng):
    """For each draw the list of its rows: random ones, or from shuffled passes over the rows."""
    if at_once == 1:
        rows = (rng.randint(num_rows, size=num_draws) if at_random
                else np.resize(rng.permutation(num_rows), num_draws))
        return rows[:, np.newaxis].tolist()
    if at_random:
        return [np.resize(rng.permutation(num_rows), at_once).tolist() for _ in range(num_draws)]
    return np.resize(rng.permutation(num_rows), (num_draws, at_once)).tolist()


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
