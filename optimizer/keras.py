"""A learned optimizer as a Keras 3 optimizer, for TensorFlow 2.

    model.compile(optimizer=LearnedOptimizer('pretrained/...'), loss=...)

The update rule is that of the `tf.train.Optimizer` classes in `optimizer/`, with arrays in place of
the variables that hold meta-parameters there. This is the one module that imports Keras.
"""

import base64
from typing import Any, Dict, List, Optional, Sequence

import keras
import numpy as np
import tensorflow.compat.v1 as tf

import optimizer
from optimizer import checkpoints, state_plan, step
from optimizer import gradients as gradients_of
from optimizer.arguments import warn_of_small_factor, with_num_steps
from optimizer.types import Folder, Gradient

if int(keras.__version__.split('.')[0]) < 3:
    raise ImportError('optimizer.keras needs Keras 3, as of TensorFlow 2.16; this is Keras %s. '
                      'In graphs use optimizer.load.' % keras.__version__)


@keras.saving.register_keras_serializable(package='learned_optimizers')
class LearnedOptimizer(keras.optimizers.Optimizer):
    """A learned optimizer for `model.compile`; works with `jit_compile=True`.

    A saved model holds the optimizer's description, its meta-parameters and its state: loading it
    needs no folder. Embeddings: rows without a gradient keep values and state, see
    `TrainableOptimizer.apply_gradients`.

    Args:
      folder: a run's folder, one of `pretrained/` or its name, see `optimizer.load`.
      learning_rate: factor of all steps, which callbacks of Keras show under this name. 1.0, the
        default, is the learned step: this is not the learning rate of Adam.
      num_steps: after how many steps training ends, for classes that can be told, as NormalizedMLP:
        the steps of an epoch times the epochs. None: not known.
      learned: in place of `folder`, what `get_config` gives under this name.
      name: of the optimizer.
      **kwargs: of `keras.optimizers.Optimizer`: `clipnorm`, `weight_decay`, `use_ema` and so on.

    Warns:
      UserWarning: a `learning_rate` that is below 0.01, a schedule throughout.

    Raises:
      ValueError: see `optimizer.load`; the class takes no `num_steps`; or the backend of Keras is
        not TensorFlow.
    """

    def __init__(self, folder: Optional[Folder] = None, learning_rate: Any = 1.0,
                 num_steps: Optional[int] = None, learned: Optional[Dict[str, Any]] = None,
                 name: str = 'learned_optimizer', **kwargs: Any) -> None:
        if keras.backend.backend() != 'tensorflow':
            raise ValueError('LearnedOptimizer needs the TensorFlow backend of Keras.')
        if (folder is None) == (learned is None):
            raise ValueError('LearnedOptimizer needs the folder of a run.')
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self._waiting: List[np.ndarray] = []  # values for variables that do not exist yet
        self._description, constants = _read(folder) if learned is None else _decode(learned)
        self._description['kwargs'] = with_num_steps(
            optimizer.OPTIMIZERS, self._description['name'], self._description['kwargs'], num_steps)
        if learned is None:
            warn_of_small_factor(_largest(learning_rate))
        with tf.init_scope():  # in eager mode, where meta-parameters are arrays
            self._learned = optimizer.build(self._description['name'], self._description['kwargs'],
                                            constants)
        self._learned.start_from(constants)  # which says what is missing

    def build(self, variables: Sequence[Any]) -> None:
        """Creates the state for these variables; called by Keras."""
        if self.built or not variables:  # Keras passes none where it loads an .h5 file
            return
        super().build(variables)
        with tf.init_scope():
            tables = [index for index, variable in enumerate(variables)
                      if self._learned.computes_rows_alone and _is_table(variable)]
            self._plan, start = state_plan.StatePlan.begin(
                self._learned, self._learned.read_meta_parameters(), variables, tables)
            self._kept = [self._keep(variables, place, value) for place, value in start.items()]
            super().set_weights(self._waiting)
            self._waiting = []

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Sets all variables; before they exist, as where Keras loads an .h5 file, once they do."""
        if self.built:
            super().set_weights(weights)
        else:
            self._waiting = [np.array(weight) for weight in weights]
            for variable, value in zip(self.variables, self._waiting):  # the count of steps
                variable.assign(value)

    def _keep(self, variables, place, value):
        """The variable for a tensor of the state."""
        owner = variables[max(0, place.variable)]
        path = getattr(owner, 'path', owner.name)
        name = '%d_%s_%s' % (max(0, place.variable), path, place.name)  # paths are not unique
        with self._distribution_strategy.extended.colocate_vars_with(_owned(owner)):
            return self.add_variable(value.shape, lambda *_, **__: value, 'float32',
                                     name=name.replace('/', '_').replace(':', '_'))

    def _distributed_tf_update_step(self, distribution, grads_and_vars, learning_rate):
        """One step of all variables together, on each device; Keras calls this where replicas have
        summed their gradients, in place of `update_step` for each variable."""
        gradients: List[List[Gradient]] = [[] for _ in self._trainable_variables]
        for gradient, variable in grads_and_vars:
            gradients[self._get_variable_index(variable)].append(gradient)
        variables = [_owned(variable) for variable in self._trainable_variables]
        kept = [_owned(variable) for variable in self._kept]
        distribution.extended.update(
            variables[0], lambda _, *here: self._assign_step(*here),
            args=(gradients, variables, kept, learning_rate), group=False)

    def _assign_step(self, gradients, variables, kept, learning_rate):
        """The step on one device; for each variable a list of gradients."""
        for several, variable in zip(gradients, variables):
            for gradient in several:
                gradients_of.check(gradient, variable)
        gradients = [gradients_of.summed(several) if several else None for several in gradients]
        changes = step.changes(
            self._learned, self._learned.read_meta_parameters(), self._plan, gradients, variables,
            dict(zip(self._plan.places, kept)), step.Scaling(tf.cast(learning_rate, tf.float32)),
            [None] * len(variables))
        for owner, value, rows in changes:
            if rows is None:
                owner.assign(value)
            else:
                owner.scatter_update(tf.IndexedSlices(value, rows))

    def get_config(self) -> Dict[str, Any]:
        """Everything that makes the same optimizer again, meta-parameters included."""
        constants = self._learned.named_meta_parameters
        learned = dict(
            self._description,
            shapes={name: list(value.shape) for name, value in constants.items()},
            meta_parameters={name: base64.b64encode(value.astype('<f4').tobytes()).decode('ascii')
                             for name, value in constants.items()})
        return dict(super().get_config(), learned=learned)


class StepSizes(keras.callbacks.Callback):
    """Logs how large steps are, by layer: what learning rates are to other optimizers.

    At the end of each epoch there are, in `history` and for callbacks that come later in the list,
    such as TensorBoard, `step_size/<layer>`: the root mean square, over a layer's trainable
    weights, of the change in one step, averaged over the steps that were looked at; of
    a `LearnedOptimizer` also `times_learned_step`, its factor. Where `steps_per_execution` is above
    1, the change is that of so many steps. Works with every optimizer.

    Args:
      every: look at one of so many steps; each look copies the weights twice.

    Raises:
      ValueError: `every` below 1.
    """

    def __init__(self, every: int = 10) -> None:
        super().__init__()
        if every < 1:
            raise ValueError('StepSizes looks at one of 1 or more steps, not of %s.' % every)
        self._every = every
        self._before: Dict[str, List[np.ndarray]] = {}
        self._seen: Dict[str, List[float]] = {}

    def on_epoch_begin(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._seen = {}

    def on_train_batch_begin(self, batch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        self._before = self._weights() if batch % self._every == 0 else {}

    def on_train_batch_end(self, batch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        for layer, after in (self._weights() if self._before else {}).items():
            change = np.concatenate([np.ravel(new - old).astype('float64') for new, old
                                     in zip(after, self._before[layer])])
            self._seen.setdefault(layer, []).append(float(np.sqrt(np.mean(np.square(change)))))

    def on_epoch_end(self, epoch: int, logs: Optional[Dict[str, Any]] = None) -> None:
        if logs is not None:
            logs.update({'step_size/' + layer: float(np.mean(sizes))
                         for layer, sizes in self._seen.items()})
            if isinstance(self.model.optimizer, LearnedOptimizer):
                logs['times_learned_step'] = float(np.array(self.model.optimizer.learning_rate))

    def _weights(self):
        """Dict from the layers' paths in the model to copies of their trainable weights."""
        layers: Dict[str, List[np.ndarray]] = {}
        for variable in self.model.trainable_variables:
            path = variable.path.split('/')[:-1]
            if path[:1] == [self.model.name]:  # Sequential puts its name in front
                path = path[1:]
            layers.setdefault('/'.join(path), []).append(np.array(variable))
        return layers


