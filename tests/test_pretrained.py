"""The shipped optimizers open and do what their cards say; the script that makes them runs."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import judge
import pretrain
from evaluation import comparison
from optimizer import load

ROOT = os.path.dirname(os.path.abspath(pretrain.__file__))
FOLDERS = sorted(
    os.path.join(ROOT, 'pretrained', name) for name in os.listdir(os.path.join(ROOT, 'pretrained'))
    if os.path.isdir(os.path.join(ROOT, 'pretrained', name)))


@pytest.mark.parametrize('folder', FOLDERS, ids=os.path.basename)
def test_a_shipped_optimizer_does_what_its_card_says(folder):
    """The first row of the card: the mean loss of the last of so many steps."""
    with open(os.path.join(folder, 'card.json')) as handle:
        card = json.load(handle)
    row = card['rows'][0]
    trial, = [trial for trial in judge.trials() if trial.name == row['problem']]
    curve, = judge.run(judge.entrant(folder), trial, [row['seed']], card['steps'])
    assert comparison.final_loss(curve.losses) == pytest.approx(row['loss'], rel=0.2)
    assert row['loss'] < 0.5 * curve.losses[0]


@pytest.mark.parametrize('folder', FOLDERS, ids=os.path.basename)
def test_a_shipped_optimizer_is_small(folder):
    files = [os.path.join(folder, name) for name in os.listdir(folder) if 'model.ckpt' in name]
    assert 0 < sum(os.path.getsize(path) for path in files) < 500e3
    assert load(folder).meta_parameters


@pytest.mark.slow
def test_pretraining_trains_validates_and_keeps_the_best(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, 'VALIDATION_STEPS', 20)
    monkeypatch.setattr(pretrain, 'VALIDATIONS', 2)
    recipe = pretrain.RECIPES['l2o_dm']._replace(arguments={'units': 4}, unrolls=10)
    pretrain.Pretraining(recipe, str(tmp_path)).run()
    with open(str(tmp_path / 'validation.csv')) as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) >= 2 and int(rows[-1]['unrolls']) >= 10
    assert all(np.isfinite(float(row['score'])) for row in rows)
    assert tf.train.load_checkpoint(str(tmp_path / 'model.ckpt-0'))


def test_recipes_name_optimizers_and_their_arguments():
    for recipe in pretrain.RECIPES.values():
        assert pretrain.OPTIMIZERS[recipe.optimizer](**recipe.arguments).meta_parameters


def _summary(optimizer, problem, final, diverged=0):
    return comparison.Summary(optimizer, None, problem, final, 0.0, final, None, 0.1, None,
                              diverged, True)


def test_a_verdict_counts_held_out_problems_and_diverged_runs():
    """The problem that was trained on and the long runs count for divergence only."""
    ours = [('MLP 20, sigmoid', 1.0, 0), ('MLP 20, relu', 1.0, 0), ('MLP 64, sigmoid', 3.0, 1),
            ('MLP 20, relu, 10,000 steps', 1.0, 2)]
    summaries = [_summary(name, problem, final, diverged) for problem, loss, bad in ours
                 for name, final, diverged in (('mine', loss, bad), ('Adam', 2.0, 0))]
    pairs = [(row, judge.best_rival(row.problem, summaries)) for row in summaries
             if row.optimizer == 'mine']
    text = judge.verdict(pairs)
    assert ' 1 of 2 problems' in text and '3 of all 20 runs' in text


def test_curves_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial = judge.trials()[4]
    adam, = comparison.entrants(['Adam'], [0.1], None)
    first = judge.kept_run(adam, trial, seeds=(1, 2), steps=3)
    monkeypatch.setattr(judge, 'run', None)
    again = judge.kept_run(adam, trial, seeds=(1, 2), steps=3)
    for curve, same in zip(first, again):
        np.testing.assert_array_equal(curve.losses, same.losses)
        assert curve[:4] == same[:4]
