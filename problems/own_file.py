"""Problems from a file of one's own: `my_file.py:my_problem` names what the file defines."""

import functools
import hashlib
import os
import sys
import traceback
import types
from typing import Any, List

import numpy as np
import tensorflow.compat.v1 as tf

from problems.datasets import Dataset
from problems.model_adapter import ModelAdapter
from problems.problem import Problem
from problems.problem_spec import Row, SeededRow, Spec, as_row
from problems.random_numbers import global_generators_from

#: What a name in such a file may stand for, in words.
WHAT = ('a Problem or a class of them, a Spec, a Row, a list of these, a function of no arguments '
        'that returns one of them, or a function for ModelAdapter')


def rows(where: str, seed: int = 0) -> List[Row]:
    """The rows of the problems that a name in a file stands for.

    The name is that of a `Problem`, a class of them, a `Spec`, a `Row` (with examples, a batch
    size, held-out examples), a list of these, or a function of no arguments that returns one of
    them. A function that returns (make_loss, make_init_fn) is a model for `ModelAdapter`. Each
    problem is built once, with its loss and gradients, so that what is wrong is found now.

    Args:
      where: `FILE.py:NAME`.
      seed: what the file draws from numpy's and Python's global generators follows from it.

    Returns:
      the rows; one that has no name gets `NAME`, or of several `NAME 0`, `NAME 1` and so on.

    Raises:
      ValueError: the file cannot be read or run, has no such name, or that is no problem.
    """
    path, _, name = where.rpartition(':')
    if not path or not name:
        raise ValueError('%s must be FILE.py:NAME, a file and the name of a problem in it' % where)
    with global_generators_from(seed):
        module = _module(path, seed)
        if name not in vars(module):
            raise ValueError('%s has no %s: it defines %s' % (
                path, name, ', '.join(_defined(module)) or 'nothing'))
        found = _rows(getattr(module, name), name, module, where)
        for row in found:
            _check(row, seed, where)
    return [row._replace(name=row.name or (name if len(found) == 1 else '%s %d' % (name, index)),
                         dataset=_with_source(row.dataset, path),
                         held_out=_with_source(row.held_out, path))
            for index, row in enumerate(found)]


def _with_source(dataset, path):
    """Examples that say where they come from; None as it is."""
    return dataset if dataset is None or dataset.source else dataset._replace(source=path)


def _module(path, seed):
    """The file as a module, run once; its folder can be imported from, as that of a script.

    The module's name tells contents and seeds apart, so that results that are kept are those of
    the file as it is.
    """
    try:
        with open(path, 'rb') as file:
            source = file.read()
    except OSError as error:
        raise ValueError('%s cannot be read: %s' % (path, error.strerror)) from error
    identity = b'%d %s\n%s' % (seed, os.path.abspath(path).encode(), source)
    name = '%s_%s' % (os.path.splitext(os.path.basename(path))[0],
                      hashlib.sha256(identity).hexdigest()[:12])
    if name in sys.modules:
        return sys.modules[name]
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.append(folder)
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    try:
        with tf.Graph().as_default():
            exec(compile(source, path, 'exec'), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError('%s cannot be imported: %s' % (path, _in_words(error, path))) from error
    return module


def _defined(module):
    """The public names that a file defines itself."""
    return [name for name, value in vars(module).items()
            if not name.startswith('_') and not isinstance(value, types.ModuleType)
            and getattr(value, '__module__', module.__name__) == module.__name__]


def _rows(given, name, module, where):
    """The rows that a value stands for."""
    if isinstance(given, type) and issubclass(given, Problem):
        return [Row(Spec(given, (), {}))]
    if isinstance(given, (types.FunctionType, functools.partial)):
        try:
            with tf.Graph().as_default():
                value = given()
        except Exception as error:
            raise ValueError('%s cannot be called without arguments: %s' % (
                where, _in_words(error, module.__file__))) from error
        if isinstance(value, Problem):
            return [Row(Spec(given, (), {}))]
        if isinstance(value, tuple) and len(value) == 2 and callable(value[0]):
            return [Row(Spec(ModelAdapter, (given,), {}))]
        given = value
    if isinstance(given, list) and given:
        return [_row(each, '%s_%d' % (name, index), module, where)
                for index, each in enumerate(given)]
    return [_row(given, name, module, where)]


def _row(given, name, module, where):
    """The row that one value stands for."""
    if isinstance(given, (Problem, Spec)):
        given = Row(given)  # type: ignore[arg-type]
    is_row = isinstance(given, (Row, SeededRow)) or type(given) is tuple and len(given) == 3
    row = as_row(given) if is_row else Row(given)
    if isinstance(row.spec, Problem):
        row = row._replace(spec=Spec(_returning(row.spec, name, module), (), {}))
    if not isinstance(row.spec, Spec):
        raise ValueError('%s is no problem but %s: it must be %s' % (
            where, _kind(row.spec if is_row else given), WHAT))
    for dataset in (row.dataset, row.held_out):
        if dataset is not None and not isinstance(dataset, Dataset):
            raise ValueError('%s: the examples must be a problems.datasets.Dataset, not %s' % (
                where, _kind(dataset)))
    size = row.batch_size
    if size is not None and not (isinstance(size, (int, np.integer)) and size > 0):
        raise ValueError('%s: the batch size must be a positive whole number or None, not %r' % (
            where, size))
    return row


def _returning(problem, name, module):
    """A function, with the name in the file, that returns a problem which is there already."""
    def given():
        return problem

    given.__module__, given.__name__, given.__qualname__ = module.__name__, name, name
    return given


def _kind(value: Any) -> str:
    name = type(value).__name__
    return 'None' if value is None else '%s %s' % ('an' if name[0] in 'aeiou' else 'a', name)


def _check(row, seed, where):
    """Builds a problem, its loss and its gradients once, in a graph of its own."""
    try:
        with tf.Graph().as_default():
            problem = row.spec.build(seed)
            if not isinstance(problem, Problem):
                raise ValueError('%s gives no problem but %s' % (where, _kind(problem)))
            if problem.needs_data and row.dataset is None:
                raise ValueError('%s needs examples: give Row(Spec(...), Dataset(...), batch size)'
                                 % where)
            examples = [] if row.dataset is None else [
                array[:row.batch_size] for array in row.dataset[:2]]
            parameters = [tf.placeholder(tf.float32, shape) for shape in problem.param_shapes]
            objective = problem.objective(parameters, *examples)
            if objective.shape.num_elements() not in (1, None):
                raise ValueError('%s: the objective must be one number, not of the shape %s' % (
                    where, objective.shape.as_list()))
            problem.gradients(objective, parameters)
    except Exception as error:
        words = str(error)
        if not words.startswith(where):
            words = '%s cannot be built: %s' % (
                where, _in_words(error, where.rpartition(':')[0]))
        raise ValueError(words) from error


def _in_words(error, path):
    """An error in one line, with the last line of the file that led to it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if frame.filename == path]
    if isinstance(error, SyntaxError) and error.filename == path:
        lines, words = [error.lineno], error.msg
    else:
        words = (str(error).strip().splitlines() or [''])[0]
    return '%s%s%s' % (type(error).__name__, words and ': ' + words,
                       ' (line %s)' % lines[-1] if lines else '')
