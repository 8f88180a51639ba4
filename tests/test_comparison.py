"""The comparison's numbers, files and picture."""

import base64
import csv
import html.parser
import io
import itertools
import json
import os
import pickle
import re
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

from l2o.commandline import flags, problem_flags
from l2o.evaluation import cards, comparison, report, result_files, rules, running
from l2o.evaluation.comparison_progress import ComparisonProgress
from l2o.evaluation.rules import label
from problems import datasets, problem_sets
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

QUADRATIC = Row(Spec(pg.Quadratic, (4,), {'random_seed': 1}), name='quadratic', num_steps=20)
DATA = datasets.random(4, 60, n_classes=3, random_seed=0)
CLASSIFIER = Row(Spec(pg.FullyConnected, (4, 3), {'hidden_sizes': (5,), 'activation': tf.nn.relu}),
                 DATA, 10, DATA, 'classifier', 20)


def curve(optimizer, rate, seed, losses):
    return comparison.Curve(optimizer, rate, 'bowl', seed, losses, step_time=0.002)


def falling(end, steps=100):
    return list(np.linspace(1.0, end, steps))


CURVES = [curve('L2o', None, 1, falling(0.1)), curve('L2o', None, 2, falling(0.2)),
          curve('Adam', 0.1, 1, falling(0.3)), curve('Adam', 0.1, 2, falling(0.3)),
          curve('Adam', 1.0, 1, falling(0.5)), curve('Adam', 1.0, 2, [1.0] * 99 + [np.nan])]


def summary_of(name):
    return {label(row): row for row in comparison.summarize(CURVES)}[name]


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


def test_summary_table_is_sorted_by_result():
    lines = result_files.summary_text(comparison.summarize(CURVES)).splitlines()
    names = [line.split('|')[1].strip() for line in lines if line.startswith('|')][2:]
    assert names == ['**L2o**', '**Adam 0.1**', 'Adam 1']


def ending(optimizer, rate, problem, final, held_out, schedule='constant'):
    """A summary of which little matters."""
    return comparison.summarize([comparison.Curve(
        optimizer, rate, problem, 1, [final] * 60, 1e-3, schedule, held_out)])[0]


def test_a_learned_optimizer_is_held_against_its_rivals_over_all_problems():
    summaries = [ending('learned', None, 'one', 1.0, 3.0), ending('learned', None, 'two', 4.0, 2.0),
                 ending('Adam', 1e-3, 'one', 2.0, 3.0), ending('Adam', 1e-3, 'two', 4.0, 8.0),
                 ending('Adam', 1e-2, 'one', 0.5, 3.0), ending('SGD', 0.1, 'two', 2.0, 1.0)]
    times = [running.EqualTime(summary.problem, 'learned', summary, 9, final)
             for summary, final in zip(summaries[2:4], (0.8, 4.0))]
    default = comparison.standing('learned', 'Adam 0.001', summaries, times)
    np.testing.assert_allclose(default[:5], (2, 2, np.log(0.5) / 2, np.log(0.25) / 2, 1),
                               rtol=1e-6)
    assert default.best_held_out_log_ratio is None
    best = comparison.standing('learned', 'Adam, best rate', summaries, times)
    np.testing.assert_allclose(best[:3], (2, 1, np.log(2.0) / 2), rtol=1e-6)
    assert best.wins_at_equal_time is None
    assert comparison.rival('best hand-tuned rule', 'two', summaries).optimizer == 'SGD'
    assert comparison.standing('learned', 'Adam cosine, best rate', summaries) is None
    table = result_files.standings(summaries, times, ['learned'])
    assert '| learned | Adam 0.001 | 2 of 2 | -0.347 | -0.693 | 1 of 2 |' in table
    assert '| two | 4 | 4 (Adam 0.001) | 4 (Adam 0.001) | 2 (SGD 0.1) |' in (
        result_files.overview(summaries, ['learned']))


