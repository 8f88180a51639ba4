"""Published weights are brought into a run's folder; files that hold anything else are refused."""

import collections
import glob
import importlib
import os
import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import optimizer
from l2o.commandline import import_weights
from optimizer import published_weights

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def made_up(inputs=2, projection=False, units=3):
    """Weights of layer -> name -> array, as they were published, of another size."""
    rng = np.random.RandomState(0)
    shapes = {'lstm_1': {'w_gates': (inputs + units, 4 * units), 'b_gates': (4 * units,)},
              'lstm_2': {'w_gates': (2 * units, 4 * units), 'b_gates': (4 * units,)},
              'linear': {'w': (units, 1), 'b': (1,)}}
    if projection:
        shapes['input_projection'] = {'w': (2, units), 'b': (units,)}
    layers = collections.defaultdict(dict)
    for layer, named in shapes.items():
        for name, shape in named.items():
            layers[layer][name] = rng.normal(size=shape).astype('float32')
    return layers


RNNPROP, L2ODM = made_up(3, projection=True), made_up()


def pickled(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


def dill_pickled(path, content, module=b'dill._dill'):
    """As dill writes it: types by name, and functions of compiled modules as attributes of them."""
    def attribute(of, name):
        return b'c%s\n_get_attr\n(c%s\n_import_module\n(V%s\ntRV%s\ntR' % (
            module, module, of, name)

    pickle_of_python = pickle.dumps(content, 2)
    found = re.sub(br'cnumpy\.(_?core)\.multiarray\n_reconstruct\n',
                   lambda match: attribute(b'numpy.%s._multiarray_umath' % match.group(1),
                                           b'_reconstruct'), pickle_of_python)
    found = found.replace(b'c__builtin__\ndict\n', b'c%s\n_load_type\n(Vdict\ntR' % module)
    assert found.count(b'_get_attr') == 1 == found.count(b'_load_type')
    path.write_bytes(found)
    return str(path)


def check(arrays, layers):
    assert set(arrays) == {'%s/%s' % (layer, name) for layer in layers for name in layers[layer]}
    for name, array in arrays.items():
        layer, name = name.split('/')
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, layers[layer][name])


# Reading.


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol(protocol, tmp_path):
    check(published_weights.read(pickled(tmp_path / 'w', RNNPROP, protocol)), RNNPROP)
    ordered = collections.OrderedDict((layer, dict(named)) for layer, named in L2ODM.items())
    check(published_weights.read(pickled(tmp_path / 'w', ordered, protocol)), L2ODM)


@pytest.mark.parametrize('module', [b'dill._dill', b'dill.dill'])
def test_pickles_of_dill(module, tmp_path):
    check(published_weights.read(dill_pickled(tmp_path / 'w', RNNPROP, module)), RNNPROP)


@pytest.mark.filterwarnings('ignore:.*numpy.core:DeprecationWarning')
def test_the_published_pickles(published, tmp_path, monkeypatch):
    """What dill would make of them, which is not there: the test plays dill's part."""
    dill = types.SimpleNamespace(_load_type=lambda name: {'dict': dict}[name], _get_attr=getattr,
                                 _import_module=importlib.import_module)
    monkeypatch.setitem(sys.modules, 'dill', dill)
    monkeypatch.setitem(sys.modules, 'dill._dill', dill)
    paths = glob.glob(os.path.join(published('published_pickles'), '*.p'))
    assert paths
    for path in paths:
        with open(path, 'rb') as file:
            expected = pickle.load(file)
        name = 'RNNProp' if os.path.basename(path).startswith('rnnprop') else 'L2ODM'
        check(published_weights.read(path), expected)
        assert import_weights.bring(path, str(tmp_path / os.path.basename(path))) == name


def test_a_pickle_of_python_2(tmp_path):
    """What was written there of {'linear': {'w': numpy.array([[1.5], [-2.0]], 'float32')}}."""
    path = tmp_path / 'w'
    path.write_bytes(
        b"(dp0\nS'linear'\np1\n(dp2\nS'w'\np3\ncnumpy.core.multiarray\n_reconstruct\np4\n"
        b"(cnumpy\nndarray\np5\n(I0\ntp6\nS'b'\np7\ntp8\nRp9\n(I1\n(I2\nI1\ntp10\ncnumpy\ndtype\n"
        b"p11\n(S'f4'\np12\nI0\nI1\ntp13\nRp14\n(I3\nS'<'\np15\nNNNI-1\nI-1\nI0\ntp16\nbI00\n"
        b"S'\\x00\\x00\\xc0?\\x00\\x00\\x00\\xc0'\np17\ntp18\nbss.")
    arrays = published_weights.read(str(path))
    np.testing.assert_array_equal(arrays['linear/w'], [[1.5], [-2.0]])


