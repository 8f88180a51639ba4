"""The command lines: published names and defaults, what values are allowed, what goes together."""

import csv
import inspect
import os
import re
import subprocess
import sys

import pytest
from absl import flags as absl_flags
from absl import logging  # noqa: F401  defines absl's own flags

import metaopt
import metarun
import metatest
from l2o import bounds
from l2o.commandline import cluster_config, flags, optimizer_flags, problem_flags, usage
from optimizer import OPTIMIZERS, build
from optimizer.arguments import constructor_arguments
from optimizer.hierarchical_rnn import PRESET, HierarchicalRNN
from problems import problem_sets
from problems.image_files import DataSource

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = (flags.METARUN, flags.METATEST)
TYPES = {'boolean': bool, 'integer': int, 'float': float, 'string': str}


def published(script):
    """Rows (name, type, default) of the published script."""
    with open(os.path.join(HERE, 'golden', 'flags_%s.tsv' % script)) as handle:
        return [row + [''] * (3 - len(row)) for row in csv.reader(handle, delimiter='\t')]


PUBLISHED = [(script, *row) for script in SCRIPTS for row in published(script)]
FLAG_OF_SCRIPT = [(flag, script) for flag in flags.FLAGS for script in flag.defaults]


def parse(script, *arguments):
    """The flag values of a command line."""
    values = absl_flags.FlagValues()
    flags.define(script, values)
    values([script] + list(arguments))
    return values


# Names, defaults, types, help texts.


@pytest.mark.parametrize('script', SCRIPTS)
def test_number_of_published_flags(script):
    assert len(published(script)) == {flags.METARUN: 103, flags.METATEST: 94}[script]


@pytest.mark.parametrize('script, name, kind, default', PUBLISHED)
def test_published_flag(script, name, kind, default):
    values = parse(script)
    value = values[name].value
    if isinstance(value, list):  # a list, where published it was one name
        value, = value
    expected = default == 'True' if kind == 'boolean' else TYPES[kind](default)
    assert (type(value), value) == (TYPES[kind], expected)


#: First words of sentences that can only be read after another one.
REFERRING = re.compile(
    r'(it|its|they|their|these|those|this|that|such|same|the same|how many more|also)\b', re.I)


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_help_text_can_be_read_alone(script):
    """absl sorts flags by name, so that no row of the table stands before its neighbour."""
    values, known = parse(script), set(parse(flags.METARUN)) | set(parse(flags.METATEST))
    helps = {name: values[name].help.replace(' (No effect in %s.)' % script, '') for name in values}
    for name, text in helps.items():
        assert len(text.split()) > 2 and text.endswith('.') and text[0] == text[0].upper(), name
        assert not REFERRING.match(text), '%s: %s' % (name, text)
        for named in re.findall(r'--(\w+)', text):
            assert named in known, '%s names --%s' % (name, named)
    assert len(set(helps.values())) == len(helps)


@pytest.mark.parametrize('arguments, suggested', [
    (['--optimizer=RNNprop'], 'RNNProp'), (['--optimizer=HierarchicalRnn'], 'HierarchicalRNN'),
    (['--test_optimizer=L2o,Adm'], 'Adam'), (['--mnist_source=digit'], 'digits')])
def test_a_mistyped_value_suggests_the_right_one(arguments, suggested):
    with pytest.raises(absl_flags.IllegalFlagValueError, match='did you mean %s\\?' % suggested):
        parse(flags.METATEST, *arguments)


def test_a_value_that_is_like_no_other_suggests_nothing():
    with pytest.raises(absl_flags.IllegalFlagValueError) as caught:
        parse(flags.METARUN, '--optimizer=xyz')
    assert 'did you mean' not in str(caught.value)


@pytest.mark.parametrize('script', SCRIPTS)
def test_every_problem_set_has_a_flag(script):
    included = {name for name in parse(script) if name.startswith('include_')}
    uses = {'metarun': ('problems', 'validation'), 'metatest': ('problems',)}[script]
    assert included - set(flags.SPELLINGS) == {
        'include_%s_%s' % (name, use) for name, rows in problem_sets.PROBLEM_SETS.items()
        for use in uses if rows.training or script == 'metatest'}


