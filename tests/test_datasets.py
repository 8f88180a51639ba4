"""Data sets: shapes, batches, sources, damaged and malicious files."""

import collections
import gzip
import os
import pickle
import struct
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from problems import datasets, image_files, text_files
from problems.datasets import Dataset
from problems.image_files import DataError, DataSource


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty Keras folder, which is returned."""
    monkeypatch.setattr(image_files, '_reachable', lambda url: False)
    monkeypatch.setenv('KERAS_HOME', str(tmp_path / 'keras'))
    folder = tmp_path / 'keras' / 'datasets'
    folder.mkdir(parents=True)
    return folder


def numbered(size):
    return Dataset(np.arange(size), np.arange(size))


@given(size=st.integers(0, 40), num_batches=st.integers(0, 20), batch_size=st.integers(1, 50),
       seed=st.integers(0, 99))
def test_batches_are_shuffled_passes(size, num_batches, batch_size, seed):
    batches = numbered(size).batch_indices(num_batches, batch_size, np.random.RandomState(seed))
    assert batches.shape == (num_batches, min(batch_size, size))
    assert batches.dtype == np.int32
    per_pass = size // batches.shape[1] if batches.shape[1] else 1
    for start in range(0, num_batches, per_pass):
        one_pass = batches[start:start + per_pass].ravel()
        assert len(set(one_pass)) == len(one_pass)
        assert not one_pass.size or 0 <= one_pass.min() <= one_pass.max() < size


def test_batches_repeat_with_the_same_generator():
    first, second = (numbered(100).batch_indices(9, 30, np.random.RandomState(1))
                     for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[3])


def test_empty_dataset():
    assert datasets.EMPTY_DATASET.size == 0
    assert datasets.EMPTY_DATASET.batch_indices(5, 10).shape == (5, 0)


@pytest.mark.parametrize('make, shape, classes', [
    (lambda seed: datasets.random(10, 50, random_seed=seed), (50, 10), {0, 1}),
    (lambda seed: datasets.random(6, 50, n_classes=3, random_seed=seed), (50, 6), {0, 1, 2}),
    (lambda seed: datasets.random_binary(7, 30, random_seed=seed), (30, 7), {0}),
    (lambda seed: datasets.random_symmetric(7, 30, random_seed=seed), (30, 7), {0}),
    (lambda seed: datasets.random_mlp(8, 99, random_seed=seed), (99, 8), {0, 1}),
    (lambda seed: datasets.noisy_parity_class(60, 3, 4, random_seed=seed), (60, 4), {0, 1, 2}),
])
def test_synthetic_data(make, shape, classes):
    state = np.random.get_state()[1].copy()
    first, again, other = make(1), make(1), make(2)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.testing.assert_array_equal(first.data, again.data)
    assert not np.array_equal(first.data, other.data)
    assert (first.data.shape, first.data.dtype) == (shape, np.float32)
    assert (first.labels.shape, first.labels.dtype) == (shape[:1], np.int32)
    assert set(first.labels) == classes
    assert first.source == 'synthetic'


def test_properties_of_synthetic_data():
    assert set(datasets.random_binary(5, 50).data.ravel()) == {0.0, 1.0}
    np.testing.assert_allclose(datasets.random_symmetric(5, 50).data.sum(0), 0, atol=1e-5)
    parity = datasets.noisy_parity_class(5000, noise_prob=0.25, random_seed=3)
    noise = np.mean(parity.data.sum(1) % 2 != parity.labels)
    assert 0.22 < noise < 0.28


def test_digits_take_the_place_of_mnist(offline):
    train, test = datasets.mnist(), datasets.mnist(train=False)
    assert (train.data.shape, test.data.shape) == ((1500, 28, 28, 1), (297, 28, 28, 1))
    assert train.data.dtype == np.float32 and train.labels.dtype == np.int32
    assert (train.data.min(), train.data.max()) == (0.0, 1.0)
    assert not train.data[:, :2].any() and not train.data[:, :, -2:].any()
    np.testing.assert_array_equal(train.data[:, 2::3][:, :8], train.data[:, 4::3][:, :8])
    assert train.source == 'digits (scikit-learn, 1500 training images)'
    assert datasets.describe(test) == (
        '297 examples of 28 x 28 x 1 from digits (scikit-learn, 297 test images)')


def save_mnist(path):
    pixels = np.arange(3 * 28 * 28).reshape(3, 28, 28).astype('uint8')
    labels = np.array([7, 8, 9], 'uint8')
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels[:2], y_test=labels[:2])


def test_mnist_file(offline, tmp_path):
    save_mnist(tmp_path / 'mnist.npz')
    source = DataSource('auto', str(tmp_path))
    train, test = (datasets.mnist(part, source) for part in (True, False))
    assert train.source == str(tmp_path / 'mnist.npz')
    assert (train.data.shape, test.data.shape) == ((3, 28, 28, 1), (2, 28, 28, 1))
    assert train.data.max() == 1.0 and train.data.dtype == np.float32
    np.testing.assert_array_equal(train.labels, [7, 8, 9])
    digits = datasets.mnist(source=DataSource('digits', str(tmp_path)))
    assert digits.size == 1500


def test_mnist_in_the_keras_folder(offline):
    save_mnist(offline / 'mnist.npz')
    assert datasets.mnist(source=DataSource('mnist')).size == 3


def idx(array):
    """A compressed idx file of bytes: magic number, dimensions, values."""
    header = [2048 + array.ndim] + list(array.shape)
    return gzip.compress(struct.pack('>%di' % len(header), *header) + array.astype('u1').tobytes())


def save_fashion(folder, part, size):
    folder.mkdir(exist_ok=True, parents=True)
    pixels = np.random.RandomState(size).randint(0, 256, [size, 28, 28])
    (folder / ('%s-images-idx3-ubyte.gz' % part)).write_bytes(idx(pixels))
    (folder / ('%s-labels-idx1-ubyte.gz' % part)).write_bytes(idx(np.arange(size) % 10))
    return pixels


def test_fashion_files(offline, monkeypatch, tmp_path):
    """In the folder given, in Keras's, in that of Debian's package: in this order."""
    debian = tmp_path / 'debian'
    monkeypatch.setattr(image_files, '_DEBIAN_FOLDER', str(debian))
    source = DataSource('fashion', str(tmp_path / 'own'))
    save_fashion(debian / 'fashion-mnist', 't10k', 12)
    assert datasets.mnist(False, source).size == 12
    save_fashion(offline / 'fashion-mnist', 't10k', 5)
    assert datasets.mnist(False, source).size == 5
    pixels = save_fashion(tmp_path / 'own', 't10k', 3)
    clothes = datasets.mnist(False, source)
    np.testing.assert_allclose(clothes.data[..., 0], pixels / 255, rtol=1e-6)
    assert clothes.data.dtype == np.float32 and clothes.labels.tolist() == [0, 1, 2]
    line = error_line(datasets.mnist, True, source)
    assert 'train-images-idx3-ubyte.gz' in line and 'dataset-fashion-mnist' in line


@pytest.mark.parametrize('part', ['images', 'labels'])
@pytest.mark.parametrize('damage', [
    lambda content: b'', lambda content: b'no archive', lambda content: content[:-9],
    lambda content: gzip.compress(gzip.decompress(content)[:-1]),
    lambda content: gzip.compress(gzip.decompress(content) + b'1'),
    lambda content: gzip.compress(b'\0\0\7\0' + gzip.decompress(content)[4:]),
    lambda content: idx(np.full([2], 3)), lambda content: idx(np.zeros([3, 9, 28]))])
def test_damaged_fashion_files(damage, part, tmp_path):
    save_fashion(tmp_path, 'train', 3)
    path, = tmp_path.glob('train-%s-*' % part)
    path.write_bytes(damage(path.read_bytes()))
    line = error_line(datasets.mnist, True, DataSource('fashion', str(tmp_path)))
    assert str(tmp_path) in line and 'is damaged' in line


def test_labels_of_clothes_are_not_missed_unseen(tmp_path):
    save_fashion(tmp_path, 'train', 3)
    path, = tmp_path.glob('train-labels-*')
    path.unlink()
    assert error_line(datasets.mnist, True, DataSource('fashion', str(tmp_path))) == (
        '%s is missing' % path)


@pytest.mark.skipif(
    not os.path.isdir(os.path.join(image_files._DEBIAN_FOLDER, 'fashion-mnist')),
    reason='Fashion-MNIST itself is not tested: install dataset-fashion-mnist')
def test_fashion_mnist_itself(offline):
    """Its first picture is an ankle boot; all classes are equally frequent."""
    clothes, held_out = (datasets.mnist(train, DataSource('fashion')) for train in (True, False))
    assert clothes.data.shape == (60000, 28, 28, 1) and held_out.size == 10000
    assert clothes.labels[0] == 9 and set(np.bincount(clothes.labels)) == {6000}
    np.testing.assert_allclose(clothes.data.mean(), 0.2860, atol=1e-4)


# Averaged images, text, tables.


def test_images_of_8_pixels_are_the_digits_as_they_were_made():
    from sklearn.datasets import load_digits

    images = datasets.images(True, DataSource('digits'), 8)
    np.testing.assert_allclose(images.data[..., 0], load_digits().images[:1500] / 16, rtol=1e-6)
    assert images.labels.tolist() == load_digits().target[:1500].tolist()


def test_images_are_averaged_over_squares(offline, tmp_path):
    pixels = save_fashion(tmp_path, 'train', 2) / 255
    source = DataSource('fashion', str(tmp_path))
    half, eighth, whole = (datasets.images(True, source, side).data for side in (14, 8, 28))
    np.testing.assert_allclose(half[1, 3, 5, 0], pixels[1, 6:8, 10:12].mean(), rtol=1e-5)
    np.testing.assert_allclose(eighth[1, 3, 5, 0], pixels[1, 11:14, 17:20].mean(), rtol=1e-5)
    assert (half.shape, eighth.shape, whole.shape) == (
        (2, 14, 14, 1), (2, 8, 8, 1), (2, 28, 28, 1))
    with pytest.raises(ValueError, match=r'side must be one of \[8, 14, 28\], not 9'):
        datasets.images(True, source, 9)


def test_text_becomes_ids_by_frequency_and_windows(tmp_path):
    path = tmp_path / 'text'
    path.write_text('aaab' * 9 + 'cccc', encoding='utf-8')
    source = DataSource(text_file=str(path))
    learned = datasets.text(True, source, length=4, vocabulary_size=2)
    assert learned.data.dtype == np.float32 and learned.source == str(path)
    np.testing.assert_array_equal(learned.data, [[1, 1, 1, 0, 1]] * 8)
    # Each character but the first is predicted once: windows overlap by one.
    whole = text_files.load(source, 3)
    assert whole.tokens == [text_files.RARE, 'a', 'b']
    np.testing.assert_array_equal(whole.training, [1, 1, 1, 2] * 9)
    np.testing.assert_array_equal(whole.held_out, [0] * 4)
    np.testing.assert_array_equal(text_files.windows(np.arange(8), 3), [[0, 1, 2, 3], [3, 4, 5, 6]])


def test_the_embedded_text_is_python_s_reference():
    whole = text_files.load(DataSource(), 64)
    characters = ''.join(whole.tokens[index] for index in whole.training[:2000])
    assert ' the ' in characters and 'statement' in characters
    assert len(whole.training) + len(whole.held_out) > 300000
    assert np.mean(whole.training == 0) < 0.01 and whole.training.max() == 63
    held_out = datasets.text(False, DataSource(), 16, 64)
    np.testing.assert_array_equal(held_out.data[0], whole.held_out[:17])


def test_a_word_is_paired_with_those_near_it(tmp_path):
    path = tmp_path / 'text'
    path.write_text('The cat, the ' * 9 + 'mat sat the cat', encoding='utf-8')
    source = DataSource(text_file=str(path))
    whole = text_files.load(source, 4, words=True)
    assert whole.tokens == [text_files.RARE, 'the', ',', 'cat']
    np.testing.assert_array_equal(whole.held_out, [0, 0, 1, 3])
    pairs = datasets.neighbouring_words(False, source, 4).data
    assert sorted(map(tuple, pairs)) == [(0, 0), (0, 0), (0, 1), (0, 1), (0, 3), (1, 0), (1, 0),
                                         (1, 3), (3, 0), (3, 1)]


def test_ratings_are_explained_by_users_items_and_their_product():
    whole = datasets.ratings(50, 30, 4000, True, 1)
    held_out = datasets.ratings(50, 30, 4000, False, 1)
    assert (whole.size, held_out.size) == (3600, 400)
    users, items, values = whole.data.T
    assert set(users) == set(range(50)) and set(items) == set(range(30))
    assert 1.1 < values.var() < 2.1
    cells = collections.defaultdict(list)
    for user, item, value in whole.data:
        cells[user, item].append(value)
    assert 0.07 < np.mean([np.var(cell, ddof=1) for cell in cells.values() if len(cell) > 2]) < 0.11


def test_text_that_cannot_be_used(tmp_path):
    path = tmp_path / 'text'
    source = DataSource(text_file=str(path))
    assert 'text_file %s cannot be read' % path in error_line(datasets.text, True, source)
    path.write_bytes(b'\xff\xfe\0')
    assert 'text_file %s cannot be read' % path in error_line(datasets.text, True, source)
    path.write_bytes(b'')
    assert 'text_file %s is empty' % path == error_line(datasets.text, True, source)
    path.write_text('short')
    assert 'the text is too short' in error_line(datasets.text, True, source)
    with pytest.raises(ValueError, match='vocabulary_size must be at least 2'):
        datasets.text(True, DataSource(), 4, 1)


@pytest.mark.parametrize('table, size', [
    (lambda: datasets.friedman(200, 1), 200), (lambda: datasets.diabetes(True), 332)])
def test_columns_of_regressions_are_standard(table, size):
    data = table().data
    assert data.shape == (size, 11)
    np.testing.assert_allclose(data.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(data.std(0), 1, atol=0.1)
    np.testing.assert_array_equal(data, table().data)


def test_targets_that_are_not_standardized_are_as_they_were():
    friedman, diabetes = datasets.friedman(500, 1, 10, False), datasets.diabetes(True, False)
    assert 13 < friedman.data[:, -1].mean() < 16 and 4 < friedman.data[:, -1].std() < 6
    assert 145 < diabetes.data[:, -1].mean() < 160 and 70 < diabetes.data[:, -1].std() < 85
    np.testing.assert_array_equal(friedman.data[:, :-1], datasets.friedman(500, 1).data[:, :-1])


def test_targets_of_regressions_can_be_learned():
    """The best linear function explains part of their variance."""
    for data in (datasets.friedman(500, 1).data, datasets.diabetes().data):
        weights = np.linalg.lstsq(data[:, :-1], data[:, -1], rcond=None)[0]
        assert np.var(data[:, -1] - data[:, :-1].dot(weights)) < 0.6


def cifar_batch(size, seed):
    pixels = np.random.RandomState(seed).randint(0, 256, [size, 3072]).astype('uint8')
    return {b'data': pixels, b'labels': list(range(size)), b'batch_label': b'training batch'}


def save_cifar(folder):
    folder.mkdir()
    for seed, name in enumerate(image_files._TRAIN_BATCHES + ('test_batch',)):
        (folder / name).write_bytes(pickle.dumps(cifar_batch(4, seed), protocol=2))


def test_cifar10_files(offline, tmp_path):
    save_cifar(tmp_path / 'cifar-10-batches-py')
    source = DataSource(data_dir=str(tmp_path))
    train, test = datasets.cifar10(True, source), datasets.cifar10(False, source)
    assert (train.data.shape, test.data.shape) == ((20, 32, 32, 3), (4, 32, 32, 3))
    assert train.data.dtype == np.float32 and train.labels.dtype == np.int32
    blue = cifar_batch(4, 1)[b'data'][2, 2048:].reshape(32, 32)
    np.testing.assert_allclose(train.data[6, :, :, 2], blue / 255, rtol=1e-6)
    np.testing.assert_array_equal(test.labels, [0, 1, 2, 3])


def python_2_batch():
    """A batch of one image as Python 2 writes it, with strings that are bytes."""
    pixels = b'\xff' + bytes(3071)
    return (b'\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n'
            b'K\x00\x85U\x01b\x87R(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R'
            b'(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00'
            + pixels + b'tbU\x06labels](K\x06eu.')


def test_cifar10_as_python_2_wrote_it(offline, tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    (folder / 'test_batch').write_bytes(python_2_batch())
    assert b'data' in pickle.loads(python_2_batch(), encoding='bytes')
    images = datasets.cifar10(False, DataSource(data_dir=str(tmp_path)))
    assert images.data[0, 0, 0, 0] == images.data.sum() == 1.0
    assert images.labels.tolist() == [6]


def error_line(load, *args):
    with pytest.raises(DataError) as caught:
        load(*args)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_missing_data(offline, tmp_path):
    line = error_line(datasets.mnist, True, DataSource('mnist', str(tmp_path)))
    assert 'mnist.npz' in line and str(tmp_path) in line
    line = error_line(datasets.cifar10)
    assert 'cifar-10-batches-py' in line and str(offline) in line
    (tmp_path / 'cifar-10-batches-py').mkdir()
    line = error_line(datasets.cifar10, False, DataSource(data_dir=str(tmp_path)))
    assert line.endswith('test_batch is missing')
    with pytest.raises(ValueError, match='image_source must be one of'):
        DataSource('clothes')


@pytest.mark.parametrize('content', [b'', b'not an archive', b'PK\x03\x04 cut short'])
def test_damaged_mnist(offline, tmp_path, content):
    (tmp_path / 'mnist.npz').write_bytes(content)
    line = error_line(datasets.mnist, True, DataSource(data_dir=str(tmp_path)))
    assert '%s/mnist.npz is damaged' % tmp_path in line


def test_mnist_with_missing_or_wrong_arrays(offline, tmp_path):
    np.savez(tmp_path / 'mnist.npz', x_train=np.zeros([2, 28, 28]))
    assert 'is damaged' in error_line(datasets.mnist, True, DataSource(data_dir=str(tmp_path)))
    np.savez(tmp_path / 'mnist.npz', x_train=np.zeros([2, 9]), y_train=np.zeros([2]))
    assert 'is damaged' in error_line(datasets.mnist, True, DataSource(data_dir=str(tmp_path)))


class Malicious:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def damaged_batches(tmp_path):
    whole = pickle.dumps(cifar_batch(4, 0), protocol=2)
    yield from (b'', b'nonsense', whole[:-3000], whole[:20], whole[:200] + whole[300:])
    yield pickle.dumps({b'data': cifar_batch(4, 0)[b'data']}, protocol=2)
    yield pickle.dumps([1, 2, 3], protocol=2)
    yield pickle.dumps(dict(cifar_batch(4, 0), labels=3), protocol=2)[:-1]
    yield pickle.dumps({b'data': np.zeros([4, 3072]), b'labels': [0] * 4}, protocol=2)
    yield pickle.dumps({b'data': np.zeros([3, 3072], 'uint8'), b'labels': [0] * 4}, protocol=2)
    yield pickle.dumps(Malicious(str(tmp_path / 'made')), protocol=2)
    yield pickle.dumps({b'data': Malicious(str(tmp_path / 'made'))}, protocol=4)


def test_damaged_and_malicious_cifar10(offline, tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    for content in damaged_batches(tmp_path):
        (folder / 'test_batch').write_bytes(content)
        line = error_line(datasets.cifar10, False, DataSource(data_dir=str(tmp_path)))
        assert '%s/test_batch is damaged' % folder in line
    assert not (tmp_path / 'made').exists()


def test_downloads(monkeypatch, offline):
    """A reachable server is asked through Keras; one that fails is as good as none."""
    import tensorflow.compat.v1 as tf

    part = (np.full([2, 28, 28], 255, 'uint8'), np.array([1, 2], 'uint8'))
    monkeypatch.setattr(image_files, '_reachable', lambda url: True)
    monkeypatch.setattr(tf.keras.datasets.mnist, 'load_data', lambda: (part, part))
    downloaded = datasets.mnist()
    assert downloaded.data.shape == (2, 28, 28, 1) and downloaded.data.min() == 1.0
    assert downloaded.source.startswith('mnist (https://')

    def fail():
        raise EOFError('cut off')

    monkeypatch.setattr(tf.keras.datasets.mnist, 'load_data', fail)
    assert datasets.mnist().size == 1500


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(image_files, '_PROBE_SECONDS', 0.2)
    monkeypatch.setattr(image_files, '_answers', lambda url: time.sleep(5))
    started = time.time()
    assert not image_files._reachable('https://silent.invalid/')
    assert time.time() - started < 2


def test_addresses_that_cannot_be_asked():
    assert not image_files._answers('http://127.0.0.1:9/')
    assert not image_files._answers('nonsense')


FEATURES = np.random.RandomState(0).randn(6, 3)


@pytest.mark.parametrize('data', [
    FEATURES, FEATURES.astype('float32'), FEATURES.astype('float16'),
    (9 * FEATURES).astype('int64'), (9 * FEATURES).astype('uint8'), FEATURES > 0,
    FEATURES.tolist()],
    ids=['float64', 'float32', 'float16', 'int64', 'uint8', 'bool', 'lists'])
@pytest.mark.parametrize('kind', [np.int64, np.uint8, np.float32, np.bool_, list])
def test_data_of_any_type_are_converted(data, kind):
    labels = np.arange(6) % 2
    dataset = Dataset(data, labels.tolist() if kind is list else labels.astype(kind))
    assert dataset.data.dtype == np.float32 and dataset.labels.dtype == np.int32
    np.testing.assert_array_equal(dataset.data, np.asarray(data).astype('float32'))
    np.testing.assert_array_equal(dataset.labels, labels)


def test_labels_may_be_a_column_or_missing_or_no_whole_numbers():
    assert Dataset(FEATURES, np.ones([6, 1])).labels.shape == (6,)
    assert Dataset(FEATURES, None).labels.shape == (6, 0)
    targets = Dataset(FEATURES, FEATURES[:, 0]).labels
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, FEATURES[:, 0].astype('float32'))


@pytest.mark.parametrize('data, labels, words', [
    (FEATURES, np.zeros(5), ['labels', 'there are 5 for 6 examples']),
    (FEATURES, list('abcdef'), ['labels', 'numbers']),
    (FEATURES, np.full(6, 2 ** 31), ['labels', '2147483648', 'int32']),
    ([[1, 2], [3]], [0, 1], ['data', 'numbers']),
    (FEATURES.astype(complex), None, ['data', 'complex128 [6, 3]']),
    (None, None, ['data', 'NoneType']),
    (np.full([6, 2], 2 ** 24 + 1), None, ['data', '16777217', 'float32'])])
def test_data_that_cannot_be_used_are_named(data, labels, words):
    with pytest.raises(ValueError) as caught:
        Dataset(data, labels, 'measurements.npz')
    field, *others = words
    assert str(caught.value).startswith('%s of the data set from measurements.npz' % field)
    assert all(word in str(caught.value) for word in others)
    assert '\n' not in str(caught.value)


def test_no_data_are_drawn_from_the_global_generator():
    before = np.random.get_state()[1].copy()
    drawn = [datasets.random(4, 20), datasets.random(4, 20)]
    numbered(10).batch_indices(3, 2)
    datasets.random_mlp(4, 20)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert not np.array_equal(drawn[0].data, drawn[1].data)
