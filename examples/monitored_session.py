"""A learned optimizer in a MonitoredTrainingSession, which saves and resumes:

    python -m examples.monitored_session FOLDER CHECKPOINTS

FOLDER is a run's folder, or one of pretrained/; CHECKPOINTS is where the training keeps its own
checkpoints. Run it a second time and it goes on where it stopped, with the optimizer's state.
"""

import sys

import tensorflow.compat.v1 as tf

from examples.digits import batches
from examples.session import build_loss
from optimizer import load


def main(folder, checkpoints, steps=50):
    tf.disable_eager_execution()
    tf.set_random_seed(1)
    images = tf.placeholder(tf.float32, [None, 64])
    labels = tf.placeholder(tf.int32, [None])
    step = tf.train.get_or_create_global_step()
    loss = build_loss(images, labels)
    train = load(folder).minimize(loss, global_step=step)
    losses = []
    with tf.train.MonitoredTrainingSession(checkpoint_dir=checkpoints) as session:
        for some_images, some_labels in batches(steps):
            value, _ = session.run([loss, train], {images: some_images, labels: some_labels})
            losses.append(value)
    print('loss: %.3f at first, %.3f at the end' % (losses[0], losses[-1]))
    return losses


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
