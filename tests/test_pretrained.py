"""The shipped optimizers open and do what their cards say; the script that makes them runs."""

import csv
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import pretrain
from commandline import candidates, flags
from evaluation import comparison, rules, running
from optimizer import load
from problems import datasets, digits_benchmark

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
    tested, = [each for each in digits_benchmark.rows(datasets.DataSource('digits'))
               if each.name == row['problem']]
    learned = rules.Candidate(os.path.basename(folder), None, lambda num_steps: load(folder))
    curve = running.run(running.Trial(learned, tested, row['seed'], card['steps']))
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


def test_the_benchmark_is_a_flag_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    values = absl_flags.FlagValues()
    absl_flags.DEFINE_string('flagfile', '', 'As absl defines it.', flag_values=values)
    flags.define(flags.METATEST, values)
    arguments = ['--flagfile=pretrained/benchmark%s.txt' % name for name in ('', '_quick')]
    values(['metatest'] + arguments[:1])
    assert {each.folder for each in candidates.learned_optimizers(values)} == {
        os.path.relpath(folder, ROOT) for folder in FOLDERS}
    rows = candidates.rows_to_test(values)
    assert [row.num_steps for row in rows] == 9 * [1000] + 3 * [10000]
    assert all(row.held_out is not None for row in rows)
    values(['metatest'] + arguments)
    assert [row.num_steps for row in candidates.rows_to_test(values)] == 9 * [50]
