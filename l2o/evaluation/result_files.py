"""The files of a comparison: losses, tables, and the runs that are kept."""

import csv
import hashlib
import io
import json
import os
import pickle
import re
from typing import Any, Dict, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.evaluation import comparison
from l2o.evaluation.rules import LEARNED, label
from l2o.evaluation.running import ALONG_THE_WAY, ALONG_THE_WAY_LIMIT, EqualTime, Trial
from l2o.runs import run_files
from problems.problem_spec import Row, Spec

PROTOCOL = 1  # to be raised where a run of the same trial gives other results than before
KEPT = 'runs'  # folder of the runs that are kept, inside of that of the results
#: Fields of a `Curve` that may be None, in their order.
_OPTIONAL = 'held_out_loss', 'accuracy', 'last_loss', 'best_held_out_loss', 'best_accuracy'


def write_pickle(folder: str, model_name: str, curve: comparison.Curve) -> str:
    """The losses before each step as a pickled list of floats, in L2O-Scale's file name."""
    return _write_pickle(folder, 'seed%d' % curve.seed, model_name, curve, curve.losses)


def write_l2l_pickle(folder: str, model_name: str, curve: comparison.Curve) -> str:
    """The losses after each step, in the file name of the L2O-DM and RNNProp programs."""
    return _write_pickle(folder, 'L2L', model_name, curve, curve.losses[1:] + [curve.last_loss])


def _write_pickle(folder, whose, model_name, curve, losses):
    suffix = model_name if curve.optimizer == LEARNED else '%s-%s' % (
        model_name, _file_words(label(curve)))
    path = os.path.join(folder, '%s_eval_loss_record.pickle-%s' % (whose, suffix))
    run_files.write(path, pickle.dumps(losses))
    return path


def write_csv(path: str, curves: Sequence[comparison.Curve], short_names: Dict[str, str]) -> None:
    """All losses, a row each: optimizer, learning_rate, schedule, problem, seed, step, loss,
    problem_name.

    `short_names` is a dict from the problems' names to those in the column `problem`.
    """
    text = io.StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(['optimizer', 'learning_rate', 'schedule', 'problem', 'seed', 'step', 'loss',
                     'problem_name'])
    for curve in curves:
        rate, schedule = ('', '') if curve.learning_rate is None else (
            '%g' % curve.learning_rate, curve.schedule)
        for step, loss in enumerate(curve.losses):
            writer.writerow([curve.optimizer, rate, schedule, short_names[curve.problem],
                             curve.seed, step, repr(float(loss)), curve.problem])
    run_files.write(path, text.getvalue().encode())


# Tables.


def summary_text(summaries: Sequence[comparison.Summary],
                 equal_time: Sequence[EqualTime] = ()) -> str:
    """A Markdown table for each problem, sorted by final loss, and the results at equal time."""
    lines = []
    for problem in comparison.in_order(summary.problem for summary in summaries):
        lines += ['## %s\n\n' % problem,
                  '| optimizer | final loss | spread | best-so-far area | held-out loss | accuracy '
                  '| best held out | best accuracy | steps to Adam\'s best | ms per step '
                  '| times Adam\'s | diverged |\n',
                  '|---|---|---|---|---|---|---|---|---|---|---|---|\n']
        rows = [summary for summary in summaries if summary.problem == problem]
        lines += [_markdown_row(row)
                  for row in sorted(rows, key=lambda row: comparison.sortable(row.final))]
        lines += _equal_time_lines([each for each in equal_time if each.problem == problem])
        lines.append('\n')
    lines.append('Final loss: mean over the last %d steps and over the seeds; spread: standard '
                 'deviation over the seeds; area: mean over the steps of the best loss so far; '
                 'held-out loss and accuracy: after the last step, on examples that no step has '
                 'seen; best held out and best accuracy: of %d times along the way, on the first '
                 '%d of them. Bold: the best learning rate of each optimizer.\n'
                 % (comparison.FINAL_STEPS, ALONG_THE_WAY, ALONG_THE_WAY_LIMIT))
    return ''.join(lines)


