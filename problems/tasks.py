"""The tasks that people train, in three sizes: families of networks on images, text and tables.

Each family has small versions to meta-train on (images of 8 x 8 and 14 x 14, few units on larger
ones, short windows of text), one of another size to validate with, and full ones (images of 28 x
28, longer windows) to test on. No task is in two of the three. Steps of a small task take about a
millisecond on one core, those of a full one about ten at most. To add a family, add a row to
`FAMILIES`.
"""

import collections
import functools
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from problems import datasets, image_files
from problems.autoencoders import Autoencoder, VariationalAutoencoder
from problems.convnets import VGG
from problems.language_models import GRU, LSTM, BigramFactorization, NGramPerceptron, Transformer
from problems.perceptrons import FineTuning, Perceptron, PerceptronRegression
from problems.problem_spec import Row, Spec
from problems.recommender import Recommender
from problems.residual import ResidualNet


class Task(NamedTuple):
    """A row of a problem set whose data are not loaded yet."""

    name: str
    spec: Spec
    examples: Callable[..., Any]  # (train, `DataSource` or None) -> `Dataset`, training or held out
    batch_size: int

    def row(self, source: Optional[image_files.DataSource]) -> Row:
        """The `Row`, with held-out examples."""
        return Row(self.spec, self.examples(True, source), self.batch_size,
                   self.examples(False, source), self.name)


class Family(NamedTuple):
    """Tasks of one kind."""

    small: list  # `Task`s to meta-train on
    validation: list  # to choose among meta-trained optimizers
    full: list  # to test on
    help: str  # a line about the family