def test_arrays_of_every_order_and_type(tmp_path):
    named = {'columns': np.asfortranarray(np.arange(6.0).reshape(2, 3)), 'swapped':
             np.arange(3.0).astype('>f4'), 'whole': np.arange(3), 'part': np.arange(8.0)[::2]}
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        check(published_weights.read(pickled(tmp_path / 'w', {'layer': named}, protocol)),
              {'layer': named})


def test_an_npz_file(tmp_path):
    arrays = {'weights/%s/%s' % (layer, name): array for layer, named in L2ODM.items()
              for name, array in named.items()}
    np.savez(str(tmp_path / 'w.npz'), objectives=np.ones(3), **arrays)
    check(published_weights.read(str(tmp_path / 'w.npz')), L2ODM)


# Hostile and damaged files.


class Calls:
    """Pickled as the call of a function."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def npz(path, **arrays):
    np.savez(str(path), **arrays)
    os.rename(str(path) + '.npz', str(path))


def asked_of_dill(function, arguments):
    """A pickle of what a function of dill returns."""
    return b'cdill._dill\n%s\n(%stR.' % (function, arguments)


REFUSED = [
    (lambda path: pickled(path, Calls(os.system, 'touch run')),
     r'asks for (posix|nt)\.system, and only arrays are read'),
    (lambda path: pickled(path, {'linear': {'w': Calls(eval, '1')}}, 4),
     r'asks for builtins\.eval, and only'),
    (lambda path: pickled(path, {'a': Calls(getattr, dict, 'clear')}, 0), 'getattr, and only'),
    (lambda path: path.write_bytes(asked_of_dill(b'_load_type', b'Vtype\n')),
     r'asks for builtins\.type, and only arrays'),
    (lambda path: path.write_bytes(asked_of_dill(b'_load_type', b'VCodeType\n')),
     r'asks for builtins\.CodeType, and only arrays'),
    (lambda path: path.write_bytes(asked_of_dill(b'_create_function', b'I0\n')),
     r'asks for dill\._dill\._create_function, and only arrays'),
    (lambda path: path.write_bytes(asked_of_dill(
        b'_get_attr', asked_of_dill(b'_import_module', b'Vos\n')[:-1] + b'Vsystem\n')),
     r'asks for os\.system, and only arrays'),
    (lambda path: path.write_bytes(asked_of_dill(
        b'_get_attr', asked_of_dill(b'_import_module', b'Vdill._dill\n')[:-1] + b'V_eval_repr\n')),
     r'asks for dill\._dill\._eval_repr, and only arrays'),
    (lambda path: path.write_bytes(asked_of_dill(
        b'_get_attr', asked_of_dill(b'_load_type', b'Vdict\n')[:-1] + b'V__subclasses__\n')),
     r'asks for __subclasses__ of what is no module'),
    (lambda path: path.write_bytes(asked_of_dill(
        b'_import_module', b'Vos\n')[:-1] + b"}S'name'\nS'numpy'\nsb."), 'it is damaged'),
    (lambda path: path.write_bytes(asked_of_dill(b'_import_module', b'}')), 'no dict of layer'),
    (lambda path: path.write_bytes(asked_of_dill(b'_load_type', br'Va\u000ab' + b'\n')),
     r'asks for builtins\.a b, and only'),
    (lambda path: path.write_bytes(b"cnumpy.core.multiarray\n_reconstruct\n(tR}(S'value'\nI1\nub."),
     'it is damaged'),
    (lambda path: path.write_bytes(b"cnumpy\ndtype\n(N}S'function'\nI1\nstb."), 'it is damaged'),
    (lambda path: path.write_bytes(b'\x80\x02Nr\xff\xff\xff\xff.'), 'no dict'),
    (lambda path: pickled(path, {'l': {'w': np.array([None, 1])}}), 'type O8, not of numbers'),
    (lambda path: pickled(path, {'l': {'w': np.array(['a'])}}), 'not of numbers'),
    (lambda path: pickled(path, {'l': {'w': [1.0]}}), 'l/w is no array of numbers'),
    (lambda path: pickled(path, {'l': {'w': np.array([np.nan])}}), 'l/w is not finite'),
    (lambda path: pickled(path, [1, 2]), 'no dict of layer -> name -> array'),
    (lambda path: path.write_bytes(pickle.dumps(L2ODM)[:-40]), 'cannot be used'),
    (lambda path: path.write_bytes(b'no pickle'), 'cannot be used'),
    (lambda path: path.write_bytes(b''), 'cannot be used'),
    (lambda path: path.write_bytes(b'PK\x03\x04' + bytes(40)), 'it is damaged'),
    (lambda path: npz(path, **{'weights/l/w': np.array([None])}), 'it is damaged .*allow_pickle'),
    (lambda path: npz(path, objectives=np.ones(3)), 'begins with weights/'),
]


@pytest.mark.parametrize('write, message', REFUSED)
def test_what_is_no_weights_is_refused_in_one_line(write, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(str(tmp_path))
    write(tmp_path / 'weights')
    with pytest.raises(SystemExit) as end:
        import_weights.main(['weights', 'folder'])
    said = capsys.readouterr()
    assert end.value.code == 2 and said.out == ''
    assert said.err.startswith('import_weights: weights ') and said.err.count('\n') == 1
    with pytest.raises(ValueError, match=message):
        published_weights.read('weights')
    assert os.listdir('.') == ['weights']


@pytest.mark.parametrize('arrays', [{}, {'linear/w': np.ones([3, 1], 'float32')},
                                    {'linear/w': np.ones([], 'float32')}])
def test_weights_of_no_known_optimizer_are_refused(arrays):
    with pytest.raises(ValueError, match='neither RNNProp nor L2ODM'):
        published_weights.recognize(arrays)


# Into a folder.


@pytest.mark.parametrize('layers, name', [(RNNPROP, 'RNNProp'), (L2ODM, 'L2ODM')])
def test_the_folder_is_that_of_a_run(layers, name, tmp_path):
    folder = str(tmp_path / 'folder')
    assert import_weights.bring(pickled(tmp_path / 'w', layers), folder) == name
    assert optimizer.describe(folder) == (name, {'units': 3})
    learned = optimizer.load(folder)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = session.run(dict(learned.named_meta_parameters))
    check({key[len('LOL/%s/' % name):]: value for key, value in found.items()}, layers)


def test_a_folder_that_holds_a_run_is_kept(tmp_path, capsys):
    weights, other = pickled(tmp_path / 'w', L2ODM), pickled(tmp_path / 'other', RNNPROP)
    folder = str(tmp_path / 'folder')
    import_weights.main([weights, folder])
    assert 'L2ODM' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        import_weights.main([other, folder])
    assert '--overwrite' in capsys.readouterr().err
    assert optimizer.describe(folder)[0] == 'L2ODM'
    import_weights.main([other, folder, '--overwrite'])
    assert optimizer.describe(folder)[0] == 'RNNProp'


def test_a_file_that_is_not_there(tmp_path, capsys):
    with pytest.raises(SystemExit):
        import_weights.main([str(tmp_path / 'none'), str(tmp_path / 'folder')])
    said = capsys.readouterr().err
    assert said == 'import_weights: %s: No such file or directory\n' % (tmp_path / 'none')


@pytest.mark.slow
def test_the_command_as_a_user_types_it(tmp_path):
    def run(*arguments):
        done = subprocess.run([sys.executable] + list(arguments), cwd=ROOT, capture_output=True,
                              text=True)
        assert (done.returncode, done.stderr) == (0, '')
        return done.stdout

    folder, results = str(tmp_path / 'published'), str(tmp_path / 'tested')
    assert run('-m', 'l2o.commandline.import_weights', pickled(tmp_path / 'w', L2ODM),
               folder).count('\n') == 1
    run('metatest.py', '--train_dir=' + folder, '--save_dir=' + results, '--seeds=6',
        '--include_bowl_problems', '--num_testing_itrs=5')
    assert os.path.exists(os.path.join(results, 'results.csv'))
