"""The differentiable unrolled loop: what meta-training differentiates through.

One unroll runs an optimizer for n steps on a problem and gives the meta-objective as a
differentiable function of the meta-parameters (truncated backpropagation through time). Parameters
and optimizer state are carried to the next unroll by the very run that was trained on.
"""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

EPSILON = 1e-6  # inside the logarithm of the meta-objective
NOISE = 2 ** 19  # added to a random key, makes it that of the gradients' noise

#: What can be fed. `objective_weights [n]` and `batches [n, batch]` (indices into `data`) set the
#: number of steps; all others have defaults. `first_unroll`: begin a new optimizee at
#: `initial_params`, with a new initial objective; else go on from `state`. `reset_state`: with a
#: fresh optimizer state (default: as `first_unroll`). `imitate`: let the parameters follow
#: `teacher_steps`, which are subtracted. `regularize`: let the penalty count. `labels` are integer
#: class ids. `random_key`, int32 [2], decides what is random in fresh state, in the penalty and in
#: the problem's gradients.
Inputs = collections.namedtuple(
    'Inputs', 'objective_weights batches first_unroll reset_state imitate regularize data labels '
    'initial_params teacher_steps random_key')

#: A data set in variables.
Data = collections.namedtuple('Data', 'data labels')

#: What unrolls hand on: parameters, the points at which attention takes gradients (empty without),
#: the optimizer's state, and the objective with which the optimizee began.
Carried = collections.namedtuple('Carried', 'params attended optimizer initial_objective')

#: The graph of an unroll: objectives, `Inputs`, the mean penalty, the number of steps taken (fewer
#: than n where the objective exploded), the variables `state`, the loop's results `next_state`
#: (both `Carried`), and `carry`, the operation that assigns the latter to the former.
Unroll = collections.namedtuple(
    'Unroll', ('meta_objective', 'imitation_objective', 'problem_objectives', 'initial_objective')
    + Inputs._fields + ('penalty', 'steps_taken', 'state', 'next_state', 'carry'))

#: A run without meta-gradient: what is fed (as in `Inputs`), and the objective on all data after
#: the last of the `batches`, with the parameters there.
Rollout = collections.namedtuple(
    'Rollout', 'batches data labels initial_params random_key final_objective final_params')

#: The loop's variables. `record` has a TensorArray for each tensor of the parameters, whose
#: objectives are computed after the loop, or the only one of the objectives themselves.
Loop = collections.namedtuple(
    'Loop', 'step params attended optimizer record objective imitation penalty')