def test_a_rule_is_a_rival_at_one_rate_for_all_problems_and_at_the_best_for_each():
    """The rate that is best over all problems is best on neither of these."""
    summaries = [ending(name, rate, problem, final, 1.0, 'cosine')
                 for name, rate, finals in (('Muon', 0.1, (1.0, 9.0)), ('Muon', 0.01, (2.0, 2.0)),
                                            ('Muon', 0.001, (9.0, 1.0)), ('Lion', 0.1, (3.0, 3.0)))
                 for problem, final in zip(('one', 'two'), finals)]

    def finals(words):
        return [comparison.rival(words, problem, summaries).final for problem in ('one', 'two')]

    assert finals('Muon cosine, one rate') == finals('best single setting') == [2.0, 2.0]
    assert finals('Muon cosine, best rate') == finals('best hand-tuned rule') == [1.0, 1.0]
    assert comparison.single_settings(summaries) == ['Muon cosine 0.01', 'Lion cosine 0.1']
    learned = [ending('learned', None, problem, 1.0, 1.0) for problem in ('one', 'two')]
    table = result_files.standings(summaries + learned, [], ['learned'])
    assert '| learned | Muon cosine, one rate (Muon cosine 0.01) | 2 of 2 | -0.693 |' in table
    assert '| learned | Muon cosine, best rate | 2 of 2 | +0.000 |' in table


def test_csv_and_pickles_agree(tmp_path):
    short = {each.problem: each.problem[:2] for each in CURVES}
    result_files.write_csv(str(tmp_path / 'results.csv'), CURVES, short)
    with open(str(tmp_path / 'results.csv'), newline='') as handle:
        rows = list(csv.DictReader(handle))
    assert all(row['problem'] == short[row['problem_name']] for row in rows)
    for one in CURVES[:3]:
        path = result_files.write_pickle(str(tmp_path), 'bowl', one)
        with open(path, 'rb') as handle:
            losses = pickle.load(handle)
        rate = '' if one.learning_rate is None else '%g' % one.learning_rate
        assert losses == [float(row['loss']) for row in rows
                          if (row['optimizer'], row['learning_rate'], row['seed'])
                          == (one.optimizer, rate, str(one.seed))]
    assert (tmp_path / 'seed1_eval_loss_record.pickle-bowl').exists()
    assert (tmp_path / 'seed1_eval_loss_record.pickle-bowl-Adam-0.1').exists()


def test_the_record_of_the_programs_of_l2o_dm_has_the_losses_after_each_step(tmp_path):
    sgd, = rules.hand_tuned(['SGD'], [1e-3])
    short, longer = (running.run(running.Trial(sgd, QUADRATIC, 1, steps)) for steps in (5, 6))
    path = result_files.write_l2l_pickle(str(tmp_path), 'quadratic',
                                         short._replace(optimizer=rules.LEARNED))
    with open(path, 'rb') as handle:
        np.testing.assert_allclose(pickle.load(handle), longer.losses[1:], rtol=1e-6)
    assert os.path.basename(path) == 'L2L_eval_loss_record.pickle-quadratic'


def test_a_candidate_that_is_named_by_its_folder_has_a_file_of_losses(tmp_path):
    one = curve('runs/plain/RNNProp_GRUCell_20_2', None, 6, [1.0, 0.5])
    result_files.write_pickle(str(tmp_path), 'bowl', one)
    assert [path.name for path in tmp_path.iterdir()] == [
        'seed6_eval_loss_record.pickle-bowl-runs-plain-RNNProp_GRUCell_20_2']


def test_the_picture_has_the_curves_of_the_best_sorted_by_result():
    pytest.importorskip('matplotlib')
    figure = comparison.make_figure(CURVES, comparison.summarize(CURVES))
    axes, = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [words.split(':')[0] for words in labels] == ['L2o', 'Adam 0.1']
    assert axes.get_title() == 'bowl' and axes.get_yscale() == 'log'


def test_a_diverged_optimizer_is_drawn_and_said_to_have_diverged():
    pytest.importorskip('matplotlib')
    figure = comparison.make_figure(CURVES[4:], comparison.summarize(CURVES[4:]))
    words, = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert '1 diverged' in words