def _largest(learning_rate):
    """A factor, or the largest one of a schedule at the steps 0, 10, 100 and so on."""
    if not isinstance(learning_rate, keras.optimizers.schedules.LearningRateSchedule):
        return learning_rate
    return max(float(learning_rate(steps)) for steps in (0, 10, 100, 1000, 10000, 100000))


def _read(folder):
    """The description and the meta-parameters in a run's folder."""
    folder = optimizer.find(folder)
    name, arguments = optimizer.describe(folder)
    return {'name': name, 'kwargs': arguments}, checkpoints.read_checkpoint(folder)


def _decode(learned):
    """The inverse of what `get_config` does."""
    constants = {name: np.frombuffer(base64.b64decode(text), '<f4').reshape(learned['shapes'][name])
                 for name, text in learned['meta_parameters'].items()}
    return {'name': learned['name'], 'kwargs': learned['kwargs']}, constants


def _is_table(variable):
    """Whether a variable is likely to be the table of an `Embedding`, by its name and rank.

    The layer is not known here, nor is any gradient. A guess costs time where it is wrong: a table
    takes dense gradients, too, and every other variable IndexedSlices.
    """
    return len(variable.shape) == 2 and variable.name.split(':')[0].split('/')[-1] == 'embeddings'


def _owned(variable):
    """The variable of TensorFlow in a variable of Keras, or as it is."""
    return variable.value if isinstance(variable, keras.Variable) else variable
