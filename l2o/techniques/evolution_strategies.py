"""Persistent evolution strategies: meta-gradients of whole episodes, without back-propagation.

"Unbiased Gradient Estimation in Unrolled Computation Graphs with Persistent Evolution Strategies"
(arXiv 2112.13835). Particles optimize the same problem side by side, each with perturbed
meta-parameters, in pairs that are perturbed by e and -e. A particle keeps its parameters and state
from unroll to unroll and gets a new perturbation in each. What an unroll costs is credited to the
sum of all perturbations since the episode began; so the effect of a step on later unrolls counts,
which back-propagation through single unrolls leaves out.
"""

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


class Particles(NamedTuple):
    """What unrolls hand on; all tensors are stacked, over 2 * pairs particles or over the pairs."""

    params: list
    attended: list  # the points at which attention takes gradients; empty without
    optimizer: Any  # the optimizer's states
    initial_objective: tf.Tensor  # with which the optimizees began; the same for all: a scalar
    perturbations: list  # sums since the episode began, of the first particle in each pair


def build_unroll(optimizer: TrainableOptimizer, problem: Problem, dataset: Any = None,
                 config: Optional[Config] = None, objectives_of: str = 'examples') -> unroll.Unroll:
    """Builds the graph of one unroll, with a meta-gradient by section 4 of the paper:

        g = sum over pairs of (L+ - L-) * (sum of e) / (2 * pairs * sigma^2)

    where L+ and L- are the meta-objectives of a pair in this unroll and the sum runs over its
    perturbations e in this unroll and those before. The expectation of the sum of g over an episode
    is the gradient of what the episode costs, smoothed by the perturbations. All particles have the
    same initial parameters, batches and noise.

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
        thetas = [variable + tf.concat([noise, -noise], 0)
                  for variable, noise in zip(optimizer.meta_parameters, new)]
        sums = [old + noise for old, noise in zip(start.perturbations, new)]

        def run(particle):
            theta = optimizer.as_theta(particle[0])
            return _run(optimizer, problem, layout, theta, inputs, start.initial_objective,
                        objectives_of, *particle[1:])

        carried = (start.params, start.attended, start.optimizer)
        types = tf.nest.map_structure(lambda tensor: tensor.dtype, carried)
        ends, objectives, exploded = tf.map_fn(
            run, (thetas,) + carried, dtype=(types, tf.float32, tf.bool), back_prop=False,
            parallel_iterations=1)
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


def _run(optimizer, problem, layout, theta, inputs, initial_objective, objectives_of, params,
         attended, state):
    """The steps of one particle.

    Returns:
      what it hands on; its objectives, `[n + 1]`, the first being the initial one; whether they
      have exceeded the bound.
    """
    num_steps = tf.size(inputs.objective_weights)
    state = tf.cond(inputs.reset_state,
                    lambda: tf.nest.map_structure(tf.identity, optimizer.initial_state(
                        layout, theta, inputs.random_key)),
                    lambda: tf.nest.map_structure(tf.identity, state), strict=True)
    plan = inner_loop.Plan(
        problem, inner_loop.learned_rule(optimizer, layout, theta), inputs.examples, objectives_of,
        inner_loop.bound_of(optimizer.obj_train_max_multiplier, initial_objective))

    def body(here, objectives):
        there, seen = inner_loop.inner_step(plan, here)
        return there, objectives.write(here.step, seen.objective)

    end, objectives = tf.while_loop(
        lambda here, _: inner_loop.goes_on(plan, here, num_steps), body,
        (inner_loop.Position(tf.constant(0), params, attended, state, initial_objective),
         tf.TensorArray(tf.float32, num_steps, element_shape=())), back_prop=False)
    taken = objectives.gather(tf.range(end.step))
    last = tf.fill([num_steps - end.step], end.objective)
    return ((end.params, end.attended, end.state),
            tf.concat([[initial_objective], taken, last], 0),
            tf.logical_not(inner_loop.within_bound(plan, end.objective)))
