"""A learned optimizer in a TensorFlow session: `python -m examples.session [OPTIMIZER]`.

OPTIMIZER is a run's folder or the name of a shipped optimizer.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import load
from problems import datasets


def main(name='normalized_mlp', steps=100):
    tf.disable_eager_execution()
    tf.set_random_seed(1)
    digits = datasets.images(source=datasets.DataSource('digits'), side=8)
    images = tf.placeholder(tf.float32, [None, 8, 8, 1])
    labels = tf.placeholder(tf.int32, [None])
    hidden = tf.get_variable('hidden', [64, 32], initializer=tf.glorot_uniform_initializer())
    output = tf.get_variable('output', [32, 10], initializer=tf.glorot_uniform_initializer())
    logits = tf.matmul(tf.nn.relu(tf.matmul(tf.reshape(images, [-1, 64]), hidden)), output)
    loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
    train = load(name).minimize(loss)
    losses = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for batch in digits.batch_indices(steps, 64, np.random.RandomState(1)):
            feed = {images: digits.data[batch], labels: digits.labels[batch]}
            losses.append(session.run([loss, train], feed)[0])
    print('loss: %.3f at first, %.3f at the end' % (losses[0], losses[-1]))
    return losses


if __name__ == '__main__':
    main(*sys.argv[1:2])
