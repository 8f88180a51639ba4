"""What people train: initial losses, gradients, batch statistics, causality, noise, the sets."""

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from conftest import make
from problems import datasets, problem_sets, tasks
from problems.autoencoders import Autoencoder, VariationalAutoencoder
from problems.image_files import DataSource
from problems.language_models import GRU, LSTM, BigramFactorization, NGramPerceptron, Transformer
from problems.perceptrons import FineTuning, Perceptron, PerceptronRegression
from problems.recommender import Recommender
from problems.residual import ResidualNet, batch_normalization

DIGITS = DataSource('digits')
ALL = {task.name: task for family in tasks.FAMILIES.values()
       for task in family.small + family.validation + family.full}
SMALL = [task.name for family in tasks.FAMILIES.values() for task in family.small]
FIRST = [family.small[0].name for family in tasks.FAMILIES.values()]
LENGTHY = ('residual_8', 'gru_8', 'lstm_8', 'transformer_8')  # large graphs


def quick(names, first):
    """Names as parameters of a test, those not in `first` marked slow."""
    return [name if name in first else pytest.param(name, marks=pytest.mark.slow)
            for name in names]


def batch_of(task, size=None):
    """The first examples of a task's training data: data, labels."""
    examples = task.examples(True, DIGITS)
    size = size or task.batch_size
    return examples.data[:size], examples.labels[:size]


def ids(shape, vocabulary_size, seed=0):
    return np.random.RandomState(seed).randint(0, vocabulary_size, shape).astype('float32')


def evaluate(tensors, feed=None):
    with tf.Session() as session:
        return session.run(tensors, feed)


def initial_values(problem, seed=1):
    return problem.initial_values(seed)


# Losses.


@pytest.mark.parametrize('name', sorted(ALL))
def test_a_network_that_ends_in_zeros_has_the_loss_of_a_blind_guess(name):
    """All classes, characters and grey values alike; of a regression the targets' variance."""
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name])
    values = [tf.constant(value) for value in initial_values(problem)]
    last = [len(values) - 2, len(values) - 1]
    if isinstance(problem, VariationalAutoencoder):
        last += [len(values) // 2 - 2, len(values) // 2 - 1]
    for index in last:
        values[index] = tf.zeros_like(values[index])
    loss = evaluate(problem.objective(values, data, labels))
    if isinstance(problem, (PerceptronRegression, Recommender)):
        expected = np.mean(data[:, -1] ** 2)
    elif isinstance(problem, (Autoencoder, VariationalAutoencoder)):
        expected = math.log(2)
    else:
        expected = math.log(getattr(problem, 'vocabulary_size', 10))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize('name', quick(sorted(ALL), FIRST))
def test_initial_losses_are_near_a_blind_guess(name):
    """Initial values are neither too large nor too small."""
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name])
    loss = evaluate(problem.objective(problem.init_tensors(1), data, labels))
    if isinstance(problem, (Autoencoder, VariationalAutoencoder)):
        blind, spread = math.log(2), 0.3
    elif isinstance(problem, PerceptronRegression):
        blind = np.mean(data[:, -1] ** 2)
        spread = 6.0 * blind
    elif isinstance(problem, FineTuning):
        blind, spread = math.log(10), 5.0  # trained layers give more than drawn ones
    elif isinstance(problem, Recommender):
        blind, spread = np.mean(data[:, -1] ** 2), 0.5
    else:
        blind, spread = math.log(getattr(problem, 'vocabulary_size', 10)), 1.5
    assert 0.8 * blind < loss < blind + spread


@pytest.mark.parametrize('name', FIRST)
def test_the_slope_along_the_gradient_is_its_norm(name):
    """By a difference quotient in float32, of a function of the step along the gradient."""
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name])
    values = initial_values(problem)
    step = tf.placeholder(tf.float32, [])
    gradients = evaluate([tf.convert_to_tensor(gradient) for gradient in gradients_of(
        problem, list(map(tf.constant, values)), data, labels)])
    norm = math.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients))
    start = evaluate(problem.objective(values, data, labels))
    moved = [tf.constant(value) + step * gradient / np.float32(norm)
             for value, gradient in zip(values, gradients)]
    objective = problem.objective(moved, data, labels)
    size = (3e-4 if len(values) > 20 else 1e-2) * max(start / 10, 1) / max(norm, 1)  # deep curve
    with tf.Session() as session:
        ahead, behind = (session.run(objective, {step: sign * size}) for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / (2 * size), norm, rtol=0.02)


