"""The meta-parameters of an optimizer: made, loaded, and in every graph in which it is used."""

import collections
import copy
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import checkpoints

#: Every meta-parameter's published name starts with this.
OPTIMIZER_SCOPE = 'LOL'


class _Remembering(type):
    """The type of classes whose objects know with what they were made, and what that has made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.made_with({}, *args, **kwargs)

    def made_with(cls, values: Dict[str, np.ndarray], *args: Any, **kwargs: Any) -> Any:
        """A new object whose meta-parameters begin with arrays, by published names, where there is
        one of their shape; nothing is drawn for these."""
        before = set(map(id, _global_variables()))
        made = cls.__new__(cls)
        made._arguments, made._loaded = (args, kwargs), values
        made.__init__(*args, **kwargs)
        if made.state_keys is not None:
            made._adopt(variable for variable in _global_variables() if id(variable) not in before)
        return made


class MetaParameters(metaclass=_Remembering):
    """What is learned of a `tf.train.Optimizer`, as a base beside that class.

    One instance may serve several graphs: in each of them it has meta-parameters of its own, made
    by the constructor with the same arguments, from the values that were loaded.
    """

    OPTIONS: Tuple[str, ...] = ()  # names of attributes that users set
    state_keys: Optional[Sequence[str]] = None  # of a class of the published code

    random_seed: Optional[int]
    xla: bool
    _arguments: Tuple[Tuple[Any, ...], Dict[str, Any]]
    _kept: Dict[Any, Any]
    _loaded: Dict[str, np.ndarray]
    _values: Dict[str, tf.Tensor]
    _non_slot_dict: Any  # this and the next are TensorFlow's
    _maybe_initialize_trackable: Callable[[], Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meta_parameters: Dict[str, tf.Variable] = collections.OrderedDict()
        self._graph = outermost_graph()
        self._by_graph = {self._graph: self}

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
                              initializer: Callable[..., tf.Tensor]) -> tf.Variable:
        """Creates the float32 variable `LOL/<name>`, outside of TRAINABLE_VARIABLES.

        It is a resource variable whatever the program uses: a branch can then read it only where it
        has a value. Where a graph holds several optimizers TensorFlow numbers the later variables' names; in
        `named_meta_parameters`, and so in checkpoints, they keep the published ones.
        """
        value = self._loaded.get('%s/%s' % (OPTIMIZER_SCOPE, name))
        if value is not None and value.shape == tuple(shape):
            initializer = tf.constant_initializer(value)
        with tf.init_scope(), tf.name_scope(OPTIMIZER_SCOPE + '/'):
            if self.random_seed is not None and hasattr(initializer, 'seed'):
                initializer.seed = self.random_seed + len(self._meta_parameters)
            variable = tf.Variable(initializer(shape, dtype=tf.float32), trainable=False,
                                   dtype=tf.float32, name=name, use_resource=True)
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
    def named_meta_parameters(self) -> Dict[str, tf.Variable]:
        """OrderedDict from published names to variables: what a Saver of meta-parameters takes."""
        return collections.OrderedDict(self._rule_here(make=False)._meta_parameters)

    @property
    def meta_parameters(self) -> List[tf.Variable]:
        """The list of the variables that meta-training trains."""
        return list(self.named_meta_parameters.values())

    def read_meta_parameters(self) -> Dict[str, tf.Tensor]:
        """Dict from names as in `create_meta_parameter` to values; call it outside of loops."""
        return {name[len(OPTIMIZER_SCOPE) + 1:]: tf.convert_to_tensor(variable)
                for name, variable in self._meta_parameters.items()}

    def with_values(self, values: Sequence[tf.Tensor]) -> Any:
        """This optimizer with tensors in place of the variables of `meta_parameters`.

        What the copy computes depends on `values`, a list; it cannot be applied or saved.
        """
        other = copy.copy(self)
        other._meta_parameters = collections.OrderedDict(zip(self._meta_parameters, values))
        names = [variable.name for variable in self.meta_parameters]
        other._values = dict(zip(names, values))
        return other

    def value_of(self, variable: tf.Variable) -> tf.Tensor:
        """The value of a meta-parameter, by its variable, in a copy that `with_values` made."""
        return self._values[variable.name]

    def init_from_checkpoint(self, path: str) -> None:
        """Makes a checkpoint's values the *initial* values of the meta-parameters.

        They are read now: what becomes of the checkpoint afterwards does not matter.

        Args:
          path: a checkpoint, or a directory that holds one: `model.ckpt-0`, else the latest.

        Raises:
          ValueError: there is no readable checkpoint, meta-parameters are missing from it or have
            other shapes or types there (the message lists them), or state variables exist already.
        """
        if self._kept:
            raise ValueError('init_from_checkpoint must come before the first apply_gradients.')
        self._loaded = checkpoints.read_variables(path, self._meta_parameters)
        for rule in self._by_graph.values():
            rule._start_from(self._loaded)

    def _start_from(self, values):
        """Makes arrays the initial values of the meta-parameters, as
        `tf.train.init_from_checkpoint` makes a checkpoint's."""
        for name, value in values.items():
            if self._graph is None:  # made in eager mode, to be used in a graph
                self._meta_parameters[name].assign(value)
                continue
            for variable in getattr(self._meta_parameters[name], 'values', None) or [
                    self._meta_parameters[name]]:  # a mirrored variable's copies
                with variable.graph.as_default(), tf.init_scope(), tf.device(variable.device):
                    initial = tf.constant(value, name='loaded')
                    variable._initializer_op = variable.assign(initial).op
                    variable._initial_value = initial

    def _rule_here(self, make=True):
        """This optimizer with its meta-parameters in the current graph.

        One instance may serve several graphs, as estimators and Keras of TensorFlow 1 use them: in
        each graph other than that of its constructor it has meta-parameters made there.

        Args:
          make: make them if need be, else fall back on those of the constructor's graph.
        """
        graph = outermost_graph()
        if graph not in self._by_graph and make:
            with tf.init_scope(), tf.name_scope(None):
                rule = _made(type(self), self._arguments, self._loaded, {})
            self._non_slot_dict.update(rule._non_slot_dict)
            self._by_graph[graph] = rule
        rule = self._by_graph.get(graph, self)
        rule.xla = self.xla
        return rule


def _made(cls, arguments, loaded, options):
    """A new optimizer of class `cls` with the values that another one has loaded."""
    args, kwargs = arguments
    made = cls.made_with(loaded, *args, **kwargs)
    made._start_from(loaded)
    vars(made).update(options)
    return made


def _global_variables():
    return tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)


def outermost_graph() -> Optional[tf.Graph]:
    """The graph outside of all functions and loops; None in eager mode."""
    with tf.init_scope():
        return None if tf.executing_eagerly() else tf.get_default_graph()
