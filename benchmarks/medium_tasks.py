"""Tasks between the small and the full ones of `problems.tasks`, on which changes were tried.

`python metatest.py --problem=benchmarks/medium_tasks.py:rows --num_testing_itrs=600 --seeds=5
--test_optimizer=L2o --learned=pretrained/normalized_mlp,opt/changed`: see pretrained/README.md.
"""

import tensorflow.compat.v1 as tf

from problems import datasets
from problems.autoencoders import Autoencoder
from problems.convnets import VGG
from problems.image_files import DataSource
from problems.language_models import GRU, LSTM, Transformer
from problems.perceptrons import Perceptron, PerceptronRegression
from problems.problem_spec import Row, Spec
from problems.residual import ResidualNet

SOURCE = DataSource('fashion')


def _row(name, batch_size, examples, problem, *args, **kwargs):
    return Row(Spec(problem, args, kwargs), examples(True), batch_size, examples(False), name)


def _images(train):
    return datasets.images(train, SOURCE, 28)


def _text(train):
    return datasets.text(train, SOURCE, 24, 56)


def _table(train):
    return datasets.friedman(1000, 9 if train else 1009, 12, True)


def rows():
    """The list of `Row`s."""
    return [
        _row('relu_mlp_medium', 96, _images, Perceptron, 784, 10, (160, 80)),
        _row('tanh_mlp_medium', 96, _images, Perceptron, 784, 10, (48,) * 5, activation=tf.tanh),
        _row('convnet_medium', 48, _images, VGG, (1, 28, 28), 10, ((8,), (16,))),
        _row('residual_medium', 48, _images, ResidualNet, (1, 28, 28), 10, (6, 12, 16),
             first_stride=2),
        _row('autoencoder_medium', 96, _images, Autoencoder, 784, (96, 24, 96)),
        _row('gru_medium', 24, _text, GRU, 56, length=24, n_features=24, units=40),
        _row('lstm_medium', 24, _text, LSTM, 56, length=24, n_features=24, units=40),
        _row('transformer_medium', 12, _text, Transformer, 56, length=24, width=48, n_blocks=2),
        _row('regression_medium', 32, _table, PerceptronRegression, 12, (40, 20))]
