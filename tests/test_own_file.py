"""Problems from a file of one's own, and `--only`: what they give, and what mistakes are told."""

import json
import os
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

import metarun
import metatest
from l2o.commandline import candidates, flags, optimizer_flags, problem_flags
from l2o.evaluation import result_files
from l2o.runs import run_record
from problems import own_file
from problems.model_adapter import ModelAdapter

FILE = '''
import random

import numpy as np
import tensorflow.compat.v1 as tf

from problems.datasets import Dataset
from problems.model_adapter import ModelAdapter
from problems.problem import Problem
from problems.problem_spec import Row, Spec

inputs = np.random.standard_normal([20, 4])
number = random.random()


class Absolute(Problem):
    needs_data = True

    def __init__(self, scale=1.0):
        super().__init__([(4, 1)])
        self.scale = scale

    def _objective(self, parameters, data, labels):
        return self.scale * tf.reduce_mean(tf.abs(tf.matmul(data, parameters[0])[:, 0] - labels))


class Bowl(Problem):
    def __init__(self):
        super().__init__([(3,)])

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(tf.square(parameters[0]))


class Vector(Bowl):
    def _objective(self, parameters, data, labels):
        return tf.square(parameters[0])


class Broken(Bowl):
    def _objective(self, parameters, data, labels):
        return tf.matmul(parameters[0], parameters[0])


def two():
    return [Row(Spec(Absolute, (scale,), {}), Dataset(inputs, inputs.sum(1)), 5)
            for scale in (1.0, 2.0)]


def model():
    return lambda: tf.reduce_sum(tf.abs(tf.get_variable('x', [2]))), None


bowl = Bowl()
named = Row(bowl, name='the bowl')
spec = Spec(Bowl, (), {})
without_data = Row(spec, inputs)


def with_argument(argument):
    return argument
'''


