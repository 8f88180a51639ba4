"""Language models over characters: n-gram perceptron, bigram factorization, GRU, LSTM, transformer.

Data are windows of text, [batch, length + 1]: the ids of consecutive characters, as
`datasets.text` makes them. The objective is the mean cross-entropy of the characters that are
predicted, in nats. Recurrent networks are unrolled for `length` steps, beginning at state 0.
"""

import math
from typing import List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from problems import initial_values
from problems.classifiers import dense_layers
from problems.problem import Problem

_EPSILON = 1e-5  # added to the variances of layer normalization


class LanguageModel(Problem):
    """Base: a subclass defines `inference`.

    Args:
      starts: list of `initial_values.Start`, one for each parameter tensor.
      vocabulary_size: number of different characters.
      length: characters that a window has besides the last.
    """

    needs_data = True

    def __init__(self, starts: Sequence[initial_values.Start], vocabulary_size: int, length: int,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        super().__init__(initial_values.shapes(starts), random_seed, noise_stdev)
        self._starts = starts
        self.vocabulary_size, self.length = vocabulary_size, length

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return initial_values.draw(self, self._starts, seed)

    def inference(self, parameters: Sequence[tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
        """Returns the logits of the characters that follow.

        Args:
          parameters: list of tensors.
          ids: int32 [batch, length].

        Returns:
          [batch, length, vocabulary_size]; or [batch, 1, vocabulary_size], of the last only.
        """
        raise NotImplementedError

    def losses(self, parameters: Sequence[tf.Tensor], data: tf.Tensor) -> tf.Tensor:
        """Returns the cross-entropy of each character that is predicted, [batch, length or 1]."""
        logits, targets = self._predict(parameters, data)
        log_probabilities = tf.nn.log_softmax(logits)
        return -tf.reduce_sum(tf.one_hot(targets, self.vocabulary_size) * log_probabilities, -1)

    def accuracy(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                 labels: tf.Tensor) -> tf.Tensor:
        """Returns the fraction of characters whose logit is the largest."""
        logits, targets = self._predict(parameters, data)
        likeliest = tf.argmax(logits, -1, output_type=tf.int32)
        return tf.reduce_mean(tf.cast(tf.equal(likeliest, targets), tf.float32))

    def _objective(self, parameters, data, labels):
        return tf.reduce_mean(self.losses(parameters, data))

    def _predict(self, parameters, data):
        """Logits, and the ids of the characters that they predict."""
        ids = tf.cast(tf.reshape(data, [-1, self.length + 1]), tf.int32)
        logits = self.inference(parameters, ids[:, :-1])
        return logits, ids[:, -logits.shape.as_list()[1]:]

    def _embed(self, embeddings, ids):
        """The embeddings of all ids, [batch * length, features], with a dense gradient."""
        one_hot = tf.one_hot(tf.reshape(ids, [-1]), self.vocabulary_size)
        return tf.matmul(one_hot, embeddings)


class NGramPerceptron(LanguageModel):
    """A tanh perceptron that predicts a character from the embeddings of the `length` before it.

    Bengio et al., "A Neural Probabilistic Language Model", 2003. Parameters: embeddings
    [vocabulary, features], then W and b of each dense layer.
    """

    def __init__(self, vocabulary_size: int, length: int, n_features: int = 8,
                 hidden_sizes: Sequence[int] = (32,), random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        sizes = (length * n_features,) + tuple(hidden_sizes) + (vocabulary_size,)
        starts = [initial_values.Start((vocabulary_size, n_features), 1.0)]
        super().__init__(starts + initial_values.dense(sizes), vocabulary_size, length,
                         random_seed, noise_stdev)

    def inference(self, parameters: Sequence[tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
        features = tf.reshape(self._embed(parameters[0], ids), [-1, self.param_shapes[1][0]])
        return dense_layers(features, parameters[1:], tf.tanh)[:, tf.newaxis]


class BigramFactorization(LanguageModel):
    """Logits of the next character: a row of one matrix times another matrix, plus a bias.

    The row belongs to the last `length` characters (1: bigrams). Only rows that the batch asks for
    are read, so the first gradient is sparse (IndexedSlices). Parameters: rows
    [vocabulary^length, rank], columns [rank, vocabulary], bias [vocabulary].
    """

    def __init__(self, vocabulary_size: int, rank: int, length: int = 1,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        starts = [initial_values.Start((vocabulary_size ** length, rank), 1.0),
                  initial_values.glorot(rank, vocabulary_size),
                  initial_values.constant(0.0, vocabulary_size)]
        super().__init__(starts, vocabulary_size, length, random_seed, noise_stdev)

    def inference(self, parameters: Sequence[tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
        rows, columns, bias = parameters
        place_values = [self.vocabulary_size ** place for place in range(self.length)]
        row_ids = tf.reduce_sum(ids * place_values, 1)
        return (tf.matmul(tf.gather(rows, row_ids), columns) + bias)[:, tf.newaxis]


class _RecurrentModel(LanguageModel):
    """Base of the recurrent networks: embedding, one layer of cells, a dense layer.

    Parameters: embeddings [vocabulary, features], input weights [features, gates * units],
    recurrent weights [units, gates * units], their biases as the subclass says, then W
    [units, vocabulary] and b.
    """

    def __init__(self, n_gates: int, biases: List[initial_values.Start], vocabulary_size: int,
                 length: int, n_features: int, units: int, random_seed: Optional[int],
                 noise_stdev: float) -> None:
        starts = [initial_values.Start((vocabulary_size, n_features), 1.0),
                  initial_values.glorot(n_features, n_gates * units),
                  initial_values.glorot(units, n_gates * units)] + biases
        starts += initial_values.dense((units, vocabulary_size))
        super().__init__(starts, vocabulary_size, length, random_seed, noise_stdev)
        self.units = units

    def inference(self, parameters, ids):
        embeddings, input_weights, recurrent_weights = parameters[:3]
        # All inputs at once, time first.
        features = self._embed(embeddings, tf.transpose(ids))
        inputs = tf.reshape(tf.matmul(features, input_weights) + parameters[3],
                            [self.length, -1, self.param_shapes[1][1]])
        hidden = self._run(tf.unstack(inputs), recurrent_weights, parameters[4:-2])
        outputs = tf.matmul(tf.reshape(tf.stack(hidden, 1), [-1, self.units]), parameters[-2])
        return tf.reshape(outputs + parameters[-1], [-1, self.length, self.vocabulary_size])

    def _run(self, inputs, weights, biases):
        """The hidden states [batch, units] after each of `inputs` [batch, gates * units]."""
        raise NotImplementedError


class GRU(_RecurrentModel):
    """A gated recurrent unit (arXiv 1406.1078), the reset gate after the matrix product.

    The gates are reset, update, candidate. Biases: of the inputs [3 units], of the recurrent part
    of the candidate [units].
    """

    def __init__(self, vocabulary_size: int, length: int, n_features: int = 16, units: int = 32,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        biases = [initial_values.constant(0.0, 3 * units), initial_values.constant(0.0, units)]
        super().__init__(3, biases, vocabulary_size, length, n_features, units, random_seed,
                         noise_stdev)

    def _run(self, inputs, weights, biases):
        state, states = tf.zeros_like(inputs[0][:, :self.units]), []
        for given in inputs:
            sizes = [2 * self.units, self.units]
            given_gates, given_candidate = tf.split(given, sizes, 1)
            gates, candidate = tf.split(tf.matmul(state, weights), sizes, 1)
            reset, update = tf.split(tf.sigmoid(given_gates + gates), 2, 1)
            candidate = tf.tanh(given_candidate + reset * (candidate + biases[0]))
            state = candidate + update * (state - candidate)
            states.append(state)
        return states


class LSTM(_RecurrentModel):
    """Long short-term memory; the forget gate's bias begins at 1.

    The gates are input, forget, output, candidate. Bias: [4 units].
    """

    def __init__(self, vocabulary_size: int, length: int, n_features: int = 16, units: int = 32,
                 random_seed: Optional[int] = None, noise_stdev: float = 0.0) -> None:
        bias = initial_values.constant(np.repeat([0.0, 1.0, 0.0, 0.0], units), 4 * units)
        super().__init__(4, [bias], vocabulary_size, length, n_features, units, random_seed,
                         noise_stdev)

    def _run(self, inputs, weights, biases):
        state = cell = tf.zeros_like(inputs[0][:, :self.units])
        states = []
        for given in inputs:
            gates, candidate = tf.split(given + tf.matmul(state, weights),
                                        [3 * self.units, self.units], 1)
            let_in, keep, let_out = tf.split(tf.sigmoid(gates), 3, 1)
            cell = keep * cell + let_in * tf.tanh(candidate)
            state = let_out * tf.tanh(cell)
            states.append(state)
        return states


class Transformer(LanguageModel):
    """A decoder: causal self-attention and a relu layer, normalized before (arXiv 2002.04745).

    Parameters: embeddings [vocabulary, width] and positions [length, width]; for each block scale
    and shift, W [width, 3 width] and b of query, key and value, W [width, width] and b after
    attention, scale and shift, W and b [width, 4 width], W and b [4 width, width]; last a scale and
    a shift, W [width, vocabulary] and b.

    Raises:
      ValueError: the heads do not divide the width.
    """

    def __init__(self, vocabulary_size: int, length: int, width: int = 32, n_heads: int = 4,
                 n_blocks: int = 1, random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        if width % n_heads:
            raise ValueError('%s heads do not divide the width %s' % (n_heads, width))
        self.width, self.n_heads, self.n_blocks = width, n_heads, n_blocks
        normalization = [initial_values.constant(1.0, width), initial_values.constant(0.0, width)]
        block = (normalization + initial_values.dense((width, 3 * width))
                 + initial_values.dense((width, width)) + normalization
                 + initial_values.dense((width, 4 * width, width), initial_values.he))
        starts = [initial_values.Start((vocabulary_size, width), 1.0),
                  initial_values.Start((length, width), 0.1)]
        starts += n_blocks * block + normalization + initial_values.dense((width, vocabulary_size))
        super().__init__(starts, vocabulary_size, length, random_seed, noise_stdev)

    def inference(self, parameters: Sequence[tf.Tensor], ids: tf.Tensor) -> tf.Tensor:
        rest = iter(parameters)

        def normalize(features):
            """Each vector, the last axis, with mean 0 and variance 1; then scaled and shifted."""
            mean, variance = tf.nn.moments(features, [-1], keepdims=True)
            return (features - mean) * tf.rsqrt(variance + _EPSILON) * next(rest) + next(rest)

        def apply_dense(features):
            return tf.matmul(features, next(rest)) + next(rest)

        features = tf.reshape(self._embed(next(rest), ids), [-1, self.length, self.width])
        features = tf.reshape(features + next(rest), [-1, self.width])
        for _ in range(self.n_blocks):
            features += apply_dense(self._attend(apply_dense(normalize(features))))
            features += apply_dense(tf.nn.relu(apply_dense(normalize(features))))
        logits = apply_dense(normalize(features))
        return tf.reshape(logits, [-1, self.length, self.vocabulary_size])

    def _attend(self, joined):
        """Attention to the positions up to each: [batch * length, 3 width] -> [.., width]."""
        joined = tf.reshape(joined, [-1, self.length, 3, self.n_heads, self.width // self.n_heads])
        query, key, value = tf.unstack(tf.transpose(joined, [2, 0, 3, 1, 4]))
        scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(self.width // self.n_heads)
        allowed = tf.linalg.band_part(tf.ones([self.length, self.length]), -1, 0)
        weights = tf.nn.softmax(scores - 1e9 * (1 - allowed))
        mixed = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return tf.reshape(mixed, [-1, self.width])