def rows(tasks: Sequence[Task], source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Returns the `Row`s of a list of `Task`s, with data from a `DataSource`."""
    return [task.row(source) for task in tasks]


# Data. They are kept: rows of many tasks share them.


@functools.lru_cache(maxsize=None)
def _images(side, train, source):
    return datasets.images(train, source, side)


@functools.lru_cache(maxsize=None)
def _digits(side, train, source):
    del source
    return datasets.images(train, image_files.DataSource('digits'), side)


@functools.lru_cache(maxsize=None)
def _text(length, vocabulary_size, train, source):
    return datasets.text(train, source, length, vocabulary_size)


@functools.lru_cache(maxsize=None)
def _few_images(side, size, noise, train, source):
    """So few images that they are learned by heart; of these a share `noise` has drawn labels.

    The held-out ones are as usual.
    """
    if not train:
        return _images(side, False, source)
    rng, images = np.random.RandomState(size), _images(side, True, source)
    chosen = rng.permutation(images.size)[:size]
    labels = images.labels[chosen]
    drawn = rng.uniform(size=labels.size) < noise
    labels = np.where(drawn, rng.randint(10, size=labels.size), labels)
    return datasets.Dataset(images.data[chosen], labels, images.source)


@functools.lru_cache(maxsize=None)
def _friedman(n_features, seed, standardized, train, source):
    del source
    return datasets.friedman(1000, seed if train else seed + 1000, n_features, standardized)


def _diabetes(standardized, train, source):
    del source
    return datasets.diabetes(train, standardized)


@functools.lru_cache(maxsize=None)
def _ratings(n_users, n_items, size, train, source):
    del source
    return datasets.ratings(n_users, n_items, size, train, random_seed=n_users)


@functools.lru_cache(maxsize=None)
def _word_pairs(vocabulary_size, train, source):
    return datasets.neighbouring_words(train, source, vocabulary_size)


def _image_task(name, problem, side, batch_size, *args, examples=_images, **kwargs):
    """A task on images as vectors."""
    spec = Spec(problem, (side * side,) + args, kwargs)
    return Task(name, spec, functools.partial(examples, side), batch_size)


def _by_heart_task(name, side, batch_size, sizes, examples, noise=0.0, **kwargs):
    """A perceptron on few images, or on images with wrong labels."""
    spec = Spec(Perceptron, (side * side, 10, sizes), kwargs)
    return Task(name, spec, functools.partial(_few_images, side, examples, noise), batch_size)


def _convolutional_task(name, problem, side, batch_size, *args, **kwargs):
    """A task on images of one channel and ten classes."""
    spec = Spec(problem, ((1, side, side), 10) + args, kwargs)
    return Task(name, spec, functools.partial(_images, side), batch_size)


def _text_task(name, problem, vocabulary_size, length, batch_size, **kwargs):
    spec = Spec(problem, (vocabulary_size,), dict(length=length, **kwargs))
    return Task(name, spec, functools.partial(_text, length, vocabulary_size), batch_size)


def _regression_task(name, n_features, seed, batch_size, *args, standardized=True, **kwargs):
    """A regression of synthetic data of that seed; None: of the study of diabetes."""
    spec = Spec(PerceptronRegression, (n_features,) + args, kwargs)
    examples = (functools.partial(_diabetes, standardized) if seed is None else
                functools.partial(_friedman, n_features, seed, standardized))
    return Task(name, spec, examples, batch_size)


def _recommender_task(name, n_users, n_items, rank, size, batch_size):
    spec = Spec(Recommender, (n_users, n_items, rank), {})
    return Task(name, spec, functools.partial(_ratings, n_users, n_items, size), batch_size)


def _word_task(name, vocabulary_size, rank, batch_size):
    spec = Spec(BigramFactorization, (vocabulary_size, rank), {})
    return Task(name, spec, functools.partial(_word_pairs, vocabulary_size), batch_size)


def _fine_tuning_task(name, side, batch_size, sizes, **kwargs):
    spec = Spec(FineTuning, (side, 10, sizes), kwargs)
    return Task(name, spec, functools.partial(_images, side), batch_size)


#: Name of the set -> `Family`.
FAMILIES = collections.OrderedDict([
    ('perceptron', Family(
        small=[
            _image_task('relu_mlp_digits_8', Perceptron, 8, 64, 10, (32,), examples=_digits),
            _image_task('relu_mlp_8', Perceptron, 8, 32, 10, (64, 32)),
            _image_task('relu_mlp_14', Perceptron, 14, 64, 10, (100,)),
            _image_task('relu_mlp_28_narrow', Perceptron, 28, 32, 10, (16, 16)),
            _image_task('tanh_mlp_8_wide', Perceptron, 8, 32, 10, (384, 32), activation=tf.tanh),
            _image_task('tanh_mlp_8', Perceptron, 8, 64, 10, (24,) * 3, activation=tf.tanh),
            _image_task('tanh_mlp_14', Perceptron, 14, 32, 10, (32,) * 5, activation=tf.tanh),
            _image_task('tanh_mlp_28_deep', Perceptron, 28, 64, 10, (20,) * 6, activation=tf.tanh),
            _image_task('relu_mlp_28_deep', Perceptron, 28, 64, 10, (24,) * 4)],
        validation=[
            _image_task('relu_mlp_14_wide', Perceptron, 14, 48, 10, (128, 64)),
            _image_task('tanh_mlp_8_deep', Perceptron, 8, 48, 10, (40,) * 4, activation=tf.tanh)],
        full=[
            _image_task('relu_mlp', Perceptron, 28, 128, 10, (256, 128)),
            _image_task('deep_tanh_mlp', Perceptron, 28, 128, 10, (64,) * 6, activation=tf.tanh)],
        help='Relu and tanh perceptrons on images.')),
    ('convnet', Family(
        small=[
            _convolutional_task('convnet_8', VGG, 8, 32, ((8,), (16,))),
            _convolutional_task('convnet_14', VGG, 14, 32, ((6,), (12,)), dense_sizes=(24,))],
        validation=[_convolutional_task('convnet_14_wide', VGG, 14, 24, ((10,), (20,)))],
        full=[_convolutional_task('convnet', VGG, 28, 64, ((12,), (24,)))],
        help='Convolutional networks with max-pooling on images.')),
    ('residual', Family(
        small=[
            _convolutional_task('residual_8', ResidualNet, 8, 32, (8, 16)),
            _convolutional_task('residual_14', ResidualNet, 14, 24, (8, 8, 12), first_stride=2)],
        validation=[
            _convolutional_task('residual_14_wide', ResidualNet, 14, 32, (10, 20), first_stride=2)],
        full=[
            _convolutional_task('residual_net', ResidualNet, 28, 64, (8, 16, 24), first_stride=2)],
        help='Residual networks with batch normalization on images.')),
    ('autoencoder', Family(
        small=[
            _image_task('autoencoder_8', Autoencoder, 8, 64, (32, 8, 32)),
            _image_task('autoencoder_14', Autoencoder, 14, 32, (64, 12, 64), activation=tf.tanh),
            _image_task('autoencoder_28_narrow', Autoencoder, 28, 64, (20, 6, 20))],
        validation=[_image_task('autoencoder_14_wide', Autoencoder, 14, 64, (96, 16, 96))],
        full=[_image_task('autoencoder', Autoencoder, 28, 128, (128, 32, 128))],
        help='Autoencoders of images.')),
    ('variational_autoencoder', Family(
        small=[
            _image_task('vae_8', VariationalAutoencoder, 8, 64, (32,), 4),
            _image_task('vae_14', VariationalAutoencoder, 14, 32, (64,), 8)],
        validation=[_image_task('vae_14_deep', VariationalAutoencoder, 14, 64, (64, 32), 6)],
        full=[_image_task('vae', VariationalAutoencoder, 28, 128, (128,), 16)],
        help='Variational autoencoders of images.')),
    ('ngram', Family(
        small=[
            _text_task('ngram_4', NGramPerceptron, 32, 4, 64),
            _text_task('ngram_6', NGramPerceptron, 40, 6, 64, n_features=6, hidden_sizes=(32, 32))],
        validation=[_text_task('ngram_5', NGramPerceptron, 48, 5, 48, hidden_sizes=(48,))],
        full=[_text_task('ngram', NGramPerceptron, 64, 8, 128, n_features=16, hidden_sizes=(128,))],
        help='Perceptrons that predict a character from those before.')),
    ('factorization', Family(
        small=[
            _text_task('bigram_8', BigramFactorization, 32, 1, 64, rank=8),
            _text_task('trigram_12', BigramFactorization, 24, 2, 64, rank=12)],
        validation=[_text_task('bigram_16', BigramFactorization, 48, 1, 96, rank=16)],
        full=[
            _text_task('bigram_factorization', BigramFactorization, 64, 1, 128, rank=32),
            _text_task('trigram_factorization', BigramFactorization, 64, 2, 128, rank=32)],
        help='Factorizations of character statistics, with sparse gradients.')),
    ('gru', Family(
        small=[
            _text_task('gru_8', GRU, 32, 8, 16, n_features=8, units=16),
            _text_task('gru_12', GRU, 40, 12, 16, n_features=12, units=24)],
        validation=[_text_task('gru_16', GRU, 48, 16, 16, n_features=16, units=20)],
        full=[_text_task('char_gru', GRU, 64, 32, 32, n_features=32, units=64)],
        help='Recurrent networks with GRU cells that predict characters.')),
    ('lstm', Family(
        small=[
            _text_task('lstm_8', LSTM, 32, 8, 16, n_features=8, units=16),
            _text_task('lstm_12', LSTM, 40, 12, 16, n_features=12, units=24)],
        validation=[_text_task('lstm_16', LSTM, 48, 16, 16, n_features=16, units=20)],
        full=[_text_task('char_lstm', LSTM, 64, 32, 32, n_features=32, units=64)],
        help='Recurrent networks with LSTM cells that predict characters.')),
    ('transformer', Family(
        small=[
            _text_task('transformer_8', Transformer, 32, 8, 16, width=16, n_heads=2),
            _text_task('transformer_16', Transformer, 40, 16, 8, width=24, n_heads=3, n_blocks=2)],
        validation=[_text_task('transformer_12', Transformer, 48, 12, 16, width=32, n_heads=4)],
        full=[_text_task('char_transformer', Transformer, 64, 32, 16, width=64, n_blocks=2)],
        help='Transformer decoders that predict characters.')),
    ('regression', Family(
        small=[
            _regression_task('regression_10', 10, 1, 32, (16,)),
            _regression_task('regression_20', 20, 2, 64, (32, 16), activation=tf.tanh)],
        validation=[_regression_task('regression_15', 15, 3, 48, (24, 24))],
        full=[_regression_task('regression', 10, None, 32, (32, 16))],
        help='Regressions by perceptrons: synthetic data, and a study of diabetes.')),
    ('deep', Family(
        small=[
            _image_task('relu_mlp_8_deep_10', Perceptron, 8, 64, 10, (24,) * 10),
            _image_task('tanh_mlp_8_deep_12', Perceptron, 8, 32, 10, (20,) * 12,
                        activation=tf.tanh),
            _image_task('relu_mlp_14_deep_16', Perceptron, 14, 32, 10, (24,) * 16),
            _image_task('relu_mlp_8_deep_28', Perceptron, 8, 64, 10, (32,) * 28),
            _convolutional_task('plain_net_8_deep', VGG, 8, 16, ((6,) * 6, (8,) * 6)),
            _text_task('transformer_8_deep', Transformer, 32, 8, 8, width=16, n_heads=2,
                       n_blocks=5)],
        validation=[
            _image_task('relu_mlp_14_deep_22', Perceptron, 14, 48, 10, (40,) * 22),
            _text_task('transformer_12_deep', Transformer, 48, 12, 8, width=24, n_heads=3,
                       n_blocks=4)],
        full=[
            _image_task('relu_mlp_31', Perceptron, 28, 128, 10, (64,) * 30),
            _convolutional_task('plain_net_20', VGG, 28, 32, ((8,) * 10, (16,) * 10)),
            _convolutional_task('residual_net_20', ResidualNet, 28, 32,
                                (8,) * 3 + (16,) * 3 + (32,) * 3, first_stride=2),
            _text_task('transformer_6_blocks', Transformer, 64, 32, 16, width=64, n_blocks=6),
            _text_task('transformer_12_blocks', Transformer, 64, 32, 16, width=48, n_blocks=12)],
        help='Networks of 10 layers and more.')),
    ('by_heart', Family(
        small=[
            _by_heart_task('relu_mlp_8_few', 8, 32, (40, 40), 500),
            _by_heart_task('tanh_mlp_14_few', 14, 64, (32,) * 3, 1200, activation=tf.tanh),
            _by_heart_task('relu_mlp_8_noisy', 8, 64, (48,), 2000, noise=0.3)],
        validation=[
            _by_heart_task('relu_mlp_14_few', 14, 32, (48, 32), 1000),
            _by_heart_task('tanh_mlp_8_noisy', 8, 64, (40,) * 3, 1500, noise=0.2,
                           activation=tf.tanh)],
        full=[
            _by_heart_task('relu_mlp_few', 28, 64, (128, 64), 5000),
            _by_heart_task('relu_mlp_noisy', 28, 128, (128, 64), 60000, noise=0.3)],
        help='Few examples, which are learned by heart, and wrong labels.')),
    ('batches', Family(
        small=[
            _image_task('relu_mlp_8_batch_4', Perceptron, 8, 4, 10, (32,)),
            _image_task('tanh_mlp_8_batch_1000', Perceptron, 8, 1000, 10, (24,) * 2,
                        activation=tf.tanh)],
        validation=[_image_task('relu_mlp_14_batch_8', Perceptron, 14, 8, 10, (40, 24))],
        full=[
            _image_task('relu_mlp_batch_8', Perceptron, 28, 8, 10, (128, 64)),
            _image_task('relu_mlp_batch_2048', Perceptron, 28, 2048, 10, (96, 64))],
        help='Small and large batches.')),
    ('unscaled', Family(
        small=[
            _regression_task('regression_10_unscaled', 10, 4, 32, (24,), standardized=False),
            _regression_task('regression_12_unscaled', 12, 5, 64, (24, 16), standardized=False,
                             activation=tf.tanh)],
        validation=[_regression_task('regression_15_unscaled', 15, 6, 48, (32, 24),
                                     standardized=False)],
        full=[_regression_task('regression_unscaled', 10, None, 32, (48, 16),
                               standardized=False)],
        help='Regressions whose targets are not brought to mean 0 and variance 1.')),
    ('recommender', Family(
        small=[
            _recommender_task('recommender_60', 60, 40, 4, 2000, 32),
            _recommender_task('recommender_200', 200, 100, 8, 8000, 128)],
        validation=[_recommender_task('recommender_120', 120, 90, 6, 5000, 64)],
        full=[_recommender_task('recommender', 1000, 500, 16, 60000, 256)],
        help='Factorizations of ratings, with sparse gradients.')),
    ('words', Family(
        small=[
            _word_task('words_100', 100, 8, 64),
            _word_task('words_300', 300, 12, 128)],
        validation=[_word_task('words_200', 200, 16, 96)],
        full=[_word_task('words', 2000, 32, 256)],
        help='Embeddings of words that predict those near them, with sparse gradients.')),
    ('fine_tuning', Family(
        small=[
            _fine_tuning_task('fine_tuned_mlp_8', 8, 32, (40, 24)),
            _fine_tuning_task('fine_tuned_tanh_mlp_14', 14, 64, (32,) * 3, activation=tf.tanh)],
        validation=[_fine_tuning_task('fine_tuned_mlp_14', 14, 48, (48, 32))],
        full=[_fine_tuning_task('fine_tuned_mlp', 28, 64, (128, 64))],
        help='Perceptrons whose layers, but for the last, were trained on digits before.')),
])


def mixed_small_problems(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Small versions of everything that people train, to meta-train on."""
    return rows([task for family in FAMILIES.values() for task in family.small], source)


def mixed_validation_problems(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Families of mixed_small in other sizes, to choose among meta-trained optimizers."""
    return rows([task for family in FAMILIES.values() for task in family.validation], source)


_REAL_TASKS = ('relu_mlp', 'deep_tanh_mlp', 'convnet', 'residual_net', 'autoencoder', 'vae',
               'char_gru', 'char_lstm', 'char_transformer', 'bigram_factorization', 'regression')


def real_tasks_problems(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """The benchmark: networks of full size on images, text and a table, with held-out data."""
    return rows([task for family in FAMILIES.values() for task in family.full
                 if task.name in _REAL_TASKS], source)


#: Name of the set -> its function: sets of all families together.
MIXED = collections.OrderedDict([
    ('mixed_small', mixed_small_problems),
    ('mixed_validation', mixed_validation_problems),
    ('real_tasks', real_tasks_problems),
])
