"""Meta-training on one draw of problems: what the loop does in a session of its graph."""

from typing import Dict, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.metatraining.context import Context
from l2o.metatraining.draw import Draw
from l2o.metatraining.episode import run_episode
from l2o.metatraining.progress import VALIDATION
from l2o.metatraining.validation import Validator
from l2o.techniques.averaging import MovingAverage


class TrainingSession:
    """Meta-training on a draw of problems.

    Args:
      context: the run's.
      draw: the problems, built.
      session: of their graph.
    """

    def __init__(self, context: Context, draw: Draw, session: tf.Session) -> None:
        self._context, self._draw, self._session = context, draw, session
        self._validator: Optional[Validator] = None
        progress = context.progress
        if progress.iteration and not context.training.reset_state:
            for trained, values in zip(draw.trained, progress.carried):
                trained.load_carried_state(session, values)

    def run_episode(self) -> None:
        """Trains on one episode."""
        run_episode(self._context, self._draw, self._session)

    def validate_baseline(self) -> None:
        """Validates what the training on these problems begins with: the best so far."""
        progress, reporter = self._context.progress, self._context.reporter
        progress.curriculum = progress.curriculum.compare_anew()
        values, cost = self._validated()
        progress.best, progress.best_cost, progress.baseline_cost = {}, np.inf, np.inf
        if np.isfinite(cost):
            progress.baseline_cost = cost
            self._context.store.save_best(values)
        reporter.validation(progress, progress.curriculum.stage, cost, bool(np.isfinite(cost)))

    def validate(self) -> None:
        """Validates the meta-parameters and does what the curriculum then says."""
        context, progress, stage = (self._context, self._context.progress,
                                    self._context.progress.curriculum.stage)
        values, cost = self._validated()
        progress.curriculum, verdict = context.training.curriculum.update(progress.curriculum, cost)
        if verdict.improved:
            progress.best, progress.best_cost = values, cost
        best = verdict.improved and progress.trained_is_best
        if best:
            context.store.save_best(values)
        if len(context.training.curriculum.stages) == 1:
            context.store.save_validated(progress.meta_iterations, values)
        elif verdict.improved:
            context.store.save_best_of_stage(stage, values)
        context.reporter.validation(progress, stage, cost, best)
        if progress.best and (verdict.advanced or verdict.finished):
            self._load(progress.best)
        if verdict.advanced:
            self._begin_stage()
        progress.complete = verdict.finished

    def _begin_stage(self) -> None:
        """Validates the best of the stage before at the new stage's length: this is to beat.

        Where nothing trained was as good as what the run began with, that is validated, too.
        """
        progress, store = self._context.progress, self._context.store
        untrained = None if progress.trained_is_best else store.read_best()
        progress.baseline_cost = np.inf
        if untrained:
            self._load(untrained)
            _, progress.baseline_cost = self._validated()
            self._load(progress.best)
        _, cost = self._validated()
        progress.curriculum = progress.curriculum.begin(cost)
        progress.best_cost = progress.curriculum.best_cost
        if progress.trained_is_best:
            store.save_best(progress.best)
        self._context.reporter.validation(progress, progress.curriculum.stage, cost,
                                          progress.trained_is_best)

    def _load(self, values: Dict[str, np.ndarray]) -> None:
        """Gives the variables other values; meta-steps are counted on."""
        self._draw.load(self._session, {name: value for name, value in values.items()
                                        if name != 'global_step'})

    def save(self) -> None:
        """Saves what the run needs to go on."""
        progress = self._context.progress
        progress.values = self._session.run(self._draw.variables)
        if not self._context.training.reset_state:
            progress.carried = [trained.carried_state(self._session)
                                for trained in self._draw.trained]
        self._context.store.save(progress)

    def _validated(self) -> Tuple[Dict[str, np.ndarray], float]:
        """The present meta-parameters, or their moving average, and what they cost."""
        training, variables = self._context.training, self._draw.variables
        values, frozen = self._context.machine.read_frozen(self._session, variables)
        if training.meta_optimizer.average_decay:
            values = MovingAverage.applied(values)
            frozen = {variables[name].value(): value for name, value in values.items()}
        if self._validator is None:
            progress = self._context.progress
            self._validator = Validator(self._draw.validated, training.validation,
                                        progress.generator(VALIDATION, progress.problem))
        steps = training.curriculum.validation_steps(self._context.progress.curriculum)
        self._context.progress.validation_steps = steps
        return values, self._validator.cost(self._session, steps, frozen)
