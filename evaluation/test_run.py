"""Runs any `tf.train.Optimizer` on a problem (`test_optimizer`), and times it."""

import collections
import time

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import unroll
from problems import datasets

#: What `run_wall_clock_test` measures, in seconds, and the median step in units of Adam's.
WallClock = collections.namedtuple('WallClock', 'total_time median_step step_times times_adam')


def test_optimizer(optimizer, problem, num_iter, dataset=datasets.EMPTY_DATASET, batch_size=None,
                   seed=None, graph=None, logdir=None, record_every=None):
    """Runs an optimizer on a problem.

    Args:
      optimizer: any `tf.train.Optimizer`, made in the graph.
      problem: a `Problem`.
      num_iter: number of steps.
      dataset: a `Dataset`.
      batch_size: examples for each step; None: all.
      seed: of the initial parameters and the batches; or a list of arrays, the initial parameters.
      graph: where to run; None: the default graph.
      logdir: run folder or checkpoint whose meta-parameters the optimizer gets first.
      record_every: keep parameters, objective and gradients every so many steps; None: never.

    Returns:
      objective_values: list of the (mini-batch) objectives before each step.
      parameters: list of arrays, the parameters at the end.
      records: dict with lists `step`, `objective`, `parameters`, `gradients`.
    """
    with (graph or tf.get_default_graph()).as_default() as graph:
        run = TestRun(optimizer, problem, num_iter, dataset, batch_size, seed, logdir)
        objective_values, records = [], {}
        with tf.Session(graph=graph) as session:
            run.start(session)
            step = session.make_callable([run.objective, run.train])
            for index in range(num_iter):
                if record_every and index % record_every == 0:
                    run.record(session, index, records)
                objective_values.append(float(step()[0]))
            return objective_values, session.run(run.parameters), records


class TestRun:
    """The graph of one test; batches are in a variable, so that steps feed nothing.

    Args: as for `test_optimizer`.

    Attributes:
      objective: the mini-batch objective before the next step.
      gradients, dense_gradients: its gradients, as the problem gives them and as tensors.
      parameters: the variables.
      train: the operation of one step.
    """

    def __init__(self, optimizer, problem, num_iter, dataset, batch_size, seed, logdir=None):
        if logdir is not None:
            optimizer.init_from_checkpoint(logdir)
        explicit = isinstance(seed, (list, tuple))
        rng = np.random.RandomState(None if explicit else seed)
        initial = seed if explicit else problem.init_tensors(seed)
        batches = dataset.batch_indices(num_iter, batch_size or dataset.size, rng)
        self.parameters = [
            tf.Variable(value, trainable=False, dtype=tf.float32, use_resource=True,
                        name='parameter_%d' % index) for index, value in enumerate(initial)]
        self._build(optimizer, problem, unroll.dataset_variables(dataset),
                    unroll.dataset_variables(datasets.Dataset(batches, batches))[0])

    def _build(self, optimizer, problem, data, batches):
        index = tf.Variable(0, trainable=False, use_resource=True, name='step')
        here = tf.minimum(index.read_value(), max(0, batches.shape.as_list()[0] - 1))
        batch = [tf.gather(array, batches[here]) for array in data]
        read = [parameter.read_value() for parameter in self.parameters]
        self.objective = problem.objective(read, *batch)
        self.gradients = problem.gradients(self.objective, read)
        self.dense_gradients = [tf.convert_to_tensor(gradient) for gradient in self.gradients]
        with tf.control_dependencies([self.objective, here]):
            self.train = optimizer.apply_gradients(zip(self.gradients, self.parameters),
                                                   global_step=index)
        self._init = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer())

    def start(self, session):
        """Initialises everything."""
        session.run(self._init)

    def record(self, session, index, records):
        """Adds what is known before step `index`."""
        objective, parameters, gradients = session.run(
            [self.objective, self.parameters, self.dense_gradients])
        for key, value in (('step', index), ('objective', float(objective)),
                           ('parameters', parameters), ('gradients', gradients)):
            records.setdefault(key, []).append(value)


def run_wall_clock_test(optimizer, problem, num_steps, dataset=datasets.EMPTY_DATASET, seed=None,
                        logdir=None, batch_size=None):
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
    run = TestRun(optimizer, problem, num_steps + 1, dataset, batch_size, seed, logdir)
    with tf.Session() as session:
        run.start(session)
        step = session.make_callable(run.train)
        step()
        return [_timed(step) for _ in range(num_steps)]


def _timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
