"""Autoencoders of images: deterministic, and variational with noise that follows from the batch."""

from typing import List, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems import initial_values, perceptrons
from problems.classifiers import dense_layers, stacked_dense_layers
from problems.problem import Activation, Problem


def bernoulli_loss(pixels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The mean over all pixels of -log probability; [batch, pixels], [..., batch, pixels] -> [...].

    A pixel between 0 and 1 is the probability of a 1.
    """
    return tf.reduce_mean(tf.nn.softplus(logits) - logits * pixels, [-2, -1])


class Autoencoder(Problem):
    """A perceptron that reproduces images [batch, ...] through layers of `hidden_sizes`.

    The objective is the cross-entropy of pixels, in nats per pixel. Parameters: W and b of each
    layer in turn.
    """

    needs_data = True

    def __init__(self, n_pixels: int, hidden_sizes: Sequence[int],
                 activation: Activation = tf.nn.relu, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        sizes = (n_pixels,) + tuple(hidden_sizes) + (n_pixels,)
        self._starts = perceptrons.starts(sizes, activation)
        super().__init__(initial_values.shapes(self._starts), random_seed, noise_stdev)
        self.n_pixels = n_pixels
        self.activation = activation

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def objectives(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                   labels: tf.Tensor) -> tf.Tensor:
        """The objective at n points: parameters [n] + shape -> [n]."""
        pixels = tf.reshape(data, [-1, self.n_pixels])
        return bernoulli_loss(pixels, stacked_dense_layers(pixels, parameters, self.activation))

    def _objective(self, parameters, data, labels):
        pixels = tf.reshape(data, [-1, self.n_pixels])
        return bernoulli_loss(pixels, dense_layers(pixels, parameters, self.activation))


def batch_key(data: tf.Tensor, seed: int) -> tf.Tensor:
    """A key of random numbers that follows from a batch: int64 [2], for stateless operations.

    It is the sum of the bit patterns of all float32 values, an exact sum of integers, and so the
    same in whatever order they are added.
    """
    bits = tf.bitcast(tf.cast(data, tf.float32), tf.int32)
    return tf.stack([tf.reduce_sum(tf.cast(bits, tf.int64)), tf.constant(seed, tf.int64)])


class VariationalAutoencoder(Problem):
    """The negative evidence lower bound of images, in nats per pixel (arXiv 1312.6114).

    A perceptron gives mean and log variance of `n_latent` normal variables, another one turns
    those into pixels. They are drawn once for each image, with noise that is a function of the
    whole batch and of `random_seed`: the objective is the same whenever it is computed on the same
    batch, and other batches see other noise.

    Parameters: W and b of each layer, encoder first; its last layer has n_latent means and n_latent
    log variances as outputs.

    Args:
      hidden_sizes: units of the encoder's hidden layers; the decoder has them in reverse order.
    """

    needs_data = True

    def __init__(self, n_pixels: int, hidden_sizes: Sequence[int], n_latent: int,
                 activation: Activation = tf.nn.relu, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        hidden_sizes = tuple(hidden_sizes)
        encoder = perceptrons.starts((n_pixels,) + hidden_sizes + (2 * n_latent,), activation)
        decoder = perceptrons.starts((n_latent,) + hidden_sizes[::-1] + (n_pixels,), activation)
        self._starts = encoder + decoder
        super().__init__(initial_values.shapes(self._starts), random_seed, noise_stdev)
        self.n_pixels, self.n_latent = n_pixels, n_latent
        self.activation = activation

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def _objective(self, parameters, data, labels):
        pixels = tf.reshape(data, [-1, self.n_pixels])
        encoder, decoder = parameters[:len(parameters) // 2], parameters[len(parameters) // 2:]
        mean, log_variance = tf.split(dense_layers(pixels, encoder, self.activation), 2, 1)
        noise = tf.random.stateless_normal(tf.shape(mean), batch_key(pixels, self.random_seed or 0))
        latent = mean + tf.exp(0.5 * log_variance) * noise
        reconstruction = bernoulli_loss(pixels, dense_layers(latent, decoder, self.activation))
        divergence = 0.5 * tf.reduce_sum(
            tf.square(mean) + tf.exp(log_variance) - 1 - log_variance, 1)
        return reconstruction + tf.reduce_mean(divergence) / self.n_pixels
