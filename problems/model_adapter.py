"""Any model whose loss is built by a function, as a `Problem`."""

import collections

import tensorflow.compat.v1 as tf

from problems.problem import Problem

# What an adapter keeps for each graph it is used in.
_Model = collections.namedtuple('_Model', 'make_loss variables is_parameter init_fn')


class ModelAdapter(Problem):
    """The problem of minimizing the loss of a model over its trainable variables.

    The model is built with `tf.get_variable` or `tf.Variable` as usual. It is rebuilt for every
    call of `objective`, with the given tensors in place of its trainable variables, so that the
    loss can be computed inside a loop. Its other variables exist once in each graph, as local
    variables.

    Args:
        make_loss_and_init_fn: returns (make_loss, make_init_fn). `make_loss()` builds the loss, a
            scalar, and creates the same variables at every call. `make_init_fn(variables)`
            returns a function that initializes these in the session it is given; or it is None.
        **kwargs: passed on to `make_loss_and_init_fn`.

    Raises:
        ValueError: the model has no trainable variables.
    """

    def __init__(self, make_loss_and_init_fn, **kwargs):
        self._make_loss_and_init_fn = lambda: make_loss_and_init_fn(**kwargs)
        self._models = {}
        with tf.Graph().as_default():
            shapes = [tuple(variable.shape.as_list()) for variable in self._parameters()]
        self._models.clear()
        if not shapes:
            raise ValueError('the model has no trainable variables')
        super().__init__(shapes)

    def init_tensors(self, seed=None):
        """Returns the initial values of the model's trainable variables.

        They are the model's own, new ones at every evaluation if it draws them; `seed` has no
        influence on them.
        """
        return [tf.identity(variable.initial_value) for variable in self._parameters()]

    def init_fn(self, session):
        """Initializes the model's variables in `session`, with the model's own function."""
        with session.graph.as_default():
            self._model().init_fn(session)

    def _objective(self, parameters, data, labels):
        model = self._model()
        remaining = iter(parameters)
        replacements = [next(remaining) if is_parameter else variable
                        for variable, is_parameter in zip(model.variables, model.is_parameter)]
        replacer = _Replacer(replacements)
        scope = tf.variable_scope(tf.get_variable_scope(), custom_getter=replacer.get,
                                  auxiliary_name_scope=False)
        with scope, tf.variable_creator_scope(replacer.create):
            return model.make_loss()

    def _parameters(self):
        model = self._model()
        return [variable for variable, is_parameter in zip(model.variables, model.is_parameter)
                if is_parameter]

    def _model(self):
        """The model in the current graph; built at the first call, outside of any loop."""
        with tf.init_scope():
            graph = tf.get_default_graph()
            if graph not in self._models:
                self._models[graph] = _first_build(*self._make_loss_and_init_fn())
            return self._models[graph]


def _first_build(make_loss, make_init_fn):
    """Builds the loss with new variables, in a scope of their own."""
    recorder = _Recorder()
    scope = tf.variable_scope(None, default_name='adapted_model')
    with scope, tf.variable_creator_scope(recorder.create):
        make_loss()
    make_init_fn = make_init_fn or _make_init_fn
    return _Model(make_loss, recorder.variables, recorder.is_parameter,
                  make_init_fn(recorder.variables))


def _make_init_fn(variables):
    operation = tf.variables_initializer(variables)
    return lambda session: session.run(operation)


class _Recorder:
    """Creates variables as asked to, but local ones, and records them in order.

    Attributes:
        variables: the variables.
        is_parameter: for each, whether the model wants it to be trained.
    """

    def __init__(self):
        self.variables = []
        self.is_parameter = []

    def create(self, next_creator, **kwargs):
        """Called for each new variable."""
        trainable = kwargs.get('trainable') is not False
        hidden = (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES)
        others = [key for key in kwargs.get('collections') or () if key not in hidden]
        kwargs.update(trainable=False,
                      collections=list(set(others + [tf.GraphKeys.LOCAL_VARIABLES])))
        variable = next_creator(**kwargs)
        self.variables.append(variable)
        self.is_parameter.append(trainable and variable.dtype.is_floating)
        return variable


class _Replacer:
    """Gives the replacements in the order in which the variables were created."""

    def __init__(self, replacements):
        self._remaining = iter(replacements)
        self._by_name = {}

    def get(self, getter, name, **kwargs):
        """Called for `tf.get_variable`: the same replacement for the same name."""
        del getter, kwargs
        if name not in self._by_name:
            self._by_name[name] = self._next()
        return self._by_name[name]

    def create(self, next_creator, **kwargs):
        """Called for `tf.Variable`."""
        del next_creator, kwargs
        return self._next()

    def _next(self):
        try:
            return next(self._remaining)
        except StopIteration:
            raise ValueError('the model creates more variables than at its first call') from None
