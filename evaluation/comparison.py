"""Runs optimizers side by side on the same problems, seeds and batches, and tells who won.

The hand-tuned optimizers are tried with every learning rate of a grid, as is usual for baselines
of learned optimizers (arXiv 2010.09089, section 4).
"""

import collections
import csv
import io
import os
import pickle
import time

import numpy as np
import tensorflow.compat.v1 as tf

import metaopt
from runs import run_files

LEARNED = 'L2o'
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
FINAL_STEPS = 50  # the final loss is the mean over so many last steps

#: Name -> function of the learning rate -> `tf.train.Optimizer`.
HAND_TUNED = collections.OrderedDict([
    ('SGD', tf.train.GradientDescentOptimizer),
    ('Momentum', lambda rate: tf.train.MomentumOptimizer(rate, 0.9)),
    ('Adam', tf.train.AdamOptimizer),
    ('RMSProp', tf.train.RMSPropOptimizer),
    ('Adagrad', tf.train.AdagradOptimizer),
])

#: An optimizer to compare: `make()` builds it; the rate is None for learned ones.
Entrant = collections.namedtuple('Entrant', 'optimizer learning_rate make')

#: The losses of one run, one for each step, and its seconds for each step.
Curve = collections.namedtuple('Curve', 'optimizer learning_rate problem seed losses step_time')

#: What a group of curves (the seeds of one entrant on one problem) comes to. `area`: mean over the
#: steps of the best loss so far; `steps_to_adam`: steps to the final loss of the best Adam, None
#: where it isn't reached; `times_adam`: the step's time in units of Adam's, None without an Adam;
#: `diverged`: how many runs ended without a finite loss.
Summary = collections.namedtuple(
    'Summary', 'optimizer learning_rate problem final spread area steps_to_adam step_time '
    'times_adam diverged best')


def entrants(names, learning_rates, make_learned):
    """The entrants that names stand for.

    Args:
      names: `LEARNED` and keys of `HAND_TUNED`.
      learning_rates: for each hand-tuned one.
      make_learned: builds the learned optimizer.

    Raises:
      ValueError: an unknown name.
    """
    unknown = [name for name in names if name != LEARNED and name not in HAND_TUNED]
    if unknown:
        raise ValueError('unknown optimizer %s: choose from %s, %s'
                         % (', '.join(unknown), LEARNED, ', '.join(HAND_TUNED)))
    made = []
    for name in names:
        if name == LEARNED:
            made.append(Entrant(name, None, make_learned))
        else:
            made += [Entrant(name, rate, _maker(name, rate)) for rate in learning_rates]
    return made


def _maker(name, rate):
    return lambda: HAND_TUNED[name](rate)


def run(entrant, name, row, seed, num_steps):
    """One entrant on one problem: a `Curve`.

    Args:
      entrant: an `Entrant`.
      name: of the problem.
      row: (problem spec, dataset or None, batch size or None).
      seed: of initial values, batches and noise, and of the problem where the spec has none: the
        same for every entrant.
      num_steps: how many.
    """
    spec, dataset, batch_size = row[:3]
    with tf.Graph().as_default():
        tf.set_random_seed(seed)
        optimizer = entrant.make()
        start = time.perf_counter()
        losses, _, _ = metaopt.test_optimizer(
            optimizer, spec.build(seed), num_steps, dataset,
            batch_size, seed)
        step_time = (time.perf_counter() - start) / num_steps
    return Curve(entrant.optimizer, entrant.learning_rate, name, seed, losses, step_time)


def label(of):
    """`Adam 0.01`: the optimizer of an `Entrant`, a `Curve` or a `Summary`, with its rate."""
    return of.optimizer if of.learning_rate is None else '%s %g' % (of.optimizer, of.learning_rate)


# Files.


def write_pickle(folder, model_name, curve):
    """The losses of one run as a pickled list of floats, in the published file name."""
    suffix = model_name if curve.optimizer == LEARNED else '%s-%s' % (
        model_name, label(curve).replace(' ', '-'))
    path = os.path.join(folder, 'seed%d_eval_loss_record.pickle-%s' % (curve.seed, suffix))
    run_files.write(path, pickle.dumps(curve.losses))
    return path


def write_csv(path, curves):
    """All losses, a row each: optimizer, learning_rate, problem, seed, step, loss."""
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(['optimizer', 'learning_rate', 'problem', 'seed', 'step', 'loss'])
    for curve in curves:
        rate = '' if curve.learning_rate is None else '%g' % curve.learning_rate
        for step, loss in enumerate(curve.losses):
            writer.writerow([curve.optimizer, rate, curve.problem, curve.seed, step,
                             repr(float(loss))])
    run_files.write(path, text.getvalue().encode())


def write_summary(path, summaries):
    """Writes the tables of `summary_text`."""
    run_files.write(path, summary_text(summaries).encode())


def summary_text(summaries):
    """A Markdown table for each problem, sorted by final loss."""
    lines = []
    for problem in in_order(summary.problem for summary in summaries):
        lines += ['## %s\n\n' % problem,
                  '| optimizer | final loss | spread | best-so-far area '
                  '| steps to Adam\'s best | ms per step | times Adam\'s | diverged |\n',
                  '|---|---|---|---|---|---|---|---|\n']
        rows = [summary for summary in summaries if summary.problem == problem]
        lines += [_markdown_row(row) for row in sorted(rows, key=lambda row: _sortable(row.final))]
        lines.append('\n')
    lines.append('Final loss: mean over the last %d steps and over the seeds; spread: standard '
                 'deviation over the seeds; area: mean over the steps of the best loss so far. '
                 'Bold: the best learning rate of each optimizer.\n' % FINAL_STEPS)
    return ''.join(lines)


