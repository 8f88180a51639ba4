"""The ablation: its commands, that it goes on, its table, and what the page says."""

import json
import os
import re
import sys

import numpy as np
import pytest
from absl import flags as absl_flags

from benchmarks import ablation, ablation_table, commands, pages
from l2o.commandline import flags, optimizer_flags, problem_flags, training_config


def parsed(command):
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN if 'metarun.py' in command.words[1] else flags.METATEST, values)
    values(list(command.words[1:]))
    return values


@pytest.mark.parametrize('size', sorted(ablation.SIZES))
def test_the_variants_of_a_system_differ_in_their_technique_alone(size):
    size = ablation.SIZES[size]
    assert len(ablation.trainings(size)) == 12 * len(size.seeds) >= 24
    for training in ablation.trainings(size):
        values = parsed(ablation.training_command(size, 'folder', training))
        assert optimizer_flags.run_folder(values) == ablation.run_folder('folder', training)
        assert values.if_cl == (training.variant in ('curriculum', 'both'))
        assert values.if_mt == (training.variant in ('imitation', 'both'))
        described = training_config.meta_training(values, 1)
        assert described.max_unrolls == size.unrolls and described.unroll_length == 20
        assert described.meta_optimizer.name == 'adam'
        assert described.wrappers['random_scaling'].ranges == (3.0,)


def test_everything_is_tested_on_problems_that_nothing_was_trained_on():
    size = ablation.SIZES['full']
    values = parsed(ablation.test_command(size, 'folder', 2))
    assert len(values.learned.split(',')) == 24 and values.num_testing_itrs == 10000
    tested = problem_flags.chosen_sets(values)
    trained = {name for training in ablation.trainings(size) for name in problem_flags.chosen_sets(
        parsed(ablation.training_command(size, 'folder', training)))}
    assert tested and not trained & set(tested)


# Commands.


def python(folder, name, code):
    return commands.Command(name, (sys.executable, '-c', code), str(folder / (name + '.log')))


def test_commands_run_and_leave_logs(tmp_path):
    lines = []
    commands.run([python(tmp_path, name, 'print("said by %s")' % name) for name in 'abc'], 2,
                 lines.append)
    assert sorted(line.split(',')[0] for line in lines) == [
        '%s: said by %s' % (name, name) for name in 'abc']


def test_a_command_that_fails_ends_the_others(tmp_path):
    words = [python(tmp_path, 'long', 'import time; time.sleep(600)'),
             python(tmp_path, 'wrong', 'import sys; sys.exit("no such flag")'),
             python(tmp_path, 'never', 'print("never")')]
    lines = []
    with pytest.raises(RuntimeError, match='wrong failed, see .*wrong.log'):
        commands.run(words, 2, lines.append)
    assert len(lines) == 1 and 'no such flag' in lines[0]
    assert not (tmp_path / 'never.log').exists()


def names(output):
    """The commands that are reported to have run."""
    return set(re.findall(r'^([\w-]+): ', output, re.MULTILINE))


@pytest.mark.slow
def test_an_ablation_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, 'SYSTEMS', {'l2o_dm': 'L2ODM'})
    monkeypatch.setattr(ablation, 'VARIANTS', {name: ablation.VARIANTS[name]
                                               for name in ('plain', 'both')})
    monkeypatch.setitem(ablation.SIZES, 'quick', ablation.Size(
        6, 1, 1, (1,), ('mnist_mlp_relu',), (2, 4), (6,),
        ('--cl_steps=40,60', '--fix_num_steps=40', '--mini_batch_size=50')))
    folder = str(tmp_path / 'ablation')
    ablation.main(['--size=quick', '--folder=' + folder])
    first = capsys.readouterr().out
    assert names(first) == {'l2o_dm-plain-1', 'l2o_dm-both-1', 'tested'} and '| L2O-DM |' in first
    with open(os.path.join(folder, 'results.json')) as file:
        results = json.load(file)
    assert [each['unrolls'] for each in results['trained']] == [6, 6]
    assert {(each['variant'], each['steps']) for each in results['tested']} == {
        (variant, steps) for variant in ('plain', 'both') for steps in (2, 4)}
    ablation.main(['--size=quick', '--folder=' + folder])
    assert names(capsys.readouterr().out) == {'tested'}  # nothing is trained again


# The table.


def results_of(losses):
    """Results by dict (system, variant, problem, steps) -> a loss for each seed."""
    return {'tested': [
        dict(zip(('system', 'variant', 'problem', 'steps'), key), seed=seed, test_seed=6, loss=loss)
        for key, values in losses.items() for seed, loss in enumerate(values)],
        'trained': [dict(system=system, variant=variant, seed=seed, unrolls=90 + seed, stage=2)
                    for system, variant in sorted({key[:2] for key in losses})
                    for seed in (0, 1)]}


def test_the_table_has_means_and_spreads_of_natural_logarithms():
    text = ablation_table.table(results_of({
        ('rnnprop', 'plain', 'mnist_mlp_relu', 10000): [np.exp(-2), np.exp(-4)],
        ('rnnprop', 'both', 'mnist_mlp_relu', 10000): [np.exp(-7), np.exp(-6)],
        ('rnnprop', 'plain', 'mnist_conv', 10000): [np.exp(0.5), np.exp(0.5)],
        ('rnnprop', 'both', 'mnist_conv', 10000): [np.exp(1.5), None]}))
    assert ('| RNNProp | MLP relu | 10,000 | -3.00 ± 1.41 | -6.50 ± 0.71 | -3.90, -5.80 |'
            in text)
    assert '| RNNProp | conv | 10,000 | 0.50 ± 0.00 | 4.20 ± 3.82 | 0.36, -7.00 |' in text
    # Changes: -5 and -2; 1 and ln(1000) - 0.5; by more than the spread in the first alone.
    assert '| RNNProp | both | +0.10 | -2.00, +2.20 | 1, 0 of 2 |' in text
    assert text.endswith('| RNNProp | 90 (2), 91 (2) | 90 (2), 91 (2) |\n')


def test_a_single_seed_has_no_spread():
    text = ablation_table.table({'tested': [
        dict(system='l2o_dm', variant=variant, seed=1, problem='mnist_mlp_relu', test_seed=6,
             steps=1000, loss=loss) for variant, loss in (('plain', 1.0), ('both', np.exp(-2)))],
        'trained': []})
    assert '| L2O-DM | MLP relu | 1,000 | 0.00 | -2.00 |  |' in text
    assert '| L2O-DM | both | -2.00 | -2.00 | one seed: no spread |' in text


def test_the_page_has_the_table_of_the_figures_that_are_kept():
    if not os.path.exists(ablation_table.PAGE):
        pytest.skip('no docs here')
    with open(ablation_table.PAGE, encoding='utf-8') as file:
        text = file.read()
    table = ablation_table.table(ablation_table.read())
    assert pages.place(text, ablation_table.PLACE, table) == text, (
        'run: python -m benchmarks.ablation_table')
