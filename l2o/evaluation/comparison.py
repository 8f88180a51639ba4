"""What the runs of a comparison come to: numbers and a picture."""

import collections
import io
import math
import warnings
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from l2o.evaluation.rules import ADAM, CONSTANT, is_default, label
from l2o.runs import run_files

FINAL_STEPS = 50  # the final loss is the mean over so many last steps


class Curve(NamedTuple):
    """The losses of one run."""

    optimizer: str
    learning_rate: Optional[float]  # None for learned optimizers
    problem: str
    seed: int
    losses: List[float]  # before each step
    step_time: float  # seconds
    schedule: str = CONSTANT  # of the learning rate
    held_out_loss: Optional[float] = None  # at the end; None: there are no held-out examples
    accuracy: Optional[float] = None  # on held-out examples; None: there are no classes
    last_loss: Optional[float] = None  # after the last step, on that step's mini-batch
    best_held_out_loss: Optional[float] = None  # along the way, see `l2o.evaluation.running`
    best_accuracy: Optional[float] = None


class Summary(NamedTuple):
    """What a group of curves comes to: the seeds of one candidate on one problem."""

    optimizer: str
    learning_rate: Optional[float]
    problem: str
    final: float  # mean over the last `FINAL_STEPS` steps and the seeds; infinite: one diverged
    spread: float  # standard deviation of the final losses over the seeds
    area: float  # mean over the steps of the best loss so far
    steps_to_adam: Optional[int]  # to the final loss of the best Adam; None: not reached
    step_time: float  # seconds, the median over the seeds
    times_adam: Optional[float]  # the step's time in units of Adam's; None: there is no Adam
    diverged: int  # how many runs ended without a finite loss
    best: bool  # whether no other learning rate of the grid ends lower
    schedule: str = CONSTANT
    held_out_loss: Optional[float] = None  # means over the seeds
    accuracy: Optional[float] = None
    best_held_out_loss: Optional[float] = None
    best_accuracy: Optional[float] = None


# Numbers.


def final_loss(losses: Sequence[float]) -> float:
    """The mean of the last losses; infinite for a run that diverged."""
    last = np.mean(losses[-FINAL_STEPS:])
    return float(last) if np.isfinite(last) else np.inf


def summarize(curves: Sequence[Curve]) -> List[Summary]:
    """A `Summary` of each candidate on each problem, the best of each grid marked."""
    groups: Dict[Tuple[str, str], List[Curve]] = collections.OrderedDict()
    for curve in curves:
        groups.setdefault((curve.problem, label(curve)), []).append(curve)
    # (problem, rule, schedule) -> label -> final loss
    finals: Dict[Tuple[str, str, str], Dict[str, float]] = collections.defaultdict(dict)
    for (problem, name), group in groups.items():
        finals[problem, group[0].optimizer, group[0].schedule][name] = float(
            np.mean([final_loss(curve.losses) for curve in group]))
    adam_times = {problem: _step_time(group) for (problem, _), group in groups.items()
                  if (group[0].optimizer, group[0].schedule) == (ADAM, CONSTANT)}
    return [_summary(group, finals, adam_times.get(problem))
            for (problem, _), group in groups.items()]


def _step_time(group):
    return float(np.median([curve.step_time for curve in group]))


def _summary(group, finals, adam_time):
    first = group[0]
    grid = finals[first.problem, first.optimizer, first.schedule]
    adams = finals.get((first.problem, ADAM, CONSTANT), {})
    ends = [final_loss(curve.losses) for curve in group]
    diverged = sum(not np.isfinite(end) for end in ends)
    best_so_far = [np.fmin.accumulate(curve.losses) for curve in group]
    final, step_time = grid[label(first)], _step_time(group)
    return Summary(
        first.optimizer, first.learning_rate, first.problem, final=final,
        spread=np.inf if diverged else float(np.std(ends)), area=float(np.mean(best_so_far)),
        steps_to_adam=_steps_to(best_so_far, min(adams.values())) if adams else None,
        step_time=step_time, times_adam=step_time / adam_time if adam_time else None,
        diverged=diverged, best=bool(final == min(grid.values(), key=sortable)),
        schedule=first.schedule, **{
            name: mean_of_known([getattr(curve, name) for curve in group])
            for name in ('held_out_loss', 'accuracy', 'best_held_out_loss', 'best_accuracy')})


