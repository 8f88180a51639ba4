"""Meta-training and evaluation of learned optimizers.

`train_optimizer` meta-trains: on each of a series of problems it runs episodes of unrolls and steps
the meta-optimizer after every unroll ("Learned Optimizers that Scale and Generalize",
arXiv 1703.04813, section 4), with the curriculum, imitation and curvature penalties of "Training
Stronger Baselines for Learning to Optimize" (arXiv 2010.09089). `test_optimizer` and
`run_wall_clock_test` are those of `evaluation`.
"""

import collections
import gc
import os
import random
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from evaluation.test_run import run_wall_clock_test, test_optimizer
from metatraining import meta_step, reporting
from metatraining.meta_step import META_OPTIMIZERS, MetaOptimizer
from metatraining.progress import Progress
from optimizer import unroll
from problems import datasets
from runs import machines, run_files
from techniques import curriculum as curricula
from techniques import imitation, random_scaling

__all__ = ['Evaluation', 'Imitation', 'META_OPTIMIZERS', 'MetaOptimizer', 'TrainingResult',
           'run_wall_clock_test', 'sample_numiter', 'test_optimizer', 'train_optimizer']

BEST_CHECKPOINT = run_files.CHECKPOINT + '-0'
NONFINITE_LIMIT = 10  # meta-iterations in a row without any finite unroll that end a run

#: Which share `ratio` of the unrolls imitates a teacher of `techniques.imitation`, and how many of
#: the teacher's steps make one of the student's.
Imitation = collections.namedtuple('Imitation', 'teacher ratio steps_per_label')

#: Validation every `period` meta-iterations, over `epochs` initial values and batch orders.
Evaluation = collections.namedtuple('Evaluation', 'period epochs')
Evaluation.__new__.__defaults__ = (1, 20)

#: What one unroll of meta-training reports: the meta-objective (in `imitated` unrolls the imitation
#: objective), the problem's last objective, the gradient's norm and share of non-finite entries,
#: the number of steps.
UnrollReport = collections.namedtuple(
    'UnrollReport', 'meta_objective objective gradient_norm nonfinite_share penalty steps imitated')

#: What meta-training ends with: the best validation cost (infinite if none was finite), where its
#: meta-parameters are saved (None if none was), the number of meta-iterations, of unrolls, and of
#: unrolls whose meta-objective or meta-gradient was not finite.
TrainingResult = collections.namedtuple(
    'TrainingResult', 'best_cost checkpoint meta_iterations unrolls nonfinite_unrolls')
TrainingResult.__new__.__defaults__ = (0, 0)


class NothingFiniteError(RuntimeError):
    """Meta-training in which every unroll had a non-finite objective or gradient."""


DEFAULT_META_OPTIMIZER, DEFAULT_EVALUATION = MetaOptimizer(), Evaluation()


def sample_numiter(scale, min_steps, rng=np.random):
    """An exponentially distributed number of steps: `min_steps` plus a draw of mean `scale`."""
    return int(rng.exponential(scale) + min_steps)


