"""What an optimizer does inside, step by step, in one picture for each problem.

To see why an optimizer doesn't learn: learning rates that sit at their bounds, steps of the wrong
size, steps that don't go downhill.
"""

from typing import Any, Callable, List, NamedTuple, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.evaluation import rollout

LEGEND_COLUMNS = 8  # names of tensors beside each other below the picture


class Inspection(NamedTuple):
    """One run, step by step; coordinates whose gradient is 0 at a step count nowhere in it."""

    names: List[str]  # of the model's tensors
    losses: np.ndarray  # [n]
    # All that follows is [n, tensors].
    gradient_norms: np.ndarray
    update_norms: np.ndarray
    cosines: np.ndarray  # of the update with minus the gradient
    # Mean and standard deviation of the log10 learning rates that the optimizer keeps; where it
    # keeps none, of the update's size against the gradient's. Like the cosines NaN where no
    # coordinate counts.
    rate_means: np.ndarray
    rate_spreads: np.ndarray


def inspect(make_optimizer: Callable[[], tf.train.Optimizer], row: Sequence[Any], seed: int,
            num_steps: int) -> Inspection:
    """Runs an optimizer on a problem and looks at every step: an `Inspection`.

    Args:
      make_optimizer: builds it.
      row: (problem spec, dataset or None, batch size or None), or a `problem_spec.Row`.
      seed: of initial values, batches and noise, and of the problem where the spec has none.
      num_steps: how many.
    """
    spec, dataset, batch_size = row[:3]
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(seed)
        problem, optimizer = spec.build(seed), make_optimizer()
        run = rollout.OptimizerRun(optimizer, problem, num_steps, dataset, batch_size, seed)
        rates = getattr(optimizer, 'log_learning_rates', lambda variables: None)(run.parameters)
        with tf.Session(graph=graph) as session:
            run.start(session)
            look = session.make_callable([run.objective, run.dense_gradients, run.true_parameters]
                                         + ([rates] if rates else []))
            step = session.make_callable(run.train)
            facts = [_look_at_step(look, step, session, run) for _ in range(num_steps)]
    names = ['%d %s' % (index, 'x'.join(map(str, shape)) or 'scalar')
             for index, shape in enumerate(problem.param_shapes)]
    return Inspection(names, *[np.array(values) for values in zip(*facts)])


def _look_at_step(look, step, session, run):
    """The fields of an `Inspection` for one step, but for the names."""
    seen = look()
    loss, gradients, before = seen[:3]
    step()
    after = session.run(run.true_parameters)
    there = [gradient != 0 for gradient in gradients]
    gradients = [gradient[mask] for gradient, mask in zip(gradients, there)]
    updates = [(new - old)[mask] for new, old, mask in zip(after, before, there)]
    if len(seen) > 3:
        rates = [np.broadcast_to(log_rate, mask.shape)[mask] / np.log(10.0)
                 for log_rate, mask in zip(seen[3], there)]
    else:
        # A step that rounding swallowed has no size; it is left out, too.
        rates = [np.log10(np.abs(update / gradient)[update != 0])
                 for update, gradient in zip(updates, gradients)]
    return (float(loss), [np.linalg.norm(g) for g in gradients],
            [np.linalg.norm(u) for u in updates],
            [_cosine(u, -g) for u, g in zip(updates, gradients)],
            [np.mean(r) if r.size else np.nan for r in rates],
            [np.std(r) if r.size else np.nan for r in rates])


def _cosine(left, right):
    if not left.size:
        return np.nan
    norms = np.linalg.norm(left) * np.linalg.norm(right)
    return float(np.sum(left * right) / norms) if norms > 0 else 0.0


def make_figure(title: str, inspection: Inspection) -> Any:
    """The figure of an `Inspection`: four panels against the step, a line for each tensor.

    Args:
      title: the problem's name.
      inspection: an `Inspection`.
    """
    from matplotlib import cm
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    names = inspection.names
    colors = ['C%d' % index if len(names) <= 10 else cm.viridis(index / (len(names) - 1))
              for index in range(len(names))]
    legend_inches = 0.25 * (2 + len(names) // LEGEND_COLUMNS)
    height = 7.5 + legend_inches
    figure = Figure(figsize=(11, height), tight_layout={'rect': (0, legend_inches / height, 1, 1)})
    figure.suptitle(title)
    axes = figure.subplots(2, 2)
    axes[0, 0].plot(inspection.losses, color='black')
    axes[0, 0].set(title='loss', yscale='log')
    axes[0, 1].set(title='log10 of the learning rate, or of |update / gradient|')
    axes[1, 0].set(title='norms of the update (solid) and the gradient (dotted)', xlabel='step',
                   yscale='log')
    axes[1, 1].set(title='cosine of the update and minus the gradient', xlabel='step',
                   ylim=(-1.05, 1.05))
    for index, color in enumerate(colors):
        mean, spread = inspection.rate_means[:, index], inspection.rate_spreads[:, index]
        axes[0, 1].plot(mean, color=color)
        axes[0, 1].fill_between(np.arange(mean.size), mean - spread, mean + spread, alpha=0.15,
                                color=color, linewidth=0)
        axes[1, 0].plot(inspection.update_norms[:, index], color=color)
        axes[1, 0].plot(inspection.gradient_norms[:, index], ':', color=color)
        axes[1, 1].plot(inspection.cosines[:, index], color=color)
    figure.legend([Line2D([], [], color=color) for color in colors], names, loc='lower center',
                  ncol=min(LEGEND_COLUMNS, len(names)), fontsize='small', frameon=False,
                  title='parameter tensors')
    return figure