def _markdown_row(summary):
    name = '**%s**' % label(summary) if summary.best else label(summary)
    return '| %s | %.3g | %.2g | %.3g | %s | %s | %s | %s | %s | %.2f | %s | %s |\n' % (
        name, summary.final, summary.spread, summary.area, _or_dash('%.3g', summary.held_out_loss),
        _or_dash('%.3f', summary.accuracy), _or_dash('%.3g', summary.best_held_out_loss),
        _or_dash('%.3f', summary.best_accuracy), _or_dash('%d', summary.steps_to_adam),
        1e3 * summary.step_time, _or_dash('%.1f', summary.times_adam), summary.diverged or '')


def _or_dash(form, value):
    return '-' if value is None else form % value


def _equal_time_lines(results):
    """A sentence for each learned optimizer."""
    lines = []
    for learned in comparison.in_order(each.learned for each in results):
        own = sorted((each for each in results if each.learned == learned),
                     key=lambda each: comparison.sortable(each.final))
        lines.append('\nIn the time of %s: %s.\n' % (learned, '; '.join(
            '%s %.3g (held out %s, %d steps)' % (
                label(each.summary), each.final, _or_dash('%.3g', each.held_out_loss),
                each.num_steps) for each in own)))
    return lines


def overview(summaries: Sequence[comparison.Summary], learned: Sequence[str]) -> str:
    """A Markdown table of final losses: a row for each problem, a column for each optimizer.

    Args:
      summaries: of a comparison.
      learned: names of the learned optimizers; beside them are Adam, the rule that is best at one
        setting for all problems, and the best of all rules for each.
    """
    known = comparison.rivals(summaries)
    rivals = [words for words in (comparison.DEFAULT, 'Adam, best rate', 'Adam cosine, best rate',
                                  comparison.BEST, comparison.STRONGEST) if words in known]
    lines = [['problem'] + list(learned) + rivals]
    for problem in comparison.in_order(row.problem for row in summaries):
        final = {row.optimizer: '%.3g' % row.final for row in summaries if row.problem == problem}
        rules = [comparison.rival(words, problem, summaries) for words in rivals]
        lines.append([problem] + [final.get(name, '') for name in learned]
                     + ['%.3g (%s)' % (rule.final, label(rule)) if rule else '' for rule in rules])
    return markdown_table(lines)


def standings(summaries: Sequence[comparison.Summary], equal_time: Sequence[EqualTime],
              learned: Sequence[str]) -> str:
    """A Markdown table: how each learned optimizer stands against each rival over all problems."""
    lines = [['optimizer', 'against', 'at or below', 'log ratio', 'held-out log ratio',
              'at or below, equal time', 'best held-out log ratio']]
    for name in learned:
        for words in comparison.rivals(summaries):
            found = comparison.standing(name, words, summaries, equal_time)
            if found is not None:
                meant = {label(row) for row in summaries if row.learning_rate is not None
                         and comparison.rivals(summaries)[words](row)}
                setting = ' (%s)' % meant.pop() if len(meant) == 1 else ''
                lines.append([name, words + (setting if setting[2:-1] != words else ''),
                              '%d of %d' % (found.wins, found.problems),
                              '%+.3f' % found.log_ratio,
                              _or_dash('%+.3f', found.held_out_log_ratio),
                              _or_dash('%%d of %d' % found.problems, found.wins_at_equal_time),
                              _or_dash('%+.3f', found.best_held_out_log_ratio)])
    return markdown_table(lines)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """A table of a list of rows, the first being the head."""
    head, *rest = lines
    return ''.join('| %s |\n' % ' | '.join(line) for line in [head, ['---'] * len(head), *rest])


