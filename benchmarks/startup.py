"""The published training command: from its start to the end of its first unroll, and to its end.

`python -m benchmarks.startup FOLDER [flags]` runs it with one meta-iteration and prints both, in
seconds after the imports, and the seconds of the imports.
"""

import shutil
import subprocess
import sys
import tempfile
import time

from benchmarks import measuring

#: As published, but for one meta-iteration.
COMMAND = (
    '--regularize_time=none', '--alpha=1e-4', '--reg_optimizer=True', '--reg_option=hessian-esd',
    '--include_mnist_mlp_problems', '--num_problems=1', '--num_meta_iterations=1',
    '--fix_unroll=True', '--fix_unroll_length=20', '--evaluation_period=1',
    '--evaluation_epochs=5', '--use_second_derivatives=False', '--if_cl=True', '--if_mt=True',
    '--mt_ratio=0.1', '--mt_k=1')


def table(repeats, changes=()):
    """Medians over whole processes, each a `Result`; `changes` are flags put behind the others."""
    runs = [_in_process(changes) for _ in range(repeats)]
    names = ('imports', 'to first unroll', 'whole process')
    for name, times in zip(names, map(measuring.summary, zip(*runs))):
        yield measuring.Result('command', ' '.join((name,) + tuple(changes)), None, times.median,
                               times.low, times.high, 's', None, None)


def _in_process(changes):
    folder = tempfile.mkdtemp()
    start = time.perf_counter()
    try:
        printed = subprocess.check_output(
            [sys.executable, '-m', 'benchmarks.startup', folder] + list(changes),
            stderr=subprocess.DEVNULL, universal_newlines=True)
    finally:
        shutil.rmtree(folder)
    whole = time.perf_counter() - start
    imports, first = [line.split()[1:] for line in printed.splitlines()
                      if line.startswith('BENCHMARK')][0]
    return float(imports), float(first), whole


def main(folder, changes):
    """Runs the command with a clock at the end of its first unroll."""
    start = time.perf_counter()
    import metarun
    from l2o.commandline import flags, script
    from l2o.commandline import start as start_script
    from l2o.metatraining import reporting
    imported, first = time.perf_counter(), []

    class Clock(reporting.Reporter):
        def unroll(self, progress, report, details=None):
            first.append(time.perf_counter())

    sys.argv = ['metarun.py', '--train_dir=' + folder] + list(COMMAND) + list(changes)
    try:
        start_script.begin(flags.METARUN)
        script.run_script(flags.METARUN, lambda values: metarun.main(values, Clock(None)))
    except SystemExit:
        pass
    print('BENCHMARK %.3f %.3f' % (imported - start, first[0] - imported))


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2:])
