"""The paper's figures, one command for each: `make paper FIGURE=3`, `python -m benchmarks.paper`.

The learned optimizers of a figure of "Training Stronger Baselines for Learning to Optimize" (arXiv
2010.09089) are those that were published, where their weights are given, else those that
`metarun.py` trains with the published settings. `metatest.py` runs them on the figure's problems,
each in the form of the system's own program. The same command goes on where it was interrupted.
"""

from l2o.commandline import quiet_import  # noqa: F401  before all else: it silences TensorFlow's import

# isort: split
import argparse
import csv
import glob
import json
import os
from typing import NamedTuple, Tuple

from absl import flags as absl_flags

from benchmarks import commands, paper_page
from l2o.commandline import flags, import_weights, optimizer_flags
from l2o.metatraining import store
from l2o.runs import run_files, run_record
from optimizer import checkpoints
from problems import datasets, image_files

POINTS = 60  # of each curve, that are kept


class System(NamedTuple):
    """A learned optimizer of the paper, with or without its techniques."""

    optimizer: str  # name of the class
    settings: Tuple[str, ...]  # flags of metarun
    weights: str  # the name of its published weights, a file without its ending, or a folder


_SCALE = ('--optimizer=HierarchicalRNN --include_mnist_mlp_problems --num_meta_iterations=100 '
          '--fix_unroll --fix_unroll_length=20 --evaluation_period=1 --evaluation_epochs=5 '
          '--nouse_second_derivatives --mt_ratio=0.1 --mt_k=1').split()
_CL, _IL = ['--if_cl'], ['--if_mt']
_BOTH = _CL + _IL
_LONG = ['--num_meta_iterations=10000']  # RNNProp with a technique


def _system(optimizer, weights, *settings):
    return System(optimizer, settings, weights)


def _with_file(optimizer, weights, name, *settings):
    file = os.path.join(commands.ROOT, 'published', name + '.txt')
    return System(optimizer, ('--flagfile=' + file,) + settings, weights)


#: Name -> system; its title is in `paper_page`.
SYSTEMS = {
    'l2o_scale': _system('HierarchicalRNN', 'l2o_scale', *_SCALE),
    'l2o_scale_cl': _system('HierarchicalRNN', 'l2o_scale_cl', *(_SCALE + _CL)),
    'l2o_scale_il': _system('HierarchicalRNN', 'l2o_scale_il', *(_SCALE + _IL)),
    'l2o_scale_cl_il': _system('HierarchicalRNN', 'l2o_scale_cl_il', *(_SCALE + _BOTH)),
    'rnnprop': _with_file('RNNProp', 'rnnprop', 'rnnprop'),
    'rnnprop_cl': _with_file('RNNProp', 'rnnprop_cl', 'rnnprop', *(_LONG + _CL)),
    'rnnprop_il': _with_file('RNNProp', 'rnnprop_il', 'rnnprop', *(_LONG + _IL)),
    'rnnprop_cl_il': _with_file('RNNProp', 'rnnprop_cl_il', 'rnnprop', *(_LONG + _BOTH)),
    'l2o_dm': _with_file('L2ODM', 'dm', 'l2o_dm'),
    'l2o_dm_aug': _with_file('L2ODM', 'dm_aug', 'l2o_dm', '--num_meta_iterations=5000',
                             '--fix_num_steps=500', '--fix_num_steps_eval=500'),
    'l2o_dm_cl': _with_file('L2ODM', 'dm_cl', 'l2o_dm', *_CL),
    'l2o_dm_il': _with_file('L2ODM', 'dm_il', 'l2o_dm', *_IL),
    'l2o_dm_cl_il': _with_file('L2ODM', 'dm_cl_il', 'l2o_dm', *_BOTH),
}

#: Name of a problem -> its set for L2O-Scale, and that for L2O-DM and RNNProp.
PROBLEMS = {
    'mlp': ('mnist_mlp', 'mnist_mlp'), 'relu': ('mnist_mlp_relu', 'mnist_mlp_relu'),
    'deeper': ('mnist_mlp_deeper', 'mnist_mlp_deeper'), 'conv': ('mnist_conv', 'dm_conv'),
    'cifar_conv': ('cifar10_conv', 'dm_cifar_conv'), 'lenet': ('dm_lenet', 'dm_lenet'),
    'nas': ('dm_nas', 'dm_nas'),
}
PERCEPTRONS = ('mlp', 'relu', 'deeper')  # all others are convolutional
ON_CIFAR10 = ('cifar_conv', 'lenet', 'nas')

