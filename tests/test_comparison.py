"""The comparison's numbers, files and picture."""

import csv
import pickle

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from evaluation import comparison
from problems import problem_generator as pg
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


def test_every_hand_tuned_optimizer_runs():
    for entrant in comparison.entrants(comparison.HAND_TUNED, [0.01], None):
        result = comparison.run(entrant, 'quadratic', ROW, seed=3, num_steps=20)
        assert result.losses[-1] < result.losses[0]
        assert len(result.losses) == 20 and result.step_time > 0