def drawn_of(losses):
    """Line, lowest and highest point of the band, words of the legend, of runs of one optimizer."""
    pytest.importorskip('matplotlib')
    curves = [curve('L2o', None, seed, each) for seed, each in enumerate(losses)]
    axes, = comparison.make_figure(curves, comparison.summarize(curves)).axes
    line, = axes.lines
    corners = axes.collections[0].get_paths()[0].vertices[:, 1]
    words, = [text.get_text() for text in axes.get_legend().get_texts()]
    return line.get_ydata(), corners.min(), corners.max(), words


def test_the_band_is_within_what_the_seeds_have_reached():
    """Losses of very different size: exp(mean + deviation of the logarithms) would exceed all."""
    losses = [[1e-6] * 99, [2.0] * 99, [2.28] * 99, [1e-4] * 99, [0.3] * 99]
    line, low, high, words = drawn_of(losses)
    np.testing.assert_allclose(line, 0.3)
    np.testing.assert_allclose([low, high], [1e-4, 2.0])
    assert words == 'L2o: 0.3'


def test_the_legend_has_where_the_line_ends():
    rng = np.random.RandomState(0)
    line, _, _, words = drawn_of(np.exp(rng.standard_normal([5, 200])).tolist())
    assert words == 'L2o: %.2g' % line[-1]


def test_small_losses_after_large_ones_are_drawn_as_they_are():
    line, _, _, words = drawn_of([[1e12] * 50 + [1e-7] * 150] * 3)
    np.testing.assert_allclose(line[60:], 1e-7, rtol=1e-9)
    assert words == 'L2o: 1e-07'


def test_one_of_five_seeds_that_diverges_hides_neither_line_nor_band():
    line, low, high, words = drawn_of([[1.0] * 50, [2.0] * 50, [3.0] * 50, [4.0] * 50,
                                       [5.0] * 20 + [np.nan] * 30])
    np.testing.assert_allclose(line, 3.0)
    assert (low, high) == (2.0, 4.0) and words == 'L2o (1 diverged): 3'


def test_what_is_drawn_is_said_below_the_picture_and_in_the_report():
    pytest.importorskip('matplotlib')
    figure = comparison.make_figure(CURVES, comparison.summarize(CURVES))
    said, = [text.get_text() for text in figure.texts]
    assert 'median' in said and 'quartile' in said


def test_the_overview_is_in_units_of_adam_at_its_best_rate():
    summaries = [ending('learned', None, 'one', 1.0, 3.0), ending('Adam', 1e-3, 'one', 4.0, 3.0),
                 ending('Adam', 1e-2, 'one', 2.0, 3.0), ending('learned', None, 'two', np.nan, 1.0),
                 ending('Adam', 1e-3, 'two', 0.5, 3.0)]
    axes, = comparison.make_overview(summaries, ['learned']).axes
    drawn = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert drawn == {'Adam 0.001': [[2.0, 0.0], [1.0, 1.0]], 'learned': [[0.5, 0.0]],
                     'best hand-tuned rule': [[1.0, 0.0], [1.0, 1.0]]}
    assert [label.get_text() for label in axes.get_yticklabels()] == ['one', 'two']
    assert comparison.make_overview(summaries[:3], ['learned']) is None


def test_any_name_can_be_drawn():
    """matplotlib takes what is between two dollar signs for a formula."""
    pytest.importorskip('matplotlib')
    name = r'a$\b$ 漢'
    curves = [CURVES[0]._replace(problem=name, optimizer='$x$')]
    content = comparison.picture(comparison.make_figure(curves, comparison.summarize(curves)))
    assert content.startswith(b'\x89PNG')


@pytest.mark.parametrize('stem', ['quadratic', 'noisy_norm', 'sum'])
def test_at_one_seed_every_candidate_gets_the_same_problem(stem):
    row = problem_sets.PROBLEM_SETS[stem].testing()[0]

    def first_loss(candidate, seed):
        return running.run(running.Trial(candidate, row, seed, 2)).losses[0]

    sgd, adam = rules.hand_tuned(['SGD', 'Adam'], [1e-4])
    assert first_loss(sgd, 6) == first_loss(adam, 6) == first_loss(sgd, 6)
    assert first_loss(sgd, 7) != first_loss(sgd, 6)


def rows_of(script, seed, stems=('norm', 'fully_connected_random_2_class', 'sum_of_quadratics')):
    values = absl_flags.FlagValues()
    flags.define(script, values)
    values([script] + ['--include_%s_problems' % stem for stem in stems])
    return problem_flags.problems_and_data(values, script, seed)


