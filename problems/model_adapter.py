"""Any model whose loss is built by a function, as a `Problem`."""

import contextlib
import gc
import inspect
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from problems.problem import Problem
from problems.random_numbers import generator, global_generators_from
from problems.repeatable import stateful_operation

# Collections that a model adds to: what has to be initialized or started, and what TensorFlow notes
# about loops. Of every other collection the model sees a copy of its own.
_SHARED_COLLECTIONS = (
    tf.GraphKeys.TABLE_INITIALIZERS, tf.GraphKeys.QUEUE_RUNNERS, tf.GraphKeys.ASSET_FILEPATHS,
    tf.GraphKeys.RESOURCES, tf.GraphKeys.LOCAL_RESOURCES, tf.GraphKeys.WHILE_CONTEXT,
    tf.GraphKeys.COND_CONTEXT)

# Python's collector frees graphs, which are cyclic, but does not know their size: it is called
# after so many bytes of graphs. A call takes tenths of a second.
_MAX_UNCOLLECTED_BYTES = 2 ** 25


MakeLoss = Callable[..., tf.Tensor]
MakeInit = Callable[[List[tf.Variable]], Callable[[tf.Session], Any]]


class _Asked(NamedTuple):
    """A variable that the model asks for."""

    name: str
    shape: tf.TensorShape
    dtype: tf.DType
    device: str
    trained: bool  # whether it is one of the problem's parameters
    scoped: bool  # whether it comes from `tf.get_variable`, so that its name is always the same


class _Drawn(NamedTuple):
    """Initial values, as the model's own initialization gives them."""

    parameters: List[np.ndarray]  # float32, of the variables that are trained
    constants: List[np.ndarray]  # of all other variables


class _Model(NamedTuple):
    """What an adapter keeps in a graph."""

    make_loss: Callable[[], Any]
    constants: List[Any]  # local variables