def _steps_to(best_so_far, target):
    """The median number of steps after which the target is reached; None: by fewer than half."""
    steps = [int(np.argmax(curve <= target)) if np.any(curve <= target) else np.inf
             for curve in best_so_far]
    median = np.median(steps)
    return int(median) if np.isfinite(median) else None


def mean_of_known(values: Sequence[Optional[float]]) -> Optional[float]:
    """The mean; None where a value is None."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def sortable(value: float) -> float:
    """The value, or infinity for one that is not finite."""
    return value if np.isfinite(value) else np.inf


def in_order(values: Iterable[Any]) -> List[Any]:
    """Each of the values once, in the order of their first appearance."""
    return list(collections.OrderedDict.fromkeys(values))


DEFAULT, STRONGEST, BEST = 'Adam 0.001', 'best single setting', 'best hand-tuned rule'


def rivals(summaries: Sequence[Summary]) -> Dict[str, Callable[[Summary], bool]]:
    """What learned optimizers are held against: words -> whether the `Summary` of a rule is meant.

    Of several on one problem, the one with the lowest final loss is taken. Each rule, with each
    schedule, is there twice: at the best rate for each problem, and at the one rate that is best
    over all of them, which is the fair rival of an optimizer that nobody tunes. The strongest of
    the latter, and the best of all for each problem, have names of their own.
    """
    rules = [row for row in summaries if row.learning_rate is not None]
    found: Dict[str, Callable[[Summary], bool]] = collections.OrderedDict()
    if any(map(is_default, rules)):
        found[DEFAULT] = is_default
    single = {grid: _single_setting(grid, rules) for grid in in_order(map(_grid, rules))}
    for grid in single:
        words = ' '.join([grid[0]] + [grid[1]] * (grid[1] != CONSTANT))
        found[words + ', best rate'] = lambda row, grid=grid: _grid(row) == grid
        if single[grid]:
            found[words + ', one rate'] = _labelled(single[grid][0])
    settings = [setting for setting in single.values() if setting]
    if settings:
        found[STRONGEST] = _labelled(min(settings, key=lambda setting: setting[1])[0])
    if rules:
        found[BEST] = lambda row: True
    return found


def single_settings(summaries: Sequence[Summary]) -> List[str]:
    """The labels of the rules, one rate of each grid, that are best over all problems."""
    rules = [row for row in summaries if row.learning_rate is not None]
    found = [_single_setting(grid, rules) for grid in in_order(map(_grid, rules))]
    return [setting[0] for setting in found if setting]


def _grid(row):
    return row.optimizer, row.schedule


def _labelled(name):
    return lambda row: label(row) == name


def _single_setting(grid, rules):
    """The rate of a grid that is best over all problems: (label, mean log loss).

    None where no rate was run on all of them.
    """
    problems = set(row.problem for row in rules)
    losses: Dict[str, Dict[str, float]] = collections.defaultdict(dict)
    for row in rules:
        if _grid(row) == grid:
            losses[label(row)][row.problem] = np.log(sortable(row.final))
    means = {name: float(np.mean(list(logs.values()))) for name, logs in losses.items()
             if set(logs) == problems}
    return min(means.items(), key=lambda item: item[1]) if means else None


def rival(words: str, problem: str, summaries: Sequence[Summary]) -> Optional[Summary]:
    """The `Summary` of a rival, see `rivals`, on a problem; None where there is none."""
    is_meant = rivals(summaries).get(words)
    rules = [row for row in summaries if row.problem == problem
             and row.learning_rate is not None and is_meant and is_meant(row)]
    return min(rules, key=lambda row: sortable(row.final)) if rules else None


class Standing(NamedTuple):
    """How a learned optimizer compares with a rival over all problems where both were run."""

    problems: int
    wins: int  # problems on which it ends at or below
    log_ratio: float  # mean natural logarithm of its final loss in units of the rival's
    held_out_log_ratio: Optional[float]  # the same of the losses on held-out examples; None: none
    wins_at_equal_time: Optional[int]  # None: not run
    best_held_out_log_ratio: Optional[float] = None  # of the lowest held-out losses along the way


def standing(name: str, words: str, summaries: Sequence[Summary],
             equal_time: Sequence[Any] = ()) -> Optional[Standing]:
    """The `Standing` of a learned optimizer against a rival; None where they never met.

    Losses are taken to be positive. One that is not finite makes the log ratio infinite.
    """
    own = {row.problem: row for row in summaries if row.optimizer == name}
    pairs = [(row, rival(words, problem, summaries)) for problem, row in own.items()]
    pairs = [(row, other) for row, other in pairs if other is not None]
    if not pairs:
        return None

    def log_ratio_of(field):
        both = [(getattr(row, field), getattr(other, field)) for row, other in pairs]
        logs = [np.log(one / another) for one, another in both if None not in (one, another)]
        return float(np.mean(logs)) if logs else None

    timed = [(row, [each.final for each in equal_time if each.learned == name
                    and label(each.summary) == label(other)
                    and each.problem == row.problem]) for row, other in pairs]
    return Standing(
        len(pairs), sum(row.final <= other.final for row, other in pairs),
        log_ratio_of('final'), log_ratio_of('held_out_loss'),
        sum(row.final <= finals[0] for row, finals in timed) if all(
            finals for _, finals in timed) else None,
        log_ratio_of('best_held_out_loss'))


# Pictures.


def make_overview(summaries: Sequence[Summary], learned: Sequence[str]) -> Any:
    """A figure of final losses in units of Adam's at its best rate: a row for each problem.

    Shown are the learned optimizers, Adam as it comes, the rule that is best at one setting for
    all problems, and the best hand-tuned rule for each. None where Adam was not run on two
    problems: one row says no more than the curves.
    """
    from matplotlib.figure import Figure

    units = {problem: rival('Adam, best rate', problem, summaries)
             for problem in in_order(row.problem for row in summaries)}
    problems = [problem for problem, row in units.items() if row and np.isfinite(row.final)]
    if len(problems) < 2:
        return None
    figure = Figure(figsize=(8, 1.6 + 0.36 * len(problems)), tight_layout=True)
    axes = figure.add_subplot(1, 1, 1)
    for place, (name, marker) in enumerate(
            [(DEFAULT, 'x'), (STRONGEST, '+'), (BEST, '|')] + [(name, 'o') for name in learned]):
        shown = [(next(
            (row for row in summaries if (row.optimizer, row.problem) == (name, problem)), None)
                  if marker == 'o' else rival(name, problem, summaries)) for problem in problems]
        if name == STRONGEST and all(map(is_default, filter(None, shown))):
            continue
        points = [(row.final / units[row.problem].final, problems.index(row.problem))
                  for row in shown if row is not None and np.isfinite(row.final)]
        if points:
            axes.scatter(*zip(*points), marker=marker, s=90 if marker == '|' else 45,
                         label=plain(name), zorder=2 + place)
    axes.axvline(1.0, color='gray', linewidth=1)
    axes.set(xscale='log', xlabel='final loss / that of Adam at the best rate of its grid')
    axes.set_yticks(range(len(problems)))
    axes.set_yticklabels([plain(problem) for problem in problems])
    axes.invert_yaxis()
    axes.legend(loc='lower center', bbox_to_anchor=(0.5, 1.0), ncol=3, frameon=False)
    return figure


def draw_curves(path: str, curves: Sequence[Curve], summaries: Sequence[Summary]) -> None:
    """Draws loss against step, for the best learning rate of each optimizer, into a file."""
    run_files.write(path, picture(make_figure(curves, summaries)))


def picture(figure: Any) -> bytes:
    """The bytes of a figure as PNG."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing')  # names may be in any script
        figure.savefig(content, dpi=120, format='png')
    return content.getvalue()