@pytest.mark.parametrize('script', [flags.METARUN, flags.METATEST])
def test_sparse_perceptrons_come_along_where_their_two_sets_are_included(script):
    one, other = 'sparse_gradient', 'fully_connected_random_2_class'
    expected = problem_sets.sparse_gradient_problems_mlp(6)
    added = rows_of(script, 6, [one, other])[len(rows_of(script, 6, [one])):]
    added = added[len(rows_of(script, 6, [other])):]
    assert [str(row.spec.callable) for row in added] == 3 * [str(pg.SparseProblem)]
    for row, wanted in zip(added, expected):
        assert str(row.spec.args[0]) == str(wanted.spec.args[0])
        np.testing.assert_array_equal(row.dataset.data, wanted.dataset.data)


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


def test_candidates_are_a_grid_for_each_rule_and_schedule():
    grid = rules.hand_tuned(['SGD', 'Adam'], [0.1, 1.0], ['constant', 'cosine'])
    assert [label(each) for each in grid] == [
        'SGD 0.1', 'SGD 1', 'SGD cosine 0.1', 'SGD cosine 1', 'Adam 0.1', 'Adam 1',
        'Adam cosine 0.1', 'Adam cosine 1']
    with pytest.raises(ValueError, match='unknown optimizer Sgd: choose from SGD'):
        rules.hand_tuned(['Sgd'], [0.1])
    with pytest.raises(ValueError, match='unknown schedule cosin: choose from constant'):
        rules.hand_tuned(['SGD'], [0.1], ['cosin'])


@pytest.mark.parametrize('name', rules.HAND_TUNED)
@pytest.mark.parametrize('schedule', rules.SCHEDULES)
def test_every_hand_tuned_optimizer_runs(name, schedule):
    candidate, = rules.hand_tuned([name], [0.01], [schedule])
    result = running.run(running.Trial(candidate, QUADRATIC, 3, 20))
    assert result.losses[-1] < result.losses[0]
    assert len(result.losses) == 20 and result.step_time > 0
    assert (result.held_out_loss, result.accuracy) == (None, None)


class Line(pg.Quadratic):
    """x: every step of gradient descent is the learning rate."""

    def _objective(self, parameters, data, labels):
        return tf.reduce_sum(parameters[0])


@pytest.mark.parametrize('schedule, factors', [
    ('constant', [1, 1, 1]), ('linear', [1, 0.75, 0.5]),
    ('cosine', [1, (1 + np.sqrt(0.5)) / 2, 0.5])])
def test_schedules_let_the_rate_fall_over_the_run(schedule, factors):
    candidate, = rules.hand_tuned(['SGD'], [0.1], [schedule])
    row = Row(Spec(Line, (1,), {}), name='line')
    losses = running.run(running.Trial(candidate, row, 1, 4)).losses
    np.testing.assert_allclose(-np.diff(losses), 0.1 * np.array(factors), rtol=1e-5)


def test_adamw_shrinks_and_then_is_adam():
    variable = tf.Variable([1.0, -2.0])
    gradient = tf.constant([0.3, 0.5])
    step = rules.AdamW(0.1, weight_decay=0.5).apply_gradients([(gradient, variable)])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step)
        # The first step of Adam is the rate times the gradient's sign.
        np.testing.assert_allclose(session.run(variable), [0.95 - 0.1, -1.9 - 0.1], rtol=1e-5)


# Many runs.


class FallsAndRises(Line):
    """A loss on held-out examples that is lowest in the middle of a run, at 0.5."""

    needs_data = True

    def _objective(self, parameters, data, labels):
        line = tf.reduce_sum(parameters[0])
        return line + 0.0 * tf.reduce_sum(data) + tf.reduce_mean(data) * tf.square(line + 0.5)


