"""All benchmarks: `python -m benchmarks.run [--quick]`, or `make bench`.

Prints a table and writes results.json and scaling.png into the folder given by --output.
"""

import argparse
import collections
import json
import os
import platform
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import tensorflow.compat.v1 as tf  # noqa: E402

from benchmarks import (  # noqa: E402
    cluster,
    measuring,
    memory,
    models,
    picture,
    startup,
    steps,
    unrolls,
)

#: How much is measured.
Sizes = collections.namedtuple(
    'Sizes', 'models step_repeats unroll_repeats examples command_repeats command_changes '
    'step_parameters tensors unroll_parameters lengths data_sizes memory_lengths workers')

FULL = Sizes(tuple(models.MODELS), 60, 9, 10000, 3, (), (10**3, 10**4, 10**5, 10**6, 10**7),
             (4, 12, 50, 200), (10**3, 10**4, 10**5, 10**6), (5, 10, 20, 50, 100, 200),
             (100, 1000, 10000), (5, 20, 50, 100, 200), (1, 2))
QUICK = Sizes(tuple(models.MODELS), 10, 3, 10000, 1, (),
              (10**3, 10**5), (4, 20), (10**3, 10**4), (5, 20), (1000,), (5, 50), ())
TINY = Sizes(('MLP 784-20-10',), 1, 1, 50, 0, (), (10**3,), (4,), (), (2,), (), (), ())


def run(sizes, show=print):
    """Runs everything; `show` gets each line of the table as it is ready. List of `Result`."""
    results = []
    for part in (
            lambda: steps.table(sizes.models, sizes.step_repeats),
            lambda: unrolls.table(sizes.unroll_repeats, sizes.examples),
            lambda: startup.table(sizes.command_repeats, sizes.command_changes)
            if sizes.command_repeats else [],
            lambda: steps.growth(sizes.step_parameters, sizes.tensors, sizes.step_repeats // 4 + 1),
            lambda: unrolls.growth(sizes.unroll_parameters, sizes.lengths, sizes.data_sizes,
                                   sizes.unroll_repeats // 2 + 1),
            lambda: memory.growth(sizes.memory_lengths),
            lambda: cluster.growth(sizes.workers)):
        found = part()
        for result in found:
            show(measuring.line(result))
        results += found
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
    parser.add_argument('--output', default='benchmarks', help='folder for the results')
    options = parser.parse_args()
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    write(run(QUICK if options.quick else FULL, show=_show), options.output)


def _show(line):
    print(line)
    sys.stdout.flush()


if __name__ == '__main__':
    main()
