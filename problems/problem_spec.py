"""A problem described but not yet built."""

import collections


class Spec(collections.namedtuple('Spec', 'callable args kwargs')):
    """A problem class with its constructor arguments.

    Attributes:
        callable: the class (or any function that returns a `Problem`).
        args: tuple of positional arguments.
        kwargs: dict of keyword arguments.
    """

    __slots__ = ()

    def build(self):
        """Returns a new problem: `callable(*args, **kwargs)`."""
        return self.callable(*self.args, **self.kwargs)


def build(problem):
    """The problem that a `Spec` describes; a problem itself is returned as it is."""
    return problem.build() if isinstance(problem, Spec) else problem