@pytest.fixture(name='file')
def fixture_file(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(FILE)
    return str(path)


def parse(script, *arguments):
    values = absl_flags.FlagValues()
    flags.define(script, values)
    values([script] + list(arguments))
    return values


@pytest.mark.parametrize('name, kinds, names', [
    ('Bowl', ['Bowl'], ['Bowl']), ('bowl', ['Bowl'], ['bowl']), ('spec', ['Bowl'], ['spec']),
    ('named', ['Bowl'], ['the bowl']), ('two', ['Absolute'] * 2, ['two 0', 'two 1']),
    ('model', ['ModelAdapter'], ['model'])])
def test_what_a_name_in_a_file_stands_for(name, kinds, names, file):
    rows = own_file.rows('%s:%s' % (file, name))
    assert [row.name for row in rows] == names
    with tf.Graph().as_default():
        assert [type(row.spec.build(1)).__name__ for row in rows] == kinds
    for row in rows:
        assert (row.dataset is not None) == (kinds[0] == 'Absolute')
        assert row.dataset is None or row.dataset.source == file


@pytest.mark.parametrize('where, message', [
    ('%s:nothing', r'mine.py has no nothing: it defines inputs, number, Absolute'),
    ('%s:number', 'number is no problem but a float: it must be a Problem'),
    ('%s:with_argument', "with_argument cannot be called without arguments: TypeError"),
    ('%s:Absolute', r'Absolute needs examples: give Row\(Spec'),
    ('%s:without_data', 'must be a problems.datasets.Dataset, not a ndarray'),
    ('%s:Vector', r'Vector: the objective must be one number, not of the shape \[3\]'),
    ('%s:Broken', r'Broken cannot be built: ValueError: .*\(line 42\)'),
    ('%s', 'must be FILE.py:NAME'), ('absent.py:x', 'absent.py cannot be read: No such file')])
def test_what_is_no_problem_is_told_in_one_line(where, message, file):
    where = where % file if '%' in where else where
    with pytest.raises(ValueError, match=message) as caught:
        own_file.rows(where)
    assert '\n' not in str(caught.value)
    with pytest.raises(flags.FlagError, match='^--problem: '):
        problem_flags.problems_and_data(parse(flags.METARUN, '--problem=' + where), flags.METARUN)


@pytest.mark.parametrize('text, message', [
    ('x = (', r'cannot be imported: SyntaxError: .*\(line 1\)'),
    ('\nimport absent_module', r"ModuleNotFoundError: No module named .* \(line 2\)"),
    ('raise SystemExit(3)', r'SystemExit: 3 \(line 1\)')])
def test_a_file_that_cannot_be_imported(text, message, tmp_path):
    path = tmp_path / 'wrong.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        own_file.rows('%s:x' % path)


def test_what_a_file_draws_follows_from_the_seed(file, tmp_path):
    first = own_file.rows(file + ':two', seed=3)[0].dataset.data.tobytes()
    assert own_file.rows(file + ':two', seed=4)[0].dataset.data.tobytes() != first
    again = str(tmp_path / 'again.py')
    with open(again, 'w') as copy:
        copy.write(FILE + '\n')
    assert own_file.rows(again + ':two', seed=3)[0].dataset.data.tobytes() == first


def test_results_that_are_kept_are_those_of_the_file_as_it_is(file, tmp_path):
    before = result_files.row_digest(own_file.rows(file + ':bowl')[0])
    assert result_files.row_digest(own_file.rows(file + ':bowl')[0]) == before
    with open(file, 'a') as more:
        more.write('\n# changed\n')
    assert result_files.row_digest(own_file.rows(file + ':bowl')[0]) != before


def test_a_file_imports_from_its_own_folder(tmp_path):
    (tmp_path / 'beside_mine.py').write_text(FILE)
    (tmp_path / 'outer.py').write_text('from beside_mine import Bowl\nmine = Bowl\n')
    assert own_file.rows('%s:mine' % (tmp_path / 'outer.py'))[0].name == 'mine'


TRAINING = ('--optimizer=GlobalLearningRate', '--fix_unroll', '--fix_num_steps=4',
            '--fix_unroll_length=2', '--num_meta_iterations=2', '--evaluation_epochs=1', '--quiet',
            '--problems_at_once=2')


@pytest.mark.slow
def test_both_scripts_run_on_problems_of_ones_own(file, tmp_path):
    """They are recorded, and the run goes on and is opened as any other."""
    chosen = ['--train_dir=%s' % tmp_path, '--problem=%s:two,%s:model' % (file, file),
              '--only=two 1,model']
    for _ in range(2):
        metarun.main(parse(flags.METARUN, *chosen, *TRAINING))
    values = parse(flags.METARUN, *chosen, *TRAINING)
    recorded = run_record.read(optimizer_flags.run_folder(values))
    assert (recorded['flags']['problem'], recorded['flags']['only']) == (
        values.problem, 'two 1,model')
    assert recorded['data'] == [file]
    values = parse(flags.METATEST, *chosen, '--save_dir=%s' % (tmp_path / 'results'), '--inspect',
                   '--optimizer=GlobalLearningRate', '--num_testing_itrs=3', '--seeds=6', '--quiet')
    metatest.main(values)
    assert {'report.html', 'inspection-mt-0.png'} <= set(os.listdir(str(tmp_path / 'results')))
    _, rows = candidates.remake(problem_flags.as_dict(values, flags.METATEST))
    assert [row.name for row in rows] == ['two 1', 'model']
    assert rows[1].spec.callable is ModelAdapter


# --only.


@pytest.mark.parametrize('script', [flags.METARUN, flags.METATEST])
def test_only_picks_rows_of_the_chosen_sets(script):
    sets = ['--include_bowl_problems', '--include_quadratic_problems']
    everything = problem_flags.problems_and_data(parse(script, *sets), script, 5)
    picked = problem_flags.problems_and_data(
        parse(script, '--only=bowl 3, quadratic 1', *sets), script, 5)
    assert picked == [everything[index] for index in (3, 5)]


def test_a_name_that_no_problem_has_is_refused():
    values = parse(flags.METARUN, '--include_bowl_problems', '--only=bowl 0,bowls 1')
    with pytest.raises(flags.FlagError, match='^--only: no chosen problem is called bowls 1; did '
                       'you mean bowl 1.; there are bowl 0, bowl 1, bowl 2, bowl 3$'):
        problem_flags.problems_and_data(values, flags.METARUN)


def test_a_run_of_a_version_without_a_flag_goes_on(tmp_path):
    arguments = ('--train_dir=%s' % tmp_path, '--include_bowl_problems') + TRAINING
    metarun.main(parse(flags.METARUN, *arguments))
    folder = optimizer_flags.run_folder(parse(flags.METARUN, *arguments))
    record = run_record.read(folder)
    del record['flags']['only'], record['flags']['problem']

    with open(os.path.join(folder, 'run.json'), 'w') as file:
        json.dump(record, file)
    metarun.main(parse(flags.METARUN, *arguments))
    with pytest.raises(flags.FlagError, match='--only=, now bowl 1'):
        metarun.main(parse(flags.METARUN, '--only=bowl 1', *arguments))


@pytest.mark.slow
def test_a_mistake_ends_the_script_with_one_line(file):
    done = subprocess.run([sys.executable, metarun.__file__, '--problem=%s:number' % file],
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count('\n') == 1
    assert done.stderr.startswith('metarun: --problem: ')
