"""What a run keeps in its folder while it trains."""

import os
from typing import Callable, Dict, Optional

import numpy as np

from l2o.metatraining.meta_step import SavedTypes
from l2o.metatraining.progress import Progress
from l2o.runs import run_files
from optimizer import checkpoints

BEST_CHECKPOINT = run_files.CHECKPOINT + '-0'


class Store:
    """A run's folder.

    `model.ckpt-0` holds the best meta-parameters of the run. Without a curriculum those of every
    validation are kept as `model.ckpt-<meta-iterations done>`; with one the best of stage i,
    counted from 1, as `model.ckpt-<i>`.

    Args:
      folder: created with the first writing.
      keep_checkpoints: how many of the latest validated meta-parameters are kept; -1: all.
      writes: whether this process saves.
    """

    def __init__(self, folder: str, keep_checkpoints: int, writes: bool) -> None:
        self._folder, self._keep, self._writes = folder, keep_checkpoints, writes

    @property
    def best_checkpoint(self) -> str:
        """The path of the best meta-parameters."""
        return os.path.join(self._folder, BEST_CHECKPOINT)

    def begin(self, resume: bool) -> None:
        """Makes the folder; removes what a killed process has left, or with it all of a run."""
        os.makedirs(self._folder, exist_ok=True)
        if self._writes:
            (run_files.tidy if resume else run_files.discard)(self._folder)

    def restore(self, progress: Progress, find_expected: Callable[[], SavedTypes]) -> Optional[str]:
        """Goes on from a saved state; without one, begins with the newest checkpoint, if any.

        That is the one which the file `checkpoint` names, else the one that was written last. The
        checkpoints that are there then are of another run: they are kept, as `before-<name>`.

        Args:
          progress: a new `Progress`.
          find_expected: gives the `meta_step.SavedTypes` of the run; called where there is
            something to check.

        Returns:
          the path of the checkpoint with which a new run begins, or None.

        Raises:
          ValueError: the state or the checkpoint is damaged or of another optimizer.
        """
        if progress.restore(self._folder):
            progress.check(find_expected().types)
            return None
        newest = checkpoints.latest_checkpoint(self._folder)
        if newest is None or not os.path.samefile(os.path.dirname(newest), self._folder):
            newest = run_files.newest_checkpoint(self._folder)
        if newest is None:
            return None
        progress.values = _fitting(newest, checkpoints.read_checkpoint(newest),
                                   find_expected())
        if not self._writes:
            return newest
        name = os.path.basename(newest)
        return os.path.join(self._folder,
                            run_files.set_checkpoints_aside(self._folder).get(name, name))

    def save_best(self, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters."""
        self._write(0, values)

    def read_best(self) -> Optional[Dict[str, np.ndarray]]:
        """The best meta-parameters that are saved; None: this process saves none."""
        return checkpoints.read_checkpoint(self.best_checkpoint) if self._writes else None

    def save_validated(self, meta_iterations: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the meta-parameters of a validation, and removes old ones."""
        if self._keep:
            self._write(meta_iterations, values)
        if self._writes and self._keep >= 0:
            run_files.keep_latest(self._folder, self._keep)

    def save_best_of_stage(self, stage: int, values: Dict[str, np.ndarray]) -> None:
        """Writes the best meta-parameters of a curriculum's stage, an index from 0."""
        self._write(stage + 1, values)

    def save(self, progress: Progress) -> None:
        """Writes what the run needs to go on."""
        if self._writes:
            progress.save(self._folder)

    def _write(self, number, values):
        if self._writes:
            run_files.write_checkpoint(self._folder, number, values)


def _fitting(path, values, expected):
    """The values of a checkpoint that a run can begin with: meta-parameters, and slots if any.

    Raises:
      ValueError: a meta-parameter is missing or has another shape or type.
    """
    fitting = {name: value for name, value in values.items()
               if expected.types.get(name) == (value.shape, value.dtype)}
    wrong = sorted(expected.meta_parameters - set(fitting))
    if wrong:
        raise ValueError('the checkpoint %s is of another optimizer: it does not fit %s'
                         % (path, ', '.join(wrong[:5])))
    return fitting
