"""Where real data come from: files, a download, the digits inside scikit-learn."""

import functools
import gzip
import http.client
import io
import os
import pickle
import struct
import threading
import urllib.request
import zipfile
import zlib
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np
from absl import logging

_TEST_DIGITS = 297
_PROBE_SECONDS = 3
_MNIST_URL = 'https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz'
_CIFAR_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz'
_CIFAR_FOLDER = 'cifar-10-batches-py'
_TRAIN_BATCHES = ('data_batch_1', 'data_batch_2', 'data_batch_3', 'data_batch_4', 'data_batch_5')
IMAGE_SOURCES = ('auto', 'mnist', 'digits', 'fashion')
_FASHION_URL = 'https://storage.googleapis.com/tensorflow/tf-keras-datasets/train-images-idx3-ubyte.gz'
_FASHION_FOLDER = 'fashion-mnist'
_FASHION_IMAGES = '%s-images-idx3-ubyte.gz'  # of a part, train or t10k
_DEBIAN_FOLDER = '/usr/share/datasets'  # of the package dataset-fashion-mnist
# What stands at the beginning of idx files, by the number of dimensions.
_IDX_MAGIC = {1: 2049, 3: 2051}
# What reading a damaged archive or pickle can raise.
_DAMAGE = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError,
           RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error,
           zipfile.BadZipFile, zlib.error)


class DataError(ValueError):
    """Data that are missing or damaged; the message is one line that says what to do."""


class _DataSource(NamedTuple):
    """The fields of a `DataSource`, not checked."""

    image_source: str
    data_dir: Optional[str]
    text_file: Optional[str]


class DataSource(_DataSource):
    """Where to look for real data.

    Files in `data_dir` come first (`mnist.npz`, `cifar-10-batches-py/`, the four idx files of
    Fashion-MNIST such as `train-images-idx3-ubyte.gz`), then those in the folder where Keras keeps
    its own, for Fashion-MNIST in that of Debian's package dataset-fashion-mnist, then a download
    through Keras where the network allows.

    Attributes:
      image_source: what images of 28 x 28 are: 'mnist', handwritten digits; 'digits', the 1797
        that come with scikit-learn, enlarged; 'fashion', clothes; 'auto', MNIST where it is to
        be had, else the digits.
      data_dir: folder with the files, or None.
      text_file: file whose text language models learn, or None: the reference of the Python
        language that comes with the interpreter.

    Raises:
      ValueError: unknown `image_source`.
    """

    __slots__ = ()

    def __new__(cls, image_source: str = 'auto', data_dir: Optional[str] = None,
                text_file: Optional[str] = None) -> 'DataSource':
        if image_source not in IMAGE_SOURCES:
            raise ValueError('image_source must be one of %s, not %r'
                             % (IMAGE_SOURCES, image_source))
        return super().__new__(cls, image_source, data_dir, text_file)


class _Images(NamedTuple):
    """A part of a data set."""

    data: np.ndarray  # images, float32 in [0, 1]
    labels: np.ndarray  # int32
    source: str  # in words


def load_mnist(train: bool, source: DataSource) -> _Images:
    """Returns (data [n, 28, 28, 1], labels [n], where they are from)."""
    if source.image_source == 'digits':
        return _digits(train)
    if source.image_source == 'fashion':
        return _fashion(train, source.data_dir)
    path = _find('mnist.npz', source.data_dir)
    if path is not None:
        return _images(*_read_npz(path, train), source=path)
    downloaded = _download('mnist', _MNIST_URL, train)
    if downloaded is not None:
        return downloaded
    if source.image_source == 'mnist':
        raise DataError('MNIST is not to be had: put mnist.npz into '
                        + _places(source.data_dir))
    return _digits(train)


def fashion_is_here(data_dir: Optional[str] = None) -> bool:
    """Whether Fashion-MNIST can be had without a download."""
    return _find_fashion('train', data_dir) is not None