def test_names_are_not_those_of_absl_or_tensorflow():
    ours = {flag.name for flag in flags.FLAGS}
    assert len(ours) == len(flags.FLAGS)
    assert not ours & set(absl_flags.FLAGS)


@pytest.mark.parametrize('script', SCRIPTS)
def test_the_short_help_shows_what_one_needs(script):
    text = usage.page(script)
    own = {flag.name for flag in flags.FLAGS if script in flag.defaults and script not in flag.idle}
    assert len(usage.SHOWN[script]) <= 20 and set(usage.SHOWN[script]) <= own
    assert all('  --%s: ' % name in text for name in usage.SHOWN[script])
    assert max(map(len, text.splitlines())) <= 100
    example = usage.EXAMPLES[script].split()
    assert example[:3] == ['python', '-m', script]  # wherever it is installed
    parse(script, *example[3:])


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_lists_the_flags(script, monkeypatch):
    monkeypatch.setattr(sys, 'argv', [script + '.py'])
    text = parse(script).main_module_help()
    assert '--optimizer: ' in text and '--[no]include_mnist_mlp_problems' in text


# Values.

#: What is allowed -> values that are not.
WRONG = {
    bounds.ANY: ['nan', 'inf', '1e39', 'x'],
    bounds.POSITIVE: ['0', '-1', 'x', '', '1e-50', '1e39'],
    bounds.NOT_NEGATIVE: ['-1', 'x', '1e39'],
    bounds.SIZE: ['0', '4097', 'x', '1.5'],
    bounds.FEW: ['0', '101', 'x', '1.5'],
    bounds.ALL_OR_NUMBER: ['-2', 'x', '1.5'],
    bounds.FOLDER: ['', 'new\nline', 'nul\0', '\udcff'],
    bounds.TEXT: ['new\nline', 'nul\0', '\udcff'],
    bounds.NAME: ['', 'a/b', 101 * 'x', 51 * '\u00e9', '\t'],
    bounds.NAME_OR_NONE: ['a/b', '../x', '\udcff'],
    bounds.SHARE: ['-0.1', '1.1', 'nan'],
    bounds.SHARE_OR_OTHER: ['-0.5', '1.1', 'nan'],
    bounds.BELOW_ONE: ['0', '1', '-1', 'nan'],
    bounds.FROM_ZERO_BELOW_ONE: ['1', '-0.1', 'nan'],
    bounds.UP_TO_ONE: ['0', '1.1', '-1', 'nan'],
    bounds.SEED: ['-1', '2147483648', '1,,2', '1.5'],
    bounds.SEED_OR_DRAW: ['-2', '2147483648', '1.5'],
}


def wrong_values(flag, default):
    if type(flag.allowed) is tuple:
        return ['', 'nonsense', flag.allowed[0].swapcase()]
    if isinstance(default, bool):
        return ['2', 'perhaps']
    if isinstance(default, float) and flag.allowed != bounds.ANY:
        return WRONG[flag.allowed] + ['inf', 'nan']
    if isinstance(default, int):
        return WRONG[flag.allowed] + ['2147483648']
    return WRONG[flag.allowed]


@pytest.mark.parametrize('flag, script', FLAG_OF_SCRIPT,
                         ids=lambda value: getattr(value, 'name', value))
def test_values_that_are_not_allowed(flag, script):
    for value in wrong_values(flag, flag.defaults[script]):
        with pytest.raises(absl_flags.IllegalFlagValueError, match='--' + flag.name) as caught:
            parse(script, '--%s=%s' % (flag.name, value))
        assert '\n' not in str(caught.value).replace(value, '')


@pytest.mark.parametrize('flag, script', FLAG_OF_SCRIPT,
                         ids=lambda value: getattr(value, 'name', value))
