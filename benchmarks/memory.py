"""Peak memory of a training unroll, each point in a process of its own.

`python -m benchmarks.memory LENGTH EXAMPLES CHECKPOINT_EVERY` prints it: resident, in MB.
"""

import math
import resource
import subprocess
import sys

import tensorflow.compat.v1 as tf

from benchmarks import measuring, models, unrolls


def growth(lengths, examples=1000):
    """The peak against the length of the unroll, without and with checkpointing: yields results."""
    for length in lengths:
        for name, every in (('everything kept', 0),
                            ('checkpoint_every', int(math.sqrt(length)))):
            yield measuring.single('memory/length', name, _in_process(length, examples, every),
                                   'MB', length)


def _in_process(*arguments):
    command = [sys.executable, '-m', 'benchmarks.memory'] + [str(value) for value in arguments]
    printed = subprocess.check_output(command, stderr=subprocess.DEVNULL, universal_newlines=True)
    return float(printed.split()[-1])


def peak(length, examples, checkpoint_every=0):
    """Runs a few unrolls; the peak resident memory in MB."""
    run = unrolls.Unrolls(models.perceptron((20,)), models.examples(examples), length,
                          checkpoint_every)
    for index in range(3):
        run.train(first=index == 0)
    run.close()
    return _peak_of_this_process()


def _peak_of_this_process():
    try:
        with open('/proc/self/status') as status:  # ru_maxrss would count the parent's memory, too
            return [int(line.split()[1]) for line in status if line.startswith('VmHWM')][0] / 1024.0
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


if __name__ == '__main__':
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.enable_control_flow_v2()
    print(peak(*map(int, sys.argv[1:])))
