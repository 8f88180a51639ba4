"""MirroredStrategy with two CPUs, in a graph: the result of one device, and equal replicas."""

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import build

tf.disable_eager_execution()
tf.config.experimental.set_virtual_device_configuration(
    tf.config.experimental.list_physical_devices('CPU')[0],
    [tf.config.experimental.VirtualDeviceConfiguration()] * 2)
INPUTS = np.random.RandomState(0).standard_normal([8, 3]).astype('float32')
ARGUMENTS = {'HierarchicalRNN': {'level_sizes': [4, 3, 2], 'init_lr_range': (1e-2, 1e-1)},
             'RNNProp': {'units': 3}, 'TrainableAdam': {}}


def trained(name, devices):
    """What the copies of the variables are after 5 steps on the same 8 examples."""
    with tf.Graph().as_default(), tf.Session() as session:
        strategy = tf.distribute.MirroredStrategy(devices)
        share = 8 // len(devices)

        def replica():
            first = share * tf.distribute.get_replica_context().replica_id_in_sync_group
            inputs = tf.slice(INPUTS, [first, 0], [share, 3])
            weights = tf.get_variable('weights', initializer=[[1.0], [0.5], [-1.0]])
            table = tf.get_variable('table', initializer=np.ones([5, 2], 'float32'))
            loss = tf.reduce_sum(tf.square(tf.matmul(inputs, weights) - 1.0)) / 8.0
            loss += tf.reduce_sum(tf.gather(table, [1, 3])) / len(devices)
            step = tf.train.get_or_create_global_step()
            learned = build(name, dict(ARGUMENTS[name], random_seed=1))
            pairs = learned.compute_gradients(loss, [weights, table])
            return learned.apply_gradients(pairs, step)

        with strategy.scope():
            run = strategy.run if hasattr(strategy, 'run') else strategy.experimental_run_v2
            train = strategy.group(run(replica))
            session.run(tf.global_variables_initializer())
        for _ in range(5):
            session.run(train)
        copies = [variable for variable in tf.global_variables()
                  if variable.op.name.split('/')[0] in ('weights', 'table', 'global_step')]
        return {variable.op.name: session.run(getattr(variable, 'values', [variable]))
                for variable in copies}


for optimizer in sorted(ARGUMENTS):
    alone, both = trained(optimizer, ['/cpu:0']), trained(optimizer, ['/cpu:0', '/cpu:1'])
    assert set(alone) == set(both), (set(alone), set(both))
    for variable, (value,) in alone.items():
        assert len(both[variable]) == 2 or 'replica' in variable
        for copy in both[variable]:
            np.testing.assert_allclose(copy, value, rtol=1e-4, atol=1e-5, err_msg=variable)
