"""Evaluates learned optimizers and compares them: `python metatest.py --train_dir=... ...`."""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from l2o.commandline import signals
    signals.install('metatest')
    from l2o.commandline import start
    start.begin('metatest')

from l2o.commandline import quiet_import  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import functools
import importlib.util
import os
import sys

from absl.flags import FlagValues

from l2o.commandline import candidates, flags, optimizer_flags, problem_flags, script
from l2o.evaluation import cards, comparison, inspection, report, result_files, rules, running
from l2o.evaluation.comparison_progress import ComparisonProgress
from l2o.metatraining import store
from l2o.runs import run_files, run_record


def main(values: FlagValues) -> None:
    """Runs every chosen optimizer on every chosen problem and writes the results."""
    _check(values)
    learned = candidates.learned_optimizers(values)
    chosen, rows = candidates.candidates(values, learned), candidates.rows_to_test(values)
    _record(values, learned, rows)
    for source in run_record.data_sources(rows):
        print('Data: %s' % source)
    for note in filter(None, [store.unfinished(each.folder) for each in learned]):
        print('Note: %s' % note)
    observer = ComparisonProgress(None if values.quiet else sys.stdout)
    kept = result_files.KeptRuns(os.path.join(values.save_dir, result_files.KEPT),
                                 values.overwrite)
    remake = functools.partial(candidates.remake, problem_flags.as_dict(values, flags.METATEST))
    runner = running.Runner(kept, values.jobs, remake, observer)
    try:
        found = running.compare(chosen, rows, values.seeds, None, runner,
                                candidates.grids(values))
    except running.WorkerDied as error:
        raise flags.FlagError('--jobs: %s: perhaps there is not enough memory for so many'
                              % error) from error
    finally:
        runner.close()
        observer.end()
    _write_results(values, learned, rows, found)


def _check(values):
    """Raises a FlagError where the flags cannot be followed to the end."""
    for name in ('test_optimizer', 'learning_rates', 'seeds', 'schedules'):
        elements = getattr(values, name)
        if len(set(elements)) < len(elements):
            raise flags.FlagError('--%s names something twice: %s'
                                  % (name, ','.join(map(str, elements))))
    for name in ('inspect', 'cards', 'equal_time'):
        if getattr(values, name) and rules.LEARNED not in values.test_optimizer:
            raise flags.FlagError('--%s is about learned optimizers, but --test_optimizer lacks %s'
                                  % (name, rules.LEARNED))
    if importlib.util.find_spec('matplotlib') is None:
        raise flags.FlagError('the curves are drawn by matplotlib: install it')


def _record(values, learned, rows):
    """Writes `run.json`; so that a folder that cannot be written is found before any work."""
    config = learned[0].config if learned else optimizer_flags.optimizer_config(values)
    try:
        run_record.write(values.save_dir, flags.METATEST,
                         problem_flags.as_dict(values, flags.METATEST), values.seeds, rows, config)
    except OSError as error:
        raise flags.FlagError('--save_dir: cannot write %s: %s' % (
            error.filename or values.save_dir, error.strerror)) from error


def _write_results(values, learned, rows, found):
    """Writes losses, tables, pictures, the page and the cards."""
    names, summaries = candidates.file_names(values, rows), comparison.summarize(found.curves)
    for curve in found.curves:
        result_files.write_pickle(values.save_dir, names[curve.problem], curve)
        if values.l2l_record and curve.seed == values.seeds[0]:
            result_files.write_l2l_pickle(values.save_dir, names[curve.problem], curve)
    result_files.write_csv(_path(values, 'results.csv'), found.curves + found.screened, names)
    text = result_files.summary_text(summaries, found.equal_time)
    run_files.write(_path(values, 'summary.md'), text.encode())
    run_files.write(_path(values, 'summary.json'),
                    result_files.as_json(summaries, found.equal_time).encode())
    names_learned = [each.name for each in learned]
    tables = [result_files.overview(summaries, names_learned),
              result_files.standings(summaries, found.equal_time, names_learned), text]
    run_files.write(_path(values, 'results.md'), '\n'.join(tables).encode())
    pictures = _pictures(values, found.curves, summaries, names_learned)
    inspections = _inspect(values, learned, rows, names) if values.inspect else []
    facts = ['Data: %s' % source for source in run_record.data_sources(rows)]
    facts.append('Seeds: %s' % ', '.join(map(str, values.seeds)))
    page = report.page('Comparison of optimizers', facts, summaries, found.equal_time, pictures,
                       inspections)
    run_files.write(_path(values, 'report.html'), page.encode())
    if values.cards:
        for each in learned:
            record = run_record.read(each.folder) or {}
            cards.write(each.folder, each.name, record, found.curves, summaries)
    print('\n' + text)
    print('Results: %s' % ', '.join(_path(values, name) for name in (
        'results.csv', 'summary.md', 'curves.png', 'report.html')))


def _pictures(values, curves, summaries, names_learned):
    """Pairs (caption, picture), each also written into a file."""
    figures = [('Final losses', 'overview.png', comparison.make_overview(summaries, names_learned)),
               ('Loss against step', 'curves.png', comparison.make_figure(curves, summaries))]
    pictures = [(caption, name, comparison.picture(figure)) for caption, name, figure in figures
                if figure is not None]
    for _, name, content in pictures:
        run_files.write(_path(values, name), content)
    return [(caption, content) for caption, _, content in pictures]


def _path(values, name):
    return os.path.join(values.save_dir, name)


def _inspect(values, learned, rows, names):
    """Pairs (caption, picture) of what learned optimizers do inside."""
    pictures = []
    for each in learned:
        for row in rows:
            title = row.name if len(learned) == 1 else '%s on %s' % (each.name, row.name)
            seen = inspection.inspect(lambda each=each, row=row: each.make(row.num_steps), row,
                                      values.seeds[0], row.num_steps)
            content = comparison.picture(inspection.make_figure(comparison.plain(title), seen))
            words = [names[row.name]] + [result_files.slug(each.name)] * (len(learned) > 1)
            path = _path(values, 'inspection-%s.png' % '-'.join(words))
            run_files.write(path, content)
            pictures.append(('Inside of ' + title, content))
            print('Inspection: %s' % path)
    return pictures


if __name__ == '__main__':
    script.run_script(flags.METATEST, main)
