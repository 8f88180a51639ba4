"""Settings by their published names change the records of a meta-training: these, nothing else."""

import collections.abc
import importlib
import itertools
import types
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

from l2o import bounds, settings
from l2o.metatraining.config import Called, EpisodeSchedule, MetaOptimizer, MetaTraining, Run
from l2o.techniques.curriculum import Curriculum

#: Options of `metaopt.train_optimizer` that were fields by another name -> the field.
FORMER_NAMES = {'evaluation': 'validation', 'imitate': 'imitation'}

#: What decides how long episodes are: the settings that say so.
LENGTHS = ('episode_steps', 'if_cl', 'fix_unroll')


def described(training: MetaTraining, run: Run,
              options: Mapping[str, Any]) -> Tuple[MetaTraining, Run]:
    """The records of a run, changed by options.

    Args:
      training: what is to be changed.
      run: likewise.
      options: fields of either, of `FORMER_NAMES`, and settings of `l2o.settings`.

    Returns:
      `MetaTraining`, `Run`.

    Raises:
      TypeError: an option is none of these.
      ValueError: see `changed`.
    """
    fields, words, carried_out = {}, {}, {}
    known = settings.settings()
    for name, value in options.items():
        name = FORMER_NAMES.get(name, name)
        if name in Run._fields:
            carried_out[name] = value
        elif name in known and not isinstance(value, MetaOptimizer):
            words[name] = value
        elif name in MetaTraining._fields:
            fields[name] = value
        else:
            raise TypeError('train_optimizer has no option %r' % name)
    for name, value in words.items():
        if isinstance(value, (bool, int, float, str, list, tuple)) and not bounds.allows(
                known[name].allowed, value):  # anything else is an object of the caller's
            raise ValueError('%s must be %s, not %r' % (
                name, bounds.in_words(known[name].allowed), value))
    training = changed(training._replace(**fields), words)
    for name in words:
        if not _counts(known[name], training) and not _is_decided(known[name], words):
            raise ValueError('%s=%s would change nothing without %s' % (
                name, words[name], _needs(known[name])))
    return training, run._replace(**carried_out)


def changed(training: MetaTraining, words: Mapping[str, Any]) -> MetaTraining:
    """A `MetaTraining` in which these settings have these values.

    What turns a technique on gives it a record of its own, with defaults, where it was off. A
    setting of what is off changes nothing.

    Args:
      training: what is to be changed.
      words: dict from names of settings to values.
    """
    known = settings.settings()
    training = _with_lengths(training, words)
    for technique in settings.techniques():
        training = _switched(training, technique, words)
    for name, value in words.items():
        setting = known[name]
        if setting.field and _counts(setting, training):
            value = tuple(value) if isinstance(value, list) else value
            training = put(training, setting.field, setting.stored(value))
    return training