def test_values_that_are_allowed(flag, script):
    default = flag.defaults[script]
    choices = flag.allowed if type(flag.allowed) is tuple else [default]
    for value in choices:
        words = ','.join(map(str, value)) if isinstance(value, list) else str(value)
        read = parse(script, '--%s=%s' % (flag.name, words))[flag.name].value
        assert read == ([value] if isinstance(default, list) and value is not default else value)


def test_lists():
    values = parse(flags.METATEST, '--test_optimizer=L2o, SGD', '--learning_rates=1,1e-3',
                   '--seeds=0,7', '--hrnn_level_sizes=5')
    assert values.test_optimizer == ['L2o', 'SGD']
    assert values.learning_rates == [1.0, 1e-3]
    assert values.seeds == [0, 7]
    assert values.hrnn_level_sizes == [5]


def test_flags_as_a_record():
    values = parse(flags.METARUN, '--include_bowl_problems', '--cl_steps=1,2')
    record = problem_flags.as_dict(values, flags.METARUN)
    assert record['cl_steps'] == [1, 2] and record['include_bowl_problems'] is True
    assert 'save_dir' not in record and 'include_norm_problems' not in record
    again = parse(flags.METARUN, *['--%s=%s' % (name, ','.join(map(str, value))
                                                if isinstance(value, list) else value)
                                   for name, value in record.items()])
    assert problem_flags.as_dict(again, flags.METARUN) == record


def test_every_alias_names_an_argument_and_a_flag():
    own = {flag.name for flag in flags.FLAGS}
    for name, aliases in optimizer_flags.ALIASES.items():
        for argument, origin in aliases.items():
            made = origin if isinstance(origin, optimizer_flags.Made) else (
                optimizer_flags.Made((origin,), None))
            assert origin is None or own.issuperset(made.flags)
            assert name is None or argument in constructor_arguments(
                OPTIMIZERS[name])


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_is_made_from_its_flags(name):
    config = optimizer_flags.optimizer_config(parse(flags.METARUN, '--optimizer=' + name))
    assert config[0] == name and build(*config).meta_parameters


def test_the_flags_make_the_preset_of_hierarchical_rnn():
    _, arguments = optimizer_flags.optimizer_config(parse(flags.METARUN))
    defaults = {name: parameter.default
                for name, parameter in inspect.signature(
                    HierarchicalRNN.__init__).parameters.items()}
    expected = dict(defaults, **PRESET)
    assert arguments.pop('level_sizes') == list(expected.pop('level_sizes'))
    assert arguments == {name: expected[name] for name in arguments}


def test_an_alias_belongs_to_one_optimizer():
    rates = ['--max_lr=0.5', '--crnn_rnn_readout_scale=2', '--hrnn_rnn_readout_scale=3',
             '--cell_size=4', '--num_cells=3']
    made = {name: optimizer_flags.optimizer_config(
        parse(flags.METARUN, '--optimizer=' + name, *rates))[1] for name in OPTIMIZERS}
    assert made['TrainableAdam']['learning_rate'] == 0.5
    assert made['CoordinatewiseRNN']['rnn_readout_scale'] == 2
    assert made['CoordinatewiseRNN']['cell_sizes'] == [4, 4, 4]
    assert made['HierarchicalRNN']['rnn_readout_scale'] == 3
    assert made['HierarchicalRNN']['init_lr_range'] == (1e-6, 0.5)
    assert made['RNNProp']['units'] == 4


# Flags that don't go together.