def build_unroll(optimizer, problem, dataset=None, penalty=None):
    """Builds the graph of one unroll.

    Args:
      optimizer: a `TrainableOptimizer`.
      problem: has `param_shapes`, `init_tensors`, `objective(parameters, data, labels)` and
        `gradients(objective, parameters)`; may have `objectives(parameters, data, labels)`, the
        same for n points at once, `[n] + shape` -> `[n]`, and `noise_from(key)`, a context in which
        what is random in `gradients` is a function of `key`, int32 [2].
      dataset: has arrays `data` and `labels`, defaults of the placeholders; None: no data.
      penalty: None or a callable `(objective_fn, parameters, step, key) -> scalar` with attributes
        `meta_weight` (of its mean over the steps in the meta-objective; 1 if it has none) and
        `inner_weight` (in the objective that is optimized; 0 if it has none); with the latter it
        also has `gradients(objective_fn, parameters, step, key)`.

    Returns:
      an `Unroll`.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('unroll'):
        inputs = _inputs(optimizer, problem, dataset)
        with tf.name_scope('state'):
            state = _state_variables(optimizer, problem, layout)
        with tf.name_scope('start'):
            start = _start(optimizer, problem, layout, inputs, state)
        with tf.name_scope('loop'):
            end = _run(optimizer, problem, layout, inputs, start, penalty)
        with tf.name_scope('objectives'):
            objectives = tf.concat([[start.initial_objective],
                                    _objectives(optimizer, problem, inputs, end)], 0)
            meta_objective = _meta_objective(optimizer, objectives, inputs, end.step)
            mean_penalty = end.penalty / tf.cast(tf.maximum(end.step, 1), tf.float32)
            if penalty is not None:
                meta_objective += getattr(penalty, 'meta_weight', 1.0) * mean_penalty
        next_state = Carried(end.params, end.attended, end.optimizer, start.initial_objective)
        carry = _assign(state, next_state, [meta_objective, end.imitation])
    return Unroll(meta_objective, end.imitation, objectives, start.initial_objective,
                  *inputs, penalty=mean_penalty, steps_taken=end.step, state=state,
                  next_state=next_state, carry=carry)


def build_rollout(optimizer, problem, dataset=None):
    """Builds the graph that runs an optimizer from its initial state, to validate it.

    Any number of steps in constant memory; the objective on all data is computed once, at the end.

    Args:
      optimizer, problem, dataset: as for `build_unroll`.

    Returns:
      a `Rollout`.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('rollout'):
        data, labels = dataset_placeholders(dataset)
        batches = tf.placeholder(tf.int32, [None, None], name='batches')
        rollout = Rollout(batches, data, labels, _initial_params(problem),
                          _random_key(optimizer), None, None)
        rule = optimizer.step_rule(layout)

        def body(step, params, attended, state):
            batch = _batch(rollout, step)
            points = attended or params
            gradients = problem_gradients(problem, problem.objective(points, *batch), points,
                                          rollout.random_key, step)
            update = rule(gradients, state)
            moved = [param + move for param, move in zip(params, layout.to_tensors(update.steps))]
            return step + 1, moved, _attended(layout, params, update), update.state

        params = _copy(rollout.initial_params)
        start = (tf.constant(0), params, params if optimizer.use_attention else [],
                 optimizer.initial_state(layout, tf.identity, rollout.random_key))
        _, params, _, _ = tf.while_loop(lambda step, *_: step < tf.shape(batches)[0], body, start,
                                        back_prop=False)
        return rollout._replace(final_objective=problem.objective(params, data, labels),
                                final_params=params)


def problem_gradients(problem, objective, params, key, step):
    """A problem's gradients; their noise follows from the key, if there is one, and the step."""
    noise_from = getattr(problem, 'noise_from', None)
    if noise_from is None or key is None:
        return problem.gradients(objective, params)
    with noise_from(key + tf.stack([NOISE, step])):
        return problem.gradients(objective, params)


def _initial_params(problem):
    return [tf.placeholder_with_default(tensor, tensor.shape) for tensor in problem.init_tensors()]


def _random_key(optimizer):
    return tf.placeholder_with_default(optimizer.random_key(), [2], name='random_key')


def _inputs(optimizer, problem, dataset):
    initial_params = _initial_params(problem)
    shapes = [tensor.shape.as_list() for tensor in initial_params]
    first_unroll = tf.placeholder_with_default(True, [], name='first_unroll')
    data, labels = dataset_placeholders(dataset)
    return Inputs(
        objective_weights=tf.placeholder(tf.float32, [None], name='objective_weights'),
        batches=tf.placeholder(tf.int32, [None, None], name='batches'),
        first_unroll=first_unroll,
        reset_state=tf.placeholder_with_default(first_unroll, [], name='reset_state'),
        imitate=tf.placeholder_with_default(False, [], name='imitate'),
        regularize=tf.placeholder_with_default(False, [], name='regularize'),
        data=data, labels=labels, initial_params=initial_params,
        teacher_steps=[tf.placeholder_with_default(tf.zeros([1] + shape), [None] + shape)
                       for shape in shapes],
        random_key=_random_key(optimizer))


def dataset_placeholders(dataset):
    """Placeholders for data and labels whose defaults are the data set's arrays or variables."""
    if dataset is None:
        return (tf.placeholder_with_default(tf.zeros([0]), None, name='data'),
                tf.placeholder_with_default(tf.zeros([0], tf.int32), None, name='labels'))
    if isinstance(dataset.data, np.ndarray):
        dataset = dataset_variables(dataset)
    return tuple(tf.placeholder_with_default(array, [None] + array.shape.as_list()[1:], name=name)
                 for name, array in zip(('data', 'labels'), dataset[:2]))


