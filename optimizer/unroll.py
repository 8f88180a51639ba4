"""The differentiable unrolled loop: what meta-training differentiates through.

One unroll runs an optimizer for n steps on a problem and gives the meta-objective as a
differentiable function of the meta-parameters (truncated backpropagation through time). Parameters
and optimizer state are carried to the next unroll by the very run that was trained on.
"""

import typing

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.gradient_checkpointing import segmented_loop
from optimizer.layout import Layout
from optimizer.types import Update

EPSILON = 1e-6  # inside the logarithm of the meta-objective
NOISE = 2 ** 19  # added to a random key, makes it that of the gradients' noise

#: Of what a step's objective can be: all examples, the step's own mini-batch, another mini-batch.
OBJECTIVES_OF = ('examples', 'batches', 'other_batches')

ObjectiveOfList = typing.Callable[[typing.List[tf.Tensor]], tf.Tensor]


class Data(typing.NamedTuple):
    """A data set in variables."""
    data: tf.Variable
    labels: tf.Variable


class Carried(typing.NamedTuple):
    """What an unroll hands on to the next one."""
    params: list
    attended: list  # the points at which attention takes gradients; empty without
    optimizer: typing.Any  # the optimizer's state
    initial_objective: tf.Tensor  # with which the optimizee began


class Unroll(typing.NamedTuple):
    """The graph of an unroll of n steps: what can be fed, and what comes out.

    The first two set the number of steps; all others that can be fed have defaults.
    """
    objective_weights: tf.Tensor  # [n]
    batches: tf.Tensor  # [n, batch], indices into `data`
    other_batches: tf.Tensor  # the same, of the objectives where these are on other batches
    first_unroll: tf.Tensor  # begin at `initial_params`, a new optimizee; else go on from `state`
    reset_state: tf.Tensor  # with a fresh optimizer state; default: as `first_unroll`
    imitate: tf.Tensor  # let the parameters follow the teacher
    regularize: tf.Tensor  # let the penalty count
    data: tf.Tensor
    labels: tf.Tensor  # integer class ids
    initial_params: list
    teacher_steps: list  # [n] + shape; they are subtracted
    random_key: tf.Tensor  # int32 [2]: decides on fresh states, the penalty, the gradients' noise
    meta_objective: tf.Tensor = None
    imitation_objective: tf.Tensor = None
    problem_objectives: tf.Tensor = None  # [steps taken + 1], the first being the initial one
    initial_objective: tf.Tensor = None
    penalty: tf.Tensor = None  # the sum over the steps
    steps_taken: tf.Tensor = None
    ended_early: tf.Tensor = None  # whether the objective has exceeded the bound: it exploded
    state: typing.Any = None  # variables, a `Carried`
    next_state: typing.Any = None  # the loop's results
    carry: tf.Operation = None  # assigns `next_state` to `state`
    #: For each meta-parameter, where they come not by back-propagation.
    meta_gradients: typing.Optional[list] = None


class Rollout(typing.NamedTuple):
    """The graph of a run without meta-gradient: what can be fed, as in `Unroll`; what comes out."""
    batches: tf.Tensor
    data: tf.Tensor
    labels: tf.Tensor
    initial_params: list
    random_key: tf.Tensor
    final_objective: tf.Tensor = None  # on all data, after the last of the batches
    final_params: typing.Optional[list] = None


class Plan(typing.NamedTuple):
    """What the steps of one unroll share."""
    optimizer: typing.Any
    problem: typing.Any
    penalty: typing.Any
    layout: typing.Any
    rule: typing.Callable  # (gradients, optimizer state, params) -> Update
    fed: Unroll
    bound: typing.Optional[tf.Tensor]  # an objective above it ends the unroll; None: none does
    objectives_of: str  # one of `OBJECTIVES_OF`
    objectives_after_loop: bool  # compute the objectives together, of the parameters recorded
    repeatable: bool  # a step that is taken again must see the same random numbers
    swap_memory: bool


