"""The figures of the paper: their commands, the weights that they take, tables and pictures."""

import os
import pickle

import numpy as np
import pytest
from absl import flags as absl_flags

import optimizer
from benchmarks import pages, paper, paper_page
from l2o.commandline import flags, optimizer_flags, problem_flags, training_config
from problems import image_files, problem_sets
from tests.test_published_weights import L2ODM, pickled


def parsed(command):
    values = absl_flags.FlagValues()
    flags.define(flags.METARUN if 'metarun.py' in command.words[1] else flags.METATEST, values)
    values(list(command.words[1:]))
    return values


@pytest.mark.parametrize('figure', sorted(paper.FIGURES))
def test_the_commands_of_a_figure_are_those_of_its_systems_and_problems(figure, tmp_path):
    options = paper.parse(['--figure=' + figure, '--folder=%s' % tmp_path, '--steps=30',
                           '--conv_steps=20', '--training_seeds=1,2'])
    systems, problems = paper.FIGURES[figure]
    trained = [training for name in systems for training in paper.trainings(name, options)]
    assert len(trained) == 2 * len(systems)
    for training in trained:
        values = parsed(paper.training_command(training, options))
        assert optimizer_flags.run_folder(values) == training.folder
        described = training_config.meta_training(values, 1)
        is_dm = values.optimizer != 'HierarchicalRNN'
        assert described.is_summed == is_dm and described.unroll_length == 20
        assert values.if_cl == ('cl' in training.system.split('_'))
        assert values.if_mt == ('il' in training.system.split('_'))
    tested = set()
    for command in paper.test_commands(figure, trained, problems, options):
        values = parsed(command)
        sets = problem_flags.chosen_sets(values)
        are_perceptrons = all('mlp' in name for name in sets)
        assert values.num_testing_itrs == (30 if are_perceptrons else 20) and sets
        assert len(values.seeds) == 10
        tested |= {(folder, name) for folder in values.learned.split(',') for name in sets}
    assert len(tested) == len(trained) * len(problems)


def test_every_problem_is_a_set_and_every_system_has_a_title():
    for sets in paper.PROBLEMS.values():
        assert set(sets) <= set(problem_sets.PROBLEM_SETS)
    assert set(paper.SYSTEMS) == set(paper_page.TITLES)
    assert set(paper.PROBLEMS) == set(paper_page.PROBLEMS)


def test_published_weights_are_found_by_their_names(tmp_path, run_folder):
    weights = tmp_path / 'weights'
    weights.mkdir()
    pickled(weights / 'dm_cl.p', L2ODM)
    os.symlink(run_folder, str(weights / 'l2o_scale'))
    options = paper.parse(['--figure=5', '--folder=%s' % (tmp_path / 'paper'),
                           '--weights=%s' % weights])
    found = {name: paper.bring_published(name, options) for name in paper.SYSTEMS}
    assert {name for name, each in found.items() if each} == {'l2o_dm_cl', 'l2o_scale'}
    assert optimizer.describe(found['l2o_dm_cl'].folder) == ('L2ODM', {'units': 3})
    assert optimizer.describe(found['l2o_scale'].folder)[0] == 'HierarchicalRNN'
    os.remove(str(weights / 'dm_cl.p'))  # what was brought stays
    assert paper.bring_published('l2o_dm_cl', options) == found['l2o_dm_cl']


def test_what_lacks_its_data_is_skipped_loudly(monkeypatch, capsys):
    def absent(*_, **__):
        raise image_files.DataError('there is no CIFAR-10')

    monkeypatch.setattr(paper.datasets, 'cifar10', absent)
    options = paper.parse(['--figure=3'])
    assert paper.available(('mlp', 'conv', 'cifar_conv'), options) == ['mlp', 'conv']
    said = capsys.readouterr().out
    assert said == ('SKIPPED, the data are not here: cifar_conv (there is no CIFAR-10)\n')
    assert paper.available(('mlp',), options) == ['mlp']


def results_of(losses, steps=10000):
    """Results by dict (system, training, problem) -> a constant loss for each test seed."""
    return {'data': 'fashion', 'seeds': [6, 12], 'episodes': None, 'curves': [
        dict(system=system, training=training, problem=problem,
             **paper_page.shortened([[value] * steps for value in values], 5))
        for (system, training, problem), values in losses.items()]}


