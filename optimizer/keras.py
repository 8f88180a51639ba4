"""A learned optimizer as a Keras 3 optimizer, for TensorFlow 2.

    model.compile(optimizer=LearnedOptimizer('pretrained/...'), loss=...)

The update rule is that of the `tf.train.Optimizer` classes in `optimizer/`, with constants in place
of the variables that hold meta-parameters there. This is the one module that imports Keras.
"""

import base64

import keras
import numpy as np
import tensorflow.compat.v1 as tf

import optimizer
from optimizer import checkpoints, trainable_optimizer


@keras.saving.register_keras_serializable(package='learned_optimizers')
class LearnedOptimizer(keras.optimizers.Optimizer):
    """A learned optimizer for `model.compile`; works with `jit_compile=True`.

    A saved model holds the optimizer's description, its meta-parameters and its state: loading it
    needs no folder. Embeddings: rows without a gradient keep values and state, see
    `TrainableOptimizer.apply_gradients`.

    Args:
      folder: a run's folder or one of `pretrained/`, see `optimizer.load`.
      learning_rate: factor of all steps. 1, the default, is what was meta-trained.
      learned: in place of `folder`, what `get_config` gives under this name.
      name: of the optimizer.
      **kwargs: of `keras.optimizers.Optimizer`: `clipnorm`, `weight_decay`, `use_ema` and so on.

    Raises:
      ValueError: see `optimizer.load`; or the backend of Keras is not TensorFlow.
    """

    def __init__(self, folder=None, learning_rate=1.0, learned=None, name='learned_optimizer',
                 **kwargs):
        if keras.backend.backend() != 'tensorflow':
            raise ValueError('LearnedOptimizer needs the TensorFlow backend of Keras.')
        if (folder is None) == (learned is None):
            raise ValueError('LearnedOptimizer needs the folder of a run.')
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self._description, constants = _read(folder) if learned is None else _decode(learned)
        self._learned = optimizer.build(
            self._description['name'], self._description['kwargs'], constants)

    def build(self, variables):
        """Creates the state for these variables; called by Keras."""
        if self.built:
            return
        super().build(variables)
        with tf.init_scope():
            initial = [variable.value for variable in variables]
            self._layout = self._learned.layout([tuple(variable.shape) for variable in variables])
            state = self._learned.initial_state(self._layout, tf.convert_to_tensor,
                                                self._learned.random_key())
            attends = self._learned.use_attention
            true_params = self._layout.to_chunks(initial) if attends else []
            self._state = tf.nest.map_structure(self._variable, (state, true_params))

    def _variable(self, value):
        return self.add_variable(value.shape, lambda *_, **__: value, 'float32', name='state')

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        """One step of all variables together; Keras calls this in place of `update_step`s."""
        gradients = {self._get_variable_index(variable): gradient
                     for gradient, variable in zip(grads, trainable_variables)}
        variables = self._trainable_variables
        values = trainable_optimizer.Values([_value(variable) for variable in variables],
                                            *tf.nest.map_structure(_value, self._state))
        moved = self._learned.next_values(
            self._layout, [gradients.get(index) for index in range(len(variables))], values,
            scale=tf.cast(learning_rate, tf.float32))
        owners = [variables] + list(self._state)
        for owner, value in zip(tf.nest.flatten(owners), tf.nest.flatten(moved)):
            owner.assign(value)

    def get_config(self):
        """Everything that makes the same optimizer again, meta-parameters included."""
        constants = self._learned.named_meta_parameters
        learned = dict(
            self._description,
            shapes={name: list(value.shape) for name, value in constants.items()},
            meta_parameters={name: base64.b64encode(value.astype('<f4').tobytes()).decode('ascii')
                             for name, value in constants.items()})
        return dict(super().get_config(), learned=learned)


def _read(folder):
    """The description and the meta-parameters in a run's folder."""
    name, arguments = optimizer.describe(folder)
    return {'name': name, 'kwargs': arguments}, checkpoints.read_checkpoint(folder)


def _decode(learned):
    """The inverse of what `get_config` does."""
    constants = {name: np.frombuffer(base64.b64decode(text), '<f4').reshape(learned['shapes'][name])
                 for name, text in learned['meta_parameters'].items()}
    return {'name': learned['name'], 'kwargs': learned['kwargs']}, constants


def _value(variable):
    return tf.convert_to_tensor(variable.value)
