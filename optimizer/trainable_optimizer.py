"""The base of all learned optimizers: meta-parameters, state variables, `apply_gradients`."""

import collections
import contextlib

import tensorflow.compat.v1 as tf

from optimizer import checkpoints, unroll, utils

#: Every meta-parameter's published name starts with this.
OPTIMIZER_SCOPE = 'LOL'

#: What one step of an optimizer gives: for each chunk of the layout a row `[1, size]` to add to the
#: true parameters, with attention a row from the old true parameters to the point at which the next
#: gradient is taken (else None), and the new state.
Update = collections.namedtuple('Update', 'steps attention state')

#: The variables that `apply_gradients` keeps for one list of model variables.
Slots = collections.namedtuple('Slots', 'layout state true_params')

#: What a step computes from and what it computes: the values of the model's variables, the
#: optimizer's state, and with attention the true parameters, a row for each chunk (else empty).
Values = collections.namedtuple('Values', 'variables state true_params')


class TrainableOptimizer(tf.train.Optimizer):
    """A `tf.train.Optimizer` whose update rule has meta-parameters that can be trained.

    A subclass creates its meta-parameters in its constructor with `create_meta_parameter` and
    defines

    * `initial_state(layout, read, key)`: a nest (namedtuples and lists) of float32 tensors, the
      state before the first step; `read(variable)` gives the value of a meta-parameter, `key`,
      int32 [2], is the seed for stateless draws of what is random in it.
    * `update_rule(layout)`: reads the meta-parameters and returns the function
      `rule(gradients, state) -> Update`, where `gradients` has a row `[1, size]` for each chunk of
      `layout`. The rule may be called inside of a loop.

    Args:
      name: name of the optimizer's operations.
      use_attention: take gradients at a point that the optimizer chooses, beside the parameters.
      use_log_objective: the meta-objective is the mean log of the relative objective; else the
        weighted sum of the objectives divided by the initial one.
      obj_train_max_multiplier: an unroll ends early where the objective exceeds the initial one by
        this factor; -1: never.
      use_second_derivatives: let the meta-gradient flow through the gradients of the problem.
      use_numerator_epsilon: `log((objective + 1e-6) / (initial objective + 1e-6))` in place of
        `log(objective / initial objective + 1e-6)`.
      random_seed: of the initial meta-parameters and of random states.

    Attributes:
      xla: whether update rules made from now on are compiled with XLA (TensorFlow 2 only).
    """

    xla = False

    def __init__(self, name, use_attention=False, use_log_objective=True,
                 obj_train_max_multiplier=-1, use_second_derivatives=True,
                 use_numerator_epsilon=False, random_seed=None):
        super().__init__(use_locking=False, name=name)
        self.use_attention = use_attention
        self.use_log_objective = use_log_objective
        self.obj_train_max_multiplier = obj_train_max_multiplier
        self.use_second_derivatives = use_second_derivatives
        self.use_numerator_epsilon = use_numerator_epsilon
        self.random_seed = random_seed
        self._meta_parameters = collections.OrderedDict()
        self._slots_by_variables = collections.OrderedDict()

    # Meta-parameters.

    def create_meta_parameter(self, name, shape, initializer):
        """Creates the float32 variable `LOL/<name>`, outside of TRAINABLE_VARIABLES.

        Where a graph holds several optimizers TensorFlow numbers the later variables' names; in
        `named_meta_parameters`, and so in checkpoints, they keep the published ones.
        """
        with tf.init_scope(), tf.name_scope(OPTIMIZER_SCOPE + '/'):
            if self.random_seed is not None and hasattr(initializer, 'seed'):
                initializer.seed = self.random_seed + len(self._meta_parameters)
            variable = tf.Variable(initializer(shape, dtype=tf.float32), trainable=False,
                                   dtype=tf.float32, name=name)
        self._meta_parameters['%s/%s' % (OPTIMIZER_SCOPE, name)] = variable
        return variable

    @property
    def named_meta_parameters(self):
        """OrderedDict from published names to variables: what a Saver of meta-parameters takes."""
        return collections.OrderedDict(self._meta_parameters)

    @property
    def meta_parameters(self):
        """The list of the variables that meta-training trains."""
        return list(self._meta_parameters.values())

    def read_meta_parameters(self):
        """Dict from names as in `create_meta_parameter` to values; call it outside of loops."""
        return {name[len(OPTIMIZER_SCOPE) + 1:]: tf.convert_to_tensor(variable)
                for name, variable in self._meta_parameters.items()}

    def init_from_checkpoint(self, path):
        """Makes a checkpoint's values the *initial* values of the meta-parameters.

        Args:
          path: a checkpoint, or a directory that holds one: `model.ckpt-0`, else the latest.

        Raises:
          ValueError: there is no readable checkpoint, meta-parameters are missing from it or have
            other shapes or types there (the message lists them), or state variables exist already.
        """
        if self._slots_by_variables:
            raise ValueError('init_from_checkpoint must come before the first apply_gradients.')
        path = checkpoints.checkpoint_in(path)
        checkpoints.check_checkpoint(path, self._meta_parameters)
        with tf.init_scope():
            tf.train.init_from_checkpoint(path, self._meta_parameters)

    # Use as a tf.train.Optimizer.

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        """Applies one step of the learned update rule.

        Everything is computed from the values that variables have before the step, in float32
        (the new value of a float64 variable in float64), and cast to the variable's type.

        IndexedSlices: rows without a gradient keep their values and their state exactly (with
        attention they go to their true parameters). What an optimizer keeps for all parameters
        together still moves: the count of steps, and the tensor and model levels of
        HierarchicalRNN, whose averages run over all rows, those without a gradient entering with
        a gradient of zero.

        State belongs to the list of variables that have a gradient, together and in this order;
        with another list begins another state. The parts of a partitioned variable count as
        tensors of their own.

        Args:
          grads_and_vars: pairs as from `compute_gradients`; those without a gradient are skipped.
          global_step: optional variable to increment by one.
          name: name of the returned operation.

        Returns:
          one operation.

        Raises:
          ValueError: no gradient at all, or a variable without a fully defined shape.
          RuntimeError: eager execution is on.
        """
        if tf.executing_eagerly():
            raise RuntimeError('%s works in graphs. In eager TensorFlow 2 use '
                               'optimizer.keras.LearnedOptimizer.' % type(self).__name__)
        pairs = [(grad, var) for grad, var in grads_and_vars if grad is not None]
        if not pairs:
            raise ValueError('No gradients provided for any variable.')
        gradients, variables = zip(*pairs)
        slots = self._slots_for(variables)
        with tf.name_scope(name, self.get_name()) as scope:
            owners = Values(list(variables), slots.state, slots.true_params)
            values = self.next_values(slots.layout, gradients, read_values(owners))
            assignments = zip(tf.nest.flatten(owners), tf.nest.flatten(values))
            return _assign_all(list(assignments), global_step, scope)

    def next_values(self, layout, gradients, values, scale=None):
        """One step as a pure function.

        Args:
          layout: of the variables.
          gradients: a tensor or IndexedSlices for each variable; None: none of it moves.
          values: `Values` before the step.
          scale: None or a factor by which steps are multiplied.

        Returns:
          `Values` after the step.
        """
        update = self.step_rule(layout)(gradients, values.state)
        if scale is not None:
            update = update._replace(**{
                field: [scale * row for row in getattr(update, field) or ()]
                for field in ('steps', 'attention')})
        return self._move(layout, values, update)

    def _move(self, layout, values, update):
        if not self.use_attention:
            steps = layout.to_tensors(update.steps)
            return Values([_add(value, step) for value, step in zip(values.variables, steps)],
                          update.state, [])
        true_params = [row + step for row, step in zip(values.true_params, update.steps)]
        attended = layout.to_tensors(
            [row + step for row, step in zip(values.true_params, update.attention)])
        return Values([tf.cast(new, old.dtype) for old, new in zip(values.variables, attended)],
                      update.state, true_params)

    def _slots_for(self, variables):
        key = tuple(variable.name for variable in variables)
        if key not in self._slots_by_variables:
            with tf.init_scope(), tf.name_scope(None), tf.name_scope(self.get_name() + '_state'):
                with _flow_of_initial_values():
                    self._slots_by_variables[key] = self._create_slots(variables)
        return self._slots_by_variables[key]

    def _create_slots(self, variables):
        layout = self.layout(utils.static_shapes(variables))
        state = self.initial_state(layout, initialized_value, self.random_key())
        true_params = []
        if self.use_attention:
            true_params = layout.to_chunks([initialized_value(var) for var in variables])
        return Slots(layout, variables_like(state, 'state'),
                     variables_like(true_params, 'true_params'))

    def variables(self):
        """The state variables that `apply_gradients` has created."""
        return [variable for slots in self._slots_by_variables.values()
                for variable in tf.nest.flatten(slots[1:])]

    def true_params(self, var_list):
        """The parameters beside which attention takes its gradients, a tensor for each variable.

        Without attention these are the variables themselves.

        Raises:
          ValueError: a variable is unknown to `apply_gradients`.
        """
        if not self.use_attention:
            return read_values(list(var_list))
        known = {}
        for names, slots in self._slots_by_variables.items():
            tensors = slots.layout.to_tensors(read_values(slots.true_params))
            known.update(zip(names, tensors))
        unknown = [var.name for var in var_list if var.name not in known]
        if unknown:
            raise ValueError('apply_gradients has not seen: %s.' % ', '.join(unknown))
        return [tf.cast(known[var.name], var.dtype.base_dtype) for var in var_list]

    def log_learning_rates(self, var_list):
        """Natural logarithms of the learning rates that the optimizer keeps.

        Returns:
          a tensor like each variable; None where the optimizer keeps no learning rates, or not of
          all of these variables.
        """
        rates = {}
        for names, slots in self._slots_by_variables.items():
            rows = [self.log_rate_row(chunk) for chunk in read_values(slots.state).chunks]
            if all(row is not None for row in rows):
                rates.update(zip(names, slots.layout.to_tensors(rows)))
        found = [rates.get(var.name) for var in var_list]
        return None if any(rate is None for rate in found) else found

    # Meta-training.

    def train(self, problem, dataset=None, penalty=None, **options):
        """The graph of one differentiable unroll on `problem`; see `unroll.build_unroll`."""
        return unroll.build_unroll(self, problem, dataset, penalty, **options)

    def random_key(self):
        """A seed for the stateless draws of `initial_state`."""
        return utils.random_key(self.random_seed)

    def layout(self, shapes):
        """How parameters of these shapes lie in memory; see `utils.Layout`."""
        return utils.Layout(shapes)

    @staticmethod
    def local_variables_like(structure):
        """Local variables for a nest of tensors, their initial values."""
        return variables_like(structure, 'state', (tf.GraphKeys.LOCAL_VARIABLES,))

    def step_rule(self, layout):
        """The update rule for gradients of any kind.

        Returns:
          the function (gradients, state) -> Update, where a gradient is a tensor of the variable's
          shape, IndexedSlices, or None. What has no gradient gets a step of zero and keeps its
          state.
        """
        rule = self.update_rule(layout)
        if self.xla:
            rule = tf.function(rule, jit_compile=True, autograph=False)

        def step(gradients, state):
            update = rule(layout.to_chunks([_dense(gradient, shape) for gradient, shape
                                            in zip(gradients, layout.shapes)]), state)
            if all(isinstance(gradient, tf.Tensor) for gradient in gradients):
                return update
            return _keep_untouched(layout, gradients, update, state)

        return step

    # For subclasses.

    def log_rate_row(self, chunk_state):
        """The log learning rates `[1, size]` in the state of a chunk; None where there are none."""
        return None

    def initial_state(self, layout, read, key):
        raise NotImplementedError

    def update_rule(self, layout):
        raise NotImplementedError


