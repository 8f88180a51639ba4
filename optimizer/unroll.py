"""The differentiable unrolled loop: what meta-training differentiates through.

One unroll runs an optimizer for n steps on a problem and gives the meta-objective as a
differentiable function of the meta-parameters (truncated backpropagation through time). Parameters
and optimizer state are carried to the next unroll by the very run that was trained on.
"""

import collections
from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer.gradient_checkpointing import segmented_loop
from optimizer.inner_loop import (
    Examples,
    Lesson,
    NoPenalty,
    Plan,
    Position,
    bound_of,
    goes_on,
    inner_step,
    learned_rule,
    within_bound,
)
from optimizer.types import Nest

EPSILON = 1e-6  # inside the logarithm of the meta-objective


class Data(NamedTuple):
    """A data set in variables."""
    data: tf.Variable
    labels: tf.Variable


class Carried(NamedTuple):
    """What an unroll hands on to the next one."""
    params: list
    attended: list  # the points at which attention takes gradients; empty without
    optimizer: Any  # the optimizer's state
    initial_objective: tf.Tensor  # with which the optimizee began


class Inputs(NamedTuple):
    """What can be fed to an unroll of n steps.

    The first two set the number of steps; all others have defaults.
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

    @property
    def examples(self) -> Examples:
        """What the steps see."""
        return Examples(self.data, self.labels, self.batches, self.random_key, self.other_batches)


class Results(NamedTuple):
    """What comes out of an unroll."""
    meta_objective: tf.Tensor
    imitation_objective: tf.Tensor
    #: [steps taken + 1], the first being the initial one; or the last after the last step.
    problem_objectives: tf.Tensor
    initial_objective: tf.Tensor
    penalty: tf.Tensor  # the sum over the steps
    steps_taken: tf.Tensor
    ended_early: tf.Tensor  # whether the objective has exceeded the bound: it exploded
    state: Any  # variables, a `Carried`
    next_state: Any  # the loop's results
    carry: tf.Operation  # assigns `next_state` to `state`
    #: For each meta-parameter, where they come not by back-propagation.
    meta_gradients: Optional[list] = None


def _flat_record(name: str, *records: Any) -> Any:
    """A type of tuples with the fields of several such types."""
    return collections.namedtuple(name, sum((record._fields for record in records), ()))


class Unroll(_flat_record('Unroll', Inputs, Results)):
    """The graph of an unroll: the fields of `Inputs`, what can be fed, and of `Results`."""

    __slots__ = ()

    @classmethod
    def of(cls, inputs: Inputs, results: Results) -> 'Unroll':
        return cls(*inputs, *results)


class Rollout(NamedTuple):
    """The graph of a run without meta-gradient: what can be fed, as in `Inputs`; what comes out."""
    batches: tf.Tensor
    data: tf.Tensor
    labels: tf.Tensor
    initial_params: list
    random_key: tf.Tensor
    final_objective: tf.Tensor  # on all data, after the last of the batches
    final_params: list


class Recorded(NamedTuple):
    """What the steps of an unroll have given."""
    objectives: tf.Tensor  # [steps taken]
    imitation: tf.Tensor  # the imitation objective, summed over the steps
    penalty: tf.Tensor  # likewise


def build_unroll(optimizer: Any, problem: Any, dataset: Any = None,
                 penalty: Any = None, checkpoint_every: int = 0, swap_memory: bool = False,
                 objectives_of: str = 'examples', summed: bool = False) -> Unroll:
    """Builds the graph of one unroll.

    Args:
      optimizer: a `TrainableOptimizer`.
      problem: as `problems.problem.Problem`, has `param_shapes`, `init_tensors()`,
        `objective(parameters, data, labels)` and `gradients(objective, parameters, key)`, in which
        the noise is a function of `key`, int32 [2]; and `objectives(parameters, data, labels)`, the
        objective of n points at once, `[n] + shape` -> `[n]`, or None.
      dataset: has arrays `data` and `labels`, defaults of the placeholders; None: no data.
      penalty: None or a penalty, see `inner_loop.NoPenalty`.
      checkpoint_every: keep what the meta-gradient needs only at every so many steps and compute
        the rest anew; 0: keep everything. Nothing in the problem may then be random but by its key.
      swap_memory: keep it in the computer's memory, not the GPU's; version-1 control flow only.
      objectives_of: the objective of a step, before it, is that on all data, 'examples'; on the
        step's own mini-batch, 'batches', which is noisier and costs nothing; or on another one,
        'other_batches'. The initial objective is that on all data.
      summed: the meta-objective is the plain sum of the objectives, without an initial one and with
        one more after the last step, on a mini-batch of its own: `batches` has n + 1 rows.

    Returns:
      an `Unroll`.

    Raises:
      ValueError: `checkpoint_every` with a problem that draws random numbers without the key.
    """
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('unroll'):
        inputs = placeholders(optimizer, problem, dataset)
        with tf.name_scope('state'):
            state = _state_variables(optimizer, layout)
        with tf.name_scope('start'):
            theta = optimizer.read_meta_parameters()
            start = _start(optimizer, problem, layout, theta, inputs, state)
        bound = bound_of(optimizer.obj_train_max_multiplier, start.initial_objective)
        together = (problem.objectives is not None and bound is None
                    and objectives_of == 'examples')
        plan = Plan(problem, learned_rule(optimizer, layout, theta), inputs.examples,
                    None if together else objectives_of, bound,
                    optimizer.use_second_derivatives, penalty or NoPenalty(), inputs.regularize,
                    Lesson(inputs.imitate, inputs.teacher_steps, inputs.objective_weights))
        with tf.name_scope('loop'):
            here = Position(tf.constant(0), start.params, start.attended, start.optimizer,
                            start.initial_objective)
            num_steps = tf.size(inputs.objective_weights)
            end, recorded = (
                _in_segments(plan, here, num_steps, checkpoint_every, optimizer.meta_parameters)
                if checkpoint_every else _loop(plan, here, num_steps, swap_memory))
        with tf.name_scope('objectives'):
            if summed:
                last = problem.objective(
                    end.params, *inputs.examples.of(inputs.batches[end.step]))
                objectives = tf.concat([recorded.objectives, [last]], 0)
                cost = tf.reduce_sum(objectives)
            else:
                objectives = tf.concat([[start.initial_objective], recorded.objectives], 0)
                cost = meta_objective(optimizer, objectives, inputs, end.step)
            if plan.penalty.meta_weight:
                cost += plan.penalty.meta_weight * recorded.penalty
        next_state = Carried(end.params, end.attended, end.state, start.initial_objective)
        return Unroll.of(inputs, Results(
            meta_objective=cost, imitation_objective=recorded.imitation,
            problem_objectives=objectives, initial_objective=start.initial_objective,
            penalty=recorded.penalty, steps_taken=end.step,
            ended_early=tf.logical_not(within_bound(plan, end.objective)), state=state,
            next_state=next_state, carry=assign(state, next_state, [cost, recorded.imitation])))


def build_rollout(optimizer: Any, problem: Any,
                  dataset: Any = None) -> Rollout:
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
        initial_params, key = _initial_params(problem), _random_key(optimizer)
        theta = optimizer.read_meta_parameters()
        plan = Plan(problem, learned_rule(optimizer, layout, theta),
                    Examples(data, labels, batches, key))
        params = _copy(initial_params)
        start = Position(tf.constant(0), params, params if optimizer.use_attention else [],
                         optimizer.initial_state(layout, theta, key), tf.zeros([]))
        end, = tf.while_loop(lambda here: goes_on(plan, here, tf.shape(batches)[0]),
                             lambda here: [inner_step(plan, here)[0]], [start], back_prop=False,
                             return_same_structure=True)
        return Rollout(batches, data, labels, initial_params, key,
                       problem.objective(end.params, data, labels), end.params)


def _initial_params(problem):
    return [tf.placeholder_with_default(tensor, tensor.shape) for tensor in problem.init_tensors()]


def _random_key(optimizer):
    return tf.placeholder_with_default(optimizer.random_key(), [2], name='random_key')


def placeholders(optimizer: Any, problem: Any, dataset: Any) -> Inputs:
    """The `Inputs` of an unroll of an optimizer on a problem."""
    initial_params = _initial_params(problem)
    shapes = [tensor.shape.as_list() for tensor in initial_params]
    first_unroll = tf.placeholder_with_default(True, [], name='first_unroll')
    data, labels = dataset_placeholders(dataset)
    batches = tf.placeholder(tf.int32, [None, None], name='batches')
    return Inputs(
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


def dataset_placeholders(dataset: Any) -> Tuple[tf.Tensor, tf.Tensor]:
    """Placeholders for data and labels whose defaults are the data set's arrays or variables."""
    if dataset is None:
        return (tf.placeholder_with_default(tf.zeros([0]), None, name='data'),
                tf.placeholder_with_default(tf.zeros([0], tf.int32), None, name='labels'))
    if isinstance(dataset.data, np.ndarray):
        dataset = dataset_variables(dataset)
    return tuple(tf.placeholder_with_default(array, [None] + array.shape.as_list()[1:], name=name)
                 for name, array in zip(('data', 'labels'), dataset[:2]))


