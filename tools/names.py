"""Writes `l2o/names.py`: the names that flags offer, so that `--help` needs no TensorFlow.

`python -m tools.names --write` after a row was added to one of the tables, or taken from it; a test
compares the file with the tables. They are in modules that import TensorFlow, which takes seconds.
"""
import os
import pprint
import sys

from l2o.commandline import quiet_import  # noqa: F401  before what imports TensorFlow: it silences that

# isort: split
from l2o.evaluation import rules
from l2o.metatraining import meta_step, validation
from l2o.techniques import imitation, random_scaling, regularization
from optimizer import OPTIMIZERS, inner_loop, rnn_cells
from optimizer.hierarchical_rnn import PRESET
from problems import image_files, problem_sets

PATH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'l2o', 'names.py')

HEAD = '''"""Names and defaults that flags offer, of tables in modules that import TensorFlow.

Written by `python -m tools.names --write`: not to be changed by hand.
"""

from typing import Any, Dict
'''


def tables():
    """Name in the file -> (where it comes from, what it is)."""
    return {
        'OPTIMIZERS': ('optimizer', tuple(OPTIMIZERS)),
        'CELLS': ('optimizer.rnn_cells', tuple(rnn_cells.CELLS)),
        'PRESET': ('optimizer.hierarchical_rnn', dict(PRESET)),
        'OBJECTIVES_OF': ('optimizer.inner_loop', inner_loop.OBJECTIVES_OF),
        'META_OPTIMIZERS': ('l2o.metatraining.meta_step', tuple(meta_step.META_OPTIMIZERS)),
        'SCORES': ('l2o.metatraining.validation', tuple(validation.SCORES)),
        'SCALED_UNITS': ('l2o.techniques.random_scaling', random_scaling.UNITS),
        'TEACHERS': ('l2o.techniques.imitation', tuple(imitation.TEACHERS)),
        'MEASURES': ('l2o.techniques.regularization', tuple(sorted(regularization.MEASURES))),
        'TIMES': ('l2o.techniques.regularization', regularization.TIMES),
        'IMAGE_SOURCES': ('problems.image_files', image_files.IMAGE_SOURCES),
        'LEARNED': ('l2o.evaluation.rules', rules.LEARNED),
        'HAND_TUNED': ('l2o.evaluation.rules', tuple(rules.HAND_TUNED)),
        'LEARNING_RATES': ('l2o.evaluation.rules', rules.LEARNING_RATES),
        'CONSTANT': ('l2o.evaluation.rules', rules.CONSTANT),
        'SCHEDULES': ('l2o.evaluation.rules', tuple(rules.SCHEDULES)),
        'SCHEDULE_FREE': ('l2o.evaluation.rules', rules.SCHEDULE_FREE),
        'RATE_FREE': ('l2o.evaluation.rules', rules.RATE_FREE),
        'PROBLEM_SETS': (
            'problems.problem_sets: name -> (what it holds, whether metarun trains on it)',
            {name: (rows.help, rows.training is not None)
             for name, rows in problem_sets.PROBLEM_SETS.items()}),
    }


def text():
    """What the file must hold."""
    parts = [HEAD]
    for name, (origin, value) in tables().items():
        written = pprint.pformat(value, width=96, sort_dicts=False)
        if '\n' in written:
            written = '%s\n    %s\n%s' % (
                written[0], written[1:-1].replace('\n', '\n   '), written[-1])
        kind = ': Dict[str, Any]' if isinstance(value, dict) else ''
        parts.append('#: Of %s.\n%s%s = %s\n' % (origin, name, kind, written))
    return '\n'.join(parts)


if __name__ == '__main__':
    if '--write' in sys.argv[1:]:
        with open(PATH, 'w', encoding='utf-8') as file:
            file.write(text())
    else:
        with open(PATH, encoding='utf-8') as file:
            sys.exit(file.read() != text() and 'l2o/names.py: python -m tools.names --write')
