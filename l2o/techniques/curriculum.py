"""Curriculum learning: meta-train on short trajectories first, then on longer and longer ones.

"Training Stronger Baselines for Learning to Optimize" (arXiv 2010.09089), section 3.1.
"""

import math
from typing import NamedTuple, Optional, Tuple

from l2o.settings import default


class CurriculumState(NamedTuple):
    """How far a meta-training has come in its curriculum."""

    stage: int = 0
    validations: int = 0  # since the stage began
    has_improved: bool = False  # whether one of them was the best so far
    best_cost: float = math.inf  # so far, of validations of this stage's length

    def compare_anew(self) -> 'CurriculumState':
        """The same stage from its beginning: costs to come are of other problems."""
        return CurriculumState(self.stage)

    def begin(self, cost: float) -> 'CurriculumState':
        """A stage that begins with what costs `cost` at its validation's length: this is to beat.

        A cost that is not finite is worse than any other.
        """
        return CurriculumState(self.stage, best_cost=cost if math.isfinite(cost) else math.inf)


class Verdict(NamedTuple):
    """What one validation means for the meta-training."""

    improved: bool  # the best cost so far at this length: save the meta-parameters
    advanced: bool  # the next stage begins: restore the saved ones, validate, `begin` with the cost
    finished: bool  # the training is over


class Curriculum(NamedTuple):
    """The stages of a meta-training and when to move from one to the next.

    Stage i trains on trajectories of stages[i] optimizee steps and validates on the next stage's
    length, since an optimizer should generalise to trajectories longer than those it has seen;
    the last stage validates on its own length, or on `last_validation_steps`. What is to beat is
    the best at this length: a stage begins with a validation of the best of the stage before. From
    a stage's validation number `patience` after that on, the first that does not improve on the
    best ends the stage. A stage in which none improved ends the training, as the last one does.

    It never changes: what changes is a `CurriculumState`.
    """

    #: Optimizee steps of each, increasing; None, alone: the lengths of trajectories are drawn.
    stages: Tuple[Optional[int], ...] = default('cl_steps')
    #: Fewest validations in a stage; None: no stage is ever left.
    patience: Optional[int] = default('cl_patience')
    last_validation_steps: Optional[int] = None  # None: the last stage's own length

    @classmethod
    def fixed(cls, train_steps: int, validation_steps: Optional[int] = None) -> 'Curriculum':
        """No curriculum: one stage, never left."""
        return cls((train_steps,), None, validation_steps)

    @classmethod
    def drawn(cls, validation_steps: int = default('fix_num_steps_eval')) -> 'Curriculum':
        """No curriculum: one stage, never left, in which the lengths of trajectories are drawn."""
        return cls((None,), None, validation_steps)

    @property
    def is_drawn(self) -> bool:
        """Whether the lengths of trajectories are drawn."""
        return self.stages == (None,)

    def check(self) -> None:
        """Raises a ValueError where stages do not increase, or a number is below 1."""
        if not self.stages:
            raise ValueError('a curriculum needs at least one stage')
        stages = [stage or 0 for stage in self.stages]
        if self.is_drawn and not self.last_validation_steps:
            raise ValueError('where lengths are drawn, last_validation_steps must be given')
        if stages[0] < 1 and not self.is_drawn:
            raise ValueError('a stage must take at least 1 step: %s' % list(self.stages))
        if any(later <= earlier for earlier, later in zip(stages, stages[1:])):
            raise ValueError('stages must increase: %s' % list(self.stages))
        if self.patience is not None and self.patience < 1:
            raise ValueError('patience must be at least 1, not %s' % self.patience)
        if self.last_validation_steps is not None and self.last_validation_steps < 1:
            raise ValueError('validation must take at least 1 step, not %s'
                             % self.last_validation_steps)

    def train_steps(self, state: CurriculumState) -> Optional[int]:
        """Optimizee steps of a training trajectory in the current stage; None: they are drawn."""
        return self.stages[state.stage]

    def validation_steps(self, state: CurriculumState) -> int:
        """Optimizee steps of a validation in the current stage."""
        if state.stage + 1 < len(self.stages):
            return self.stages[state.stage + 1] or 0
        return self.last_validation_steps or self.stages[-1] or 0

    def update(self, state: CurriculumState, cost: float) -> Tuple[CurriculumState, Verdict]:
        """Takes the cost of a validation into account: (new state, `Verdict`).

        A cost that is not finite is no improvement.
        """
        improved = math.isfinite(cost) and cost < state.best_cost
        state = state._replace(validations=state.validations + 1,
                               has_improved=state.has_improved or improved,
                               best_cost=float(cost) if improved else state.best_cost)
        if improved or self.patience is None or state.validations < self.patience:
            return state, Verdict(improved, False, False)
        if not state.has_improved or state.stage == len(self.stages) - 1:
            return state, Verdict(False, False, True)
        return CurriculumState(state.stage + 1), Verdict(False, True, False)
