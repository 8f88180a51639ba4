"""Meta-training on several machines: servers in this process, and real processes that die.

Processes use the loopback interface alone, of a network namespace of their own where that is
allowed: TensorFlow's servers listen on every interface.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import metaopt
from l2o.metatraining import reporting
from l2o.runs import cluster, launch
from l2o.techniques import curriculum as curricula
from optimizer import OPTIMIZERS
from problems import problem_generator as pg
from problems.problem_spec import Spec

KEY, TIMEOUT = 5, 20
ROWS = [(Spec(pg.Quadratic, (size,), {}), None, None) for size in (3, 4)]

pytestmark = pytest.mark.usefixtures('mode_of_the_scripts')

# Servers in this process.


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(('127.0.0.1', 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def members(num_workers, timeout=TIMEOUT):
    """A `Cluster` for the parameter server, and for each worker."""
    hosts = ['127.0.0.1:%d' % port for port in free_ports(1 + num_workers)]
    server = cluster.Cluster(hosts[:1], hosts[1:], 'ps', 0, timeout)
    return server, [server._replace(job='worker', task=task) for task in range(num_workers)]


def start_server(member):
    return cluster._start_server(member, tf.ConfigProto())


def train(folder, machine=None, seed=7, **options):
    arguments = dict(num_problems=2, num_meta_iterations=3, num_unroll_func=None,
                     num_partial_unroll_itrs_func=lambda: 4, learning_rate=1e-2, out=None,
                     curriculum=curricula.Curriculum((8, 12), patience=2), seed=seed,
                     validation=metaopt.Validation(1, 2), machine=machine)
    spec = Spec(OPTIMIZERS['CoordinatewiseRNN'], ([4], 'GRUCell'), {})
    return metaopt.train_optimizer(str(folder), spec, ROWS,
                                   **dict(arguments, **options))


def saved_state(folder):
    with np.load(os.path.join(str(folder), 'state.npz'), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def unexpected(text):
    raise AssertionError(text)


@pytest.mark.parametrize('options', [{}, {
    'problems_at_once': 2, 'num_problems': 1, 'meta_optimizer': metaopt.MetaOptimizer(
        average_decay=0.9, rate_factors=((0.0, 1.0), (0.5, 0.1)))}])
def test_one_worker_gives_the_result_of_one_machine(options, tmp_path):
    member, (chief,) = members(1)
    _server = start_server(member)
    alone = train(tmp_path / 'alone', **options)
    shared = train(tmp_path / 'shared', cluster.Worker(chief, KEY, unexpected), **options)
    assert shared.best_cost == alone.best_cost
    expected, found = saved_state(tmp_path / 'alone'), saved_state(tmp_path / 'shared')
    assert set(expected) == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_workers_follow_the_chief_to_the_end(tmp_path):
    member, (chief, other) = members(2)
    _server = start_server(member)
    results = []

    def follow():
        worker = cluster.Worker(other, KEY, unexpected)
        results.append(train(tmp_path / 'other', worker, worker.seed))

    thread = threading.Thread(target=follow)
    thread.start()
    result = train(tmp_path / 'chief', cluster.Worker(chief, KEY, unexpected),
                   num_meta_iterations=20)
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert np.isfinite(result.best_cost) and result.meta_iterations <= 40
    assert results and results[0].checkpoint is None
    assert not os.path.exists(str(tmp_path / 'other'))
    # Chief and worker together did more unrolls than the chief's own.
    facts = json.loads(str(saved_state(tmp_path / 'chief')['facts']))
    assert saved_state(tmp_path / 'chief')['values/global_step'] > facts['unrolls']


def test_a_chief_goes_on_from_live_values_only_of_its_own_run(tmp_path, monkeypatch):
    """What parameter servers hold belongs to a run: another run begins anew."""
    member, (chief,) = members(1)
    _server = start_server(member)
    first = cluster.Worker(chief, KEY, unexpected)
    train(tmp_path / 'first', first, num_problems=1)
    count = cluster.observe(member.ps_hosts)
    steps = count.unrolls()
    assert steps > 0 and count.read().complete and count.read().key == KEY
    monkeypatch.setattr(cluster, '_start_server', lambda *_: first._server)
    assert cluster.Worker(chief, KEY, unexpected).seed == 7
    other = cluster.Worker(chief, KEY + 1, unexpected)
    assert other.seed is None
    train(tmp_path / 'second', other, num_problems=1, num_meta_iterations=1)
    assert count.unrolls() < steps and count.read().key == KEY + 1


class _Tracer(reporting.Reporter):
    """Keeps the trace of the second unroll."""

    trace = None

    def wants_timeline(self, progress):
        return progress.unrolls == 1

    def timeline(self, metadata):
        self.trace = metadata.step_stats


def test_nothing_of_the_loop_runs_on_a_parameter_server(tmp_path):
    member, (chief,) = members(1)
    _server = start_server(member)
    tracer = _Tracer(None)
    train(tmp_path, cluster.Worker(chief, KEY, unexpected), reporter=tracer, num_problems=1)
    names = {job: [node.node_name for device in tracer.trace.dev_stats if job in device.device
                   for node in device.node_stats if not node.node_name.startswith('RecvTensor')]
             for job in ('/job:ps', '/job:compute')}
    assert any('while' in name for name in names['/job:compute'])
    assert any('RMSProp' in name for name in names['/job:ps'])
    assert not [name for name in names['/job:ps'] if 'unroll/' in name]


def test_a_taken_port(monkeypatch):
    monkeypatch.setattr(cluster, 'PORT_PATIENCE', 0)
    member, (chief,) = members(1)
    with socket.socket() as taken:
        taken.bind(('', int(chief.worker_hosts[0].split(':')[1])))
        taken.listen(1)
        with pytest.raises(cluster.ClusterError, match='^worker_hosts: cannot listen at .* in use'):
            cluster.Worker(chief, KEY, unexpected)


def test_a_missing_parameter_server():
    _, (chief,) = members(1, timeout=1)
    with pytest.raises(cluster.ClusterError, match='^ps_hosts: no .* answers at .* within 1 s'):
        cluster.Worker(chief, KEY, unexpected)


def test_a_missing_chief():
    member, (_, other) = members(2, timeout=2)
    _server = start_server(member)
    with pytest.raises(cluster.ClusterError, match='^worker_hosts: worker 0 at .* did not begin'):
        cluster.Worker(other, KEY, unexpected)


class _SilentBoard:
    """A parameter server that hangs after its first answer."""

    def __init__(self):
        self.reads = 0

    def read(self):
        self.reads += 1
        if self.reads > 1:
            time.sleep(3600)


def test_the_watch_ends_a_process_whose_parameter_servers_hang():
    left = threading.Event()
    watch = cluster._Watch('worker 0', _SilentBoard, 1, lambda text: left.set())
    assert left.wait(30)
    watch.stop()


class _SlowBoard:
    """A parameter server that takes its time for each answer, and counts them."""

    def __init__(self):
        self.begun = self.ended = 0

    def read(self):
        self.begun += 1
        time.sleep(0.5)
        self.ended += 1
        return cluster.RunStatus(*range(7))


def test_a_stopped_watch_is_in_no_look_any_more():  # which would abort a process that ends
    board = _SlowBoard()
    watch = cluster._Watch('worker 0', lambda: board, 20, unexpected)
    assert watch.first.wait(30)
    wait_for(lambda: board.begun > board.ended)
    watch.stop()
    assert board.begun == board.ended


def test_a_process_that_ends_before_its_run_is_not_aborted():
    ended = subprocess.run(
        [sys.executable, '-c', 'from l2o.runs import cluster; import threading, time\n'
         'class Board:\n'
         '    def read(self):\n'
         '        time.sleep(1)\n'
         '        print("answer", flush=True)\n'
         'cluster._Watch("worker 0", Board, 20, None)\n'
         'time.sleep(.5)'], cwd=launch.ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout == 'answer\n'


# Processes.


FLAGS = ('--include_quadratic_problems --optimizer=CoordinatewiseRNN --cell_size=4 --num_cells=1 '
         '--fix_unroll --fix_num_steps=100 --fix_unroll_length=10 --fix_num_steps_eval=100 '
         '--evaluation_epochs=3 --meta_learning_rate=1e-2 --min_lr=1e-3 --max_lr=1e-3 '
         '--seed=3 --cluster_timeout=20').split()
PROXIES = ('http_proxy', 'https_proxy', 'grpc_proxy', 'all_proxy')

NAMESPACE = '''
import fcntl, socket, struct, time
with socket.socket() as any_socket:  # brings the loopback interface up
    fcntl.ioctl(any_socket, 0x8914, struct.pack('16sh14x', b'lo', 0x49))
print('up', flush=True)
time.sleep(3600)
'''

OBSERVER = '''
import json, sys, time, tensorflow.compat.v1 as tf
from l2o.runs import cluster
board = cluster.observe(sys.argv[1:])
while True:
    status, unrolls = board.read(), board.unrolls()
    if status and status.ready and unrolls is not None:
        print(json.dumps({'unrolls': int(unrolls), 'saved': status.saved}), flush=True)
    time.sleep(0.2)
'''


class Processes:
    """Starts processes that write into files of a folder, and ends them all.

    Each is the leader of a process group, in a network namespace of their own where possible.
    """

    def __init__(self, folder):
        self._folder, self._all, self._logs = folder, [], {}
        self._prefix = []
        if shutil.which('unshare') and shutil.which('nsenter'):
            holder = self.start([sys.executable, '-c', NAMESPACE], 'namespace',
                                ['unshare', '--map-root-user', '--net'])
            while holder.poll() is None and 'up' not in self.log('namespace'):
                time.sleep(0.05)
            if holder.poll() is None:
                self._prefix = ['nsenter', '--target', str(holder.pid), '--user', '--net',
                                '--preserve-credentials']

    def start(self, command, name=None, prefix=None):
        """Starts a command; its name in a cluster is `ps 0`, `worker 1` and so on."""
        if name is None:
            name = ' '.join(word.split('=')[1] for word in command[-2:])
        environment = {key: value for key, value in os.environ.items()
                       if key.lower() not in PROXIES}
        root = os.path.dirname(launch.SCRIPT)
        with open(self._path(name), 'ab') as output:
            process = subprocess.Popen(
                (self._prefix if prefix is None else prefix) + command, cwd=str(self._folder),
                env=dict(environment, PYTHONPATH=root, TF_CPP_MIN_LOG_LEVEL='3'),
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        self._all.append(process)
        return process

    def _path(self, name):
        return str(self._folder / (name.replace(' ', '_') + '.log'))

    def log(self, name):
        with open(self._path(name)) as handle:
            return handle.read()

    def end(self):
        for process in self._all:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


@pytest.fixture(name='processes')
def fixture_processes(tmp_path):
    processes = Processes(tmp_path)
    yield processes
    processes.end()


def wait_for(condition, seconds=90):
    """What `condition()` gives once that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail('nothing happened within %d s' % seconds)


