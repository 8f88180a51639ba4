"""A learned optimizer in Keras 3 (TensorFlow 2):

    python -m examples.keras_fit FOLDER

FOLDER is a run's folder, or one of pretrained/.
"""

import sys

import keras

from examples.digits import digits
from optimizer.keras import LearnedOptimizer


def main(folder, epochs=4):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input([64]), keras.layers.Dense(32, activation='relu'), keras.layers.Dense(10)])
    model.compile(optimizer=LearnedOptimizer(folder), metrics=['accuracy'],
                  loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(*digits(), batch_size=64, epochs=epochs, verbose=0).history['loss']
    print('loss: %.3f at first, %.3f at the end' % (losses[0], losses[-1]))
    return losses


if __name__ == '__main__':
    main(sys.argv[1])
