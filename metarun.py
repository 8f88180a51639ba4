"""Meta-trains a learned optimizer: `python metarun.py --include_mnist_mlp_problems ...`."""

import quiet  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import os
import sys

import numpy as np

import flags
import metaopt
import progress
import reporting
import run_record


def main(values):
    """Meta-trains as the flags say and tells where the result is."""
    folder = flags.run_folder(values)
    seed = _seed(values, folder)
    optimizer, settings = flags.optimizer_config(values), _settings(values, seed)
    _check_state(folder, values, settings['curriculum'], seed)
    np.random.seed(seed)  # for data sets that are drawn
    rows = flags.problems_and_data(values, flags.METARUN)
    _record(folder, values, seed, rows, optimizer)
    _announce(seed, rows, settings['penalty'])
    result = metaopt.train_optimizer(
        folder, flags.optimizer_spec(values), rows, values.num_problems,
        values.num_meta_iterations, seed=seed, reporter=_reporter(values, folder), **settings)
    print('Best validation %.4g after %d meta-iterations: %s'
          % (result.best_cost, result.meta_iterations, result.checkpoint))


def _seed(values, folder):
    """The seed: the flag's, that of the run that goes on, or a drawn one.

    Raises:
      FlagError: the folder holds a run that was made with other flags.
    """
    record = None if values.overwrite else _recorded(folder)
    if record is None:
        return values.seed if values.seed >= 0 else int(np.random.randint(2 ** 31 - 1))
    others = run_record.differences(record['flags'], flags.as_dict(values, flags.METARUN),
                                    flags.FREE)
    if values.seed not in (-1, record['seed']):
        others.append('--seed=%d, now %d' % (record['seed'], values.seed))
    if others:
        raise flags.FlagError('--train_dir: the run in %s was made with other flags (%s); '
                              '--overwrite begins anew' % (folder, '; '.join(others)))
    return record['seed']


def _recorded(folder):
    """The record of the run that the folder holds; None where it holds none."""
    if not os.path.exists(os.path.join(folder, progress.FILE_NAME)):
        return None
    try:
        return run_record.read(folder)
    except ValueError as error:
        raise flags.FlagError('--train_dir: %s' % error) from error


def _check_state(folder, values, curriculum, seed):
    """Reads the saved state once, so that a damaged one is found before anything is run."""
    if values.overwrite:
        return
    before = curriculum.state()
    try:
        progress.Progress(curriculum, seed).restore(folder)
    except ValueError as error:
        raise flags.FlagError('%s; --overwrite begins anew' % error) from error
    curriculum.restore(before)


def _reporter(values, folder):
    """Shows progress on the standard output; writes what is asked for into the run folder."""
    period = values.summary_period
    return reporting.Reporter(None if values.quiet else sys.stdout,
                              reporting.Summaries(folder, period) if period else None,
                              folder if values.set_profiling else None)


def _settings(values, seed):
    """The keyword arguments of `train_optimizer` that the flags give."""
    num_unrolls, unroll_length = flags.unroll_functions(values)
    return dict(
        num_unroll_func=num_unrolls, num_partial_unroll_itrs_func=unroll_length,
        learning_rate=values.meta_learning_rate, gradient_clip=values.gradient_clip_level,
        is_chief=values.task == 0,
        obj_train_max_multiplier=values.objective_training_max_multiplier,
        curriculum=flags.curriculum(values), imitate=flags.imitate(values),
        penalty=flags.penalty(values, seed),
        evaluation=metaopt.Evaluation(values.evaluation_period, values.evaluation_epochs),
        meta_optimizer=flags.meta_optimizer(values), reset_rnn_params=values.reset_rnn_params,
        normal_initial_params=values.initial_params == 'normal',
        mini_batch_size=values.mini_batch_size, data_freeze=values.data_freeze,
        random_scaling=values.random_scaling,
        unroll_options=flags.unroll_options(values), xla=flags.xla(values),
        save_period=values.save_period, resume=not values.overwrite)


def _record(folder, values, seed, rows, optimizer):
    try:
        run_record.write(folder, flags.METARUN, flags.as_dict(values, flags.METARUN), seed, rows,
                         optimizer)
    except OSError as error:
        raise flags.FlagError('--train_dir: cannot write %s: %s' % (
            folder, error.strerror)) from error


def _announce(seed, rows, penalty):
    print('Seed: %d' % seed)
    for source in run_record.data_sources(rows):
        print('Data: %s' % source)
    if penalty is not None and not penalty.ever_counts:
        print('The penalty never counts in this run (--regularize_time, --alpha, --beta, '
              '--reg_scale), so it is not computed.')
    sys.stdout.flush()


if __name__ == '__main__':
    flags.run_script(flags.METARUN, main)
