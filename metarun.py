"""Meta-trains a learned optimizer: `python metarun.py --include_mnist_mlp_problems ...`."""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from l2o.commandline import signals
    signals.install('metarun')
    from l2o.commandline import start
    start.begin('metarun')

from typing import Optional

from l2o.commandline import quiet_import  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import contextlib
import json
import sys
import zlib

import numpy as np
from absl.flags import FlagValues

import metaopt
from l2o.commandline import (
    cluster_config,
    flags,
    optimizer_flags,
    problem_flags,
    resuming,
    script,
    training_config,
)
from l2o.metatraining import reporting
from l2o.metatraining.history import History
from l2o.runs import cluster, machines, run_record


def main(values: FlagValues, reporter: Optional[reporting.Reporter] = None) -> None:
    """Meta-trains as the flags say, on one machine or as part of a cluster.

    Args:
      values: of the flags.
      reporter: a `l2o.metatraining.reporting.Reporter`; None: the one that the flags describe.
    """
    ours = cluster_config.cluster(values)
    try:
        if ours is None:
            _train(values, machines.OneMachine(), reporter)
        elif ours.job == 'ps':
            cluster.serve(ours)
        else:
            problem_flags.chosen_sets(values)
            _train(values, cluster.Worker(ours, _key(values)), reporter)
    except cluster.ClusterError as error:
        raise flags.FlagError('--%s' % error) from error


def _key(values):
    """A whole number that tells runs with other flags apart."""
    record = problem_flags.as_dict(values, flags.METARUN)
    return zlib.crc32(json.dumps(sorted((name, value) for name, value in record.items()
                                        if name not in flags.FREE)).encode())


def _train(values, machine, reporter):
    """Meta-trains and tells where the result is."""
    folder = optimizer_flags.run_folder(values)
    seed = resuming.find_seed(values, folder, machine) if machine.is_chief else machine.seed
    spec = optimizer_flags.optimizer_spec(values)
    training = training_config.meta_training(values, seed)
    rows = problem_flags.problems_and_data(values, flags.METARUN, seed)
    training = training_config.begun_with(values, training, rows)
    run = training_config.run(values, seed, machine)
    with resuming.lock(folder) if machine.is_chief else contextlib.nullcontext():
        if machine.is_chief:
            resuming.check_state(values, folder, spec, rows, training, seed)
            _announce(values, seed, rows, training.penalty)
        run = run._replace(reporter=reporter or _reporter(values, folder, machine))
        try:
            result = metaopt.train_optimizer(
                folder, spec, rows, values.num_problems, values.num_meta_iterations,
                training=training, run=run)
        except metaopt.NothingFiniteError as error:
            raise flags.FlagError(str(error)) from error
    if machine.is_chief:
        _tell(result, values.num_problems)


def _reporter(values, folder, machine):
    """Shows progress on the standard output; the chief writes what is asked for into the folder."""
    out, period = None if values.quiet else sys.stdout, values.summary_period
    if not machine.is_chief:
        return reporting.Reporter(out, prefix='worker %d: ' % machine.task)
    return reporting.Reporter(out, reporting.Summaries(folder, period) if period else None,
                              folder if values.set_profiling else None,
                              history=History(folder))


def _announce(values, seed, rows, penalty):
    print('Seed: %d' % seed)
    for source in run_record.data_sources(rows):
        print('Data: %s' % source)
    if (values.reg_optimizer or values.reg_optimizee) and not penalty.ever_counts:
        print('The penalty never counts in this run (--regularize_time, --alpha, --beta, '
              '--reg_scale), so it is not computed.')
    sys.stdout.flush()


def _tell(result, num_problems):
    """Says how the training ended."""
    if result.nonfinite_unrolls:
        print('%d of %d unrolls were not finite: the entries of their gradients that were not '
              'finite counted as zero' % (result.nonfinite_unrolls, result.unrolls))
    if not np.isfinite(result.best_cost):
        raise flags.FlagError('no validation was finite in %d meta-iterations, so there are no '
                              'best meta-parameters' % result.meta_iterations)
    if not result.trained_is_best and num_problems == 1:
        print('No validation was as good as the first, before anything was trained: '
              'model.ckpt-0 holds what the training began with')
    elif not result.trained_is_best:
        print('On the last of %d problems no validation was as good as the first: '
              'model.ckpt-0 holds what the training on it began with' % num_problems)
    print('Best validation %.4g after %d meta-iterations: %s'
          % (result.best_cost, result.meta_iterations, result.checkpoint))


if __name__ == '__main__':
    script.run_script(flags.METARUN, main)
