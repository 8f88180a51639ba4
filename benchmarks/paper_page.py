"""Tables and pictures of `make paper`: `python -m benchmarks.paper_page 3 paper/figure3.json` puts
them where the page on the paper's figures has them.
"""

import json
import os
import shutil
import sys

import numpy as np

from benchmarks import pages
from l2o.evaluation import comparison, result_files

FOLDER = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(os.path.dirname(FOLDER), 'docs', 'paper.md')

LARGEST, SMALLEST = 1e3, 1e-9  # losses beyond, and those that are not finite, count as these

TITLES = {
    'l2o_scale': 'L2O-Scale', 'l2o_scale_cl': 'L2O-Scale-CL', 'l2o_scale_il': 'L2O-Scale-IL',
    'l2o_scale_cl_il': 'L2O-Scale-CL-IL', 'rnnprop': 'RNNProp', 'rnnprop_cl': 'RNNProp-CL',
    'rnnprop_il': 'RNNProp-IL', 'rnnprop_cl_il': 'RNNProp-CL-IL', 'l2o_dm': 'L2O-DM',
    'l2o_dm_aug': 'L2O-DM-AUG', 'l2o_dm_cl': 'L2O-DM-CL', 'l2o_dm_il': 'L2O-DM-IL',
    'l2o_dm_cl_il': 'L2O-DM-CL-IL'}
PROBLEMS = {'mlp': 'MLP sigmoid', 'relu': 'MLP relu', 'deeper': 'MLP deeper', 'conv': 'conv',
            'cifar_conv': 'CIFAR-10 conv', 'lenet': 'LeNet', 'nas': 'NAS'}

#: ln loss after `PAPER_STEPS` steps on MNIST and CIFAR-10, read off the paper's figures.
PAPER_STEPS = 10000
PAPER = {
    'l2o_scale': {'mlp': -1.05, 'relu': -3.05, 'deeper': -0.95, 'conv': -0.38, 'cifar_conv': 0.77},
    'l2o_scale_cl_il': {'mlp': -1.84, 'relu': -3.97, 'deeper': -1.98, 'conv': -1.58,
                        'cifar_conv': 0.45},
    'rnnprop': {'mlp': -6.0, 'relu': -3.9, 'deeper': -3.95, 'conv': 0.36, 'cifar_conv': 0.83},
    'rnnprop_cl_il': {'mlp': -10.3, 'relu': -5.8, 'deeper': -7.4, 'conv': -7.0, 'cifar_conv': 0.0},
    'l2o_dm': {'mlp': 0.0, 'relu': 1.5, 'deeper': 0.0, 'conv': 1.7, 'cifar_conv': 0.83},
    'l2o_dm_cl_il': {'mlp': -10.9, 'relu': -6.9, 'deeper': -6.9, 'conv': -4.9, 'cifar_conv': 0.33},
}
DATA = {'mnist': 'MNIST', 'fashion': 'Fashion-MNIST', 'digits': 'the embedded digits',
        'auto': 'MNIST or the embedded digits'}


