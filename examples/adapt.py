"""Adapt a shipped optimizer to a model of your own: `python -m examples.adapt [FOLDER]`.

The model learns the upper decile of noisy data (pinball loss). Under three minutes on two cores.
"""

import sys

import numpy as np
import tensorflow.compat.v1 as tf

import metaopt
from l2o.evaluation import comparison, rules, running
from optimizer import load
from problems.datasets import Dataset
from problems.keras_model import KerasModel
from problems.model_adapter import ModelAdapter
from problems.problem_spec import Row, Spec

STEPS = 300
rng = np.random.RandomState(1)
x = rng.standard_normal([4000, 8])
y = np.sin(3.0 * x[:, 0]) * x[:, 1] + np.abs(x[:, 2]) * (1.0 + 0.5 * rng.standard_normal(4000))


def pinball(labels, outputs):
    error = labels - outputs[:, 0]
    return tf.maximum(0.9 * error, -0.1 * error)


def keras_model():
    import keras

    return keras.Sequential([keras.Input([8]), keras.layers.Dense(32, activation='relu'),
                             keras.layers.Dense(32, activation='relu'), keras.layers.Dense(1)])


def tf1_model():
    def make_loss(data, labels):
        for index, (inputs, units) in enumerate([(8, 32), (32, 32), (32, 1)]):
            data = tf.matmul(tf.nn.relu(data) if index else data, tf.get_variable(
                'weights_%d' % index, [inputs, units])) + tf.get_variable(
                    'bias_%d' % index, [units], initializer=tf.zeros_initializer())
        return tf.reduce_mean(pinball(labels, data))

    return make_loss, None  # None: each variable begins as its initializer says


def main(folder='adapted'):
    spec = (Spec(KerasModel, (keras_model, pinball), {}) if tf.__version__ >= '2' else
            Spec(ModelAdapter, (tf1_model,), {'example_shape': (8,), 'label_type': 'float32'}))
    row = Row(spec, Dataset(x[:3000], y[:3000]), 64, Dataset(x[3000:], y[3000:]), 'pinball')

    # To adapt is one call: all settings are those that the shipped optimizer was made with.
    metaopt.train_optimizer(folder, None, [row], 1, 30, begin_with='normalized_mlp',
                            episode_steps=(STEPS,), episode_shares=(0.0,),
                            fix_num_steps_eval=STEPS, evaluation_epochs=4)

    learned = [rules.Candidate(name, None, lambda steps, place=place: load(place, num_steps=steps))
               for name, place in (('shipped', 'normalized_mlp'), ('adapted', folder))]
    found = running.compare(learned + rules.hand_tuned(['Adam'], rules.LEARNING_RATES), [row],
                            (1, 2, 3), STEPS, running.Runner(), running.Grids(finalists=1))
    for each in comparison.summarize(found.curves):
        print('%-10s loss %.4f, held out %.4f' % (
            rules.label(each), each.final, each.held_out_loss))


if __name__ == '__main__':
    tf.disable_v2_behavior()  # as in any program for TensorFlow 1
    tf.enable_control_flow_v2()
    main(*sys.argv[1:2])
