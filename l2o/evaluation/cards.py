"""Model cards: what a learned optimizer is, and the results beside the best hand-tuned rule."""

import json
import os
from typing import Any, Dict, Sequence, Tuple

from l2o.evaluation import comparison
from l2o.evaluation.rules import label
from l2o.runs import run_files

CARD, RESULTS, CURVES = 'README.md', 'card.json', 'curves.png'
CHECKED_STEPS = 100  # length of the runs in `card.json`, which a test makes again
PICTURED = 5  # how many problems are drawn

_TEXT = """# %(name)s

`%(kind)s`, with the arguments in `run.json`. %(made)s
`optimizer.load('%(name)s')` opens it. Where training diverges, lower `learning_rate=` from 1.

Tested on problems it was not trained on, untuned: mean loss of the last %(final_steps)d steps
over %(seeds)d seeds, the standard deviation over the seeds, loss and accuracy on held-out examples.
Beside it is the best of the hand-tuned rules, each with the best learning rate of a grid for that
problem: %(rules)s.

| problem | loss | spread | held out | best hand-tuned | its loss | held out | diverged |
|---|---|---|---|---|---|---|---|
%(table)s

%(verdict)s

![Loss against step](%(curves)s)
"""


def write(folder: str, name: str, record: Dict[str, Any], curves: Sequence[comparison.Curve],
          summaries: Sequence[comparison.Summary]) -> None:
    """Writes the card, its numbers (`card.json`) and the curves into the folder of an optimizer.

    Args:
      folder: of the learned optimizer.
      name: in the curves and summaries.
      record: what the folder's `run.json` holds.
      curves: of the comparison.
      summaries: of the comparison.

    Raises:
      OSError: the folder cannot be written.
    """
    own = [curve for curve in curves if curve.optimizer == name]
    first_seed = own[0].seed
    rows = [{'problem': curve.problem, 'seed': curve.seed,
             'loss': comparison.final_loss(curve.losses[:CHECKED_STEPS])}
            for curve in own if curve.seed == first_seed]
    numbers = json.dumps({'steps': CHECKED_STEPS, 'rows': rows}, indent=2) + '\n'
    run_files.write(os.path.join(folder, RESULTS), numbers.encode())
    text = card_text(name, record, summaries, len({curve.seed for curve in own}))
    run_files.write(os.path.join(folder, CARD), text.encode())
    problems = comparison.in_order(row['problem'] for row in rows)[:PICTURED]
    shown = [curve for curve in curves if curve.problem in problems
             and (curve.optimizer == name or curve.learning_rate is not None)]
    comparison.draw_curves(os.path.join(folder, CURVES), shown, comparison.summarize(shown))


def card_text(name: str, record: Dict[str, Any], summaries: Sequence[comparison.Summary],
              num_seeds: int) -> str:
    """The card, in Markdown."""
    kind = record['optimizer']
    rivals = [(own, comparison.rival('best hand-tuned rule', own.problem, summaries))
              for own in summaries if own.optimizer == name]
    pairs = [(own, rule) for own, rule in rivals if rule is not None]
    rules = comparison.in_order(row.optimizer for row in summaries
                                if row.learning_rate is not None)
    return _TEXT % dict(
        name=name, kind=kind['name'], made=_made(name, record), seeds=num_seeds,
        final_steps=comparison.FINAL_STEPS, rules=', '.join(rules), curves=CURVES,
        table='\n'.join(_row(own, rule) for own, rule in pairs), verdict=verdict(pairs, num_seeds))


def _made(name, record):
    runs = record.get('mean_of')
    if runs:
        changed = ', with some weights changed as `changes.txt` says' * ('changes' in record)
        return ('The mean of %d runs, each made by `python metarun.py --flagfile=FILE` with one of '
                '`pretrained/%s/flags*.txt`%s.' % (len(runs), name, changed))
    return 'Made by `python metarun.py --flagfile=pretrained/%s/flags.txt`, seed %s.' % (
        name, record.get('seed'))


def _row(own, rule):
    return '| %s | %.2g | %.1g | %s | %s | %.2g | %s | %s |' % (
        own.problem, own.final, own.spread, _held_out(own), label(rule), rule.final,
        _held_out(rule), own.diverged or '')


def _held_out(row):
    """Loss and accuracy on held-out examples, as far as they are known."""
    return ', '.join(form % value for form, value in (
        ('%.2g', row.held_out_loss), ('%.3f', row.accuracy)) if value is not None)


def verdict(pairs: Sequence[Tuple[comparison.Summary, comparison.Summary]], num_seeds: int) -> str:
    """On how many problems the optimizer is at or below the best hand-tuned rule, in words.

    Args:
      pairs: of summaries: the optimizer's and the rule's, on each problem.
      num_seeds: runs on each problem.
    """
    wins = sum(own.final <= rule.final for own, rule in pairs)
    return ('At or below the best hand-tuned rule on %d of %d problems; %d of all %d runs diverged.'
            % (wins, len(pairs), sum(own.diverged for own, _ in pairs), num_seeds * len(pairs)))
