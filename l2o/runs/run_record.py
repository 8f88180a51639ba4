"""`run.json`: what a run was: flags, seed, versions, data, and how to build its optimizer again."""

import json
import os
import platform
import subprocess
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.runs import run_files
from optimizer import __version__

FILE_NAME = 'run.json'


def write(folder: str, script: str, values: Dict[str, Any], seed: Any,
          rows: Sequence[Sequence[Any]], optimizer: Tuple[str, Dict[str, Any]],
          **records: Any) -> None:
    """Writes the record of a run into its folder; arguments as for `made`.

    Args:
      folder: created if need be.

    Raises:
      OSError: the folder cannot be written.
    """
    _write(folder, made(script, values, seed, rows, optimizer, **records))


def made(script: str, values: Dict[str, Any], seed: Any, rows: Sequence[Sequence[Any]],
         optimizer: Tuple[str, Dict[str, Any]], **records: Any) -> Dict[str, Any]:
    """The record of a run.

    Args:
      script: name of the script.
      values: dict of the flags' values.
      seed: the seed in use.
      rows: the problems (spec, dataset, batch size).
      optimizer: (name, constructor arguments) of the learned optimizer.
      **records: what else describes the run, as JSON can hold it.
    """
    name, arguments = optimizer
    return dict(records, **{
        'script': script,
        'optimizer': {'name': name, 'kwargs': arguments},
        'flags': values,
        'seed': seed,
        'data': data_sources(rows),
        'versions': {'learned_optimizers': __version__, 'python': platform.python_version(),
                     'tensorflow': tf.__version__, 'numpy': np.__version__},
        'git_commit': git_commit(),
    })


def write_run(folder: str, record: Dict[str, Any], meta_parameters: Dict[str, np.ndarray],
              overwrite: bool = False) -> None:
    """Writes a run that was not meta-trained there: its record, and `model.ckpt-0`.

    Args:
      folder: created if need be.
      record: as of `made` or `read`.
      meta_parameters: dict of names -> arrays.
      overwrite: whether a run that is there is replaced.

    Raises:
      ValueError: the folder holds a run.
      OSError: it cannot be written.
    """
    _make_room(folder, overwrite)
    _write(folder, record)
    run_files.write_checkpoint(folder, 0, meta_parameters)


def _make_room(folder: str, overwrite: bool) -> None:
    """Removes the run that a folder holds, if it may be removed; else a ValueError says so."""
    if overwrite:
        run_files.discard(folder)
    elif run_files.newest_checkpoint(folder) or os.path.exists(os.path.join(folder, FILE_NAME)):
        raise ValueError('%s holds a run: name another folder, or replace it with --overwrite'
                         % folder)


def _write(folder, record):
    os.makedirs(folder, exist_ok=True)
    text = json.dumps(record, indent=2, sort_keys=True) + '\n'
    run_files.write(os.path.join(folder, FILE_NAME), text.encode())


def read(folder: str) -> Optional[Dict[str, Any]]:
    """The record in a folder; None where there is none.

    Raises:
      ValueError: it is damaged, or cannot be read.
    """
    path = os.path.join(folder, FILE_NAME)
    if not os.path.exists(path):
        return None
    try:
        with open(path, encoding='utf-8') as handle:
            record = json.load(handle)
        return dict(record, flags=dict(record['flags']), seed=_seed(record['seed']))
    except Exception as error:  # whatever json makes of a damaged file
        raise ValueError('%s is damaged: %s: %s' % (path, type(error).__name__, error)) from error


def _seed(value):
    if not isinstance(value, int) or not 0 <= value < 2 ** 32:
        raise ValueError('the seed is %r' % (value,))
    return value


def differences(recorded: Dict[str, Any], values: Dict[str, Any],
                free: Sequence[str] = ()) -> List[str]:
    """What differs between recorded flags and these, in words; flags named in `free` may."""
    # Through JSON, so that tuples equal lists.
    values = json.loads(json.dumps(values))
    names = sorted((set(recorded) | set(values)) - set(free))
    return ['--%s=%s, now %s' % (name, recorded.get(name), values.get(name)) for name in names
            if recorded.get(name) != values.get(name)]


def data_sources(rows: Sequence[Sequence[Any]]) -> List[str]:
    """Where the problems' data come from: a sorted list of words."""
    return sorted({getattr(row[1], 'source', type(row[1]).__name__) for row in rows
                   if row[1] is not None})


def git_commit() -> Optional[str]:
    """The commit of the source tree, with `+` where it was changed; None outside of git."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

    def git(*arguments):
        return subprocess.check_output(('git',) + arguments, stderr=subprocess.DEVNULL, cwd=root,
                                       universal_newlines=True).strip()
    try:
        if not os.path.samefile(git('rev-parse', '--show-toplevel'), root):
            return None  # installed into a folder of another project
        return git('rev-parse', 'HEAD') + ('+' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.CalledProcessError):
        return None