def gradients_of(problem, values, data, labels):
    return problem.gradients(problem.objective(values, data, labels), values)


@pytest.mark.parametrize('name', quick(FIRST, set(FIRST) - set(LENGTHY)))
def test_second_derivatives_are_there_and_finite(name):
    """A step along the gradient changes the gradient's square by what its derivative says."""
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name], 8)
    values = [tf.constant(value) for value in initial_values(problem)]
    square = tf.add_n([tf.nn.l2_loss(tf.convert_to_tensor(gradient))
                       for gradient in gradients_of(problem, values, data, labels)])
    second = [gradient for gradient in tf.gradients(square, values) if gradient is not None]
    assert len(second) >= len(values) - 1  # a last bias may have a constant gradient
    assert all(np.isfinite(value).all() for value in evaluate(
        [tf.convert_to_tensor(gradient) for gradient in second]))


@pytest.mark.parametrize('name', quick(FIRST, set(FIRST) - set(LENGTHY)))
def test_adam_reduces_the_loss(name):
    task = ALL[name]
    problem, examples = task.spec.build(), task.examples(True, DIGITS)
    batches = examples.batch_indices(300, task.batch_size, np.random.RandomState(0))
    variables = problem.init_variables(1)
    data = tf.placeholder(tf.float32, [None] + list(examples.data.shape[1:]))
    labels = tf.placeholder(tf.int32, [None])
    objective = problem.objective(variables, data, labels)
    train = tf.train.AdamOptimizer(3e-3).apply_gradients(
        zip(problem.gradients(objective, variables), variables))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        losses = [session.run([objective, train], {
            data: examples.data[batch], labels: examples.labels[batch]})[0] for batch in batches]
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:5])


@pytest.mark.parametrize('name', FIRST)
def test_the_same_seed_gives_the_same_initial_values(name):
    problem = ALL[name].spec.build()
    first, again, other = (initial_values(problem, seed) for seed in (1, 1, 2))
    assert [value.shape for value in first] == [tuple(shape) for shape in problem.param_shapes]
    for value, repeated in zip(first, again):
        np.testing.assert_array_equal(value, repeated)
    assert any((value != another).any() for value, another in zip(first, other))


def test_weights_begin_with_the_variance_of_he_and_glorot_and_biases_at_zero():
    relu = initial_values(Perceptron(400, 10, (300,)))
    tanh = initial_values(Perceptron(400, 10, (300,), activation=tf.tanh))
    np.testing.assert_allclose(relu[0].std(), math.sqrt(2 / 400), rtol=0.01)
    np.testing.assert_allclose(tanh[0].std(), math.sqrt(2 / 700), rtol=0.01)
    np.testing.assert_allclose(relu[2].std(), math.sqrt(2 / 310), rtol=0.05)
    filters = initial_values(ResidualNet((3, 8, 8), 10, (64, 64)))[3]
    np.testing.assert_allclose(filters.std(), math.sqrt(2 / (9 * 64)), rtol=0.02)
    assert not relu[1].any() and not tanh[3].any()


@pytest.mark.parametrize('problem, data', [
    (PerceptronRegression(3, (4, 2)), np.random.RandomState(0).randn(7, 4)),
    (Autoencoder(6, (4, 2, 4)), np.random.RandomState(0).rand(5, 2, 3))])
def test_objectives_of_several_points_are_those_of_each(problem, data):
    points = [initial_values(problem, seed) for seed in (1, 2, 3)]
    data = data.astype('float32')
    stacked = [tf.constant(np.stack(values)) for values in zip(*points)]
    together = evaluate(problem.objectives(stacked, data, None))
    np.testing.assert_allclose(
        together, evaluate([problem.objective(point, data) for point in points]), rtol=1e-5)