class ModelAdapter(Problem):
    """The problem of minimizing the loss of a model over its trainable variables.

    The model is built with `tf.get_variable` or `tf.Variable` as usual. It is rebuilt for every
    call of `objective`, with the given tensors in place of its trainable variables, so that the
    loss can be computed inside a loop. Each time it finds collections and names as in an empty
    graph: `tf.trainable_variables()` are its parameters, `tf.losses` holds its losses and
    regularization losses, and nothing of it is left behind. Variables of any floating-point type
    are float32 parameters here; partitioned ones are made in one piece. Other variables exist once
    in each graph, as local variables.

    Initial values are drawn in a graph and session of their own, by the function that
    `make_init_fn` returns, and depend on the seed alone: so do those that the model draws from
    numpy's or Python's global generator.

    Args:
      make_loss_and_init_fn: returns (make_loss, make_init_fn). `make_loss()` builds the loss, one
        floating-point number, and creates the same variables at every call.
        `make_init_fn(variables)`, called with the trainable variables and then the others,
        returns a function that initializes these in the session it is given; or it is None:
        each begins at its own initial value.
      random_seed: of the initial values of variables that are not trained; handed on to
        `make_loss_and_init_fn` where that takes a `random_seed`. None: 0.
      example_shape: of one example, where the loss is that of a mini-batch: the function is then
        called as `make_loss(data, labels)`, with tensors [batch] + example_shape and [batch], and
        the problem needs data. None: the loss is computed of constants.
      label_type: of the labels, 'int32' or 'float32'.
      **kwargs: passed on to `make_loss_and_init_fn`.

    Raises:
      ValueError: the model has no trainable variables; its loss is not one number, or draws
        random numbers from a state or reads on in data, so that it is no function of the
        variables.
    """

    def __init__(self, make_loss_and_init_fn: Callable[..., Tuple[MakeLoss, Optional[MakeInit]]],
                 random_seed: Optional[int] = None,
                 example_shape: Optional[Sequence[int]] = None, label_type: str = 'int32',
                 **kwargs: Any) -> None:
        self.needs_data = example_shape is not None
        self._example_shape, self._label_type = example_shape, label_type
        if 'random_seed' in inspect.signature(make_loss_and_init_fn).parameters:
            kwargs['random_seed'] = random_seed
        self._make_loss_and_init_fn = lambda: make_loss_and_init_fn(**kwargs)
        self._constant_values = None
        self.random_seed = random_seed
        with tf.Graph().as_default(), self._own_generators():
            asked, loss = _build_anew(self._make_loss_and_init_fn()[0], self._placeholders())
            definition = loss.graph.as_graph_def()
            _check_repeatable(loss, definition)
            self._graph_bytes, self._uncollected_bytes = definition.ByteSize(), 0
        self._asked = [one for one, _ in asked]
        shapes = [tuple(one.shape.as_list()) for one in self._asked if one.trained]
        if not shapes:
            raise ValueError('the model has no trainable variables')
        super().__init__(shapes, random_seed)

    def initial_values(self, seed: Optional[int] = None) -> List[np.ndarray]:
        """Returns the initial values of the trainable variables, drawn from `seed`."""
        seed = generator(None).randint(2 ** 31 - 1) if seed is None else seed
        return self._draw(int(seed)).parameters

    def init_tensors(self, seed: Optional[int] = None) -> List[tf.Tensor]:
        """As `initial_values`, computed where the tensors are; they may not leave the process."""
        if seed is None:
            seed = tf.random_uniform([], maxval=2 ** 31 - 1, dtype=tf.int32)
        dtypes = [tf.float32] * len(self.param_shapes)
        values = tf.numpy_function(self.initial_values, [seed], dtypes)
        for value, shape in zip(values, self.param_shapes):
            value.set_shape(shape)
        return list(values)

    def init_fn(self, session: tf.Session) -> None:
        """Initializes the variables in the graph of `session` that are not trained."""
        with session.graph.as_default():
            session.run([variable.initializer for variable in self._model().constants])

    def _objective(self, parameters, data, labels):
        model = self._model()
        replacer = _Replacer(self._asked, parameters, model.constants)
        with _as_in_an_empty_graph(), _asking(replacer), self._own_generators():
            loss = _one_number(model.make_loss(*[data, labels] if self.needs_data else []))
        replacer.check_that_all_are_used()
        return tf.cast(loss, tf.float32)

    def _placeholders(self):
        """What stands for data and labels where variables are made; nothing without a shape."""
        if self._example_shape is None:
            return []
        return [tf.placeholder(tf.float32, [None] + list(self._example_shape)),
                tf.placeholder(self._label_type, [None])]

    def _own_generators(self):
        """For models that draw from the global generators: the same at every build."""
        return global_generators_from(self.random_seed or 0)

    def _draw(self, seed):
        with tf.Graph().as_default(), tf.device(lambda operation: ''), global_generators_from(seed):
            tf.set_random_seed(seed)
            make_loss, make_init_fn = self._make_loss_and_init_fn()
            asked, _ = _build_anew(make_loss, self._placeholders())
            parameters = [variable for one, variable in asked if one.trained]
            constants = [variable for one, variable in asked if not one.trained]
            initialize = (make_init_fn or _make_init_fn)(parameters + constants)
            # It may run within another session: threads of its own keep both from waiting.
            with tf.Session(config=tf.ConfigProto(
                    use_per_session_threads=True, device_count={'GPU': 0})) as session:
                initialize(session)
                drawn = _Drawn(*session.run(_Drawn(
                    [tf.cast(variable, tf.float32) for variable in parameters], constants)))
        self._uncollected_bytes += self._graph_bytes
        if self._uncollected_bytes > _MAX_UNCOLLECTED_BYTES:
            self._uncollected_bytes = 0
            gc.collect()
        return drawn

    def _draw_constants(self):
        if self._constant_values is None:
            self._constant_values = self._draw(self.random_seed or 0).constants
        return self._constant_values

    def _model(self):
        """The model in the current graph; made at the first call, outside of any loop."""
        with tf.init_scope(), self._own_generators():
            graph = tf.get_default_graph()
            # Kept by the graph, not here: an adapter may live longer than its graphs.
            models = graph._adapted_models = getattr(graph, '_adapted_models', {})
            if self not in models:
                models[self] = _Model(self._make_loss_and_init_fn()[0], self._make_constants())
            return models[self]

    def _make_constants(self):
        constants = [one for one in self._asked if not one.trained]
        if not constants:
            return []
        with tf.name_scope('adapted_model'):
            values = tf.numpy_function(self._draw_constants, [], [one.dtype for one in constants])
            return [_local_variable(one, value) for one, value in zip(constants, values)]


def _local_variable(asked, value):
    value.set_shape(asked.shape)
    with tf.device(asked.device):
        return tf.Variable(value, trainable=False, collections=[tf.GraphKeys.LOCAL_VARIABLES],
                           validate_shape=asked.shape.is_fully_defined(), use_resource=True,
                           name=asked.name)


def _make_init_fn(variables):
    operation = tf.variables_initializer(variables)
    return lambda session: session.run(operation)


def _build_anew(make_loss, examples):
    """Builds the loss with new variables: pairs of `_Asked` and variable, and the loss."""
    recorder = _Recorder()
    with _asking(recorder):
        loss = make_loss(*examples)
    return recorder.asked, _one_number(loss)


@contextlib.contextmanager
def _asking(whom):
    """Within it `whom.get` and `whom.create` answer to `tf.get_variable` and `tf.Variable`."""
    scope = tf.variable_scope(tf.get_variable_scope(), custom_getter=whom.get,
                              auxiliary_name_scope=False)
    with scope, tf.variable_creator_scope(whom.create):
        yield


@contextlib.contextmanager
def _as_in_an_empty_graph():
    """Within it names and the graph's collections, scopes of variables too, begin anew."""
    graph = tf.get_default_graph()
    before = {key: list(graph.get_collection_ref(key)) for key in graph.collections}
    _set_collections(graph, {})
    try:
        with tf.name_scope(None):
            yield
    finally:
        _set_collections(graph, before)