def train_optimizer(logdir, optimizer_spec, problems_and_data, num_problems, num_meta_iterations,
                    num_unroll_func, num_partial_unroll_itrs_func, learning_rate=1e-4,
                    gradient_clip=5.0, is_chief=True, select_random_problems=True, callbacks=None,
                    obj_train_max_multiplier=-1, out=sys.stdout, curriculum=None, imitate=None,
                    penalty=None, evaluation=DEFAULT_EVALUATION,
                    meta_optimizer=DEFAULT_META_OPTIMIZER,
                    reset_rnn_params=True, normal_initial_params=False, mini_batch_size=10000,
                    data_freeze=False, random_scaling=False, save_period=1, resume=True, seed=None,
                    reporter=None, keep_checkpoints=1, machine=None, unroll_options=None,
                    xla=False):
    """Meta-trains the optimizer that a `Spec` describes.

    Args:
      logdir: folder for checkpoints; created if need be. The meta-parameters of the best validation
        are saved there as `model.ckpt-0`.
      optimizer_spec: has `build()`, which returns a `TrainableOptimizer`.
      problems_and_data: list of (problem spec, dataset or None, batch size or None), or of
        `problems.problem_spec.Row`.
      num_problems: how many problems are drawn, one after another.
      num_meta_iterations: episodes on each problem.
      num_unroll_func: called for each episode, returns its number of unrolls; None: as many as the
        curriculum's stage is long.
      num_partial_unroll_itrs_func: called for each unroll, returns its number of steps.
      learning_rate: of the meta-optimizer.
      gradient_clip: bound of the meta-gradient's norm; not positive: none.
      is_chief: whether this process saves checkpoints.
      select_random_problems: draw the problems; else go through a shuffled list of them.
      callbacks: functions of the problem (built), called after each draw.
      obj_train_max_multiplier: an unroll ends early where the objective exceeds the initial one by
        this factor; -1: never.
      out: file for the lines of progress.
      curriculum: a `techniques.curriculum.Curriculum`; None: train and validate on 100 steps.
      imitate: None or an `Imitation`.
      penalty: None or a `techniques.regularization.Penalty`.
      evaluation, meta_optimizer: see there.
      reset_rnn_params: begin each episode with fresh optimizer state.
      normal_initial_params: begin at N(0, 1) in place of the problem's own initial values.
      mini_batch_size: examples on which the meta-objective is computed; at most all.
      data_freeze: keep these examples for all episodes on a problem; else draw them anew.
      random_scaling: train in coordinates of random size, see `techniques.random_scaling`.
      save_period: meta-iterations from one saving of the state to the next.
      resume: go on from the state that is saved in `logdir`, if any; else begin anew.
      seed: of everything random, numpy's and Python's global generators too; None: drawn.
      reporter: a `reporting.Reporter`; None: one that writes to `out`.
      keep_checkpoints: how many of the latest saved meta-parameters are kept, beside the best, as
        `model.ckpt-<meta-iterations done>`.
      machine: a `machines.OneMachine`, on which this worker trains; None: this one alone. A worker
        beside the chief runs episodes on problems of its own until the chief ends the run.
      unroll_options: None or a dict with `checkpoint_every` and `swap_memory`, see
        `optimizer.unroll.build_unroll`.
      xla: compile the optimizer's update rule with XLA; TensorFlow 2 only.

    Returns:
      a `TrainingResult`.

    Raises:
      ValueError: no problems to draw from, or a saved state that doesn't fit.
      OSError, tf.errors.OpError: the folder cannot be written.
      NothingFiniteError: no unroll was finite, in the run or in so many meta-iterations in a row.
      cluster.ClusterError: the chief did not begin in time.
    """
    if not problems_and_data:
        raise ValueError('There are no problems to train on.')
    settings = _Settings(
        logdir=logdir, optimizer_spec=optimizer_spec, num_meta_iterations=num_meta_iterations,
        num_unroll_func=num_unroll_func,
        num_partial_unroll_itrs_func=num_partial_unroll_itrs_func, learning_rate=learning_rate,
        gradient_clip=gradient_clip, is_chief=is_chief,
        obj_train_max_multiplier=obj_train_max_multiplier, imitate=imitate, penalty=penalty,
        evaluation=evaluation, meta_optimizer=meta_optimizer, reset_rnn_params=reset_rnn_params,
        normal_initial_params=normal_initial_params, mini_batch_size=mini_batch_size,
        data_freeze=data_freeze, save_period=save_period, random_scaling=random_scaling,
        keep_checkpoints=keep_checkpoints, unroll_options=unroll_options or {}, xla=xla)
    seed = np.random.randint(2 ** 31 - 1) if seed is None else seed
    machine = machine or machines.OneMachine()
    progress = Progress(curriculum or curricula.Curriculum.fixed(100), seed, machine.task)
    reporter = reporter or reporting.Reporter(out)
    if machine.is_chief:
        tf.gfile.MakeDirs(logdir)
        if resume:
            restore(progress, logdir, optimizer_spec, meta_optimizer)
    if machine.is_chief and is_chief:
        (run_files.tidy if resume else run_files.discard)(logdir)
    machine.begin(progress, resume)
    draws = _draw_problems(len(problems_and_data), num_problems, select_random_problems,
                           progress.generator(_DRAWS))
    reporter.begin(progress, num_problems * num_meta_iterations if machine.is_chief else None)
    try:
        while progress.problem < num_problems and not progress.complete:
            spec, dataset, batch_size = problems_and_data[draws[progress.problem]][:3]
            kind = _ProblemTraining if machine.is_chief else _ProblemHelp
            training = kind(settings, progress, reporter, machine, spec,
                            dataset or datasets.EMPTY_DATASET, batch_size)
            for callback in callbacks or ():
                callback(training.problem)
            training.run()
            del training
            gc.collect()  # graphs are cyclic, and large
        machine.end(progress)
    finally:
        reporter.end()
    if machine.is_chief:
        _check_that_some_are_finite(progress)
    checkpoint = os.path.join(logdir, BEST_CHECKPOINT) if progress.best else None
    return TrainingResult(progress.best_cost, checkpoint, progress.meta_iterations,
                          progress.unrolls, progress.nonfinite_unrolls)


