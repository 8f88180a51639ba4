"""Shows how far a comparison is: a bar on a terminal, else one line a minute."""

import time
from typing import Callable, Dict, Optional, TextIO, Tuple

import numpy as np
import tqdm

from l2o.evaluation import comparison
from l2o.evaluation.rules import label
from l2o.evaluation.running import Trial

LINE_PERIOD = 60  # seconds from one line to the next


class ComparisonProgress:
    """The observer of a comparison, see `l2o.evaluation.running.Silent`.

    Args:
      out: file to write to; None: nothing is shown.
      clock: gives seconds.
    """

    def __init__(self, out: Optional[TextIO], clock: Callable[[], float] = time.time) -> None:
        self._out, self._clock = out, clock
        self._total = self._done = 0
        # (problem, number of steps) -> candidate -> seed -> final loss
        self._finals: Dict[Tuple[str, int], Dict[str, Dict[int, float]]] = {}
        self._last_line, self._bar = clock(), None
        if out is not None and getattr(out, 'isatty', lambda: False)():
            self._bar = tqdm.tqdm(total=0, file=out, unit='run', dynamic_ncols=True, leave=False)

    def expect(self, number: int) -> None:
        """So many more trials are going to be run."""
        self._total += number
        if self._bar is not None:
            self._bar.total = self._total
            self._bar.refresh()

    def done(self, trial: Trial, curve: comparison.Curve, was_kept: bool) -> None:
        """A trial has been run, or its result been kept from before."""
        self._done += 1
        finals = self._finals.setdefault((trial.row.name, trial.num_steps), {})
        finals.setdefault(label(trial.candidate), {})[trial.seed] = comparison.final_loss(
            curve.losses)
        words = '%s, %d steps: %s' % (trial.row.name, trial.num_steps, _best_in_words(finals))
        if self._bar is not None:
            self._bar.set_postfix_str(words, refresh=False)
            self._bar.update()
        elif self._out is not None and self._clock() - self._last_line >= LINE_PERIOD:
            self._last_line = self._clock()
            self._out.write('%d of %d runs done; %s\n' % (self._done, self._total, words))
            self._out.flush()

    def end(self) -> None:
        """The comparison has ended, or was interrupted."""
        if self._bar is not None:
            self._bar.refresh()
            self._bar.close()


def _best_in_words(finals):
    """The lowest mean final loss of the candidates that have been run with the most seeds."""
    seeds = max(map(len, finals.values()))
    mean, name = min((float(np.mean(list(losses.values()))), name)
                     for name, losses in finals.items() if len(losses) == seeds)
    return 'best mean so far %.3g (%s, %d seed%s)' % (mean, name, seeds, 's' * (seeds > 1))