# Plain numpy beside the networks.


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def cross_entropies(logits, targets):
    """Of each position: logits [n, classes], targets [n]."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return -np.log((exponentials / exponentials.sum(-1, keepdims=True))[
        np.arange(len(targets)), targets])


def numpy_gru(parameters, characters):
    embeddings, inputs, recurrent, bias, candidate_bias, weights, last_bias = parameters
    units = len(recurrent)
    state, outputs = np.zeros(units), []
    for character in characters:
        given = embeddings[character].dot(inputs) + bias
        again = state.dot(recurrent)
        reset, update = (sigmoid((given + again)[part * units:(part + 1) * units])
                         for part in (0, 1))
        candidate = np.tanh(given[2 * units:] + reset * (again[2 * units:] + candidate_bias))
        state = update * state + (1 - update) * candidate
        outputs.append(state.dot(weights) + last_bias)
    return np.array(outputs)


def numpy_lstm(parameters, characters):
    embeddings, inputs, recurrent, bias, weights, last_bias = parameters
    units = len(recurrent)
    state, cell, outputs = np.zeros(units), np.zeros(units), []
    for character in characters:
        gates = embeddings[character].dot(inputs) + state.dot(recurrent) + bias
        let_in, keep, let_out, candidate = gates.reshape(4, units)
        cell = sigmoid(keep) * cell + sigmoid(let_in) * np.tanh(candidate)
        state = sigmoid(let_out) * np.tanh(cell)
        outputs.append(state.dot(weights) + last_bias)
    return np.array(outputs)


def normalized(vector, scale, shift):
    return (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5) * scale + shift


def numpy_transformer(parameters, characters, n_heads=2):
    embeddings, positions, *rest = parameters
    stream = embeddings[characters] + positions
    width = stream.shape[1]
    size = width // n_heads
    while len(rest) > 4:
        (scale, shift, joint, joint_bias, after, after_bias, scale_2, shift_2, up, up_bias, down,
         down_bias), rest = rest[:12], rest[12:]
        before = np.array([normalized(vector, scale, shift) for vector in stream])
        query, key, value = np.split(before.dot(joint) + joint_bias, 3, 1)
        mixed = np.zeros_like(stream)
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            for here in range(len(stream)):
                scores = key[:here + 1, part].dot(query[here, part]) / np.sqrt(size)
                attention = np.exp(scores) / np.exp(scores).sum()
                mixed[here, part] = attention.dot(value[:here + 1, part])
        stream = stream + mixed.dot(after) + after_bias
        before = np.array([normalized(vector, scale_2, shift_2) for vector in stream])
        stream = stream + np.maximum(before.dot(up) + up_bias, 0).dot(down) + down_bias
    scale, shift, weights, bias = rest
    return np.array([normalized(vector, scale, shift) for vector in stream]).dot(weights) + bias


@pytest.mark.parametrize('problem, reference', [
    (GRU(7, 5, 3, 4), numpy_gru), (LSTM(7, 5, 3, 4), numpy_lstm),
    (Transformer(7, 5, 6, 2, n_blocks=2), numpy_transformer)])
def test_sequence_models_compute_what_plain_numpy_does(problem, reference):
    rng = np.random.RandomState(3)
    values = [value + 0.3 * rng.randn(*value.shape) for value in initial_values(problem)]
    windows = ids((4, 6), 7)
    expected = [cross_entropies(reference(values, window[:-1]), window[1:])
                for window in windows.astype('int32')]
    values = [value.astype('float32') for value in values]
    np.testing.assert_allclose(evaluate(problem.losses(values, windows)), expected, rtol=1e-4)
    np.testing.assert_allclose(evaluate(problem.objective(values, windows)), np.mean(expected),
                               rtol=1e-4)


def test_the_n_gram_perceptron_sees_all_characters_before_the_last():
    problem, windows = NGramPerceptron(7, 3, 2, (5,)), ids((4, 4), 7).astype('int32')
    table, weights, bias, last_weights, last_bias = values = initial_values(problem)
    hidden = np.tanh(table[windows[:, :3]].reshape(4, 6).dot(weights) + bias)
    expected = cross_entropies(hidden.dot(last_weights) + last_bias, windows[:, 3])
    np.testing.assert_allclose(evaluate(problem.losses(values, windows))[:, 0], expected,
                               rtol=1e-4)


def test_a_factorization_has_a_row_for_each_pair_of_characters():
    problem = BigramFactorization(3, 2, length=2)
    rows, columns, bias = values = initial_values(problem)
    windows = np.array([[2, 1, 0], [0, 2, 2]], 'float32')
    logits = rows[[2 + 3 * 1, 0 + 3 * 2]].dot(columns) + bias
    np.testing.assert_allclose(evaluate(problem.losses(values, windows))[:, 0],
                               cross_entropies(logits, [0, 2]), rtol=1e-4)


def test_a_recommender_multiplies_rows_and_adds_their_last_entries():
    problem, data = Recommender(4, 3, 2), np.array([[3, 0, 1.5], [1, 2, -2.0]], 'float32')
    users, items = values = initial_values(problem)
    predicted = [users[3, :2].dot(items[0, :2]) + users[3, 2] + items[0, 2],
                 users[1, :2].dot(items[2, :2]) + users[1, 2] + items[2, 2]]
    np.testing.assert_allclose(evaluate(problem.objective(values, data)),
                               np.mean((np.array(predicted) - [1.5, -2.0]) ** 2), rtol=1e-5)
    gradients = gradients_of(problem, list(map(tf.constant, values)), data, None)
    assert all(isinstance(gradient, tf.IndexedSlices) for gradient in gradients)


def test_fine_tuning_begins_with_layers_that_know_digits_and_a_new_last_one():
    problem = ALL['fine_tuned_mlp_8'].spec.build()
    first, other = (initial_values(problem, seed) for seed in (1, 2))
    for value, another in zip(first[:4], other[:4]):
        np.testing.assert_array_equal(value, another)
    assert (first[4] != other[4]).any() and not first[5].any()
    digits = tasks._images(8, True, DIGITS)
    hidden = digits.data.reshape(digits.size, -1)
    for weights, bias in (first[:2], first[2:4]):
        hidden = np.maximum(hidden.dot(weights) + bias, 0)
    last, _, _, _ = np.linalg.lstsq(hidden, np.eye(10)[digits.labels], rcond=None)
    assert (hidden.dot(last).argmax(1) == digits.labels).mean() > 0.9


def test_accuracy_counts_the_characters_that_are_likeliest():
    problem = BigramFactorization(3, 2)
    values = [np.zeros([3, 2]), np.zeros([2, 3]), np.array([0.0, 1.0, 0.5])]
    values = [value.astype('float32') for value in values]
    windows = np.array([[0, 1], [2, 1], [1, 1], [1, 2]], 'float32')
    assert evaluate(problem.accuracy(values, windows, None)) == 0.75


@pytest.mark.parametrize('problem', [
    GRU(9, 8, 4, 6), LSTM(9, 8, 4, 6), Transformer(9, 8, 8, 2, n_blocks=2)])
def test_a_later_character_does_not_change_earlier_losses(problem):
    values, windows = initial_values(problem), ids((3, 9), 9)
    changed = windows.copy()
    changed[:, 5] = (changed[:, 5] + 1) % 9
    before, after = (evaluate(problem.losses(values, data)) for data in (windows, changed))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4] != after[:, 4]).all()  # the loss of the changed character itself
    assert (before[:, 5:] != after[:, 5:]).all()  # what comes after has seen it


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match='5 heads do not divide the width 32'):
        Transformer(9, 8, 32, 5)


# Batch statistics.


def test_batch_normalization_makes_each_channel_standard():
    features = 3 + 2 * np.random.RandomState(0).randn(4, 5, 5, 3).astype('float32')
    scale, shift = np.array([1, 2, 3], 'float32'), np.array([0, -1, 1], 'float32')
    outputs = evaluate(batch_normalization(tf.constant(features), scale, shift))
    np.testing.assert_allclose(outputs.mean((0, 1, 2)), shift, atol=1e-5)
    np.testing.assert_allclose(outputs.std((0, 1, 2)), scale, rtol=1e-3)


def test_a_residual_network_uses_the_statistics_of_the_batch():
    """So logits of an example depend on the others, and not on the brightness of all."""
    problem = ResidualNet((1, 8, 8), 10, (4, 8))
    values = initial_values(problem)
    images = np.random.RandomState(0).rand(6, 8, 8, 1).astype('float32')
    whole, half, brighter = evaluate([problem.inference(values, data)
                                      for data in (images, images[:3], 100 * images)])
    assert np.abs(whole[:3] - half).max() > 0.01
    np.testing.assert_allclose(whole, brighter, atol=0.1)


def test_a_residual_block_adds_its_input():
    """With scales of 0 the branches vanish; what is left is the first convolution's output."""
    problem = ResidualNet((1, 8, 8), 3, (4,))
    values = initial_values(problem)
    values[7] = np.zeros_like(values[7])  # scale of the second convolution in the block
    images = np.random.RandomState(0).rand(6, 8, 8, 1).astype('float32')
    first = tf.nn.relu(batch_normalization(
        tf.nn.conv2d(images, values[0], [1, 1, 1, 1], 'SAME'), values[1], values[2]))
    expected = tf.matmul(tf.reduce_mean(first, [1, 2]), values[-2]) + values[-1]
    logits, expected = evaluate([problem.inference(values, images), expected])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


