"""One step of a learned optimizer in a model, against SGD and Adam in the same model."""

import time

import tensorflow.compat.v1 as tf

import evaluation
from benchmarks import measuring, models


class Stepper:
    """A model with its optimizer, in a session of its own; `run()` makes one step.

    Attributes:
      build_seconds: making the graph.
      first_seconds: the first step, which compiles it.
    """

    def __init__(self, make_optimizer, problem, dataset, num_steps=100):
        start = time.perf_counter()
        with tf.Graph().as_default() as graph:
            test = evaluation.TestRun(make_optimizer(), problem, num_steps, dataset,
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
    """The steps in each model, and what building them takes."""
    results, dataset = [], models.examples(examples)
    for model in model_names:
        problem = models.perceptron(models.MODELS[model], activation=tf.nn.relu)
        times, stepper = measure(problem, dataset, repeats)
        for name in times:
            results.append(measuring.milliseconds(
                'step', '%s, %s' % (model, name), times[name],
                yardstick=None if name == 'SGD' else 'SGD',
                against=None if name == 'SGD' else times['SGD']))
        results.append(measuring.single('step: build', model, stepper.build_seconds, 's'))
        results.append(measuring.single('step: first', model, stepper.first_seconds, 's'))
    return results


def growth(parameter_counts, tensor_counts, repeats):
    """How a step grows with the number of parameters (in 4 tensors) and of tensors (of 50 x 50)."""
    results = []
    for count in parameter_counts:
        problem = models.perceptron((max(1, count // 110),), features=99)
        results += _growth_point('step/parameters', problem, models.parameter_count(problem),
                                 repeats)
    for count in tensor_counts:
        problem = models.perceptron((50,) * max(1, count // 2 - 1), features=99)
        results += _growth_point('step/tensors', problem, len(problem.param_shapes), repeats)
    return results


def _growth_point(group, problem, size, repeats):
    times, stepper = measure(problem, models.examples(1000, features=99), repeats)
    return [measuring.milliseconds(group, 'HierarchicalRNN', times['HierarchicalRNN'], size,
                                   'Adam', times['Adam']),
            measuring.single(group + ': build', 'HierarchicalRNN', stepper.build_seconds, 's',
                             size)]
