"""Where random numbers come from."""

import contextlib
import random
from typing import Iterator, Optional

import numpy as np


def generator(seed: Optional[int]) -> np.random.RandomState:
    """A generator of its own, of that seed; without one it begins anywhere."""
    return np.random.RandomState(seed)


@contextlib.contextmanager
def global_generators_from(seed: int) -> Iterator[None]:
    """Within it Python's and numpy's global generators begin at the seed, for code of others."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
