"""What a training takes from the optimizer with which it begins: its class, its settings.

So that nobody has to find out which estimator of meta-gradients, lengths and rates suit it.
"""

from typing import Any, Collection, Dict, Mapping, Optional, Sequence, Tuple

import optimizer
from l2o import settings
from l2o.metatraining import options
from l2o.metatraining.config import MetaTraining
from l2o.runs import run_record
from optimizer.types import Folder
from problems.problem_spec import Row, Spec

#: Settings that belong to one run: with what it began, on what it ran, how long, on which machine;
#: and the scaling that makes an optimizer fit for problems of all sizes, which here is known.
OF_ONE_RUN = ('begin_with', 'random_scaling', 'max_unrolls', 'initial_params', 'data_freeze',
              'evaluation_epochs', 'checkpoint_every', 'swap_memory', 'xla')

#: Settings of lengths; where one that decides on the others is given, none of these is taken.
OF_LENGTHS = ('episode_steps', 'episode_shares', 'short_episodes', 'fix_unroll', 'if_cl')
DECIDE_LENGTHS = options.LENGTHS + ('curriculum', 'episodes', 'num_unrolls')

VALIDATIONS = 5  # at least so many, if the run is long enough


def or_given(spec: Optional[Spec], training: Optional[MetaTraining], changes: Mapping[str, Any],
             rows: Sequence[Row], num_meta_iterations: int) -> Tuple[Spec, MetaTraining]:
    """The `Spec` of an optimizer and the `MetaTraining`, each as given, or as it stands else.

    Args:
      spec: None: of the optimizer with which the training begins.
      training: None: the settings of the one with which it begins, or the defaults.
      changes: what is given beside, by name, where it is not None; `begin_with` among it.
      rows: the problems.
      num_meta_iterations: of the run.

    Raises:
      ValueError: there is no such folder, or its class is none of the table.
    """
    folder = changes.get('begin_with') or (training and training.begin_with) or None
    if spec is None:
        spec = _spec(folder)
    if training is None:
        training = MetaTraining()
        if folder is not None:
            given = {name for name, value in changes.items() if value is not None}
            training = options.changed(training, words(folder, given, rows, num_meta_iterations))
    return spec, training


def _spec(folder):
    """The `Spec` of the optimizer in a folder of a run, or of the shipped one of that name."""
    if folder is None:
        raise ValueError('optimizer_spec is None: give a Spec, or begin_with=, a trained optimizer')
    name, arguments = optimizer.describe(folder)
    if name not in optimizer.OPTIMIZERS:
        raise ValueError('begin_with: %s is a %s, none of the table: give its Spec' % (
            folder, name))
    return Spec(optimizer.OPTIMIZERS[name], (), arguments)


def words(folder: Folder, given: Collection[str], rows: Sequence[Row],
          num_meta_iterations: int) -> Dict[str, Any]:
    """The settings, by name, of a training that begins with what is in a folder.

    Those of the training that made it, if metarun did; but validations come more often where the
    run is short, up to as many problems as there share a graph, and where a problem has no examples
    none can be set aside.

    Raises:
      ValueError: there is no such folder, or its record is damaged.
    """
    found = _recorded(folder)
    if not found:
        return {}
    if found.get('meta_objective_of') == 'other_batches' and any(
            row.dataset is None for row in rows):
        found['meta_objective_of'] = 'batches'
    if 'evaluation_period' in found:
        found['evaluation_period'] = max(1, min(
            found['evaluation_period'], num_meta_iterations // VALIDATIONS))
    found['problems_at_once'] = max(1, min(found.pop('problems_at_once', 1), len(rows)))
    lengths_are_given = not set(DECIDE_LENGTHS).isdisjoint(given)
    return {name: value for name, value in found.items()
            if name not in given and not (name in OF_LENGTHS and lengths_are_given)}


def _recorded(folder):
    """The settings in the record of a run, and what it has taken from another one itself."""
    folder = optimizer.find(folder)
    record = run_record.read(folder)
    if record is None:  # weights alone, as the published programs leave them
        return {}
    begun_with = record['flags'].get('begin_with') or record.get('training', {}).get('begin_with')
    found = {}
    if begun_with:
        try:
            found = _recorded(begun_with)
        except ValueError:  # it is gone
            pass
    defaults = {name: setting.default for name, setting in settings.settings().items()}
    found.update({name: value for name, value in record['flags'].items()
                  if name in defaults and name not in OF_ONE_RUN
                  and _plain(value) != _plain(defaults[name])})
    return found


def _plain(value):
    return list(value) if isinstance(value, (list, tuple)) else value
