"""What metatest compares: candidates, problems and grids from the flags."""

import hashlib
import json
import os
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import tensorflow.compat.v1 as tf
from absl import flags as absl_flags
from absl.flags import FlagValues

import optimizer
from l2o.commandline import optimizer_flags, problem_flags, script
from l2o.commandline.flags import METATEST, FlagError, define
from l2o.evaluation import rules, running
from optimizer.arguments import takes_num_steps
from problems.problem_spec import Row

DEFAULT_STEPS = 100  # of a test where neither the flag nor the problem says how many


class Learned(NamedTuple):
    """A learned optimizer to test."""

    name: str  # in tables and file names
    folder: str  # its run
    config: Tuple[str, dict]  # name of the class, constructor arguments
    make: Callable[[int], Any]  # number of steps -> the optimizer, in the default graph
    identity: str  # differs where config, meta-parameters, rule or compiler do


def learned_optimizers(values: FlagValues) -> List[Learned]:
    """A list of `Learned`: those of --learned, or the one in --train_dir.

    The checkpoints are opened, so that what is wrong with them is found before anything is run.
    """
    if rules.LEARNED not in values.test_optimizer:
        if values.learned:
            raise FlagError('--learned names optimizers to test, but --test_optimizer lacks '
                            + rules.LEARNED)
        return []
    if not values.learned:
        folder, config = optimizer_flags.learned(values)
        return [_learned(values, rules.LEARNED, folder, config)]
    folders = [values.learned]
    if not os.path.isdir(values.learned):  # the name of one folder may hold a comma
        folders = [word.strip() for word in values.learned.split(',') if word.strip()]
    if len(set(folders)) < len(folders):
        raise FlagError('--learned names something twice: %s' % values.learned)
    folders = [_find(folder) for folder in folders]
    names = [os.path.basename(os.path.normpath(folder)) for folder in folders]
    if len(set(names)) < len(names) or set(names) & set(rules.HAND_TUNED):
        names = folders
    return [_learned(values, name, folder, _describe(folder))
            for name, folder in zip(names, folders)]


def _find(folder):
    try:
        return optimizer.find(folder)
    except ValueError as error:
        raise FlagError('--learned: %s' % error) from error


def _describe(folder):
    try:
        return optimizer.describe(folder)
    except ValueError as error:
        raise FlagError('--learned: %s' % error) from error


def _learned(values, name, folder, config):
    checkpoint, xla = optimizer_flags.checkpoint(values, folder), optimizer_flags.xla(values)
    is_told = values.planned and config[0] in optimizer.OPTIMIZERS and (
        takes_num_steps(optimizer.OPTIMIZERS[config[0]]))

    def make(num_steps):
        arguments = dict(config[1], num_steps=num_steps) if is_told else config[1]
        learned = optimizer.build(config[0], arguments)
        learned.xla = xla
        learned.init_from_checkpoint(checkpoint)
        return learned

    optimizer_flags.check_checkpoint(lambda: make(1))
    digest = hashlib.sha256(json.dumps([config, xla, is_told], sort_keys=True).encode())
    for path in _files_of(checkpoint) + _sources():
        with open(path, 'rb') as file:
            digest.update(file.read())
    return Learned(name, folder, config, make, digest.hexdigest())


def _files_of(checkpoint):
    folder, prefix = os.path.split(checkpoint)
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder or '.'))
            if name.startswith(prefix + '.')]


def _sources():
    """The source files of the learned optimizers."""
    folder = os.path.dirname(os.path.abspath(optimizer.__file__))
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder))
            if name.endswith('.py')]


def candidates(values: FlagValues, learned: Sequence[Learned]) -> List[rules.Candidate]:
    """The list of `Candidate`, in the order of --test_optimizer."""
    found = []
    for name in values.test_optimizer:
        if name == rules.LEARNED:
            found += [rules.Candidate(each.name, None, each.make, identity=each.identity)
                      for each in learned]
        else:
            found += rules.hand_tuned([name], values.learning_rates, values.schedules)
    return found


def remake(record: Dict[str, Any]) -> Tuple[List[rules.Candidate], List[Row]]:
    """The (candidates, rows) of a metatest, in a new process.

    Args:
      record: the flags, see `problem_flags.as_dict`.
    """
    values = absl_flags.FlagValues()
    define(METATEST, values)
    values([METATEST] + ['--%s=%s' % (name, ','.join(map(str, value)) if isinstance(value, list)
                                      else value) for name, value in record.items()])
    tf.logging.set_verbosity(tf.logging.ERROR)
    script.set_up_tensorflow(METATEST, values)
    return candidates(values, learned_optimizers(values)), rows_to_test(values)


def rows_to_test(values: FlagValues) -> List[Row]:
    """The rows of the chosen problem sets: every one has a name and a number of steps."""
    return [row._replace(num_steps=values.num_testing_itrs or row.num_steps or DEFAULT_STEPS)
            for row in problem_flags.problems_and_data(values, METATEST, values.seeds[0])]


def grids(values: FlagValues) -> running.Grids:
    """How learning rates are compared."""
    return running.Grids(values.finalists, values.screening_steps, values.equal_time)


def file_names(values: FlagValues, rows: Sequence[Row]) -> Dict[str, str]:
    """The name of each row in the published file names."""
    if len(rows) == 1:
        return {rows[0].name: values.model_name}
    return {row.name: '%s-%d' % (values.model_name, index) for index, row in enumerate(rows)}
