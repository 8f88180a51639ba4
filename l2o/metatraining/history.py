"""`history.csv`: how a meta-training went, a row for each validation."""

import csv
import io
import os
import time
from typing import Any, Callable, Dict, List

import numpy as np

from l2o.metatraining.config import UnrollReport
from l2o.metatraining.progress import Progress
from l2o.runs import run_files

FILE_NAME = 'history.csv'

#: What a row has. `seconds`: that the run has worked, interruptions left out; `meta_objective` and
#: `imitation_objective`: means over the unrolls since the row before; `gradient_norm`: the median
#: norm of the meta-gradient over them. Empty: there was none.
COLUMNS = ('meta_iterations', 'unrolls', 'seconds', 'problem', 'stage', 'validation_steps',
           'validation', 'best', 'meta_objective', 'imitation_objective', 'gradient_norm',
           'nonfinite_unrolls')


class History:
    """Writes `history.csv`; a run that goes on from its saved state goes on with its rows.

    Args:
      folder: of the run.
      clock: gives seconds.
    """

    def __init__(self, folder: str, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._rows: List[Dict[str, Any]] = []
        self._begun = clock()
        self._objectives: Dict[str, List[float]] = {}

    def begin(self, progress: Progress) -> None:
        """The run begins, or goes on: rows that come after what was saved are left out."""
        self._rows = [row for row in read(self._folder) if _is_before(row, progress)]
        done = float(self._rows[-1]['seconds']) if self._rows else 0.0
        self._begun = self._clock() - done

    def unroll(self, report: UnrollReport) -> None:
        """Takes note of an unroll."""
        kind = 'imitation_objective' if report.imitated else 'meta_objective'
        for name, value in ((kind, report.meta_objective), ('gradient_norm', report.gradient_norm)):
            self._objectives.setdefault(name, []).append(float(value))

    def validation(self, progress: Progress, stage: int, cost: float, best: bool) -> None:
        """Adds a row and writes the file.

        Raises:
          OSError: it cannot be written.
        """
        means = {name: np.median(values) if name == 'gradient_norm' else np.mean(values)
                 for name, values in self._objectives.items()}
        self._objectives = {}
        row = dict({name: '%.9g' % value for name, value in means.items()},
                   meta_iterations=progress.meta_iterations, unrolls=progress.unrolls,
                   seconds='%.1f' % (self._clock() - self._begun), problem=progress.problem,
                   stage=stage + 1, validation_steps=progress.validation_steps,
                   validation='%.9g' % cost,
                   best=int(best), nonfinite_unrolls=progress.nonfinite_unrolls)
        self._rows.append(row)
        text = io.StringIO(newline='')
        writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
        writer.writeheader()
        writer.writerows(self._rows)
        run_files.write(os.path.join(self._folder, FILE_NAME), text.getvalue().encode())


def read(folder: str) -> List[Dict[str, str]]:
    """The rows of a run's history; none where there is no file or a damaged one."""
    try:
        with open(os.path.join(folder, FILE_NAME), newline='') as file:
            rows = list(csv.DictReader(file))
        return [row for row in rows if set(row) == set(COLUMNS) and None not in row.values()]
    except (OSError, ValueError, csv.Error):
        return []


def _is_before(row, progress):
    """Whether a row was written before the state from which a run goes on.

    The validation of what the training on a draw of problems begins with is made again where that
    training has not begun.
    """
    problem = int(row['problem'])
    if progress.iteration == 0 and problem >= progress.problem:
        return False
    return int(row['meta_iterations']) <= progress.meta_iterations and problem <= progress.problem
