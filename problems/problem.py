"""The interface that every optimization problem implements."""

import contextlib

import tensorflow.compat.v1 as tf


class Problem:
    """A function of a list of float32 tensors, to be minimized.

    A subclass implements `_objective(parameters, data, labels)`, sets `needs_data = True` if that
    uses the data, and overrides `init_tensors` if it does not start from N(0, 1).
    "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813), section 4.1 and appendix.

    Attributes:
        param_shapes: list of shapes, one for each parameter tensor.
        random_seed: seed of the random constants that define the problem, or None.
        noise_stdev: standard deviation of the noise that `gradients` adds.
        objectives: None, or a function like `objective` that takes n points at once, parameters
            [n] + shape, and returns their values [n], faster than one by one.
    """

    needs_data = False
    objectives = None
    _noise_key = None

    def __init__(self, param_shapes, random_seed=None, noise_stdev=0.0):
        self.param_shapes = list(param_shapes)
        self.random_seed = random_seed
        self.noise_stdev = noise_stdev

    def init_tensors(self, seed=None):
        """Returns the initial values: a list of tensors, N(0, 1), new ones at every evaluation.

        Args:
            seed: makes the values repeatable; each tensor has a stream of its own.
        """
        return [tf.random_normal(shape, seed=tensor_seed)
                for shape, tensor_seed in self._shapes_and_seeds(seed)]

    def initial_values(self, seed=None):
        """Returns the values of `init_tensors`, a list of float32 arrays, new in each call.

        Args:
            seed: makes the values repeatable: they depend on nothing else.
        """
        with tf.Graph().as_default(), tf.Session() as session:
            return session.run(self.init_tensors(seed))

    def init_fn(self, session):
        """Initializes what the problem keeps in the graph of `session`; here it keeps nothing."""

    def init_variables(self, seed=None, trainable=False, collections=None):
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

    def objective(self, parameters, data=None, labels=None):
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
            raise ValueError(f'{type(self).__name__} needs data')
        return self._objective(parameters, data, labels)

    def gradients(self, objective, parameters):
        """Returns the gradients of `objective`, noisy where `noise_stdev` > 0.

        Gives a list with one dense tensor or IndexedSlices for each parameter, as `tf.gradients`
        does. The noise is N(0, noise_stdev^2), independent for each entry and new at every
        evaluation (but see `noise_from`); of sparse gradients only the entries that are there get
        some.

        Raises:
            ValueError: wrong number of parameters, or the objective does not depend on one.
        """
        self._check_parameters(parameters)
        gradients = tf.gradients(objective, list(parameters))
        missing = [index for index, gradient in enumerate(gradients) if gradient is None]
        if missing:
            raise ValueError(f'the objective of {type(self).__name__} does not depend on '
                             f'parameters {missing}')
        return [add_noise(gradient, stdev, self._draw_key(index))
                for index, (gradient, stdev) in enumerate(zip(gradients, self._noise_stdevs()))]

    @contextlib.contextmanager
    def noise_from(self, key):
        """Within this context `gradients` builds noise that is a function of `key`, int32 [2]."""
        before, self._noise_key = self._noise_key, key
        try:
            yield
        finally:
            self._noise_key = before

    def _draw_key(self, index):
        """The key of draw number `index` of an evaluation of the gradients, or None."""
        return None if self._noise_key is None else self._noise_key + [index, 0]

    def accuracy(self, parameters, data, labels):
        """Returns the fraction of a batch that is classified right; None without classes."""
        del parameters, data, labels

    def _objective(self, parameters, data, labels):
        raise NotImplementedError(f'{type(self).__name__} has no objective')

    def _noise_stdevs(self):
        """The noise of each parameter tensor's gradient."""
        return [self.noise_stdev] * len(self.param_shapes)

    def _shapes_and_seeds(self, seed):
        """Pairs of shape and seed, different seeds so that equal shapes differ in values."""
        return [(shape, None if seed is None else seed + index)
                for index, shape in enumerate(self.param_shapes)]

    def _check_parameters(self, parameters):
        if len(parameters) != len(self.param_shapes):
            raise ValueError(f'{type(self).__name__} has {len(self.param_shapes)} parameter '
                             f'tensors, not {len(parameters)}')


def add_noise(gradient, stdev, key=None):
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