# Noise, sparseness.


def test_noise_of_a_variational_autoencoder_follows_from_the_batch():
    problem = VariationalAutoencoder(9, (5,), 2)
    values = initial_values(problem)
    images = np.random.RandomState(0).rand(6, 3, 3, 1).astype('float32')
    data = tf.placeholder(tf.float32, [None, 3, 3, 1])
    objective = problem.objective(values, data)
    other_seed = VariationalAutoencoder(9, (5,), 2, random_seed=7).objective(values, data)
    changed = images.copy()
    changed[0, 0, 0] += 1e-6
    with tf.Session() as session:
        first, again, nearly, other = (
            session.run(loss, {data: batch}) for loss, batch in (
                (objective, images), (objective, images), (objective, changed),
                (other_seed, images)))
    assert first == again
    assert abs(first - nearly) > 1e-4 and abs(first - other) > 1e-4


def test_the_noise_has_the_spread_that_the_encoder_says():
    """Decoder and encoder without weights: the bound is that of a known latent distribution."""
    problem = VariationalAutoencoder(4, (3,), 2)
    values = [np.zeros(shape, 'float32') for shape in problem.param_shapes]
    values[3] = np.array([1.0, -2.0, 0.5, -1.0], 'float32')  # means, log variances
    data = np.full([5, 4], 0.5, 'float32')
    divergence = 0.5 * (1 + 4 + math.exp(0.5) + math.exp(-1.0) - 2 - 0.5 + 1.0)
    np.testing.assert_allclose(evaluate(problem.objective(values, data)),
                               math.log(2) + divergence / 4, rtol=1e-5)