class Position(typing.NamedTuple):
    """What a step hands on to the next one."""
    step: tf.Tensor
    params: list
    attended: list
    optimizer: typing.Any
    objective: tf.Tensor  # before the step that led here; only decides whether the unroll ends


class Seen(typing.NamedTuple):
    """What is recorded: of one step, or summed over the steps."""
    record: list  # the objective, or the parameters whose objectives are computed after the loop
    imitation: tf.Tensor  # the imitation objective
    penalty: tf.Tensor


class NoPenalty:
    """The penalty that is always zero, and what the unroll needs of any other.

    Attributes:
      meta_weight: of the penalty, summed over the steps, in the meta-objective.
      inner_weight: of the penalty in the objective that is optimized.
      ever_counts: whether there is an unroll in which the penalty counts.
    """

    meta_weight = 0.0
    inner_weight = 0.0
    ever_counts = False

    def __call__(self, objective_fn: ObjectiveOfList, params: typing.Sequence[tf.Tensor],
                 step: typing.Union[int, tf.Tensor] = 0,
                 key: typing.Optional[tf.Tensor] = None) -> tf.Tensor:
        """The penalty at `params`, a scalar; `key`, int32 [2], decides what is random in it."""
        return tf.zeros([])

    def gradients(self, objective_fn: ObjectiveOfList, params: typing.Sequence[tf.Tensor],
                  step: typing.Union[int, tf.Tensor] = 0,
                  key: typing.Optional[tf.Tensor] = None) -> typing.List[tf.Tensor]:
        """Its gradients, a list of tensors; asked for where `inner_weight` is not zero."""
        return [tf.zeros_like(param) for param in params]

    def counts(self, unroll_index: int, num_unrolls: int) -> bool:
        """Whether it counts in unroll `unroll_index` (from 0) of an episode of `num_unrolls`."""
        return False


