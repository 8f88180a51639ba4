"""The tables of docs/speed.md: `python -m benchmarks.report` puts them there, from results.json and
gpu.json."""

import collections
import json
import os

from benchmarks import measuring, models, pages
from l2o.evaluation import result_files

FOLDER = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(os.path.dirname(FOLDER), 'docs', 'speed.md')
RESULTS, GPU_RESULTS = os.path.join(FOLDER, 'results.json'), os.path.join(FOLDER, 'gpu.json')

#: The names of the tables' places on the page.
SPEED, GPU = 'speed', 'gpu'

SMALL, LAYERS, LARGE = 'MLP 784-20-10', '31-layer MLP', 'MLP 784-512-512-10'


def table(results):
    """The table in Markdown; rows whose figures are not among the results are left out."""
    figures = {(result.group, result.name, result.size): result for result in results}
    lines = ['| work | published | here | yardstick, same run |', '|---|---|---|---|']
    for row in _ROWS:
        try:
            lines.append('| %s |' % ' | '.join(row(figures)))
        except KeyError:
            pass
    return '\n'.join(lines) + '\n'


def read(path=RESULTS):
    """The list of `Result` in a file that `run.write` wrote."""
    with open(path) as file:
        return [measuring.Result(**result) for result in json.load(file)['results']]


def gpu_table(results):
    """The table in Markdown of what `benchmarks.gpu` has measured: a column for each place."""
    rows, places = collections.OrderedDict(), []
    for result in results:
        place_name, optimizer = result.name.split(': ')
        places += [place_name] * (place_name not in places)
        ratio = '' if result.yardstick != 'Adam' or optimizer == 'Adam' else (
            ' (%s)' % _two(result.ratio))
        rows.setdefault((result.group, optimizer), {})[place_name] = (
            '%s ms%s' % (_two(result.value), ratio))
    return result_files.markdown_table([['work', 'optimizer'] + places] + [
        list(row) + [cells.get(name, '') for name in places] for row, cells in rows.items()])


def _unroll(work, name, published):
    def row(figures):
        found = figures['unroll', name, None]
        return (work, published, _seconds(found.value / 1e3),
                'bare objective and gradient, 20 times: '
                + _seconds(figures['unroll', 'bare', None].value / 1e3))
    return row


def _step(work, model, published, built=False):
    def row(figures):
        here, sgd, adam = ['%s ms' % _two(figures['step', '%s, %s' % (model, name), None].value)
                           for name in ('HierarchicalRNN', 'SGD', 'Adam')]
        if built:
            here += ', after %s of building' % _seconds(sum(
                figures['step: ' + part, model, None].value for part in ('build', 'first')))
        return work, published, here, 'SGD %s, Adam %s' % (sgd, adam)
    return row


def _shipped(title, case):
    def row(figures):
        ratios = ['%s %s' % (name, _two(figures['shipped', '%s, %s' % (case, name), None].ratio))
                  for name in models.SHIPPED]
        return title + ', in units of Adam\'s', '', ', '.join(ratios), ''
    return row


def _command(work, name, published):
    return lambda figures: (work, published, _seconds(figures['command', name, None].value), '')


def _memory(figures):
    kept, checkpoints = [figures['memory/length', name, 200].value / 1e3
                         for name in ('everything kept', 'checkpoint_every')]
    return ('peak memory of the process, training unroll of 200 steps, 1,000 examples', '',
            '%s GB; with `--checkpoint_every=14` %s GB' % (_two(kept), _two(checkpoints)), '')


def _checkpointing(figures):
    ratio = figures['checkpoint_every', 'training unroll of 100', None].ratio
    return 'its time: training unroll of 100 steps with `--checkpoint_every=10`', '', (
        '%s of that without' % _two(ratio)), ''


def _xla(figures):
    names = ('training unroll of 20', 'validation unroll of 20', 'step, ' + SMALL, 'step, ' + LARGE)
    ratios = [_two(figures['xla', name, None].ratio) for name in names]
    return ('with `--xla` on this CPU: training unroll, validation unroll, step in 784-20-10, in '
            '784-512-512-10', '', '%s, %s, %s, %s of the time without' % tuple(ratios), '')


def _two(value):
    """Two digits, or all that are before the point."""
    return '%d' % round(value) if value >= 10 else '%.2g' % value if value < 1 else '%.1f' % value


def _seconds(value):
    return _two(value) + ' s'


_ROWS = (
    _unroll('training unroll: 20 steps, %s, 10,000-example objective, batch 128' % SMALL,
            'training', '1.34 s'),
    _unroll('validation unroll of 20 steps', 'validation', '0.48 s'),
    _step('step of HierarchicalRNN, %s (15,910 parameters)' % SMALL, SMALL, '10.3 ms'),
    _step('step, %s (171,530 parameters, 62 tensors)' % LAYERS, LAYERS,
          '83 ms, after 54 s of building', built=True),
    _step('step, %s (669,706 parameters)' % LARGE, LARGE, '303 ms'),
    _shipped('update alone, 10^6 parameters', 'update alone, 10^6 parameters'),
    _shipped('step, %s, batch 128' % LARGE, LARGE),
    _shipped('step, convnet of 10^5 parameters, batch 128', 'convnet'),
    _shipped('step, transformer of 10^5 parameters, batch 128', 'transformer'),
    _command('published training command: start, after imports, to the end of the first unroll',
             'to first unroll', '60 s'),
    _command('published training command with one meta-iteration, whole process', 'whole process',
             '92 s'),
    _memory, _checkpointing, _xla)


def main():
    """Renews the page's table."""
    with open(PAGE, encoding='utf-8') as file:
        text = file.read()
    with open(PAGE, 'w', encoding='utf-8') as file:
        text = pages.place(text, SPEED, table(read()))
        file.write(pages.place(text, GPU, gpu_table(read(GPU_RESULTS))))


if __name__ == '__main__':
    main()