def dataset_variables(dataset):
    """Local variables `data` and `labels` that hold a data set, once for all graphs built on it."""
    with tf.name_scope('dataset'):
        return Data(*[_array_variable(name, array) for name, array in zip(Data._fields, dataset)])


def _array_variable(name, array):
    value = tf.numpy_function(lambda: array, [], array.dtype)  # keeps the array out of the GraphDef
    value.set_shape(array.shape)
    return tf.Variable(value, trainable=False, name=name, use_resource=True,
                       collections=[tf.GraphKeys.LOCAL_VARIABLES])


def _state_variables(optimizer, problem, layout):
    zeros = [tf.zeros(shape) for shape in layout.shapes]
    state = optimizer.initial_state(layout, lambda variable: tf.zeros(variable.shape),
                                    tf.zeros([2], tf.int32))
    carried = Carried(zeros, zeros if optimizer.use_attention else [],
                      tf.nest.map_structure(tf.zeros_like, state), tf.zeros([]))
    return optimizer.local_variables_like(carried)


def _start(optimizer, problem, layout, inputs, state):
    """The values that the loop begins with."""
    params, attended = tf.cond(
        inputs.first_unroll,
        lambda: (_copy(inputs.initial_params), _copy(inputs.initial_params[:len(state.attended)])),
        lambda: (_copy(state.params), _copy(state.attended)), strict=True)
    optimizer_state = tf.cond(inputs.reset_state,
                              lambda: _copy(optimizer.initial_state(layout, tf.identity,
                                                                    inputs.random_key)),
                              lambda: _copy(state.optimizer), strict=True)
    initial_objective = tf.cond(
        inputs.first_unroll,
        lambda: problem.objective(params, inputs.data, inputs.labels),
        lambda: tf.identity(state.initial_objective))
    return Carried(params, attended, optimizer_state, tf.stop_gradient(initial_objective))


def _copy(structure):
    return tf.nest.map_structure(tf.identity, structure)


def _run(optimizer, problem, layout, inputs, start, penalty):
    num_steps = tf.size(inputs.objective_weights)
    rule = optimizer.step_rule(layout)
    loop = Loop(step=tf.constant(0), params=start.params, attended=start.attended,
                optimizer=start.optimizer,
                record=[tf.TensorArray(tf.float32, num_steps, element_shape=shape) for shape in
                        (layout.shapes if _objectives_after_loop(optimizer, problem) else [()])],
                objective=start.initial_objective, imitation=tf.zeros([]), penalty=tf.zeros([]))

    def body(*variables):
        return _step(optimizer, problem, layout, rule, inputs, penalty, Loop(*variables))

    return Loop(*tf.while_loop(_condition(optimizer, num_steps, start.initial_objective), body,
                               loop))


def _condition(optimizer, num_steps, initial_objective):
    multiplier = optimizer.obj_train_max_multiplier
    if multiplier <= 0:
        return lambda step, *_: step < num_steps
    bound = initial_objective + (multiplier - 1.0) * tf.abs(initial_objective)
    return lambda *loop: tf.logical_and(loop[0] < num_steps, Loop(*loop).objective <= bound)


def _step(optimizer, problem, layout, rule, inputs, penalty, loop):
    after_loop = _objectives_after_loop(optimizer, problem)
    with tf.name_scope('objective'):
        objective = loop.objective if after_loop else problem.objective(
            loop.params, inputs.data, inputs.labels)
    with tf.name_scope('penalty'):
        penalty_value = _penalty(problem, inputs, penalty, loop)
    with tf.name_scope('gradients'):
        points = loop.attended or loop.params
        gradients = _gradients(optimizer, problem, inputs, penalty, loop.step, points)
    with tf.name_scope('update'):
        update = rule(gradients, loop.optimizer)
        steps = layout.to_tensors(update.steps)
    with tf.name_scope('imitation'):
        teacher_steps = [-step[tf.minimum(loop.step, tf.shape(step)[0] - 1)]
                         for step in inputs.teacher_steps]
        distance = inputs.objective_weights[loop.step] * _distance(steps, teacher_steps)
        steps = tf.cond(inputs.imitate, lambda: _copy(teacher_steps), lambda: _copy(steps),
                        strict=True)
    attended = _attended(layout, loop.params, update)
    return Loop(step=loop.step + 1,
                params=[param + step for param, step in zip(loop.params, steps)],
                attended=attended, optimizer=update.state,
                record=[array.write(loop.step, value) for array, value in
                        zip(loop.record, loop.params if after_loop else [objective])],
                objective=objective,
                imitation=loop.imitation + distance, penalty=loop.penalty + penalty_value)


