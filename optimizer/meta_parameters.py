"""The meta-parameters of an optimizer: made, loaded, and in every graph in which it is used."""

import collections
import collections.abc
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    cast,
)

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import checkpoints
from optimizer.types import Theta

#: Every meta-parameter's published name starts with this.
OPTIMIZER_SCOPE = 'LOL'


class _Remembering(type):
    """The metaclass that keeps what each object was constructed with: `_arguments`.

    Of a class of the published code it also makes the variables of the constructor meta-parameters.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.made_with({}, *args, **kwargs)

    def made_with(cls, values: Dict[str, np.ndarray], *args: Any, **kwargs: Any) -> Any:
        """A new object whose meta-parameters begin with arrays, by published names, where there is
        one of their shape; nothing is drawn for these."""
        before = set(map(id, _global_variables()))
        made = cast(Any, cls).__new__(cls)
        made._arguments, made._loaded = (args, kwargs), values
        made.__init__(*args, **kwargs)
        if made.state_keys is not None:
            made._adopt(variable for variable in _global_variables() if id(variable) not in before)
        return made


class MetaParameters(metaclass=_Remembering):
    """What is learned of a `tf.train.Optimizer`, as a base beside that class.

    Rules take the values as an argument, `theta`, a dict from names as in `create_meta_parameter`
    to tensors, which `read_meta_parameters` gives. In a graph the values are in variables: one
    instance may serve several graphs, and in each of them it has variables of its own, made by the
    constructor with the same arguments, from the values that were loaded. In eager mode they are
    arrays.
    """

    OPTIONS: Tuple[str, ...] = ()  # names of attributes that users set
    state_keys: Optional[Sequence[str]] = None  # of a class of the published code

    random_seed: Optional[int]
    _arguments: Tuple[Tuple[Any, ...], Dict[str, Any]]
    _loaded: Dict[str, np.ndarray]
    _slot_states: Dict[Any, Any]
    _non_slot_dict: Any  # this and the next are TensorFlow's
    _maybe_initialize_trackable: Callable[[], Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meta_parameters: Dict[str, Any] = collections.OrderedDict()
        self._graph = outermost_graph()
        self._by_graph = {self._graph: self._meta_parameters}

    def __reduce__(self) -> Any:
        """Pickled or deeply copied it is made and loaded again, without the state of what it was
        applied to."""
        options = {name: value for name, value in vars(self).items() if name in self.OPTIONS}
        return _made, (type(self), self._arguments, self._loaded, options)

    def __copy__(self) -> Any:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def create_meta_parameter(self, name: str, shape: Sequence[int],
                              initializer: Callable[..., tf.Tensor]) -> Any:
        """Creates the float32 variable `LOL/<name>`, outside of TRAINABLE_VARIABLES; returns it.

        It is a resource variable whatever the program uses: a branch can then read it where it has
        a value, and only there. Where a graph holds several optimizers TensorFlow numbers the later
        variables' names; in `named_meta_parameters`, and so in checkpoints, they keep the published
        ones. In eager mode it is an array.
        """
        loaded = self._loaded.get('%s/%s' % (OPTIMIZER_SCOPE, name))
        if loaded is not None and loaded.shape == tuple(shape):
            initializer = tf.constant_initializer(loaded)
        with tf.init_scope(), tf.name_scope(OPTIMIZER_SCOPE + '/'):
            if self.random_seed is not None and hasattr(initializer, 'seed'):
                initializer.seed = self.random_seed + len(self._meta_parameters)
            value = initializer(shape, dtype=tf.float32)
            if self._graph is None:
                made = self._meta_parameters['%s/%s' % (OPTIMIZER_SCOPE, name)] = np.array(value)
                return made
            variable = tf.Variable(value, trainable=False, dtype=tf.float32, name=name,
                                   use_resource=True)
        self._register(name, variable)
        return variable

    def _adopt(self, variables):
        """Makes meta-parameters of variables in the scope `LOL`, where the constructor of a class
        of the published code has put them."""
        trainable = tf.get_collection_ref(tf.GraphKeys.TRAINABLE_VARIABLES)
        for variable in variables:
            name = ('/' + variable.op.name).partition('/%s/' % OPTIMIZER_SCOPE)[2]
            if name and variable.dtype.is_floating:
                self._register(name, variable)
                trainable[:] = [other for other in trainable if other is not variable]

    def _register(self, name, variable):
        published = '%s/%s' % (OPTIMIZER_SCOPE, name)
        self._meta_parameters[published] = variable
        self._maybe_initialize_trackable()
        self._non_slot_dict[published, self._graph] = variable

    @property
    def named_meta_parameters(self) -> Dict[str, Any]:
        """OrderedDict from published names to variables, what a Saver of meta-parameters takes:
        those of the current graph, or of the constructor's where that has none yet."""
        return collections.OrderedDict(self._by_graph.get(outermost_graph(),
                                                          self._meta_parameters))

    @property
    def meta_parameters(self) -> List[tf.Variable]:
        """The list of the variables that meta-training trains."""
        return list(self.named_meta_parameters.values())

    def read_meta_parameters(self, read: Callable[[Any], tf.Tensor] = tf.convert_to_tensor
                             ) -> Theta:
        """The values of the meta-parameters in the current graph; call it outside of loops.

        Args:
          read: gives the value of a variable.

        Returns:
          dict from names as in `create_meta_parameter` to tensors.
        """
        return self.as_theta(map(read, self._made_here().values()))

    def read_lazily(self, read: Callable[[Any], tf.Tensor]) -> Theta:
        """As `read_meta_parameters`, but what is not asked for is not read."""
        return _LazyTheta(read, {_unscoped(name): variable
                                 for name, variable in self._made_here().items()})

    def as_theta(self, values: Iterable[Any]) -> Theta:
        """The dict `theta` of values in the order of `meta_parameters`."""
        return dict(zip(map(_unscoped, self._meta_parameters), values))

    def values_by_variable(self, theta: Theta) -> Dict[int, tf.Tensor]:
        """Dict from the ids of the variables that the constructor has made to their values."""
        return {id(variable): theta[_unscoped(name)]
                for name, variable in self._meta_parameters.items()}

    def init_from_checkpoint(self, path: str) -> None:
        """Makes a checkpoint's values the *initial* values of the meta-parameters.

        They are read now: what becomes of the checkpoint afterwards does not matter.

        Args:
          path: a checkpoint, or a directory that holds one: `model.ckpt-0`, else the latest.

        Raises:
          ValueError: there is no readable checkpoint, meta-parameters are missing from it or have
            other shapes or types there (the message lists them), or state variables exist already.
        """
        if self._slot_states:
            raise ValueError('init_from_checkpoint must come before the first apply_gradients.')
        self.start_from(checkpoints.read_variables(path, {
            name: (list(map(int, made.shape)), tf.as_dtype(made.dtype).base_dtype)
            for name, made in self._meta_parameters.items()}))

    def start_from(self, values: Dict[str, np.ndarray]) -> None:
        """Makes arrays the initial values of the meta-parameters, as
        `tf.train.init_from_checkpoint` makes a checkpoint's.

        Args:
          values: dict from published names to arrays; others may be there, too.

        Raises:
          ValueError: a value is missing or has another shape.
        """
        for name, made in self._meta_parameters.items():
            if name not in values or values[name].shape != tuple(made.shape):
                raise ValueError('The meta-parameters of %s lack %s %s.' % (
                    type(self).__name__, name, tuple(map(int, made.shape))))
        self._loaded = {name: values[name] for name in self._meta_parameters}
        for graph, made_there in self._by_graph.items():
            if graph is None:
                made_there.update(self._loaded)
                continue
            for name, value in self._loaded.items():
                _set_initial_value(made_there[name], value)

    def _made_here(self):
        """The meta-parameters of the current graph, by published names; made if need be.

        One instance may serve several graphs, as estimators and Keras of TensorFlow 1 use them.
        """
        graph = outermost_graph()
        if graph not in self._by_graph:
            with tf.init_scope(), tf.name_scope(None):
                twin = _made(type(self), self._arguments, self._loaded, {})
            self._non_slot_dict.update(twin._non_slot_dict)
            self._by_graph[graph] = twin._meta_parameters
        return self._by_graph[graph]


