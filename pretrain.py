"""Meta-trains the optimizers that are shipped in `pretrained/`: `python pretrain.py rnnprop`.

What decides how good a learned optimizer gets, as far as was tried here (`pretrained/README.md`):
many small problems that differ in depth, width, activation and initial values, all in one graph and
mixed unroll by unroll; coordinates of random size; episodes that grow longer; averages of the
meta-parameters; and choosing among many states by full-length runs on problems that are not trained
on.
"""

from commandline import quiet  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import collections
import contextlib
import csv
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import OPTIMIZERS, unroll
from problems import datasets
from problems import problem_generator as pg
from runs import run_record
from techniques.random_scaling import RandomScaling

UNROLL_STEPS = 20
VALIDATION_STEPS = 1000
VALIDATIONS = 25
RATE_FACTORS = ((0.0, 1.0), (0.5, 0.3), (0.8, 0.1))  # from which share of the run on
EPISODE_STEPS = ((0.0, 100), (0.25, 200), (0.5, 400), (0.75, 800))
SHORT_EPISODES = 0.3  # this share of the episodes stays at the first length
EXPLODED = 3.0  # the meta-objective (mean log ratio) at which an episode is given up
LOSS_FLOOR = 1e-9  # validation losses below count as this

#: An optimizer to ship: class, constructor arguments, learning rate of the meta-optimizer, how many
#: unrolls, seed; log ranges of the random scaling, one drawn for each episode; the decay of the
#: moving average of the meta-parameters that is validated and kept, 0 for the meta-parameters
#: themselves.
Recipe = collections.namedtuple(
    'Recipe', 'optimizer arguments learning_rate unrolls seed scalings average')

RECIPES = collections.OrderedDict([
    ('rnnprop', Recipe('RNNProp', {}, 1e-3, 4500, 2, (0.0, 1.0, 3.0), 0.0)),
    ('l2o_dm', Recipe('L2ODM', {}, 1e-3, 3000, 2, (0.0, 0.0, 1.0), 0.99)),
    ('hierarchical_rnn', Recipe('HierarchicalRNN', {
        'level_sizes': [10, 20, 20], 'init_lr_range': [1e-2, 1e-2], 'max_log_lr': -3.0,
        'use_problem_lr_mean': True, 'use_gradient_shortcut': True, 'use_grad_products': True},
                                1e-4, 1000, 2, (0.0, 1.0, 3.0), 0.99)),
])

#: A problem to train or validate on; `starts` are names of `STARTS`.
Task = collections.namedtuple('Task', 'name problem dataset batch_size starts')

#: Ways to draw initial values, name -> standard deviation of weights with a fan-in; biases are
#: zero but for `small`.
STARTS = {'small': lambda fan_in: 0.01, 'glorot': lambda fan_in: fan_in ** -0.5,
          'he': lambda fan_in: (2.0 / fan_in) ** 0.5}


def digits(train=True):
    """The embedded digits as they are, 8 x 8."""
    full = datasets.mnist(train, datasets.DataSource('digits'))
    return full._replace(data=full.data[:, 3:27:3, 3:27:3])


def _mlp(hidden, activation):
    return pg.FullyConnected(64, 10, hidden_sizes=hidden, activation=activation)


def _convnet(filters):
    return pg.ConvNetOrig((1, 8, 8), 10, [(3, 3, filters)] * 2, activation=tf.nn.relu)


def training_tasks():
    """Small problems: a step takes a millisecond."""
    data, sigmoid, relu, tanh = digits(), tf.nn.sigmoid, tf.nn.relu, tf.nn.tanh
    return [
        Task('sigmoid 20', _mlp((20,), sigmoid), data, 64, ('small', 'glorot')),
        Task('relu 20', _mlp((20,), relu), data, 64, ('small', 'he')),
        Task('relu 16-16', _mlp((16, 16), relu), data, 32, ('he',)),
        Task('sigmoid 16-16', _mlp((16, 16), sigmoid), data, 64, ('small', 'glorot')),
        Task('tanh 12', _mlp((12,), tanh), data, 32, ('glorot',)),
        Task('softmax', pg.SoftmaxRegression(64, 10), data, 64, ('small',)),
        Task('convnet 4-4', _convnet(4), data, 32, ('small', 'he')),
    ]


