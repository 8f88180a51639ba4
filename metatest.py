"""Evaluates a learned optimizer and compares it: `python metatest.py --train_dir=... ...`."""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from commandline import endings
    endings.install('metatest')

from commandline import quiet  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import importlib.util
import os

from commandline import builders, flags, script
from evaluation import comparison, inspection
from optimizer import build
from runs import run_record


def main(values):
    """Runs every chosen optimizer on every chosen problem and writes the results."""
    _check(values)
    config, make_learned = _learned_optimizer(values)
    entrants = _entrants(values, make_learned)
    rows = builders.problems_and_data(values, flags.METATEST, values.seeds[0])
    try:
        run_record.write(values.save_dir, flags.METATEST, builders.as_dict(values, flags.METATEST),
                         values.seeds, rows, config)
    except OSError as error:
        raise flags.FlagError('--save_dir: cannot write %s: %s' % (
            error.filename or values.save_dir, error.strerror)) from error
    for source in run_record.data_sources(rows):
        print('Data: %s' % source)
    if values.inspect:
        _inspect(values, make_learned, rows)
    curves = _run_all(values, entrants, rows)
    _write_results(values.save_dir, curves)


def _check(values):
    """Raises a FlagError where the flags cannot be followed to the end."""
    for name in ('test_optimizer', 'learning_rates', 'seeds'):
        elements = getattr(values, name)
        if len(set(elements)) < len(elements):
            raise flags.FlagError('--%s names something twice: %s'
                                  % (name, ','.join(map(str, elements))))
    if values.inspect and comparison.LEARNED not in values.test_optimizer:
        raise flags.FlagError('--inspect looks into the learned optimizer: --test_optimizer lacks '
                              + comparison.LEARNED)
    if importlib.util.find_spec('matplotlib') is None:
        raise flags.FlagError('the curves are drawn by matplotlib: install it')


def _learned_optimizer(values):
    """(name, arguments) of the learned optimizer and the function that builds it.

    Its checkpoint is checked at once. Without `L2o` among the optimizers there is no function.
    """
    if comparison.LEARNED not in values.test_optimizer:
        return builders.optimizer_config(values), None
    folder, config = builders.learned(values)
    checkpoint, xla = builders.checkpoint(values, folder), builders.xla(values)

    def make():
        learned = build(*config)
        learned.xla = xla
        learned.init_from_checkpoint(checkpoint)
        return learned

    builders.check_checkpoint(make)
    return config, make


def _entrants(values, make_learned):
    try:
        return comparison.entrants(values.test_optimizer, values.learning_rates, make_learned)
    except ValueError as error:
        raise flags.FlagError('--test_optimizer: %s' % error) from error


def _problem_names(values, rows):
    if len(rows) == 1:
        return [values.model_name]
    return ['%s-%d' % (values.model_name, index) for index in range(len(rows))]


def _inspect(values, make_learned, rows):
    for name, row in zip(_problem_names(values, rows), rows):
        seen = inspection.inspect(make_learned, row, values.seeds[0], values.num_testing_itrs)
        path = os.path.join(values.save_dir, 'inspection-%s.png' % name)
        inspection.make_figure(row.title, seen).savefig(path, dpi=120)
        print('Inspection: %s' % path)


def _run_all(values, entrants, rows):
    curves = []
    for name, row in zip(_problem_names(values, rows), rows):
        for entrant in entrants:
            for seed in values.seeds:
                curve = comparison.run(entrant, name, row, seed, values.num_testing_itrs)
                path = comparison.write_pickle(values.save_dir, name, curve)
                curves.append(curve)
                print('%s, %s, seed %d: %.4g after %d steps, %.2f ms each: %s' % (
                    name, comparison.label(curve), seed, comparison.final_loss(curve.losses),
                    len(curve.losses), 1e3 * curve.step_time, path), flush=True)
    return curves


def _write_results(folder, curves):
    summaries = comparison.summarize(curves)
    paths = [os.path.join(folder, name) for name in ('results.csv', 'summary.md', 'curves.png')]
    comparison.write_csv(paths[0], curves)
    comparison.write_summary(paths[1], summaries)
    with open(paths[1]) as handle:
        print('\n' + handle.read())
    comparison.draw_curves(paths[2], curves, summaries)
    print('Results: %s' % ', '.join(paths))


if __name__ == '__main__':
    script.run_script(flags.METATEST, main)