def dataset_variables(dataset: Any) -> Data:
    """Local variables `data` and `labels` that hold a data set, once for all graphs built on it."""
    with tf.name_scope('dataset'):
        return Data(*[_array_variable(name, array) for name, array in zip(Data._fields, dataset)])


def _array_variable(name, array):
    value = tf.numpy_function(lambda: array, [], array.dtype)  # keeps the array out of the GraphDef
    value.set_shape(array.shape)
    return tf.Variable(value, trainable=False, name=name, use_resource=True,
                       collections=[tf.GraphKeys.LOCAL_VARIABLES])


def zero_state(optimizer: Any, layout: Any) -> Nest:
    """Zeros like an optimizer's state, a nest that depends on no meta-parameter."""
    theta = optimizer.as_theta(tf.zeros(variable.shape) for variable in optimizer.meta_parameters)
    return tf.nest.map_structure(
        tf.zeros_like, optimizer.initial_state(layout, theta, tf.zeros([2], tf.int32)))


def _state_variables(optimizer, layout):
    zeros = [tf.zeros(shape) for shape in layout.shapes]
    return optimizer.local_variables_like(Carried(
        zeros, zeros if optimizer.use_attention else [], zero_state(optimizer, layout),
        tf.zeros([])))


def _start(optimizer, problem, layout, theta, inputs, state):
    """The values that the loop begins with, a `Carried`."""
    params, attended = tf.cond(
        inputs.first_unroll,
        lambda: (_copy(inputs.initial_params), _copy(inputs.initial_params[:len(state.attended)])),
        lambda: (_copy(state.params), _copy(state.attended)), strict=True)
    optimizer_state = state.optimizer
    if tf.nest.flatten(optimizer_state):  # there are versions of TensorFlow that need an output
        optimizer_state = tf.cond(
            inputs.reset_state,
            lambda: _copy(optimizer.initial_state(layout, theta, inputs.random_key)),
            lambda: _copy(state.optimizer), strict=True)
    initial_objective = tf.cond(
        inputs.first_unroll,
        lambda: problem.objective(params, inputs.data, inputs.labels),
        lambda: tf.identity(state.initial_objective))
    return Carried(params, attended, optimizer_state, tf.stop_gradient(initial_objective))


