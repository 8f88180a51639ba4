"""The data that classification problems, and a few others, are optimized on.

Synthetic sets are drawn from the generator of their `random_seed`; without a seed each call draws
other data. Real ones come from files, from a download, or (digits) from inside
scikit-learn, see `DataSource`.
"""


from typing import Any, NamedTuple, Optional, Sequence, Union

import numpy as np

from problems import image_files, text_files
from problems.image_files import DataSource
from problems.random_numbers import generator

Numbers = Union[np.ndarray, Sequence[Any]]


class _Dataset(NamedTuple):
    """The fields of a `Dataset`, not checked."""

    data: np.ndarray
    labels: np.ndarray
    source: str


class Dataset(_Dataset):
    """Examples and their class ids.

    Args and attributes:
      data: numbers [size, ...]: an array of any type, or lists; kept as float32.
      labels: numbers [size] or [size, 1], kept as int32 [size] where all are whole numbers, else
        as float32; None: the data have none, kept as int32 [size, 0].
      source: where the data come from, in words.

    Raises:
      ValueError: data or labels that cannot be kept so.
    """

    __slots__ = ()

    def __new__(cls, data: Numbers, labels: Optional[Numbers], source: str = '') -> 'Dataset':
        examples = _numbers(data, 'data', source)
        ids = _numbers(np.zeros([len(examples), 0]) if labels is None else labels, 'labels', source)
        if len(ids) != len(examples):
            raise _unusable(source, 'labels', 'there are %s for %s examples'
                            % (len(ids), len(examples)))
        if ids.shape[1:] == (1,):
            ids = ids.reshape(-1)
        ids_dtype = 'int32' if np.array_equal(ids, np.floor(ids)) else 'float32'
        return super().__new__(cls, _exactly(examples, 'float32', 'data', source),
                               _exactly(ids, ids_dtype, 'labels', source), source)

    @property
    def size(self) -> int:
        """The number of examples."""
        return len(self.data)

    def batch_indices(self, num_batches: int, batch_size: int,
                      rng: Optional[np.random.RandomState] = None) -> np.ndarray:
        """Returns the examples of each batch: int32 [num_batches, min(batch_size, size)].

        Goes through the data in shuffled passes. Every pass is cut into whole batches; what is
        left over, less than a batch, is left out of that pass, so no batch holds an example
        twice.

        Args:
          rng: a `RandomState`; None: one that begins anywhere.
        """
        batch_size = min(batch_size, self.size)
        if not batch_size or not num_batches:
            return np.zeros([num_batches, batch_size], 'int32')
        rng = generator(None) if rng is None else rng
        batches_per_pass = self.size // batch_size
        passes = -(-num_batches // batches_per_pass)
        orders = [rng.permutation(self.size)[:batches_per_pass * batch_size]
                  for _ in range(passes)]
        return np.concatenate(orders).reshape(-1, batch_size)[:num_batches].astype('int32')


def _numbers(values: Numbers, field: str, source: str) -> np.ndarray:
    """One field of a data set as an array of numbers [size, ...]."""
    try:
        array = np.asarray(values)
    except ValueError:  # what newer numpy says of lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in 'biuf' or not array.ndim:
        raise _unusable(source, field, 'it must be an array of numbers [size, ...], not '
                        + ('%s %s' % (array.dtype, list(array.shape)) if array.ndim else
                           type(values).__name__))
    return array


def _exactly(array, dtype, field, source):
    """An array in another type, as long as no whole number becomes another one."""
    with np.errstate(all='ignore'):
        converted = array.astype(dtype, copy=False)
    if not (array.dtype.kind == 'f' and dtype == 'float32' or np.array_equal(converted, array)):
        raise _unusable(source, field, 'numbers up to %s do not fit %s'
                        % (np.abs(array).max(), dtype))
    return converted


def _unusable(source, field, reason):
    return ValueError('%s of the data set from %s cannot be used: %s'
                      % (field, source or 'an unnamed source', reason))


EMPTY_DATASET = Dataset(np.zeros([0], 'float32'), np.zeros([0], 'int32'))


def describe(dataset: Dataset) -> str:
    """Returns a line about a `Dataset`: how many examples, their shape, where they are from."""
    shape = ' x '.join(str(length) for length in dataset.data.shape[1:]) or 'scalars'
    return '%s examples of %s from %s' % (
        dataset.size, shape, dataset.source or 'an unnamed source')


def _synthetic(data, labels=None):
    """A `Dataset` of generated values, with labels 0 where there are none."""
    labels = np.zeros(len(data)) if labels is None else labels
    return Dataset(data.astype('float32'), labels.astype('int32'), 'synthetic')


def random(n_features: int, n_samples: int, n_classes: int = 2, sep: float = 1.0,
           random_seed: Optional[int] = None) -> Dataset:
    """Returns normal clusters around the corners of a hypercube with sides of length 2 `sep`.

    Made by scikit-learn's `make_classification`, all features informative.
    """
    from sklearn.datasets import make_classification

    return _synthetic(*make_classification(
        n_samples=n_samples, n_features=n_features, n_informative=n_features, n_redundant=0,
        n_classes=n_classes, class_sep=sep, random_state=generator(random_seed)))


def random_binary(n_features: int, n_samples: int, random_seed: Optional[int] = None) -> Dataset:
    """Returns vectors of independent fair bits, [n_samples, n_features]."""
    rng = generator(random_seed)
    return _synthetic(rng.randint(2, size=(n_samples, n_features)))


def random_symmetric(n_features: int, n_samples: int, random_seed: Optional[int] = None) -> Dataset:
    """Returns N(0, 1) vectors and their negatives: n_samples (rounded down to even) in all."""
    half = generator(random_seed).randn(n_samples // 2, n_features)
    return _synthetic(np.concatenate([half, -half]))


def random_mlp(n_features: int, n_samples: int, random_seed: Optional[int] = None,
               n_layers: int = 6, width: int = 20) -> Dataset:
    """Returns N(0, 1) vectors, labelled by whether a random relu network answers above 0."""
    rng = generator(random_seed)
    data = rng.randn(n_samples, n_features)
    scale = np.sqrt(2.0 / n_features)
    activations = data
    for _ in range(n_layers):
        weights = rng.randn(activations.shape[1], width) * scale
        activations = np.maximum(activations.dot(weights), 0)
    return _synthetic(data, activations[:, 0] > 0)


def noisy_parity_class(n_samples: int, n_classes: int = 2, n_context_ids: int = 5,
                       noise_prob: float = 0.25, random_seed: Optional[int] = None) -> Dataset:
    """Returns ids in 0 .. n_classes - 1, [n_samples, n_context_ids], labelled by their sum.

    The label is the sum modulo n_classes, raised by one with probability `noise_prob`.
    """
    rng = generator(random_seed)
    ids = rng.randint(0, n_classes, [n_samples, n_context_ids])
    noise = rng.binomial(1, noise_prob, [n_samples])
    return _synthetic(ids, (ids.sum(1) + noise) % n_classes)


def mnist(train: bool = True, source: Optional[DataSource] = None) -> Dataset:
    """Returns handwritten digits, or clothes where the source says so, of ten classes.

    Float32 [n, 28, 28, 1] in [0, 1], classes 0-9.

    Args:
      train: the training part, or else the test part.
      source: where to look, a `DataSource`.

    Raises:
      DataError: the source asked for is not to be had, or a file is damaged.
    """
    return Dataset(*image_files.load_mnist(train, source or DataSource()))


def images(train: bool = True, source: Optional[DataSource] = None, side: int = 28) -> Dataset:
    """Returns the images of `mnist`, float32 [n, side, side, 1], averaged over squares of pixels.

    Args:
      train: as for `mnist`.
      source: as for `mnist`.
      side: 28; 14: the means of 2 x 2 pixels; 8: of 3 x 3, without a border of two pixels. The
        embedded digits, which were enlarged, are as they were made at 8.

    Raises:
      DataError: as for `mnist`.
      ValueError: another `side`.
    """
    if side not in _POOLING:
        raise ValueError('side must be one of %s, not %s' % (sorted(_POOLING), side))
    whole, (border, step) = mnist(train, source), _POOLING[side]
    inner = whole.data[:, border:28 - border, border:28 - border]
    squares = inner.reshape(whole.size, side, step, side, step, 1)
    return whole._replace(data=squares.mean((2, 4)))


# Length of a side in pixels -> the border that is cut off, and the side of the averaged squares.
_POOLING = {28: (0, 1), 14: (0, 2), 8: (2, 3)}


def text(train: bool = True, source: Optional[DataSource] = None, length: int = 32,
         vocabulary_size: int = 64) -> Dataset:
    """Returns windows of text as ids of characters, float32 [n, length + 1]; see `text_files`.

    Args:
      train: the training part, or else what is held out.
      source: a `DataSource`, its `text_file`.
      length: characters of a window besides the last.
      vocabulary_size: number of different ids; rare characters share id 0.

    Raises:
      DataError: the text cannot be read, or is too short.
    """
    loaded = text_files.load(source or DataSource(), vocabulary_size)
    return _unlabelled(text_files.windows(loaded.training if train else loaded.held_out, length),
                       loaded.source)


def neighbouring_words(train: bool = True, source: Optional[DataSource] = None,
                       vocabulary_size: int = 1000, reach: int = 2) -> Dataset:
    """Returns pairs of a word and one near it, float32 [n, 2], as skip-gram models are trained on.

    Mikolov et al., "Efficient Estimation of Word Representations in Vector Space" (arXiv
    1301.3781), section 3.2.

    Args:
      train: the training part, or else what is held out.
      source: a `DataSource`, its `text_file`.
      vocabulary_size: number of different ids; rare words share id 0.
      reach: how many words the two are apart at most, to either side.

    Raises:
      DataError: the text cannot be read, or is too short.
    """
    loaded = text_files.load(source or DataSource(), vocabulary_size, words=True)
    ids = loaded.training if train else loaded.held_out
    if len(ids) <= reach:
        raise image_files.DataError('the text is too short: %s words in a part of it' % len(ids))
    after = [np.stack([ids[:-apart], ids[apart:]], 1) for apart in range(1, reach + 1)]
    return _unlabelled(np.concatenate(after + [pairs[:, ::-1] for pairs in after]), loaded.source)


def ratings(n_users: int, n_items: int, n_ratings: int, train: bool = True,
            random_seed: Optional[int] = None) -> Dataset:
    """Returns a synthetic recommendation task: user, item and rating, float32 [n, 3].

    A rating is a sum: a number of the user and one of the item, each of variance 1 / 4; the product
    of four tastes and four traits, of variance 1; noise of variance 0.09. One rating of ten is held
    out.

    Args:
      n_ratings: of both parts together.
      train: the training part, or else what is held out.
      random_seed: draws users, items and ratings.
    """
    rng = generator(random_seed)
    users, items = rng.randint(n_users, size=n_ratings), rng.randint(n_items, size=n_ratings)
    tastes, traits = rng.randn(n_users, 4), rng.randn(n_items, 4)
    values = (0.5 * rng.randn(n_users)[users] + 0.5 * rng.randn(n_items)[items]
              + 0.5 * (tastes[users] * traits[items]).sum(1) + 0.3 * rng.randn(n_ratings))
    whole = np.stack([users, items, values], 1)
    held_out = np.arange(n_ratings) % 10 == 9
    return _unlabelled(whole[~held_out if train else held_out], 'synthetic')


def _unlabelled(data, source):
    return Dataset(data.astype('float32'), np.zeros(len(data), 'int32'), source)


def friedman(n_samples: int, random_seed: Optional[int], n_features: int = 10,
             standardized: bool = True) -> Dataset:
    """Returns a synthetic regression: features and, in the last column, targets.

    Made by scikit-learn's `make_friedman1` with noise of standard deviation 1 (Friedman, 1991).

    Args:
      standardized: targets have mean 0 and variance 1, else about 14 and 25.
    """
    from sklearn.datasets import make_friedman1

    features, targets = make_friedman1(n_samples, n_features, noise=1.0, random_state=random_seed)
    return _regression(2 * features - 1, targets, 'synthetic', standardized)


def diabetes(train: bool = True, standardized: bool = True) -> Dataset:
    """Returns scikit-learn's diabetes study: ten standardized features, and the target.

    Of 442 patients every fourth is held out.

    Args:
      train: the training part, or else what is held out.
      standardized: the target has mean 0 and variance 1, else 152 and 5,900.
    """
    from sklearn.datasets import load_diabetes

    features, targets = load_diabetes(return_X_y=True)
    whole = _regression(features, targets, 'diabetes (scikit-learn)', standardized)
    held_out = np.arange(whole.size) % 4 == 3
    return _unlabelled(whole.data[~held_out if train else held_out], whole.source)


def _regression(features, targets, source, standardized):
    """A data set of columns with mean 0 and variance 1; the last one has the targets, which are
    left as they are where they are not to be standardized."""
    columns = np.concatenate([features, targets[:, np.newaxis]], 1)
    columns = (columns - columns.mean(0)) / columns.std(0)
    if not standardized:
        columns[:, -1] = targets
    return _unlabelled(columns, source)


def cifar10(train: bool = True, source: Optional[DataSource] = None) -> Dataset:
    """Returns the CIFAR-10 images, float32 [n, 32, 32, 3] in [0, 1], classes 0-9.

    Args:
      train: the training part, or else the test part.
      source: where to look, a `DataSource`.

    Raises:
      DataError: the data are not to be had, or a file is damaged.
    """
    return Dataset(*image_files.load_cifar10(train, source or DataSource()))
