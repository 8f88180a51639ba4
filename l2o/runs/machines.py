"""Where meta-training runs: what `metaopt` asks of its machine. `cluster.Worker` answers for many.

Meta-parameters, the meta-optimizer's slots and the global step are *shared variables*; all else is
local to the worker.
"""

import contextlib
from typing import Any, Callable, ContextManager, Dict, Iterator, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

Progress = Any  # a `l2o.metatraining.progress.Progress`
Feed = Dict[tf.Tensor, Any]


class OneMachine:
    """Meta-training on this machine alone.

    Attributes:
      task: index of this worker.
      is_chief: whether this worker validates, saves and decides how the run goes on.
      seed: the seed that other processes of the run use; None: there is none to follow.
    """

    task, is_chief, seed = 0, True, None
    _device = ''  # where shared variables are read

    def device(self) -> ContextManager[Any]:
        """The scope in which a problem's graph is built."""
        return tf.device(self._device)

    @contextlib.contextmanager
    def shared_variables(self) -> Iterator[None]:
        """The scope in which shared variables are made.

        Each of them is read once in a run of the session, outside of all loops, and that reading
        stands for it wherever it is used.
        """
        def create(create_next, **arguments):
            return create_next(**dict(arguments, caching_device=self._device))

        with tf.variable_creator_scope(create):
            yield

    def begin(self, progress: Progress, resume: bool) -> None:
        """Called once, before the first problem.

        Args:
          progress: the run's `Progress`, restored from what was saved.
          resume: whether the run may go on from what is there.
        """

    @contextlib.contextmanager
    def session(self, graph: tf.Graph, progress: Progress,
                set_up: Callable[[tf.Session], Any]) -> Iterator[tf.Session]:
        """A session in which every variable of a problem's graph has its value.

        Args:
          graph: of the problem.
          progress: the run's `Progress`.
          set_up: function of the session that gives shared variables the values that are saved;
            called after initialisation.
        """
        with graph.as_default():
            init = [tf.global_variables_initializer(), tf.local_variables_initializer()]
        with tf.Session(graph=graph, config=session_config()) as session:
            session.run(init)
            set_up(session)
            yield session

    def read_frozen(self, session: tf.Session,
                    variables: Dict[str, tf.Variable]) -> Tuple[Dict[str, np.ndarray], Feed]:
        """The values of shared variables, and what to feed so that they are read for a while.

        Args:
          session: of the graph.
          variables: dict from names to shared variables.

        Returns:
          dict from names to arrays; a feed, empty where nobody else changes the variables.
        """
        return session.run(variables), {}

    def publish(self, progress: Progress, saved: bool) -> None:
        """The chief tells the others how the run stands, and whether this was just saved."""

    def follow(self, progress: Progress) -> bool:
        """Takes over how the run stands; tells whether the chief is still on the same problem."""
        raise NotImplementedError('A single machine follows nobody.')

    def left_behind(self, progress: Progress) -> bool:
        """Whether the chief has gone on to another problem, or ended the run."""
        return False

    def end(self, progress: Progress) -> None:
        """Called once, when the run has come to its end."""


def session_config() -> tf.ConfigProto:
    """Without Grappler: on the graph of an unroll it takes seconds and gains nothing."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config
