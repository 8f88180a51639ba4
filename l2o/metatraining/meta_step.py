"""The step of the meta-optimizer: gradients of the meta-objective, made safe, applied."""

from typing import Callable, Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.config import MetaOptimizer
from l2o.techniques.averaging import MovingAverage
from optimizer.trainable_optimizer import TrainableOptimizer
from optimizer.unroll import Unroll

_SCOPE = 'meta_step'  # in the names of some of the meta-optimizer's variables
IMITATION = 'OfImitation'  # in the names of the slots for what is imitated, where they are apart
LARGEST_GRADIENT = 1e15  # squares of so large entries can still be summed

#: Name -> function (learning rate, `MetaOptimizer`, suffix of a name) -> `tf.train.Optimizer`.
META_OPTIMIZERS = {
    'rmsprop': lambda rate, config, suffix: tf.train.RMSPropOptimizer(
        rate, decay=config.rms_decay, epsilon=config.rms_epsilon, name='RMSProp' + suffix),
    'adam': lambda rate, config, suffix: tf.train.AdamOptimizer(rate, name='Adam' + suffix),
}


class MetaStep(NamedTuple):
    """One step of the meta-optimizer on the meta-objective of an unroll."""

    train: tf.Operation
    imitate: tf.Operation  # of an unroll that imitates: the same, but where imitation is apart
    report: dict  # tensors: the fields of an `UnrollReport` but `imitated`


class MetaSteps:
    """The meta-optimizer of a graph, which steps on the unrolls of one or several problems.

    Args:
      optimizer: the `TrainableOptimizer` whose meta-parameters are trained.
      config: a `MetaOptimizer`.
      apart: whether there are slots of their own for what is imitated.

    Attributes:
      rate_factor: a placeholder, 1 by default; the learning rate is multiplied by it.
      importance: a placeholder, 1 by default; a meta-gradient is multiplied by it, once clipped.
    """

    def __init__(self, optimizer: TrainableOptimizer, config: MetaOptimizer,
                 apart: bool = False) -> None:
        self._optimizer, self._config = optimizer, config
        with tf.name_scope(_SCOPE) as self._scope:
            self._global_step = tf.Variable(0, trainable=False, name='global_step', dtype=tf.int32)
            self.importance = tf.placeholder_with_default(1.0, [], name='importance')
            self.rate_factor = tf.placeholder_with_default(1.0, [], name='rate_factor')
            rate = config.learning_rate
            if config.decay_rate != 1.0:
                rate = tf.train.exponential_decay(rate, self._global_step, config.decay_steps,
                                                  config.decay_rate)
            if len(config.rate_factors) > 1:
                rate = rate * self.rate_factor
            self._steppers = [META_OPTIMIZERS[config.name](rate, config, suffix)
                              for suffix in ([''] + [IMITATION] * apart)]
            self._average = None
            if config.average_decay:
                self._average = MovingAverage(optimizer.named_meta_parameters,
                                              config.average_decay)

    def on(self, unroll: Unroll) -> MetaStep:
        """The `MetaStep` on the meta-objective of an `Unroll`, or on what it imitates.

        A non-finite entry of the gradient counts as zero; one above `LARGEST_GRADIENT` counts as
        that, since its square would make the meta-optimizer's mean square infinite.

        Raises:
          ValueError: the meta-objective does not depend on a meta-parameter.
        """
        config, variables = self._config, self._optimizer.meta_parameters
        clip = config.gradient_clip
        with tf.name_scope(self._scope):
            loss = tf.where(unroll.imitate, unroll.imitation_objective, unroll.meta_objective)
            gradients = unroll.meta_gradients or self._meta_gradients(loss)
            finite = [tf.is_finite(gradient) for gradient in gradients]
            norm = tf.global_norm(gradients)
            gradients = [tf.where(ok, gradient, tf.zeros_like(gradient))
                         + 2.0 * config.l2_reg * variable
                         for ok, gradient, variable in zip(finite, gradients, variables)]
            by_entry = clip if clip > 0 and config.clip_by == 'entry' else np.inf
            bound = min(by_entry, LARGEST_GRADIENT)
            gradients = [tf.clip_by_value(gradient, -bound, bound) for gradient in gradients]
            if clip > 0 and config.clip_by == 'norm':
                gradients, _ = tf.clip_by_global_norm(gradients, clip)
            gradients = [self.importance * gradient for gradient in gradients]
            train = self._apply(gradients)
        nonfinite = 1.0 - (tf.add_n([tf.reduce_sum(tf.cast(ok, tf.float32)) for ok in finite])
                           / float(sum(variable.shape.num_elements() for variable in variables)))
        return MetaStep(train[0], train[-1], {
            'meta_objective': loss, 'objective': unroll.problem_objectives[-1],
            'gradient_norm': norm, 'nonfinite_share': nonfinite, 'penalty': unroll.penalty,
            'steps': unroll.steps_taken, 'ended_early': unroll.ended_early})

    def _meta_gradients(self, loss):
        gradients = tf.gradients(loss, self._optimizer.meta_parameters)
        missing = [name for name, gradient in zip(self._optimizer.named_meta_parameters, gradients)
                   if gradient is None]
        if missing:
            raise ValueError('The meta-objective does not depend on %s.' % ', '.join(missing))
        return gradients

    def _apply(self, gradients):
        """A list: the operation of a step, and where imitation is apart that of such a step."""
        pairs, steps = list(zip(tf.tuple(gradients), self._optimizer.meta_parameters)), []
        for stepper in self._steppers:
            step = stepper.apply_gradients(pairs, self._global_step)
            if self._average is not None:
                with tf.control_dependencies([step]):
                    step = tf.group(self._average.update())
            steps.append(step)
        return steps

    def variables(self) -> Dict[str, tf.Variable]:
        """What a run saves: dict from names, as published, to variables.

        The meta-parameters, the slots of the meta-optimizer (once it has stepped on an unroll),
        the count of its steps, and the moving average.
        """
        learned = self._optimizer.named_meta_parameters
        names = dict(learned, global_step=self._global_step)
        for stepper in self._steppers:
            for name, variable in learned.items():
                for index, slot in enumerate(stepper.get_slot_names()):
                    suffix = '/%s%s' % (stepper.get_name(), '_%d' % index if index else '')
                    names[name + suffix] = stepper.get_slot(variable, slot)
            slots = {slot.name for slot in names.values()}
            others = [variable for variable in stepper.variables() if variable.name not in slots]
            names.update({variable.op.name: variable for variable in others})
        return names if self._average is None else dict(names, **self._average.variables)


class SavedTypes(NamedTuple):
    """What a run saves."""

    types: dict  # from names to (shape, numpy type)
    meta_parameters: frozenset  # the names of the meta-parameters among them


def saved_types(make_optimizer: Callable[[], TrainableOptimizer], config: MetaOptimizer,
                apart: bool = False) -> SavedTypes:
    """The `SavedTypes` of an optimizer with a meta-optimizer; builds no unroll."""
    with tf.Graph().as_default():
        optimizer = make_optimizer()
        steps = MetaSteps(optimizer, config, apart)
        with tf.name_scope(steps._scope):
            steps._apply([tf.zeros(variable.shape) for variable in optimizer.meta_parameters])
        names = steps.variables()
    types = {name: (tuple(variable.shape.as_list()), variable.dtype.base_dtype.as_numpy_dtype)
             for name, variable in names.items()}
    return SavedTypes(types, frozenset(optimizer.named_meta_parameters))
