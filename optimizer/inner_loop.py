"""One step of the inner loop, the optimization that meta-training looks at.

    batch -> point where the gradient is taken -> gradient -> rule -> move

`inner_step` is the one place where this stands. Its callers are the differentiable unroll and the
rollout (`optimizer.unroll`), evolution strategies, and the teachers of imitation learning: they
differ in the rule, in where meta-parameters come from, and in what they make of the results.
"""

from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from optimizer.layout import Layout
from optimizer.step import step_rule
from optimizer.types import Nest, Theta

NOISE = 2 ** 19  # added to a random key, makes it that of the gradients' noise

#: Of what a step's objective can be: all examples, the step's own mini-batch, another mini-batch.
OBJECTIVES_OF = ('examples', 'batches', 'other_batches')

ObjectiveOfList = Callable[[List[tf.Tensor]], tf.Tensor]


class Move(NamedTuple):
    """What a rule makes of gradients."""
    steps: List[tf.Tensor]  # to be added to the parameters
    attended: List[tf.Tensor]  # where the next gradients are taken; empty: at the parameters
    state: Nest


class Examples(NamedTuple):
    """What the steps of a run see."""
    data: Optional[tf.Tensor]
    labels: Optional[tf.Tensor]
    batches: tf.Tensor  # int32 [n, batch], indices into `data`
    random_key: tf.Tensor  # int32 [2], decides on the gradients' noise
    other_batches: Any = None  # as `batches`, of the steps' objectives; None: none

    def of(self, indices: tf.Tensor) -> List[Optional[tf.Tensor]]:
        """Data and labels of these examples; None where there are none."""
        return [None if array is None else tf.gather(array, indices)
                for array in (self.data, self.labels)]


class Lesson(NamedTuple):
    """The teacher's steps that a run may imitate."""
    imitate: tf.Tensor  # bool: the parameters follow the teacher
    steps: List[tf.Tensor]  # [n] + shape; they are subtracted
    weights: tf.Tensor  # [n], of the steps in the imitation objective


class NoPenalty:
    """The penalty that is always zero, and what the inner step needs of any other.

    Attributes:
      meta_weight: of the penalty, summed over the steps, in the meta-objective.
      inner_weight: of the penalty in the objective that is optimized.
      ever_counts: whether there is an unroll in which the penalty counts.
    """

    meta_weight = 0.0
    inner_weight = 0.0
    ever_counts = False

    def __call__(self, objective_fn: ObjectiveOfList, params: Sequence[tf.Tensor],
                 step: Union[int, tf.Tensor] = 0,
                 key: Optional[tf.Tensor] = None) -> tf.Tensor:
        """The penalty at `params`, a scalar; `key`, int32 [2], decides what is random in it."""
        return tf.zeros([])

    def gradients(self, objective_fn: ObjectiveOfList, params: Sequence[tf.Tensor],
                  step: Union[int, tf.Tensor] = 0,
                  key: Optional[tf.Tensor] = None) -> List[tf.Tensor]:
        """Its gradients, a list of tensors; asked for where `inner_weight` is not zero."""
        return [tf.zeros_like(param) for param in params]

    def counts(self, unroll_index: int, num_unrolls: int) -> bool:
        """Whether it counts in unroll `unroll_index` (from 0) of an episode of `num_unrolls`."""
        return False


class Plan(NamedTuple):
    """What the steps of one run share."""
    problem: Any  # see `unroll.build_unroll`
    rule: Any  # (gradients, state, parameters) -> `Move`; None until it is known
    examples: Examples
    objectives_of: Optional[str] = None  # one of `OBJECTIVES_OF`; None: none are computed
    bound: Optional[tf.Tensor] = None  # an objective above it ends the run; None: none does
    second_derivatives: bool = True  # whether gradients flow through the gradients
    penalty: Any = NoPenalty()
    regularize: Optional[tf.Tensor] = None  # bool: whether the penalty counts
    lesson: Optional[Lesson] = None  # None: nothing to imitate


class Position(NamedTuple):
    """What a step hands on to the next one."""
    step: tf.Tensor  # int32 []: how many are done
    params: List[tf.Tensor]
    attended: List[tf.Tensor]  # where attention takes gradients; empty: at `params`
    state: Nest  # of the rule
    objective: tf.Tensor  # before the step that led here; decides whether the run goes on


class Seen(NamedTuple):
    """What the batch of one step gave, at the position before it."""
    objective: tf.Tensor
    imitation: tf.Tensor  # the imitation objective
    penalty: tf.Tensor
    steps: List[tf.Tensor]  # the rule's