def restore(progress, logdir, optimizer_spec, meta_optimizer):
    """Goes on from a saved state, if there is one.

    Args:
      progress: a new `Progress`.
      logdir, optimizer_spec, meta_optimizer: as for `train_optimizer`.

    Raises:
      ValueError: the state is damaged or of another run.
    """
    if progress.restore(logdir):
        progress.check(meta_step.value_types(optimizer_spec.build, meta_optimizer))


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


# First words of the sequences that number the run's random generators, see `Progress.generator`.
_DRAWS, _PROBLEM, _VALIDATION, _EPISODE = range(4)


_Settings = collections.namedtuple(
    '_Settings', 'logdir optimizer_spec num_meta_iterations num_unroll_func '
    'num_partial_unroll_itrs_func learning_rate gradient_clip is_chief obj_train_max_multiplier '
    'imitate penalty evaluation meta_optimizer reset_rnn_params normal_initial_params '
    'mini_batch_size data_freeze save_period random_scaling keep_checkpoints unroll_options xla')


def _draw_problems(num_rows, num_problems, at_random, rng):
    """Which row each problem is: drawn, or from shuffled passes over the rows."""
    if at_random:
        return rng.randint(num_rows, size=num_problems)
    return np.resize(rng.permutation(num_rows), num_problems)