def build_unroll(optimizer: typing.Any, problem: typing.Any, dataset: typing.Any = None,
                 penalty: typing.Any = None, checkpoint_every: int = 0, swap_memory: bool = False,
                 objectives_of: str = 'examples') -> Unroll:
    """Builds the graph of one unroll.

    Args:
      optimizer: a `TrainableOptimizer`.
      problem: as `problems.problem.Problem`, has `param_shapes`, `init_tensors()`,
        `objective(parameters, data, labels)` and `gradients(objective, parameters, key)`, in which
        the noise is a function of `key`, int32 [2]; and `objectives(parameters, data, labels)`, the
        objective of n points at once, `[n] + shape` -> `[n]`, or None.
      dataset: has arrays `data` and `labels`, defaults of the placeholders; None: no data.
      penalty: None or a penalty, see `NoPenalty`.
      checkpoint_every: keep what the meta-gradient needs only at every so many steps and compute
        the rest anew; 0: keep everything. Nothing in the problem may then be random but by its key.
      swap_memory: keep it in the computer's memory, not the GPU's; version-1 control flow only.
      objectives_of: the objective of a step, before it, is that on all data, 'examples'; on the
        step's own mini-batch, 'batches', which is noisier and costs nothing; or on another one,
        'other_batches'. The initial objective is that on all data.

    Returns:
      an `Unroll`.

    Raises:
      ValueError: `checkpoint_every` with a problem that draws random numbers without the key.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('unroll'):
        fed = placeholders(optimizer, problem, dataset)
        with tf.name_scope('state'):
            state = _state_variables(optimizer, layout)
        with tf.name_scope('start'):
            start = _start(optimizer, problem, layout, fed, state)
        bound, multiplier = None, optimizer.obj_train_max_multiplier
        if multiplier > 0:
            bound = start.initial_objective + (multiplier - 1.0) * tf.abs(start.initial_objective)
        plan = Plan(optimizer, problem, penalty or NoPenalty(), layout,
                    optimizer.step_rule(layout), fed, bound, objectives_of,
                    objectives_after_loop=(problem.objectives is not None and bound is None
                                           and objectives_of == 'examples'),
                    repeatable=checkpoint_every > 0, swap_memory=swap_memory)
        with tf.name_scope('loop'):
            end, (objectives, imitation, penalties) = _run(plan, start, checkpoint_every)
        with tf.name_scope('objectives'):
            objectives = tf.concat([[start.initial_objective], objectives], 0)
            cost = meta_objective(optimizer, objectives, fed, end.step)
            if plan.penalty.meta_weight:
                cost += plan.penalty.meta_weight * penalties
        next_state = Carried(end.params, end.attended, end.optimizer, start.initial_objective)
        return fed._replace(
            meta_objective=cost, imitation_objective=imitation,
            problem_objectives=objectives, initial_objective=start.initial_objective,
            penalty=penalties, steps_taken=end.step,
            ended_early=tf.logical_not(_within(plan, end.objective)), state=state,
            next_state=next_state, carry=assign(state, next_state, [cost, imitation]))


def build_rollout(optimizer: typing.Any, problem: typing.Any,
                  dataset: typing.Any = None) -> Rollout:
    """Builds the graph that runs an optimizer from its initial state, to validate it.

    Any number of steps in constant memory; the objective on all data is computed once, at the end.

    Args:
      optimizer: as for `build_unroll`.
      problem: likewise.
      dataset: likewise.

    Returns:
      a `Rollout`.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('rollout'):
        data, labels = dataset_placeholders(dataset)
        batches = tf.placeholder(tf.int32, [None, None], name='batches')
        rollout = Rollout(batches, data, labels, _initial_params(problem), _random_key(optimizer))
        rule = optimizer.step_rule(layout)

        def body(step, params, attended, state):
            batch = batch_of(rollout, step)
            points = attended or params
            gradients = problem.gradients(problem.objective(points, *batch), points,
                                          noise_key(rollout.random_key, step))
            update = rule(gradients, state, params)
            moved = [param + move for param, move in zip(params, layout.to_tensors(update.steps))]
            return step + 1, moved, attended_points(layout, params, update), update.state

        params = _copy(rollout.initial_params)
        start = (tf.constant(0), params, params if optimizer.use_attention else [],
                 optimizer.initial_state(layout, tf.identity, rollout.random_key))
        _, params, _, _ = tf.while_loop(lambda step, *_: step < tf.shape(batches)[0], body, start,
                                        back_prop=False)
        return rollout._replace(final_objective=problem.objective(params, data, labels),
                                final_params=params)


