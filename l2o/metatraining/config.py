"""The records that describe a meta-training: what is learned, and how that is carried out.

A run that goes on after an interruption must agree with the saved one in all of `MetaTraining`;
`Run` is free. Both are plain values: `as_data` gives what `run.json` and the saved state hold.
"""

import collections.abc
import types
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union

import numpy as np

from l2o.settings import default
from l2o.techniques import evolution_strategies
from l2o.techniques.curriculum import Curriculum
from l2o.techniques.imitation import Imitation
from optimizer.inner_loop import NoPenalty
from problems.problem_spec import Row
from problems.random_numbers import global_generators_from


class Drawn(NamedTuple):
    """`least` plus a rounded, exponentially distributed number, at most 3 times `least`."""

    scale: float  # the mean of what is added
    least: int

    def draw(self, rng: np.random.RandomState) -> int:
        return min(int(np.round(rng.exponential(self.scale))) + self.least, 3 * self.least)


class Called(NamedTuple):
    """A number that a function of the caller gives, as in the published code.

    What it draws from numpy's and Python's global generators follows from `rng`.
    """

    function: Callable[[], int]

    def draw(self, rng: np.random.RandomState) -> int:
        with global_generators_from(rng.randint(2 ** 31 - 1)):
            return int(self.function())


class Validation(NamedTuple):
    """How meta-parameters are judged while they are trained."""

    period: int = default('evaluation_period')  # meta-iterations from one validation to the next
    #: Initial values and batch orders on each problem.
    epochs: int = default('evaluation_epochs')
    rows: Tuple[Row, ...] = ()  # problems to validate on; none: on those that are trained on
    #: Of the final losses: a key of `l2o.metatraining.validation.SCORES`.
    score: str = default('validation_score')
    #: Losses below count as this in the score `mean_log`.
    floor: float = default('validation_floor')


#: Former name, of its first two fields.
Evaluation = Validation


class EpisodeSchedule(NamedTuple):
    """Episodes whose length depends on the share of the run's meta-iterations that is done."""

    steps: Tuple[int, ...]  # of an episode in each part of the run
    #: The shares at which the parts begin, increasing from 0.
    begins: Tuple[float, ...] = default('episode_shares')
    #: This share of the episodes has the first length in all parts.
    short_share: float = default('short_episodes')


class MetaOptimizer(NamedTuple):
    """The optimizer of the meta-parameters, its gradient and its learning rate."""

    #: A key of `l2o.metatraining.meta_step.META_OPTIMIZERS`.
    name: str = default('meta_optimizer')
    rms_decay: float = default('rms_decay')
    rms_epsilon: float = default('rms_epsilon')
    l2_reg: float = default('l2_reg')  # weight of the squared norm of the meta-parameters
    #: What `gradient_clip` bounds: 'entry', each entry; 'norm', that of them all.
    clip_by: str = default('gradient_clip_by')
    decay_rate: float = default('meta_learning_rate_decay')  # the rate falls by this factor ...
    decay_steps: int = default('meta_learning_rate_decay_steps')  # ... in so many meta-steps
    #: Pairs (share of the run, factor): the learning rate is multiplied by the factor of the last
    #: pair whose share of the meta-iterations is done.
    rate_factors: Tuple[Tuple[float, float], ...] = ((0.0, 1.0),)
    #: Of the moving average that is validated and kept; 0: no average.
    average_decay: float = default('average_decay')
    learning_rate: float = 1e-4  # that of the published function; that of the scripts is another
    gradient_clip: float = 5.0  # likewise; not positive: no bound

    def rate_factor(self, share: float) -> float:
        """The factor of the learning rate once this share of the run's meta-iterations is done."""
        return [factor for begin, factor in self.rate_factors if begin <= share][-1]


