"""The interface that every optimization problem implements."""

import inspect
from typing import Any, Callable, List, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem_spec import Spec, build

Shape = Sequence[int]
Gradient = Union[tf.Tensor, tf.IndexedSlices]
Activation = Callable[[tf.Tensor], tf.Tensor]  # elementwise


class Problem:
    """A function of a list of float32 tensors, to be minimized.

    A subclass implements `_objective(parameters, data, labels)`, sets `needs_data = True` if that
    uses the data, and overrides `init_tensors` if it does not start from N(0, 1). A subclass that
    overrides `gradients(objective, parameters)` as in the published code, without a key, keeps
    working: its noise is then new at every evaluation, which gradient checkpointing refuses.
    "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813), section 4.1 and appendix.

    Attributes:
      param_shapes: list of shapes, one for each parameter tensor.
      random_seed: seed of the random constants that define the problem, or None.
      noise_stdev: standard deviation of the noise that `gradients` adds.
      objectives: None, or a function like `objective` that takes n points at once, parameters
        [n] + shape, and returns their values [n], faster than one by one.
    """

    needs_data = False
    objectives: Optional[Callable[..., tf.Tensor]] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        without_key = cls.__dict__.get('gradients')
        if without_key and 'key' not in inspect.signature(without_key).parameters:
            cls.gradients = (  # type: ignore[method-assign]
                lambda self, objective, parameters, key=None: without_key(
                    self, objective, parameters))

    def __init__(self, param_shapes: Sequence[Shape], random_seed: Optional[int] = None,
                 noise_stdev: float = 0.0) -> None:
        self.param_shapes = list(param_shapes)
        self.random_seed = random_seed
        self.noise_stdev = noise_stdev

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        """Returns the initial values: a list of tensors, N(0, 1), new ones at every evaluation.

        Args:
          seed: makes the values repeatable; each tensor has a stream of its own.
        """
        return [tf.random_normal(shape, seed=tensor_seed)
                for shape, tensor_seed in self._shapes_and_seeds(seed)]

    def initial_values(self, seed: Optional[int] = None) -> List[np.ndarray]:
        """Returns the values of `init_tensors`, a list of float32 arrays, new in each call.

        Args:
          seed: makes the values repeatable: they depend on nothing else.
        """
        with tf.Graph().as_default(), tf.Session() as session:
            return session.run(self.init_tensors(seed))

    def init_fn(self, session: tf.Session) -> None:
        """Initializes what the problem keeps in the graph of `session`; here it keeps nothing."""

    def init_variables(self, seed: Optional[int] = None, trainable: bool = False,
                       collections: Optional[Sequence[str]] = None) -> List[tf.Variable]:
        """Returns a list of float32 variables that start at `init_tensors(seed)`.

        Args:
          seed: as for `init_tensors`.
          trainable: whether `Optimizer.minimize` finds them.
          collections: graph collections to be listed in, as for `tf.Variable`; for variables of
            one worker give `[tf.GraphKeys.LOCAL_VARIABLES]`.
        """
        return [tf.Variable(value, trainable=trainable, collections=collections,
                            dtype=tf.float32, name='parameter')
                for value in self.init_tensors(seed)]

    def objective(self, parameters: Sequence[tf.Tensor], data: Optional[tf.Tensor] = None,
                  labels: Optional[tf.Tensor] = None) -> tf.Tensor:
        """Returns the value to be minimized, a float32 scalar.

        Args:
          parameters: list of tensors or variables with the shapes `param_shapes`.
          data: batch of examples, [batch, ...]; the static shape may be unknown.
          labels: integer class ids, [batch].

        Raises:
          ValueError: wrong number of parameters, or no data for a problem that needs some.
        """
        self._check_parameters(parameters)
        if self.needs_data and data is None:
            raise ValueError('%s needs data' % type(self).__name__)
        return self._objective(parameters, data, labels)

    def gradients(self, objective: tf.Tensor, parameters: Sequence[tf.Tensor],
                  key: Optional[tf.Tensor] = None) -> List[Gradient]:
        """Returns the gradients of `objective`, noisy where `noise_stdev` > 0.

        Gives a list with one dense tensor or IndexedSlices for each parameter, as `tf.gradients`
        does. The noise is N(0, noise_stdev^2), independent for each entry; of sparse gradients only
        the entries that are there get some.

        Args:
          objective: what `objective` returned for these parameters.
          parameters: list of tensors or variables.
          key: int32 [2], of which the noise is a function; None: new noise at every evaluation.

        Raises:
          ValueError: wrong number of parameters, or the objective does not depend on one.
        """
        self._check_parameters(parameters)
        gradients = tf.gradients(objective, list(parameters))
        missing = [index for index, gradient in enumerate(gradients) if gradient is None]
        if missing:
            raise ValueError('the objective of %s does not depend on parameters %s'
                             % (type(self).__name__, missing))
        return [add_noise(gradient, stdev, draw_key(key, index))
                for index, (gradient, stdev) in enumerate(zip(gradients, self._noise_stdevs()))]

    def accuracy(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                 labels: tf.Tensor) -> Optional[tf.Tensor]:
        """Returns the fraction of a batch that is classified right; None without classes."""
        del parameters, data, labels
        return None

    def _objective(self, parameters, data, labels):
        raise NotImplementedError('%s has no objective' % type(self).__name__)

    def _noise_stdevs(self):
        """The noise of each parameter tensor's gradient."""
        return [self.noise_stdev] * len(self.param_shapes)

    def _shapes_and_seeds(self, seed):
        """Pairs of shape and seed, different seeds so that equal shapes differ in values."""
        return [(shape, None if seed is None else seed + index)
                for index, shape in enumerate(self.param_shapes)]

    def _check_parameters(self, parameters):
        if len(parameters) != len(self.param_shapes):
            raise ValueError('%s has %s parameter tensors, not %s' % (
                type(self).__name__, len(self.param_shapes), len(parameters)))


