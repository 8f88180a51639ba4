"""Runs any `tf.train.Optimizer` on a problem (`test_optimizer`), and times it."""

import os
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import inner_loop, unroll
from problems import datasets
from problems.datasets import Dataset
from problems.problem import Problem

Seed = Any  # a whole number or None; a list of arrays: the initial values themselves
Records = Dict[str, list]


class WallClock(NamedTuple):
    """Times of an optimizer's steps, in seconds."""

    total_time: float
    median_step: float
    step_times: List[float]
    times_adam: float  # the median step in units of Adam's


def test_optimizer(optimizer: tf.train.Optimizer, problem: Problem, num_iter: int,
                   dataset: Optional[Dataset] = None, batch_size: Optional[int] = None,
                   seed: Seed = None, graph: Optional[tf.Graph] = None,
                   logdir: Optional[str] = None, record_every: Optional[int] = None,
                   restore_model_name: Optional[str] = None) -> Tuple[
                       List[float], List[np.ndarray], Records]:
    """Runs an optimizer on a problem.

    An optimizer with attention steps by gradients beside the parameters; losses are at the
    parameters themselves, as in meta-training.

    Whatever is random in the problem (initial values, batches, noise) depends on the seed alone: at
    one seed all optimizers meet the same.

    Args:
      optimizer: any `tf.train.Optimizer`, made in the graph.
      problem: a `Problem`.
      num_iter: number of steps.
      dataset: a `Dataset`; None: no data.
      batch_size: examples for each step; None: all.
      seed: of initial values, batches and noise; None: drawn. A list of arrays: the initial values
        themselves.
      graph: where to run; None: the default graph.
      logdir: run folder or checkpoint whose meta-parameters the optimizer gets first.
      record_every: record every so many steps, beginning with the first; None: never.
      restore_model_name: of the checkpoint in the folder `logdir`; None: the best, or the latest.

    Returns:
      objective_values: list of the (mini-batch) objectives before each step.
      parameters: list of arrays, the parameters at the end.
      records: dict of lists with a value for each recorded step, taken before it: `iter`, its
        number, also as `step`; `objective`, on all data; for each parameter tensor the arrays
        `param` and `grad` (of the mini-batch), also as `parameters` and `gradients`, and the norms
        `param_norm` and `grad_norm`; `<variable>_<slot>`, the optimizer's slots.

    Raises:
      ValueError: the problem needs data or labels that are not there, or the optimizer has no
        meta-parameters.
    """
    with (graph or tf.get_default_graph()).as_default() as graph:
        if restore_model_name is not None:
            logdir = os.path.join(logdir or '', restore_model_name)
        run = OptimizerRun(optimizer, problem, num_iter, dataset, batch_size, seed, logdir)
        facts = run.facts(optimizer) if record_every else {}
        objective_values: List[float] = []
        records: Records = {}
        with tf.Session(graph=graph) as session:
            run.start(session)
            step = run.stepper(session)
            for index in range(num_iter):
                if record_every and index % record_every == 0:
                    _record(records, index, session.run(facts))
                objective_values.append(step())
            return objective_values, session.run(run.true_parameters), records


