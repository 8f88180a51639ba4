"""Resident memory stays flat over many meta-iterations and over many problems."""

import os

import pytest

import metaopt
from l2o.techniques import curriculum as curricula
from optimizer.trainable_adam import TrainableAdam
from problems import problem_generator as pg
from problems.problem_spec import Spec


def resident():
    """Megabytes of this process that are in memory."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2 ** 20


class Watch:
    """A reporter that notes the resident memory after given numbers of meta-iterations."""

    def __init__(self, marks):
        self._marks, self.seen = marks, {}

    def __getattr__(self, name):
        return lambda *_, **__: False

    def unroll(self, progress, report, details=None):
        if progress.meta_iterations in self._marks:
            self.seen[progress.meta_iterations] = resident()


def growth(folder, num_problems, num_meta_iterations, begin, end):
    """Megabytes that training needs more after `end` meta-iterations than after `begin`."""
    watch = Watch((begin, end))
    metaopt.train_optimizer(
        str(folder), Spec(TrainableAdam, (1e-2,), {}), [(Spec(pg.Quadratic, (3,), {}), None, None)],
        num_problems, num_meta_iterations, lambda: 1, lambda: 3, seed=7, reporter=watch,
        curriculum=curricula.Curriculum.fixed(3), evaluation=metaopt.Evaluation(1, 1))
    return watch.seen[end] - watch.seen[begin]


@pytest.mark.slow
def test_memory_over_1000_meta_iterations(tmp_path):
    assert growth(tmp_path, 1, 1000, begin=200, end=999) < 6.0


@pytest.mark.slow
def test_memory_over_50_problems(tmp_path):
    assert growth(tmp_path, 50, 1, begin=9, end=49) < 6.0
