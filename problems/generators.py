"""Where random numbers come from."""

import numpy as np


def generator(seed):
    """A generator of its own, of that seed; without one it begins anywhere."""
    return np.random.RandomState(seed)