class CoordinatewiseOptimizer(TrainableOptimizer):
    """A learned optimizer that treats every parameter by itself.

    A subclass creates its meta-parameters in its constructor with `create_meta_parameter` and
    defines

    * `initial_rows(size, read, key)`: the state of `size` parameters before the first step, a nest
      of tensors `[features, size]`.
    * `row_rule(weights, gradient, rows, steps_done)`: one step of `size` parameters, from gradient
      `[1, size]` and state, -> (step `[1, size]`, new state). `weights[name]` is the value of a
      meta-parameter; `steps_done` is a float32 scalar, 0 at the first step.
    * where the rule needs the meta-parameters in another form, `prepare(weights)`: what takes the
      place of `weights`, computed once, outside of the loop of steps.
    """

    State = collections.namedtuple('State', 'chunks steps_done')

    def initial_state(self, layout, read, key):
        return self.State([self.initial_rows(chunk.size, read, key + [index, 0])
                           for index, chunk in enumerate(layout.chunks)], tf.zeros([]))

    def update_rule(self, layout):
        weights = self.prepare(self.read_meta_parameters())

        def rule(gradients, state):
            steps, chunks = zip(*[self.row_rule(weights, gradient, rows, state.steps_done)
                                  for gradient, rows in zip(gradients, state.chunks)])
            return Update(list(steps), None, self.State(list(chunks), state.steps_done + 1.0))

        return rule

    def initial_rows(self, size, read, key):
        raise NotImplementedError

    def prepare(self, weights):
        return weights

    def row_rule(self, weights, gradient, rows, steps_done):
        raise NotImplementedError


