"""`load`: the folder of a run becomes an optimizer, or one clear line says why not."""

import json
import os
import shutil
import warnings

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimizer
from conftest import every_optimizer, small
from optimizer import checkpoints
from optimizer.hierarchical_rnn import PRESET


@every_optimizer
def test_load_gives_the_saved_meta_parameters(make_run_folder, name):
    folder = make_run_folder(name, small(name))
    saved = checkpoints.read_checkpoint(folder)
    learned = optimizer.load(folder)
    assert type(learned) is optimizer.OPTIMIZERS[name]
    assert isinstance(learned, tf.train.Optimizer)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for key, value in session.run(learned.named_meta_parameters).items():
            np.testing.assert_array_equal(value, saved[key])


def test_the_latest_checkpoint_where_there_is_no_best_one(make_run_folder):
    folder = make_run_folder('GlobalLearningRate', {'initial_rate': 0.5})
    for name in os.listdir(folder):
        os.rename(os.path.join(folder, name),
                  os.path.join(folder, name.replace('model.ckpt-0', 'other.ckpt-7')))
    with open(os.path.join(folder, 'checkpoint'), 'w') as file:
        file.write('model_checkpoint_path: "other.ckpt-7"\n')
    learned = optimizer.load(folder)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(learned.meta_parameters) == [0.5]


def test_the_best_checkpoint_goes_before_the_latest(make_run_folder):
    folder = make_run_folder('GlobalLearningRate', {'initial_rate': 0.5})
    with open(os.path.join(folder, 'checkpoint'), 'w') as file:
        file.write('model_checkpoint_path: "/moved/away/model.ckpt-9"\n')
    optimizer.load(folder)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match='no folder .*absent'):
        optimizer.load(str(tmp_path / 'absent'))


def _described(**optimizer_entry):
    return json.dumps({'optimizer': optimizer_entry})


@pytest.mark.parametrize('text, message', [
    (None, 'has no run.json'),
    ('', 'damaged'),
    ('{"optimizer": ', 'damaged'),
    ('[1]', 'damaged'),
    ('{}', 'damaged'),
    (_described(name='HierarchicalRNN'), 'damaged'),
    (_described(name=3, kwargs={}), 'damaged'),
    (_described(name='RNNProp', kwargs=[]), 'damaged'),
    (_described(name='Oracle', kwargs={}), "Unknown optimizer 'Oracle': choose from Hier"),
    (_described(name='RNNProp', kwargs={'wings': 2}), 'RNNProp takes no wings, only '),
    (_described(name='HierarchicalRNN', kwargs={}), 'does not take these arguments.*level_sizes'),
])
def test_wrong_run_file(make_run_folder, text, message):
    folder = make_run_folder('RNNProp', {})
    path = os.path.join(folder, 'run.json')
    os.remove(path)
    if text is not None:
        with open(path, 'w') as file:
            file.write(text)
    with pytest.raises(ValueError, match=message) as raised:
        optimizer.load(folder)
    assert '\n' not in str(raised.value)


def test_no_checkpoint(make_run_folder):
    folder = make_run_folder('RNNProp', {})
    for name in os.listdir(folder):
        if name != 'run.json':
            os.remove(os.path.join(folder, name))
    with pytest.raises(ValueError, match='no checkpoint in'):
        optimizer.load(folder)


def test_damaged_checkpoint(make_run_folder):
    folder = make_run_folder('RNNProp', {})
    with open(os.path.join(folder, 'model.ckpt-0.index'), 'w') as file:
        file.write('no such thing')
    with pytest.raises(ValueError, match='No readable checkpoint'):
        optimizer.load(folder)


def test_checkpoint_of_another_optimizer(make_run_folder):
    folder, other = make_run_folder('RNNProp', {'units': 4}), make_run_folder('L2ODM', {'units': 4})
    shutil.copy(os.path.join(folder, 'run.json'), os.path.join(other, 'run.json'))
    with pytest.raises(ValueError, match=r'LOL/RNNProp/lstm_1/w_gates \[8, 16\] \(missing\)'):
        optimizer.load(other)


