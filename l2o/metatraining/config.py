"""The records that describe a meta-training: what is learned, and how that is carried out.

A run that goes on after an interruption must agree with the saved one in all of `MetaTraining`;
`Run` is free. Both are plain values: `as_data` gives what `run.json` and the saved state hold.
"""

from typing import Any, Callable, NamedTuple, Optional, Tuple, Union

import numpy as np

from l2o.techniques import evolution_strategies
from l2o.techniques.curriculum import Curriculum
from optimizer.inner_loop import NoPenalty
from problems.problem_spec import Row
from problems.random_numbers import global_generators_from


class Drawn(NamedTuple):
    """A whole number: `least` plus an exponentially distributed one, at most 3 times `least`."""

    scale: float  # the mean of what is added
    least: int

    def draw(self, rng: np.random.RandomState) -> int:
        return min(int(rng.exponential(self.scale) + self.least), 3 * self.least)


class Called(NamedTuple):
    """A number that a function of the caller gives, as in the published code.

    What it draws from numpy's and Python's global generators follows from `rng`.
    """

    function: Callable[[], int]

    def draw(self, rng: np.random.RandomState) -> int:
        with global_generators_from(rng.randint(2 ** 31 - 1)):
            return int(self.function())


class Imitation(NamedTuple):
    """A share of the episodes learns from a teacher's steps (arXiv 2010.09089, section 3.2)."""

    teacher: Any = 'adam'  # a key of `l2o.techniques.imitation.TEACHERS`, or such an object
    ratio: float = 0.1  # that share, 0 to 1
    steps_per_label: int = 1  # how many of the teacher's steps make one of the student's
    learning_rate: float = 0.01  # the teacher's


class Validation(NamedTuple):
    """How meta-parameters are judged while they are trained."""

    period: int = 1  # meta-iterations from one validation to the next
    epochs: int = 20  # initial values and batch orders on each problem
    rows: Tuple[Row, ...] = ()  # problems to validate on; none: on those that are trained on
    score: str = 'mean'  # of the final losses: a key of `l2o.metatraining.validation.SCORES`
    floor: float = 1e-9  # losses below count as this in the score `mean_log`


#: Former name, of its first two fields.
Evaluation = Validation


class EpisodeSchedule(NamedTuple):
    """Episodes whose length depends on the share of the run's meta-iterations that is done."""

    steps: Tuple[int, ...]  # of an episode in each part of the run
    begins: Tuple[float, ...]  # the shares at which the parts begin, increasing from 0
    short_share: float = 0.0  # this share of the episodes has the first length in all parts


class MetaOptimizer(NamedTuple):
    """The optimizer of the meta-parameters, its gradient and its learning rate."""

    name: str = 'rmsprop'  # a key of `l2o.metatraining.meta_step.META_OPTIMIZERS`
    rms_decay: float = 0.9
    rms_epsilon: float = 1e-20
    l2_reg: float = 0.0  # weight of the squared norm of the meta-parameters
    clip_by: str = 'entry'  # what `gradient_clip` bounds: 'entry', each; 'norm', that of them all
    decay_rate: float = 1.0  # the learning rate falls by this factor ...
    decay_steps: int = 1000  # ... in so many meta-steps
    #: Pairs (share of the run, factor): the learning rate is multiplied by the factor of the last
    #: pair whose share of the meta-iterations is done.
    rate_factors: Tuple[Tuple[float, float], ...] = ((0.0, 1.0),)
    average_decay: float = 0.0  # of the moving average that is validated and kept; 0: no average


class MetaTraining(NamedTuple):
    """What is learned, and from what."""

    curriculum: Curriculum = Curriculum.fixed(100)
    num_unrolls: Optional[Any] = None  # `Drawn`, of an episode; None: as many as its steps need
    max_unrolls: int = 0  # of the run, which then ends; 0: no bound
    unroll_length: Union[int, Any] = 20  # steps of an unroll; or `Drawn`
    episodes: Optional[EpisodeSchedule] = None  # in place of the curriculum's lengths
    episode_limit: Optional[float] = None  # an episode ends at a meta-objective above this
    initial_params: str = 'own'  # 'own': the problem's own initial values; 'normal': N(0, 1)
    reset_state: bool = True  # begin each episode with fresh optimizer state
    mini_batch_size: int = 10000  # examples of which the meta-objective is computed; at most all
    data_freeze: bool = False  # the same examples for all episodes on a problem
    scaling_ranges: Tuple[float, ...] = ()  # log ranges of random scaling, one for each episode
    scaling_of: str = 'coordinates'  # what gets a scale: one of l2o.techniques.random_scaling.UNITS
    objectives_of: str = 'examples'  # of the meta-objective: see optimizer.inner_loop.OBJECTIVES_OF
    late_emphasis: float = 0.0  # e: an unroll ending at the share x counts 1 - e + 3 e x^2 times
    unplanned_share: float = 0.0  # of the episodes, in which the optimizer is not told their length
    evolution: Optional[evolution_strategies.Config] = None  # None: back-propagation
    problems_at_once: int = 1  # problems that share a graph; each episode draws one of them
    imitation: Optional[Imitation] = None
    penalty: Any = NoPenalty()  # or a `l2o.techniques.regularization.Penalty`
    meta_optimizer: MetaOptimizer = MetaOptimizer()
    validation: Validation = Validation()
    checkpoint_every: int = 0  # see `optimizer.unroll.build_unroll`
    swap_memory: bool = False  # see `optimizer.unroll.build_unroll`
    xla: bool = False  # compile the optimizer's update rule with XLA; TensorFlow 2 only


class Run(NamedTuple):
    """How a meta-training is carried out."""

    seed: Optional[int] = None  # of everything random; None: drawn
    resume: bool = True  # go on from what is saved in the run's folder; else begin anew
    save_period: int = 1  # meta-iterations from one saving of the state to the next
    keep_checkpoints: int = -1  # how many validated meta-parameters are kept; -1: all
    machine: Any = None  # a `l2o.runs.machines.OneMachine`; None: this one alone
    reporter: Any = None  # a `l2o.metatraining.reporting.Reporter`; None: one that writes to `out`


class UnrollReport(NamedTuple):
    """What one unroll of meta-training comes to."""

    meta_objective: float  # in imitated unrolls the imitation objective
    objective: float  # the problem's last
    gradient_norm: float
    nonfinite_share: float  # of the meta-gradient's entries
    penalty: float
    steps: int  # taken
    imitated: bool
    ended_early: bool = False  # the objective exploded, see `obj_train_max_multiplier`


class TrainingResult(NamedTuple):
    """What a meta-training ends with."""

    best_cost: float  # of the best validation; infinite if none was finite
    checkpoint: Optional[str]  # where the best meta-parameters are; None if there are none
    meta_iterations: int
    unrolls: int = 0
    nonfinite_unrolls: int = 0  # those with a non-finite meta-objective or meta-gradient
    trained_is_best: bool = True  # False: nothing trained was as good as what the run began with


class NothingFiniteError(RuntimeError):
    """Meta-training in which every unroll had a non-finite objective or gradient."""


def as_data(value: Any) -> Any:
    """A record as what JSON can hold: dicts, lists, numbers and words."""
    if hasattr(value, '_asdict'):
        return {name: as_data(field) for name, field in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [as_data(element) for element in value]
    if isinstance(value, dict):
        return {str(key): as_data(element) for key, element in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if callable(value) and hasattr(value, '__qualname__'):
        return value.__qualname__
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return '%s%s' % (value.dtype, list(value.shape))
    return dict({name: as_data(field) for name, field in sorted(vars(value).items())},
                kind=type(value).__name__)
