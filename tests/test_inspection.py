"""What the inspection says of optimizers whose steps are known."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from evaluation import inspection
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


def test_the_picture_has_a_line_for_each_tensor(descent):
    pytest.importorskip('matplotlib')
    figure = inspection.make_figure('sum', descent)
    labels = [[text.get_text() for text in axes.get_legend().get_texts()]
              for axes in figure.axes[1:]]
    assert labels[0] == labels[2] == descent.names
    assert len(labels[1]) == 4
