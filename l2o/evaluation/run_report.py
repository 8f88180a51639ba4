"""`history.png` and `report.html` of a meta-training: how it went, from the rows of its history."""

import os
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from l2o.evaluation import comparison, report
from l2o.runs import run_files

PICTURE, PAGE = 'history.png', 'report.html'
PERIOD = 300  # seconds from one writing to the next, while the run goes on
SHOWN = 200  # rows of the table at the most

Rows = Sequence[Dict[str, str]]  # of `history.csv`

#: Title of a panel -> whether its axis is logarithmic, and the columns that it draws.
PANELS: Dict[str, Tuple[bool, Tuple[str, ...]]] = {
    'validation': (False, ('validation',)),
    'objectives of the unrolls, means': (False, ('meta_objective', 'imitation_objective')),
    'norm of the meta-gradient, median': (True, ('gradient_norm',)),
    'minutes of work': (False, ('seconds',)),
}


class RunReport:
    """Writes both files into a run's folder.

    Args:
      folder: of the run.
      clock: gives seconds.
    """

    def __init__(self, folder: str, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock, self._written = folder, clock, clock()

    def write(self, rows: Rows, facts: Sequence[str] = (), last: bool = False) -> None:
        """Writes them, where there are rows, and it is time or the last time.

        Args:
          rows: of `history.csv`.
          facts: lines about the run.
          last: whether the run is at its end.

        Raises:
          OSError: they cannot be written.
        """
        if not rows or not last and self._clock() - self._written < PERIOD:
            return
        self._written = self._clock()
        content = comparison.picture(make_figure(rows))
        run_files.write(os.path.join(self._folder, PICTURE), content)
        run_files.write(os.path.join(self._folder, PAGE), page(rows, facts, content).encode())


def make_figure(rows: Rows) -> Any:
    """A figure with a panel for each of `PANELS`, over the meta-iterations.

    Vertical lines: where a stage of the curriculum, or the training on other problems, begins.
    Rings: validations that were the best so far.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7))
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.07, top=0.95, hspace=0.3, wspace=0.15)
    places = _column(rows, 'meta_iterations')
    for index, (title, (is_log, columns)) in enumerate(PANELS.items()):
        axes = figure.add_subplot(2, 2, index + 1)
        for column in columns:
            values = _column(rows, column) / (60.0 if column == 'seconds' else 1.0)
            if np.isfinite(values).any():
                axes.plot(places, values, '.-', linewidth=1, label=column.replace('_', ' '))
        if title == 'validation':
            best = [row.get('best') == '1' for row in rows]
            axes.plot(places[best], _column(rows, title)[best], 'o', color='C0', markersize=9,
                      fillstyle='none')
        for start in _starts(rows)[1:]:
            axes.axvline(float(rows[start]['meta_iterations']), color='gray', linewidth=0.5)
        if len(axes.get_lines()) and len(columns) > 1:
            axes.legend()
        positive = any(np.any(np.nan_to_num(_column(rows, column)) > 0) for column in columns)
        axes.set(title=title, xlabel='meta-iteration',
                 yscale='log' if is_log and positive else 'linear')
    return figure


def page(rows: Rows, facts: Sequence[str], content: bytes) -> str:
    """The text of the page.

    Args:
      rows: of `history.csv`.
      facts: lines about the run.
      content: the picture.
    """
    parts = [report.lines(list(facts) + _in_words(rows)),
             report.picture('History of the meta-training', content),
             report.lines(['Rings: the best validation so far. Vertical lines: a stage of the '
                           'curriculum or the training on other problems begins.'])]
    starts = _starts(rows)
    if len(starts) > 1:
        ends = starts[1:] + [len(rows)]
        parts.append('<h2>Stages</h2>')
        parts.append(report.table(
            ('stage', 'problem', 'validated over', 'meta-iterations', 'best validation', 'minutes'),
            [_stage(rows, start, end) for start, end in zip(starts, ends)], [False] * len(starts)))
    parts.append('<h2>Validations</h2>')
    if len(rows) > SHOWN:
        parts.append(report.lines(['The last %d of %d; all are in history.csv.' % (
            SHOWN, len(rows))]))
    shown = rows[-SHOWN:]
    columns = list(rows[0])
    parts.append(report.table([column.replace('_', ' ') for column in columns],
                              [[_short(row[column]) for column in columns] for row in shown],
                              [row.get('best') == '1' for row in shown]))
    return report.document('Meta-training', parts)


def _in_words(rows):
    """What the rows come to, in lines."""
    last = rows[-1]
    best = min((row for row in rows if row['best'] == '1'),
               key=lambda row: (-float(row['problem']), -float(row['stage']),
                                float(row['validation'])), default=None)
    found = ['%s meta-iterations, %s unrolls (%s not finite), %.1f minutes' % (
        last['meta_iterations'], last['unrolls'], last['nonfinite_unrolls'],
        float(last['seconds']) / 60.0)]
    if best is not None:
        found.append('Best validation %s, after %s meta-iterations, over %s steps' % (
            _short(best['validation']), best['meta_iterations'], best['validation_steps']))
    return found


def _stage(rows, start, end):
    """The cells of a stage, whose rows are those from `start` to before `end`."""
    first, last = rows[start], rows[end - 1]
    values = _column(rows[start:end], 'validation')
    best = '%.4g' % np.nanmin(values) if np.isfinite(values).any() else ''
    return (first['stage'], first['problem'], '%s steps' % last['validation_steps'],
            '%s to %s' % (first['meta_iterations'], last['meta_iterations']), best,
            '%.1f' % ((float(last['seconds']) - float(first['seconds'])) / 60.0))


def _starts(rows):
    """The indices of rows at which a stage, or the training on other problems, begins."""
    keys: List[Optional[Tuple[str, str]]] = [None] + [
        (row['problem'], row['stage']) for row in rows]
    return [index for index in range(len(rows)) if keys[index] != keys[index + 1]]


def _column(rows, name):
    """The numbers of a column, an array; not a number where there is none."""
    return np.array([float(row.get(name) or 'nan') for row in rows])


def _short(text):
    """A number with four digits; anything else as it is."""
    try:
        return text if float(text).is_integer() else '%.4g' % float(text)
    except (ValueError, OverflowError):
        return text
