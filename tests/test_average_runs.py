"""The mean of several runs' meta-parameters becomes a run."""

import json
import os
import re
import shutil

import numpy as np
import pytest

import optimizer
from l2o.commandline import average_runs
from l2o.runs import run_record
from optimizer import checkpoints
from optimizer.normalized_mlp import INPUTS, OUTPUTS

ARGUMENTS = {'units': 3}


@pytest.fixture(name='make')
def fixture_make(make_run_folder):
    """A function (arguments of an optimizer, its class) -> the folder of a run with settings."""
    def make(arguments, name='L2ODM'):
        folder = make_run_folder(name, arguments)
        path = os.path.join(folder, run_record.FILE_NAME)
        with open(path) as file:
            record = dict(json.load(file), flags={'seed': 1}, training={'unroll_length': 7})
        with open(path, 'w') as file:
            json.dump(record, file)
        return folder
    return make


def test_the_mean_of_runs_is_a_run_with_the_settings_of_the_first(make, tmp_path, capsys):
    runs = [make(ARGUMENTS) for _ in range(2)]
    folder = str(tmp_path / 'mean')
    average_runs.main(runs + [os.path.join(runs[1], 'model.ckpt-0'), folder])
    assert 'the mean of 3 runs' in capsys.readouterr().out
    one, other, mean = map(checkpoints.read_checkpoint, runs + [folder])
    assert set(mean) == set(one)
    for name in mean:
        assert mean[name].dtype == np.float32
        np.testing.assert_allclose(mean[name], (one[name] + 2 * other[name]) / 3, rtol=1e-5,
                                   atol=1e-7)
    assert optimizer.describe(folder) == ('L2ODM', ARGUMENTS)
    assert optimizer.load(folder).meta_parameters
    record = run_record.read(folder)
    assert len(record.pop('mean_of')) == 3 and record == run_record.read(runs[0])


def test_what_cannot_be_averaged_is_named_in_one_line(make, tmp_path, capsys):
    run, other = make(ARGUMENTS), make({'units': 4})
    empty = tmp_path / 'empty'
    empty.mkdir()
    lacking = str(tmp_path / 'lacking')
    shutil.copytree(run, lacking)
    for name in os.listdir(lacking):
        if name.startswith(('model', 'checkpoint')):
            os.remove(os.path.join(lacking, name))
    for arguments, words in (
            ([run, other, str(tmp_path / 'new')], other + ' is of another optimizer than ' + run),
            ([run, str(empty), str(tmp_path / 'new')], '%s has no run.json' % empty),
            ([run, lacking, str(tmp_path / 'new')], 'no checkpoint in ' + lacking),
            ([run, run, run], run + ' holds a run')):
        with pytest.raises(SystemExit):
            average_runs.main(arguments)
        said = capsys.readouterr().err
        assert words in said and said.startswith('average_runs: ') and said.count('\n') == 1
        assert not (tmp_path / 'new').exists()


def test_changes_are_added_to_the_weights_that_they_name(make, tmp_path):
    run = make({}, 'NormalizedMLP')
    changes, folder = tmp_path / 'changes.txt', str(tmp_path / 'changed')
    changes.write_text('# larger steps\nbias log_size 0.5\n\nx slow -0.25  # late\n')
    average_runs.main([run, folder, '--changes=%s' % changes])
    before, after = map(checkpoints.read_checkpoint, (run, folder))
    before['LOL/NormalizedMLP/linear/b'][OUTPUTS.index('log_size')] += 0.5
    before['LOL/NormalizedMLP/linear/w'][INPUTS.index('x'), OUTPUTS.index('slow')] -= 0.25
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=1e-6)
    assert run_record.read(folder)['changes'] == [['bias', 'log_size', 0.5], ['x', 'slow', -0.25]]


@pytest.mark.parametrize('name, text, words', [
    ('NormalizedMLP', 'y slow 1', "'y slow 1' is not an input (bias, fast, slow, "),
    ('NormalizedMLP', 'x slow', "'x slow' is not an input"),
    ('NormalizedMLP', 'x slow much', "'x slow much' is not an input"),
    ('L2ODM', 'x slow 1', '--changes needs runs of NormalizedMLP, not of L2ODM')])
def test_a_change_that_cannot_be_made_is_named(name, text, words, make, tmp_path):
    changes = tmp_path / 'changes.txt'
    changes.write_text(text + '\n')
    with pytest.raises(ValueError, match=re.escape(words)):
        average_runs.average([make({}, name)], str(tmp_path / 'new'), changes=str(changes))
    assert not (tmp_path / 'new').exists()