class _ProblemTraining:
    """Meta-training on one problem, in a graph of its own."""

    def __init__(self, settings, progress, reporter, machine, spec, dataset, batch_size):
        self._settings, self._progress, self._reporter = settings, progress, reporter
        self._machine, self._dataset = machine, dataset
        self._size = min(settings.mini_batch_size, dataset.size)
        self._batch_size = self._size if batch_size is None else min(batch_size, self._size)
        self._rng = progress.generator(_PROBLEM, progress.problem)
        _seed_global_generators(self._rng)
        self._graph = tf.Graph()
        with self._graph.as_default(), machine.device():
            tf.set_random_seed(_draw_seed(self._rng))
            self.problem = spec.build()
            self._scaled = (random_scaling.RandomScaling(self.problem)
                            if settings.random_scaling else self.problem)
            self._build()

    def _build(self):
        settings = self._settings
        with self._machine.shared_variables():
            self._optimizer = settings.optimizer_spec.build()
        self._optimizer.obj_train_max_multiplier = settings.obj_train_max_multiplier
        self._optimizer.xla = settings.xla
        self._data = unroll.dataset_variables(self._subset())
        penalty = settings.penalty if settings.penalty and settings.penalty.ever_counts else None
        self._unroll = self._optimizer.train(self._scaled, self._data, penalty,
                                             **settings.unroll_options)
        self._rollout = unroll.build_rollout(self._optimizer, self.problem, self._data)
        with self._machine.shared_variables():
            self._step = meta_step.build(self._optimizer, self._unroll, settings)
        self._teacher = None
        if settings.imitate:
            self._teacher = _Teacher(settings.imitate, self._scaled, self._data)

    def run(self):
        """Runs what is left of this problem's meta-iterations and goes on to the next problem."""
        progress, settings = self._progress, self._settings
        if progress.best:  # an interruption may have come between the two savings
            self._save_best()
        with self._machine.session(self._graph, progress, self._set_up) as self._session:
            self._load_carried()
            self._validation_points = self._draw_validation_points()
            if progress.iteration == 0:
                progress.curriculum.compare_anew()
            while progress.iteration < settings.num_meta_iterations and not progress.complete:
                self._meta_iteration()
        progress.next_problem()

    def _set_up(self, session):
        self._load(self._progress.values, session)

    def _meta_iteration(self):
        progress, settings = self._progress, self._settings
        self._rng = progress.generator(_EPISODE, progress.meta_iterations)
        if not settings.data_freeze and self._size < self._dataset.size:
            self._load_data()
        if progress.curriculum.at_stage_start:
            self._validate()
        self._train()
        progress.iteration += 1
        progress.meta_iterations += 1
        if progress.iteration % settings.evaluation.period == 0:
            self._validate()
        progress.complete = progress.curriculum.finished
        last = progress.complete or progress.iteration == settings.num_meta_iterations
        saves = last or progress.iteration % settings.save_period == 0
        if saves:
            self._save()
        self._machine.publish(progress, saves)
        if progress.nonfinite_streak >= NONFINITE_LIMIT:
            _check_that_some_are_finite(progress)

    # One episode.

    def _train(self):
        """An episode of unrolls on new initial values."""
        settings = self._settings
        _seed_global_generators(self._rng)
        lengths = self._unroll_lengths()
        (params, scales), imitated = self._start_of_episode(), False
        fresh = (settings.reset_rnn_params or self._progress.iteration == 0
                 or not all(np.isfinite(array).all() for array in self._carried()))
        nonfinite_before = self._progress.nonfinite_unrolls
        for index, length in enumerate(lengths):
            if self._machine.left_behind(self._progress):
                break
            feed = self._unroll_feed(index, len(lengths), length, params)
            feed[self._unroll.reset_state] = index == 0 and fresh
            feed.update(scales)
            imitates = self._teacher is not None and imitation.imitate_now(
                self._rng, settings.imitate.ratio)
            if imitates:
                start = params if index == 0 else self._session.run(self._unroll.state.params)
                feed.update(self._imitation_feed(start, length, feed[self._unroll.random_key],
                                                 scales, goes_on=imitated))
            self._run_unroll(feed, imitates)
            imitated = imitates
        if self._progress.nonfinite_unrolls - nonfinite_before == len(lengths):
            self._progress.nonfinite_streak += 1
        else:
            self._progress.nonfinite_streak = 0

    def _run_unroll(self, feed, imitates):
        """One unroll and one step of the meta-optimizer, reported."""
        reporter, progress, graph = self._reporter, self._progress, self._unroll
        details, trace = {}, {}
        if reporter.wants_details(progress):
            details = {'objectives': graph.problem_objectives, 'state': graph.next_state.optimizer}
        if reporter.wants_timeline(progress):
            trace = dict(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE),
                         run_metadata=tf.RunMetadata())
        report, details, _, _ = self._session.run(
            [self._step.report, details, self._step.train, graph.carry], feed, **trace)
        if trace:
            reporter.timeline(trace['run_metadata'])
        if report['nonfinite_share'] > 0 or not np.isfinite(report['meta_objective']):
            progress.nonfinite_unrolls += 1
        reporter.unroll(progress, UnrollReport(imitated=imitates, **report), details)
        progress.unrolls += 1

    def _unroll_lengths(self):
        """The number of steps of each unroll of an episode."""
        draw, settings = self._settings.num_partial_unroll_itrs_func, self._settings
        if settings.num_unroll_func is not None:
            return [draw() for _ in range(settings.num_unroll_func())]
        lengths, left = [], self._progress.curriculum.train_steps
        while left > 0:
            lengths.append(min(draw(), left))
            left -= lengths[-1]
        return lengths

    def _unroll_feed(self, index, num_unrolls, length, params):
        graph, penalty = self._unroll, self._settings.penalty
        # Every unroll feeds the same tensors: a graph is compiled anew for each set of them.
        feed = {graph.objective_weights: np.full(length, 1.0 / length),
                graph.batches: self._batches(length, self._rng),
                graph.first_unroll: index == 0, graph.imitate: False,
                graph.random_key: self._rng.randint(2 ** 30, size=2),
                graph.regularize: penalty is not None and penalty.counts(index, num_unrolls)}
        feed.update(zip(graph.initial_params, params))
        if self._teacher is not None:
            feed.update({place: np.zeros([1] + place.shape.as_list()[1:])
                         for place in graph.teacher_steps})
        return feed

    def _imitation_feed(self, start, length, key, scales, goes_on):
        batches = self._batches(length * self._settings.imitate.steps_per_label, self._rng)
        steps = self._teacher.run(self._session, start, batches, key, scales, goes_on)
        feed = {place: -step for place, step in zip(self._unroll.teacher_steps, steps)}
        feed[self._unroll.imitate] = True
        return feed

    def _start_of_episode(self):
        """Initial values, and what to feed so that they are in this episode's coordinates."""
        params = self._initial_params()
        if not self._settings.random_scaling:
            return params, {}
        scales = self._scaled.draw(self._rng)
        return ([param / scale for param, scale in zip(params, scales)],
                dict(zip(self._scaled.scales, scales)))

    def _initial_params(self):
        if self._settings.normal_initial_params:
            return [self._rng.standard_normal(shape) for shape in self.problem.param_shapes]
        with tf.Graph().as_default(), tf.Session() as session:
            return session.run(self.problem.init_tensors(_draw_seed(self._rng)))

    def _batches(self, num_batches, rng):
        subset = self._dataset._replace(data=self._dataset.data[:self._size])
        return subset.batch_indices(num_batches, self._batch_size, rng)

    def _subset(self):
        if self._size == self._dataset.size:
            return self._dataset
        chosen = self._rng.permutation(self._dataset.size)[:self._size]
        return self._dataset._replace(data=self._dataset.data[chosen],
                                      labels=self._dataset.labels[chosen])

    def _load_data(self):
        for variable, array in zip(self._data, self._subset()):
            variable.load(array, self._session)

    # Validation.

    def _draw_validation_points(self):
        """Pairs of initial values and batch seed: the same for every validation on a problem."""
        self._rng = self._progress.generator(_VALIDATION, self._progress.problem)
        return [(self._initial_params(), _draw_seed(self._rng))
                for _ in range(self._settings.evaluation.epochs)]

    def _validate(self):
        """Validates the meta-parameters and does what the curriculum then says."""
        progress, stage = self._progress, self._progress.curriculum.stage
        values, held = self._machine.hold(self._session, self._step.variables)
        cost = self._validation_cost(held)
        verdict = progress.curriculum.update(cost)
        self._reporter.validation(progress, stage, cost, verdict.improved)
        if verdict.improved:
            progress.best, progress.best_cost = values, cost
            self._save_best()
        if verdict.advanced or verdict.finished:
            self._load({name: value for name, value in progress.best.items()
                        if name != 'global_step'}, self._session)

    def _validation_cost(self, held):
        """The mean objective after `validation_steps` steps; `held` is what else to feed."""
        steps, graph, costs = self._progress.curriculum.validation_steps, self._rollout, []
        for params, seed in self._validation_points:
            feed = dict(held)
            feed.update(zip(graph.initial_params, params))
            rng = np.random.RandomState(seed)
            feed[graph.batches] = self._batches(steps, rng)
            feed[graph.random_key] = rng.randint(2 ** 30, size=2)
            costs.append(self._session.run(graph.final_objective, feed))
        return float(np.mean(costs))

    # Saving.

    def _save_best(self):
        if self._settings.is_chief:
            run_files.write_checkpoint(self._settings.logdir, 0, self._progress.best)

    def _save(self):
        """Saves what the run needs to go on."""
        progress, settings = self._progress, self._settings
        progress.values = self._session.run(self._step.variables)
        progress.carried = [] if settings.reset_rnn_params else self._carried()
        if not settings.is_chief:
            return
        if settings.keep_checkpoints:
            run_files.write_checkpoint(settings.logdir, progress.meta_iterations, progress.values)
        progress.save(settings.logdir)
        run_files.keep_latest(settings.logdir, settings.keep_checkpoints)

    def _load(self, values, session):
        for name, value in values.items():
            self._step.variables[name].load(value, session)

    def _carried(self):
        """The optimizer's state at the end of the last unroll, flat."""
        return self._session.run(tf.nest.flatten(self._unroll.state.optimizer))

    def _load_carried(self):
        places = tf.nest.flatten(self._unroll.state.optimizer)
        if self._progress.iteration and not self._settings.reset_rnn_params:
            for place, value in zip(places, self._progress.carried):
                place.load(value, self._session)