def as_json(summaries: Sequence[comparison.Summary],
            equal_time: Sequence[EqualTime] = ()) -> str:
    """The same numbers for programs; null stands for those that are not finite."""
    return json.dumps({
        'final_steps': comparison.FINAL_STEPS, 'summaries': [_finite(row) for row in summaries],
        'equal_time': [dict(_finite(each), summary=_finite(each.summary)) for each in equal_time],
    }, indent=2) + '\n'


def _finite(record):
    return {name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in record._asdict().items()}


# Runs that are kept.


class KeptRuns:
    """The results of trials, a file each, in a folder.

    A file's name tells candidate, problem, seed and length in words, and by a digest of all that
    decides the result: the problem's description and data, the candidate's identity, the versions
    of TensorFlow and of the protocol. A result is read only where all of it is the same.

    Args:
      folder: made where something is written.
      anew: whether what is there is left unread.
    """

    def __init__(self, folder: str, anew: bool = False) -> None:
        self._folder, self._anew = folder, anew
        self._digests: Dict[int, str] = {}

    def read(self, trial: Trial) -> Optional[comparison.Curve]:
        """The `Curve` of a trial, or None where there is none that can be read."""
        try:
            if self._anew:
                return None
            with np.load(self._path(trial)) as arrays:
                losses, step_time = arrays['losses'], arrays['step_time']
                optional = [arrays[name] for name in _OPTIONAL]
        except Exception:  # no file, or whatever a damaged one gives: the trial is run again
            return None
        candidate = trial.candidate
        return comparison.Curve(
            candidate.optimizer, candidate.learning_rate, trial.row.name, trial.seed,
            losses.tolist(), float(step_time), candidate.schedule,
            *[float(value) if value.size else None for value in optional])

    def write(self, trial: Trial, curve: comparison.Curve) -> None:
        """Keeps the `Curve` of a trial."""
        os.makedirs(self._folder, exist_ok=True)
        content = io.BytesIO()
        arrays: Dict[str, Any] = {
            name: [] if getattr(curve, name) is None else getattr(curve, name)
            for name in _OPTIONAL}
        np.savez(content, losses=curve.losses, step_time=curve.step_time, **arrays)
        run_files.write(self._path(trial), content.getvalue())

    def _path(self, trial):
        candidate, row, seed, steps = trial
        if id(row) not in self._digests:
            self._digests[id(row)] = row_digest(row)
        key = _digest(json.dumps([
            PROTOCOL, tf.__version__, label(candidate), candidate.identity,
            self._digests[id(row)], seed, steps]).encode())
        words = '%s %s seed %d %d steps' % (row.name, label(candidate), seed, steps)
        return os.path.join(self._folder, '%s-%s.npz' % (slug(words), key))


def slug(words: str) -> str:
    """The words as a part of a file name: letters, digits, dots and dashes."""
    return _file_words(words)[:80].strip('-')


def _file_words(words):
    return re.sub(r'[^\w.-]+', '-', words)


def row_digest(row: Row) -> str:
    """Tells problems apart by all that decides what a run on one gives."""
    parts = [repr(_description(row.spec)), repr(row.batch_size)]
    for dataset in (row.dataset, row.held_out):
        if dataset is not None:
            parts += [_digest(np.ascontiguousarray(array)) for array in dataset[:2]]
    return _digest('\n'.join(parts).encode())


def _digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def _description(value):
    """A value of a `Spec` as nested lists of words that are the same in every process."""
    if isinstance(value, Spec):
        return ['Spec'] + [_description(part) for part in value]
    if isinstance(value, dict):
        return [[key, _description(value[key])] for key in sorted(value)]
    if isinstance(value, (list, tuple)):
        return [_description(part) for part in value]
    if isinstance(value, np.ndarray):
        return [value.shape, _digest(np.ascontiguousarray(value))]
    if callable(value):
        code = getattr(value, '__code__', None)
        return [getattr(value, '__module__', ''), getattr(value, '__qualname__', type(value)),
                code and code.co_firstlineno]
    return repr(value)
