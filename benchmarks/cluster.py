"""Unrolls per second of a cluster on this machine, against the same training without a cluster."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import cluster
import launch
from benchmarks import measuring

WARM_UP, MEASURED = 10, 20  # seconds after the first unroll, and then
FLAGS = ('--include_mnist_mlp_problems --mnist_source=digits --fix_unroll --fix_unroll_length=20 '
         '--fix_num_steps=200 --num_meta_iterations=1000000 --evaluation_period=1000000 '
         '--evaluation_epochs=1 --fix_num_steps_eval=20 --seed=1 --quiet').split()


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
        return measure(FLAGS + ['--train_dir=' + folder], *arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alone(flags):
    process = subprocess.Popen([sys.executable, launch.SCRIPT] + flags)
    try:
        return _rate(lambda: _saved_unrolls(flags[-1].split('=')[1]), process.poll)
    finally:
        process.kill()
        process.wait()


def _saved_unrolls(folder):
    """The count in the state that is saved every few unrolls."""
    for run in os.listdir(folder):
        path = os.path.join(folder, run, 'state.npz')
        if os.path.exists(path):
            with np.load(path) as arrays:
                return json.loads(str(arrays['facts']))['unrolls']
    return None


def _with_workers(flags, count):
    launcher = launch.Launcher(1, count, flags, max_restarts=0)
    try:
        board = cluster.observe(launcher.hosts['ps'])
        return _rate(board.unrolls, launcher.look)
    finally:
        launcher.stop()


def _rate(unrolls, look):
    """Counts per second, from seconds after the first one on.

    Args:
      unrolls: gives the count, or None.
      look: gives None as long as the processes run.
    """
    while not unrolls():
        _sleep(0.5, look)
    _sleep(WARM_UP, look)
    before, start = unrolls(), time.perf_counter()
    _sleep(MEASURED, look)
    return (unrolls() - before) / (time.perf_counter() - start)


def _sleep(seconds, look):
    time.sleep(seconds)
    if look() is not None:
        raise RuntimeError('A process of the benchmark ended.')
