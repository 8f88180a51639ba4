"""The benchmark of the shipped optimizers: networks on digits that none of them was trained on."""

from typing import List, Optional

import tensorflow.compat.v1 as tf

from problems import datasets, image_files
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec

STEPS, LONG_STEPS = 1000, 10000


def rows(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Perceptrons, softmax regression and convnets on digits of 28 x 28 pixels, 1,000 steps."""
    sigmoid, relu = tf.nn.sigmoid, tf.nn.relu
    small = Spec(pg.ConvNetOrig, ((1, 28, 28), 10, ((3, 3, 8), (5, 5, 8))), {'activation': relu})
    dense = Spec(pg.ConvNet, ((1, 28, 28), 10, ((3, 3, 16, 1), (5, 5, 32, 1))),
                 {'activation': relu, 'affine_size': 512})
    softmax = Spec(pg.SoftmaxRegression, (784, 10), {})
    return [
        _row('MLP 20, sigmoid', _mlp((20,), sigmoid), source),
        _row('MLP 20, relu', _mlp((20,), relu), source),
        _row('MLP 20-20, sigmoid', _mlp((20, 20), sigmoid), source),
        _row('MLP 64, sigmoid', _mlp((64,), sigmoid), source),
        _row('softmax regression', softmax, source),
        _row('MLP 20, relu, batch 32', _mlp((20,), relu), source, 32, train=True),
        _row('MLP 20, relu, batch 512', _mlp((20,), relu), source, 512, train=True),
        _row('convnet 8-8', small, source, 64),
        _row('convnet 16-32 with dense layer', dense, source),
    ]


def long_rows(source: Optional[image_files.DataSource] = None) -> List[Row]:
    """Perceptrons on digits of 28 x 28 pixels, 10,000 steps."""
    networks = [('20, sigmoid', (20,), tf.nn.sigmoid), ('20, relu', (20,), tf.nn.relu),
                ('20-20, sigmoid', (20, 20), tf.nn.sigmoid)]
    return [_row('MLP %s, 10,000 steps' % words, _mlp(hidden, activation), source,
                 steps=LONG_STEPS) for words, hidden, activation in networks]


def _mlp(hidden_sizes, activation):
    return Spec(pg.FullyConnected, (784, 10),
                {'hidden_sizes': hidden_sizes, 'activation': activation})


def _row(name, spec, source, batch_size=128, train=False, steps=STEPS):
    """A row on one part of the data; the other part is held out."""
    seen, held_out = [datasets.mnist(part, source) for part in (train, not train)]
    return Row(spec, seen, batch_size, held_out, name, steps)
