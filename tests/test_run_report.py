"""`history.png` and `report.html` of a run: what they say, and when they are written."""

import html.parser
import os

import pytest

import metaopt
from l2o.evaluation import run_report
from l2o.metatraining import history
from optimizer.global_learning_rate import GlobalLearningRate
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec


def row(iteration, validation, stage=1, best=0, **others):
    values = dict.fromkeys(history.COLUMNS, '')
    values.update(meta_iterations=iteration, unrolls=10 * iteration, seconds=60 * iteration,
                  problem=0, stage=stage, validation_steps=100 * stage, validation=validation,
                  best=best, nonfinite_unrolls=0, **others)
    return {name: str(value) for name, value in values.items()}


ROWS = [row(0, 1.5, best=1), row(1, 1.25, best=1, meta_objective=-0.5, gradient_norm=0.1),
        row(2, 'nan', meta_objective=-0.6, gradient_norm=0), row(2, 0.75, stage=2, best=1),
        row(3, 0.5, stage=2, best=1, imitation_objective=0.123456, gradient_norm=1e9)]


class _Texts(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_data(self, data):
        self.found.append(data)


def texts(page):
    parser = _Texts()
    parser.feed(page)
    return parser.found


def test_the_page_says_what_came_of_the_run():
    found = texts(run_report.page(ROWS, ['Seed 3'], b''))
    assert 'Seed 3' in found
    assert '3 meta-iterations, 30 unrolls (0 not finite), 3.0 minutes' in found
    assert 'Best validation 0.5, after 3 meta-iterations, over 200 steps' in found
    stages = found[found.index('Stages'):found.index('Validations')]
    assert '0 to 2' in stages and '1.25' in stages and '2 to 3' in stages and '200 steps' in stages
    assert '0.1235' in found[found.index('Validations'):]


def test_the_picture_has_a_panel_for_each_quantity():
    figure = run_report.make_figure(ROWS)
    assert [axes.get_title() for axes in figure.axes] == list(run_report.PANELS)
    assert figure.axes[2].get_yscale() == 'log'
    assert list(figure.axes[0].get_lines()[1].get_xdata()) == [0, 1, 2, 3]


@pytest.mark.parametrize('rows', [ROWS[:1], ROWS[2:3], [row(0, 'inf')]])
def test_runs_that_have_just_begun_or_diverged_are_drawn(rows):
    assert run_report.page(rows, [], b'x').startswith('<!DOCTYPE html>')
    assert run_report.make_figure(rows).axes


def test_long_runs_show_their_last_rows():
    found = texts(run_report.page([row(index, 1) for index in range(300)], [], b''))
    assert 'The last 200 of 300; all are in history.csv.' in found


def test_it_is_written_now_and_then_and_at_the_end(tmp_path):
    now = [0.0]
    report = run_report.RunReport(str(tmp_path), clock=lambda: now[0])
    report.write([], last=True)
    report.write(ROWS)
    assert not os.listdir(str(tmp_path))
    now[0] = run_report.PERIOD + 1.0
    report.write(ROWS)
    assert sorted(os.listdir(str(tmp_path))) == ['history.png', 'report.html']
    (tmp_path / 'report.html').unlink()
    report.write(ROWS)
    assert not (tmp_path / 'report.html').exists()
    report.write(ROWS, last=True)
    assert (tmp_path / 'report.html').exists()


def test_a_run_leaves_both(tmp_path):
    metaopt.train_optimizer(
        str(tmp_path), Spec(GlobalLearningRate, (0.05,), {}), [Row(Spec(pg.Quadratic, (3,), {}))],
        1, 2, fix_unroll=True, fix_num_steps=4, fix_unroll_length=2, evaluation_epochs=1, seed=5,
        out=None)
    found = texts((tmp_path / 'report.html').read_text())
    assert 'Optimizer: GlobalLearningRate, seed 5' in found
    assert (tmp_path / 'history.png').read_bytes().startswith(b'\x89PNG')
