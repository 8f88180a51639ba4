"""Persistent evolution strategies: meta-gradients of whole episodes, without back-propagation.

"Unbiased Gradient Estimation in Unrolled Computation Graphs with Persistent Evolution Strategies"
(arXiv 2112.13835). Particles optimize the same problem side by side, each with perturbed
meta-parameters, in pairs that are perturbed by e and -e. A particle keeps its parameters and state
from unroll to unroll and gets a new perturbation in each. What an unroll costs is credited to the
sum of all perturbations since the episode began; so the effect of a step on later unrolls counts,
which back-propagation through single unrolls leaves out.

Or a particle keeps its perturbation for the whole episode: "Variance-Reduced Gradient Estimation
via Noise-Reuse in Online Evolution Strategies" (arXiv 2304.12180). Then the variance does not grow
with the number of unrolls.
"""

import functools
from typing import Any, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from l2o.settings import default
from optimizer import inner_loop, unroll
from optimizer.trainable_optimizer import TrainableOptimizer
from problems.problem import Problem

PERTURBATION = 2 ** 18  # added to a random key, makes it that of the perturbations


class Config(NamedTuple):
    """The estimator of a meta-gradient."""

    pairs: int = default('pes_pairs')  # of particles
    sigma: float = default('pes_sigma')  # standard deviation of a perturbation
    reuse: bool = default('pes_reuse')  # whether one lasts for an episode; else for an unroll


class Particles(NamedTuple):
    """What unrolls hand on; all tensors are stacked, over 2 * pairs particles or over the pairs."""

    params: list
    attended: list  # the points at which attention takes gradients; empty without
    optimizer: Any  # the optimizer's states
    initial_objective: tf.Tensor  # with which the optimizees began; the same for all: a scalar
    perturbations: list  # since the episode began, of the first particle in each pair: sums; or one


def build_unroll(optimizer: TrainableOptimizer, problem: Problem, dataset: Any = None,
                 config: Optional[Config] = None, objectives_of: str = 'examples') -> unroll.Unroll:
    """Builds the graph of one unroll, with a meta-gradient by section 4 of the paper:

        g = sum over pairs of (L+ - L-) * (sum of e) / (2 * pairs * sigma^2)

    where L+ and L- are the meta-objectives of a pair in this unroll and the sum runs over its
    perturbations e in this unroll and those before; where they are reused, it is e itself. The
    expectation of the sum of g over an episode is the gradient of what the episode costs, smoothed
    by the perturbations. All particles have the same initial parameters, batches and noise.

    A particle whose objective exceeds the bound of `obj_train_max_multiplier` stays where it is:
    the objective there counts for the rest of the unroll, which then counts as ended early.

    Args:
      optimizer: see `optimizer.unroll.build_unroll`.
      problem: likewise.
      dataset: likewise.
      config: a `Config`; None: its defaults.
      objectives_of: see `optimizer.unroll.build_unroll`.

    Returns:
      an `optimizer.unroll.Unroll` with `meta_gradients`; objectives are means over the particles,
      `state` and `next_state` are `Particles`. Nothing can be imitated.

    Raises:
      ValueError: no pair, a sigma that is not positive, or an optimizer without second derivatives,
        of which evolution strategies take none.
    """
    config = config or Config()
    if config.pairs < 1 or config.sigma <= 0.0:
        raise ValueError('Evolution strategies need a pair or more and a positive sigma, not %r.'
                         % (config,))
    if not optimizer.use_second_derivatives:
        raise ValueError('use_second_derivatives=False does not go with meta_gradient=pes, which '
                         'takes no derivatives')
    layout = optimizer.layout([tuple(shape) for shape in problem.param_shapes])
    with tf.name_scope('evolution_strategies'):
        inputs = unroll.placeholders(optimizer, problem, dataset)
        state = optimizer.local_variables_like(_zeros(optimizer, layout, config.pairs))
        start = _start(problem, inputs, state)
        new = [config.sigma * tf.random.stateless_normal(
            [config.pairs] + variable.shape.as_list(), inputs.random_key + [PERTURBATION, index])
            for index, variable in enumerate(optimizer.meta_parameters)]
        if config.reuse:
            new = sums = [tf.where_v2(inputs.first_unroll, noise, old)
                          for old, noise in zip(start.perturbations, new)]
        else:
            sums = [old + noise for old, noise in zip(start.perturbations, new)]
        thetas = [variable + tf.concat([noise, -noise], 0)
                  for variable, noise in zip(optimizer.meta_parameters, new)]

        plan = inner_loop.Plan(problem, None, inputs.examples, objectives_of, inner_loop.bound_of(
            optimizer.obj_train_max_multiplier, start.initial_objective))
        run = functools.partial(_run, optimizer, layout, inputs, plan)
        carried = (start.params, start.attended, start.optimizer)
        particles = (thetas,) + carried + (tf.fill([2 * config.pairs], start.initial_objective),)
        if _can_be_stacked(problem, inputs):
            ends, objectives, exploded = run(_at_once, particles)
        else:
            types = tf.nest.map_structure(lambda tensor: tensor.dtype, carried)
            ends, objectives, exploded = tf.map_fn(
                functools.partial(run, _alone), particles, dtype=(types, tf.float32, tf.bool),
                back_prop=False, parallel_iterations=1)
        steps_taken = tf.size(inputs.objective_weights)
        costs = tf.map_fn(
            lambda of_one: unroll.meta_objective(optimizer, of_one, inputs, steps_taken),
            objectives, back_prop=False)
        plus, minus = tf.split(costs, 2)
        gradients = [tf.tensordot(plus - minus, total, 1) / (2.0 * config.pairs * config.sigma ** 2)
                     for total in sums]
        next_state = Particles(*ends, initial_objective=start.initial_objective,
                               perturbations=sums)
        cost = tf.reduce_mean(costs)
        return unroll.Unroll.of(inputs, unroll.Results(
            meta_objective=cost, imitation_objective=tf.zeros([]),
            problem_objectives=tf.reduce_mean(objectives, 0),
            initial_objective=start.initial_objective, penalty=tf.zeros([]),
            steps_taken=steps_taken, ended_early=tf.reduce_any(exploded),
            state=state, next_state=next_state, meta_gradients=gradients,
            carry=unroll.assign(state, next_state, [cost] + gradients)))