def test_held_out_examples_are_measured_along_the_way():
    """The best is that of the checkpoint which who looks twenty times has kept."""
    ones, many = (datasets.Dataset(np.full([2, 1], value), None) for value in (0.0, 1e3))
    candidate, = rules.hand_tuned(['SGD'], [0.01])
    row = Row(Spec(FallsAndRises, (1,), {}), ones, 1, many, 'line')
    curve = running.run(running.Trial(candidate, row, 1, 100))
    start = curve.losses[0]
    ends = start - 0.01 * np.arange(5, 105, 5)
    expected = ends + 1e3 * (ends + 0.5) ** 2
    np.testing.assert_allclose([curve.best_held_out_loss, curve.held_out_loss],
                               [expected.min(), expected[-1]], rtol=1e-3)
    assert len(curve.losses) == 100 and curve.best_accuracy is None


def test_held_out_examples_are_measured_after_the_last_step():
    candidate, = rules.hand_tuned(['Adam'], [0.05])
    first = running.run(running.Trial(candidate, CLASSIFIER, 3, 1))
    later = running.run(running.Trial(candidate, CLASSIFIER, 3, 100))
    assert later.held_out_loss < 0.8 * first.held_out_loss
    assert 0.5 < later.accuracy <= 1.0 and later.accuracy * DATA.size == pytest.approx(
        round(later.accuracy * DATA.size), abs=1e-3)


class Noted(running.Silent):
    """Keeps what an observer is told."""

    def __init__(self):
        self.expected, self.trials, self.kept = 0, [], 0

    def expect(self, number):
        self.expected += number

    def done(self, trial, curve, was_kept):
        self.trials.append(trial)
        self.kept += was_kept


GRID = rules.hand_tuned(['SGD', 'Adam'], [1e-3, 0.1], ['constant', 'linear'])


def without_times(curves):
    return [curve._replace(step_time=0.0) for curve in curves]


def test_a_comparison_runs_all_seeds_of_all_candidates():
    noted = Noted()
    found = running.compare(GRID, [QUADRATIC, CLASSIFIER], [1, 2], 5,
                            running.Runner(observer=noted))
    assert len(found.curves) == 8 * 2 * 2 == noted.expected == len(noted.trials)
    assert found.screened == found.equal_time == []
    assert {len(curve.losses) for curve in found.curves} == {5}


def test_of_a_grid_only_the_finalists_run_with_all_seeds():
    found = running.compare(GRID, [QUADRATIC], [1, 2], None, running.Runner(),
                            running.Grids(finalists=1, screening_steps=10))
    assert len(found.curves) == (4 + 1) * 2 and len(found.screened) == 3
    assert any(rules.is_default(curve) for curve in found.curves)
    assert {label(curve) for curve in found.curves}.isdisjoint(map(label, found.screened))
    assert {len(curve.losses) for curve in found.screened} == {10}
    grids = {(row.optimizer, row.schedule): row for row in comparison.summarize(found.curves)
             if row.best}
    assert len(grids) == 4
    assert grids['Adam', 'constant'].learning_rate == 0.1


def test_at_equal_time_a_rule_takes_more_steps():
    def make(num_steps):
        return Slow(1e-3)

    learned = rules.Candidate('slow', None, make)
    found = running.compare([learned] + rules.hand_tuned(['SGD'], [0.01]), [QUADRATIC], [1], 10,
                            running.Runner(), running.Grids(equal_time=True))
    equal, = found.equal_time
    assert (equal.problem, equal.learned, label(equal.summary)) == ('quadratic', 'slow', 'SGD 0.01')
    assert equal.num_steps > 20 and equal.final < equal.summary.final
    assert 'In the time of slow: SGD 0.01' in result_files.summary_text(
        comparison.summarize(found.curves), found.equal_time)


class Slow(tf.train.GradientDescentOptimizer):
    """Gradient descent that takes its time."""

    def _finish(self, update_ops, name_scope):
        with tf.control_dependencies([tf.py_func(lambda: time.sleep(0.02), [], [])]):
            return super()._finish(update_ops, name_scope)


def remade():
    """What other processes run."""
    tf.disable_eager_execution()
    return GRID + [rules.Candidate('ends', None, lambda num_steps: os._exit(1))], [
        QUADRATIC, CLASSIFIER]


