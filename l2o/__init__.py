"""What meta-training, evaluation and the command lines are made of.

Raises:
  ImportError: a module of somebody else's hides one of the project's packages.
"""

import importlib.util
import os
import sys


def _check_that_nothing_hides(name):
    """Raises ImportError where `import name` gives another module than the project's package."""
    ours = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), name)
    loaded = sys.modules.get(name)
    found = getattr(loaded, '__file__', None) if loaded else importlib.util.find_spec(name).origin
    if found and os.path.dirname(os.path.abspath(found)) != ours:
        raise ImportError('%s hides the package %r of the learned optimizers (%s): rename it, or '
                          'take its folder off sys.path.' % (found, name, ours))


_check_that_nothing_hides('optimizer')
_check_that_nothing_hides('problems')
