"""Unrolls per second of a cluster on this machine, against the same training without a cluster.

`python -m benchmarks.cluster FOLDER` trains without one and prints its unrolls per second.
"""

import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import measuring
from l2o.runs import cluster, launch

WARM_UP, MEASURED = 10, 20  # seconds after the first unroll, and then
FLAGS = ('--include_mnist_mlp_problems --mnist_source=digits --fix_unroll --fix_unroll_length=20 '
         '--fix_num_steps=200 --num_meta_iterations=1000000 --evaluation_period=1000000 '
         '--save_period=1000000 --evaluation_epochs=1 --fix_num_steps_eval=20 --seed=1').split()


def growth(worker_counts):
    """Unrolls per second without a cluster (0 workers) and with so many workers."""
    if not worker_counts:
        return []
    alone = _in_a_folder(_alone)
    results = [measuring.single('cluster', 'unrolls', alone, '/s', 0)]
    for count in worker_counts:
        rate = _in_a_folder(_with_workers, count)
        results.append(measuring.single('cluster', 'unrolls', rate, '/s', count)._replace(
            yardstick='one machine', ratio=rate / alone))
    return results


def _in_a_folder(measure, *arguments):
    folder = tempfile.mkdtemp()
    try:
        return measure(folder, *arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alone(folder):
    printed = subprocess.check_output([sys.executable, '-m', 'benchmarks.cluster', folder],
                                      stderr=subprocess.DEVNULL, universal_newlines=True)
    return float(printed.split()[-1])


def _with_workers(folder, count):
    """Counts on the parameter server."""
    launcher = launch.Launcher(1, count, FLAGS + ['--quiet', '--train_dir=' + folder],
                               max_restarts=0)
    board = cluster.observe(launcher.hosts['ps'])
    try:
        while not board.unrolls():
            _sleep(0.5, launcher)
        _sleep(WARM_UP, launcher)
        before, start = board.unrolls(), time.perf_counter()
        _sleep(MEASURED, launcher)
        return (board.unrolls() - before) / (time.perf_counter() - start)
    finally:
        board.close()
        launcher.stop()


def _sleep(seconds, launcher):
    time.sleep(seconds)
    if launcher.look() is not None:
        raise RuntimeError('A process of the benchmark ended.')


def main(folder):
    """Trains without a cluster until unrolls have been counted for long enough."""
    import metarun
    from l2o.commandline import flags, script, start
    from l2o.metatraining import reporting
    ends = []

    class Clock(reporting.Reporter):
        def unroll(self, progress, report, details=None):
            ends.append(time.perf_counter())
            if ends[-1] - ends[0] > WARM_UP + MEASURED:
                counted = [end for end in ends if end - ends[0] > WARM_UP]
                print((len(counted) - 1) / (counted[-1] - counted[0]))
                sys.exit()

    sys.argv = ['metarun.py', '--train_dir=' + folder] + FLAGS
    start.begin(flags.METARUN)
    script.run_script(flags.METARUN, lambda values: metarun.main(values, Clock(None)))


if __name__ == '__main__':
    main(sys.argv[1])
