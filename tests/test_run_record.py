"""What a run writes about itself, and how that is compared."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.metatraining import config
from l2o.runs import run_files, run_record
from problems import datasets

ROWS = [(None, None, None), (None, datasets.random(2, 10, random_seed=1), 5)]


def test_a_record_says_how_to_make_the_run_again(tmp_path):
    run_record.write(str(tmp_path), 'metarun', {'alpha': 0.5}, 7, ROWS, ('L2ODM', {'units': 3}))
    record = run_record.read(str(tmp_path))
    assert record['flags'] == {'alpha': 0.5} and record['seed'] == 7
    assert record['optimizer'] == {'name': 'L2ODM', 'kwargs': {'units': 3}}
    assert record['data'] == ['synthetic']
    assert record['versions']['tensorflow'] == tf.__version__
    assert set(record) >= {'git_commit', 'script'}


def test_a_folder_without_a_record(tmp_path):
    assert run_record.read(str(tmp_path)) is None


@pytest.mark.parametrize('text', ['', '[]', '{"flags": 3, "seed": 1}', json.dumps({'flags': {}})])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / 'run.json').write_text(text)
    with pytest.raises(ValueError, match='run.json is damaged'):
        run_record.read(str(tmp_path))


def test_differences_name_flag_and_both_values():
    assert run_record.differences({'a': 1, 'b': [1, 2], 'c': 3}, {'a': 2, 'b': (1, 2), 'c': 4},
                                  free=['c']) == ['--a=1, now 2']
    assert run_record.differences({}, {'d': True}) == ['--d=None, now True']


def test_the_best_checkpoint_is_the_latest_of_a_folder_given_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'opt').mkdir()
    run_files.write_checkpoint('opt', 0, {'rate': np.ones(1, 'float32')})
    latest = tf.train.latest_checkpoint('opt')
    assert tf.train.load_checkpoint(latest).get_tensor('rate') == [1.0]


@pytest.mark.skipif(shutil.which('git') is None, reason='there is no git')
def test_no_commit_where_another_project_keeps_the_installed_one(tmp_path, monkeypatch):
    installed = tmp_path / 'site-packages' / 'l2o' / 'runs'
    installed.mkdir(parents=True)
    subprocess.check_call(['git', 'init', '--quiet', str(tmp_path)])
    subprocess.check_call(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '--quiet',
                           '--allow-empty', '-m', 'first'], cwd=str(tmp_path))
    monkeypatch.setattr(run_record, '__file__', str(installed / 'run_record.py'))
    assert run_record.git_commit() is None
    monkeypatch.setattr(run_record, '__file__', str(tmp_path / 'l2o' / 'runs' / 'run_record.py'))
    assert len(run_record.git_commit()) == 40


def test_settings_of_trainings_that_differ_are_named_one_by_one():
    recorded = {'a': [{'b': 1, 'c': 2}, 3], 'd': [1, 2], 'e': None}
    assert config.differences(recorded, recorded) == []
    assert config.differences(recorded, {'a': [{'b': 4, 'c': 2}, 3], 'd': [1], 'e': True}) == [
        'a.0.b was 1, is 4', 'd was [1, 2], is [1]', 'e was None, is True']
