"""How times are taken: in turns, so that a shared machine disturbs all alike; medians, spread.

Absolute times mean little on such a machine; what to look at are ratios within one run.
"""

import time
from typing import NamedTuple, Optional

import numpy as np

#: How often anything is timed that is timed more than once, however slow.
LEAST = 3


class Times(NamedTuple):
    """How long something takes, in seconds."""

    median: float
    low: float  # the 10 % quantile
    high: float  # the 90 % quantile
    repeats: int


class Result(NamedTuple):
    """A figure."""

    group: str  # the benchmark
    name: str
    size: Optional[int]  # what it grows with
    value: float
    low: float
    high: float
    unit: str
    yardstick: Optional[str]  # what `ratio` is against
    ratio: Optional[float]


def in_turns(functions, repeats, warm_up=2, budget=20.0):
    """Times functions alternately.

    Args:
      functions: dict from names to functions without arguments.
      repeats: how often each is timed.
      warm_up: how often each runs before that.
      budget: seconds after which timing ends, once each function was timed LEAST times.

    Returns:
      dict from names to `Times`.
    """
    taken, start = {name: [] for name in functions}, time.perf_counter()
    for repeat in range(warm_up + repeats):
        if repeat >= warm_up + LEAST and time.perf_counter() - start > budget:
            break
        for name, function in functions.items():
            seconds = seconds_of(function)
            if repeat >= warm_up:
                taken[name].append(seconds)
    return {name: summary(values) for name, values in taken.items()}


def seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summary(seconds):
    """The `Times` of a list of seconds."""
    low, median, high = np.percentile(seconds, [10, 50, 90])
    return Times(float(median), float(low), float(high), len(seconds))


def milliseconds(group, name, times, size=None, yardstick=None, against=None):
    """The `Result` for `Times`; its ratio is to the `Times` `against`."""
    ratio = None if against is None else times.median / against.median
    return Result(group, name, size, *[1000.0 * seconds for seconds in times[:3]],
                  unit='ms', yardstick=yardstick, ratio=ratio)


def single(group, name, value, unit, size=None):
    """The `Result` for something measured once."""
    return Result(group, name, size, value, value, value, unit, None, None)


def line(result):
    """A row of the printed table."""
    size = '' if result.size is None else '%g' % result.size
    ratio = '' if result.ratio is None else '%.2f x %s' % (result.ratio, result.yardstick)
    return '%-22s %-34s %10s %10.2f %-3s [%.2f, %.2f] %s' % (
        result.group, result.name, size, result.value, result.unit, result.low, result.high, ratio)
