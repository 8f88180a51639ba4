"""The base of all learned optimizers: meta-parameters, the update rule, `apply_gradients`."""

import collections
import importlib
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from optimizer import features, published, slots, unroll
from optimizer import gradients as gradients_of
from optimizer.layout import Layout
from optimizer.meta_parameters import MetaParameters, outermost_graph
from optimizer.step import assign_all
from optimizer.types import GradsAndVars, Nest, Rate, Rule, Theta

#: What `tf.train.Optimizer` calls for each variable.
TENSORFLOWS_OWN = ('_apply_dense', '_resource_apply_dense', '_apply_sparse',
                   '_resource_apply_sparse')


class TrainableOptimizer(MetaParameters, tf.train.Optimizer):
    """A `tf.train.Optimizer` whose update rule has meta-parameters that can be trained.

    A subclass creates its meta-parameters in its constructor with `create_meta_parameter` and
    defines

    * `initial_state(layout, theta, key)`: a nest (namedtuples and lists) of float32 tensors, the
      state before the first step; `theta` is a dict from names as in `create_meta_parameter` to the
      values of the meta-parameters, `key`, int32 [2], is the seed for stateless draws of what is
      random in it.
    * `update_rule(layout, theta)`: returns the function `rule(gradients, state) -> Update`, where
      `gradients` has a row `[1, size]` for each chunk of `layout`; `rule(gradients, state,
      parameters)` where the class sets `sees_parameters`. It is called outside of loops, the rule
      may be called in one.

    Args:
      name: name of the optimizer's operations.
      state_keys: of a class written for the published code, see `optimizer.published`.
      use_attention: take gradients at a point that the optimizer chooses, beside the parameters.
      use_log_objective: the meta-objective is the mean log of the relative objective; else the
        weighted sum of the objectives divided by the initial one.
      obj_train_max_multiplier: an unroll ends early where the objective exceeds the initial one by
        this factor; at most 0: never.
      use_second_derivatives: let the meta-gradient flow through the gradients of the problem.
      use_numerator_epsilon: `log((objective + 1e-6) / (initial objective + 1e-6))` in place of
        `log(objective / initial objective + 1e-6)`.
      random_seed: of the initial meta-parameters and of random states.

    Raises:
      TypeError: the class overrides `_apply_dense` or the like, as
        `tf.contrib.opt.extend_with_decoupled_weight_decay` does.

    Attributes, to be set before `apply_gradients`:
      xla: whether update rules made from now on are compiled with XLA (TensorFlow 2 only).
      learning_rate: a factor of all steps: a float, tensor, variable, or a function of the number
        of steps taken before, an int64 scalar.
      weight_decay: decoupled weight decay, as AdamW's: each step also takes off learning_rate *
        weight_decay * parameter.
    """

    computes_rows_alone = False  # whether of a table only the rows with a gradient are computed
    planned_steps: Any = None  # a placeholder, where it can be told how many steps there are
    sees_parameters = False  # whether the update rule also takes the parameters' rows
    draws_state = True  # whether `initial_state` draws anything with its key
    OPTIONS: Tuple[str, ...] = ('xla', 'learning_rate', 'weight_decay')
    xla = False
    learning_rate: Rate = 1.0
    weight_decay: Union[float, tf.Tensor] = 0.0

    def __init__(self, name: str, state_keys: Optional[Sequence[str]] = None,
                 use_attention: bool = False, use_log_objective: bool = True,
                 obj_train_max_multiplier: float = -1, use_second_derivatives: bool = True,
                 use_numerator_epsilon: bool = False, random_seed: Optional[int] = None) -> None:
        for method in TENSORFLOWS_OWN:
            if getattr(type(self), method) is not getattr(tf.train.Optimizer, method):
                raise TypeError('%s overrides %s, which is never called: a learned optimizer steps '
                                'all variables together.' % (type(self).__name__, method))
        super().__init__(use_locking=False, name=name)
        self.use_attention = use_attention
        self.use_log_objective = use_log_objective
        self.obj_train_max_multiplier = obj_train_max_multiplier
        self.use_second_derivatives = use_second_derivatives
        self.use_numerator_epsilon = use_numerator_epsilon
        self.random_seed = random_seed
        if state_keys is not None:
            self.state_keys = state_keys
        if self.state_keys is not None:
            self.sees_parameters, self.draws_state, self.OPTIONS = True, False, ('xla',)
        self._slot_states: Dict[Any, slots.SlotState] = collections.OrderedDict()

    # Use as a tf.train.Optimizer.

    def apply_gradients(self, grads_and_vars: GradsAndVars,
                        global_step: Optional[tf.Variable] = None, name: Optional[str] = None,
                        skip_gradients_aggregation: bool = False) -> tf.Operation:
        """Applies one step of the learned update rule.

        Everything is computed from the values that variables have before the step, in float32
        (the new value of a float64 variable in float64), and cast to the variable's type. A
        variable that is listed twice gets the sum of its gradients. A variable's `constraint` is
        applied to its new value, with attention to the true parameters too. Replicas of a
        distribution strategy sum their gradients, as with all optimizers of `tf.train`.

        IndexedSlices: rows without a gradient keep their values and their state exactly. The
        optimizers of this package compute only the rows with a gradient, which are then the whole
        table to them: HierarchicalRNN and NormalizedMLP average over these. What an optimizer
        keeps for a tensor or for the model, as the count of steps, moves at every step. A variable
        that had a dense gradient at first is computed whole, other rows with a gradient of zero.

        State is kept in slots of the variables, named `<variable>/<optimizer>/...`, and goes back
        to the variable of that name, in whatever order variables are listed. What belongs to the
        model as a whole is kept with the first variable by name. The parts of a partitioned
        variable count as variables of their own.

        Args:
          grads_and_vars: pairs as from `compute_gradients`; those without a gradient are skipped.
          global_step: optional variable to increment by one.
          name: name of the returned operation.
          skip_gradients_aggregation: the gradients are the same in all replicas already.

        Returns:
          one operation.

        Raises:
          ValueError: no variable, no gradient at all, a variable without a fully defined shape or
            of other than floating-point numbers, or a gradient of another shape.
          TypeError: a gradient that is no tensor.
          NotImplementedError: a tensor in place of a variable.
          RuntimeError: eager execution is on.
        """
        if outermost_graph() is None:
            raise RuntimeError('%s works in graphs. In eager TensorFlow 2, in functions too, use '
                               'optimizer.keras.LearnedOptimizer.' % type(self).__name__)
        pairs = gradients_of.checked_pairs(grads_and_vars)
        if tf.distribute.has_strategy() and not skip_gradients_aggregation:
            if tf.distribute.in_cross_replica_context():
                raise RuntimeError('apply_gradients belongs into the replicas: call it in the '
                                   'function that the strategy runs.')
            return tf.distribute.get_replica_context().merge_call(
                self._distributed_apply, args=(pairs, global_step, name))
        gradients, variables = zip(*pairs)
        state = self._state_for(gradients, variables)
        with tf.name_scope(name, self.get_name()) as scope:
            done = assign_all(state.changes(self.read_meta_parameters(), gradients, variables,
                                            state.slots))
            if global_step is None:
                return _train_op(tf.group(*done, name=scope))
            with tf.control_dependencies(done):
                return _train_op(tf.group(_increment(global_step), name=scope))

    def _distributed_apply(self, distribution, grads_and_vars, global_step=None, name=None):
        """`apply_gradients` where the replicas meet: the whole step, once on each device."""
        gradients = distribution.extended.batch_reduce_to(
            tf.distribute.ReduceOp.SUM, grads_and_vars)
        variables = [variable for _, variable in grads_and_vars]
        state = self._state_for(gradients, variables)
        self.read_meta_parameters()  # makes them here, where the graph has none yet

        def step(_, *here):
            return tf.group(*assign_all(state.changes(self.read_meta_parameters(), *here)))

        with tf.name_scope(name, self.get_name()) as scope:
            done = distribution.extended.update(
                variables[0], step, args=(gradients, variables, state.slots), group=False)
            if global_step is None:
                return _train_op(tf.group(*tf.nest.flatten(done), name=scope))
            with tf.control_dependencies(tf.nest.flatten(done)):
                done = distribution.extended.update(global_step, _increment, group=False)
                return _train_op(tf.group(*tf.nest.flatten(done), name=scope))

    def _state_for(self, gradients, variables):
        """The `slots.SlotState` for these variables, made where there is none yet."""
        with tf.init_scope(), tf.name_scope(None), slots.root_scope():
            key = outermost_graph(), tuple(variable.name for variable in variables)
            if key not in self._slot_states:
                self._slot_states[key] = slots.SlotState(
                    self, self.read_lazily(slots.initialized_value), gradients, variables)
        return self._slot_states[key]

    def slot(self, variable: tf.Variable, name: str, initial_value: tf.Tensor) -> tf.Variable:
        """The variable that keeps `name` of a model's variable; made where there is none yet.

        Several optimizers of one name that share a variable get numbers at the end.
        """
        prefix = variable.op.name + '/'
        free = variable.graph.unique_name('%s%s/%s' % (prefix, self.get_name(), name),
                                          mark_as_used=False)
        slot = self._get_or_make_slot(variable, initial_value, name, free[len(prefix):])
        if getattr(slot, '_save_slice_info', None):
            slot._set_save_slice_info(None)  # of a partitioned variable, which has another shape
        return slot

    def true_params(self, var_list: Iterable[tf.Variable]) -> List[tf.Tensor]:
        """The parameters beside which attention takes its gradients, a tensor for each variable.

        Without attention these are the variables themselves.

        Raises:
          ValueError: a variable is unknown to `apply_gradients`.
        """
        if not self.use_attention:
            return read_values(list(var_list))
        known = {}
        for state in self._states_here():
            known.update(state.true_params())
        unknown = [var.name for var in var_list if var.name not in known]
        if unknown:
            raise ValueError('apply_gradients has not seen: %s.' % ', '.join(unknown))
        return [known[var.name] for var in var_list]

    def log_learning_rates(self, var_list: Sequence[tf.Variable]) -> Optional[List[tf.Tensor]]:
        """Natural logarithms of the learning rates that the optimizer keeps.

        Returns:
          a tensor like each variable; None where the optimizer keeps no learning rates, or not of
          all of these variables.
        """
        rates = {}
        for state in self._states_here():
            rates.update(state.log_learning_rates())
        found = [rates.get(var.name) for var in var_list]
        return None if any(rate is None for rate in found) else found

    def _states_here(self):
        return [state for (graph, _), state in self._slot_states.items()
                if graph is outermost_graph()]

    # Meta-training.

    def train(self, problem: Any, dataset: Any = None, penalty: Any = None,
              **options: Any) -> unroll.Unroll:
        """The graph of one differentiable unroll on `problem`; see `unroll.build_unroll`."""
        return unroll.build_unroll(self, problem, dataset, penalty, **options)

    def random_key(self) -> tf.Tensor:
        """A seed for the stateless draws of `initial_state`."""
        return features.random_key(self.random_seed)

    def layout(self, shapes: Sequence[Sequence[int]]) -> Layout:
        """How parameters of these shapes lie in memory; see `Layout`."""
        return Layout(shapes)

    @staticmethod
    def local_variables_like(structure: Nest) -> Nest:
        """Local variables for a nest of tensors, their initial values."""
        return variables_like(structure, 'state')

    # For subclasses.

    def log_rate_row(self, chunk_state: Any) -> Optional[tf.Tensor]:
        """The log learning rates `[1, size]` in the state of a chunk; None where there are none."""
        return None

    def initial_state(self, layout: Layout, theta: Theta, key: tf.Tensor) -> Any:
        return published.initial_state(self, layout)

    def update_rule(self, layout: Layout, theta: Theta) -> Rule:
        return published.update_rule(self, layout, theta)


