"""A learned optimizer in a plain TensorFlow session:

    python -m examples.session FOLDER

FOLDER is a run's folder, or one of pretrained/.
"""

import sys

import tensorflow.compat.v1 as tf

from examples.digits import batches
from optimizer import load


def build_loss(images, labels):
    hidden = tf.get_variable('hidden', [64, 32], initializer=tf.glorot_uniform_initializer())
    output = tf.get_variable('output', [32, 10], initializer=tf.glorot_uniform_initializer())
    bias = tf.get_variable('bias', [10], initializer=tf.zeros_initializer())
    logits = tf.matmul(tf.nn.relu(tf.matmul(images, hidden)), output) + bias
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits))


def main(folder, steps=100):
    tf.disable_eager_execution()
    tf.set_random_seed(1)
    images = tf.placeholder(tf.float32, [None, 64])
    labels = tf.placeholder(tf.int32, [None])
    loss = build_loss(images, labels)
    train = load(folder).minimize(loss)
    losses = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for some_images, some_labels in batches(steps):
            value, _ = session.run([loss, train], {images: some_images, labels: some_labels})
            losses.append(value)
    print('loss: %.3f at first, %.3f at the end' % (losses[0], losses[-1]))
    return losses


if __name__ == '__main__':
    main(sys.argv[1])