def noise_key(key: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The key, int32 [2], of the gradients' noise at a step of a run with the random key `key`."""
    return key + tf.stack([NOISE, step])


def _initial_params(problem):
    return [tf.placeholder_with_default(tensor, tensor.shape) for tensor in problem.init_tensors()]


def _random_key(optimizer):
    return tf.placeholder_with_default(optimizer.random_key(), [2], name='random_key')


def placeholders(optimizer: typing.Any, problem: typing.Any, dataset: typing.Any) -> Unroll:
    """An `Unroll` with what can be fed, and nothing that comes out."""
    initial_params = _initial_params(problem)
    shapes = [tensor.shape.as_list() for tensor in initial_params]
    first_unroll = tf.placeholder_with_default(True, [], name='first_unroll')
    data, labels = dataset_placeholders(dataset)
    batches = tf.placeholder(tf.int32, [None, None], name='batches')
    return Unroll(
        objective_weights=tf.placeholder(tf.float32, [None], name='objective_weights'),
        batches=batches,
        other_batches=tf.placeholder_with_default(batches, [None, None], name='other_batches'),
        first_unroll=first_unroll,
        reset_state=tf.placeholder_with_default(first_unroll, [], name='reset_state'),
        imitate=tf.placeholder_with_default(False, [], name='imitate'),
        regularize=tf.placeholder_with_default(False, [], name='regularize'),
        data=data, labels=labels, initial_params=initial_params,
        teacher_steps=[tf.placeholder_with_default(tf.zeros([1] + shape), [None] + shape)
                       for shape in shapes],
        random_key=_random_key(optimizer))


def dataset_placeholders(dataset: typing.Any) -> typing.Tuple[tf.Tensor, tf.Tensor]:
    """Placeholders for data and labels whose defaults are the data set's arrays or variables."""
    if dataset is None:
        return (tf.placeholder_with_default(tf.zeros([0]), None, name='data'),
                tf.placeholder_with_default(tf.zeros([0], tf.int32), None, name='labels'))
    if isinstance(dataset.data, np.ndarray):
        dataset = dataset_variables(dataset)
    return tuple(tf.placeholder_with_default(array, [None] + array.shape.as_list()[1:], name=name)
                 for name, array in zip(('data', 'labels'), dataset[:2]))


def dataset_variables(dataset: typing.Any) -> Data:
    """Local variables `data` and `labels` that hold a data set, once for all graphs built on it."""
    with tf.name_scope('dataset'):
        return Data(*[_array_variable(name, array) for name, array in zip(Data._fields, dataset)])


def _array_variable(name, array):
    value = tf.numpy_function(lambda: array, [], array.dtype)  # keeps the array out of the GraphDef
    value.set_shape(array.shape)
    return tf.Variable(value, trainable=False, name=name, use_resource=True,
                       collections=[tf.GraphKeys.LOCAL_VARIABLES])


def _state_variables(optimizer, layout):
    zeros = [tf.zeros(shape) for shape in layout.shapes]
    state = optimizer.initial_state(layout, lambda variable: tf.zeros(variable.shape),
                                    tf.zeros([2], tf.int32))
    carried = Carried(zeros, zeros if optimizer.use_attention else [],
                      tf.nest.map_structure(tf.zeros_like, state), tf.zeros([]))
    return optimizer.local_variables_like(carried)


def _start(optimizer, problem, layout, fed, state):
    """The values that the loop begins with."""
    params, attended = tf.cond(
        fed.first_unroll,
        lambda: (_copy(fed.initial_params), _copy(fed.initial_params[:len(state.attended)])),
        lambda: (_copy(state.params), _copy(state.attended)), strict=True)
    optimizer_state = state.optimizer
    if tf.nest.flatten(optimizer_state):  # there are versions of TensorFlow that need an output
        optimizer_state = tf.cond(
            fed.reset_state,
            lambda: _copy(optimizer.initial_state(layout, tf.identity, fed.random_key)),
            lambda: _copy(state.optimizer), strict=True)
    initial_objective = tf.cond(
        fed.first_unroll,
        lambda: problem.objective(params, fed.data, fed.labels),
        lambda: tf.identity(state.initial_objective))
    return Carried(params, attended, optimizer_state, tf.stop_gradient(initial_objective))


def _copy(structure):
    return tf.nest.map_structure(tf.identity, structure)


def _run(plan, start, checkpoint_every):
    """All steps of an unroll: the last `Position`; `Seen`, with the objectives as `record`."""
    num_steps = tf.size(plan.fed.objective_weights)
    here = Position(tf.constant(0), start.params, start.attended, start.optimizer,
                    start.initial_objective)
    if not checkpoint_every:
        return _loop(plan, here, num_steps)

    def segment(position):
        end, seen = _loop(plan, position,
                          tf.minimum(position.step + checkpoint_every, num_steps))
        missing = checkpoint_every - (end.step - position.step)
        objectives = tf.pad(seen.record, [[0, missing]])
        objectives.set_shape([checkpoint_every])
        return (end._replace(objective=tf.stop_gradient(end.objective)),
                [objectives, seen.imitation, seen.penalty])

    end, (objectives, imitation, penalty) = segmented_loop(
        lambda position: _goes_on(plan, position, num_steps), segment, here,
        [(checkpoint_every,), (), ()], plan.optimizer.meta_parameters,
        (num_steps + checkpoint_every - 1) // checkpoint_every)
    return end, Seen(tf.reshape(objectives, [-1])[:end.step], tf.reduce_sum(imitation),
                     tf.reduce_sum(penalty))


def _loop(plan, start, stop):
    """The steps from a `Position` to step `stop`; returns as `_run` does."""
    def body(here, written, imitation, penalty):
        there, seen = _step(plan, here)
        written = [array.write(here.step - start.step, tensor)
                   for array, tensor in zip(written, seen.record)]
        return there, written, imitation + seen.imitation, penalty + seen.penalty

    shapes = plan.layout.shapes if plan.objectives_after_loop else [()]
    arrays = [tf.TensorArray(tf.float32, stop - start.step, element_shape=shape)
              for shape in shapes]
    end, written, imitation, penalty = tf.while_loop(
        lambda here, *_: _goes_on(plan, here, stop), body,
        (start, arrays, tf.zeros([]), tf.zeros([])), swap_memory=plan.swap_memory)
    record = [array.gather(tf.range(end.step - start.step)) for array in written]
    if plan.objectives_after_loop:
        objectives = plan.problem.objectives(record, plan.fed.data, plan.fed.labels)
    else:
        objectives, = record
    return end, Seen(objectives, imitation, penalty)


def _goes_on(plan, position, stop):
    """Whether there is a step before step `stop`."""
    return tf.logical_and(position.step < stop, _within(plan, position.objective))


def _within(plan, objective):
    return tf.constant(True) if plan.bound is None else objective <= plan.bound


def _step(plan, here):
    """One step: the objective at x, then x <- x + step(gradient on the mini-batch).

    Args:
      plan: the `Plan`.
      here: the `Position` before the step.

    Returns:
      the `Position` after it; `Seen`.
    """
    optimizer, problem, penalty, fed = plan.optimizer, plan.problem, plan.penalty, plan.fed
    first_operation = len(tf.get_default_graph().get_operations())
    points, batch = here.attended or here.params, batch_of(fed, here.step)

    def batch_objective(at):
        return problem.objective(at, *batch)

    with tf.name_scope('objective'):
        of_batch = batch_objective(points)
        if plan.objectives_after_loop:
            objective = here.objective
        elif plan.objectives_of == 'batches' and not here.attended:
            objective = of_batch
        else:
            objective = problem.objective(
                here.params, *objective_examples(fed, here.step, plan.objectives_of))
    with tf.name_scope('penalty'):
        curvature = tf.zeros([])
        if penalty.meta_weight:
            curvature = tf.cond(
                fed.regularize,
                lambda: penalty(batch_objective, points, here.step, fed.random_key),
                lambda: tf.zeros([]))
    with tf.name_scope('gradients'):
        gradients = problem.gradients(of_batch, points, noise_key(fed.random_key, here.step))
        if penalty.inner_weight:
            # A branch cannot be differentiated twice, so the penalty's gradients are made inside.
            of_penalty = tf.cond(
                fed.regularize,
                lambda: penalty.gradients(batch_objective, points, here.step, fed.random_key),
                lambda: [tf.zeros_like(point) for point in points], strict=True)
            gradients = [tf.convert_to_tensor(gradient) + penalty.inner_weight * more
                         for gradient, more in zip(gradients, of_penalty)]
        if not optimizer.use_second_derivatives:
            gradients = tf.nest.map_structure(tf.stop_gradient, gradients, expand_composites=True)
    with tf.name_scope('update'):
        update = plan.rule(gradients, here.optimizer, here.params)
        own_steps = plan.layout.to_tensors(update.steps)
    with tf.name_scope('imitation'):
        teacher_steps = [-steps[tf.minimum(here.step, tf.shape(steps)[0] - 1)]
                         for steps in fed.teacher_steps]
        distance = fed.objective_weights[here.step] * _distance(own_steps, teacher_steps)
        steps = tf.cond(fed.imitate, lambda: _copy(teacher_steps), lambda: _copy(own_steps),
                        strict=True)
    there = Position(here.step + 1, [param + step for param, step in zip(here.params, steps)],
                     attended_points(plan.layout, here.params, update), update.state, objective)
    if plan.repeatable:
        _refuse_random(tf.get_default_graph().get_operations()[first_operation:])
    record = here.params if plan.objectives_after_loop else [objective]
    return there, Seen(record, distance, curvature)


def _refuse_random(operations):
    """ValueError where operations of a step would draw other numbers when they run again."""
    random = [operation.name for operation in operations if operation.op_def.is_stateful
              and any(word in operation.type for word in ('Random', 'Normal', 'Multinomial'))]
    if random:
        raise ValueError('checkpoint_every does not go with a problem that draws random numbers '
                         'itself (%s).' % random[0])


def attended_points(layout: Layout, params: typing.Sequence[tf.Tensor],
                    update: Update) -> typing.List[tf.Tensor]:
    """Where attention takes the next gradients; empty without attention."""
    if update.attention is None:
        return []
    return [param + step for param, step in zip(params, layout.to_tensors(update.attention))]


def batch_of(fed: typing.Union[Unroll, Rollout],
             step: tf.Tensor) -> typing.Tuple[tf.Tensor, tf.Tensor]:
    """The examples of one step."""
    return _gather(fed, fed.batches[step])


def objective_examples(fed: Unroll, step: tf.Tensor,
                       objectives_of: str) -> typing.Tuple[tf.Tensor, tf.Tensor]:
    """The examples of which a step's objective is, see `OBJECTIVES_OF`."""
    if objectives_of == 'examples':
        return fed.data, fed.labels
    return _gather(fed, (fed.batches if objectives_of == 'batches' else fed.other_batches)[step])


def _gather(fed, indices):
    return tuple(tf.gather(array, indices) for array in (fed.data, fed.labels))


def _distance(steps, teacher_steps):
    """The imitation objective of one step: half the mean squared difference over all parameters."""
    squares = [tf.reduce_sum(tf.square(step - teacher))
               for step, teacher in zip(steps, teacher_steps)]
    return 0.5 * tf.add_n(squares) / float(sum(step.shape.num_elements() for step in steps))


def meta_objective(optimizer: typing.Any, objectives: tf.Tensor, fed: Unroll,
                   steps_taken: tf.Tensor) -> tf.Tensor:
    """Of `objectives [steps_taken + 1]`, the first being the initial one.

    The logarithm's is NaN, and its gradient with it, where an objective is negative or the initial
    one zero: only the ratio of positive objectives says which is lower.
    """
    initial = objectives[0]
    if not optimizer.use_log_objective:
        weights = fed.objective_weights[:steps_taken]
        return tf.reduce_sum(weights * objectives[1:]) / tf.abs(initial)
    if optimizer.use_numerator_epsilon:
        initial += EPSILON
        ratios = (objectives + EPSILON) / initial
    else:
        ratios = objectives / initial + EPSILON
    positive = tf.logical_and(initial > 0.0, tf.reduce_all(ratios > 0.0))
    # While it imitates, this is not the objective, and a NaN must not reach its gradient.
    defined = tf.logical_or(positive, fed.imitate)
    return tf.reduce_mean(tf.log(ratios)) * tf.where(defined, 1.0, np.nan)


def assign(state: typing.Any, values: typing.Any, after: typing.List[typing.Any]) -> tf.Operation:
    """One operation that assigns a nest of values when they and `after` have been computed."""
    flat = tf.nest.flatten(values)
    with tf.control_dependencies(flat + after):
        return tf.group(*[variable.assign(value).op
                          for variable, value in zip(tf.nest.flatten(state), flat)])
