"""A learned optimizer in Keras 3 (TensorFlow 2): `python -m examples.keras_fit [OPTIMIZER]`.

OPTIMIZER is a run's folder or the name of a shipped optimizer.
"""

import sys

import keras

from optimizer.keras import LearnedOptimizer
from problems import datasets


def main(name='normalized_mlp', epochs=4):
    keras.utils.set_random_seed(1)
    digits = datasets.images(source=datasets.DataSource('digits'), side=8)
    model = keras.Sequential([
        keras.Input([8, 8, 1]), keras.layers.Flatten(),
        keras.layers.Dense(32, activation='relu'), keras.layers.Dense(10)])
    model.compile(optimizer=LearnedOptimizer(name), metrics=['accuracy'],
                  loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(digits.data, digits.labels, batch_size=64, epochs=epochs,
                       verbose=0).history['loss']
    print('loss: %.3f at first, %.3f at the end' % (losses[0], losses[-1]))


if __name__ == '__main__':
    main(*sys.argv[1:2])
