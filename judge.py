"""Judges the optimizers of `pretrained/` on problems that none of them was trained on.

`python judge.py [--short] [--kept] [folder ...]` runs each, untuned, against the hand-tuned rules,
each at the best learning rate of its grid for that problem, and writes a card into every folder and
all tables into `pretrained/results.md`. `--short` runs the first five problems, a quarter of an
hour; all take hours. Curves are kept in `judged/`, so that what has been run is not run again;
`--kept` leaves the pretrained optimizers out of what they have not run.
"""

from commandline import quiet  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import collections
import hashlib
import json
import os
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from evaluation import comparison
from optimizer import load
from problems import datasets, problem_sets
from problems import problem_generator as pg
from problems.problem_spec import Spec
from runs import run_files, run_record

FOLDER, KEPT = 'pretrained', 'judged'
CHECKPOINT = 'model.ckpt-0.data-00000-of-00001'
SEEDS = (6, 12, 18, 24, 30)
STEPS, LONG_STEPS = 1000, 10000
RIVALS = ('SGD', 'Momentum', 'Adam', 'RMSProp')
SHORT = 5  # how many problems are run by `--short`
FINALISTS = 3  # how many learning rates of each grid are run with all seeds
CARD_STEPS = 100  # the length of the runs that a test makes again

TRAINED_ALIKE = 'MLP 20, sigmoid'  # the one problem whose network is trained on, on smaller inputs

CARD = """# %(name)s

`%(kind)s`, arguments: %(arguments)s. Made by `python pretrain.py %(name)s`: seed %(seed)s,
%(unrolls)s unrolls of 20 steps, meta-learning rate %(rate)s, on embedded digits of 8 x 8 pixels.
`optimizer.load('pretrained/%(name)s')` opens it.

Judged by `python judge.py` on problems it was not trained on (digits of 28 x 28 pixels), untuned:
mean loss of the last 50 steps over 5 seeds, and its standard deviation over the seeds. The
hand-tuned rules (SGD, Momentum, Adam, RMSProp) have the best learning rate of a grid of nine for
each problem; the best of the four is shown.

| problem | loss | spread | best hand-tuned | its loss | diverged |
|---|---|---|---|---|---|
%(table)s

%(verdict)s

![Loss against step](curves.png)
"""

#: A problem to judge on: its name, (spec, dataset, batch size), steps.
Trial = collections.namedtuple('Trial', 'name row steps')


def trials():
    """The held-out problems, on the embedded digits."""
    source = datasets.DataSource('digits')
    test, train = datasets.mnist(False, source), datasets.mnist(True, source)

    def mlp(hidden, activation, dataset=test, batch_size=128):
        return (Spec(pg.FullyConnected, (784, 10),
                     {'hidden_sizes': hidden, 'activation': activation}), dataset, batch_size)

    sigmoid, relu = tf.nn.sigmoid, tf.nn.relu
    convnets = [sets(source)[0] for sets in (problem_sets.test_mnist_conv_orig_problems,
                                             problem_sets.test_mnist_conv_problems)]
    softmax = (Spec(pg.SoftmaxRegression, (784, 10), {}), test, 128)
    return [
        Trial('MLP 20, sigmoid', mlp((20,), sigmoid), STEPS),
        Trial('MLP 20, relu', mlp((20,), relu), STEPS),
        Trial('MLP 20-20, sigmoid', mlp((20, 20), sigmoid), STEPS),
        Trial('MLP 64, sigmoid', mlp((64,), sigmoid), STEPS),
        Trial('softmax regression', softmax, STEPS),
        Trial('MLP 20, relu, batch 32', mlp((20,), relu, train, 32), STEPS),
        Trial('MLP 20, relu, batch 512', mlp((20,), relu, train, 512), STEPS),
        Trial('convnet 8-8', convnets[0], STEPS),
        Trial('convnet 16-32 with dense layer', convnets[1], STEPS),
        Trial('MLP 20, sigmoid, 10,000 steps', mlp((20,), sigmoid), LONG_STEPS),
        Trial('MLP 20, relu, 10,000 steps', mlp((20,), relu), LONG_STEPS),
        Trial('MLP 20-20, sigmoid, 10,000 steps', mlp((20, 20), sigmoid), LONG_STEPS),
    ]


def entrant(folder):
    """The pretrained optimizer of a folder."""
    return comparison.Entrant(os.path.basename(folder), None, lambda: load(folder))


def run(one, trial, seeds=SEEDS, steps=None):
    """The curves of an entrant on a trial, one for each seed."""
    return [comparison.run(one, trial.name, trial.row, seed, steps or trial.steps)
            for seed in seeds]


def kept_run(one, trial, seeds=SEEDS, steps=None):
    """The same as `run`, read from `KEPT` where it has been run before."""
    path = kept_path(one, trial, seeds, steps)
    if not os.path.exists(path):
        curves = run(one, trial, seeds, steps)
        os.makedirs(KEPT, exist_ok=True)
        np.savez(path, losses=[curve.losses for curve in curves],
                 step_times=[curve.step_time for curve in curves])
    with np.load(path) as arrays:
        return [comparison.Curve(one.optimizer, one.learning_rate, trial.name, *each)
                for each in zip(seeds, arrays['losses'], arrays['step_times'])]


def kept_path(one, trial, seeds=SEEDS, steps=None):
    """The file for the curves of an entrant on a trial."""
    words = [trial.name, comparison.label(one), '%d' % (steps or trial.steps),
             '-'.join('%d' % seed for seed in seeds)]
    if one.learning_rate is None:
        words.append(_digest(os.path.join(FOLDER, one.optimizer, CHECKPOINT)))
    return os.path.join(KEPT, ' '.join(words).replace(' ', '_').replace(',', '') + '.npz')


