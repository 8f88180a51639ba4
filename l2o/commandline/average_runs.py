"""Averages the meta-parameters of several runs into the folder of a new one.

`python -m l2o.commandline.average_runs opt/one opt/two/model.ckpt-90 averaged`: runs of one
optimizer that began at the same values. Their mean is often better than each of them, as that of
fine-tuned networks is ("Model soups", arXiv 2203.05482, section 3). `--changes=FILE` then adds to
single weights of a NormalizedMLP, which it names by what the network sees and what it gives.
"""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from l2o.commandline import signals
    signals.install('average_runs')

from l2o.commandline import quiet_import  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import argparse
import os
from typing import List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

import optimizer
from l2o.commandline import start
from l2o.runs import run_record
from optimizer import checkpoints
from optimizer.normalized_mlp import INPUTS, OUTPUTS

NAME = 'average_runs'
BIAS = 'bias'  # among the inputs of a file of changes


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=NAME, description='Averages the meta-parameters of several runs into a new one.')
    parser.add_argument('runs', nargs='+', help='folders of runs, or checkpoints in them: '
                        'opt/run/model.ckpt-90')
    parser.add_argument('folder', help='where run.json and model.ckpt-0 are written')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace the run that the folder holds')
    parser.add_argument('--changes', help='file with a line for each weight of the linear layer of '
                        'NormalizedMLP that is changed: input or bias, output, what is added')
    options = parser.parse_args(arguments)
    with start.errors_in_one_line(NAME, options.folder):
        average(options.runs, options.folder, options.overwrite, options.changes)
    print('%s: the mean of %d runs is in %s' % (NAME, len(options.runs), options.folder))


def average(runs: Sequence[str], folder: str, overwrite: bool = False,
            changes: Optional[str] = None) -> None:
    """Writes `run.json`, that of the first run with `mean_of` and `changes` in it, and
    `model.ckpt-0`.

    Args:
      runs: folders of runs, of which the best checkpoint is taken, or paths of checkpoints in them.
      folder: created if need be.
      overwrite: whether a run that is there is replaced.
      changes: path of the file of `--changes`, see above.

    Raises:
      ValueError: a run cannot be read, they are of different optimizers, the folder holds a run, or
        a change is not possible.
      OSError: the folder cannot be written, or the file not read.
    """
    folders = [run if os.path.isdir(run) else os.path.dirname(run) for run in runs]
    described = [optimizer.describe(each) for each in folders]
    for run, here in zip(runs, described):
        if here != described[0]:
            raise ValueError('%s is of another optimizer than %s' % (run, runs[0]))
    all_values = [_meta_parameters(run, *described[0]) for run in runs]
    mean = {name: np.mean([values[name] for values in all_values], axis=0)
            for name in all_values[0]}
    record = dict(run_record.read(folders[0]) or {}, mean_of=list(runs))
    if changes is not None:
        if described[0][0] != 'NormalizedMLP':
            raise ValueError('--changes needs runs of NormalizedMLP, not of %s' % described[0][0])
        record['changes'] = read_changes(changes)
        for entering, leaving, added in record['changes']:
            column = OUTPUTS.index(leaving)
            if entering == BIAS:
                mean['LOL/NormalizedMLP/linear/b'][column] += added
            else:
                mean['LOL/NormalizedMLP/linear/w'][INPUTS.index(entering), column] += added
    run_record.write_run(folder, record, mean, overwrite)


def read_changes(path: str) -> List[Tuple[str, str, float]]:
    """The (input or `bias`, output, what is added) of each line of a file; `#` begins a comment.

    Raises:
      ValueError: a line is no change.
      OSError: the file cannot be read.
    """
    with open(path, encoding='utf-8') as file:
        lines = [line.split('#')[0].split() for line in file]
    return [_change(path, words) for words in lines if words]


def _change(path, words):
    try:
        entering, leaving, added = words
        if entering in INPUTS + (BIAS,) and leaving in OUTPUTS:
            return entering, leaving, float(added)
    except ValueError:
        pass
    raise ValueError('%s: %r is not an input (%s, %s), an output (%s) and a number' % (
        path, ' '.join(words), BIAS, ', '.join(INPUTS), ', '.join(OUTPUTS)))


def _meta_parameters(run, name, arguments):
    """Dict of published names -> arrays; a ValueError says what is missing."""
    with tf.Graph().as_default():
        learned = optimizer.build(name, arguments)
        learned.init_from_checkpoint(run)
        values = checkpoints.read_checkpoint(run)
        return {name: values[name] for name in learned.named_meta_parameters}


if __name__ == '__main__':
    tf.logging.set_verbosity(tf.logging.ERROR)
    main()
