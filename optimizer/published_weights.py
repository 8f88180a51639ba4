"""Reads the weights that were published for L2O-DM and RNNProp, and recognizes the optimizer.

They are dicts of layer -> name -> array, pickled by pickle or by dill (as they were published), or
arrays `weights/<layer>/<name>` in an npz file. A pickle is a program; here none of it is run:
whatever it names is looked up in `_BUILTINS`, where stand-ins for what numpy and dill write keep
the bytes of the arrays. All else is refused by its name.
"""

import io
import pickle
import re
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from optimizer import l2o_dm, meta_parameters, rnnprop

#: The optimizers of which weights were published, as dicts of layer -> name -> array.
CLASSES = (rnnprop.RNNProp, l2o_dm.L2ODM)

PREFIX = 'weights/'  # of the arrays in an npz file


class _Refused(ValueError):
    """What a file holds is not wanted; the message says what."""


class Recognized(NamedTuple):
    """An optimizer and the values of its meta-parameters."""

    name: str  # of its class
    arguments: dict  # of its constructor
    values: dict  # published name of each meta-parameter -> float32 array


def read(path: str) -> Dict[str, np.ndarray]:
    """The arrays in a file: dict from `<layer>/<name>` to float32 arrays.

    Raises:
      ValueError: the file is neither a pickle nor an npz file of such arrays, or asks for code to
        be run; the message names file and reason.
      OSError: it cannot be read.
    """
    with open(path, 'rb') as file:
        content = file.read()
    try:
        arrays = _read_npz(content) if content[:2] == b'PK' else _read_pickle(content)
        return {name: _as_float32(name, array) for name, array in sorted(arrays.items())}
    except Exception as error:  # whatever pickle, zip and numpy make of a damaged or hostile file
        reason = str(error) if isinstance(error, _Refused) else 'it is damaged (%s: %s)' % (
            type(error).__name__, error)
        raise ValueError('%s cannot be used: %s' % (path, ' '.join(reason.split()))) from error


def recognize(arrays: Dict[str, np.ndarray]) -> Recognized:
    """The `Recognized` optimizer to which these arrays belong, by their names and shapes.

    Raises:
      ValueError: they are those of none.
    """
    found = {name: array.shape for name, array in arrays.items()}
    units = found.get('linear/w', (20,))[:1]
    for cls in CLASSES:
        if len(units) == 1 and units[0] > 0 and found == _shapes(cls, units[0]):
            scope = '%s/%s/' % (meta_parameters.OPTIMIZER_SCOPE, cls.__name__)
            return Recognized(cls.__name__, {'units': units[0]},
                              {scope + name: array for name, array in arrays.items()})
    raise ValueError('these are the weights of neither %s: %s' % (
        ' nor '.join(cls.__name__ for cls in CLASSES),
        ', '.join('%s %s' % (name, list(shape)) for name, shape in sorted(found.items()))))


def _shapes(cls, units):
    """`<layer>/<name>` of each meta-parameter -> shape."""
    with tf.Graph().as_default():
        return {name.split('/', 2)[2]: tuple(variable.shape.as_list())
                for name, variable in cls(units=units).named_meta_parameters.items()}


def _as_float32(name, array):
    if not isinstance(array, np.ndarray) or array.dtype.kind not in 'fiu':
        raise _Refused('%s is no array of numbers' % name)
    array = array.astype('float32')
    if not np.isfinite(array).all():
        raise _Refused('%s is not finite' % name)
    return array


def _read_npz(content):
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        found = {name[len(PREFIX):]: arrays[name] for name in arrays.files
                 if name.startswith(PREFIX)}
    if not found:
        raise _Refused('no array in it has a name that begins with ' + PREFIX)
    return found


def _read_pickle(content):
    layers = _Unpickler(io.BytesIO(content), encoding='latin1').load()
    if not isinstance(layers, dict) or not all(isinstance(layer, dict)
                                               for layer in layers.values()):
        raise _Refused('it holds no dict of layer -> name -> array')
    return {'%s/%s' % (layer, name): array.value if isinstance(array, _Array) else array
            for layer, named in layers.items() for name, array in named.items()}


class _Unpickler(pickle._Unpickler):
    """Makes dicts, lists, words, numbers and arrays, and nothing else.

    The base is the one that is written in Python: the one in C sets as much memory aside as a
    pickle says.
    """

    def find_class(self, module: str, name: str) -> Any:
        return _stand_in(module, name)


def _stand_in(module, name):
    """What stands for `module.name`."""
    found = _BUILTINS.get((_OTHER_NAMES.get(module, module), name))
    if found is None:
        raise _Refused('it asks for %s.%s, and only arrays are read' % (module, name))
    return found


class _Module(NamedTuple):
    """Stands for a module that dill imports; nothing is imported."""

    name: str


def _attribute(owner, name):
    """Stands for dill's `getattr`, of modules only."""
    if not isinstance(owner, _Module):
        raise _Refused('it asks for %s of what is no module, and only arrays are read' % (name,))
    return _stand_in(owner.name, name)


class _Builtin(NamedTuple):
    """What a pickle may call; it has no attribute that a pickle could set."""

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


class _Type:
    """Stands for a numpy type: a kind of number, its size in bytes and their order."""

    __slots__ = ('code', 'order')

    def __init__(self, code: str, *_: Any) -> None:
        if not re.match(r'[fiu][1248]$', code):
            raise _Refused('it holds arrays of type %s, not of numbers' % code)
        self.code, self.order = code, '='

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ('<', '>') else '='

    def array(self, raw: Any, shape: Any, order: Any) -> np.ndarray:
        raw = raw.encode('latin1') if isinstance(raw, str) else raw
        return np.frombuffer(raw, self.order + self.code).reshape(shape, order=order)


class _Array:
    """Stands for an array, of which the state follows."""

    __slots__ = ('value',)

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __setstate__(self, state: Tuple[Any, ...]) -> None:
        _, shape, of_type, in_columns, raw = state
        self.value = of_type.array(raw, shape, 'F' if in_columns else 'C')


#: (module, name) -> what stands for that.
_BUILTINS = {
    ('builtins', 'dict'): _Builtin(dict),
    ('builtins', 'DictType'): _Builtin(dict),  # as old versions of dill call it
    ('collections', 'OrderedDict'): _Builtin(dict),
    ('collections', 'defaultdict'): _Builtin(lambda *_: {}),
    ('_codecs', 'encode'): _Builtin(lambda text, encoding: text.encode('latin1')),
    ('numpy', 'ndarray'): _Builtin(lambda *_: None),
    ('numpy', 'dtype'): _Builtin(_Type),
    ('numpy.core.multiarray', '_reconstruct'): _Builtin(lambda *_: _Array()),
    ('numpy.core.numeric', '_frombuffer'): _Builtin(
        lambda raw, of_type, shape, order: _Array(of_type.array(raw, shape, order))),
    ('dill._dill', '_load_type'): _Builtin(lambda name: _stand_in('builtins', name)),
    ('dill._dill', '_import_module'): _Builtin(lambda name, *_: _Module(name)),
    ('dill._dill', '_get_attr'): _Builtin(_attribute),
}

#: Module -> the name that it has in `_BUILTINS`: versions of Python, numpy and dill differ.
_OTHER_NAMES = {
    '__builtin__': 'builtins',
    'numpy._core.multiarray': 'numpy.core.multiarray',
    'numpy.core._multiarray_umath': 'numpy.core.multiarray',
    'numpy._core._multiarray_umath': 'numpy.core.multiarray',
    'numpy._core.numeric': 'numpy.core.numeric',
    'dill.dill': 'dill._dill',
}
