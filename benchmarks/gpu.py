"""On a GPU: `python -m benchmarks.gpu`, about three minutes; writes gpu.json.

Steps of Adam and of every shipped optimizer, and training unrolls of 20 steps, on the processor
and on the GPU of one machine, with the update rule compiled by XLA and not.
"""

from l2o.commandline import quiet_import  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import argparse
import functools
import json
import os
import sys
import time

import tensorflow.compat.v1 as tf

from benchmarks import measuring, models, steps, unrolls

RESULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'gpu.json')

#: Place -> where TensorFlow is told to work (None: it takes the GPU), and whether XLA compiles.
PLACES = {'CPU': ('/CPU:0', False), 'CPU, XLA': ('/CPU:0', True),
          'GPU': (None, False), 'GPU, XLA': (None, True)}

#: Hidden layers of the perceptrons whose unrolls are timed, and the optimizers in them.
UNROLLED = {'MLP 784-20-10': (20,), 'MLP 784-512-512-10': (512, 512)}
TRAINED = ('HierarchicalRNN', 'RNNProp')


def step_times(repeats, budget):
    """The step in each case, of each optimizer, in each place: yields each `Result`."""
    for title, problem, dataset in steps.cases():
        for place, (device, xla) in PLACES.items():
            makers = {name: functools.partial(models.shipped, name, xla)
                      for name in models.SHIPPED}
            makers['Adam'] = models.OPTIMIZERS['Adam']
            steppers = {name: steps.Stepper(make, problem, dataset, device=device)
                        for name, make in makers.items()}
            times = measuring.in_turns({name: stepper.run for name, stepper in steppers.items()},
                                       repeats, warm_up=3, budget=budget)
            for name in makers:
                yield measuring.milliseconds('step, ' + title, '%s: %s' % (place, name),
                                             times[name], None, 'Adam', times['Adam'])
            for stepper in steppers.values():
                stepper.close()


def unroll_times(repeats, budget, examples=10000, length=20):
    """The training unroll in each place, against the processor: yields each `Result`."""
    for model, hidden_sizes in UNROLLED.items():
        for optimizer in TRAINED:
            times = {}
            for place, (device, xla) in PLACES.items():
                timed = unrolls.Unrolls(
                    models.perceptron(hidden_sizes), models.examples(examples), length, xla=xla,
                    optimizer=optimizer, device=device)
                timed.train(first=True)
                times[place] = measuring.in_turns({place: timed.train}, repeats, warm_up=1,
                                                  budget=budget)[place]
                timed.close()
                yield measuring.milliseconds(
                    'training unroll of %d, %s' % (length, model), '%s: %s' % (place, optimizer),
                    times[place], None, 'CPU', times['CPU'])


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--output', default=RESULTS, help='the file of the results')
    parser.add_argument('--repeats', type=int, default=30, help='of each step')
    parser.add_argument('--budget', type=float, default=3.0, help='seconds for each comparison, '
                        'after which nothing is repeated that was timed often enough')
    options = parser.parse_args()
    if not tf.config.list_physical_devices('GPU'):
        sys.exit('TensorFlow sees no GPU: install tensorflow[and-cuda] on a machine that has one.')
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    results, start = [], time.perf_counter()
    for result in (r for part in (step_times(options.repeats, options.budget),
                                  unroll_times(options.repeats // 4, options.budget))
                   for r in part):
        print(measuring.line(result))
        sys.stdout.flush()
        results.append(result)
        _write(results, options.output)
    print('%.0f s' % (time.perf_counter() - start))


def _write(results, path):
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices('GPU')[0])
    with open(path, 'w') as file:
        json.dump({'tensorflow': tf.__version__, 'gpu': details.get('device_name'),
                   'cores': len(os.sched_getaffinity(0)),
                   'results': [result._asdict() for result in results]}, file, indent=1)
        file.write('\n')


if __name__ == '__main__':
    main()