def test_the_table_has_means_and_spreads_of_natural_logarithms_and_the_paper_s():
    results = results_of({
        ('rnnprop', 0, 'relu'): np.exp([-2, -4]), ('rnnprop', 0, 'mlp'): np.exp([0.5, 0.5]),
        ('l2o_dm_cl', 1, 'relu'): np.exp([-1, -2]), ('l2o_dm_cl', 2, 'relu'): [np.nan, np.exp(-3)]})
    text = paper_page.table(results)
    assert '| system | weights | MLP sigmoid, 10,000 steps | MLP relu, 10,000 steps |' in text
    assert ('| RNNProp | published | 0.50 ± 0.00 (paper: -6.00) | -3.00 ± 1.41 (paper: -3.90) |'
            in text)
    spread = np.std([-1, -2, np.log(1e3), -3], ddof=1)
    assert '| L2O-DM-CL | 2 trained here |  | 0.23 ± %.2f |' % spread in text
    assert 'paper:' not in paper_page.table(results_of({('rnnprop', 0, 'mlp'): [1.0]}, 1000))


def test_some_systems_and_problems_are_chosen_and_others_refused_by_name():
    assert paper.some(('mlp', 'relu', 'conv'), 'conv,mlp', '--problems') == ['mlp', 'conv']
    assert paper.some(('mlp', 'relu'), None, '--problems') == ['mlp', 'relu']
    with pytest.raises(SystemExit, match='^--systems: this figure has l2o_scale, .*, not l2o_dm$'):
        paper.main(['--figure=3', '--systems=rnnprop,l2o_dm', '--folder=unused'])


def test_a_curve_is_kept_at_a_few_steps():
    losses = np.exp(-np.arange(200) / 100.0)
    kept = paper_page.shortened([losses, 2 * losses], 10)
    assert kept['steps'][0] == 1 and kept['steps'][-1] == 200 and len(kept['steps']) <= 10
    assert kept['mean'][0] == pytest.approx(np.log(2) / 2, abs=1e-3)
    assert kept['spread'][-1] == pytest.approx(np.log(2) / 2, abs=1e-3)
    assert kept['last'] == pytest.approx([np.log(losses[-50:].mean()),
                                          np.log(2 * losses[-50:].mean())], abs=1e-3)


def test_the_picture_is_a_picture():
    pytest.importorskip('matplotlib')
    results = results_of({('rnnprop', 0, 'relu'): [1.0, 2.0], ('l2o_dm', 1, 'mlp'): [0.5, 0.1]})
    assert paper_page.picture(results)[:8] == b'\x89PNG\r\n\x1a\n'


@pytest.mark.parametrize('figure', sorted(paper.FIGURES))
def test_the_page_has_what_is_kept(figure):
    if not os.path.exists(paper_page.PAGE):
        pytest.skip('no docs here')
    with open(paper_page.PAGE, encoding='utf-8') as file:
        text = file.read()
    results = paper_page.read(figure)
    if results is None:
        assert 'Not run here' in text.split(pages.BEGIN % ('figure ' + figure))[1].split('<!--')[0]
    else:
        assert pages.place(text, 'figure ' + figure, paper_page.section(figure, results)) == text


@pytest.mark.slow
def test_a_figure_comes_out_whole_and_goes_on(tmp_path, monkeypatch, capsys):
    """Published weights for one system, a training of an episode for another."""
    pytest.importorskip('matplotlib')
    weights, folder = tmp_path / 'weights', tmp_path / 'paper'
    weights.mkdir()
    with open(str(weights / 'dm_il.p'), 'wb') as file:
        pickle.dump(L2ODM, file, 2)
    system = paper.SYSTEMS['l2o_dm_cl_il']
    monkeypatch.setitem(paper.SYSTEMS, 'l2o_dm_cl_il', system._replace(
        settings=system.settings + ('--evaluation_epochs=1', '--cl_steps=20,40')))
    arguments = ['--figure=5', '--folder=%s' % folder, '--weights=%s' % weights, '--episodes=1',
                 '--image_source=digits', '--problems=relu', '--steps=4', '--seeds=6,12',
                 '--systems=l2o_dm_il,l2o_dm_cl_il']
    paper.main(arguments)
    said = capsys.readouterr().out
    assert said.count('published') == 1 and '| L2O-DM-CL-IL | 1 trained here |' in said
    assert (folder / 'figure5.png').exists()
    paper.main(arguments)
    assert 'l2o_dm_cl_il-1:' not in capsys.readouterr().out  # nothing is trained again
