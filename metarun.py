"""Meta-trains a learned optimizer: `python metarun.py --include_mnist_mlp_problems ...`."""

import os
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import numpy as np  # noqa: E402

import flags  # noqa: E402
import metaopt  # noqa: E402
import run_record  # noqa: E402


def main(values):
    """Meta-trains as the flags say and tells where the result is."""
    seed = values.seed if values.seed >= 0 else int(np.random.randint(2 ** 31 - 1))
    folder = flags.run_folder(values)
    optimizer, settings = flags.optimizer_config(values), _settings(values, seed)
    rows = flags.problems_and_data(values, flags.METARUN)
    _record(folder, values, seed, rows, optimizer)
    _announce(seed, rows, settings['penalty'])
    result = metaopt.train_optimizer(
        folder, flags.optimizer_spec(values, seed), rows, values.num_problems,
        values.num_meta_iterations, seed=seed, **settings)
    print('Best validation %.4g after %d meta-iterations: %s'
          % (result.best_cost, result.meta_iterations, result.checkpoint))


def _settings(values, seed):
    """The keyword arguments of `train_optimizer` that the flags give."""
    num_unrolls, unroll_length = flags.unroll_functions(values, np.random.RandomState(seed))
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
        save_period=values.save_period, resume=values.resume)


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