def validation_tasks():
    """Problems that are not trained on, of other sizes, starts and batches."""
    data = digits()
    return [
        Task('sigmoid 32', _mlp((32,), tf.nn.sigmoid), data, 128, ('small',)),
        Task('relu 32', _mlp((32,), tf.nn.relu), data, 128, ('he',)),
        Task('sigmoid 20-20', _mlp((20, 20), tf.nn.sigmoid), data, 128, ('small',)),
        Task('convnet 6-6', _convnet(6), data, 64, ('small',)),
    ]


def draw_start(task, rng):
    """Initial values for a task: a list of float32 arrays."""
    start = task.starts[rng.randint(len(task.starts))]
    return [_draw_tensor(start, shape, rng) for shape in task.problem.param_shapes]


def _draw_tensor(start, shape, rng):
    if len(shape) < 2 and start != 'small':
        return np.zeros(shape, 'float32')
    scale = STARTS[start](np.prod(shape[:-1]))
    return (scale * rng.standard_normal(shape)).astype('float32')


def _scheduled(schedule, done):
    """The value of the last entry that has begun, of pairs (share of the run, value)."""
    return [value for begin, value in schedule if begin <= done][-1]


class Pretraining:
    """All of one recipe's graph and its loop."""

    def __init__(self, recipe, folder):
        self._recipe, self._folder = recipe, folder
        self._rng = np.random.RandomState(recipe.seed)
        with tf.Graph().as_default() as self._graph:
            tf.set_random_seed(recipe.seed)
            self._build()

    def _build(self):
        self._optimizer = OPTIMIZERS[self._recipe.optimizer](
            use_second_derivatives=False, **self._recipe.arguments)
        self._learning_rate = tf.placeholder(tf.float32, [])
        stepper = tf.train.AdamOptimizer(self._learning_rate)
        self._average = _Average(self._optimizer.meta_parameters, self._recipe.average)
        self._trainers = [_Trainer(task, self._optimizer, stepper, self._average)
                          for task in training_tasks()]
        self._validators = [
            (task, unroll.build_rollout(self._optimizer, task.problem,
                                        unroll.dataset_variables(task.dataset)))
            for task in validation_tasks()]
        self._saver = tf.train.Saver(self._optimizer.named_meta_parameters,
                                     save_relative_paths=True)
        self._init = tf.group(tf.global_variables_initializer(), tf.local_variables_initializer())

    def run(self):
        """Trains for the recipe's number of unrolls and keeps the best state."""
        config = tf.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with tf.Session(graph=self._graph, config=config) as session, \
                open(os.path.join(self._folder, 'validation.csv'), 'w') as handle:
            session.run(self._init)
            log = csv.writer(handle)
            log.writerow(['cpu_seconds', 'unrolls', 'score']
                         + [task.name for task, _ in self._validators])
            self._loop(session, log, handle)

    def _loop(self, session, log, handle):
        begin, best, unrolls, validations = time.process_time(), np.inf, 0, 0
        while True:
            done = unrolls / self._recipe.unrolls
            if done * VALIDATIONS >= validations:
                with self._average.in_place(session):
                    losses = [self._validate(session, *each) for each in self._validators]
                    score = float(np.mean(np.log10(np.clip(losses, LOSS_FLOOR, 1e3))))
                    if score < best:
                        best = score
                        self._saver.save(session, os.path.join(self._folder, 'model.ckpt'),
                                         global_step=0, write_meta_graph=False)
                log.writerow(['%.0f' % (time.process_time() - begin), unrolls, '%.3f' % score]
                             + ['%.3g' % loss for loss in losses])
                handle.flush()
                validations += 1
            if done >= 1:
                return
            unrolls += self._episode(session, done)

    def _episode(self, session, done):
        length = _scheduled(EPISODE_STEPS, done)
        if self._rng.uniform() < SHORT_EPISODES:
            length = EPISODE_STEPS[0][1]
        trainer = self._trainers[self._rng.randint(len(self._trainers))]
        rate = self._recipe.learning_rate * _scheduled(RATE_FACTORS, done)
        feed = {self._learning_rate: rate}
        log_range = self._recipe.scalings[self._rng.randint(len(self._recipe.scalings))]
        return trainer.episode(session, length // UNROLL_STEPS, log_range, feed, self._rng)

    def _validate(self, session, task, rollout):
        rng = np.random.RandomState(0)
        feed = dict(zip(rollout.initial_params, draw_start(task, rng)))
        feed[rollout.batches] = task.dataset.batch_indices(VALIDATION_STEPS, task.batch_size, rng)
        return np.nan_to_num(session.run(rollout.final_objective, feed), nan=np.inf)


class _Average:
    """The moving average of variables, that of the first steps unbiased; without a decay, none."""

    def __init__(self, variables, decay):
        self._variables, self._decay = list(variables), decay
        self._sums = [tf.Variable(tf.zeros(variable.shape), trainable=False)
                      for variable in variables]
        self._weight = tf.Variable(0.0, trainable=False)
        self._values = [total / self._weight for total in self._sums]

    def update(self):
        """The operations that take note of the variables' values."""
        pairs = zip(self._sums + [self._weight], self._variables + [1.0])
        return [owner.assign_add((1.0 - self._decay) * (value - owner)) for owner, value in pairs]

    @contextlib.contextmanager
    def in_place(self, session):
        """The variables have their average values while the context lasts."""
        current = session.run(self._variables)
        if self._decay and session.run(self._weight):
            self._load(session, session.run(self._values))
        yield
        self._load(session, current)

    def _load(self, session, values):
        for variable, value in zip(self._variables, values):
            variable.load(value, session)


class _Trainer:
    """One task's unroll and the meta-step on it."""

    def __init__(self, task, optimizer, stepper, average):
        self._task = task
        self._problem = RandomScaling(task.problem)
        self._graph = optimizer.train(self._problem, unroll.dataset_variables(task.dataset))
        variables = optimizer.meta_parameters
        gradients = tf.gradients(self._graph.meta_objective, variables)
        finite = tf.reduce_all([tf.reduce_all(tf.is_finite(gradient)) for gradient in gradients])
        gradients = [tf.where(finite, gradient, tf.zeros_like(gradient)) for gradient in gradients]
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
        step = stepper.apply_gradients(zip(tf.tuple(gradients), variables))
        with tf.control_dependencies([step]):
            self._step = tf.group(average.update())

    def episode(self, session, num_unrolls, log_range, feed, rng):
        """Trains on one episode; returns the number of unrolls that it took."""
        graph, task = self._graph, self._task
        scales = self._problem.draw(rng, log_range)
        feed.update(zip(self._problem.scales, scales))
        feed[graph.objective_weights] = np.full(UNROLL_STEPS, 1.0 / UNROLL_STEPS)
        start = [value / scale for value, scale in zip(draw_start(task, rng), scales)]
        for index in range(num_unrolls):
            feed[graph.first_unroll] = index == 0
            feed[graph.batches] = task.dataset.batch_indices(UNROLL_STEPS, task.batch_size, rng)
            feed.update(zip(graph.initial_params, start))
            objective, _, _ = session.run([graph.meta_objective, self._step, graph.carry], feed)
            if not objective < EXPLODED:
                return index + 1
        return num_unrolls


def main(names):
    """Trains the recipes of these names, or all."""
    unknown = [name for name in names if name not in RECIPES]
    if unknown:
        sys.exit('pretrain: unknown recipe %s: choose from %s'
                 % (', '.join(unknown), ', '.join(RECIPES)))
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    tf.logging.set_verbosity(tf.logging.ERROR)
    for name in names or RECIPES:
        recipe, folder = RECIPES[name], os.path.join('pretrained', name)
        rows = [(None, task.dataset, None) for task in training_tasks()]
        run_record.write(folder, 'pretrain', {'recipe': name, 'learning_rate': recipe.learning_rate,
                                              'unrolls': recipe.unrolls},
                         recipe.seed, rows, (recipe.optimizer, recipe.arguments))
        Pretraining(recipe, folder).run()


if __name__ == '__main__':
    main(sys.argv[1:])