def initialized_value(variable):
    """A variable's value, or where it has none yet, the value it will be initialised with."""
    return tf.cond(tf.is_variable_initialized(variable), variable.read_value,
                   lambda: variable.initial_value)


@contextlib.contextmanager
def _flow_of_initial_values():
    """Version-1 control flow while reference variables are made from other variables' values.

    In version 2 a branch, ours or one of those that TensorFlow then adds, would read a reference
    variable before it is known whether that has a value.
    """
    switches = tf.control_flow_v2_enabled() and not tf.resource_variables_enabled()
    if switches:
        tf.disable_control_flow_v2()
    try:
        yield
    finally:
        if switches:
            tf.enable_control_flow_v2()


def variables_like(structure, name, collections=(tf.GraphKeys.GLOBAL_VARIABLES,)):
    """Variables with the tensors of a nest as initial values, named by their place in it."""
    if isinstance(structure, tuple):
        return type(structure)(*[variables_like(value, '%s/%s' % (name, field), collections)
                                 for field, value in structure._asdict().items()])
    if isinstance(structure, list):
        return [variables_like(value, '%s/%d' % (name, index), collections)
                for index, value in enumerate(structure)]
    return tf.Variable(structure, trainable=False, collections=list(collections), name=name)


def read_values(structure):
    """The values of a nest of variables."""
    return tf.nest.map_structure(tf.convert_to_tensor, structure)


