"""What all tests share: graph mode, a fresh default graph for each test, TensorFlow's modes."""

import collections
import gc
import json
import os
import sys

import pytest

from l2o.commandline import quiet_import  # noqa: F401  pytest would show after its summary what TensorFlow says

# isort: split
import tensorflow.compat.v1 as tf

import optimizer
from optimizer.arguments import constructor_arguments

tf.disable_eager_execution()

gc.collect()
gc.freeze()  # later collections leave out what TensorFlow made when it was imported

REFERENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'shared',
                         'reference')

#: What makes an optimizer small, by the names of its constructor's arguments: for every optimizer
#: that has such an argument (row None), and for one alone. The initial rate is not that of the
#: teachers, 1e-2, at which gradient descent would imitate itself.
SMALL = {
    None: {'level_sizes': [4, 3, 3], 'cell_sizes': [4, 4], 'units': 4, 'n_steps': 8,
           'initial_rate': 2e-2, 'learning_rate': 1e-2, 'init_lr_range': (1e-2, 1e-2),
           'num_gradient_scales': 2, 'use_gradient_shortcut': True, 'use_grad_products': True,
           'use_problem_lr_mean': True, 'zero_init_lr_weights': False, 'random_seed': 1},
    'CoordinatewiseRNN': {'cell_cls': 'LSTMCell'},
}

#: Runs the test for each optimizer of the table.
every_optimizer = pytest.mark.parametrize('name', sorted(optimizer.OPTIMIZERS))


def small(name, **changes):
    """Arguments of the optimizer `name` that make it small (SMALL), and these changes."""
    taken = constructor_arguments(optimizer.OPTIMIZERS[name])
    arguments = {key: value for key, value in SMALL[None].items() if key in taken}
    return dict(arguments, **dict(SMALL.get(name, {}), **changes))


def make(name, **changes):
    """A small optimizer of that name."""
    return optimizer.OPTIMIZERS[name](**small(name, **changes))


#: Which kind of variables and of control flow TensorFlow makes where nothing else is said.
Mode = collections.namedtuple('Mode', 'resource_variables control_flow_v2')

MODES = [Mode(False, False), Mode(False, True), Mode(True, False), Mode(True, True)]


@pytest.fixture(autouse=True)
def _seeded_graphs(monkeypatch):
    """Each graph draws the numbers of one seed: a test passes always or never."""
    make = tf.Graph.__init__

    def make_with_a_seed(graph, *arguments, **kwargs):
        make(graph, *arguments, **kwargs)
        graph.seed = 1

    monkeypatch.setattr(tf.Graph, '__init__', make_with_a_seed)


#: Tests of what happens in a user's program run with TensorFlow's graph optimizer.
AS_A_USER_HAS_IT = ('test_apply_gradients', 'test_coexistence', 'test_drop_in', 'test_golden',
                    'test_load', 'test_published_weights', 'test_xla')


@pytest.fixture(autouse=True)
def _quick_sessions(request, monkeypatch):
    """Sessions that say nothing else run graphs as they are: optimizing them takes longer."""
    if request.module.__name__ in AS_A_USER_HAS_IT:
        return
    make = tf.Session.__init__

    def make_quick(session, target='', graph=None, config=None):
        if config is None:
            config = tf.ConfigProto()
            config.graph_options.rewrite_options.disable_meta_optimizer = True
        make(session, target, graph, config)

    monkeypatch.setattr(tf.Session, '__init__', make_quick)


@pytest.fixture(autouse=True)
def _fresh_graph(_seeded_graphs):
    """A default graph of its own for each test."""
    with tf.Graph().as_default():
        yield


@pytest.fixture(autouse=True)
def _no_pictures_of_runs(request, monkeypatch):
    """Runs within a test draw no `history.png`, which takes longer than most of them."""
    if 'metaopt' in sys.modules and 'run_report' not in request.module.__name__:
        monkeypatch.setattr(sys.modules['metaopt'], '_report', lambda *_, **__: None)


@pytest.fixture(params=MODES, ids=lambda mode: '%s-flow%d' % (
    'resource' if mode.resource_variables else 'reference', 1 + mode.control_flow_v2))
def tensorflow_mode(request):
    """Runs the test in each of TensorFlow's modes."""
    before = Mode(tf.resource_variables_enabled(), tf.control_flow_v2_enabled())
    _switch(request.param)
    yield request.param
    _switch(before)


@pytest.fixture
def mode_of_the_scripts():
    """TensorFlow as the scripts set it up; in 1.15 runs repeat bit for bit in this mode only."""
    before = Mode(tf.resource_variables_enabled(), tf.control_flow_v2_enabled())
    _switch(Mode(True, True))
    yield
    _switch(before)


def _switch(mode):
    (tf.enable_resource_variables if mode.resource_variables else tf.disable_resource_variables)()
    (tf.enable_control_flow_v2 if mode.control_flow_v2 else tf.disable_control_flow_v2)()


@pytest.fixture
def published():
    """A function: the path of published weights, which may not be part of this repository."""
    return _published


def _published(*names):
    path = os.path.join(REFERENCE, *names)
    if not os.path.exists(path):
        pytest.skip('published weights, which may not be committed: ../shared/reference is absent')
    return path


@pytest.fixture(scope='session')
def make_run_folder(tmp_path_factory):
    """A function (name of an optimizer, keyword arguments) -> a new folder of a run of it."""
    return lambda name, arguments: _make_run(tmp_path_factory.mktemp(name), name, arguments)


@pytest.fixture(scope='session')
def run_folder(make_run_folder):
    """The folder of a run: a HierarchicalRNN that was not trained."""
    return make_run_folder('HierarchicalRNN', {
        'level_sizes': [6, 5, 4], 'init_lr_range': [2e-2, 2e-2], 'use_gradient_shortcut': True,
        'rnn_readout_scale': 0.1, 'random_seed': 1})


def _make_run(folder, name, arguments):
    """Writes what a run leaves: `run.json` and the checkpoint of the best meta-parameters."""
    (folder / 'run.json').write_text(json.dumps(
        {'optimizer': {'name': name, 'kwargs': arguments}, 'seed': 1}))
    with tf.Graph().as_default(), tf.Session() as session:
        learned = optimizer.build(name, arguments)
        session.run(tf.global_variables_initializer())
        tf.train.Saver(learned.named_meta_parameters).save(
            session, str(folder / 'model.ckpt'), global_step=0, write_meta_graph=False)
    return str(folder)
