"""Brings the published weights of L2O-DM or RNNProp into the folder of a run.

`python -m l2o.commandline.import_weights rnnprop.p published/rnnprop`: what
`metatest.py --train_dir` and `optimizer.load` open is then in that folder. No code in the file of
weights is run.
"""

if __name__ == '__main__':  # before the import of TensorFlow, which takes seconds
    from l2o.commandline import signals
    signals.install('import_weights')

from l2o.commandline import quiet_import  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
import argparse
from typing import Optional, Sequence

import tensorflow.compat.v1 as tf

from l2o.commandline import start
from l2o.runs import run_record
from optimizer import published_weights

NAME = 'import_weights'


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=NAME, description='Brings the published weights of L2O-DM or RNNProp into the folder '
        'of a run, for metatest.py --train_dir and optimizer.load.')
    parser.add_argument('weights', help='a pickled dict of layer -> name -> array, or an npz file '
                        'of arrays weights/<layer>/<name>; arrays are read, no code is run')
    parser.add_argument('folder', help='where run.json and model.ckpt-0 are written')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace the run that the folder holds')
    options = parser.parse_args(arguments)
    with start.errors_in_one_line(NAME, options.folder):
        name = bring(options.weights, options.folder, options.overwrite)
    print('%s: the weights of %s are in %s' % (NAME, name, options.folder))


def bring(weights: str, folder: str, overwrite: bool = False) -> str:
    """Writes `run.json` and `model.ckpt-0`; returns the name of the optimizer's class.

    Args:
      weights: file of the weights, see `published_weights.read`.
      folder: created if need be.
      overwrite: whether a run that is there is replaced.

    Raises:
      ValueError: the weights cannot be used, or the folder holds a run.
      OSError: the file cannot be read, or the folder not be written.
    """
    recognized = published_weights.recognize(published_weights.read(weights))
    record = run_record.made(NAME, {'weights': weights}, 0, [],
                             (recognized.name, recognized.arguments))
    run_record.write_run(folder, record, recognized.values, overwrite)
    return recognized.name


if __name__ == '__main__':
    tf.logging.set_verbosity(tf.logging.ERROR)
    main()
