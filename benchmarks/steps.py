"""One step of a learned optimizer in a model, against SGD and Adam in the same model."""

import functools
import time

import tensorflow.compat.v1 as tf

from benchmarks import measuring, models
from l2o.evaluation import rollout


class Stepper:
    """A model with its optimizer, in a session of its own; `run()` makes one step.

    `device` is where all of it is; None: where TensorFlow puts it.

    Attributes:
      build_seconds: making the graph.
      first_seconds: the first step, which compiles it.
    """

    def __init__(self, make_optimizer, problem, dataset, num_steps=100, device=None):
        start = time.perf_counter()
        with tf.Graph().as_default() as graph, tf.device(device):
            test = rollout.OptimizerRun(make_optimizer(), problem, num_steps, dataset,
                                    models.BATCH_SIZE, seed=0)
        self.build_seconds = time.perf_counter() - start
        self._session = tf.Session(graph=graph)
        test.start(self._session)
        self.run = self._session.make_callable(test.train)
        self.first_seconds = measuring.seconds_of(self.run)

    def close(self):
        self._session.close()


def measure(problem, dataset, repeats):
    """Dict from optimizer names to `Times` of a step, and the learned optimizer's `Stepper`."""
    steppers = {name: Stepper(make, problem, dataset) for name, make in models.OPTIMIZERS.items()}
    times = measuring.in_turns({name: stepper.run for name, stepper in steppers.items()}, repeats)
    for stepper in steppers.values():
        stepper.close()
    return times, steppers['HierarchicalRNN']


def table(model_names, repeats, examples=1000):
    """The steps in each model, and what building them takes: yields each `Result`."""
    dataset = models.examples(examples)
    for model in model_names:
        times, stepper = measure(_model(model), dataset, repeats)
        for name in times:
            yield measuring.milliseconds(
                'step', '%s, %s' % (model, name), times[name],
                yardstick=None if name == 'SGD' else 'SGD',
                against=None if name == 'SGD' else times['SGD'])
        yield measuring.single('step: build', model, stepper.build_seconds, 's')
        yield measuring.single('step: first', model, stepper.first_seconds, 's')


def _model(name):
    return models.perceptron(models.MODELS[name], activation=tf.nn.relu)


def cases(examples=1000):
    """What the shipped optimizers are timed on: titles, problems and data sets."""
    return [('update alone, 10^6 parameters', models.Sum(1000000), None),
            ('MLP 784-512-512-10', _model('MLP 784-512-512-10'), models.examples(examples)),
            ('convnet', models.convnet(), models.examples(examples)),
            ('transformer', models.transformer(), models.characters(examples))]


def shipped(num_cases, repeats, examples=1000):
    """The steps of every shipped optimizer against Adam's, in the first so many of the `cases`:
    yields each `Result`."""
    for title, problem, dataset in cases(examples)[:num_cases]:
        makers = dict({name: functools.partial(models.shipped, name) for name in models.SHIPPED},
                      Adam=models.OPTIMIZERS['Adam'])
        steppers = {name: Stepper(make, problem, dataset) for name, make in makers.items()}
        times = measuring.in_turns({name: stepper.run for name, stepper in steppers.items()},
                                   repeats)
        for name in models.SHIPPED:
            yield measuring.milliseconds('shipped', '%s, %s' % (title, name), times[name], None,
                                         'Adam', times['Adam'])
        for stepper in steppers.values():
            stepper.close()


def xla(model_names, repeats, examples=1000):
    """The steps that XLA compiles against those that it doesn't: yields each `Result`."""
    for model in model_names:
        steppers = {name: Stepper(lambda on=on: models.hierarchical_rnn(xla=on), _model(model),
                                  models.examples(examples))
                    for name, on in (('plain', False), ('XLA', True))}
        times = measuring.in_turns({name: stepper.run for name, stepper in steppers.items()},
                                   repeats)
        yield measuring.milliseconds('xla', 'step, ' + model, times['XLA'], None, 'without',
                                     times['plain'])
        yield measuring.single('xla: first', 'step, ' + model, steppers['XLA'].first_seconds, 's')
        for stepper in steppers.values():
            stepper.close()


def growth(parameter_counts, tensor_counts, repeats):
    """How a step grows with the number of parameters (in 4 tensors) and of tensors (of 50 x 50)."""
    for count in parameter_counts:
        problem = models.perceptron((max(1, count // 110),), features=99)
        yield from _growth_point('step/parameters', problem, models.parameter_count(problem),
                                 repeats)
    for count in tensor_counts:
        problem = models.perceptron((50,) * max(1, count // 2 - 1), features=99)
        yield from _growth_point('step/tensors', problem, len(problem.param_shapes), repeats)


def _growth_point(group, problem, size, repeats):
    times, stepper = measure(problem, models.examples(1000, features=99), repeats)
    for name in times:
        yield measuring.milliseconds(group, name, times[name], size,
                                     None if name == 'SGD' else 'SGD',
                                     None if name == 'SGD' else times['SGD'])
    yield measuring.single(group + ': build', 'HierarchicalRNN', stepper.build_seconds, 's', size)
