"""What stays the same in all of a run of meta-training."""

from typing import NamedTuple

from l2o.metatraining.config import MetaTraining, Run
from l2o.metatraining.progress import Progress
from l2o.metatraining.reporting import Reporter
from l2o.metatraining.store import Store
from l2o.runs.machines import OneMachine


class Context(NamedTuple):
    """A run: what is trained, how far it has come, and whom it tells."""

    training: MetaTraining
    run: Run
    progress: Progress
    store: Store
    machine: OneMachine
    reporter: Reporter
    num_meta_iterations: int  # on each draw of problems
    num_problems: int  # draws

    @property
    def share(self) -> float:
        """The share of the run's meta-iterations that is done, 0 to 1."""
        return self.progress.meta_iterations / (self.num_meta_iterations * self.num_problems)
