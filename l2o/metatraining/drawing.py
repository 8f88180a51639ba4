"""What is drawn from a generator that was handed over: initial values, seeds, keys, problems."""

from typing import List

import numpy as np

from problems.problem import Problem


def draw_initial_params(problem: Problem, kind: str,
                        rng: np.random.RandomState) -> List[np.ndarray]:
    """Initial values of a problem: a list of arrays."""
    if kind == 'normal':
        return [rng.standard_normal(shape) for shape in problem.param_shapes]
    return problem.initial_values(draw_seed(rng))


def draw_seed(rng: np.random.RandomState) -> int:
    """A seed for another generator."""
    return int(rng.randint(2 ** 31 - 1))


def draw_key(rng: np.random.RandomState) -> np.ndarray:
    """A key for TensorFlow's stateless operations, int [2]."""
    return rng.randint(2 ** 30, size=2)


def draw_problems(num_rows: int, num_draws: int, at_once: int, at_random: bool,
                  rng: np.random.RandomState) -> List[List[int]]:
    """For each draw the list of its rows: random ones, or from shuffled passes over the rows."""
    if at_once == 1:
        rows = (rng.randint(num_rows, size=num_draws) if at_random
                else np.resize(rng.permutation(num_rows), num_draws))
        return rows[:, np.newaxis].tolist()
    if at_random:
        return [np.resize(rng.permutation(num_rows), at_once).tolist() for _ in range(num_draws)]
    return np.resize(rng.permutation(num_rows), (num_draws, at_once)).tolist()