CONFLICTS = [
    ('--ps_tasks=1 needs --ps_hosts', ['--ps_tasks=1']),
    ('--worker_tasks=2 needs --ps_hosts', ['--worker_tasks=2']),
    ('--task=1 needs --ps_hosts', ['--task=1']),
    ('--job_name=ps needs --ps_hosts', ['--job_name=ps']),
    ('--ps_hosts: a cluster', ['--worker_hosts=a:1']),
    ('--worker_hosts: a cluster', ['--ps_hosts=a:1']),
    ("--ps_hosts: 'a' is not host:port", ['--ps_hosts=a', '--worker_hosts=b:2']),
    ("--worker_hosts: 'b:70000' is not", ['--ps_hosts=a:1', '--worker_hosts=b:70000']),
    ('--ps_tasks=2, but --ps_hosts names 1', ['--ps_hosts=a:1', '--worker_hosts=b:2',
                                              '--ps_tasks=2']),
    ('--worker_tasks=3, but', ['--ps_hosts=a:1', '--worker_hosts=b:2,c:3', '--worker_tasks=3']),
    ('--task=2, but --worker_hosts names 2', ['--ps_hosts=a:1', '--worker_hosts=b:2,c:3',
                                              '--task=2']),
    ('--min_lr', ['--min_lr=1', '--max_lr=0.1']),
    ('--min_lr', ['--min_lr=1', '--max_lr=0.1', '--optimizer=TrainableAdam']),
    ('--use_attention', ['--use_attention', '--optimizer=RNNProp']),
    ('--filters_apart: only L2ODM', ['--filters_apart', '--optimizer=RNNProp']),
    ('--hrnn_level_sizes', ['--hrnn_level_sizes=1,2,3,4']),
    ('--use_relative_lr', ['--nodynamic_output_scale']),
    ('--use_extreme_indicator', ['--nodynamic_output_scale', '--nouse_relative_lr',
                                 '--use_extreme_indicator']),
    ('--use_lr_shortcut', ['--nodynamic_output_scale', '--nouse_relative_lr',
                           '--use_lr_shortcut']),
    ('--cl_steps', ['--if_cl', '--cl_steps=100,100']),
    ('--cl_steps', ['--if_cl', '--cl_steps=100,50']),
    ('--checkpoint_every', ['--checkpoint_every=4', '--swap_memory']),
    ('--episode_steps and if_cl', ['--episode_steps=10,20', '--if_cl']),
    ('--episode_steps: an episode', ['--episode_steps=0,20']),
    ('--meta_learning_rate_shares=0.0 must', ['--meta_learning_rate_factors=1,0.1']),
    ('--meta_learning_rate_shares=0.5,1.0 must', [
        '--meta_learning_rate_factors=1,0.1', '--meta_learning_rate_shares=0.5,1']),
]


@pytest.fixture(name='_no_work')
def fixture_no_work(monkeypatch):
    """Whatever begins the work fails the test."""
    def fail(*_, **__):
        pytest.fail('work has begun')
    monkeypatch.setattr(metaopt, 'train_optimizer', fail)
    monkeypatch.setattr(problem_flags, '_rows_of', fail)


@pytest.mark.parametrize('named, arguments', CONFLICTS)
def test_conflicts(named, arguments, tmp_path, _no_work):
    values = parse(flags.METARUN, '--include_bowl_problems',
                   '--train_dir=%s' % (tmp_path / 'opt'), *arguments)
    with pytest.raises(flags.FlagError, match='^%s' % named) as caught:
        metarun.main(values)
    assert '\n' not in str(caught.value)
    assert not os.listdir(str(tmp_path))


def test_a_cluster_from_the_published_flags_and_hosts():
    found = cluster_config.cluster(parse(
        flags.METARUN, '--ps_hosts=a:1', '--worker_hosts=b:2, c:3', '--ps_tasks=1',
        '--worker_tasks=2', '--task=1', '--cluster_timeout=7'))
    assert found == (['a:1'], ['b:2', 'c:3'], 'worker', 1, 7)
    assert cluster_config.cluster(parse(flags.METARUN)) is None
    assert cluster_config.cluster(parse(flags.METARUN, '--ps_hosts=a:1', '--worker_hosts=b:2',
                               '--job_name=ps')).job == 'ps'


def test_no_problem_set():
    with pytest.raises(flags.FlagError, match='--include_'):
        problem_flags.chosen_sets(parse(flags.METARUN))