class MetaTraining(NamedTuple):
    """What is learned, and from what."""

    curriculum: Curriculum = Curriculum.drawn()
    #: Number of unrolls of an episode whose length is drawn: a `Drawn`.
    num_unrolls: Any = Drawn(default('num_unroll_scale'), default('min_num_unrolls'))
    max_unrolls: int = default('max_unrolls')  # of the run, which then ends; 0: no bound
    #: Steps of an unroll; or a `Drawn`.
    unroll_length: Union[int, Any] = Drawn(default('num_partial_unroll_itr_scale'),
                                           default('min_num_itr_partial_unroll'))
    episodes: Optional[EpisodeSchedule] = None  # in place of the curriculum's lengths
    #: An episode ends at a meta-objective above this.
    episode_limit: Optional[float] = default('episode_limit')
    #: 'own': the problem's own initial values; 'normal': N(0, 1).
    initial_params: str = default('initial_params')
    reset_state: bool = default('reset_rnn_params')  # begin episodes with fresh optimizer state
    #: Examples of which the meta-objective is computed; at most all.
    mini_batch_size: int = default('mini_batch_size')
    data_freeze: bool = default('data_freeze')  # the same examples for all episodes on a problem
    #: Techniques that put a problem into another form, drawn for each episode, by name: such as
    #: 'random_scaling', a `l2o.techniques.random_scaling.Scaling`.
    wrappers: Mapping[str, Any] = types.MappingProxyType({})
    #: 'relative' to the initial objective; or the 'published_sum' of L2O-DM and RNNProp.
    meta_objective: str = default('meta_objective')
    #: Of a relative one: one of `optimizer.inner_loop.OBJECTIVES_OF`.
    objectives_of: str = default('meta_objective_of')
    #: e: an unroll ending at the share x counts 1 - e + 3 e x^2 times.
    late_emphasis: float = default('late_emphasis')
    #: Of the episodes, in which the optimizer is not told their length.
    unplanned_share: float = default('unplanned_episodes')
    evolution: Optional[evolution_strategies.Config] = None  # None: back-propagation
    #: Problems that share a graph; each episode draws one of them.
    problems_at_once: int = default('problems_at_once')
    imitation: Optional[Imitation] = None
    penalty: Any = NoPenalty()  # or a `l2o.techniques.regularization.Penalty`
    meta_optimizer: MetaOptimizer = MetaOptimizer()
    validation: Validation = Validation()
    #: An unroll ends early where the objective exceeds the initial one by this factor; at most 0:
    #: never.
    obj_train_max_multiplier: float = default('objective_training_max_multiplier')
    checkpoint_every: int = default('checkpoint_every')  # see `optimizer.unroll.build_unroll`
    swap_memory: bool = default('swap_memory')  # see `optimizer.unroll.build_unroll`
    xla: bool = default('xla')  # compile the optimizer's update rule with XLA; TensorFlow 2 only
    #: Folder of a run, or name of a shipped optimizer, with whose meta-parameters the training
    #: begins; None: with the initial ones.
    begin_with: Optional[str] = default('begin_with')

    @property
    def is_summed(self) -> bool:
        """Whether the meta-objective is the published sum, with all that belongs to it."""
        return self.meta_objective == 'published_sum'

    @property
    def imitates_apart(self) -> bool:
        """Whether the meta-optimizer has slots of its own for what is imitated."""
        return self.is_summed and self.imitation is not None


class Run(NamedTuple):
    """How a meta-training is carried out."""

    seed: Optional[int] = None  # of everything random; None: drawn
    resume: bool = True  # go on from what is saved in the run's folder; else begin anew
    #: Meta-iterations from one saving of the state to the next.
    save_period: int = default('save_period')
    #: How many validated meta-parameters are kept; -1: all.
    keep_checkpoints: int = default('keep_checkpoints')
    machine: Any = None  # a `l2o.runs.machines.OneMachine`; None: this one alone
    reporter: Any = None  # a `l2o.metatraining.reporting.Reporter`; None: one that writes to `out`
    script: str = 'metaopt.train_optimizer'  # what made the run, for `run.json`
    flags: Optional[Dict[str, Any]] = None  # of the script, for `run.json`


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
    if isinstance(value, collections.abc.Mapping):
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


def differences(recorded: Any, present: Any, name: str = '') -> List[str]:
    """Where two nests of dicts and lists differ, in words: a list such as `['x.1 was 3, is 2']`."""
    lists = isinstance(recorded, list) and isinstance(present, list)
    if lists and len(recorded) == len(present):
        recorded, present = ({str(index): value for index, value in enumerate(values)}
                             for values in (recorded, present))
    if isinstance(recorded, dict) and isinstance(present, dict):
        found = []
        for key in sorted(set(recorded) | set(present)):
            found += differences(recorded.get(key), present.get(key),
                                 '%s.%s' % (name, key) if name else key)
        return found
    return [] if recorded == present else ['%s was %s, is %s' % (name, recorded, present)]


def upgraded(recorded: Dict[str, Any], present: Dict[str, Any]) -> Dict[str, Any]:
    """What an older version has recorded of a training, in the form of this one.

    Args:
      recorded: what `as_data` made of it.
      present: of the training that is to go on; stands for what was not recorded.
    """
    found = dict(recorded)
    if found.get('evolution'):
        found['evolution'] = dict({'reuse': default('pes_reuse')}, **found['evolution'])
    if 'wrappers' in found:
        return found
    ranges, unit = found.pop('scaling_ranges'), found.pop('scaling_of')
    found['wrappers'] = {'random_scaling': {'ranges': ranges, 'unit': unit}} if ranges else {}
    if found['num_unrolls'] is None:
        found['num_unrolls'] = present['num_unrolls']
    else:
        found['curriculum'] = dict(found['curriculum'], stages=[None])
    if 'objectives_of_batches' in found:
        found['objectives_of'] = 'batches' if found.pop('objectives_of_batches') else 'examples'
    if found['penalty'].get('kind') == 'Penalty':  # its fields had other names
        found['penalty'] = present['penalty']
    if found['imitation'] and present['imitation']:
        found['imitation'] = dict(present['imitation'], **found['imitation'])
        if [found['imitation']['teacher']] == present['imitation']['teacher']:
            found['imitation']['teacher'] = present['imitation']['teacher']
    found['meta_objective'] = present['meta_objective']
    found['obj_train_max_multiplier'] = present['obj_train_max_multiplier']
    found['begin_with'] = present['begin_with']
    found['meta_optimizer'] = dict(present['meta_optimizer'], **found['meta_optimizer'])
    return found
