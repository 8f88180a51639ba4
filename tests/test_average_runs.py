"""The mean of several runs' meta-parameters becomes a run."""

import json
import os
import shutil

import numpy as np
import pytest

import optimizer
from l2o.commandline import average_runs
from l2o.runs import run_record
from optimizer import checkpoints

ARGUMENTS = {'units': 3}


@pytest.fixture(name='make')
def fixture_make(make_run_folder):
    """A function (arguments of an L2ODM) -> the folder of a run with settings."""
    def make(arguments):
        folder = make_run_folder('L2ODM', arguments)
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