def with_arguments(training: MetaTraining, options: Mapping[str, Any],
                   arguments: Mapping[str, Any]) -> MetaTraining:
    """A `MetaTraining` changed by arguments that are not None.

    Args:
      training: what is to be changed.
      options: what was given beside.
      arguments: dict from names of settings to values, which may be out of bounds.

    Raises:
      TypeError: a setting is also among the options.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given:
        if name in options:
            raise TypeError('%s is given twice' % name)
    return changed(training, given)


def with_functions(training: MetaTraining, num_unrolls: Optional[Callable[[], int]],
                   unroll_length: Optional[Callable[[], int]]) -> MetaTraining:
    """A `MetaTraining` in which functions of the caller, where given, draw numbers of unrolls.

    Raises:
      ValueError: a number of unrolls, where episodes have stages.
    """
    if num_unrolls is not None:
        curriculum = training.curriculum
        if len(curriculum.stages) > 1 or training.episodes is not None:
            raise ValueError('num_unroll_func: the lengths of episodes are given by another way')
        if not curriculum.is_drawn:
            curriculum = Curriculum.drawn(
                curriculum.last_validation_steps or curriculum.stages[0] or 0)
        training = training._replace(curriculum=curriculum, num_unrolls=Called(num_unrolls))
    if unroll_length is not None:
        training = training._replace(unroll_length=Called(unroll_length))
    return training


def check(training: MetaTraining) -> None:
    """Raises a ValueError where settings do not go together; it begins with one of their names."""
    meta_optimizer, schedule = training.meta_optimizer, training.episodes
    if training.checkpoint_every and training.swap_memory:
        raise ValueError('checkpoint_every and swap_memory do not go together')
    if training.is_summed and training.objectives_of == 'other_batches':
        raise ValueError('meta_objective=published_sum is of the steps\' own mini-batches: it does '
                         'not go with meta_objective_of=other_batches')
    try:
        training.curriculum.check()
    except ValueError as error:
        raise ValueError('cl_steps: %s' % error) from error
    if schedule is not None:
        if any(steps < 1 for steps in schedule.steps):
            raise ValueError('episode_steps: an episode takes at least 1 step')
        _check_shares('episode_shares', schedule.begins, 'episode_steps', schedule.steps)
    shares, factors = (column(meta_optimizer.rate_factors, index) for index in (0, 1))
    _check_shares('meta_learning_rate_shares', shares, 'meta_learning_rate_factors', factors)
    if training.evolution is not None:
        for name, asked in _beyond_evolution(training).items():
            if asked:
                raise ValueError('meta_gradient=pes does not go with %s' % name)


def _beyond_evolution(training):
    """What evolution strategies cannot honour: the setting -> whether a training asks for it."""
    return {'if_mt': training.imitation, 'reg_optimizer': training.penalty.meta_weight,
            'reg_optimizee': training.penalty.inner_weight,
            'checkpoint_every': training.checkpoint_every, 'swap_memory': training.swap_memory,
            'meta_objective=published_sum': training.is_summed}


def kind_of_lengths(training: MetaTraining) -> str:
    """What decides how long an episode is."""
    if training.episodes is not None:
        return 'scheduled'
    if training.curriculum.is_drawn:
        return 'drawn'
    return 'fixed' if training.curriculum.patience is None else 'curriculum'


def _with_lengths(training, words):
    """A training whose episodes have lengths of the kind that `LENGTHS` ask for."""
    present = kind_of_lengths(training)
    asked = {'scheduled': any(words.get('episode_steps', (present == 'scheduled',))),
             'curriculum': words.get('if_cl', present == 'curriculum'),
             'fixed': words.get('fix_unroll', present != 'drawn')}
    if asked['scheduled'] and asked['curriculum']:
        raise ValueError('episode_steps and if_cl do not go together')
    wanted = next((kind for kind, is_asked in asked.items() if is_asked), 'drawn')
    if wanted == present:
        return training
    validation_steps = (training.curriculum.last_validation_steps
                        or settings.default('fix_num_steps_eval'))
    curriculum, length = training.curriculum, settings.default('fix_unroll_length')
    if wanted == 'drawn':
        curriculum, length = Curriculum.drawn(validation_steps), MetaTraining().unroll_length
    elif wanted == 'curriculum':
        curriculum = Curriculum()
    elif present not in ('fixed', 'scheduled') or curriculum.is_drawn:
        curriculum = Curriculum.fixed(settings.default('fix_num_steps')[0], validation_steps)
    if isinstance(training.unroll_length, type(length)):
        length = training.unroll_length
    return training._replace(curriculum=curriculum, unroll_length=length,
                             episodes=EpisodeSchedule((0,)) if wanted == 'scheduled' else None)


def _switched(training, technique, words):
    """A training in which a technique is on or off, as its switches say."""
    if not any(switch.name in words for switch in technique.switches):
        return training
    is_on, record = _is_on(technique, training), get(training, technique.field)
    asked = any(
        technique.turns_on(words[switch.name]) if switch.name in words
        else is_on and (not switch.field or get(record, switch.field))
        for switch in technique.switches)
    if bool(asked) == is_on:
        return training
    return put(training, technique.field,
               _class(technique)() if asked else get(MetaTraining(), technique.field))


def _class(technique):
    module, _, name = technique.record.rpartition('.')
    return getattr(importlib.import_module(module), name)


def _is_on(technique, training):
    return isinstance(get(training, technique.field), _class(technique))


def _counts(setting, training):
    """Whether a training has the part of which a setting is."""
    on = {kind_of_lengths(training)}
    on.update(technique.name for technique in settings.techniques()
              if technique.name in setting.of and _is_on(technique, training))
    return not setting.of or bool(on & set(setting.of))


#: Kind of lengths -> what turns it on, in words.
_ASKED_BY = {'drawn': 'fix_unroll=False', 'fixed': 'fix_unroll=True', 'curriculum': 'if_cl=True',
             'scheduled': 'episode_steps'}


def _needs(setting):
    """What turns on the part of which a setting is, in words."""
    found = [_ASKED_BY[kind] for kind in setting.of if kind in _ASKED_BY]
    for technique in settings.techniques():
        if technique.name in setting.of:
            found += [switch.name for switch in technique.switches]
    return ' or '.join(found)


def _is_decided(setting, words):
    """Whether the words themselves say that the part is off of which a setting is."""
    switches = {switch.name for technique in settings.techniques()
                if technique.name in setting.of for switch in technique.switches}
    return not set(words).isdisjoint(switches or LENGTHS)


# Fields by path.


def get(record: Any, path: str) -> Any:
    """The value of a field, such as `meta_optimizer.name`; None where a mapping lacks it."""
    for name in path.split('.'):
        record = (record.get(name) if isinstance(record, collections.abc.Mapping)
                  else getattr(record, name))
    return record


def put(record: Any, path: str, value: Any) -> Any:
    """A record in which a field has another value; of a mapping, None takes the entry out.

    In a tuple of pairs, `0` and `1` are its columns; those of different length are filled by None.
    """
    name, _, rest = path.partition('.')
    if rest:
        value = put(get(record, name), rest, value)
    if isinstance(record, collections.abc.Mapping):
        kept = dict(record, **{name: value})
        return types.MappingProxyType({key: kept[key] for key in kept if kept[key] is not None})
    if name.isdigit():
        columns = [column(record, 0), column(record, 1)]
        columns[int(name)] = value
        return tuple(itertools.zip_longest(*columns))
    return record._replace(**{name: value})


def column(pairs: Sequence[Tuple[Any, Any]], index: int) -> Tuple[Any, ...]:
    """What stands first (0) or second (1) in some pairs, without None."""
    return tuple(pair[index] for pair in pairs if pair[index] is not None)


def _check_shares(name, shares, values_name, values):
    """Raises a ValueError where shares do not increase from 0, or are not as many as values."""
    if len(shares) != len(values) or shares[0] != 0.0 or tuple(sorted(set(shares))) != shares:
        raise ValueError('%s=%s must begin with 0 and increase, one for each of %s=%s' % (
            name, ','.join(map(str, shares)), values_name, ','.join(map(str, values))))