def _alone(function_of, theta):
    return function_of(theta)


def _at_once(function_of, thetas):
    def of_all(index, *values):
        return tf.vectorized_map(tf.autograph.experimental.do_not_convert(
            lambda particle: function_of(particle[0])(index, *particle[1:])), (thetas,) + values)

    return of_all


def _can_be_stacked(problem, inputs):
    """Whether a step of all particles can be computed at once.

    TensorFlow cannot convolve each particle's images with filters of its own, nor draw the same
    random numbers for all; TensorFlow 1.15 can compute nothing at once inside of a loop.
    """
    if tf.__version__.startswith('1.'):
        return False
    graph = tf.get_default_graph()
    before = len(graph.get_operations())
    problem.objective(inputs.initial_params, inputs.data, inputs.labels)
    return not any('Conv' in operation.type or operation.op_def.is_stateful
                   for operation in graph.get_operations()[before:])


def _zeros(optimizer, layout, pairs):
    """`Particles` of zeros."""
    def stacked(structure, count):
        return tf.nest.map_structure(
            lambda tensor: tf.zeros([count] + tensor.shape.as_list(), tensor.dtype), structure)

    params = stacked([tf.zeros(shape) for shape in layout.shapes], 2 * pairs)
    return Particles(params, params if optimizer.use_attention else [],
                     stacked(unroll.zero_state(optimizer, layout), 2 * pairs), tf.zeros([]),
                     stacked(optimizer.meta_parameters, pairs))


def _start(problem, inputs, state):
    """The `Particles` that the unroll begins with; where it resets it, the state is not used."""
    def begin():
        params = [tf.zeros_like(place) + value
                  for place, value in zip(state.params, inputs.initial_params)]
        return (params, params[:len(state.attended)],
                [tf.zeros_like(place) for place in state.perturbations],
                problem.objective(inputs.initial_params, inputs.data, inputs.labels))

    def go_on():
        return tf.nest.map_structure(tf.identity, (state.params, state.attended,
                                                   state.perturbations, state.initial_objective))

    params, attended, perturbations, initial_objective = tf.cond(
        inputs.first_unroll, begin, go_on, strict=True)
    return Particles(params, attended, tf.nest.map_structure(tf.convert_to_tensor, state.optimizer),
                     initial_objective, perturbations)


def _run(optimizer, layout, inputs, plan, each, particles):
    """The steps of one particle, or of all side by side.

    Args:
      plan: the `inner_loop.Plan`, but for the rule.
      each: `_alone` or `_at_once`; takes theta -> (step's index, a particle's values) -> its
        new values, and gives (step's index, values of `particles`) -> their new values.
      particles: values of the meta-parameters, parameters, attended points, states, and the
        objective with which they began.

    Returns:
      what is handed on: parameters, attended points and states; objectives, `[n + 1]` of each, the
      first being the initial one; whether they have exceeded the bound.
    """
    thetas, params, attended, state, initial = particles
    num_steps = tf.size(inputs.objective_weights)

    def begin(theta):
        return lambda _: optimizer.initial_state(
            layout, optimizer.as_theta(theta), inputs.random_key)

    def step(theta):
        rule = inner_loop.learned_rule(optimizer, layout, optimizer.as_theta(theta))

        def from_here(index, *place):
            here = inner_loop.Position(index, *place)
            there, _ = inner_loop.inner_step(plan._replace(rule=rule), here)
            if plan.bound is not None:
                within = inner_loop.within_bound(plan, here.objective)
                there = tf.nest.map_structure(
                    lambda new, old: tf.where_v2(within, new, old), there, here)
            return tuple(there[1:])

        return from_here

    next_step = each(step, thetas)

    def body(index, particles, objectives):
        particles = next_step(index, *particles)
        return index + 1, particles, objectives.write(index, particles[-1])

    if tf.nest.flatten(state):  # TensorFlow 1.15 has no branches that give nothing
        state = tf.cond(inputs.reset_state, lambda: each(begin, thetas)(0),
                        lambda: tf.nest.map_structure(tf.identity, state), strict=True)
    _, (*ends, last), objectives = tf.while_loop(
        lambda index, *_: index < num_steps, body,
        (tf.constant(0), (params, attended, state, initial),
         tf.TensorArray(tf.float32, num_steps, element_shape=initial.shape)), back_prop=False)
    exploded = tf.logical_not(inner_loop.within_bound(plan, last))
    objectives = tf.transpose(tf.concat([initial[tf.newaxis], objectives.stack()], 0))
    return tuple(ends), objectives, exploded