def _markdown_row(summary):
    name = '**%s**' % label(summary) if summary.best else label(summary)
    reached = '-' if summary.steps_to_adam is None else '%d' % summary.steps_to_adam
    ratio = '-' if summary.times_adam is None else '%.1f' % summary.times_adam
    return '| %s | %.3g | %.2g | %.3g | %s | %.2f | %s | %s |\n' % (
        name, summary.final, summary.spread, summary.area, reached, 1e3 * summary.step_time, ratio,
        summary.diverged or '')


# Numbers.


def final_loss(losses):
    """The mean of the last losses; infinite for a run that diverged."""
    last = np.mean(losses[-FINAL_STEPS:])
    return float(last) if np.isfinite(last) else np.inf


def summarize(curves):
    """A `Summary` of each entrant on each problem, the best of each grid marked."""
    groups = collections.OrderedDict()
    for curve in curves:
        groups.setdefault((curve.problem, curve.optimizer, curve.learning_rate), []).append(curve)
    finals = {key: np.mean([final_loss(curve.losses) for curve in group])
              for key, group in groups.items()}
    adam_times = {key[0]: _step_time(group) for key, group in groups.items() if key[1] == 'Adam'}
    return [_summary(key, group, finals, adam_times) for key, group in groups.items()]


def _step_time(group):
    return float(np.median([curve.step_time for curve in group]))


def _summary(key, group, finals, adam_times):
    problem, optimizer, rate = key
    rivals = {other: final for other, final in finals.items() if other[0] == problem}
    adams = [final for other, final in rivals.items() if other[1] == 'Adam']
    best = min((final for other, final in rivals.items() if other[1] == optimizer), key=_sortable)
    ends = [final_loss(curve.losses) for curve in group]
    diverged = sum(not np.isfinite(end) for end in ends)
    best_so_far = [np.fmin.accumulate(curve.losses) for curve in group]
    return Summary(optimizer, rate, problem, final=finals[key],
                   spread=np.inf if diverged else float(np.std(ends)),
                   area=float(np.mean(best_so_far)),
                   steps_to_adam=_steps_to(best_so_far, min(adams)) if adams else None,
                   step_time=_step_time(group),
                   times_adam=(_step_time(group) / adam_times[problem]
                               if problem in adam_times else None),
                   diverged=diverged, best=finals[key] == best)


def _steps_to(best_so_far, target):
    """The median number of steps after which the target is reached; None: by fewer than half."""
    steps = [int(np.argmax(curve <= target)) if np.any(curve <= target) else np.inf
             for curve in best_so_far]
    median = np.median(steps)
    return int(median) if np.isfinite(median) else None


def _sortable(value):
    return value if np.isfinite(value) else np.inf


def in_order(values):
    """Each of the values once, in the order of their first appearance."""
    return list(collections.OrderedDict.fromkeys(values))


# Picture.


def draw_curves(path, curves, summaries):
    """Draws log loss against step, for the best learning rate of each optimizer, into a file."""
    figure = make_figure(curves, summaries)
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format='png')
    run_files.write(path, content.getvalue())


def make_figure(curves, summaries):
    """The figure of `draw_curves`: a panel for each problem, mean and band over the seeds."""
    from matplotlib.figure import Figure

    problems = in_order(summary.problem for summary in summaries)
    columns = 1 if len(problems) < 4 else 2
    rows = -(-len(problems) // columns)
    figure = Figure(figsize=(7 * columns, 4.5 * rows), tight_layout=True)
    for index, problem in enumerate(problems):
        axes = figure.add_subplot(rows, columns, index + 1)
        best = sorted((summary for summary in summaries if summary.best
                       and summary.problem == problem), key=lambda row: _sortable(row.final))
        for summary in best:
            _draw_band(axes, summary, [curve.losses for curve in curves
                                       if curve.problem == problem
                                       and label(curve) == label(summary)])
        axes.set(title=problem, xlabel='step', ylabel='loss', yscale='log')
        axes.legend()
    return figure


def _draw_band(axes, summary, losses):
    logs = np.log(np.maximum(_smooth(np.array(losses)), 1e-20))
    mean, spread = np.mean(logs, axis=0), np.std(logs, axis=0)
    steps = np.arange(mean.size)
    name = label(summary) + (' (%d diverged)' % summary.diverged if summary.diverged else '')
    line, = axes.plot(steps, np.exp(mean), label='%s: %.2g' % (name, summary.final))
    axes.fill_between(steps, np.exp(mean - spread), np.exp(mean + spread), alpha=0.2,
                      color=line.get_color())


def _smooth(losses):
    """A running mean over 1% of the steps: mini-batch losses are noisy."""
    width = max(1, losses.shape[1] // 100)
    sums = np.cumsum(np.pad(losses, ((0, 0), (width, 0)), mode='edge'), axis=1)
    return (sums[:, width:] - sums[:, :-width]) / width