@pytest.mark.slow
def test_results_are_the_same_with_any_number_of_jobs(monkeypatch):
    monkeypatch.undo()  # graphs without a seed, as other processes have them
    rows, options = [QUADRATIC, CLASSIFIER], ([1, 2], 5)
    alone = running.compare(GRID, rows, *options, runner=running.Runner())
    together = running.compare(GRID, rows, *options, runner=running.Runner(None, 2, remade))
    assert without_times(together.curves) == without_times(alone.curves)


@pytest.mark.slow
def test_a_job_that_is_killed_ends_the_comparison():
    with pytest.raises(running.WorkerDied):
        running.Runner(None, 2, remade).run([
            running.Trial(rules.Candidate('ends', None, None), QUADRATIC, seed, 5)
            for seed in (1, 2)])


def test_several_jobs_need_a_way_to_begin():
    with pytest.raises(ValueError, match='remake'):
        running.Runner(jobs=2)


def test_what_has_been_run_is_not_run_again(tmp_path):
    kept = result_files.KeptRuns(str(tmp_path))
    trials = [running.Trial(candidate, CLASSIFIER, seed, 5)
              for candidate in GRID[:2] for seed in (1, 2)]
    first = running.Runner(kept).run(trials[:3])
    noted = Noted()
    again = running.Runner(result_files.KeptRuns(str(tmp_path)), observer=noted).run(trials)
    assert again[:3] == first and noted.kept == 3 and len(noted.trials) == 4
    anew = Noted()
    running.Runner(result_files.KeptRuns(str(tmp_path), anew=True), observer=anew).run(trials)
    assert anew.kept == 0


@pytest.mark.parametrize('change', [
    lambda trial: trial._replace(seed=2), lambda trial: trial._replace(num_steps=6),
    lambda trial: trial._replace(row=trial.row._replace(batch_size=11)),
    lambda trial: trial._replace(row=trial.row._replace(
        dataset=DATA._replace(data=DATA.data + 1e-3))),
    lambda trial: trial._replace(row=trial.row._replace(spec=Spec(
        pg.FullyConnected, (4, 3), {'hidden_sizes': (5,), 'activation': tf.nn.tanh}))),
    lambda trial: trial._replace(candidate=trial.candidate._replace(identity='other')),
    lambda trial: trial._replace(candidate=GRID[1])])
def test_another_trial_does_not_get_its_result(change, tmp_path):
    trial = running.Trial(GRID[0], CLASSIFIER, 1, 5)
    kept = result_files.KeptRuns(str(tmp_path))
    kept.write(trial, CURVES[0])
    assert kept.read(trial).losses == CURVES[0].losses
    assert kept.read(change(trial)) is None


def test_a_damaged_result_is_run_again(tmp_path):
    trial, kept = running.Trial(GRID[0], QUADRATIC, 1, 5), result_files.KeptRuns(str(tmp_path))
    kept.write(trial, CURVES[0])
    path, = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    assert kept.read(trial) is None


# Progress, page, cards.


class Terminal(io.StringIO):
    def isatty(self):
        return True


def observe(out, clock):
    progress = ComparisonProgress(out, clock)
    progress.expect(2)
    for candidate, end in ((GRID[0], 0.5), (GRID[1], 0.25)):
        progress.done(running.Trial(candidate, QUADRATIC, 1, 100),
                      curve('SGD', 0.1, 1, [end] * 100), False)
    progress.end()
    return out.getvalue()


def test_progress_is_one_line_a_minute():
    times = iter([0, 30, 61, 61])
    text = observe(io.StringIO(), lambda: next(times))
    assert text == ('2 of 2 runs done; quadratic, 100 steps: best mean so far 0.25 (SGD 0.1, 1 '
                    'seed)\n')


def test_one_lucky_seed_is_not_the_best_so_far():
    out, times = io.StringIO(), itertools.count(0, 61)
    progress = ComparisonProgress(out, lambda: next(times))
    for candidate, seed, end in ((GRID[0], 1, 1e-8), (GRID[0], 1, 1e-8), (GRID[0], 2, 4.0),
                                 (GRID[1], 1, 1.0), (GRID[1], 2, 1.5)):
        progress.done(running.Trial(candidate, QUADRATIC, seed, 100),
                      curve('', 0.1, seed, [end] * 100), False)
    first, second = [label(candidate) for candidate in GRID[:2]]
    assert [line.split('so far ')[1] for line in out.getvalue().splitlines()] == [
        '1e-08 (%s, 1 seed)' % first, '1e-08 (%s, 1 seed)' % first, '2 (%s, 2 seeds)' % first,
        '2 (%s, 2 seeds)' % first, '1.25 (%s, 2 seeds)' % second]