def learned_rule(optimizer: Any, layout: Layout,
                 theta: Theta) -> Callable[..., Move]:
    """The rule of a `TrainableOptimizer` with meta-parameters `theta`, for `Plan.rule`.

    Call it outside of loops; the rule may be called in one.
    """
    rule = step_rule(optimizer, layout, theta)

    def move(gradients, state, params):
        update = rule(gradients, state, params)
        steps, attended = layout.to_tensors(update.steps), []
        if update.attention is not None:
            attended = [param + offset for param, offset
                        in zip(params, layout.to_tensors(update.attention))]
        return Move(steps, attended, update.state)

    return move


def noise_key(key: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The key, int32 [2], of the gradients' noise at a step of a run with the random key `key`."""
    return key + tf.stack([NOISE, step])


def goes_on(plan: Plan, here: Position, stop: tf.Tensor) -> tf.Tensor:
    """Whether there is a step before step `stop`: a boolean scalar."""
    return tf.logical_and(here.step < stop, within_bound(plan, here.objective))


def within_bound(plan: Plan, objective: tf.Tensor) -> tf.Tensor:
    """Whether an objective does not end the run: a boolean scalar."""
    return tf.constant(True) if plan.bound is None else objective <= plan.bound


def bound_of(multiplier: float, initial_objective: tf.Tensor) -> Optional[tf.Tensor]:
    """The objective that ends a run, `multiplier` times the initial one; None: none does."""
    if multiplier <= 0:
        return None
    return initial_objective + (multiplier - 1.0) * tf.abs(initial_objective)


def inner_step(plan: Plan, here: Position) -> Tuple[Position, Seen]:
    """One step: what is seen at x, then x <- x + step(gradient on the mini-batch).

    Args:
      plan: the `Plan`.
      here: the `Position` before the step.

    Returns:
      the `Position` after it; `Seen`.
    """
    problem, penalty, examples = plan.problem, plan.penalty, plan.examples
    points, batch = here.attended or here.params, examples.of(examples.batches[here.step])

    def batch_objective(at):
        return problem.objective(at, *batch)

    with tf.name_scope('objective'):
        of_batch = batch_objective(points)
        if plan.objectives_of is None:
            objective = here.objective
        elif plan.objectives_of == 'batches' and not here.attended:
            objective = of_batch
        else:
            objective = problem.objective(here.params, *{
                'examples': lambda: (examples.data, examples.labels), 'batches': lambda: batch,
                'other_batches': lambda: examples.of(examples.other_batches[here.step]),
            }[plan.objectives_of]())
    with tf.name_scope('penalty'):
        curvature = tf.zeros([])
        if penalty.meta_weight:
            curvature = tf.cond(
                plan.regularize,
                lambda: penalty(batch_objective, points, here.step, examples.random_key),
                lambda: tf.zeros([]))
    with tf.name_scope('gradients'):
        gradients = problem.gradients(of_batch, points, noise_key(examples.random_key, here.step))
        if penalty.inner_weight:
            # A branch cannot be differentiated twice, so the penalty's gradients are made inside.
            of_penalty = tf.cond(
                plan.regularize,
                lambda: penalty.gradients(batch_objective, points, here.step, examples.random_key),
                lambda: [tf.zeros_like(point) for point in points], strict=True)
            gradients = [tf.convert_to_tensor(gradient) + penalty.inner_weight * more
                         for gradient, more in zip(gradients, of_penalty)]
        if not plan.second_derivatives:
            gradients = tf.nest.map_structure(tf.stop_gradient, gradients, expand_composites=True)
    with tf.name_scope('update'):
        move = plan.rule(gradients, here.state, here.params)
    steps, distance = move.steps, tf.zeros([])
    if plan.lesson is not None:
        with tf.name_scope('imitation'):
            lesson = plan.lesson
            of_teacher = [-steps[tf.minimum(here.step, tf.shape(steps)[0] - 1)]
                          for steps in lesson.steps]
            distance = lesson.weights[here.step] * _distance(move.steps, of_teacher)
            steps = tf.cond(lesson.imitate, lambda: _copy(of_teacher), lambda: _copy(move.steps),
                            strict=True)
    there = Position(here.step + 1, [param + step for param, step in zip(here.params, steps)],
                     move.attended, move.state, objective)
    return there, Seen(objective, distance, curvature, move.steps)


def _distance(steps, of_teacher):
    """The imitation objective of one step: half the mean squared difference over all parameters."""
    squares = [tf.reduce_sum(tf.square(step - teacher))
               for step, teacher in zip(steps, of_teacher)]
    return 0.5 * tf.add_n(squares) / float(sum(step.shape.num_elements() for step in steps))


def _copy(structure):
    return tf.nest.map_structure(tf.identity, structure)