def load_cifar10(train: bool, source: DataSource) -> _Images:
    """Returns (data [n, 32, 32, 3], labels [n], where they are from)."""
    folder = (_find(_CIFAR_FOLDER, source.data_dir)
              or _find(os.path.join(_CIFAR_FOLDER + '-target', _CIFAR_FOLDER), None))
    if folder is not None:
        names = _TRAIN_BATCHES if train else ('test_batch',)
        batches = [_read_cifar_batch(os.path.join(folder, name)) for name in names]
        pixels, labels = map(np.concatenate, zip(*batches))
        return _images(pixels, labels, source=folder)
    downloaded = _download('cifar10', _CIFAR_URL, train)
    if downloaded is not None:
        return downloaded
    raise DataError('CIFAR-10 is not to be had: put the unpacked folder %s (data_batch_1 ... '
                    'data_batch_5, test_batch) into %s'
                    % (_CIFAR_FOLDER, _places(source.data_dir)))


def _images(pixels, labels, source):
    """Scales bytes to [0, 1]; images without a channel dimension get one."""
    data = np.asarray(pixels, 'float32') / 255
    return _Images(data.reshape(data.shape[:3] + (-1,)),
                   np.asarray(labels, 'int32').reshape(-1), source)


def _digits(train):
    """The scikit-learn digits: 8 x 8 pixels 0-16, each repeated 3 x 3, padded to 28 x 28."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError('the embedded digits need scikit-learn: install it') from None
    digits = load_digits()
    chosen = slice(None, -_TEST_DIGITS) if train else slice(-_TEST_DIGITS, None)
    pixels = digits.images[chosen].astype('float32') / 16
    enlarged = pixels.repeat(3, axis=1).repeat(3, axis=2)
    data = np.pad(enlarged, [(0, 0), (2, 2), (2, 2)], 'constant')[..., np.newaxis]
    part = 'training' if train else 'test'
    return _Images(data, digits.target[chosen].astype('int32'),
                   'digits (scikit-learn, %s %s images)' % (len(data), part))


def _keras_folder():
    home = os.environ.get('KERAS_HOME', os.path.join(os.path.expanduser('~'), '.keras'))
    return os.path.join(home, 'datasets')


def _find(name, *folders):
    """The path of a file or folder in one of `folders` or where Keras keeps its files, or None."""
    for folder in folders + (_keras_folder(),):
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return None


def _places(data_dir, *folders):
    """Folders where files may be put, for messages."""
    places = [data_dir or 'a folder given as data_dir', *(folders or [_keras_folder()])]
    return ' or '.join(places)


def _fashion(train, data_dir):
    """Fashion-MNIST (arXiv 1708.07747): the idx files, or a download."""
    part = 'train' if train else 't10k'
    path = _find_fashion(part, data_dir)
    if path is not None:
        labels = os.path.join(os.path.dirname(path), '%s-labels-idx1-ubyte.gz' % part)
        return _images(*_read_idx_pair(path, labels), source=path)
    downloaded = _download('fashion_mnist', _FASHION_URL, train)
    if downloaded is not None:
        return downloaded
    raise DataError('Fashion-MNIST is not to be had: put %s and the like into %s, or install the '
                    'package dataset-fashion-mnist'
                    % (_FASHION_IMAGES % part, _places(data_dir, *_fashion_folders())))


def _find_fashion(part: str, data_dir: Optional[str]) -> Optional[str]:
    """The path of the images of a part, or None."""
    return _find(_FASHION_IMAGES % part, data_dir, *_fashion_folders())


def _fashion_folders() -> List[str]:
    return [os.path.join(folder, _FASHION_FOLDER) for folder in (_keras_folder(), _DEBIAN_FOLDER)]


def _read_idx_pair(images_path: str, labels_path: str) -> Tuple[np.ndarray, np.ndarray]:
    """The images [n, 28, 28] and labels [n] of two idx files."""
    pixels, labels = _read_idx(images_path, 3), _read_idx(labels_path, 1)
    try:
        _check(pixels, labels, (28, 28))
    except ValueError as error:
        raise _damaged(images_path, error) from None
    return pixels, labels


def _read_idx(path, ndim):
    """The array of bytes in a compressed idx file: magic number, dimensions, values."""
    try:
        with gzip.open(path) as file:
            magic, *shape = struct.unpack('>%di' % (ndim + 1), file.read(4 * ndim + 4))
            if magic != _IDX_MAGIC[ndim] or min(shape) < 1:
                raise ValueError('it begins with %s, %s' % (magic, shape))
            values = np.frombuffer(file.read(), 'uint8')
        return values.reshape(shape)
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def _read_npz(path: str, train: bool) -> Tuple[np.ndarray, np.ndarray]:
    """The images and labels of one part of mnist.npz."""
    keys = ('x_train', 'y_train') if train else ('x_test', 'y_test')
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pixels, labels = (arrays[key] for key in keys)
        _check(pixels, labels, (28, 28))
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    return pixels, labels


def _check(pixels, labels, shape):
    """ValueError unless these are images of bytes, one at least, and a class id for each."""
    if pixels.shape[1:] != shape or labels.shape != pixels.shape[:1] or not len(labels):
        raise ValueError('shapes %s and %s' % (pixels.shape, labels.shape))
    for name, array, largest in (('pixels', pixels, 255), ('labels', labels, 9)):
        if array.dtype.kind not in 'uif' or not (np.isfinite(array).all() and array.min() >= 0
                                                 and array.max() <= largest):
            raise ValueError('%s must be numbers from 0 to %s' % (name, largest))
    if (labels != labels.astype('int32')).any():
        raise ValueError('labels must be whole numbers')


def _numbers(values):
    """A list of whole numbers as array."""
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise ValueError('labels must be a list of whole numbers')
    return np.array(values, 'int64')


def _read_cifar_batch(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """The images [n, 32, 32, 3] and labels of one pickled batch."""
    try:
        with open(path, 'rb') as file:
            batch = _BatchUnpickler(io.BytesIO(file.read()), encoding='bytes').load()
        pixels, labels = batch[b'data'].array.reshape(-1, 3, 32, 32), _numbers(batch[b'labels'])
        _check(pixels, labels, (3, 32, 32))
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    return pixels.transpose(0, 2, 3, 1), labels


def _damaged(path, error):
    if isinstance(error, FileNotFoundError):
        return DataError('%s is missing' % path)
    reason = ' '.join(str(error).split()) or type(error).__name__
    return DataError('%s is damaged: %s' % (path, reason[:200]))


class _PickledArray:
    """Takes the place of a numpy array of bytes while a pickle is read."""

    def __init__(self, *unused_type_shape_and_dtype: Any) -> None:
        self.array: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, values = state
        if dtype.name not in (b'u1', 'u1'):
            raise pickle.UnpicklingError('an array that is not of bytes')
        flat = np.frombuffer(values, 'uint8')
        self.array = flat.reshape(shape, order='F' if fortran_order else 'C')


class _PickledDtype:
    """Takes the place of a numpy dtype while a pickle is read."""

    def __init__(self, name: Any, *unused_flags: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """The rest of a dtype is of no importance for bytes."""


def _latin1_bytes(text, unused_encoding):
    """How Python 3 writes bytes into pickles that Python 2 can read."""
    return text.encode('latin1')


# The functions that CIFAR batches name, and what is called in place of each.
_STAND_INS = {
    ('numpy.core.multiarray', '_reconstruct'): _PickledArray,
    ('numpy._core.multiarray', '_reconstruct'): _PickledArray,
    ('numpy', 'ndarray'): _PickledArray,
    ('numpy', 'dtype'): _PickledDtype,
    ('_codecs', 'encode'): _latin1_bytes,
}


class _BatchUnpickler(pickle._Unpickler):
    """Reads numbers, strings, lists, dicts and arrays of bytes, and calls nothing else.

    A pickle may name any function to be called; all but those with a stand-in are refused. The
    base is the one written in Python: a damaged number makes that in C ask for gigabytes.
    """

    def find_class(self, module, name):
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError('it names %s.%s, which is not allowed' % (module, name))
        return _STAND_INS[module, name]


def _download(name, url, train):
    """The images and labels that Keras downloads, or None where its server is out of reach."""
    if not _reachable(url):
        return None
    import tensorflow.compat.v1 as tf

    try:
        parts = getattr(tf.keras.datasets, name).load_data()
    except Exception as error:  # noqa: BLE001 - Keras raises bare exceptions
        logging.warning('the download of %s failed: %s', name, error)
        return None
    pixels, labels = parts[0 if train else 1]
    return _images(pixels, labels, source='%s (%s)' % (name, url))


@functools.lru_cache(maxsize=None)
def _reachable(url):
    """Whether `url` answers in time; a thread, as looking up a name can take any time."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(_answers(url)), daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answers == [True]


def _answers(url):
    try:
        request = urllib.request.Request(url, method='HEAD')
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
            return True
    except (OSError, ValueError, http.client.HTTPException):
        return False
