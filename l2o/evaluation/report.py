"""`report.html`: a comparison on one page, its pictures inside, that needs no network."""

import base64
import html
from typing import Sequence, Tuple

from l2o.evaluation import comparison
from l2o.evaluation.rules import label
from l2o.evaluation.running import EqualTime

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>%(title)s</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 66em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; display: block; overflow-x: auto }
th, td { padding: .25em .6em; text-align: right; white-space: nowrap }
th, td { border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
tr.best { font-weight: bold }
figure { margin: 1em 0 }
img { display: block; max-width: 100%%; margin: auto }
p { color: #555 }
</style>
</head>
<body>
<h1>%(title)s</h1>
%(body)s
</body>
</html>
"""

_COLUMNS = ('optimizer', 'final loss', 'spread', 'held-out loss', 'accuracy', 'ms per step',
            'times Adam\'s', 'diverged')
_EXPLANATION = (
    'Final loss: mean over the last %d steps and over the seeds. Spread: standard deviation over '
    'the seeds. Held-out loss and accuracy: after the last step, on examples that no step has '
    'seen. Bold: the best learning rate of each optimizer.' % comparison.FINAL_STEPS)


def page(title: str, facts: Sequence[str], summaries: Sequence[comparison.Summary],
         equal_time: Sequence[EqualTime], pictures: Sequence[Tuple[str, bytes]],
         inspections: Sequence[Tuple[str, bytes]] = ()) -> str:
    """The text of the page.

    Args:
      title: a line.
      facts: lines about the comparison.
      summaries: the list of `Summary`.
      equal_time: the list of `EqualTime`.
      pictures: pairs (caption, bytes of a PNG), for the top.
      inspections: the same, of what learned optimizers do inside, for the end.
    """
    parts = [lines(facts)]
    parts += [picture(*each) for each in pictures] + ['<p>%s</p>' % _EXPLANATION]
    for problem in comparison.in_order(summary.problem for summary in summaries):
        parts.append('<h2>%s</h2>' % html.escape(problem))
        rows = sorted((summary for summary in summaries if summary.problem == problem),
                      key=lambda row: comparison.sortable(row.final))
        parts.append(table(_COLUMNS, [_cells(row) for row in rows], [row.best for row in rows]))
        parts += _at_equal_time([each for each in equal_time if each.problem == problem])
    if inspections:
        parts.append('<h2>What the learned optimizers do inside</h2>')
        parts += [picture(*each) for each in inspections]
    return document(title, parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A page of its own, of parts in HTML."""
    return _PAGE % {'title': html.escape(title), 'body': '\n'.join(parts)}


def lines(texts: Sequence[str]) -> str:
    """Lines of text in HTML."""
    return '<p>%s</p>' % '<br>'.join(map(html.escape, texts))


def picture(words: str, content: bytes) -> str:
    """A picture, a PNG, in HTML; the words are for whoever cannot see it."""
    return '<figure><img alt="%s" src="data:image/png;base64,%s"></figure>' % (
        html.escape(words), base64.b64encode(content).decode())


def _cells(row):
    return (label(row), '%.3g' % row.final, '%.2g' % row.spread, _given('%.3g', row.held_out_loss),
            _given('%.3f', row.accuracy), '%.2f' % (1e3 * row.step_time),
            _given('%.1f', row.times_adam), str(row.diverged or ''))


def _given(form, value):
    return '' if value is None else form % value


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool]) -> str:
    """A table in HTML; rows that are marked are bold."""
    head = ''.join('<th>%s</th>' % html.escape(column) for column in columns)
    body = ['<tr%s>%s</tr>' % (' class="best"' if mark else '', ''.join(
        '<td>%s</td>' % html.escape(cell) for cell in row)) for row, mark in zip(rows, marked)]
    return '<table>\n<tr>%s</tr>\n%s\n</table>' % (head, '\n'.join(body))


def _at_equal_time(results):
    """For each learned optimizer a table of the rules when they have used its time."""
    parts = []
    for learned in comparison.in_order(each.learned for each in results):
        own = sorted((each for each in results if each.learned == learned),
                     key=lambda each: comparison.sortable(each.final))
        parts.append('<p>In the time that %s takes for its steps:</p>' % html.escape(learned))
        parts.append(table(('optimizer', 'final loss', 'held-out loss', 'steps'), [
            (label(each.summary), '%.3g' % each.final, _given('%.3g', each.held_out_loss),
             '%d' % each.num_steps) for each in own], [False] * len(own)))
    return parts
