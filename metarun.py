"""Meta-trains a learned optimizer: `python metarun.py --include_mnist_mlp_problems ...`."""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from commandline import endings
    endings.install('metarun')

from commandline import quiet  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import json
import os
import sys
import zlib

import numpy as np

import metaopt
from commandline import builders, flags, script
from metatraining import reporting
from metatraining.progress import Progress
from runs import cluster, machines, run_files, run_record


def main(values):
    """Meta-trains as the flags say, on one machine or as part of a cluster."""
    ours = builders.cluster(values)
    try:
        if ours is None:
            _train(values, machines.OneMachine())
        elif ours.job == 'ps':
            cluster.serve(ours)
        else:
            builders.chosen_sets(values)
            _train(values, cluster.Worker(ours, _key(values)))
    except cluster.ClusterError as error:
        raise flags.FlagError('--%s' % error) from error


def _key(values):
    """A whole number that tells runs with other flags apart."""
    record = builders.as_dict(values, flags.METARUN)
    return zlib.crc32(json.dumps(sorted((name, value) for name, value in record.items()
                                        if name not in flags.FREE)).encode())


def _train(values, machine):
    """Meta-trains and tells where the result is."""
    folder = builders.run_folder(values)
    seed = _seed(values, folder, machine) if machine.is_chief else machine.seed
    optimizer, settings = builders.optimizer_config(values), _settings(values, seed)
    if machine.is_chief:
        _check_state(folder, values, seed)
    np.random.seed(seed)  # for data sets that are drawn
    rows = builders.problems_and_data(values, flags.METARUN)
    if machine.is_chief:
        if values.overwrite:  # first, lest the old state be found beside the new record
            run_files.discard(folder)
        _record(folder, values, seed, rows, optimizer)
        _announce(seed, rows, settings['penalty'])
    try:
        result = metaopt.train_optimizer(
            folder, builders.optimizer_spec(values), rows, values.num_problems,
            values.num_meta_iterations, seed=seed, machine=machine,
            reporter=_reporter(values, folder, machine), **settings)
    except metaopt.NothingFiniteError as error:
        raise flags.FlagError(str(error)) from error
    if machine.is_chief:
        _tell(result)


def _seed(values, folder, machine):
    """The seed: the flag's, that of the run that goes on, or a drawn one.

    Raises:
      FlagError: the folder holds a run that was made with other flags.
    """
    record = None if values.overwrite else _recorded(folder)
    if record is None and values.seed == -1:
        return int(np.random.randint(2 ** 31 - 1)) if machine.seed is None else machine.seed
    if record is None:
        return values.seed
    others = run_record.differences(record['flags'], builders.as_dict(values, flags.METARUN),
                                    flags.FREE)
    if values.seed not in (-1, record['seed']):
        others.append('--seed=%d, now %d' % (record['seed'], values.seed))
    if others:
        raise flags.FlagError('--train_dir: the run in %s was made with other flags (%s); '
                              '--overwrite begins anew' % (folder, '; '.join(others)))
    return record['seed']


def _recorded(folder):
    """The record of the run that the folder holds; None where it holds none."""
    if not os.path.exists(os.path.join(folder, run_files.STATE)):
        return None
    try:
        return run_record.read(folder)
    except ValueError as error:
        raise flags.FlagError('--train_dir: %s' % error) from error


def _check_state(folder, values, seed):
    """Reads the saved state once, so that a damaged one is found before anything is run."""
    if values.overwrite:
        return
    try:
        metaopt.restore(Progress(builders.curriculum(values), seed), folder,
                        builders.optimizer_spec(values), builders.meta_optimizer(values))
    except ValueError as error:
        raise flags.FlagError('%s; --overwrite begins anew' % error) from error


def _reporter(values, folder, machine):
    """Shows progress on the standard output; the chief writes what is asked for into the folder."""
    out, period = None if values.quiet else sys.stdout, values.summary_period
    if not machine.is_chief:
        return reporting.Reporter(out, prefix='worker %d: ' % machine.task)
    return reporting.Reporter(out, reporting.Summaries(folder, period) if period else None,
                              folder if values.set_profiling else None)


def _settings(values, seed):
    """The keyword arguments of `train_optimizer` that the flags give."""
    num_unrolls, unroll_length = builders.unroll_functions(values)
    return dict(
        num_unroll_func=num_unrolls, num_partial_unroll_itrs_func=unroll_length,
        learning_rate=values.meta_learning_rate, gradient_clip=values.gradient_clip_level,
        obj_train_max_multiplier=values.objective_training_max_multiplier,
        curriculum=builders.curriculum(values), imitate=builders.imitate(values),
        penalty=builders.penalty(values, seed),
        evaluation=metaopt.Evaluation(values.evaluation_period, values.evaluation_epochs),
        meta_optimizer=builders.meta_optimizer(values), reset_rnn_params=values.reset_rnn_params,
        normal_initial_params=values.initial_params == 'normal',
        mini_batch_size=values.mini_batch_size, data_freeze=values.data_freeze,
        random_scaling=values.random_scaling,
        unroll_options=builders.unroll_options(values), xla=builders.xla(values),
        save_period=values.save_period, keep_checkpoints=values.keep_checkpoints,
        resume=not values.overwrite)


def _record(folder, values, seed, rows, optimizer):
    try:
        run_record.write(folder, flags.METARUN, builders.as_dict(values, flags.METARUN), seed, rows,
                         optimizer)
    except OSError as error:
        raise flags.FlagError('--train_dir: cannot write %s: %s' % (
            error.filename or folder, error.strerror)) from error


def _announce(seed, rows, penalty):
    print('Seed: %d' % seed)
    for source in run_record.data_sources(rows):
        print('Data: %s' % source)
    if penalty is not None and not penalty.ever_counts:
        print('The penalty never counts in this run (--regularize_time, --alpha, --beta, '
              '--reg_scale), so it is not computed.')
    sys.stdout.flush()


def _tell(result):
    """Says how the training ended."""
    if result.nonfinite_unrolls:
        print('%d of %d unrolls were not finite: their gradients did not count'
              % (result.nonfinite_unrolls, result.unrolls))
    if not np.isfinite(result.best_cost):
        raise flags.FlagError('no validation was finite in %d meta-iterations, so there are no '
                              'best meta-parameters' % result.meta_iterations)
    print('Best validation %.4g after %d meta-iterations: %s'
          % (result.best_cost, result.meta_iterations, result.checkpoint))


if __name__ == '__main__':
    script.run_script(flags.METARUN, main)
