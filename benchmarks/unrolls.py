"""Unrolls of meta-training and validation, against the bare objective and its gradient.

The yardstick for an unroll of n steps is the full-data objective with its gradient, computed n
times: a meta-gradient that computes n objectives one by one costs at least this.
"""

import functools
import time

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import measuring, models
from optimizer import unroll


class Unrolls:
    """Graphs of a training unroll, a validation unroll and the bare objective on one problem.

    Args:
      problem, dataset: what is optimized.
      length: steps of the unrolls.
      checkpoint_every: see `optimizer.unroll.build_unroll`.
      xla: whether update rules are compiled.
      batch_size: of a step.
      optimizer: which is trained, one of `models.SHIPPED`.
      device: where all of it is; None: where TensorFlow puts it.

    Attributes:
      build_seconds: making the graphs.
    """

    def __init__(self, problem, dataset, length, checkpoint_every=0, xla=False,
                 batch_size=models.BATCH_SIZE, optimizer='HierarchicalRNN', device=None):
        self._length, self._dataset, self._batch_size = length, dataset, batch_size
        self._rng = np.random.RandomState(0)
        start = time.perf_counter()
        graph = tf.Graph()
        with graph.as_default(), tf.device(device):
            self._build(problem, unroll.dataset_variables(dataset),
                        models.shipped(optimizer, xla), checkpoint_every)
            init = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        self.build_seconds = time.perf_counter() - start
        config = tf.ConfigProto()
        config.graph_options.rewrite_options.disable_meta_optimizer = True
        self._session = tf.Session(graph=graph, config=config)
        self._session.run(init)
        self._start = self._session.run(self._initial_params)

    def _build(self, problem, data, learned, checkpoint_every):
        self._unroll = learned.train(problem, data, checkpoint_every=checkpoint_every)
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
        """The objective on all data with its gradient, once for each step of the unroll."""
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
    for name in ('training', 'validation'):
        yield measuring.milliseconds(group, name, times[name], size, 'bare', times['bare'])
    yield measuring.milliseconds(group, 'bare', times['bare'], size)
    yield measuring.single(group + ': build', 'both', build, 's', size)
    yield measuring.single(group + ': first', 'training', first, 's', size)


def table(repeats, examples=10000, length=20):
    """The unroll of the table, MLP 784-20-10: yields each `Result`."""
    yield from _results('unroll', None, measure(models.perceptron((20,)),
                                                models.examples(examples), length, repeats))


def xla(repeats, examples=10000, length=20):
    """Unrolls whose update rule XLA compiles against those of the table."""
    return _against('xla', {'xla': True}, repeats, examples, length)


def checkpointing(repeats, examples=1000, length=100, every=10):
    """Unrolls with gradient checkpointing against those without."""
    for result in _against('checkpoint_every', {'checkpoint_every': every}, repeats, examples,
                           length):
        if not result.name.startswith('validation'):
            yield result


def _against(group, changes, repeats, examples, length):
    both = {name: Unrolls(models.perceptron((20,)), models.examples(examples), length, **options)
            for name, options in (('without', {}), ('with', changes))}
    for unrolls in both.values():
        unrolls.train(first=True)
    for name, work in (('training', Unrolls.train), ('validation', Unrolls.validate)):
        times = measuring.in_turns({key: functools.partial(work, unrolls)
                                    for key, unrolls in both.items()}, repeats)
        yield measuring.milliseconds(group, '%s unroll of %d' % (name, length), times['with'],
                                     None, 'without', times['without'])
    for unrolls in both.values():
        unrolls.close()


def growth(parameter_counts, lengths, data_sizes, repeats):
    """How unrolls grow with parameters, length, and data: yields each `Result`."""
    for count in parameter_counts:
        problem = models.perceptron((max(1, count // 110),), features=99)
        yield from _results('unroll/parameters', models.parameter_count(problem),
                            measure(problem, models.examples(1000, 99), 10, repeats))
    for length in lengths:
        yield from _results('unroll/length', length,
                            measure(models.perceptron((20,)), models.examples(1000), length,
                                    repeats))
    for size in data_sizes:
        yield from _results('unroll/examples', size,
                            measure(models.perceptron((20,)), models.examples(size), 20, repeats))
