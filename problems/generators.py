"""Where random numbers come from."""

import numpy as np


def generator(seed):
    """The generator of that seed; without one numpy's global generator.

    The global generator's state changes in the second case only: a caller that has seeded it gets
    the same problems and data again.
    """
    return np.random if seed is None else np.random.RandomState(seed)
