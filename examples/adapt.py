"""Adapt a shipped optimizer to a model of your own: `python -m examples.adapt [FOLDER]`.

The model is unlike what people usually train: a network of sine units that learns a picture by its
coordinates (arXiv 2006.09661). Two minutes on two cores.
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

STEPS, FREQUENCY = 200, 15.0
LAYERS = [(2, 32, 0.5), (32, 32, 0.029), (32, 1, 0.029)]  # inputs, units, bound of initial weights
points = np.random.RandomState(1).uniform(-1.0, 1.0, [4000, 2])
colours = (np.sin(8.0 * points[:, 0]) * np.cos(11.0 * points[:, 1])
           + 0.5 * np.sign(points[:, 0] * points[:, 1] - 0.1))


def keras_model():
    import keras

    def sine(inputs):
        return keras.ops.sin(FREQUENCY * inputs)

    return keras.Sequential([keras.Input([2])] + [keras.layers.Dense(
        units, sine if units > 1 else None,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound))
            for _, units, bound in LAYERS])


def tf1_model():
    def make_loss(data, labels):
        for index, (inputs, units, bound) in enumerate(LAYERS):
            data = tf.sin(FREQUENCY * data) if index else data
            weights = tf.get_variable('weights_%d' % index, [inputs, units],
                                      initializer=tf.random_uniform_initializer(-bound, bound))
            bias = tf.get_variable('bias_%d' % index, [units], initializer=tf.zeros_initializer())
            data = tf.matmul(data, weights) + bias
        return tf.reduce_mean(tf.square(data[:, 0] - labels))

    return make_loss, None  # None: each variable begins as its initializer says


def main(folder='adapted', episodes=40, rates=rules.LEARNING_RATES):
    spec = (Spec(KerasModel, (keras_model, 'mse'), {}) if tf.__version__ >= '2' else
            Spec(ModelAdapter, (tf1_model,), {'example_shape': (2,), 'label_type': 'float32'}))
    row = Row(spec, Dataset(points[:3000], colours[:3000]), 64,
              Dataset(points[3000:], colours[3000:]), 'sine network')

    # To adapt is one call. All other settings are those that the shipped optimizer was made with.
    metaopt.train_optimizer(folder, None, [row], 1, episodes, begin_with='normalized_mlp',
                            episode_steps=(STEPS,), unplanned_episodes=0.0,
                            fix_num_steps_eval=STEPS, evaluation_epochs=4)

    learned = [rules.Candidate(name, None, lambda steps, place=place: load(place, num_steps=steps))
               for name, place in (('shipped', 'normalized_mlp'), ('adapted', folder))]
    found = running.compare(learned + rules.hand_tuned(['Adam'], rates), [row], (1, 2, 3), STEPS,
                            running.Runner(), running.Grids(finalists=1))
    for each in comparison.summarize(found.curves):
        print('%-10s loss %.4f, held out %.4f' % (
            rules.label(each), each.final, each.held_out_loss))


if __name__ == '__main__':
    tf.disable_v2_behavior()  # as in any program for TensorFlow 1
    tf.enable_control_flow_v2()
    tf.logging.set_verbosity(tf.logging.ERROR)
    main(*sys.argv[1:2])