def with_constants(cls, values):
    """A subclass whose meta-parameters are not variables but these values, for eager code.

    Args:
      cls: a subclass of `TrainableOptimizer`.
      values: dict from published names to arrays.

    Returns:
      the class; its constructor raises ValueError where a value is missing or has another shape.
    """
    class Constants(cls):
        def create_meta_parameter(self, name, shape, initializer):
            value = values.get('%s/%s' % (OPTIMIZER_SCOPE, name))
            if value is None or value.shape != tuple(shape):
                raise ValueError('The meta-parameters of %s lack %s %s.'
                                 % (cls.__name__, name, tuple(shape)))
            self._meta_parameters['%s/%s' % (OPTIMIZER_SCOPE, name)] = value
            return value

    return Constants


def _add(value, step):
    """`value + step` in the wider of float32 and the type of `value`, which the sum has."""
    dtype = tf.float64 if value.dtype == tf.float64 else tf.float32
    return tf.cast(tf.cast(value, dtype) + tf.cast(step, dtype), value.dtype)


# Gradients of some rows only.


def _dense(gradient, shape):
    """A gradient as tensor: rows that IndexedSlices repeat are summed, None counts as zero."""
    if gradient is None:
        return tf.zeros(shape)
    if isinstance(gradient, tf.IndexedSlices):
        values = tf.cast(gradient.values, tf.float32)
        return tf.reshape(tf.unsorted_segment_sum(values, gradient.indices, shape[0]), shape)
    return gradient


def _keep_untouched(layout, gradients, update, state):
    """The update where there is a gradient, elsewhere no step and the old state."""
    masks = [row > 0.0 for row in layout.to_chunks(
        [_touched(gradient, shape) for gradient, shape in zip(gradients, layout.shapes)])]

    def only_touched(rows):
        return rows and [tf.where_v2(mask, row, tf.zeros_like(row))
                         for mask, row in zip(masks, rows)]

    def choose(mask, new, old):
        return tf.nest.map_structure(lambda *both: tf.where_v2(mask, *both), new, old)

    chunks = [choose(*each) for each in zip(masks, update.state.chunks, state.chunks)]
    return Update(only_touched(update.steps), only_touched(update.attention),
                  update.state._replace(chunks=chunks))


def _touched(gradient, shape):
    """1 where a variable of this shape has a gradient, else 0."""
    if gradient is None:
        return tf.zeros(shape)
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.ones(shape)
    counts = tf.unsorted_segment_sum(tf.ones_like(gradient.indices, tf.float32),
                                     gradient.indices, shape[0])
    return tf.ones(shape) * tf.reshape(
        tf.cast(counts > 0.0, tf.float32), [shape[0]] + [1] * (len(shape) - 1))


def _assign_all(assignments, global_step, name):
    """One operation that assigns only when every new value has been computed."""
    with tf.control_dependencies([value for _, value in assignments]):
        done = [variable.assign(value).op for variable, value in assignments]
        if global_step is None:
            return tf.group(*done, name=name)
    with tf.control_dependencies(done):
        return tf.group(tf.assign_add(global_step, tf.ones([], global_step.dtype.base_dtype)),
                        name=name)