def validations(text):
    return [float(cost) for cost in re.findall(r', validation ([-\d.e+]+)', text)]


@pytest.mark.slow
def test_two_workers_beat_the_start(processes):
    launcher = launch.Launcher(1, 2, ['--train_dir=opt', '--num_meta_iterations=15'] + FLAGS,
                               max_restarts=0, start=processes.start)
    assert launcher.run() == 0
    costs = validations(processes.log('worker 0'))
    assert len(costs) == 16 and min(costs) < 0.7 * costs[0]
    assert re.search(r'^worker 1: meta-iteration \d+, stage 1, meta-objective ',
                     processes.log('worker 1'), re.MULTILINE)
    assert not re.search('(?i)error|lost|traceback', processes.log('worker 1'))


class Faults:
    """A long run on one parameter server and two workers, of which an observer counts unrolls."""

    def __init__(self, processes, folder):
        self.processes, self._folder = processes, folder
        self.launcher = launch.Launcher(
            1, 2, ['--train_dir=opt', '--num_meta_iterations=100000'] + FLAGS, show=lambda _: None,
            start=processes.start)
        self.observe('first')

    def observe(self, name):
        self._observer = name
        self.processes.start([sys.executable, '-c', OBSERVER] + self.launcher.hosts['ps'], name)

    def counts(self):
        lines = self.processes.log(self._observer).split('\n')[:-1]
        return [json.loads(line)['unrolls'] for line in lines if line.startswith('{')]

    def advances(self, by=30):
        """Waits until so many more unrolls are done."""
        start = wait_for(self.counts)[-1]
        wait_for(lambda: self.counts()[-1] >= start + by)

    def kill(self, job, task):
        member, = [each for each in self.launcher.members if each[:2] == (job, task)]
        member.process.send_signal(signal.SIGKILL)
        member.process.wait()

    def mend(self, name, words):
        """Lets the launcher start again what was killed, until new words are in a log."""
        def mended():
            assert self.launcher.look() is None
            return len(re.findall(words, self.processes.log(name))) > before
        before = len(re.findall(words, self.processes.log(name)))
        wait_for(mended)

    def saved_unrolls(self):
        paths = [os.path.join(root, 'state.npz') for root, _, files in
                 os.walk(str(self._folder / 'opt')) if 'state.npz' in files]
        return int(saved_state(os.path.dirname(paths[0]))['values/global_step']) if paths else None


