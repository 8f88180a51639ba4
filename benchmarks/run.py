"""All benchmarks: `python -m benchmarks.run [--quick]`, or `make bench`.

Prints figures as they are found, at the end the table of docs/speed.md; writes results.json and
scaling.png. `python -m benchmarks.report` puts that table there.
"""

from l2o.commandline import quiet_import  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import argparse
import itertools
import json
import os
import platform
import sys
import time
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from benchmarks import (
    cluster,
    measuring,
    memory,
    models,
    picture,
    report,
    startup,
    steps,
    unrolls,
)

FOLDER = os.path.dirname(os.path.abspath(__file__))


class Sizes(NamedTuple):
    """How much is measured."""

    models: tuple  # names of `models.MODELS`
    step_repeats: int
    shipped_cases: int  # of `steps.cases`
    unroll_repeats: int
    examples: int  # of the unroll of the table
    command_repeats: int
    command_changes: tuple  # flags behind those of the published command
    xla_models: tuple
    step_parameters: tuple  # these and what follows: the sizes of growing problems
    tensors: tuple
    unroll_parameters: tuple
    lengths: tuple
    data_sizes: tuple
    memory_lengths: tuple
    workers: tuple


FULL = Sizes(tuple(models.MODELS), 60, 4, 9, 10000, 3, (),
             ('MLP 784-20-10', 'MLP 784-512-512-10'), (10**3, 10**4, 10**5, 10**6, 10**7),
             (4, 12, 50, 200), (10**3, 10**4, 10**5, 10**6), (5, 10, 20, 50, 100, 200),
             (100, 1000, 10000), (5, 20, 50, 100, 200), (1, 2))
QUICK = Sizes(tuple(models.MODELS), 10, 4, 3, 10000, 1, (), ('MLP 784-20-10',),
              (10**3, 10**5), (4, 20), (10**3, 10**4), (5, 20), (1000,), (5, 50), ())
TINY = Sizes(('MLP 784-20-10',), 1, 1, 1, 50, 0, (), (), (10**3,), (4,), (), (2,), (), (), ())


def run(sizes, show=print):
    """Runs everything; `show` gets each line of the table as it is ready. List of `Result`."""
    few_steps, few_unrolls = sizes.step_repeats // 4 + 1, sizes.unroll_repeats // 2 + 1
    parts = [steps.table(sizes.models, sizes.step_repeats),
             steps.shipped(sizes.shipped_cases, few_steps),
             unrolls.table(sizes.unroll_repeats, sizes.examples),
             steps.growth(sizes.step_parameters, sizes.tensors, few_steps),
             unrolls.growth(sizes.unroll_parameters, sizes.lengths, sizes.data_sizes, few_unrolls),
             memory.growth(sizes.memory_lengths)]
    if sizes.command_repeats:
        parts += [startup.table(sizes.command_repeats, sizes.command_changes),
                  unrolls.checkpointing(few_unrolls)]
    if sizes.xla_models and not tf.__version__.startswith('1.'):
        parts += [unrolls.xla(few_unrolls), steps.xla(sizes.xla_models, few_steps)]
    if sizes.workers:
        parts.append(cluster.growth(sizes.workers))
    results = []
    for result in itertools.chain(*parts):
        show(measuring.line(result))
        results.append(result)
    return results


def write(results, folder):
    """Writes results.json and, where matplotlib is there, scaling.png."""
    with open(os.path.join(folder, 'results.json'), 'w') as file:
        json.dump({'tensorflow': tf.__version__, 'python': platform.python_version(),
                   'cores': len(os.sched_getaffinity(0)),
                   'results': [result._asdict() for result in results]}, file, indent=1)
        file.write('\n')
    try:
        picture.draw(results, os.path.join(folder, 'scaling.png'))
    except ImportError:
        print('No picture: matplotlib is not installed.')


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='less of everything, in minutes')
    parser.add_argument('--output', help='folder for results.json and scaling.png; default: that '
                        'of the benchmarks, but none with --quick')
    options = parser.parse_args()
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    start = time.perf_counter()
    results = run(QUICK if options.quick else FULL, show=_show)
    folder = options.output or (None if options.quick else FOLDER)
    if folder:
        write(results, folder)
    _show('\n%s\n%.0f s' % (report.table(results), time.perf_counter() - start))


def _show(line):
    print(line)
    sys.stdout.flush()


if __name__ == '__main__':
    main()
