"""A problem described but not yet built, and a row of a problem set."""

import inspect
from typing import Any, Callable, NamedTuple, Optional, Sequence


class Spec(NamedTuple):
    """A problem class with its constructor arguments."""

    callable: Callable[..., Any]  # the class, or any function that returns a `Problem`
    args: tuple  # positional arguments
    kwargs: dict  # keyword arguments

    def build(self, seed: Optional[int] = None) -> Any:
        """Returns a new problem: `callable(*args, **kwargs)`.

        Args:
          seed: of what is random in the problem, see `seeded`.
        """
        return self.callable(*self.args, **self.seeded(seed).kwargs)

    def seeded(self, seed: Optional[int]) -> 'Spec':
        """Returns this problem with `random_seed=seed`, so that every `build` gives the same one.

        The `Spec` itself where the seed is None, or the problem takes none or has one already.
        """
        if seed is None or not _lacks_seed(self):
            return self
        return self._replace(kwargs=dict(self.kwargs, random_seed=seed))

    def __str__(self) -> str:
        """The problem in words: `FullyConnected(784, 10, hidden_sizes=(20,), activation=relu)`."""
        arguments = [_in_words(value) for value in self.args]
        arguments += ['%s=%s' % (name, _in_words(value)) for name, value in self.kwargs.items()]
        return '%s(%s)' % (_in_words(self.callable), ', '.join(arguments))


class Row(NamedTuple):
    """A problem to train or test on.

    The first three fields are a row as published, (spec, dataset, batch size): `row[:3]` is one,
    and `Row(*row)` makes a `Row` of either.
    """

    spec: Spec
    dataset: Any = None  # `Dataset` of the examples that steps are taken on; None: takes no data
    batch_size: Optional[int] = None  # examples of a step; None: all
    held_out: Any = None  # `Dataset` of examples that no step sees, to test on; None: there is none
    name: str = ''  # of the problem, in tables and file names; empty: it has none
    num_steps: Optional[int] = None  # length of a test in a benchmark; None: whatever is asked for

    @property
    def title(self) -> str:
        """The name, or where there is none the problem with its arguments."""
        return self.name or str(self.spec)


class SeededRow(NamedTuple):
    """A published row of a test: five fields, so that it can be taken apart as one."""

    spec: Spec
    dataset: Any
    batch_size: Optional[int]
    name: str  # of the problem
    seed: int  # of the initial values, for `metaopt.test_optimizer`


def as_row(row: Sequence[Any]) -> Row:
    """A `Row` of one, of a published row (spec, dataset, batch size), or of a `SeededRow`."""
    if isinstance(row, Row):
        return row
    name = row[3] if len(row) == len(SeededRow._fields) else ''
    spec, dataset, batch_size = row[:3]
    return Row(spec, dataset, batch_size, name=name)


def build(problem: Any, seed: Optional[int] = None) -> Any:
    """The problem that a `Spec` describes, see `Spec.build`; a problem itself as it is."""
    return problem.build(seed) if isinstance(problem, Spec) else problem


def _in_words(value):
    if isinstance(value, Spec):
        return str(value)
    if isinstance(value, (list, tuple)):
        return '(%s)' % ', '.join(map(_in_words, value))
    if hasattr(value, '__name__'):
        return value.__name__
    return type(value).__name__ if type(value).__repr__ is object.__repr__ else str(value)


def _lacks_seed(spec):
    """Whether a problem takes a `random_seed` that it isn't given."""
    signature = inspect.signature(spec.callable)
    given = signature.bind_partial(*spec.args, **spec.kwargs).arguments
    return 'random_seed' in signature.parameters and given.get('random_seed') is None