class Wrapper(Problem):
    """Base of the problems that change one other problem; by itself the same problem.

    Args:
      problem: the other problem, or its `Spec`.
      noise_stdev: of the wrapper; that of the other problem does not count.
      random_seed: of the other problem, where it is a `Spec` without one.

    Attributes:
      problem: the other problem.
    """

    def __init__(self, problem: Union[Problem, Spec], noise_stdev: float = 0.0,
                 random_seed: Optional[int] = None) -> None:
        self.problem = build(problem, random_seed)
        self.needs_data = self.problem.needs_data
        super().__init__(self.problem.param_shapes, random_seed, noise_stdev)

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        return self.problem.init_tensors(seed)

    def init_fn(self, session: tf.Session) -> None:
        self.problem.init_fn(session)

    def accuracy(self, parameters: Sequence[tf.Tensor], data: tf.Tensor,
                 labels: tf.Tensor) -> Optional[tf.Tensor]:
        return self.problem.accuracy(parameters, data, labels)

    def _objective(self, parameters, data, labels):
        return self.problem.objective(parameters, data, labels)


def draw_key(key: Optional[tf.Tensor], index: int) -> Optional[tf.Tensor]:
    """The key, int32 [2], of draw number `index` of those that share `key`; None without a key."""
    return None if key is None else key + [index, 0]


def add_noise(gradient: Gradient, stdev: float, key: Optional[tf.Tensor] = None) -> Gradient:
    """Returns a dense or sparse `gradient` plus N(0, stdev^2); itself if `stdev` is 0.

    The noise is a function of `key`, int32 [2]; without a key it is new at every evaluation.
    """
    if not stdev:
        return gradient
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(add_noise(gradient.values, stdev, key), gradient.indices,
                                gradient.dense_shape)
    shape = tf.shape(gradient)
    return gradient + stdev * (tf.random_normal(shape) if key is None
                               else tf.random.stateless_normal(shape, key))
