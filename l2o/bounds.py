"""What values a setting or a flag may have; knows nothing of TensorFlow."""

import math
import unicodedata
from typing import Any, NamedTuple

import numpy as np


class Numbers(NamedTuple):
    """Numbers between two bounds, each of which may be left out itself."""

    words: str  # what a message says that a value must be
    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # whether `low` itself is not allowed
    below: bool = False  # likewise `high`
    other: float = math.nan  # a single number beside these

    def holds(self, value: float) -> bool:
        """Whether a number is one of these; infinities and NaN never are."""
        return value == self.other or (
            math.isfinite(value) and (value > self.low or value == self.low and not self.above)
            and (value < self.high or value == self.high and not self.below))


class Text(NamedTuple):
    """Text that files can be named by: valid Unicode without control characters."""

    words: str
    largest: float = math.inf  # number of bytes
    without: str = ''  # a character that must not be in it
    may_be_empty: bool = False

    def holds(self, value: str) -> bool:
        """Whether a text is one of these."""
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return False
        return (bool(value) or self.may_be_empty) and size <= self.largest and not (
            self.without and self.without in value) and all(
                unicodedata.category(character) != 'Cc' for character in value)


ANY = Numbers('a finite number')
POSITIVE = Numbers('a positive number', 0, above=True)
NOT_NEGATIVE = Numbers('a number of at least 0', 0)
SHARE = Numbers('a number from 0 to 1', 0, 1)
SHARE_OR_OTHER = Numbers('-1 or a number from 0 to 1', 0, 1, other=-1)
BELOW_ONE = Numbers('a number above 0 and below 1', 0, 1, above=True, below=True)
UP_TO_ONE = Numbers('a number above 0, at most 1', 0, 1, above=True)
FROM_ZERO_BELOW_ONE = Numbers('a number from 0, below 1', 0, 1, below=True)
SIZE = Numbers('a whole number from 1 to 4096', 1, 4096)
FEW = Numbers('a whole number from 1 to 100', 1, 100)
ALL_OR_NUMBER = Numbers('-1 or a whole number of at least 0', -1)
SEED = Numbers('a whole number from 0 to 2^31 - 1', 0, 2 ** 31 - 1)
SEED_OR_DRAW = Numbers('a whole number from -1 to 2^31 - 1', -1, 2 ** 31 - 1)
FOLDER = Text('the name of a folder')
TEXT = Text('text without control characters', may_be_empty=True)
NAME = Text('a word of at most 100 bytes without /', 100, '/')
NAME_OR_NONE = Text('empty or the name of a checkpoint', without='/', may_be_empty=True)

LARGEST_INTEGER = 2 ** 31 - 1  # that TensorFlow counts steps and seeds by


def allows(allowed: Any, value: Any) -> bool:
    """Whether a value is allowed, of a list or tuple each element.

    Args:
      allowed: `Numbers`, a `Text`, or a tuple of choices.
      value: a number as what TensorFlow makes of it, a float32 or an int32.
    """
    if isinstance(value, (list, tuple)):
        return all(allows(allowed, element) for element in value)
    if isinstance(allowed, tuple) and not isinstance(allowed, (Numbers, Text)):
        return value in allowed
    if isinstance(value, str) != isinstance(allowed, Text):
        return False
    if isinstance(value, int):
        return allowed.holds(value) and abs(value) <= LARGEST_INTEGER
    return allowed.holds(value if isinstance(value, str) else _as_float32(value))


def in_words(allowed: Any) -> str:
    """What a value must be: `one of sgd, adam`, `a positive number`."""
    if isinstance(allowed, (Numbers, Text)):
        return allowed.words
    return 'one of ' + ', '.join(allowed)


def _as_float32(value):
    """The nearest float32, as a float; those that TensorFlow takes for 0 are."""
    with np.errstate(over='ignore', under='ignore'):
        rounded = float(np.float32(value))
    return 0.0 if abs(rounded) < np.finfo(np.float32).tiny else rounded
