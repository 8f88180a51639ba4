"""The step of the meta-optimizer: gradients of the meta-objective, made safe, applied."""

import collections

import tensorflow.compat.v1 as tf

#: The optimizer of the meta-parameters. `l2_reg * l2_reg_scale` is the weight of half their squared
#: norm in the meta-objective; `nan_l2_reg` times the meta-parameter replaces a non-finite entry of
#: a gradient. The learning rate falls exponentially, by the factor `decay_rate` in `decay_steps`
#: meta-steps.
MetaOptimizer = collections.namedtuple(
    'MetaOptimizer',
    'name rms_decay rms_epsilon l2_reg l2_reg_scale nan_l2_reg decay_rate decay_steps')
MetaOptimizer.__new__.__defaults__ = ('rmsprop', 0.9, 1e-20, 0.0, 1e-3, 0.01, 1.0, 1000)

_SCOPE = 'meta_step'  # in the names of some of the meta-optimizer's variables
LARGEST_GRADIENT = 1e15  # squares of so large entries can still be summed

#: `train`, the operation of one meta-step; `report`, the tensors of an `UnrollReport`; `variables`,
#: a dict from checkpoint names to meta-parameters, slots and the global step.
MetaStep = collections.namedtuple('MetaStep', 'train report variables')


def build(optimizer, graph, settings):
    """The operation that steps the meta-optimizer on an unroll's meta-objective.

    Where the unroll imitates, the imitation objective takes its place. A non-finite entry of the
    gradient never reaches the meta-parameters, nor does one above `LARGEST_GRADIENT`, whose square
    would make the norm infinite and the meta-optimizer's mean square useless.

    Args:
      optimizer: a `TrainableOptimizer`.
      graph: its `Unroll`.
      settings: has `meta_optimizer`, `learning_rate` and `gradient_clip` as `train_optimizer`.

    Returns:
      a `MetaStep`.

    Raises:
      ValueError: the meta-objective does not depend on a meta-parameter.
    """
    config = settings.meta_optimizer
    with tf.name_scope(_SCOPE):
        loss = tf.where(graph.imitate, graph.imitation_objective, graph.meta_objective)
        variables = optimizer.meta_parameters
        gradients = _meta_gradients(loss, optimizer)
        finite = [tf.abs(gradient) <= LARGEST_GRADIENT for gradient in gradients]
        norm = tf.global_norm(gradients)
        gradients = [tf.where(ok, gradient, config.nan_l2_reg * variable)
                     + config.l2_reg * config.l2_reg_scale * variable
                     for ok, gradient, variable in zip(finite, gradients, variables)]
        if settings.gradient_clip > 0:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.gradient_clip)
        stepper, global_step = _stepper(config, settings.learning_rate)
        train = stepper.apply_gradients(zip(tf.tuple(gradients), variables), global_step)
    nonfinite = 1.0 - (tf.add_n([tf.reduce_sum(tf.cast(ok, tf.float32)) for ok in finite])
                       / float(sum(variable.shape.num_elements() for variable in variables)))
    report = {'meta_objective': loss, 'objective': graph.problem_objectives[-1],
              'gradient_norm': norm, 'nonfinite_share': nonfinite, 'penalty': graph.penalty,
              'steps': graph.steps_taken}
    return MetaStep(train, report, _checkpoint_names(optimizer, stepper, global_step))


def value_types(make_optimizer, config):
    """What a checkpoint holds: dict from names to (shape, numpy type); builds no unroll."""
    with tf.Graph().as_default(), tf.name_scope(_SCOPE):
        optimizer = make_optimizer()
        stepper, global_step = _stepper(config, 1.0)
        stepper.apply_gradients([(tf.zeros(variable.shape), variable)
                                 for variable in optimizer.meta_parameters])
        names = _checkpoint_names(optimizer, stepper, global_step)
    return {name: (tuple(variable.shape.as_list()), variable.dtype.base_dtype.as_numpy_dtype)
            for name, variable in names.items()}


def _stepper(config, learning_rate):
    """The meta-optimizer and the count of its steps."""
    global_step = tf.Variable(0, trainable=False, name='global_step', dtype=tf.int32)
    rate = _learning_rate(learning_rate, config, global_step)
    return META_OPTIMIZERS[config.name](rate, config), global_step


def _learning_rate(initial, config, global_step):
    if config.decay_rate == 1.0:
        return initial
    return tf.train.exponential_decay(initial, global_step, config.decay_steps, config.decay_rate)


#: Name -> function (learning rate, `MetaOptimizer`) -> `tf.train.Optimizer`.
META_OPTIMIZERS = {
    'rmsprop': lambda rate, config: tf.train.RMSPropOptimizer(
        rate, decay=config.rms_decay, epsilon=config.rms_epsilon),
    'adam': lambda rate, config: tf.train.AdamOptimizer(rate),
}


def _meta_gradients(loss, optimizer):
    gradients = tf.gradients(loss, optimizer.meta_parameters)
    missing = [name for name, gradient in zip(optimizer.named_meta_parameters, gradients)
               if gradient is None]
    if missing:
        raise ValueError('The meta-objective does not depend on %s.' % ', '.join(missing))
    return gradients


def _checkpoint_names(optimizer, stepper, global_step):
    """What a checkpoint holds: dict from names, as published, to variables."""
    names = dict(optimizer.named_meta_parameters, global_step=global_step)
    for name, variable in optimizer.named_meta_parameters.items():
        for index, slot in enumerate(stepper.get_slot_names()):
            suffix = '/%s%s' % (stepper.get_name(), '_%d' % index if index else '')
            names[name + suffix] = stepper.get_slot(variable, slot)
    slots = {slot.name for slot in names.values()}
    others = [variable for variable in stepper.variables() if variable.name not in slots]
    return dict(names, **{variable.op.name: variable for variable in others})