def test_checkpoint_of_other_sizes(make_run_folder):
    folder = make_run_folder('RNNProp', {'units': 4})
    with open(os.path.join(folder, 'run.json'), 'w') as file:
        file.write(_described(name='RNNProp', kwargs={'units': 5}))
    with pytest.raises(ValueError, match=r'linear/w \[5, 1\] \(\[4, 1\]\)'):
        optimizer.load(folder)


def test_init_from_checkpoint_must_come_first(run_folder):
    learned = optimizer.load(run_folder)
    variable = tf.Variable(1.0)
    learned.minimize(tf.square(variable))
    with pytest.raises(ValueError, match='before the first apply_gradients'):
        learned.init_from_checkpoint(run_folder)


@pytest.mark.parametrize('num_steps', [
    30, np.int64(30), np.array(30), lambda: tf.constant(30), lambda: tf.constant(10) * 3])
def test_the_number_of_steps_is_an_int_at_once(make_run_folder, num_steps):
    folder = make_run_folder('NormalizedMLP', {'units': 4})
    if callable(num_steps):
        num_steps = num_steps()
    if tf.is_tensor(num_steps) and tf.get_static_value(num_steps) is None:
        with pytest.raises(ValueError, match='num_steps is a whole number, not <tf.Tensor'):
            optimizer.load(folder, num_steps=num_steps)
        return
    learned = optimizer.load(folder, num_steps=num_steps)
    assert type(learned._num_steps) is int and learned._num_steps == 30


@pytest.mark.parametrize('num_steps', [30.5, '30', [30]])
def test_a_number_of_steps_that_is_none(make_run_folder, num_steps):
    with pytest.raises(ValueError, match='num_steps is a whole number, not'):
        optimizer.load(make_run_folder('NormalizedMLP', {'units': 4}), num_steps=num_steps)


def test_who_takes_a_number_of_steps_is_said(run_folder):
    with pytest.raises(ValueError, match='^HierarchicalRNN takes no num_steps: of the learned '
                                         'optimizers NormalizedMLP does.$'):
        optimizer.load(run_folder, num_steps=10)


@pytest.mark.parametrize('rate, times', [(1e-3, 1), (np.float32(1e-4), 1), (0.01, 0), (1.0, 0)])
def test_a_small_factor_is_warned_of_once(run_folder, rate, times):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        optimizer.load(run_folder, learning_rate=rate)
    texts = [str(each.message) for each in caught if each.filename == __file__]
    assert len(texts) == times
    assert all('multiplies the steps of a learned optimizer' in text for text in texts)


def test_published_checkpoint_loads(published, tmp_path):
    folder = tmp_path / 'published'
    shutil.copytree(published('published_checkpoint', 'HierarchicalRNN_GRUCell_20_2'), str(folder))
    (folder / 'run.json').write_text(_described(name='HierarchicalRNN', kwargs=PRESET))
    learned = optimizer.load(str(folder))
    variable = tf.Variable([3.0, -1.0])
    loss = tf.reduce_sum(tf.square(variable))
    train = learned.minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        before = session.run(loss)
        for _ in range(50):
            session.run(train)
        assert session.run(loss) < before


@pytest.mark.parametrize('given, message', [
    ({'lr': 1.0}, 'RNNProp takes no lr; did you mean learning_rate?'),
    ({'unit': 3}, 'RNNProp takes no unit; did you mean units?'),
    ({'zzz': 3}, 'RNNProp takes no zzz, only ')])
def test_an_argument_that_is_mistyped_is_named_and_the_nearest_suggested(given, message):
    with pytest.raises(ValueError) as error:
        optimizer.load('rnnprop', **given)
    assert str(error.value).startswith(message)


def test_a_name_that_is_nearly_right_and_a_folder_of_folders_say_what_is_there(tmp_path):
    with pytest.raises(ValueError, match='did you mean rnnprop'):
        optimizer.load('RNNProp')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'run.json').write_text('{}')
    with pytest.raises(ValueError, match='not the folder of a run. Runs are in .*run'):
        optimizer.load(str(tmp_path))