def _set_collections(graph, contents):
    for key in graph.collections:
        if key not in _SHARED_COLLECTIONS:
            graph.get_collection_ref(key)[:] = contents.get(key, [])


def _one_number(loss):
    """The loss as a scalar.

    Raises:
      ValueError: it is something else.
    """
    if not isinstance(loss, tf.Tensor) or not loss.dtype.is_floating:
        raise ValueError('make_loss() must return a floating-point tensor, not %s' % (loss,))
    if loss.shape.num_elements() not in (1, None):
        raise ValueError('make_loss() must return one number, not %s of the shape %s: take the '
                         'mean or the sum' % (loss.name, loss.shape.as_list()))
    return tf.reshape(loss, [])


class _Recorder:
    """Lets a model have its variables, each in one piece, and records them in order.

    Attributes:
      asked: pairs of `_Asked` and variable.
    """

    def __init__(self) -> None:
        self.asked: List[Tuple[_Asked, tf.Variable]] = []
        self._scoped = False

    def get(self, getter, name, **kwargs):
        """Called for `tf.get_variable`."""
        self._scoped = True
        try:
            return getter(name, **dict(kwargs, partitioner=None))
        finally:
            self._scoped = False

    def create(self, next_creator, **kwargs):
        """Called for each new variable."""
        scoped, self._scoped = self._scoped, False
        variable = next_creator(**kwargs)
        trained = kwargs.get('trainable') is not False and variable.dtype.is_floating
        self.asked.append((_Asked(variable.op.name, variable.shape, variable.dtype.base_dtype,
                                  variable.device, trained, scoped), variable))
        return variable


class _Replacer:
    """Gives tensors and shared variables in the order in which a model asked for variables.

    Args:
      asked: list of `_Asked`.
      parameters: tensors for those that are trained.
      constants: variables for the others.
    """

    def __init__(self, asked: Sequence[_Asked], parameters: Sequence[tf.Tensor],
                 constants: Sequence[tf.Variable]) -> None:
        self._remaining = iter(asked)
        self._parameters, self._constants = iter(parameters), iter(constants)
        self._by_name: Dict[str, tf.Tensor] = {}

    def get(self, getter, name, regularizer=None, collections=None, **kwargs):
        """Called for `tf.get_variable`: the same replacement for the same name."""
        del getter, kwargs
        if name in self._by_name:
            return self._by_name[name]
        asked = self._next(name)
        if asked.scoped and asked.name != name:
            raise ValueError('the model creates the variable %s where it created %s at its first '
                             'call' % (name, asked.name))
        with tf.name_scope(None):
            self._by_name[name] = self._replacement(asked, name, collections)
        if regularizer is not None:
            with tf.name_scope(name + '/Regularizer/'):
                loss = regularizer(self._by_name[name])
            if loss is not None:
                tf.add_to_collection(tf.GraphKeys.REGULARIZATION_LOSSES, loss)
        return self._by_name[name]

    def create(self, next_creator, name=None, collections=None, **kwargs):
        """Called for `tf.Variable`."""
        del next_creator, kwargs
        return self._replacement(self._next(name), name or 'Variable', collections)

    def check_that_all_are_used(self):
        """Raises a ValueError where the model asked for less than at its first call."""
        for asked in self._remaining:
            raise ValueError('the model creates the variable %s at its first call only: layers '
                             'must be made within make_loss()' % asked.name)

    def _next(self, name):
        for asked in self._remaining:
            return asked
        raise ValueError('the model creates more variables than at its first call: %s' % name)

    def _replacement(self, asked, name, collections):
        collections = list(collections or [tf.GraphKeys.GLOBAL_VARIABLES])
        if not asked.trained:
            replacement = next(self._constants)
        else:
            collections.append(tf.GraphKeys.TRAINABLE_VARIABLES)
            replacement = tf.identity(tf.cast(next(self._parameters), asked.dtype), name=name)
        tf.add_to_collections(set(collections), replacement)
        return replacement


def _check_repeatable(loss, definition):
    """Raises a ValueError where an operation of the loss gives something else each time.

    It draws random numbers, or reads on in a data set or queue: the loss would be another one at
    every evaluation, and a run that goes on another one than a whole run.

    Args:
      definition: the GraphDef of the loss.
    """
    found = stateful_operation([loss], definition)
    if found is not None and found.draws:
        raise ValueError(
            'the loss draws random numbers: operation %s (%s). ModelAdapter needs a loss that '
            'depends on the variables alone: build the model without dropout and the like, or '
            'draw by tf.random.stateless_*' % (found.name, found.kind))
    if found is not None:
        raise ValueError(
            'the loss may be of other data each time: operation %s (%s). ModelAdapter needs a '
            'loss that depends on the variables alone: build it on constant data, and mark a '
            'Python function that always gives the same with stateful=False'
            % (found.name, found.kind))