class Band(NamedTuple):
    """What is drawn of the runs of one candidate on one problem; not a number: it has diverged."""

    median: np.ndarray  # [steps], over the seeds, of the losses as running means
    low: np.ndarray  # their lower quartile: the largest value that a quarter of the seeds reach
    high: np.ndarray  # their upper quartile


#: What is said below the curves.
DRAWN = ('Line: median over the seeds of the loss, itself a running mean over 3% of the steps; the '
         'legend has where it ends.\nBand: from the lower to the upper quartile of the seeds. '
         '(The final losses in tables are means over the seeds.)')


def make_figure(curves: Sequence[Curve], summaries: Sequence[Summary]) -> Any:
    """The figure of `draw_curves`: a panel for each problem, median and quartiles over the seeds;
    an optimizer has the same colour in all."""
    from matplotlib.figure import Figure

    problems = in_order(summary.problem for summary in summaries)
    columns = 1 if len(problems) < 4 else 2
    rows = -(-len(problems) // columns)
    rules = in_order(summary.optimizer + summary.schedule for summary in summaries)
    height = 4.5 * rows + 0.5
    figure = Figure(figsize=(7 * columns, height), tight_layout={'rect': (0, 0.5 / height, 1, 1)})
    for index, problem in enumerate(problems):
        axes = figure.add_subplot(rows, columns, index + 1)
        bands = [(summary, band([curve.losses for curve in curves if curve.problem == problem
                                 and label(curve) == label(summary)]))
                 for summary in summaries if summary.best and summary.problem == problem]
        for summary, drawn in sorted(bands, key=lambda pair: sortable(pair[1].median[-1])):
            _draw_band(axes, summary, drawn, rules.index(summary.optimizer + summary.schedule))
        axes.set(title=plain(problem), xlabel='step', ylabel='loss', yscale='log')
        axes.legend()
    figure.text(0.01, 0.1 / height, DRAWN, fontsize='x-small', color='0.3')
    return figure


def band(losses: Sequence[Sequence[float]]) -> Band:
    """The `Band` of runs, a list of losses for each seed."""
    smooth = np.sort([_running_mean(np.asarray(each, float)) for each in losses], axis=0)
    last = len(smooth) - 1  # not a number was sorted behind all others
    return Band(np.median(np.nan_to_num(smooth, nan=np.inf, posinf=np.inf), axis=0),
                smooth[int(0.25 * last)], smooth[math.ceil(0.75 * last)])


def plain(text: str) -> str:
    """The text as matplotlib shows it unchanged: a dollar sign begins no formula."""
    return text.replace('$', r'\$')


def _draw_band(axes, summary, drawn, index):
    """One optimizer's; its index among all decides its colour."""
    median, low, high = (np.where(np.isfinite(values), np.maximum(values, 1e-20), np.nan)
                         for values in drawn)
    name = label(summary) + (' (%d diverged)' % summary.diverged if summary.diverged else '')
    color = 'C%d' % (index % 10)
    axes.plot(median, label=plain('%s: %.2g' % (name, drawn.median[-1])), color=color,
              linewidth=2.5 if summary.learning_rate is None else 1.5,
              linestyle='-' if index < 10 else '--')
    axes.fill_between(np.arange(median.size), low, high, alpha=0.2, color=color, linewidth=0)


def _running_mean(losses):
    """The mean over the last 3% of the steps: mini-batch losses are noisy.

    Each is a sum of its own: differences of sums from the beginning would lose the digits of small
    losses behind large ones.
    """
    width = max(1, losses.size // 33)
    return np.convolve(np.pad(losses, (width - 1, 0), mode='edge'), np.full(width, 1.0 / width),
                       'valid')