@pytest.mark.parametrize('name', [
    name for name, task in sorted(ALL.items()) if task.spec.callable is BigramFactorization])
def test_a_factorization_has_sparse_gradients_of_rows_that_were_read(name):
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name])
    sparse, *dense = gradients_of(
        problem, list(map(tf.constant, initial_values(problem))), data, labels)
    assert isinstance(sparse, tf.IndexedSlices)
    assert not any(isinstance(gradient, tf.IndexedSlices) for gradient in dense)
    assert len(evaluate(sparse.indices)) == ALL[name].batch_size


# In the unroll.


def meta_gradients(task, name, steps=5, second=False, checkpoint_every=0):
    """The meta-objective of a small optimizer, and the gradient of each meta-parameter."""
    learned = make(name, use_second_derivatives=second)
    data, labels = batch_of(task, 2 * task.batch_size)
    examples = datasets.Dataset(data, labels)
    problem = task.spec.build()
    unroll = learned.train(problem, examples, checkpoint_every=checkpoint_every)
    gradients = tf.gradients(unroll.meta_objective, learned.meta_parameters)
    assert all(gradient is not None for gradient in gradients)
    feed = {unroll.objective_weights: np.ones(steps), unroll.batches: examples.batch_indices(
        steps, task.batch_size, np.random.RandomState(0))}
    feed.update(zip(unroll.initial_params, initial_values(problem)))
    with tf.Session() as session:
        session.run([tf.global_variables_initializer(), tf.local_variables_initializer()])
        return session.run([unroll.meta_objective, gradients], feed)


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    'relu_mlp_digits_8', 'convnet_8', 'residual_8', 'vae_8', 'bigram_8', 'gru_8', 'transformer_8'])
def test_meta_gradients_through_second_derivatives_are_finite(name, mode_of_the_scripts):
    """Of first derivatives, tests of the training look at one task of each family."""
    objective, gradients = meta_gradients(ALL[name], 'HierarchicalRNN', second=True)
    assert np.isfinite(objective)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['vae_8', 'bigram_8', 'residual_8'])
