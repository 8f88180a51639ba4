"""The differentiable unrolled loop: what meta-training differentiates through.

One unroll runs an optimizer for n steps on a problem and gives the meta-objective as a
differentiable function of the meta-parameters (truncated backpropagation through time). Parameters
and optimizer state are carried to the next unroll by the very run that was trained on.
"""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.gradient_checkpointing import segmented_loop

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

#: What steps hand on within an unroll; `objective` only decides whether the unroll ends early.
Position = collections.namedtuple('Position', 'step params attended optimizer objective')

#: The loop's variables. `record` has a TensorArray for each tensor of the parameters, whose
#: objectives are computed after the loop, or the only one of the objectives themselves.
Loop = collections.namedtuple('Loop', Position._fields + ('record', 'imitation', 'penalty'))

#: What steps have seen: the objectives before each of them, the sums of imitation objective and
#: penalty.
Seen = collections.namedtuple('Seen', 'objectives imitation penalty')


def build_unroll(optimizer, problem, dataset=None, penalty=None, checkpoint_every=0,
                 swap_memory=False):
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
      checkpoint_every: keep what the meta-gradient needs only at every so many steps and compute
        the rest anew; 0: keep everything. The problem's `gradients` then takes a `key`, int32 [2],
        which decides the noise, and nothing else in the problem may be random.
      swap_memory: keep it in the computer's memory, not the GPU's; version-1 control flow only.

    Returns:
      an `Unroll`.

    Raises:
      ValueError: `checkpoint_every` with a problem that draws random numbers without the key.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('unroll'):
        inputs = _inputs(optimizer, problem, dataset)
        with tf.name_scope('state'):
            state = _state_variables(optimizer, problem, layout)
        with tf.name_scope('start'):
            start = _start(optimizer, problem, layout, inputs, state)
        with tf.name_scope('loop'):
            end, seen = _run(_Steps(
                optimizer, problem, layout, inputs, penalty, start.initial_objective,
                repeatable=bool(checkpoint_every), swap_memory=swap_memory), start,
                checkpoint_every)
        with tf.name_scope('objectives'):
            objectives = tf.concat([[start.initial_objective], seen.objectives], 0)
            meta_objective = _meta_objective(optimizer, objectives, inputs, end.step)
            mean_penalty = seen.penalty / tf.cast(tf.maximum(end.step, 1), tf.float32)
            if penalty is not None:
                meta_objective += getattr(penalty, 'meta_weight', 1.0) * mean_penalty
        next_state = Carried(end.params, end.attended, end.optimizer, start.initial_objective)
        carry = _assign(state, next_state, [meta_objective, seen.imitation])
    return Unroll(meta_objective, seen.imitation, objectives, start.initial_objective,
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


def _run(steps, start, checkpoint_every):
    """Takes all steps of an unroll: the last `Position`, and what was `Seen`."""
    num_steps = tf.size(steps.inputs.objective_weights)
    here = Position(tf.constant(0), start.params, start.attended, start.optimizer,
                    start.initial_objective)
    if not checkpoint_every:
        return steps.run(here, num_steps)

    def segment(position):
        end, seen = steps.run(position, tf.minimum(position.step + checkpoint_every, num_steps))
        missing = checkpoint_every - (end.step - position.step)
        objectives = tf.pad(seen.objectives, [[0, missing]])
        objectives.set_shape([checkpoint_every])
        return (end._replace(objective=tf.stop_gradient(end.objective)),
                [objectives, seen.imitation, seen.penalty])

    end, (objectives, imitation, penalty) = segmented_loop(
        lambda position: steps.go_on(position, num_steps), segment, here,
        [(checkpoint_every,), (), ()], steps.optimizer.meta_parameters,
        (num_steps + checkpoint_every - 1) // checkpoint_every)
    return end, Seen(tf.reshape(objectives, [-1])[:end.step], tf.reduce_sum(imitation),
                     tf.reduce_sum(penalty))


class _Steps:
    """The steps of one unroll, in a differentiable loop.

    Args:
      optimizer, problem, layout, inputs, penalty: as in `build_unroll`.
      initial_objective: with which the optimizee began.
      repeatable: whether a step that is taken again shall see the same noise.
      swap_memory: see `build_unroll`.
    """

    def __init__(self, optimizer, problem, layout, inputs, penalty, initial_objective,
                 repeatable=False, swap_memory=False):
        self.optimizer, self.inputs = optimizer, inputs
        self._problem, self._layout, self._penalty = problem, layout, penalty
        self._rule = optimizer.step_rule(layout)
        self._bound = None
        if optimizer.obj_train_max_multiplier > 0:
            self._bound = initial_objective + (
                optimizer.obj_train_max_multiplier - 1.0) * tf.abs(initial_objective)
        # The objectives, where they decide nothing in the loop, are computed together after it.
        self._objectives_after_loop = (
            getattr(problem, 'objectives', None) is not None and self._bound is None)
        self._repeatable, self._swap_memory = repeatable, swap_memory

    def go_on(self, position, stop):
        """Whether there is a step before step `stop`."""
        if self._bound is None:
            return position.step < stop
        return tf.logical_and(position.step < stop, position.objective <= self._bound)

    def run(self, start, stop):
        """The steps from a `Position` to step `stop`: the `Position` there, and `Seen`."""
        shapes = self._layout.shapes if self._objectives_after_loop else [()]
        record = [tf.TensorArray(tf.float32, stop - start.step, element_shape=shape)
                  for shape in shapes]
        loop = Loop(*start, record=record, imitation=tf.zeros([]), penalty=tf.zeros([]))
        end = Loop(*tf.while_loop(lambda *loop: self.go_on(Loop(*loop), stop),
                                  lambda *loop: self._step(Loop(*loop), start.step), loop,
                                  swap_memory=self._swap_memory))
        record = [array.gather(tf.range(end.step - start.step)) for array in end.record]
        objectives = record[0]
        if self._objectives_after_loop:
            objectives = self._problem.objectives(record, self.inputs.data, self.inputs.labels)
        return Position(*end[:len(start)]), Seen(objectives, end.imitation, end.penalty)

    def _step(self, loop, first_step):
        graph = tf.get_default_graph()
        before = len(graph.get_operations())
        after = self._next(loop, first_step)
        if self._repeatable:
            _refuse_random(graph.get_operations()[before:])
        return after

    def _next(self, loop, first_step):
        with tf.name_scope('objective'):
            objective = loop.objective if self._objectives_after_loop else self._problem.objective(
                loop.params, self.inputs.data, self.inputs.labels)
        with tf.name_scope('penalty'):
            penalty = self._penalty_value(loop)
        with tf.name_scope('gradients'):
            gradients = self._gradients(loop.step, loop.attended or loop.params)
        with tf.name_scope('update'):
            update = self._rule(gradients, loop.optimizer)
            steps = self._layout.to_tensors(update.steps)
        with tf.name_scope('imitation'):
            steps, distance = self._imitate(loop.step, steps)
        attended = _attended(self._layout, loop.params, update)
        seen = loop.params if self._objectives_after_loop else [objective]
        return Loop(step=loop.step + 1,
                    params=[param + step for param, step in zip(loop.params, steps)],
                    attended=attended, optimizer=update.state, objective=objective,
                    record=[array.write(loop.step - first_step, value)
                            for array, value in zip(loop.record, seen)],
                    imitation=loop.imitation + distance, penalty=loop.penalty + penalty)

    def _imitate(self, step, steps):
        """The steps to take, and the weighted distance of the own ones from the teacher's."""
        inputs = self.inputs
        teacher_steps = [-taught[tf.minimum(step, tf.shape(taught)[0] - 1)]
                         for taught in inputs.teacher_steps]
        distance = inputs.objective_weights[step] * _distance(steps, teacher_steps)
        return tf.cond(inputs.imitate, lambda: _copy(teacher_steps), lambda: _copy(steps),
                       strict=True), distance

    def _gradients(self, step, params):
        """The gradients of the mini-batch objective of this step."""
        data, labels = _batch(self.inputs, step)
        gradients = self._problem_gradients(step, params, data, labels)
        weight = getattr(self._penalty, 'inner_weight', 0.0)
        if weight:
            # A branch cannot be differentiated twice, so the penalty's gradients are made inside.
            extra = tf.cond(
                self.inputs.regularize,
                lambda: self._penalty.gradients(
                    lambda at: self._problem.objective(at, data, labels), params, step,
                    self.inputs.random_key),
                lambda: [tf.zeros_like(param) for param in params], strict=True)
            gradients = [tf.convert_to_tensor(gradient) + weight * more
                         for gradient, more in zip(gradients, extra)]
        if self.optimizer.use_second_derivatives:
            return gradients
        return tf.nest.map_structure(tf.stop_gradient, gradients, expand_composites=True)

    def _problem_gradients(self, step, params, data, labels):
        objective = self._problem.objective(params, data, labels)
        return problem_gradients(self._problem, objective, params, self.inputs.random_key, step)

    def _penalty_value(self, loop):
        """The penalty at the parameters, on all data; zero where it doesn't count."""
        penalty, inputs = self._penalty, self.inputs
        if penalty is None or not getattr(penalty, 'meta_weight', 1.0):
            return tf.zeros([])
        return tf.cond(
            inputs.regularize,
            lambda: penalty(lambda at: self._problem.objective(at, inputs.data, inputs.labels),
                            loop.params, loop.step, inputs.random_key),
            lambda: tf.zeros([]))


def _refuse_random(operations):
    """ValueError where operations of a step would draw other numbers when they run again."""
    random = [operation.name for operation in operations if operation.op_def.is_stateful
              and any(word in operation.type for word in ('Random', 'Normal', 'Multinomial'))]
    if random:
        raise ValueError('checkpoint_every does not go with a problem that draws random numbers '
                         'itself (%s).' % random[0])


def _attended(layout, params, update):
    """Where attention takes the next gradients; empty without attention."""
    if update.attention is None:
        return []
    return [param + step for param, step in zip(params, layout.to_tensors(update.attention))]


def _batch(inputs, step):
    """The examples of one step."""
    return (tf.gather(inputs.data, inputs.batches[step]),
            tf.gather(inputs.labels, inputs.batches[step]))


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