def _digest(path):
    with open(path, 'rb') as handle:
        return hashlib.sha256(handle.read()).hexdigest()[:8]


def best_of_grid(name, trial):
    """A hand-tuned rule at its best learning rate: of those that are best with the first seed and
    `STEPS` steps, the one with the lowest mean loss over all seeds and steps."""
    def loss(one, seeds, steps):
        return np.mean([comparison.final_loss(curve.losses)
                        for curve in kept_run(one, trial, seeds, steps)])

    steps = min(trial.steps, STEPS)
    grid = sorted(comparison.entrants([name], comparison.LEARNING_RATES, None),
                  key=lambda one: loss(one, SEEDS[:1], steps))
    return min(grid[:FINALISTS], key=lambda one: loss(one, SEEDS, trial.steps))


def judge(folders, chosen, only_kept=False):
    """All curves on the chosen trials: of the pretrained optimizers and of their rivals.

    With `only_kept`, pretrained optimizers are left out of the trials that they haven't run.
    """
    curves = []
    for trial in chosen:
        learned = [entrant(folder) for folder in folders]
        if only_kept:
            learned = [one for one in learned if os.path.exists(kept_path(one, trial))]
        for one in learned + [best_of_grid(name, trial) for name in RIVALS]:
            new = kept_run(one, trial)
            curves += new
            print('%s, %s: %.3g' % (trial.name, comparison.label(one), np.mean(
                [comparison.final_loss(curve.losses) for curve in new])), flush=True)
    return curves


def write_card(folder, curves, summaries):
    """Writes `card.json` (losses of short runs, which a test makes again), card and curves."""
    name = os.path.basename(folder)
    rows = [{'problem': curve.problem, 'seed': curve.seed,
             'loss': comparison.final_loss(curve.losses[:CARD_STEPS])}
            for curve in curves if curve.optimizer == name and curve.seed == SEEDS[0]]
    with open(os.path.join(folder, 'card.json'), 'w') as handle:
        json.dump({'steps': CARD_STEPS, 'rows': rows}, handle, indent=2)
        handle.write('\n')
    with open(os.path.join(folder, 'README.md'), 'w') as handle:
        handle.write(card_text(folder, summaries))
    problems = comparison.in_order(row['problem'] for row in rows)[:SHORT]
    shown = [curve for curve in curves if curve.problem in problems
             and curve.optimizer in (name,) + RIVALS]
    comparison.draw_curves(os.path.join(folder, 'curves.png'), shown, comparison.summarize(shown))


def overview(folders, summaries):
    """A Markdown table of final losses: a row for each problem, a column for each optimizer."""
    names = [os.path.basename(folder) for folder in folders]
    lines = [['problem'] + names + ['best hand-tuned rule'], ['---'] * (len(names) + 2)]
    for problem in comparison.in_order(row.problem for row in summaries):
        final = {row.optimizer: '%.2g' % row.final for row in summaries if row.problem == problem}
        rival = best_rival(problem, summaries)
        lines.append([problem] + [final.get(name, '') for name in names]
                     + ['%.2g (%s)' % (rival.final, comparison.label(rival))])
    return ''.join('| %s |\n' % ' | '.join(line) for line in lines)


def card_text(folder, summaries):
    """The model card: what the optimizer is, and a table of its losses beside the best rival's."""
    name, record = os.path.basename(folder), run_record.read(folder)
    kind, made = record['optimizer'], record['flags']
    pairs = [(own, best_rival(own.problem, summaries)) for own in summaries
             if own.optimizer == name]
    rows = ['| %s | %.2g | %.1g | %s | %.2g | %s |' % (
        own.problem, own.final, own.spread, comparison.label(rival), rival.final,
        own.diverged or '') for own, rival in pairs]
    return CARD % dict(
        name=name, kind=kind['name'], seed=record['seed'], table='\n'.join(rows),
        arguments=', '.join('%s=%s' % each for each in sorted(kind['kwargs'].items())) or 'default',
        unrolls=made['unrolls'], rate=made['learning_rate'], verdict=verdict(pairs))


def best_rival(problem, summaries):
    """The hand-tuned rule with the lowest final loss on a problem."""
    return min((row for row in summaries if row.problem == problem and row.optimizer in RIVALS),
               key=lambda row: row.final)


def verdict(pairs):
    """On how many held-out problems the optimizer is at or below its best rival, in words."""
    held_out = [own.final <= rival.final for own, rival in pairs
                if own.problem != TRAINED_ALIKE and 'steps' not in own.problem]
    return ('At or below the best hand-tuned rule on %d of %d problems of %d steps (all but the '
            'first, whose network was trained on); %d of all %d runs diverged.' % (
                sum(held_out), len(held_out), STEPS, sum(own.diverged for own, _ in pairs),
                len(SEEDS) * len(pairs)))


def main(arguments):
    """Judges the pretrained optimizers in these folders, or in all."""
    chosen = trials()[:SHORT] if '--short' in arguments else trials()
    folders = [word.rstrip('/') for word in arguments if not word.startswith('--')] or sorted(
        os.path.join(FOLDER, name) for name in os.listdir(FOLDER)
        if os.path.exists(os.path.join(FOLDER, name, 'run.json')))
    tf.disable_v2_behavior()
    tf.enable_resource_variables()
    tf.logging.set_verbosity(tf.logging.ERROR)
    curves = judge(folders, chosen, '--kept' in arguments)
    summaries = comparison.summarize(curves)
    results = overview(folders, summaries) + '\n' + comparison.summary_text(summaries)
    run_files.write(os.path.join(FOLDER, 'results.md'), results.encode())
    for folder in folders:
        write_card(folder, curves, summaries)


if __name__ == '__main__':
    main(sys.argv[1:])
