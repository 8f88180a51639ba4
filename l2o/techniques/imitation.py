"""Imitation learning: analytic optimizers as teachers of a learned one.

"Training Stronger Baselines for Learning to Optimize" (arXiv 2010.09089), section 3.2: in a share
of the episodes the learned optimizer is trained to reproduce the steps of an analytic optimizer,
its teacher, along the teacher's own trajectory.

A teacher is pure: `initial_state(params)` and `steps(grads, state)` -> (steps, new state) build
tensors and hold none. Steps are what is *added* to the parameters. With the same constants each
equals its namesake in `tf.train` step by step.
"""
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.settings import default
from optimizer import unroll
from optimizer.features import random_key
from optimizer.inner_loop import NOISE, Examples, Move, Plan, Position, inner_step
from problems.problem import Problem

Tensors = Sequence[tf.Tensor]


class Imitation(NamedTuple):
    """A share of the episodes learns from a teacher's steps."""
    #: A key of `TEACHERS` or such an object; or a tuple of them, which take turns.
    teacher: Any = default('mt_optimizers')
    ratio: float = default('mt_ratio')  # that share, 0 to 1
    steps_per_label: int = default('mt_k')  # how many of the teacher's steps make one of ours
    learning_rate: float = default('mt_learning_rate')  # the teacher's
    #: The share in each stage of a curriculum, the last one goes on; negative: `ratio`.
    ratios: Tuple[float, ...] = default('mt_ratios')

    @property
    def teachers(self) -> List['Teacher']:
        """The teachers, each as an object."""
        chosen = self.teacher if isinstance(self.teacher, (list, tuple)) else (self.teacher,)
        return [make_teacher(each, self.learning_rate) if isinstance(each, str) else each
                for each in chosen]

    def share(self, stage: Optional[int]) -> float:
        """The share of episodes that imitate in a stage, counted from 0; None: without stages."""
        ratio = -1.0 if stage is None else self.ratios[min(stage, len(self.ratios) - 1)]
        return self.ratio if ratio < 0 else ratio


class AdamState(NamedTuple):
    """The state of `Adam`."""
    beta1_power: tf.Tensor  # beta1^t, t from 1
    beta2_power: tf.Tensor
    m: list
    v: list


class RMSPropState(NamedTuple):
    """The state of `RMSProp`."""
    mean_square: list


class MomentumState(NamedTuple):
    """The state of `NesterovMomentum`."""
    accumulator: list


class TeacherUnroll(NamedTuple):
    """A teacher's trajectory."""
    steps: list  # the labels, for each parameter [n] + shape
    params: list  # after the last step
    state: Any


class Adam:
    """As `tf.train.AdamOptimizer`.

    m <- b1 m + (1 - b1) g; v <- b2 v + (1 - b2) g^2; step = -rate_t m / (sqrt(v) + epsilon)
    with rate_t = learning_rate sqrt(1 - b2^t) / (1 - b1^t).
    """

    def __init__(self, learning_rate: float = 0.01, beta1: float = 0.9, beta2: float = 0.999,
                 epsilon: float = 1e-8) -> None:
        self._learning_rate = learning_rate
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon

    def initial_state(self, params: Tensors) -> AdamState:
        return AdamState(tf.constant(self._beta1), tf.constant(self._beta2),
                         m=_zeros_like(params), v=_zeros_like(params))

    def steps(self, grads: Tensors,
              state: AdamState) -> Tuple[List[tf.Tensor], AdamState]:
        b1, b2 = self._beta1, self._beta2
        m = [b1 * m + (1 - b1) * g for m, g in zip(state.m, grads)]
        v = [b2 * v + (1 - b2) * tf.square(g) for v, g in zip(state.v, grads)]
        rate = self._learning_rate * tf.sqrt(1 - state.beta2_power) / (1 - state.beta1_power)
        steps = [-rate * m_i / (tf.sqrt(v_i) + self._epsilon) for m_i, v_i in zip(m, v)]
        return steps, AdamState(b1 * state.beta1_power, b2 * state.beta2_power, m, v)