_FIVE, _BEST = ('mlp', 'relu', 'deeper', 'conv', 'cifar_conv'), (
    'l2o_scale', 'l2o_scale_cl_il', 'rnnprop', 'l2o_dm', 'l2o_dm_cl_il')

#: Figure -> its systems and problems.
FIGURES = {
    '2': (_BEST, _FIVE),
    '3': (('l2o_scale', 'l2o_scale_cl', 'l2o_scale_il', 'l2o_scale_cl_il',
           'rnnprop', 'rnnprop_cl', 'rnnprop_il', 'rnnprop_cl_il'), _FIVE),
    '5': (('l2o_dm', 'l2o_dm_aug', 'l2o_dm_cl', 'l2o_dm_il', 'l2o_dm_cl_il'), _FIVE),
    'lenet': (_BEST, ('lenet',)),
    'nas': (_BEST, ('nas',)),
}


class Trained(NamedTuple):
    """A system whose weights were published, or a training of it."""

    system: str
    seed: int  # of the training; 0: published
    folder: str  # of the run that metatest opens


# Weights.


def bring_published(name, options):
    """The published weights of a system as a `Trained`, or None where there are none."""
    system = SYSTEMS[name]
    folder = os.path.join(options.folder, 'published', name)
    if os.path.exists(os.path.join(folder, run_record.FILE_NAME)):
        return Trained(name, 0, folder)
    given = os.path.join(options.weights, system.weights)
    for path in (given + '.p', given + '.npz'):
        if os.path.exists(path):
            import_weights.bring(path, folder)
            return Trained(name, 0, folder)
    indices = glob.glob(os.path.join(given, '**', '*.index'), recursive=True)
    if not indices:
        return None
    values = absl_flags.FlagValues()
    flags.define(flags.METATEST, values)
    values(['metatest', '--optimizer=' + system.optimizer])
    record = run_record.made('paper', {'weights': given}, 0, [],
                             optimizer_flags.optimizer_config(values))
    run_record.write_run(folder, record, checkpoints.read_checkpoint(indices[0][:-len('.index')]))
    return Trained(name, 0, folder)


def trainings(name, options):
    """The trainings of a system, one for each seed."""
    return [Trained(name, seed, os.path.join(
        options.folder, 'trained', '%s-%d' % (name, seed),
        '%s_GRUCell_20_2' % SYSTEMS[name].optimizer)) for seed in options.training_seeds]


def training_command(training, options):
    """The `Command` of a training."""
    episodes = [] if options.episodes is None else ['--num_meta_iterations=%d' % options.episodes]
    return commands.of_script(options.folder, '%s-%d' % training[:2], 'metarun.py', [
        *SYSTEMS[training.system].settings, '--train_dir=' + os.path.dirname(training.folder),
        '--seed=%d' % training.seed, '--keep_checkpoints=0', *data_flags(options), *episodes])


# Tests.


def data_flags(options):
    """Flags that say where images come from."""
    return ['--image_source=' + options.image_source, '--data_dir=' + options.data_dir]


def test_commands(figure, trained, problems, options):
    """A `Command` for perceptrons and one for convolutional nets, of each program."""
    found = []
    for program, kind in enumerate(('scale', 'dm')):
        systems = [each for each in trained
                   if (SYSTEMS[each.system].optimizer != 'HierarchicalRNN') == bool(program)]
        for of_perceptrons, steps in ((True, options.steps), (False, options.conv_steps)):
            chosen = [name for name in problems if (name in PERCEPTRONS) == of_perceptrons]
            if systems and chosen:
                name = 'figure%s-%s-%s' % (figure, kind, 'mlp' if of_perceptrons else 'conv')
                found.append(commands.of_script(options.folder, name, 'metatest.py', [
                    '--learned=' + ','.join(each.folder for each in systems),
                    '--save_dir=' + os.path.join(options.folder, 'tested', kind, name),
                    '--num_testing_itrs=%d' % steps, '--jobs=%d' % options.jobs,
                    '--seeds=' + ','.join(map(str, options.seeds)), *data_flags(options),
                    *['--include_%s_problems' % PROBLEMS[problem][program] for problem in chosen]]))
    return found


