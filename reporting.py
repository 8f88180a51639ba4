"""What meta-training says while it runs."""

import time


class Reporter:
    """Writes one line for each validation.

    Args:
      out: file to write to; None: say nothing.
    """

    def __init__(self, out):
        self._out = out
        self._start = time.time()
        self._reports = []

    def unroll(self, progress, report):
        """Takes note of an unroll."""
        del progress
        self._reports.append(report)

    def validation(self, progress, stage, cost, improved):
        """Reports a validation, with the mean meta-objective of the unrolls since the last one."""
        plain = [report.meta_objective for report in self._reports if not report.imitated]
        parts = ['meta-iteration %d' % progress.meta_iterations, 'stage %d' % (stage + 1)]
        if plain:
            parts.append('meta-objective %.4g' % (sum(plain) / len(plain)))
        parts.append('validation %.4g%s' % (cost, ' (best)' if improved else ''))
        parts.append('%.0f s' % (time.time() - self._start))
        self._reports = []
        if self._out is not None:
            self._out.write(', '.join(parts) + '\n')
            self._out.flush()
