"""Whether curriculum and imitation help: `make ablation`, or `python -m benchmarks.ablation`.

Meta-trains each system of "Training Stronger Baselines for Learning to Optimize" (arXiv
2010.09089) plain, with the curriculum, with imitation and with both, by `metarun.py` with the flag
files of `published/` and with equal numbers of unrolls, and tests all of them with `metatest.py` on
problems that they were not trained on. The same command goes on where it was interrupted.
"""

from l2o.commandline import quiet_import  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import argparse
import csv
import json
import os
from typing import NamedTuple, Tuple

import numpy as np

from benchmarks import ablation_table, commands
from l2o.evaluation import comparison
from l2o.metatraining import store
from l2o.runs import run_files

#: Name of a system -> the first part of the name of its run's folder.
SYSTEMS = {'l2o_scale': 'HierarchicalRNN', 'l2o_dm': 'L2ODM', 'rnnprop': 'RNNProp'}

#: The same -> its flag file in `published/`.
FLAG_FILES = {'l2o_scale': 'l2o_scale.txt', 'l2o_dm': 'l2o_dm_scaled.txt',
              'rnnprop': 'rnnprop_scaled.txt'}

#: Name of a variant -> its flags.
VARIANTS = {'plain': (), 'curriculum': ('--if_cl',), 'imitation': ('--if_mt',),
            'both': ('--if_cl', '--if_mt')}


class Size(NamedTuple):
    """How much is trained and tested."""

    unrolls: int  # of each training
    period: int  # meta-iterations from one validation to the next
    epochs: int  # of a validation
    seeds: Tuple[int, ...]  # of trainings
    problems: Tuple[str, ...]  # sets that are tested on
    steps: Tuple[int, ...]  # the numbers of steps after which losses are taken, increasing
    test_seeds: Tuple[int, ...]
    training: Tuple[str, ...] = ()  # other flags of metarun


SIZES = {
    'full': Size(1000, 10, 2, (1, 2), ('mnist_mlp_relu', 'mnist_mlp_deeper', 'mnist_conv'),
                 (1000, 10000), (6, 12)),
    'medium': Size(100, 2, 1, (1, 2), ('mnist_mlp_relu',), (1000,), (6,)),
    'quick': Size(20, 2, 1, (1, 2), ('mnist_mlp_relu',), (20, 60), (6,)),
}


class Training(NamedTuple):
    """One of the trainings."""

    system: str
    variant: str
    seed: int

    @property
    def name(self):
        return '%s-%s-%d' % self


def trainings(size):
    """All trainings, in the order of their seeds."""
    return [Training(system, variant, seed) for seed in size.seeds for system in SYSTEMS
            for variant in VARIANTS]


def run_folder(folder, training):
    """Where metarun leaves what it has trained."""
    return os.path.join(folder, training.name,
                        '%s_GRUCell_20_2' % SYSTEMS[training.system])


def training_command(size, folder, training):
    """The `Command` of a training."""
    return commands.of_script(folder, training.name, 'metarun.py', (
        '--flagfile=' + os.path.join(commands.ROOT, 'published', FLAG_FILES[training.system]),
        '--train_dir=' + os.path.join(folder, training.name), '--seed=%d' % training.seed,
        '--image_source=digits', '--num_meta_iterations=%d' % size.unrolls,
        '--max_unrolls=%d' % size.unrolls, '--evaluation_period=%d' % size.period,
        '--evaluation_epochs=%d' % size.epochs, '--keep_checkpoints=0')
        + VARIANTS[training.variant] + size.training)


def test_command(size, folder, jobs):
    """The `Command` that tests everything that was trained."""
    return commands.of_script(folder, 'tested', 'metatest.py', (
        '--learned=' + ','.join(run_folder(folder, training) for training in trainings(size)),
        '--save_dir=' + os.path.join(folder, 'tested'), '--image_source=digits',
        '--num_testing_itrs=%d' % max(size.steps), '--jobs=%d' % jobs,
        '--seeds=' + ','.join(map(str, size.test_seeds)))
        + tuple('--include_%s_problems' % name for name in size.problems))


def collect(size, folder):
    """What has come out, as JSON can hold it: see `ablation_table`."""
    trained = []
    for training in trainings(size):
        facts = store.saved_facts(run_folder(folder, training))
        trained.append(dict(training._asdict(), unrolls=facts['unrolls'],
                            meta_iterations=facts['meta_iterations'],
                            stage=facts['curriculum']['stage'] + 1))
    owners = {run_folder(folder, training): training for training in trainings(size)}
    losses = {}  # (optimizer, problem, seed, number of steps) -> the last of them
    with open(os.path.join(folder, 'tested', 'results.csv'), newline='') as file:
        for row in csv.DictReader(file):
            for steps in size.steps:
                if steps - comparison.FINAL_STEPS <= int(row['step']) < steps:
                    losses.setdefault((row['optimizer'], row['problem_name'], row['seed'], steps),
                                      []).append(float(row['loss']))
    tested = [dict(owners[optimizer]._asdict(), problem=problem, test_seed=int(seed), steps=steps,
                   loss=_or_none(np.mean(last)))
              for (optimizer, problem, seed, steps), last in losses.items()]
    return {'size': size._asdict(), 'trained': trained, 'tested': tested}


def _or_none(value):
    """The number; None where it is not finite, which JSON cannot hold."""
    return float(value) if np.isfinite(value) else None


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--size', choices=sorted(SIZES), default='full')
    parser.add_argument('--jobs', type=int, default=2, help='processes at a time, each on one core')
    parser.add_argument('--folder', help='of the runs and results; default: ablation/<size>')
    options = parser.parse_args(arguments)
    size = SIZES[options.size]
    folder = options.folder or os.path.join('ablation', options.size)
    os.makedirs(folder, exist_ok=True)
    left = [training for training in trainings(size)
            if not store.has_ended(run_folder(folder, training))]
    with commands.ending('ablation'):
        commands.run([training_command(size, folder, training) for training in left],
                     options.jobs)
        commands.run([test_command(size, folder, options.jobs)], 1)
    results = collect(size, folder)
    run_files.write(os.path.join(folder, 'results.json'), (
        json.dumps(results, indent=1, sort_keys=True) + '\n').encode())
    commands.show('\n' + ablation_table.table(results))


if __name__ == '__main__':
    main()
