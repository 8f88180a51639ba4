"""Classification problems: softmax regressions and multi-layer perceptrons.

Labels are integer class ids. The objective is the mean cross-entropy, differentiable any number
of times on every TensorFlow version: sparse_softmax_cross_entropy_with_logits is not.
"""

from typing import List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem import Activation, Problem, Shape


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, n_classes: int) -> tf.Tensor:
    """Returns the mean cross-entropy over the batch, a scalar or [n].

    For two classes the sigmoid cross-entropy of each class against the rest, averaged over both;
    for more the softmax cross-entropy.

    Args:
      logits: [batch, n_classes] or [n, batch, n_classes].
      labels: integer class ids, [batch].
    """
    class_ids = tf.cast(tf.reshape(labels, [-1]), tf.int32)
    targets = tf.one_hot(class_ids, n_classes)
    if n_classes == 2:
        targets += tf.zeros_like(logits)
        return tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), [-2, -1])
    return -tf.reduce_mean(tf.reduce_sum(targets * tf.nn.log_softmax(logits), -1), -1)


class SoftmaxClassifier(Problem):
    """Base of the classification problems; a subclass defines `inference`."""

    needs_data = True

    def __init__(self, param_shapes: Sequence[Shape], n_classes: int,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        super().__init__(param_shapes, random_seed, noise_stdev)
        self.n_classes = n_classes

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        """Returns N(0, 1.44 / n) values, n being the first dimension of the tensor."""
        values = super().init_tensors(seed)
        return [value * (1.2 / np.sqrt(shape[0]))
                for value, shape in zip(values, self.param_shapes)]

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        """Returns the logits, [batch, n_classes], for a batch of data."""
        raise NotImplementedError

    def accuracy(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                 labels: tf.Tensor) -> tf.Tensor:
        """Returns the fraction of the batch whose largest logit is that of its label."""
        predictions = tf.argmax(self.inference(parameters, data), 1, output_type=tf.int32)
        class_ids = tf.cast(tf.reshape(labels, [-1]), tf.int32)
        return tf.reduce_mean(tf.cast(tf.equal(predictions, class_ids), tf.float32))

    def _objective(self, parameters, data, labels):
        self._check_labels(labels)
        return cross_entropy(self.inference(parameters, data), labels, self.n_classes)


    def _check_labels(self, labels):
        """Raises a ValueError unless these are class ids."""
        name = type(self).__name__
        if labels is None:
            raise ValueError('%s needs labels' % name)
        labels = tf.convert_to_tensor(labels)
        if labels.shape.ndims == 2 and labels.shape[1] != 1:
            each = labels.shape.as_list()[1]
            raise ValueError('%s needs a class id for each example: ' % name + (
                'the labels of the data set have %s numbers' % each if each
                else 'the data set has no labels'))
        if not labels.dtype.is_integer:
            raise ValueError(
                '%s needs class ids: the labels of the data set are not whole numbers' % name)


class SoftmaxRegression(SoftmaxClassifier):
    """Logits activation(data W + b); W [n_features, n_classes], b [n_classes]."""

    def __init__(self, n_features: int, n_classes: int, activation: Activation = tf.identity,
                 noise_stdev: float = 0.0) -> None:
        shapes = [(n_features, n_classes), (n_classes,)]
        super().__init__(shapes, n_classes, noise_stdev=noise_stdev)
        self.n_features = n_features
        self.activation = activation

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        weights, bias = parameters
        features = tf.reshape(data, [-1, self.n_features])
        return self.activation(tf.matmul(features, weights) + bias)


class SparseSoftmaxRegression(SoftmaxClassifier):
    """Softmax regression on the sum of embeddings, whose gradient is sparse (IndexedSlices).

    Data are ids in 0 .. n_classes - 1, [batch, n_ids]. Parameters: embeddings
    [n_classes, n_features], W [n_features, n_classes], b [n_classes].
    """

    def __init__(self, n_features: int, n_classes: int, activation: Activation = tf.identity,
                 noise_stdev: float = 0.0) -> None:
        shapes = [(n_classes, n_features), (n_features, n_classes), (n_classes,)]
        super().__init__(shapes, n_classes, noise_stdev=noise_stdev)
        self.n_features = n_features
        self.activation = activation

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        embeddings, weights, bias = parameters
        features = self._embed(embeddings, tf.cast(data, tf.int32))
        features = tf.reshape(features, [-1, self.n_features])
        return self.activation(tf.matmul(features, weights) + bias)

    def _embed(self, embeddings, ids):
        """The sum of the embeddings of each example's ids, [batch, n_features]."""
        return tf.reduce_sum(tf.nn.embedding_lookup(embeddings, ids), 1)


class OneHotSparseSoftmaxRegression(SparseSoftmaxRegression):
    """As `SparseSoftmaxRegression`, through one-hot vectors: the gradient is dense."""

    def _embed(self, embeddings, ids):
        counts = tf.reduce_sum(tf.one_hot(ids, self.n_classes), 1)
        return tf.matmul(tf.reshape(counts, [-1, self.n_classes]), embeddings)


class FullyConnected(SoftmaxClassifier):
    """Multi-layer perceptron: layers of activation(features W + b), the last without activation.

    Parameters: W [inputs, units] and b [units] of each layer in turn, all starting at
    N(0, 0.01^2).
    """

    def __init__(self, n_features: int, n_classes: int, hidden_sizes: Sequence[int] = (32, 64),
                 activation: Activation = tf.nn.sigmoid, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        sizes = (n_features,) + tuple(hidden_sizes) + (n_classes,)
        super().__init__(
            dense_shapes(sizes), n_classes, random_seed, noise_stdev)
        self.n_features = n_features
        self.activation = activation

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return small_normal_tensors(self, seed)

    def inference(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        features = tf.reshape(data, [-1, self.n_features])
        return dense_layers(features, parameters, self.activation)

    def objectives(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                   labels: tf.Tensor) -> tf.Tensor:
        """The objective at n points: parameters [n] + shape -> [n]."""
        features = tf.reshape(data, [-1, self.n_features])
        logits = stacked_dense_layers(features, parameters, self.activation)
        return cross_entropy(logits, labels, self.n_classes)


def dense_shapes(sizes: Sequence[int]) -> List[Tuple[int, ...]]:
    """Shapes of the weights and biases of dense layers between consecutive `sizes`."""
    return [shape for inputs, units in zip(sizes[:-1], sizes[1:])
            for shape in ((inputs, units), (units,))]


def dense_layers(features: tf.Tensor, parameters: Sequence[tf.Tensor],
                 activation: Activation) -> tf.Tensor:
    """Applies weights, biases [W, b, W, b, ...] in turn, with an activation between layers."""
    weights, biases = parameters[0::2], parameters[1::2]
    for weight, bias in zip(weights[:-1], biases[:-1]):
        features = activation(tf.matmul(features, weight) + bias)
    return tf.matmul(features, weights[-1]) + biases[-1]


def stacked_dense_layers(features: tf.Tensor, parameters: Sequence[tf.Tensor],
                         activation: Activation) -> tf.Tensor:
    """As `dense_layers`, for n networks at once: [batch, inputs] -> [n, batch, outputs].

    Parameters are [n] + shape. The first layers, which see the same features, are one matrix
    product: narrow ones by themselves would be slow.
    """
    weights, biases = parameters[0::2], parameters[1::2]
    outputs = _common_product(features, weights[0]) + biases[0][:, tf.newaxis]
    for weight, bias in zip(weights[1:], biases[1:]):
        outputs = tf.matmul(activation(outputs), weight) + bias[:, tf.newaxis]
    return outputs


def _common_product(features, weights):
    """[batch, inputs], [n, inputs, units] -> [n, batch, units]."""
    inputs, units = weights.shape.as_list()[1:]
    joined = tf.reshape(tf.transpose(weights, [1, 0, 2]), [inputs, -1])
    products = tf.reshape(tf.matmul(features, joined), [tf.shape(features)[0], -1, units])
    return tf.transpose(products, [1, 0, 2])


def small_normal_tensors(problem: Problem, seed: Optional[int]) -> List[tf.Tensor]:
    """Returns initial values N(0, 0.01^2) for every parameter of `problem`."""
    return [0.01 * value for value in Problem.init_tensors(problem, seed)]