class _LazyTheta(collections.abc.Mapping):
    """The values of variables by name, each read where it is asked for."""

    def __init__(self, read: Callable[[Any], tf.Tensor], variables: Dict[str, Any]) -> None:
        self._read, self._variables = read, variables

    def __getitem__(self, name: str) -> tf.Tensor:
        return self._read(self._variables[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def _unscoped(name):
    """The name in theta of a published name."""
    return name[len(OPTIMIZER_SCOPE) + 1:]


def _set_initial_value(variable, value):
    """Makes an array the initial value of a variable, and of each copy of a mirrored one."""
    for copied in getattr(variable, 'values', None) or [variable]:
        with copied.graph.as_default(), tf.init_scope(), tf.device(copied.device):
            initial = tf.constant(value, name='loaded')
            copied._initializer_op = copied.assign(initial).op
            copied._initial_value = initial


def _made(cls, arguments, loaded, options):
    """A new optimizer of class `cls` with the values that another one has loaded."""
    args, kwargs = arguments
    made = cls.made_with(loaded, *args, **kwargs)
    if loaded:
        made.start_from(loaded)
    vars(made).update(options)
    return made


def _global_variables():
    return tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)


def outermost_graph() -> Optional[tf.Graph]:
    """The graph outside of all functions and loops; None in eager mode."""
    with tf.init_scope():
        return None if tf.executing_eagerly() else tf.get_default_graph()
