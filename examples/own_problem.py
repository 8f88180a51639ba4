"""Write a problem of your own, or bring a TensorFlow model: `python -m examples.own_problem`."""

import numpy as np
import tensorflow.compat.v1 as tf

import metaopt
from l2o.evaluation import comparison, rules, running
from optimizer import load
from problems.datasets import Dataset
from problems.model_adapter import ModelAdapter
from problems.problem import Problem
from problems.problem_spec import Row, Spec

inputs = np.random.RandomState(1).standard_normal([500, 8])
targets = np.abs(inputs).sum(1)


class AbsoluteError(Problem):
    """Linear regression, by the mean absolute error."""

    needs_data = True

    def __init__(self, n_features):
        super().__init__([(n_features, 1), (1,)])  # the shapes of the parameters

    def _objective(self, parameters, data, labels):
        weights, bias = parameters
        return tf.reduce_mean(tf.abs(tf.matmul(data, weights)[:, 0] + bias - labels))


def my_model():
    """A model with variables of its own, as in any program for TensorFlow 1."""
    def make_loss(data, labels):
        hidden = tf.get_variable('hidden', [8, 32])
        output = tf.get_variable('output', [32, 1])
        bias = tf.get_variable('bias', [32], initializer=tf.zeros_initializer())
        layer = tf.nn.relu(tf.matmul(data, hidden) + bias)
        return tf.losses.mean_squared_error(labels, tf.matmul(layer, output)[:, 0])

    return make_loss, None  # None: each variable begins as its initializer says


model = Spec(ModelAdapter, (my_model,), {'example_shape': (8,), 'label_type': 'float32'})
rows = [Row(spec, Dataset(inputs, targets), 50, name=name)
        for name, spec in (('regression', Spec(AbsoluteError, (8,), {})), ('my_model', model))]


def main(folder='own_problem', episodes=20, rates=rules.LEARNING_RATES):
    # Both are problems like all others: to meta-train on, here beginning with a shipped optimizer,
    metaopt.train_optimizer(folder, None, rows, 1, episodes, begin_with='normalized_mlp',
                            episode_steps=(300,), unplanned_episodes=0.0, fix_num_steps_eval=300,
                            evaluation_epochs=4)
    # and to test optimizers on, beside rules with tuned learning rates.
    learned = [rules.Candidate(name, None, lambda steps, name=name: load(name, num_steps=steps))
               for name in ('normalized_mlp', folder)]
    found = running.compare(learned + rules.hand_tuned(['Adam', 'Momentum'], rates), rows,
                            (1, 2, 3), 300, running.Runner(), running.Grids(finalists=1))
    for each in comparison.summarize(found.curves):
        print('%s, %s: loss %.3f after 300 steps' % (each.problem, rules.label(each), each.final))


if __name__ == '__main__':  # also: metarun.py --problem=examples/own_problem.py:rows
    tf.disable_v2_behavior()
    tf.enable_control_flow_v2()
    main()
