"""Where text comes from, and how it becomes numbers."""

import collections
import re
from typing import NamedTuple, Sequence

import numpy as np

from problems.image_files import DataError, DataSource

_HELD_OUT = 10  # one part in so many, the last, is held out
RARE = '\0'  # stands for all characters that have no id of their own


class Text(NamedTuple):
    """A text as ids of characters, or of words."""

    training: np.ndarray  # int32, the first nine tenths
    held_out: np.ndarray  # int32, the rest
    tokens: Sequence[str]  # characters, or words, by id; those of id 0 are rare
    source: str  # where it is from, in words


def load(source: DataSource, vocabulary_size: int, words: bool = False) -> Text:
    """Returns the `Text` of a `DataSource`.

    The most frequent characters of the training part get the ids 1 to vocabulary_size - 1, in the
    order of their frequency, all others id 0.

    Args:
      source: its `text_file`; where it names none, the topics of Python's `help()`.
      vocabulary_size: number of different ids.
      words: the text is a sequence of words, in small letters, and punctuation marks.

    Raises:
      DataError: the file cannot be read as UTF-8, or is empty; there is no embedded text.
      ValueError: vocabulary_size is less than 2.
    """
    if vocabulary_size < 2:
        raise ValueError('vocabulary_size must be at least 2, not %s' % vocabulary_size)
    characters, name = _read(source.text_file) if source.text_file else _python_reference()
    tokens = re.findall(r'\w+|[^\w\s]', characters.lower()) if words else characters
    split = len(tokens) - len(tokens) // _HELD_OUT
    counts = collections.Counter(tokens[:split])
    known = sorted(counts, key=lambda token: (-counts[token], token))[:vocabulary_size - 1]
    ids = {token: index + 1 for index, token in enumerate(known)}
    encoded = np.array([ids.get(token, 0) for token in tokens], 'int32')
    return Text(encoded[:split], encoded[split:], [RARE] + known, name)


def windows(ids: np.ndarray, length: int) -> np.ndarray:
    """Returns consecutive windows, [n, length + 1], each beginning with the last id of the former.

    So each id but the first is predicted once.

    Raises:
      DataError: there are not even length + 1 ids.
    """
    count = (len(ids) - 1) // length
    if count < 1:
        raise DataError('the text is too short: %s characters in a part of it, windows need %s'
                        % (len(ids), length + 1))
    starts = length * np.arange(count)[:, np.newaxis]
    return ids[starts + np.arange(length + 1)]


def _read(path):
    try:
        with open(path, encoding='utf-8') as file:
            characters = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError('text_file %s cannot be read as text: %s' % (path, error)) from None
    if not characters:
        raise DataError('text_file %s is empty' % path)
    return characters, path


def _python_reference():
    """The topics of Python's `help()`, in alphabetical order."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError('this Python comes without pydoc_data: name a text_file') from None
    return '\n'.join(topics[name] for name in sorted(topics)), 'the Python reference (pydoc_data)'