class _ProblemHelp(_ProblemTraining):
    """What a worker beside the chief does on a problem: episodes, until the chief leaves its own.

    Validation, saving and the curriculum are the chief's.
    """

    def run(self):
        """Runs episodes; on return `progress` says how the run goes on."""
        progress, settings = self._progress, self._settings
        with self._machine.session(self._graph, progress, self._set_up) as self._session:
            while self._machine.follow(progress):
                self._rng = progress.generator(_EPISODE, progress.meta_iterations)
                self._train()
                progress.iteration += 1
                progress.meta_iterations += 1
                if progress.iteration % settings.evaluation.period == 0:
                    self._reporter.episode(progress)


def _seed_global_generators(rng):
    """For what draws from numpy's and Python's own generators: problems, numbers of unrolls."""
    np.random.seed(_draw_seed(rng))
    random.seed(_draw_seed(rng))


def _draw_seed(rng):
    return int(rng.randint(2 ** 31 - 1))


class _Teacher:
    """A teacher's trajectory beside the student's, in the same graph."""

    def __init__(self, imitate, problem, data):
        teacher = imitate.teacher
        self._params = [tf.placeholder(tf.float32, shape) for shape in problem.param_shapes]
        self._batches = tf.placeholder(tf.int32, [None, None])
        self._key = tf.placeholder(tf.int32, [2])
        self._initial_state = teacher.initial_state(self._params)
        self._state = tf.nest.map_structure(
            lambda tensor: tf.placeholder(tensor.dtype, tensor.shape), self._initial_state)
        self._result = imitation.unroll_teacher(
            teacher, problem, self._params, self._state, self._batches, *data,
            steps_per_label=imitate.steps_per_label, key=self._key + [unroll.NOISE, 0])
        self._reached = None

    def run(self, session, params, batches, key, scales, goes_on):
        """The steps `[n] + shape` from `params`.

        Args:
          session: where to run.
          params: list of arrays.
          batches: `[n * steps_per_label, batch]`.
          key: of the student's unroll.
          scales: what else to feed.
          goes_on: with the state of the last run, not a new one.
        """
        feed = dict(scales)
        feed.update(zip(self._params, params))
        state = self._reached if goes_on else session.run(self._initial_state, feed)
        feed.update(zip(tf.nest.flatten(self._state), tf.nest.flatten(state)))
        feed.update({self._batches: batches, self._key: key})
        steps, self._reached = session.run([self._result.steps, self._result.state], feed)
        return steps