class OptimizerRun:
    """The graph of one test; batches are in a variable, so that steps feed nothing.

    Args: as for `test_optimizer`.

    Attributes:
      objective: the mini-batch objective before the next step.
      gradients, dense_gradients: those of the mini-batch, as the problem gives them and as tensors.
      parameters: the variables; with attention the points where gradients are taken.
      true_parameters: the parameters themselves, tensors.
      train: the operation of one step.
    """

    def __init__(self, optimizer: tf.train.Optimizer, problem: Problem, num_iter: int,
                 dataset: Optional[Dataset], batch_size: Optional[int], seed: Seed,
                 logdir: Optional[str] = None) -> None:
        dataset = datasets.EMPTY_DATASET if dataset is None else dataset
        if problem.needs_data and not dataset.size:
            raise ValueError('%s needs data: give a data set' % type(problem).__name__)
        if logdir is not None:
            if not hasattr(optimizer, 'init_from_checkpoint'):
                raise ValueError('%s has no meta-parameters to restore from %s'
                                 % (type(optimizer).__name__, logdir))
            optimizer.init_from_checkpoint(logdir)
        explicit = isinstance(seed, (list, tuple))
        initial = seed if explicit else problem.initial_values(seed)
        rng = np.random.RandomState(None if explicit else seed)
        batches = dataset.batch_indices(num_iter, batch_size or dataset.size, rng)
        self._problem, self._data = problem, unroll.dataset_variables(dataset)
        self.parameters = [_variable('parameter_%d' % index, np.asarray(value, 'float32'))
                           for index, value in enumerate(initial)]
        self._build(optimizer, _variable('batches', batches, tf.GraphKeys.LOCAL_VARIABLES),
                    rng.randint(2 ** 30, size=2).astype('int32'))

    def _build(self, optimizer, batches, key):
        index = tf.Variable(0, trainable=False, use_resource=True, name='step')
        here = tf.minimum(index.read_value(), max(0, batches.shape.as_list()[0] - 1))
        batch = [tf.gather(array, batches[here]) for array in self._data]
        read = self.true_parameters = [parameter.read_value() for parameter in self.parameters]
        self.objective = self._problem.objective(read, *batch)
        self.gradients = self._problem.gradients(self.objective, read,
                                                 inner_loop.noise_key(key, here))
        self.dense_gradients = [tf.convert_to_tensor(gradient) for gradient in self.gradients]
        with tf.control_dependencies([self.objective, here]):
            self.train = optimizer.apply_gradients(zip(self.gradients, self.parameters),
                                                   global_step=index)
        self._attends = getattr(optimizer, 'use_attention', False)
        if self._attends:
            self.true_parameters = optimizer.true_params(self.parameters)
            self.objective = self._problem.objective(self.true_parameters, *batch)
        self._init = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer(),
                              tf.tables_initializer())

    def start(self, session: tf.Session) -> None:
        """Initialises everything."""
        session.run(self._init)
        self._problem.init_fn(session)

    def stepper(self, session: tf.Session) -> Callable[[], float]:
        """The function that takes a step and returns the objective before it."""
        if not self._attends:
            both = session.make_callable([self.objective, self.train])
            return lambda: float(both()[0])
        before, step = session.make_callable(self.objective), session.make_callable(self.train)

        def one_after_another():  # a step changes what the objective is computed of
            objective = float(before())
            step()
            return objective

        return one_after_another

    def facts(self, optimizer: tf.train.Optimizer) -> Dict[str, Any]:
        """What is known before a step: name in the records -> tensor, or a list of tensors."""
        objective = self._problem.objective(self.true_parameters, *self._data)
        slots = {'%s_%s' % (parameter.name, name): optimizer.get_slot(parameter, name)
                 for parameter in self.parameters for name in optimizer.get_slot_names()}
        return dict({name: slot for name, slot in slots.items() if slot is not None},
                    objective=objective, param=self.true_parameters, grad=self.dense_gradients)


def _variable(name, array, collection=tf.GraphKeys.GLOBAL_VARIABLES):
    """A variable that begins as an array, which is kept out of the graph's definition."""
    value = tf.numpy_function(lambda: array, [], array.dtype)
    value.set_shape(array.shape)
    return tf.Variable(value, trainable=False, collections=[collection], use_resource=True,
                       name=name)


def _record(records, index, facts):
    """Adds the facts before step `index` to the records."""
    facts = dict(facts, iter=index, step=index, objective=float(facts['objective']),
                 parameters=facts['param'], gradients=facts['grad'])
    for name in ('param', 'grad'):
        facts[name + '_norm'] = [float(np.linalg.norm(array)) for array in facts[name]]
    for name, value in facts.items():
        records.setdefault(name, []).append(value)


def run_wall_clock_test(optimizer: tf.train.Optimizer, problem: Problem, num_steps: int,
                        dataset: Optional[Dataset] = None, seed: Seed = None,
                        logdir: Optional[str] = None, batch_size: Optional[int] = None) -> float:
    """Returns the median time of an optimizer's steps on a problem, in seconds.

    Args: as for `measure_steps`.
    """
    return float(np.median(_step_times(optimizer, problem, num_steps, dataset, batch_size, seed,
                                       logdir)))


def measure_steps(optimizer: tf.train.Optimizer, problem: Problem, num_steps: int,
                  dataset: Optional[Dataset] = None, seed: Seed = None,
                  logdir: Optional[str] = None, batch_size: Optional[int] = None) -> WallClock:
    """Times an optimizer's steps on a problem, in the default graph, and Adam's beside it.

    Args: as for `test_optimizer`; the first, untimed, step comes in addition to `num_steps`.

    Returns:
      a `WallClock`.
    """
    times = _step_times(optimizer, problem, num_steps, dataset, batch_size, seed, logdir)
    with tf.Graph().as_default():
        adam = _step_times(tf.train.AdamOptimizer(), problem, num_steps, dataset, batch_size, seed)
    median = float(np.median(times))
    return WallClock(sum(times), median, times, median / float(np.median(adam)))


def _step_times(optimizer, problem, num_steps, dataset, batch_size, seed, logdir=None):
    """Seconds of each step after the first."""
    run = OptimizerRun(optimizer, problem, num_steps + 1, dataset, batch_size, seed, logdir)
    with tf.Session() as session:
        run.start(session)
        step = session.make_callable(run.train)
        step()
        return [_timed(step) for _ in range(num_steps)]


def _timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