def variables_like(structure: Nest, name: str) -> Nest:
    """Local variables with the tensors of a nest as initial values, named by their place in it.

    They are resource variables whatever the program uses: a tensor that was read keeps its value
    when the variable is assigned, which one that was read of a reference variable may not.
    """
    if isinstance(structure, tuple):
        fields = structure._asdict()  # type: ignore[attr-defined]
        return type(structure)(*[variables_like(value, '%s/%s' % (name, field))
                                 for field, value in fields.items()])
    if isinstance(structure, dict):
        return {key: variables_like(value, '%s/%s' % (name, key))
                for key, value in structure.items()}
    if isinstance(structure, list):
        return [variables_like(value, '%s/%d' % (name, index))
                for index, value in enumerate(structure)]
    return tf.Variable(structure, trainable=False, use_resource=True, name=name,
                       collections=[tf.GraphKeys.LOCAL_VARIABLES])


def read_values(structure: Nest) -> Nest:
    """The values of a nest of variables."""
    return tf.nest.map_structure(tf.convert_to_tensor, structure)


def _increment(global_step):
    return global_step.assign_add(tf.ones([], global_step.dtype.base_dtype)).op


def _train_op(operation):
    """Puts an operation where TensorFlow's own optimizers put theirs."""
    tf.add_to_collection(tf.GraphKeys.TRAIN_OP, operation)
    return operation


def __getattr__(name: str) -> Any:
    """`CoordinatewiseOptimizer` at its former place, from which subclasses of users import it."""
    if name == 'CoordinatewiseOptimizer':
        return importlib.import_module('optimizer.coordinatewise_optimizer').CoordinatewiseOptimizer
    raise AttributeError('module %r has no attribute %r' % (__name__, name))
