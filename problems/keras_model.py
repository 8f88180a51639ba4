"""A Keras 3 model, with its loss, as a `Problem`."""

import re
from typing import Any, Callable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem import Problem
from problems.random_numbers import generator, global_generators_from, key_of

_SEED_STATE = re.compile('seed_generator_state')  # in the names of variables of random layers


class KerasModel(Problem):
    """The problem of minimizing a Keras 3 model's loss over its trainable variables.

    The model works as in training. Its random layers, such as dropout, draw anew at every step,
    but as a function of the parameters, so that a run repeats. Variables that are not trained stay
    at their initial values; batch normalization uses the statistics of the batch. What the model
    adds to the loss, its regularizers for instance, counts. Only TensorFlow 2 has Keras 3; for
    TensorFlow 1 there is `ModelAdapter`.

    Args:
      make_model: a function of no arguments that returns a new model whose variables exist: it
        begins with `keras.Input`, or is built. Its initial values come from the seed.
      loss: as for `model.compile`: a name, a `keras.losses.Loss`, or a function of (labels,
        outputs); the mean is taken of what it gives.
      random_seed: of variables that are not trained; None: 0.

    Raises:
      ValueError: `make_model` makes no Keras 3 model that is built, or nothing in it is trained.
    """

    needs_data = True

    def __init__(self, make_model: Callable[[], Any], loss: Any,
                 random_seed: Optional[int] = None) -> None:
        self._make_model, self._loss = make_model, loss
        self._model, trained, self._constants = self._draw(random_seed or 0)
        super().__init__([value.shape for value in trained], random_seed)

    def initial_values(self, seed: Optional[int] = None) -> List[np.ndarray]:
        """Returns the initial values of the trainable variables, drawn from `seed`."""
        return self._draw(generator(None).randint(2 ** 31 - 1) if seed is None else int(seed))[1]

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        """As `initial_values`, computed where the tensors are; they may not leave the process."""
        if seed is None:
            seed = tf.random_uniform([], maxval=2 ** 31 - 1, dtype=tf.int32)
        values = tf.numpy_function(self.initial_values, [seed],
                                   [tf.float32] * len(self.param_shapes))
        for value, shape in zip(values, self.param_shapes):
            value.set_shape(shape)
        return list(values)

    def accuracy(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                 labels: tf.Tensor) -> Optional[tf.Tensor]:
        if not labels.dtype.is_integer:
            return None
        outputs = self._call(parameters, data, training=False)[0]
        if outputs.shape.ndims != 2 or outputs.shape.as_list()[1] == 1:
            return None
        right = tf.equal(tf.argmax(outputs, 1, output_type=labels.dtype), labels)
        return tf.reduce_mean(tf.cast(right, tf.float32))

    def _objective(self, parameters, data, labels):
        import keras

        outputs, losses = self._call(parameters, data, training=True)
        loss = tf.reduce_mean(tf.cast(keras.losses.get(self._loss)(labels, outputs), tf.float32))
        return tf.add_n([loss] + [tf.cast(each, tf.float32) for each in losses])

    def _call(self, parameters, data, training):
        """The model's outputs and the losses that it adds itself."""
        parameters = [tf.convert_to_tensor(parameter) for parameter in parameters]
        key = key_of(parameters)
        constants = [
            value + tf.cast(key, value.dtype) if _SEED_STATE.search(variable.name)
            else tf.constant(value)
            for value, variable in zip(self._constants, self._model.non_trainable_variables)]
        outputs, _, losses = self._model.stateless_call(
            parameters, constants, data, training=training, return_losses=True)
        return outputs, losses

    def _draw(self, seed):
        """A new model, and its initial values: of the variables that are trained, of the others.

        In a graph of its own: so it is the same whether the process executes eagerly or not.
        """
        with tf.Graph().as_default(), global_generators_from(seed), tf.device(
                lambda operation: ''):
            model = self._make_model()
            if not hasattr(model, 'stateless_call'):
                raise ValueError('make_model() must return a Keras 3 model, not %s' % (
                    type(model).__name__))
            groups = [[variable.value for variable in group] for group in (
                model.trainable_variables, model.non_trainable_variables)]
            if not groups[0]:
                raise ValueError('the model has no trainable variables: begin it with keras.Input, '
                                 'so that it is built')
            # It may run within another session: threads of its own keep both from waiting.
            with tf.Session(config=tf.ConfigProto(
                    use_per_session_threads=True, device_count={'GPU': 0})) as session:
                session.run([variable.initializer for group in groups for variable in group])
                trained, others = session.run(
                    [[variable.read_value() for variable in group] for group in groups])
            return model, [np.asarray(value, 'float32') for value in trained], others
