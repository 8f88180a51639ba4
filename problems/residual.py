"""Residual convolutional networks with batch normalization (arXiv 1512.03385, 1502.03167)."""

from typing import List, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems import initial_values
from problems.classifiers import SoftmaxClassifier

_EPSILON = 1e-3  # added to the variances of batch normalization


def batch_normalization(features: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    """Normalizes each channel over the batch and all positions: always by the batch's statistics.

    Args:
      features: [batch, height, width, channels], or [batch, channels] of a dense layer.
      scale: [channels].
      shift: [channels].
    """
    mean, variance = tf.nn.moments(features, list(range(features.shape.ndims - 1)))
    factor = scale * tf.rsqrt(variance + _EPSILON)
    return features * factor + (shift - mean * factor)


class ResidualNet(SoftmaxClassifier):
    """A 3 x 3 convolution, blocks of two with a shortcut around them, average, one dense layer.

    Every convolution is followed by batch normalization; relu after the first, inside the blocks
    and after their sums. A block that changes the number of channels also halves height and width,
    and has a 1 x 1 convolution on its shortcut. There is no difference between training and
    testing: statistics are always those of the batch.

    Parameters: filters [height, width, inputs, outputs], scale and shift of each convolution in
    turn, a block's shortcut last; then W [channels, n_classes] and b.

    Args:
      image_shape: (channels, height, width).
      channels: of each block.
      first_stride: of the first convolution, which has as many channels as the first block.
    """

    def __init__(self, image_shape: Sequence[int], n_classes: int,
                 channels: Sequence[int] = (8, 16), first_stride: int = 1,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        self.image_shape = tuple(image_shape)
        self.channels = tuple(channels)
        self.first_stride = first_stride
        self._starts = _convolution(3, image_shape[0], channels[0])
        for inputs, outputs in self._blocks():
            self._starts += _convolution(3, inputs, outputs) + _convolution(3, outputs, outputs)
            if inputs != outputs:
                self._starts += _convolution(1, inputs, outputs)
        self._starts += initial_values.dense((channels[-1], n_classes))
        super().__init__(initial_values.shapes(self._starts), n_classes, random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        rest = iter(parameters)

        def convolve(features, stride):
            filters, scale, shift = next(rest), next(rest), next(rest)
            outputs = tf.nn.conv2d(features, filters, [1, stride, stride, 1], 'SAME')
            return batch_normalization(outputs, scale, shift)

        channels, height, width = self.image_shape
        features = tf.reshape(data, [-1, height, width, channels])
        features = tf.nn.relu(convolve(features, self.first_stride))
        for inputs, outputs in self._blocks():
            stride = 1 if inputs == outputs else 2
            branch = convolve(tf.nn.relu(convolve(features, stride)), 1)
            shortcut = features if inputs == outputs else convolve(features, stride)
            features = tf.nn.relu(branch + shortcut)
        return tf.matmul(tf.reduce_mean(features, [1, 2]), next(rest)) + next(rest)

    def _blocks(self):
        """Pairs of the numbers of channels before and after each block."""
        return zip(self.channels[:1] + self.channels[:-1], self.channels)


def _convolution(side, inputs, outputs):
    """The starts of a square filter without bias and of its normalization."""
    return [initial_values.he(side, side, inputs, outputs), initial_values.constant(1.0, outputs),
            initial_values.constant(0.0, outputs)]