def shortened(runs, points):
    """The curves of some runs at a few steps, and their last losses, all natural logarithms.

    Args:
      runs: for each seed a list of losses.
      points: how many steps are kept, equally far apart on a logarithmic axis.

    Returns:
      a dict: `steps`, `mean` and `spread` over the runs of ln(running mean of the losses) there;
      `last`, for each run ln(mean of the last losses).
    """
    runs = np.clip(np.nan_to_num(np.array(runs, 'float64'), nan=LARGEST), SMALLEST, LARGEST)
    steps = np.unique(np.geomspace(1, runs.shape[1], points).round().astype(int))
    logs = np.log([[np.mean(run[max(0, step - max(1, step // 30)):step]) for step in steps]
                   for run in runs])
    last = np.log(np.mean(runs[:, -comparison.FINAL_STEPS:], axis=1))
    return {'steps': steps.tolist(), 'last': last.round(4).tolist(),
            'mean': logs.mean(0).round(4).tolist(), 'spread': logs.std(0).round(4).tolist()}


def table(results):
    """A table in Markdown: ln loss after the last step, mean and spread, the paper's beside."""
    problems = [name for name in PROBLEMS
                if any(curve['problem'] == name for curve in results['curves'])]
    lines = [['system', 'weights'] + [
        '%s, %s steps' % (PROBLEMS[name], format(_steps(results, name), ',')) for name in problems]]
    for system in TITLES:
        curves = [curve for curve in results['curves'] if curve['system'] == system]
        if curves:
            trained = sorted({curve['training'] for curve in curves})
            weights = 'published' if trained == [0] else '%d trained here' % len(trained)
            lines.append([TITLES[system], weights] + [_cell(results, system, name)
                                                      for name in problems])
    return result_files.markdown_table(lines)


def _steps(results, problem):
    return max(curve['steps'][-1] for curve in results['curves'] if curve['problem'] == problem)


def _cell(results, system, problem):
    last = [value for curve in results['curves']
            if (curve['system'], curve['problem']) == (system, problem) for value in curve['last']]
    if not last:
        return ''
    words = '%.2f' % np.mean(last)
    if len(last) > 1:
        words += ' ± %.2f' % np.std(last, ddof=1)
    paper = PAPER.get(system, {}).get(problem)
    if paper is not None and _steps(results, problem) == PAPER_STEPS:
        words += ' (paper: %.2f)' % paper
    return words


def picture(results):
    """A picture in the paper's form, PNG: a panel for each problem, loss against step."""
    from matplotlib.figure import Figure

    problems = [name for name in PROBLEMS
                if any(curve['problem'] == name for curve in results['curves'])]
    figure = Figure(figsize=(5 * len(problems), 4), tight_layout=True)
    for index, problem in enumerate(problems):
        axes = figure.add_subplot(1, len(problems), index + 1)
        for color, system in enumerate(TITLES):
            curves = [curve for curve in results['curves']
                      if (curve['system'], curve['problem']) == (system, problem)]
            for number, curve in enumerate(curves):
                steps, mean, spread = (np.array(curve[key]) for key in ('steps', 'mean', 'spread'))
                axes.plot(steps, mean, color='C%d' % color,
                          label=None if number else TITLES[system])
                axes.fill_between(steps, mean - spread, mean + spread, alpha=0.2, linewidth=0,
                                  color='C%d' % color)
        axes.set(title=PROBLEMS[problem], xlabel='step', ylabel='ln loss', xscale='log')
        axes.legend(fontsize='small')
    return comparison.picture(figure)


def section(figure, results):
    """What the page says of a figure: data, seeds, table, picture."""
    seeds = len(results['seeds'])
    return 'Data: %s. Test seeds: %d; the spread is over those and the trainings.\n\n%s\n%s\n' % (
        DATA[results['data']], seeds, table(results),
        '![Loss against step](../benchmarks/%s)' % os.path.basename(_kept(figure, '.png')))


def _kept(figure, ending):
    return os.path.join(FOLDER, 'paper_figure%s%s' % (figure, ending))


def read(figure):
    """The figures of the paper's figure that are kept here; None: there are none."""
    if not os.path.exists(_kept(figure, '.json')):
        return None
    with open(_kept(figure, '.json')) as file:
        return json.load(file)


def main(arguments):
    """Keeps the figures of a file, and renews the page."""
    figure, path = arguments
    shutil.copyfile(path, _kept(figure, '.json'))
    results = read(figure)
    with open(_kept(figure, '.png'), 'wb') as file:
        file.write(picture(results))
    with open(PAGE, encoding='utf-8') as file:
        text = file.read()
    with open(PAGE, 'w', encoding='utf-8') as file:
        file.write(pages.place(text, 'figure ' + figure, section(figure, results)))


if __name__ == '__main__':
    main(sys.argv[1:])
