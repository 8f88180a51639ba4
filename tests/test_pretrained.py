"""The shipped optimizers open and do what their cards say; the flag files that make them run."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

from l2o.commandline import candidates, flags
from l2o.evaluation import comparison, rules, running
from optimizer import OPTIMIZERS, describe, load
from optimizer.arguments import takes_num_steps
from problems import digits_benchmark, image_files

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = sorted(
    os.path.join(ROOT, 'pretrained', name) for name in os.listdir(os.path.join(ROOT, 'pretrained'))
    if os.path.isdir(os.path.join(ROOT, 'pretrained', name)))
#: Each makes an optimizer, or one of several runs whose mean it is.
FLAG_FILES = sorted(os.path.join(folder, name) for folder in FOLDERS for name in os.listdir(folder)
                    if name.startswith('flags'))


@pytest.mark.parametrize('folder', FOLDERS, ids=os.path.basename)
def test_a_shipped_optimizer_does_what_its_card_says(folder):
    """The card's row with the lowest loss: the mean of the last of so many steps."""
    with open(os.path.join(folder, 'card.json')) as handle:
        card = json.load(handle)
    row = min(card['rows'], key=lambda row: row['loss'])
    tested, = [each for each in digits_benchmark.rows(image_files.DataSource('digits'))
               if each.name == row['problem']]
    options = {'num_steps': tested.num_steps} if takes_num_steps(
        OPTIMIZERS[describe(folder)[0]]) else {}
    learned = rules.Candidate(os.path.basename(folder), None,
                              lambda num_steps: load(folder, **options))
    curve = running.run(running.Trial(learned, tested, row['seed'], card['steps']))
    assert comparison.final_loss(curve.losses) == pytest.approx(row['loss'], rel=0.2)
    assert row['loss'] < 0.5 * curve.losses[0]


@pytest.mark.parametrize('folder', FOLDERS, ids=os.path.basename)
def test_a_shipped_optimizer_is_small(folder):
    files = [os.path.join(folder, name) for name in os.listdir(folder) if 'model.ckpt' in name]
    assert 0 < sum(os.path.getsize(path) for path in files) < 500e3
    assert load(folder).meta_parameters


def complete(name, arguments):
    """The name, and the arguments with the defaults of those that were not recorded yet."""
    parameters = inspect.signature(OPTIMIZERS[name].__init__).parameters.values()
    return name, dict({each.name: each.default for each in parameters
                       if each.default is not each.empty}, **arguments)


def smaller(file):
    """Flags by which a flag file trains on a set, or on problems, of regression alone, where it
    has them, and validates on such."""
    with open(file) as lines:
        given = [line.strip() for line in lines]
    if not any('include_regression_validation' in line for line in given):
        return []
    kept = ('--include_regression', '--include_mixed')
    return ['--no' + line[2:] for line in given
            if line.startswith('--include_') and not line.startswith(kept)] + [
                '--only=regression_20' for line in given if line.startswith('--only=')]


@pytest.mark.slow
@pytest.mark.parametrize('file', FLAG_FILES, ids=lambda file: os.path.relpath(file, ROOT))
def test_the_flag_file_makes_such_an_optimizer(file, tmp_path, monkeypatch):
    """A shortened run of it: the same class with the same arguments, validated and kept."""
    folder = os.path.dirname(file)
    monkeypatch.chdir(ROOT)
    subprocess.check_call([
        sys.executable, 'metarun.py', '--flagfile=' + file,
        '--train_dir=%s' % tmp_path, '--image_source=digits', '--num_meta_iterations=1',
        '--evaluation_period=1', '--problems_at_once=1', '--fix_num_steps_eval=20',
        '--episode_steps=40', '--episode_shares=0', '--quiet'] + smaller(file))
    made, = os.listdir(str(tmp_path))
    assert complete(*describe(str(tmp_path / made))) == complete(*describe(folder))
    assert load(str(tmp_path / made)).meta_parameters


@pytest.mark.parametrize('planned, steps', [('--planned', 7), ('--noplanned', None)])
def test_normalized_mlp_is_told_the_number_of_steps(planned, steps):
    values = absl_flags.FlagValues()
    flags.define(flags.METATEST, values)
    values(['metatest', '--learned=normalized_mlp', planned])
    learned, = candidates.learned_optimizers(values)
    with tf.Graph().as_default():
        assert learned.make(7)._num_steps == steps


def test_the_benchmark_of_real_tasks_is_a_flag_file(monkeypatch):
    monkeypatch.chdir(ROOT)
    values = absl_flags.FlagValues()
    absl_flags.DEFINE_string('flagfile', '', 'As absl defines it.', flag_values=values)
    flags.define(flags.METATEST, values)
    values(['metatest', '--flagfile=pretrained/real_tasks.txt', '--image_source=digits'])
    rows = candidates.rows_to_test(values)
    assert [row.num_steps for row in rows] == 11 * [600]
    assert all(row.held_out is not None for row in rows)


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