def _objectives_after_loop(optimizer, problem):
    """Whether the objectives, which decide nothing in the loop, are computed together after it."""
    return (getattr(problem, 'objectives', None) is not None
            and optimizer.obj_train_max_multiplier <= 0)


def _objectives(optimizer, problem, inputs, end):
    """The objectives before each step, `[steps taken]`."""
    record = [array.gather(tf.range(end.step)) for array in end.record]
    if not _objectives_after_loop(optimizer, problem):
        return record[0]
    return problem.objectives(record, inputs.data, inputs.labels)


def _attended(layout, params, update):
    """Where attention takes the next gradients; empty without attention."""
    if update.attention is None:
        return []
    return [param + step for param, step in zip(params, layout.to_tensors(update.attention))]


def _gradients(optimizer, problem, inputs, penalty, step, params):
    """The gradients of the mini-batch objective of this step."""
    data, labels = _batch(inputs, step)
    objective = problem.objective(params, data, labels)
    gradients = problem_gradients(problem, objective, params, inputs.random_key, step)
    weight = getattr(penalty, 'inner_weight', 0.0)
    if weight:
        # A branch cannot be differentiated twice, so the penalty's gradients are made inside of it.
        extra = tf.cond(
            inputs.regularize,
            lambda: penalty.gradients(lambda at: problem.objective(at, data, labels), params, step,
                                      inputs.random_key),
            lambda: [tf.zeros_like(param) for param in params], strict=True)
        gradients = [tf.convert_to_tensor(gradient) + weight * more
                     for gradient, more in zip(gradients, extra)]
    if optimizer.use_second_derivatives:
        return gradients
    return tf.nest.map_structure(tf.stop_gradient, gradients, expand_composites=True)


def _batch(inputs, step):
    """The examples of one step."""
    return (tf.gather(inputs.data, inputs.batches[step]),
            tf.gather(inputs.labels, inputs.batches[step]))


def _penalty(problem, inputs, penalty, loop):
    """The penalty at the parameters, on all data; zero where it doesn't count."""
    if penalty is None or not getattr(penalty, 'meta_weight', 1.0):
        return tf.zeros([])
    return tf.cond(
        inputs.regularize,
        lambda: penalty(lambda at: problem.objective(at, inputs.data, inputs.labels),
                        loop.params, loop.step, inputs.random_key),
        lambda: tf.zeros([]))


def _distance(steps, teacher_steps):
    """The imitation objective of one step: half the mean squared difference over all parameters."""
    squares = [tf.reduce_sum(tf.square(step - teacher))
               for step, teacher in zip(steps, teacher_steps)]
    return 0.5 * tf.add_n(squares) / float(sum(step.shape.num_elements() for step in steps))


def _meta_objective(optimizer, objectives, inputs, steps_taken):
    """Of `objectives [steps_taken + 1]`, the first being the initial one."""
    initial = objectives[0]
    if not optimizer.use_log_objective:
        weights = inputs.objective_weights[:steps_taken]
        return tf.reduce_sum(weights * objectives[1:]) / initial
    if optimizer.use_numerator_epsilon:
        return tf.reduce_mean(tf.log((objectives + EPSILON) / (initial + EPSILON)))
    return tf.reduce_mean(tf.log(objectives / initial + EPSILON))


def _assign(state, values, after):
    """One operation that assigns a nest of values when they and `after` have been computed."""
    flat = tf.nest.flatten(values)
    with tf.control_dependencies(flat + after):
        return tf.group(*[variable.assign(value).op
                          for variable, value in zip(tf.nest.flatten(state), flat)])