def test_no_checkpoint(tmp_path):
    values = parse(flags.METATEST, '--train_dir=%s' % tmp_path, '--include_bowl_problems')
    with pytest.raises(flags.FlagError, match='^--train_dir: there is no run in .*: metarun.py '
                       'makes one$'):
        metatest.main(values)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'run.json').write_text('{}')
    with pytest.raises(flags.FlagError, match='there is no run in .*: there is .*other$'):
        metatest.main(values)
    os.makedirs(optimizer_flags.run_folder(values))
    with pytest.raises(flags.FlagError, match='^--restore_model_name: .* model.ckpt-0 '):
        metatest.main(values)


# Which flags are heeded.


class _Watched:
    """Flag values that note which are read."""

    def __init__(self, values, read):
        self._values, self._read = values, read

    def __getattr__(self, name):
        self._read.add(name)
        return getattr(self._values, name)

    def __getitem__(self, name):
        return self._values[name]


def test_flags_without_effect_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(metaopt, 'train_optimizer',
                        lambda *_, **__: metaopt.TrainingResult(1.0, None, 1))
    monkeypatch.setattr(problem_flags, 'as_dict', lambda *_: {})
    read = set()
    for extra in (['--fix_unroll'], ['--if_cl'], ['--if_mt'], ['--reg_optimizer'],
                  ['--optimizer=CoordinatewiseRNN'], ['--optimizer=RNNProp'],
                  ['--random_scaling'], ['--episode_steps=10,20', '--episode_shares=0,0.5']):
        values = parse(flags.METARUN, '--include_bowl_problems', '--train_dir=%s' % tmp_path,
                       *extra)
        metarun.main(_Watched(values, read))
    idle = {flag.name for flag in flags.FLAGS
            if flags.METARUN in flag.defaults and flag.name not in read}
    assert idle == {flag.name for flag in flags.FLAGS if flags.METARUN in flag.idle}


def test_help_of_flags_without_effect():
    assert parse(flags.METARUN)['num_problems'].help.endswith('another.')
    assert parse(flags.METATEST)['num_problems'].help.endswith('(No effect in metatest.)')


# As a user sees it.


@pytest.mark.slow
@pytest.mark.parametrize('script, arguments, named', [
    ('metarun', ['--mt_ratio=2'], '--mt_ratio'),
    ('metarun', ['--optimiser=RNNProp'], 'optimiser'),
    ('metarun', ['bowl'], "'bowl'"),
    ('metarun', ['--include_bowl_problems', '--min_lr=1'], '--min_lr'),
    ('metatest', ['--test_optimizer=L2o,Sgd'], '--test_optimizer'),
])
def test_one_line_and_exit_status_2(script, arguments, named, tmp_path):
    path = {'metarun': metarun, 'metatest': metatest}[script].__file__
    done = subprocess.run([sys.executable, os.path.abspath(path)] + arguments,
                          cwd=str(tmp_path), capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    line = done.stderr.splitlines()[-1]
    assert line.startswith(script + ': ') and named in line
    assert not os.listdir(str(tmp_path))


def test_sources_of_data_reach_the_problem_sets():
    values = parse(flags.METARUN, '--image_source=fashion', '--data_dir=d', '--text_file=t')
    assert problem_flags.data_source(values) == DataSource('fashion', 'd', 't')
    assert problem_flags.data_source(parse(flags.METATEST)) == DataSource()


def test_the_former_name_of_the_image_source_still_counts():
    assert problem_flags.data_source(parse(flags.METARUN, '--mnist_source=digits')) == (
        DataSource('digits'))
    same = parse(flags.METARUN, '--mnist_source=digits', '--image_source=digits')
    assert problem_flags.data_source(same) == DataSource('digits')
    other = parse(flags.METARUN, '--mnist_source=digits', '--image_source=fashion')
    with pytest.raises(flags.FlagError, match='--image_source=fashion and --mnist_source=digits'):
        problem_flags.data_source(other)
