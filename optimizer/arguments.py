"""What users give to a learned optimizer beside its folder: the number of steps, a factor."""

import difflib
import inspect
import numbers
import operator
import warnings
from typing import Any, Dict, Iterable, List, Mapping

import tensorflow.compat.v1 as tf

LAID_OVER = ['learning_rate', 'weight_decay', 'num_steps']  # what `load` takes for all of them
SMALL_FACTOR = 0.01  # a smaller one was most likely meant as the learning rate of another optimizer


def constructor_arguments(cls: type) -> List[str]:
    """Names of what a constructor takes, and of what it hands on to its bases as `**kwargs`."""
    names = []
    for base in cls.__mro__:
        if '__init__' not in vars(base):
            continue
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names += [each.name for each in parameters if each.kind != each.VAR_KEYWORD]
        if all(each.kind != each.VAR_KEYWORD for each in parameters):
            break
    return names


def takes_num_steps(cls: type) -> bool:
    """Whether an optimizer's class can be told when training ends."""
    return 'num_steps' in constructor_arguments(cls)


def check_names(name: str, cls: type, given: Iterable[str]) -> None:
    """Raises a ValueError where an optimizer's class takes no argument of a given name."""
    taken = constructor_arguments(cls)
    for word in given:
        if word not in taken:
            near = difflib.get_close_matches(word, taken + LAID_OVER, 1, 0.5) or [
                other for other in LAID_OVER if word == ''.join(
                    part[0] for part in other.split('_'))]
            raise ValueError('%s takes no %s%s' % (
                name, word, '; did you mean %s?' % near[0] if near else
                ', only %s' % ', '.join(sorted(taken))))


def with_num_steps(table: Mapping[str, Any], name: str, arguments: Dict[str, Any],
                   num_steps: Any) -> Dict[str, Any]:
    """The arguments of the optimizer `name` of a table, told when training ends.

    Args:
      table: dict from names to classes.
      name: of the optimizer.
      arguments: of its class.
      num_steps: an int, an integer of numpy, or a tensor that has a value; None: not known.

    Raises:
      ValueError: the class cannot be told, or `num_steps` is not such a number.
    """
    if num_steps is None:
        return arguments
    told = [other for other, cls in table.items() if takes_num_steps(cls)]
    if name in table and name not in told:
        raise ValueError('%s takes no num_steps: of the learned optimizers %s %s.' % (
            name, ' and '.join(told), 'does' if len(told) == 1 else 'do'))
    return dict(arguments, num_steps=_whole_number(num_steps))


def _whole_number(num_steps):
    value = tf.get_static_value(num_steps) if tf.is_tensor(num_steps) else num_steps
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError('num_steps is a whole number, not %r.' % (num_steps,)) from None


def warn_of_small_factor(learning_rate: Any, stacklevel: int = 3) -> None:
    """Warns where a number that multiplies learned steps would be the learning rate of Adam."""
    if isinstance(learning_rate, numbers.Real) and float(learning_rate) < SMALL_FACTOR:
        rate = float(learning_rate)
        warnings.warn(
            'learning_rate=%g multiplies the steps of a learned optimizer, which come with a size '
            'of their own: 1.0, the default, is the learned step; %g makes it %s.' % (
                rate, rate, '%.0f times smaller' % (1.0 / abs(rate)) if rate else 'none'),
            stacklevel=stacklevel)
