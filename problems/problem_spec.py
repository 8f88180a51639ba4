"""A problem described but not yet built, and a row of a problem set."""

from typing import Any, Callable, NamedTuple, Optional


class Spec(NamedTuple):
    """A problem class with its constructor arguments."""

    callable: Callable[..., Any]  # the class, or any function that returns a `Problem`
    args: tuple  # positional arguments
    kwargs: dict  # keyword arguments

    def build(self):
        """Returns a new problem: `callable(*args, **kwargs)`."""
        return self.callable(*self.args, **self.kwargs)


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


def build(problem):
    """The problem that a `Spec` describes; a problem itself is returned as it is."""
    return problem.build() if isinstance(problem, Spec) else problem