@pytest.mark.slow
def test_a_cluster_survives_the_death_of_each_process(processes, tmp_path):
    faults = Faults(processes, tmp_path)
    faults.advances()
    wait_for(lambda: 'worker 1: meta-iteration' in processes.log('worker 1'))

    faults.kill('worker', 1)
    faults.advances()
    faults.mend('worker 1', 'worker 1: meta-iteration')

    faults.kill('worker', 0)
    faults.advances()
    faults.mend('worker 0', 'validation')
    faults.advances()
    counts = faults.counts()
    assert counts == sorted(counts)  # nothing was rolled back

    saved = wait_for(faults.saved_unrolls)
    faults.kill('ps', 0)
    faults.observe('second')  # it waits for the parameter server to come back
    faults.mend('worker 0', 'validation')
    faults.mend('worker 1', 'worker 1: meta-iteration')
    faults.advances()
    assert faults.counts()[0] >= saved > 0

    worker = faults.launcher.members[-1].process
    worker.terminate()
    assert worker.wait(timeout=10) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_process_says_what_is_missing(processes):
    ports = ['127.0.0.1:%d' % port for port in free_ports(2)]
    command = [sys.executable, launch.SCRIPT] + FLAGS + [
        '--cluster_timeout=2', '--ps_hosts=' + ports[0], '--worker_hosts=' + ports[1]]
    for job, words in (('worker', 'no parameter server answers at ' + ports[0]),
                       ('ps', 'cannot listen at ' + ports[0])):
        if job == 'ps':
            taken = processes.start([sys.executable, '-c', 'import socket, time; s = socket.socket'
                                     '(); s.bind(("", %s)); s.listen(1); print("up", flush=True); '
                                     'time.sleep(600)' % ports[0].split(':')[1]], 'taken')
            wait_for(lambda: 'up' in processes.log('taken'))
            assert taken.poll() is None
        process = processes.start(command + ['--job_name=' + job, '--task=0'])
        assert process.wait(timeout=60) == 2
        log = processes.log(job + ' 0')
        assert log.startswith('metarun: --ps_hosts: ') and words in log and log.count('\n') == 1
