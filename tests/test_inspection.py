"""What the inspection says of optimizers whose steps are known."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from l2o.evaluation import inspection
from optimizer import build
from problems import problem_generator as pg
from problems.problem_spec import Spec

ROW = (Spec(pg.SumTask, ([pg.Quadratic(3, random_seed=1), pg.Rosenbrock()],), {}), None, None)


@pytest.fixture(name='descent')
def _descent():
    return inspection.inspect(lambda: tf.train.GradientDescentOptimizer(1e-5), ROW, 4, 6)


def test_gradient_descent_goes_straight_downhill_by_its_learning_rate(descent):
    np.testing.assert_allclose(descent.cosines, 1.0, rtol=1e-2)
    np.testing.assert_allclose(descent.update_norms, 1e-5 * descent.gradient_norms, rtol=5e-2)
    np.testing.assert_allclose(descent.rate_means, -5.0, atol=0.1)
    assert descent.losses[-1] < descent.losses[0]


def test_shapes_and_names(descent):
    assert descent.names == ['0 3x1', '1 2']
    assert descent.losses.shape == (6,)
    for field in descent[2:]:
        assert field.shape == (6, 2)


@pytest.mark.parametrize('name, arguments', [
    ('HierarchicalRNN', {'level_sizes': [3]}),
    ('CoordinatewiseRNN', {'cell_sizes': [3], 'cell_cls': 'GRUCell',
                           'zero_init_lr_weights': True})])
def test_learning_rates_that_an_optimizer_keeps_are_shown(name, arguments):
    seen = inspection.inspect(lambda: build(name, dict(arguments, init_lr_range=(1e-3, 1e-3))),
                              ROW, 4, 3)
    np.testing.assert_allclose(seen.rate_means, -3.0, atol=1e-3)
    np.testing.assert_allclose(seen.rate_spreads, 0.0, atol=1e-3)


class _DeadCoordinates(pg.Problem):
    """x_0^2 + 9 x_1^2; x_2 and the second tensor have no gradient."""

    def __init__(self):
        super().__init__([(3,), (2,)])

    def _objective(self, parameters, data, labels):
        x, unused = parameters
        return x[0] ** 2 + 9 * x[1] ** 2 + 0 * tf.reduce_sum(unused)


def test_coordinates_without_a_gradient_count_nowhere():
    seen = inspection.inspect(lambda: tf.train.GradientDescentOptimizer(1e-2),
                              (Spec(_DeadCoordinates, (), {}), None, None), 4, 3)
    np.testing.assert_allclose(seen.rate_means[:, 0], -2.0, atol=1e-4)
    np.testing.assert_allclose(seen.rate_spreads[:, 0], 0.0, atol=1e-4)
    np.testing.assert_allclose(seen.cosines[:, 0], 1.0, atol=1e-4)
    assert np.isnan(seen.rate_means[:, 1]).all() and np.isnan(seen.cosines[:, 1]).all()
    assert not seen.update_norms[:, 1].any()


class _Restless(tf.train.GradientDescentOptimizer):
    """Moves every coordinate by 0.5, whatever its gradient."""

    def _resource_apply_dense(self, grad, handle):
        return handle.assign_sub(0.5 * tf.ones_like(grad))


def test_updates_of_coordinates_without_a_gradient_do_not_count():
    seen = inspection.inspect(lambda: _Restless(1.0),
                              (Spec(_DeadCoordinates, (), {}), None, None), 4, 1)
    np.testing.assert_allclose(seen.update_norms, [[0.5 * np.sqrt(2), 0.0]], rtol=1e-5)
    assert abs(seen.rate_means[0, 0]) < 3  # 1e30 times the gradient before


def test_the_same_seed_looks_at_the_same_problem():
    row = (Spec(pg.Quadratic, (3,), {}), None, None)
    first, again = (inspection.inspect(make, row, 4, 2) for make in (
        lambda: tf.train.GradientDescentOptimizer(1e-5), lambda: tf.train.AdamOptimizer(1e-5)))
    assert first.losses[0] == again.losses[0]


def test_the_picture_has_a_line_for_each_tensor(descent):
    pytest.importorskip('matplotlib')
    figure = inspection.make_figure('sum', descent)
    assert figure._suptitle.get_text() == 'sum'
    legend, = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == descent.names
    assert [len(axes.lines) for axes in figure.axes] == [1, 2, 4, 2]