def test_meta_gradients_do_not_depend_on_what_is_computed_anew(name, mode_of_the_scripts):
    """With `checkpoint_every`, where noise has to repeat."""
    objective, gradients = meta_gradients(ALL[name], 'RNNProp')
    with tf.Graph().as_default():
        objective_anew, gradients_anew = meta_gradients(ALL[name], 'RNNProp', checkpoint_every=2)
    np.testing.assert_allclose(objective, objective_anew, rtol=1e-5)
    for gradient, anew in zip(gradients, gradients_anew):
        np.testing.assert_allclose(gradient, anew, rtol=1e-3, atol=1e-5)


# The sets.


def test_no_task_is_in_two_sets():
    assert len(ALL) == sum(len(family.small + family.validation + family.full)
                           for family in tasks.FAMILIES.values())
    described = {repr((task.spec, task.examples)) for task in ALL.values()}
    assert len(described) == len(ALL)
    networks = {kind: {(repr(task.spec)) for family in tasks.FAMILIES.values()
                       for task in getattr(family, kind)} for kind in ('small', 'full')}
    networks['validation'] = {repr(task.spec) for family in tasks.FAMILIES.values()
                              for task in family.validation}
    assert not (networks['small'] & networks['full'] or networks['small'] & networks['validation']
                or networks['validation'] & networks['full'])


@pytest.mark.parametrize('name, count', [
    ('mixed_small', len(SMALL)), ('mixed_validation', 21), ('real_tasks', 11)])
def test_a_mixed_set_has_each_family_with_names_and_held_out_examples(name, count):
    chosen = problem_sets.PROBLEM_SETS[name].testing(DIGITS)
    assert len(chosen) == len({row.name for row in chosen}) == count
    for row in chosen:
        assert row.held_out.data.shape[1:] == row.dataset.data.shape[1:]
        assert np.isfinite(row.dataset.data).all() and row.held_out.size <= row.dataset.size
        assert (row.dataset.data[:row.held_out.size] != row.held_out.data).any()
        assert row.batch_size <= row.dataset.size


def test_few_images_are_the_same_each_time_and_noise_is_in_their_labels():
    few, clean, noisy = (tasks._few_images(8, 300, noise, True, DIGITS)
                         for noise in (0.0, 0.0, 0.5))
    np.testing.assert_array_equal(few.data, clean.data)
    np.testing.assert_array_equal(few.data, noisy.data)
    assert 0.35 < np.mean(clean.labels != noisy.labels) < 0.55
    held_out = tasks._few_images(8, 300, 0.5, False, DIGITS)
    assert held_out is tasks._images(8, False, DIGITS)


def test_a_family_is_small_in_training_and_full_in_tests():
    for name, family in tasks.FAMILIES.items():
        chosen = problem_sets.PROBLEM_SETS[name]
        assert [row.name for row in chosen.training(DIGITS)] == [
            task.name for task in family.small]
        assert [row.name for row in chosen.testing(DIGITS)] == [task.name for task in family.full]


def test_rows_of_one_image_size_share_their_data():
    first, second = (task.row(DIGITS) for task in tasks.FAMILIES['perceptron'].full)
    assert first.dataset.data is second.dataset.data


@pytest.mark.parametrize('name', FIRST)
def test_there_is_an_accuracy_where_there_are_classes(name):
    problem = ALL[name].spec.build()
    data, labels = batch_of(ALL[name])
    accuracy = problem.accuracy(problem.init_tensors(1), data, labels)
    if isinstance(problem, (Autoencoder, VariationalAutoencoder, PerceptronRegression,
                            Recommender)):
        assert accuracy is None
    else:
        assert 0 <= evaluate(accuracy) <= 0.6