class RMSProp:
    """As `tf.train.RMSPropOptimizer` without momentum.

    s <- decay s + (1 - decay) g^2, from s = 1; step = -learning_rate g / sqrt(s + epsilon).
    """

    def __init__(self, learning_rate: float = 0.01, decay: float = 0.9,
                 epsilon: float = 1e-10) -> None:
        self._learning_rate = learning_rate
        self._decay = decay
        self._epsilon = epsilon

    def initial_state(self, params: Tensors) -> RMSPropState:
        return RMSPropState([tf.ones_like(param) for param in params])

    def steps(self, grads: Tensors,
              state: RMSPropState) -> Tuple[List[tf.Tensor], RMSPropState]:
        mean_square = [self._decay * s + (1 - self._decay) * tf.square(g)
                       for s, g in zip(state.mean_square, grads)]
        steps = [-self._learning_rate * g * tf.rsqrt(s + self._epsilon)
                 for s, g in zip(mean_square, grads)]
        return steps, RMSPropState(mean_square)


class NesterovMomentum:
    """As `tf.train.MomentumOptimizer` with use_nesterov.

    a <- momentum a + g; step = -learning_rate (g + momentum a).
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.9) -> None:
        self._learning_rate = learning_rate
        self._momentum = momentum

    def initial_state(self, params: Tensors) -> MomentumState:
        return MomentumState(_zeros_like(params))

    def steps(self, grads: Tensors,
              state: MomentumState) -> Tuple[List[tf.Tensor], MomentumState]:
        accumulator = [self._momentum * a + g for a, g in zip(state.accumulator, grads)]
        steps = [-self._learning_rate * (g + self._momentum * a)
                 for a, g in zip(accumulator, grads)]
        return steps, MomentumState(accumulator)


class SGD:
    """As `tf.train.GradientDescentOptimizer`: step = -learning_rate g."""

    def __init__(self, learning_rate: float = 0.01) -> None:
        self._learning_rate = learning_rate

    def initial_state(self, params: Tensors) -> Tuple[()]:
        del params
        return ()

    def steps(self, grads: Tensors,
              state: Tuple[()]) -> Tuple[List[tf.Tensor], Tuple[()]]:
        return [-self._learning_rate * g for g in grads], state


Teacher = Union[Adam, RMSProp, NesterovMomentum, SGD]
TEACHERS = {'adam': Adam, 'rmsprop': RMSProp, 'nag': NesterovMomentum, 'sgd': SGD}


def make_teacher(name: str, learning_rate: float = 0.01) -> Teacher:
    """The teacher of that name.

    Raises:
      ValueError: there is no such teacher.
    """
    if name not in TEACHERS:
        raise ValueError('unknown teacher %r: choose from %s' % (name, ', '.join(TEACHERS)))
    return TEACHERS[name](learning_rate=learning_rate)


def unroll_teacher(teacher: Teacher, problem: Any, params: Tensors, state: Any,
                   batches: tf.Tensor, data: Optional[tf.Tensor] = None,
                   labels: Optional[tf.Tensor] = None, steps_per_label: int = 1,
                   key: Optional[tf.Tensor] = None) -> TeacherUnroll:
    """Lets a teacher optimize and records its steps, as labels for a learned optimizer.

    Label i is the sum of the teacher's steps i * k ... i * k + k - 1, with k = steps_per_label:
    where the teacher gets in k steps the student shall get in one (section 3.2's k). No gradient
    flows through the result.

    Args:
      teacher: one of TEACHERS.
      problem: has `objective(params, data, labels)` (a scalar) and
        `gradients(objective, params, key)` (a list).
      params: list of tensors, where the teacher starts.
      state: the teacher's state there, `teacher.initial_state(params)` for a new one.
      batches: int32 [n * k, batch], the rows of `data` that each teacher step sees.
      data: [rows, ...], or None for a problem without data.
      labels: [rows], or None.
      steps_per_label: k.
      key: int32 [2], decides the noise of the gradients; None: new noise at every evaluation.

    Returns:
      A TeacherUnroll.

    Raises:
      ValueError: steps_per_label is below 1.
    """
    if steps_per_label < 1:
        raise ValueError('a label needs at least 1 teacher step, not %s' % steps_per_label)
    batches = tf.convert_to_tensor(batches)
    num_steps = tf.shape(batches)[0]

    def rule(gradients, state, params):
        steps, state = teacher.steps(list(map(tf.convert_to_tensor, gradients)), state)
        return Move([_like(step, param) for step, param in zip(steps, params)], [], state)

    def body(here, arrays):
        there, seen = inner_step(plan, here)
        return there, [array.write(here.step, step) for array, step in zip(arrays, seen.steps)]

    plan = Plan(problem, rule, Examples(data, labels, batches,
                                        random_key() if key is None else key))
    arrays = [tf.TensorArray(param.dtype, size=num_steps, element_shape=param.shape)
              for param in params]
    start = Position(tf.constant(0), list(map(tf.identity, params)), [], state, tf.zeros([]))
    end, arrays = tf.while_loop(lambda here, _: here.step < num_steps, body, (start, arrays),
                                back_prop=False)
    steps = [_sum_groups(array.stack(), steps_per_label) for array in arrays]
    return tf.nest.map_structure(tf.stop_gradient, TeacherUnroll(steps, end.params, end.state))


class TeacherRun:
    """The graph of a teacher's run beside the student's.

    Args:
      teacher: one of those of an `Imitation`.
      steps_per_label: likewise.
      problem: what is optimized.
      data: the variables of its examples.
    """

    def __init__(self, teacher: Teacher, steps_per_label: int, problem: Problem,
                 data: unroll.Data) -> None:
        self._params = [tf.placeholder(tf.float32, shape) for shape in problem.param_shapes]
        self._batches = tf.placeholder(tf.int32, [None, None])
        self._key = tf.placeholder(tf.int32, [2])
        self._initial_state = teacher.initial_state(self._params)
        self._state = tf.nest.map_structure(
            lambda tensor: tf.placeholder(tensor.dtype, tensor.shape), self._initial_state)
        self._result = unroll_teacher(
            teacher, problem, self._params, self._state, self._batches, *data,
            steps_per_label=steps_per_label, key=self._key + [NOISE, 0])

    def run(self, session: tf.Session, params: Sequence[np.ndarray], state: Any,
            batches: np.ndarray, key: np.ndarray,
            fed: Dict[tf.Tensor, Any]) -> List[Any]:
        """Its steps from `params`, as labels for the student, and its state after them.

        Args:
          session: where to run.
          params: list of arrays.
          state: where it goes on; None: fresh.
          batches: int `[labels * steps_per_label, batch size]`.
          key: of the student's unroll.
          fed: what else the episode feeds.

        Returns:
          the steps, `[labels] + shape` for each tensor; the state.
        """
        feed = dict(fed)
        feed.update(zip(self._params, params))
        if state is None:
            state = session.run(self._initial_state, feed)
        feed.update(zip(tf.nest.flatten(self._state), tf.nest.flatten(state)))
        feed.update({self._batches: batches, self._key: key})
        return session.run([self._result.steps, self._result.state], feed)


def _zeros_like(tensors):
    return [tf.zeros_like(tensor) for tensor in tensors]


def _like(tensor, other):
    """`tensor` with the static shape of `other`."""
    tensor.set_shape(other.shape)
    return tensor


def _sum_groups(steps, size):
    """[n * size] + shape -> [n] + shape: sums of `size` consecutive ones."""
    if size == 1:
        return steps
    shape = tf.concat([[-1, size], tf.shape(steps)[1:]], axis=0)
    return tf.reduce_sum(tf.reshape(steps, shape), axis=1)