def _copy(structure):
    return tf.nest.map_structure(tf.identity, structure)


def _in_segments(plan, start, num_steps, length, meta_parameters):
    """As `_loop`, in segments of so many steps whose backward pass computes them anew."""
    def segment(here):
        end, recorded = _loop(plan, here, tf.minimum(here.step + length, num_steps),
                              repeatable=True)
        missing = length - (end.step - here.step)
        objectives = tf.pad(recorded.objectives, [[0, missing]])
        objectives.set_shape([length])
        return (end._replace(objective=tf.stop_gradient(end.objective)),
                [objectives, recorded.imitation, recorded.penalty])

    end, (objectives, imitation, penalty) = segmented_loop(
        lambda here: goes_on(plan, here, num_steps), segment, start,
        [(length,), (), ()], meta_parameters, (num_steps + length - 1) // length)
    return end, Recorded(tf.reshape(objectives, [-1])[:end.step], tf.reduce_sum(imitation),
                         tf.reduce_sum(penalty))


def _loop(plan, start, stop, swap_memory=False, repeatable=False):
    """The steps from a `Position` to step `stop`: the last `Position`, `Recorded`.

    Where the plan has no objectives, parameters are recorded, and their objectives are computed
    together after the loop. What is `repeatable` must see the same random numbers once more.
    """
    together = plan.objectives_of is None

    def body(here, arrays, imitation, penalty):
        first_operation = len(tf.get_default_graph().get_operations())
        there, seen = inner_step(plan, here)
        if repeatable:
            _refuse_random(tf.get_default_graph().get_operations()[first_operation:])
        arrays = [array.write(here.step - start.step, tensor) for array, tensor
                  in zip(arrays, here.params if together else [seen.objective])]
        return there, arrays, imitation + seen.imitation, penalty + seen.penalty

    shapes = [param.shape for param in start.params] if together else [()]
    arrays = [tf.TensorArray(tf.float32, stop - start.step, element_shape=shape)
              for shape in shapes]
    end, arrays, imitation, penalty = tf.while_loop(
        lambda here, *_: goes_on(plan, here, stop), body,
        (start, arrays, tf.zeros([]), tf.zeros([])), swap_memory=swap_memory)
    record = [array.gather(tf.range(end.step - start.step)) for array in arrays]
    objectives = (plan.problem.objectives(record, plan.examples.data, plan.examples.labels)
                  if together else record[0])
    return end, Recorded(objectives, imitation, penalty)


def _refuse_random(operations):
    """ValueError where operations of a step would draw other numbers when they run again."""
    random = [operation.name for operation in operations if operation.op_def.is_stateful
              and any(word in operation.type for word in ('Random', 'Normal', 'Multinomial'))]
    if random:
        raise ValueError('checkpoint_every does not go with a problem that draws random numbers '
                         'itself (%s).' % random[0])


def meta_objective(optimizer: Any, objectives: tf.Tensor, inputs: Inputs,
                   steps_taken: tf.Tensor) -> tf.Tensor:
    """Of `objectives [steps_taken + 1]`, the first being the initial one.

    The logarithm's is NaN, and its gradient with it, where an objective is negative or the initial
    one zero: only the ratio of positive objectives says which is lower.
    """
    initial = objectives[0]
    if not optimizer.use_log_objective:
        weights = inputs.objective_weights[:steps_taken]
        return tf.reduce_sum(weights * objectives[1:]) / tf.abs(initial)
    if optimizer.use_numerator_epsilon:
        initial += EPSILON
        ratios = (objectives + EPSILON) / initial
    else:
        ratios = objectives / initial + EPSILON
    positive = tf.logical_and(initial > 0.0, tf.reduce_all(ratios > 0.0))
    # While it imitates, this is not the objective, and a NaN must not reach its gradient.
    defined = tf.logical_or(positive, inputs.imitate)
    return tf.reduce_mean(tf.log(ratios)) * tf.where(defined, 1.0, np.nan)


def assign(state: Any, values: Any, after: List[Any]) -> tf.Operation:
    """One operation that assigns a nest of values when they and `after` have been computed."""
    flat = tf.nest.flatten(values)
    with tf.control_dependencies(flat + after):
        return tf.group(*[variable.assign(value).op
                          for variable, value in zip(tf.nest.flatten(state), flat)])
