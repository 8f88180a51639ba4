"""The table of `make ablation`: `python -m benchmarks.ablation_table ablation/medium/results.json`
puts it, and the figures, where the page on the published systems has them.
"""

import json
import os
import shutil
import sys

import numpy as np

from benchmarks import pages
from l2o.evaluation import result_files

FOLDER = os.path.dirname(os.path.abspath(__file__))
RESULTS = os.path.join(FOLDER, 'ablation.json')
PAGE = os.path.join(os.path.dirname(FOLDER), 'docs', 'published_systems.md')

PLACE = 'ablation'  # of the table on the page

LARGEST = 1e3  # losses above, and those that are not finite, count as this
SMALLEST = 1e-9  # losses below count as this: float32 rounds them off, down to zero

TITLES = {'l2o_scale': 'L2O-Scale', 'l2o_dm': 'L2O-DM', 'rnnprop': 'RNNProp'}
PROBLEMS = {'mnist_mlp': 'MLP sigmoid', 'mnist_mlp_relu': 'MLP relu',
            'mnist_mlp_deeper': 'MLP deeper', 'mnist_conv': 'conv'}

#: What the paper reports on MNIST, natural logarithms of losses read off its figures, after
#: `PAPER_STEPS` steps: (system, problem) -> plain and with both techniques; None: not reported.
PAPER_STEPS = 10000
PAPER = {
    ('l2o_scale', 'mnist_mlp'): (-1.05, -1.84), ('l2o_scale', 'mnist_mlp_relu'): (-3.05, -3.97),
    ('l2o_scale', 'mnist_mlp_deeper'): (-0.95, -1.98), ('l2o_scale', 'mnist_conv'): (-0.38, -1.58),
    ('rnnprop', 'mnist_mlp'): (-6.0, -10.3), ('rnnprop', 'mnist_mlp_relu'): (-3.9, -5.8),
    ('rnnprop', 'mnist_mlp_deeper'): (-3.95, -7.4), ('rnnprop', 'mnist_conv'): (0.36, -7.0),
    ('l2o_dm', 'mnist_mlp'): (None, -10.9), ('l2o_dm', 'mnist_mlp_relu'): (None, -6.9),
    ('l2o_dm', 'mnist_mlp_deeper'): (None, -6.9), ('l2o_dm', 'mnist_conv'): (None, -4.9),
}


class Logs:
    """Natural logarithms of losses: the mean over the tests of what each training made.

    Args:
      results: what `ablation.collect` gives.
    """

    def __init__(self, results):
        found = {}
        for test in results['tested']:
            loss = LARGEST if test['loss'] is None else np.clip(test['loss'], SMALLEST, LARGEST)
            key = test['system'], test['variant'], test['problem'], test['steps']
            found.setdefault(key, {}).setdefault(test['seed'], []).append(np.log(loss))
        self._by_seed = {key: {seed: np.mean(logs) for seed, logs in seeds.items()}
                         for key, seeds in found.items()}
        self.systems, self.variants, self.problems, self.steps = [
            list(dict.fromkeys(key[index] for key in self._by_seed)) for index in range(4)]

    def of(self, *key):
        """By (system, variant, problem, steps) the values of all training seeds, in order."""
        return np.array([value for _, value in sorted(self._by_seed[key].items())])


def table(results):
    """Three tables in Markdown: losses, what each technique changes, how long was trained."""
    logs = Logs(results)
    return '\n'.join(map(result_files.markdown_table, (
        _losses(logs), _changes(logs), _lengths(logs, results['trained']))))


def _losses(logs):
    lines = [['system', 'tested on', 'steps', *logs.variants, 'paper: plain, both']]
    for system in logs.systems:
        for problem in logs.problems:
            for steps in logs.steps:
                values = [logs.of(system, variant, problem, steps) for variant in logs.variants]
                paper = PAPER.get((system, problem)) if steps == PAPER_STEPS else None
                lines.append([
                    TITLES[system], PROBLEMS.get(problem, problem), format(steps, ','),
                    *map(_in_words, values),
                    ', '.join('-' if value is None else '%.2f' % value for value in paper or ())])
    return lines


def _changes(logs):
    """For each technique the mean difference to plain, over tests, and in how many it is clear."""
    lines = [['system', 'technique', 'change of ln loss, mean of all tests', 'of each seed',
              'tests better, worse by more than the spread']]
    for system in logs.systems:
        for variant in logs.variants[1:]:
            changes, better, worse = [], 0, 0
            for problem in logs.problems:
                for steps in logs.steps:
                    plain = logs.of(system, logs.variants[0], problem, steps)
                    other = logs.of(system, variant, problem, steps)
                    changes.append(other - plain)
                    spread = np.hypot(_spread(plain), _spread(other))
                    better += np.mean(other - plain) < -spread
                    worse += np.mean(other - plain) > spread
            clear = '%d, %d of %d' % (better, worse, len(changes))
            lines.append([
                TITLES[system], variant, '%+.2f' % np.mean(changes),
                ', '.join('%+.2f' % value for value in np.mean(changes, axis=0)),
                clear if len(changes[0]) > 1 else 'one seed: no spread'])
    return lines


def _lengths(logs, trained):
    """How many unrolls each training took, and its last stage."""
    lines = [['unrolls (and last stage) of each seed', *logs.variants]]
    for system in logs.systems:
        cells = [', '.join('%d (%d)' % (each['unrolls'], each['stage']) for each in trained
                           if (each['system'], each['variant']) == (system, variant))
                 for variant in logs.variants]
        lines.append([TITLES[system], *cells])
    return lines


def _in_words(values):
    """Mean and spread; of a single seed the value."""
    if len(values) == 1:
        return '%.2f' % values[0]
    return '%.2f ± %.2f' % (np.mean(values), _spread(values))


def _spread(values):
    """The standard deviation over the seeds."""
    return np.std(values, ddof=1) if len(values) > 1 else 0.0


def read(path=RESULTS):
    """What `ablation.collect` gave, from a file."""
    with open(path) as file:
        return json.load(file)


def main(arguments):
    """Keeps the figures of a file, and renews the page's table."""
    if arguments:
        shutil.copyfile(arguments[0], RESULTS)
    with open(PAGE, encoding='utf-8') as file:
        text = file.read()
    with open(PAGE, 'w', encoding='utf-8') as file:
        file.write(pages.place(text, PLACE, table(read())))


if __name__ == '__main__':
    main(sys.argv[1:])
