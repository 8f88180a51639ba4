"""The candidates of a comparison: learned optimizers and hand-tuned rules.

Hand-tuned rules are tried with every learning rate of a grid, as is usual for baselines of learned
optimizers (arXiv 2010.09089, section 4), and with schedules that let the rate fall over the run.
"""

import collections
import math
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from l2o.evaluation.rivals import AdamW, GradsAndVars, Lion, Muon, Prodigy, ScheduleFreeAdamW

LEARNED = 'L2o'
LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
CONSTANT = 'constant'
ADAM, ADAM_DEFAULT = 'Adam', 1e-3  # the yardstick of all others, and the rate that is its default


#: Name -> function of the learning rate (a float or a tensor) -> `tf.train.Optimizer`.
HAND_TUNED = collections.OrderedDict([
    ('SGD', tf.train.GradientDescentOptimizer),
    ('Momentum', lambda rate: tf.train.MomentumOptimizer(rate, 0.9)),
    (ADAM, tf.train.AdamOptimizer),
    ('AdamW', AdamW),
    ('RMSProp', tf.train.RMSPropOptimizer),
    ('Adagrad', tf.train.AdagradOptimizer),
    ('Muon', Muon),
    ('ScheduleFreeAdamW', ScheduleFreeAdamW),
    ('Prodigy', Prodigy),
    ('Lion', Lion),
])

#: Rules that need no schedule, and that find their rate themselves: their grids are shorter.
SCHEDULE_FREE, RATE_FREE = ('ScheduleFreeAdamW',), ('Prodigy',)

#: Name -> function of the share of the run that is done, a tensor in [0, 1] -> factor of the rate.
SCHEDULES = collections.OrderedDict([
    (CONSTANT, lambda done: 1.0),
    ('cosine', lambda done: 0.5 * (1.0 + tf.cos(math.pi * done))),
    ('linear', lambda done: 1.0 - done),
])


class Candidate(NamedTuple):
    """An optimizer to compare."""

    optimizer: str  # its name in tables: `LEARNED`, a folder's, or a key of `HAND_TUNED`
    learning_rate: Optional[float]  # None for learned ones
    make: Callable[[int], Any]  # number of steps -> the `tf.train.Optimizer`, in the default graph
    schedule: str = CONSTANT  # a key of `SCHEDULES`
    identity: str = ''  # of learned ones: differs where their results may

    @property
    def is_learned(self) -> bool:
        """Whether it has no learning rate to tune."""
        return self.learning_rate is None


def is_default(of: Any) -> bool:
    """Whether a candidate, a `Curve` or a `Summary` is of Adam as it comes, untuned."""
    return (of.optimizer, of.schedule, of.learning_rate) == (ADAM, CONSTANT, ADAM_DEFAULT)


def label(of: Any) -> str:
    """`Adam cosine 0.01`: what a candidate, a `Curve` or a `Summary` is called."""
    if of.learning_rate is None:
        return of.optimizer
    words = [of.optimizer] + [of.schedule] * (of.schedule != CONSTANT) + ['%g' % of.learning_rate]
    return ' '.join(words)


def hand_tuned(names: Sequence[str], learning_rates: Sequence[float],
               schedules: Sequence[str] = (CONSTANT,)) -> List[Candidate]:
    """The candidates that stand for the grids of hand-tuned rules.

    Args:
      names: keys of `HAND_TUNED`.
      learning_rates: of each grid; those in `RATE_FREE` have the rate 1 alone.
      schedules: keys of `SCHEDULES`; a rule has a grid for each, those in `SCHEDULE_FREE` have
        constant rates alone.

    Raises:
      ValueError: an unknown name.
    """
    for kind, words, table in (('optimizer', names, HAND_TUNED),
                               ('schedule', schedules, SCHEDULES)):
        unknown = [word for word in words if word not in table]
        if unknown:
            raise ValueError('unknown %s %s: choose from %s'
                             % (kind, ', '.join(unknown), ', '.join(table)))
    return [_hand_tuned(name, rate, schedule) for name in names
            for schedule in ((CONSTANT,) if name in SCHEDULE_FREE else schedules)
            for rate in ((1.0,) if name in RATE_FREE else learning_rates)]


def _hand_tuned(name, rate, schedule):
    def make(num_steps):
        if schedule == CONSTANT:
            return HAND_TUNED[name](rate)
        return Scheduled(HAND_TUNED[name], rate, schedule, num_steps)

    return Candidate(name, rate, make, schedule)


class Scheduled(tf.train.Optimizer):
    """A hand-tuned rule whose learning rate falls over a run.

    Args:
      rule: a function of the learning rate, a tensor -> `tf.train.Optimizer`.
      initial_rate: the learning rate of the first step.
      schedule: a key of `SCHEDULES`.
      num_steps: the length of the run; after it the rate stays at the last value.
    """

    def __init__(self, rule: Callable[[tf.Tensor], tf.train.Optimizer], initial_rate: float,
                 schedule: str, num_steps: int) -> None:
        super().__init__(use_locking=False, name='Scheduled')
        self._rule, self._initial_rate = rule, initial_rate
        self._schedule, self._num_steps = schedule, num_steps

    def apply_gradients(self, grads_and_vars: GradsAndVars,
                        global_step: Optional[tf.Variable] = None,
                        name: Optional[str] = None) -> tf.Operation:
        if global_step is None:
            raise ValueError('A schedule needs global_step, which counts the steps.')
        done = tf.cast(global_step.read_value(), tf.float32) / self._num_steps
        rate = self._initial_rate * SCHEDULES[self._schedule](tf.minimum(done, 1.0))
        return self._rule(rate).apply_gradients(grads_and_vars, global_step, name)
