"""Unrolls of meta-training and validation, against the bare objective and its gradient.

The yardstick is n times the full-data objective with its gradient, for an unroll of n steps: what
a meta-gradient over n objectives cannot do without, were they computed one by one.
"""

import time

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import measuring, models
from optimizer import unroll


class Unrolls:
    """Graphs of a training unroll, a validation unroll and the bare objective on one problem."""

    def __init__(self, problem, dataset, length, batch_size=models.BATCH_SIZE):
        self._length, self._dataset, self._batch_size = length, dataset, batch_size
        self._rng = np.random.RandomState(0)
        start = time.perf_counter()
        graph = tf.Graph()
        with graph.as_default():
            self._build(problem, unroll.dataset_variables(dataset))
            init = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        self.build_seconds = time.perf_counter() - start
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.Session(graph=graph, config=config)
        self._session.run(init)
        self._start = self._session.run(self._initial_params)

    def _build(self, problem, data):
        learned = models.hierarchical_rnn()
        self._unroll = learned.train(problem, data)
        gradients = tf.gradients(self._unroll.meta_objective, learned.meta_parameters)
        train = tf.train.RMSPropOptimizer(1e-6).apply_gradients(
            zip(gradients, learned.meta_parameters))
        self._train = [train, self._unroll.carry]
        self._rollout = unroll.build_rollout(learned, problem, data)
        self._initial_params = problem.init_tensors(0)
        params = [tf.Variable(value) for value in problem.init_tensors(0)]
        values = [tf.convert_to_tensor(param) for param in params]
        objective = problem.objective(values, *[tf.convert_to_tensor(array) for array in data])
        self._bare = tf.group(objective, *tf.gradients(objective, values))

    def _batches(self):
        return self._dataset.batch_indices(self._length, self._batch_size, self._rng)

    def train(self, first=False):
        """One unroll with its meta-step."""
        graph = self._unroll
        feed = {graph.objective_weights: np.full(self._length, 1.0 / self._length),
                graph.batches: self._batches(), graph.first_unroll: first}
        feed.update(zip(graph.initial_params, self._start))
        self._session.run(self._train, feed)

    def validate(self):
        """One rollout to its final objective."""
        feed = dict(zip(self._rollout.initial_params, self._start))
        feed[self._rollout.batches] = self._batches()
        self._session.run(self._rollout.final_objective, feed)

    def bare(self):
        """The objective on all data with its gradient, as often as the unroll is long."""
        for _ in range(self._length):
            self._session.run(self._bare)

    def close(self):
        self._session.close()


def measure(problem, dataset, length, repeats):
    """Dict of `Times` of `training`, `validation` and `bare`; seconds to build and to start."""
    unrolls = Unrolls(problem, dataset, length)
    first = measuring.seconds_of(lambda: unrolls.train(first=True))
    times = measuring.in_turns({'training': unrolls.train, 'validation': unrolls.validate,
                                'bare': unrolls.bare}, repeats)
    unrolls.close()
    return times, unrolls.build_seconds, first


def _results(group, size, measured):
    times, build, first = measured
    made = [measuring.milliseconds(group, name, times[name], size, 'bare', times['bare'])
            for name in ('training', 'validation')]
    return made + [measuring.milliseconds(group, 'bare', times['bare'], size),
                   measuring.single(group, 'build', build, 's', size),
                   measuring.single(group, 'first training unroll', first, 's', size)]


def table(repeats, examples=10000, length=20):
    """The unroll of the table: MLP 784-20-10."""
    problem = models.perceptron((20,))
    return _results('unroll', None, measure(problem, models.examples(examples), length, repeats))


def growth(parameter_counts, lengths, data_sizes, repeats):
    """How unrolls grow with parameters, with their length, and with the data."""
    results = []
    for count in parameter_counts:
        problem = models.perceptron((max(1, count // 110),), features=99)
        results += _results('unroll/parameters', models.parameter_count(problem),
                            measure(problem, models.examples(1000, 99), 10, repeats))
    for length in lengths:
        results += _results('unroll/length', length,
                            measure(models.perceptron((20,)), models.examples(1000), length,
                                    repeats))
    for size in data_sizes:
        results += _results('unroll/examples', size,
                            measure(models.perceptron((20,)), models.examples(size), 20, repeats))
    return results
