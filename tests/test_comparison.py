"""The comparison's numbers, files and picture."""

import csv
import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

from commandline import builders, flags
from evaluation import comparison
from problems import problem_generator as pg
from problems import problem_sets
from problems.problem_spec import Spec

ROW = (Spec(pg.Quadratic, (4,), {'random_seed': 1}), None, None)


def curve(optimizer, rate, seed, losses):
    return comparison.Curve(optimizer, rate, 'bowl', seed, losses, step_time=0.002)


def falling(end, steps=100):
    return list(np.linspace(1.0, end, steps))


CURVES = [curve('L2o', None, 1, falling(0.1)), curve('L2o', None, 2, falling(0.2)),
          curve('Adam', 0.1, 1, falling(0.3)), curve('Adam', 0.1, 2, falling(0.3)),
          curve('Adam', 1.0, 1, falling(0.5)), curve('Adam', 1.0, 2, [1.0] * 99 + [np.nan])]


def summary_of(name):
    return {comparison.label(row): row for row in comparison.summarize(CURVES)}[name]


def test_summaries_mark_the_best_of_each_grid_and_count_divergence():
    assert [summary_of(name).best for name in ('L2o', 'Adam 0.1', 'Adam 1')] == [True, True, False]
    assert summary_of('Adam 1').diverged == 1 and np.isinf(summary_of('Adam 1').final)
    assert summary_of('L2o').diverged == 0


def test_summary_numbers():
    learned = summary_of('L2o')
    ends = [np.mean(c.losses[-50:]) for c in CURVES[:2]]
    assert learned.final == pytest.approx(np.mean(ends))
    assert learned.spread == pytest.approx(np.std(ends))
    assert learned.area == pytest.approx(np.mean([c.losses for c in CURVES[:2]]))
    target = np.mean(CURVES[2].losses[-50:])
    reached = [np.argmax(np.array(c.losses) <= target) for c in CURVES[:2]]
    assert learned.steps_to_adam == int(np.median(reached))
    assert learned.times_adam == 1.0


def test_summary_table_is_sorted_by_result(tmp_path):
    comparison.write_summary(str(tmp_path / 'summary.md'), comparison.summarize(CURVES))
    lines = (tmp_path / 'summary.md').read_text().splitlines()
    names = [line.split('|')[1].strip() for line in lines if line.startswith('|')][2:]
    assert names == ['**L2o**', '**Adam 0.1**', 'Adam 1']


def test_csv_and_pickles_agree(tmp_path):
    comparison.write_csv(str(tmp_path / 'results.csv'), CURVES)
    with open(str(tmp_path / 'results.csv'), newline='') as handle:
        rows = list(csv.DictReader(handle))
    for one in CURVES[:3]:
        path = comparison.write_pickle(str(tmp_path), 'bowl', one)
        with open(path, 'rb') as handle:
            losses = pickle.load(handle)
        rate = '' if one.learning_rate is None else '%g' % one.learning_rate
        assert losses == [float(row['loss']) for row in rows
                          if (row['optimizer'], row['learning_rate'], row['seed'])
                          == (one.optimizer, rate, str(one.seed))]
    assert (tmp_path / 'seed1_eval_loss_record.pickle-bowl').exists()
    assert (tmp_path / 'seed1_eval_loss_record.pickle-bowl-Adam-0.1').exists()


def test_the_picture_has_the_curves_of_the_best_sorted_by_result():
    pytest.importorskip('matplotlib')
    figure = comparison.make_figure(CURVES, comparison.summarize(CURVES))
    axes, = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.split(':')[0] for label in labels] == ['L2o', 'Adam 0.1']
    assert axes.get_title() == 'bowl' and axes.get_yscale() == 'log'


def test_a_diverged_optimizer_is_drawn_and_said_to_have_diverged():
    pytest.importorskip('matplotlib')
    figure = comparison.make_figure(CURVES[4:], comparison.summarize(CURVES[4:]))
    label, = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert '1 diverged' in label


def test_entrants_are_the_learned_optimizer_and_a_grid_for_each_rival():
    entrants = comparison.entrants(['L2o', 'SGD'], [0.1, 1.0], tf.train.GradientDescentOptimizer)
    assert [comparison.label(e) for e in entrants] == ['L2o', 'SGD 0.1', 'SGD 1']
    with pytest.raises(ValueError, match='unknown optimizer Sgd: choose from L2o, SGD'):
        comparison.entrants(['Sgd'], [0.1], None)


@pytest.mark.parametrize('stem', ['quadratic', 'noisy_norm', 'sum'])
def test_at_one_seed_every_entrant_gets_the_same_problem(stem):
    row = problem_sets.PROBLEM_SETS[stem].testing()[0]
    first = [comparison.run(entrant, stem, row, 6, 2).losses[0]
             for entrant in comparison.entrants(['SGD', 'Adam', 'SGD'], [1e-4], None)]
    assert first[0] == first[1] == first[2]
    sgd, = comparison.entrants(['SGD'], [1e-4], None)
    assert comparison.run(sgd, stem, row, 7, 2).losses[0] != first[0]


def rows_of(script, seed):
    values = absl_flags.FlagValues()
    flags.define(script, values)
    values([script] + ['--include_%s_problems' % stem for stem in (
        'norm', 'fully_connected_random_2_class', 'sum_of_quadratics')])
    return builders.problems_and_data(values, script, seed)


@pytest.mark.parametrize('script', [flags.METARUN, flags.METATEST])
def test_the_same_command_gets_the_same_data_and_in_tests_the_same_problems(script):
    for row, same, other in zip(*(rows_of(script, seed) for seed in (6, 6, 60))):
        if row.dataset is not None:
            np.testing.assert_array_equal(row.dataset.data, same.dataset.data)
            assert not np.array_equal(row.dataset.data, other.dataset.data)
        elif script == flags.METATEST:
            np.testing.assert_array_equal(row.spec.build().w, same.spec.build(1).w)
            assert not np.array_equal(row.spec.build().w, other.spec.build().w)
        else:
            assert not np.array_equal(row.spec.build(1).w, row.spec.build(2).w)


def test_every_hand_tuned_optimizer_runs():
    for entrant in comparison.entrants(comparison.HAND_TUNED, [0.01], None):
        result = comparison.run(entrant, 'quadratic', ROW, seed=3, num_steps=20)
        assert result.losses[-1] < result.losses[0]
        assert len(result.losses) == 20 and result.step_time > 0