def test_progress_is_a_bar_on_a_terminal():
    text = observe(Terminal(), lambda: 0)
    assert '2/2' in text and 'best mean so far 0.25 (SGD 0.1, 1 seed)' in text


class Page(html.parser.HTMLParser):
    """What is in a page: tables of cells, addresses, bytes of pictures, open tags."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.addresses, self.pictures, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ('br', 'img', 'meta'):
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        if tag == 'tr':
            self.tables[-1].append([])
        for name, value in attrs:
            if name == 'src' and value.startswith('data:image/png;base64,'):
                self.pictures.append(base64.b64decode(value.split(',')[1]))
            elif name in ('src', 'href'):
                self.addresses.append(value)

    def handle_data(self, data):
        if self.open[-1:] in (['td'], ['th']):
            self.tables[-1][-1].append(data)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_tables_and_pictures_and_needs_no_network():
    summaries = comparison.summarize([c._replace(problem='<b>&') for c in CURVES])
    equal_time = [running.EqualTime('<b>&', 'L2o', summaries[1], 250, 0.125, 0.25)]
    text = report.page('A title', ['Data: <i>'], summaries, equal_time, [('Loss', b'curves')],
                       [('<u>', b'inside')])
    page = Page(text)
    assert page.pictures == [b'curves', b'inside'] and page.addresses == [] and page.open == []
    main, equal = page.tables
    assert [row[0] for row in main] == ['optimizer', 'L2o', 'Adam 0.1', 'Adam 1']
    assert equal[1] == ['Adam 0.1', '0.125', '0.25', '250']
    assert '<b>' not in text and '&lt;b&gt;&amp;' in text
    assert '<i>' not in text and '<u>' not in text
    assert not re.search(r'(?i)https?:|@import|url\(|<script|<link', text)


def test_the_summary_for_programs_is_json_without_infinities():
    equal_time = [running.EqualTime('bowl', 'L2o', summary_of('Adam 0.1'), 250, np.inf)]
    text = result_files.as_json(comparison.summarize(CURVES), equal_time)
    found = json.loads(text, parse_constant=pytest.fail)
    assert [row['final'] for row in found['summaries']][2] is None
    assert found['summaries'][0]['best'] is True and found['summaries'][0]['diverged'] == 0
    assert found['equal_time'][0]['final'] is None
    assert found['equal_time'][0]['summary']['learning_rate'] == 0.1


def test_a_card_counts_the_problems_that_are_won(tmp_path):
    record = {'optimizer': {'name': 'RNNProp', 'kwargs': {}}, 'seed': 2}
    curves = CURVES[:4] + [c._replace(problem='hill', losses=[0.9 + 0.1 * (
        c.learning_rate is None)] * 200) for c in CURVES[:4]]
    cards.write(str(tmp_path), 'L2o', record, curves, comparison.summarize(curves))
    text = (tmp_path / cards.CARD).read_text()
    assert 'At or below the best hand-tuned rule on 1 of 2 problems; 0 of all 4 runs' in text
    assert '| bowl | 0.36 | 0.04 |  | Adam 0.1 | 0.47 |  |  |' in text
    numbers = json.loads((tmp_path / cards.RESULTS).read_text())
    assert numbers['steps'] == 100 and [row['problem'] for row in numbers['rows']] == [
        'bowl', 'hill']
    assert numbers['rows'][0]['loss'] == pytest.approx(comparison.final_loss(CURVES[0].losses))
    assert (tmp_path / cards.CURVES).read_bytes().startswith(b'\x89PNG')
    assert 'Made by `python metarun.py --flagfile=pretrained/L2o/flags.txt`, seed 2.' in text
    mean = dict(record, mean_of=['one', 'other'])
    assert 'The mean of 2 runs, ' in cards.card_text('L2o', mean, comparison.summarize(curves), 1)