def collect(tests, trained, options):
    """What has come out, as JSON can hold it: a curve for each system, training and problem."""
    owners = {os.path.basename(each.folder): each for each in trained}
    owners.update({each.folder: each for each in trained})
    names = {problem_set: name for name, sets in PROBLEMS.items() for problem_set in sets}
    losses = {}
    for test in tests:
        folder = [word for word in test.words if word.startswith('--save_dir=')][0].split('=', 1)[1]
        with open(os.path.join(folder, 'results.csv'), newline='') as file:
            for row in csv.DictReader(file):
                owner, problem = owners[row['optimizer']], names[row['problem_name']]
                losses.setdefault((owner.system, owner.seed, problem), {}).setdefault(
                    int(row['seed']), []).append(float(row['loss']))
    curves = [dict(system=system, training=seed, problem=problem,
                   **paper_page.shortened(list(by_seed.values()), POINTS))
              for (system, seed, problem), by_seed in sorted(losses.items())]
    return {'data': options.image_source, 'seeds': options.seeds, 'curves': curves,
            'episodes': options.episodes}


def available(problems, options):
    """The problems whose data are here; says which are not."""
    try:
        if set(problems) & set(ON_CIFAR10):
            datasets.cifar10(train=True, source=image_files.DataSource(
                'auto', options.data_dir or None))
        return list(problems)
    except image_files.DataError as error:
        left = [name for name in problems if name not in ON_CIFAR10]
        commands.show('SKIPPED, the data are not here: %s (%s)' % (
            ', '.join(name for name in problems if name not in left), error))
        return left


def some(names, chosen, option):
    """The names that the words of an option choose; None: all."""
    if chosen is None:
        return list(names)
    others = set(chosen.split(',')) - set(names)
    if others:
        raise SystemExit('%s: this figure has %s, not %s' % (
            option, ', '.join(names), ', '.join(sorted(others))))
    return [name for name in names if name in chosen.split(',')]


def parse(arguments):
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])

    def numbers(text):
        return [int(word) for word in text.split(',')]

    parser.add_argument('--figure', choices=sorted(FIGURES), required=True)
    parser.add_argument('--weights', default=os.path.join('paper', 'weights'), help='folder of '
                        'published weights: dm.p, rnnprop.p .., l2o_scale/<checkpoint>')
    parser.add_argument('--folder', default='paper', help='of the runs and results')
    parser.add_argument('--image_source', choices=image_files.IMAGE_SOURCES,
                        help='default: fashion where Fashion-MNIST is here, else mnist or digits')
    parser.add_argument('--data_dir', default='', help='as for metatest.py')
    parser.add_argument('--seeds', type=numbers, default=list(range(6, 66, 6)), help='of the tests')
    parser.add_argument('--training_seeds', type=numbers, default=[1])
    parser.add_argument('--episodes', type=int, help='of a training; default: as published')
    parser.add_argument('--steps', type=int, default=10000, help='of tests on perceptrons')
    parser.add_argument('--conv_steps', type=int, default=10000, help='of all other tests')
    parser.add_argument('--problems', help='some of %s' % ', '.join(PROBLEMS))
    parser.add_argument('--systems', help='some of %s' % ', '.join(SYSTEMS))
    parser.add_argument('--only_published', action='store_true', help='leave out the systems whose '
                        'weights are not given: train nothing')
    parser.add_argument('--jobs', type=int, default=1, help='processes at a time, each on one core')
    options = parser.parse_args(arguments)
    if options.image_source is None:
        here = image_files.fashion_is_here(options.data_dir or None)
        options.image_source = 'fashion' if here else 'auto'
    return options


def main(arguments=None):
    """The command line."""
    options = parse(arguments)
    systems, problems = FIGURES[options.figure]
    problems = some(problems, options.problems, '--problems')
    systems = some(systems, options.systems, '--systems')
    os.makedirs(options.folder, exist_ok=True)
    problems = available(problems, options)
    trained, missing = [], []
    for name in systems:
        published = bring_published(name, options)
        if published is None and options.only_published:
            commands.show('SKIPPED, there are no weights: %s' % paper_page.TITLES[name])
            continue
        (trained.append(published) if published else missing.extend(trainings(name, options)))
    tests = test_commands(options.figure, trained + missing, problems, options)
    with commands.ending('paper'):
        commands.run([training_command(training, options) for training in missing
                      if not store.has_ended(training.folder)], options.jobs)
        commands.run(tests, 1)
    results = collect(tests, trained + missing, options)
    path = os.path.join(options.folder, 'figure%s' % options.figure)
    run_files.write(path + '.json', (json.dumps(results, sort_keys=True) + '\n').encode())
    run_files.write(path + '.png', paper_page.picture(results))
    commands.show('\n' + paper_page.table(results))


if __name__ == '__main__':
    main()
