"""What the examples share: handwritten digits of 8 x 8 pixels, and batches of them."""

import numpy as np
from sklearn.datasets import load_digits

BATCH_SIZE = 64


def digits():
    """Images [1797, 64] between 0 and 1, and their classes."""
    images, labels = load_digits(return_X_y=True)
    return images.astype('float32') / 16.0, labels.astype('int32')


def batches(steps, seed=0):
    """Random batches (images, labels)."""
    images, labels = digits()
    rng = np.random.RandomState(seed)
    for _ in range(steps):
        chosen = rng.randint(len(labels), size=BATCH_SIZE)
        yield images[chosen], labels[chosen]
