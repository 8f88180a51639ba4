"""Curriculum learning: meta-train on short trajectories first, then on longer and longer ones.

"Training Stronger Baselines for Learning to Optimize" (arXiv 2010.09089), section 3.1.
"""
import collections
import math

PUBLISHED_STAGES = (100, 200, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500, 5000)

Verdict = collections.namedtuple('Verdict', ['improved', 'advanced', 'finished'])
Verdict.__doc__ = """What one validation means for the meta-training.

improved: the best cost of this stage so far: save the meta-parameters.
advanced: the stage stopped improving and the next one begins: restore the saved meta-parameters,
    then validate them on the new stage's length before training there.
finished: the last stage stopped improving: restore the saved meta-parameters and end.
"""


class Curriculum:
    """The stages of a meta-training and when to move from one to the next.

    Stage i trains on trajectories of stages[i] optimizee steps and validates on the next stage's
    length, since an optimizer should generalise to trajectories longer than those it has seen;
    the last stage validates on its own length. A stage is left once `patience` validations in a
    row have not improved on its best. Costs of different lengths are not comparable, so each
    stage has its own best, and the first validation of a stage (best made before training in it:
    `at_stage_start`) sets it; a stage thus takes at least patience + 1 validations.
    """

    def __init__(self, stages=PUBLISHED_STAGES, patience=3, last_validation_steps=None):
        """
        Args:
          stages: optimizee steps of each stage, strictly increasing.
          patience: validations in a row without improvement after which a stage is left;
            None: the stage is never left.
          last_validation_steps: optimizee steps on which the last stage validates; default: its
            own length.

        Raises:
          ValueError: no stages, stages that do not increase, or a number below 1.
        """
        self._stages = tuple(stages)
        self._patience = patience
        _check_stages(self._stages)
        if patience is not None and patience < 1:
            raise ValueError(f'patience must be at least 1, not {patience}')
        if last_validation_steps is None:
            last_validation_steps = self._stages[-1]
        if last_validation_steps < 1:
            raise ValueError(f'validation must take at least 1 step, not {last_validation_steps}')
        self._validation = self._stages[1:] + (last_validation_steps,)
        self._begin(stage=0)

    @classmethod
    def fixed(cls, train_steps, validation_steps=None):
        """No curriculum: one stage, never left."""
        return cls((train_steps,), patience=None, last_validation_steps=validation_steps)

    @property
    def stage(self):
        """The index of the current stage."""
        return self._stage

    @property
    def train_steps(self):
        """Optimizee steps of a training trajectory in the current stage."""
        return self._stages[self._stage]

    @property
    def validation_steps(self):
        """Optimizee steps of a validation in the current stage."""
        return self._validation[self._stage]

    @property
    def best_cost(self):
        """The lowest validation cost of the current stage, infinity before the first."""
        return self._best

    @property
    def at_stage_start(self):
        """Whether nothing has been validated in the current stage yet."""
        return self._stale == 0 and self._best == math.inf

    @property
    def finished(self):
        """Whether the last stage has stopped improving."""
        return self._on_last_stage and self._exhausted

    def update(self, validation_cost):
        """Takes the cost of a validation on `validation_steps` into account; returns a Verdict.

        A cost that is not finite is no improvement.
        """
        improved = math.isfinite(validation_cost) and validation_cost < self._best
        self._stale = 0 if improved else self._stale + 1
        if improved:
            self._best = float(validation_cost)
        advanced = self._exhausted and not self._on_last_stage
        if advanced:
            self._begin(self._stage + 1)
        return Verdict(improved=improved, advanced=advanced, finished=self.finished)

    def compare_anew(self):
        """Forgets the stage's best: costs to come are of another problem."""
        self._begin(self._stage)

    def state(self):
        """What `restore` needs to go on from here, as a dict that strict JSON can hold."""
        return {'stages': list(self._stages), 'stage': self._stage, 'stale': self._stale,
                'best_cost': None if self._best == math.inf else self._best}

    def restore(self, state):
        """Goes on from where `state()` was taken.

        Raises:
          ValueError: the state is of a curriculum with other stages, or of none.
        """
        if tuple(state['stages']) != self._stages:
            raise ValueError(f"the saved curriculum has the stages {state['stages']}, "
                             f'this one has {list(self._stages)}')
        if not 0 <= state['stage'] < len(self._stages) or state['stale'] < 0:
            raise ValueError(f'there is no such stage: {state}')
        self._stage, self._stale = int(state['stage']), int(state['stale'])
        self._best = math.inf if state['best_cost'] is None else float(state['best_cost'])

    @property
    def _on_last_stage(self):
        return self._stage == len(self._stages) - 1

    @property
    def _exhausted(self):
        return self._patience is not None and self._stale >= self._patience

    def _begin(self, stage):
        self._stage, self._stale, self._best = stage, 0, math.inf


def _check_stages(stages):
    if not stages:
        raise ValueError('a curriculum needs at least one stage')
    if stages[0] < 1:
        raise ValueError(f'a stage must take at least 1 step: {list(stages)}')
    if any(later <= earlier for earlier, later in zip(stages, stages[1:])):
        raise ValueError(f'stages must increase: {list(stages)}')
