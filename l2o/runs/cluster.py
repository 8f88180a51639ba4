"""Meta-training on several machines, by TensorFlow's distributed runtime.

Between-graph replication: every worker builds the graphs of its own problems; meta-parameters,
slots and the global step live on the parameter servers, everything else on the worker. Updates are
asynchronous. Worker 0, the chief, validates, saves and says in a few numbers on parameter server 0
(`RunStatus`) how the run stands; the other workers follow.

A process that loses a parameter server ends with status `LOST` within the time limit, since a run
of a session may hang for ever then. Started again it joins: the chief goes on from the live values
or, where a parameter server has lost them, from what was saved.
"""

import atexit
import contextlib
import os
import socket
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from l2o.runs import machines

LOST = 75  # exit status of a process that lost a parameter server: start it again
PERIOD = 0.5  # seconds from one look at the parameter servers to the next
PORT_PATIENCE = 5  # seconds in which a process that ends may still release our port
UNROLLS = 'meta_step/global_step'  # the shared variable that counts all workers' unrolls

#: The names that TensorFlow gets for the jobs. TensorFlow 1.15 puts what it adds to loops and
#: branches on the first device by name: that must be the worker, or each step of a loop goes over
#: the network.
_JOBS = {'ps': 'ps', 'worker': 'compute'}

class Cluster(NamedTuple):
    """A cluster, and who this process is in it."""

    ps_hosts: List[str]  # `host:port` of each parameter server
    worker_hosts: List[str]  # the first worker is the chief
    job: str  # 'ps' or 'worker'
    task: int  # index of this process in the list of its job
    timeout: float  # seconds that bound every waiting for others


class RunStatus(NamedTuple):
    """How the run stands: whole numbers."""

    key: int  # tells runs apart
    seed: int  # of the run
    saved: int  # meta-iterations in the saved state
    problem: int  # index of the chief's draw of problems
    stage: int  # of the curriculum
    complete: int  # whether the run has ended
    ready: int  # whether shared variables have their values


#: What a session raises when a parameter server is gone or was started again.
_LOSSES = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.FailedPreconditionError,
           tf.errors.UnavailableError)


class ClusterError(ValueError):
    """A host that does not answer, a port that is taken: one clear line, which begins with what to
    mend, `ps_hosts` or `worker_hosts`."""


def serve(cluster: Cluster) -> None:
    """Runs a parameter server, until the process is ended from outside.

    Raises:
      ClusterError: its port is taken.
    """
    server = _start_server(cluster, tf.ConfigProto(device_count={'GPU': 0}))
    while server:
        time.sleep(60)


class Worker(machines.OneMachine):
    """A worker of a cluster; see `machines.OneMachine` for its methods.

    Args:
      cluster: a `Cluster`, its job 'worker'.
      key: a whole number of at least 0 that tells runs apart; the same in all workers of a run.
      leave: function of a line of text that ends the process.

    Raises:
      ClusterError: a parameter server or the chief does not answer in time, or the worker's port
        is taken.
    """

    def __init__(self, cluster: Cluster, key: int,
                 leave: Optional[Callable[[str], Any]] = None) -> None:
        self.task, self.is_chief = cluster.task, cluster.task == 0
        self._cluster, self._key = cluster, key
        self._device = '/job:%s/task:%d' % (_JOBS['worker'], self.task)
        config = _worker_config(self._device)
        self._server = _start_server(cluster, config)
        _wait_for_hosts(cluster)
        self._open = lambda graph: tf.Session(self._server.target, graph=graph, config=config)
        self._watch = _Watch('worker %d' % self.task,
                             lambda: StatusBoard(self._open, len(cluster.ps_hosts)),
                             cluster.timeout, leave or _end_process)
        self._status = self._find_status()
        self.seed = self._status.seed if self._status else None

    def _find_status(self):
        """The status of this run. The chief doesn't wait for them: None where there are none."""
        def ours():
            status = self._watch.status
            return status if status and status.key == self._key else None

        self._watch.first.wait()
        return ours() if self.is_chief else self._wait(ours)

    def _wait(self, condition):
        """What `condition()` gives as soon as that is true."""
        end = time.monotonic() + self._cluster.timeout
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(PERIOD / 2)
        self._watch.stop()
        raise ClusterError('worker_hosts: worker 0 at %s did not begin this run (with the same '
                           'flags) within %d s' % (self._cluster.worker_hosts[0],
                                                   self._cluster.timeout))

    @contextlib.contextmanager
    def shared_variables(self) -> Iterator[None]:
        setter = tf.train.replica_device_setter(worker_device=self._device,
                                                cluster=_specification(self._cluster))
        with tf.device(setter), super().shared_variables():
            yield

    def begin(self, progress: machines.Progress, resume: bool) -> None:
        if not self.is_chief:
            progress.meta_iterations = self._status.saved
            self.follow(progress)
        elif not (self._status and resume and self._status.ready
                  and self._status.seed == progress.seed
                  and self._status.saved <= progress.meta_iterations):
            self._status = RunStatus(self._key, progress.seed, 0, 0, 0, complete=False, ready=False)
            self._publish(progress, saved=progress.meta_iterations)

    @contextlib.contextmanager
    def session(self, graph: tf.Graph, progress: machines.Progress,
                set_up: Callable[[tf.Session], Any]) -> Iterator[tf.Session]:
        with graph.as_default():
            missing = tf.report_uninitialized_variables(tf.global_variables())
            shared, local = tf.global_variables_initializer(), tf.local_variables_initializer()
        session = self._open(graph)
        try:
            session.run(local)
            if not self.is_chief:
                self._wait(lambda: self._watch.status.ready and not session.run(missing).size)
            elif session.run(missing).size or not self._status.ready:
                self._publish(progress, ready=False)
                session.run(shared)
                set_up(session)
            if self.is_chief:
                self._publish(progress, ready=True)
            yield session
        except _LOSSES as error:  # not closed: that may hang
            self._watch.lose(error)
        session.close()

    def read_frozen(
            self, session: tf.Session,
            variables: Dict[str, tf.Variable]) -> Tuple[Dict[str, np.ndarray], machines.Feed]:
        values = session.run(variables)
        return values, {variables[name].value(): value for name, value in values.items()}

    def publish(self, progress: machines.Progress, saved: bool) -> None:
        self._publish(progress, **({'saved': progress.meta_iterations} if saved else {}))

    def _publish(self, progress, **status):
        status = dict({'stage': progress.curriculum.stage, 'problem': progress.problem}, **status)
        self._status = self._status._replace(**status)
        self._watch.write(self._status)

    def follow(self, progress: machines.Progress) -> bool:
        status = self._watch.status
        progress.complete = status.complete
        progress.curriculum = progress.curriculum._replace(stage=status.stage)
        if status.problem == progress.problem:
            return not status.complete
        progress.problem, progress.iteration = status.problem, 0
        return False

    def left_behind(self, progress: machines.Progress) -> bool:
        status = self._watch.status
        return not self.is_chief and bool(
            status.complete or status.problem != progress.problem)

    def end(self, progress: machines.Progress) -> None:
        if self.is_chief:
            self._publish(progress, complete=True)
        self._watch.stop()


class StatusBoard:
    """The status on parameter server 0, in a graph and a session of its own.

    Args:
      open_session: function of a graph that gives a session.
      num_servers: how many parameter servers must answer.
    """

    def __init__(self, open_session: Callable[[tf.Graph], tf.Session], num_servers: int) -> None:
        with tf.Graph().as_default() as graph:
            status = _variable('cluster/status', tf.int64, [len(RunStatus._fields)])
            unrolls = _variable(UNROLLS, tf.int32, [])
            self._reads = status.read_value(), unrolls.read_value()
            self._status = tf.placeholder(tf.int64, status.shape)
            self._write = status.assign(self._status).op
            self._answers = [_on_server(index, lambda: tf.random_uniform([]))
                             for index in range(num_servers)]
        self._session = open_session(graph)

    def read(self) -> Optional[RunStatus]:
        """The `RunStatus`; None where nothing was written since the parameter server's start."""
        self._session.run(self._answers)
        found = self._read(0)
        return None if found is None else RunStatus(*[int(number) for number in found])

    def unrolls(self) -> Optional[int]:
        """How many unrolls all workers have done; None where there is no count."""
        return self._read(1)

    def _read(self, index):
        try:
            return self._session.run(self._reads[index])
        except (tf.errors.FailedPreconditionError, tf.errors.NotFoundError):
            return None

    def write(self, status: RunStatus) -> None:
        """Replaces the status."""
        self._session.run(self._write, {self._status: np.array(status, 'int64')})

    def close(self) -> None:
        """Ends the session: to be called while the parameter servers live, else it may hang."""
        self._session.close()


def _variable(name, dtype, shape):
    return _on_server(0, lambda: tf.Variable(tf.zeros(shape, dtype), name=name, trainable=False,
                                             use_resource=True, collections=[]))


def _on_server(index, make):
    with tf.device('/job:ps/task:%d/device:CPU:0' % index):
        return make()


def observe(ps_hosts: Sequence[str]) -> StatusBoard:
    """The `StatusBoard` of a cluster for a process outside of it."""
    config = tf.ConfigProto(device_filters=['/job:ps'])
    return StatusBoard(lambda graph: tf.Session('grpc://' + ps_hosts[0], graph=graph,
                                                config=config), len(ps_hosts))


class _Watch:
    """Looks at the parameter servers all the time, and ends the process when one is lost.

    The looking itself may hang for ever, so another thread looks whether it still happens.

    Args:
      name: of the process.
      make_board: gives a `StatusBoard`.
      timeout: seconds without an answer after which the parameter servers are lost.
      leave: function of a line of text that ends the process.

    Attributes:
      status: the latest.
      first: the event of the first answer.
    """

    def __init__(self, name: str, make_board: Callable[[], StatusBoard], timeout: float,
                 leave: Callable[[str], Any]) -> None:
        self._name, self._make_board, self._timeout = name, make_board, timeout
        self._leave = leave
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self.status: Optional[RunStatus] = None
        self.first, self._answered = threading.Event(), time.monotonic()
        self._threads = [threading.Thread(target=loop, daemon=True)
                         for loop in (self._look, self._check)]
        for thread in self._threads:
            thread.start()
        atexit.register(self.stop)

    def _look(self):
        self._board = self._make_board()
        while not self._stopped.wait(PERIOD if self.first.is_set() else 0):
            try:
                with self._lock:
                    status = self._board.read()
                    if status is None and self.status is not None:
                        self.lose('a parameter server was started again')
                    self.status = status
            except tf.errors.UnavailableError:
                continue  # until the time is over
            except tf.errors.OpError as error:
                self.lose(error)
            self._answered = time.monotonic()
            self.first.set()

    def _check(self):
        while not self._stopped.wait(PERIOD):
            if time.monotonic() - self._answered > self._timeout:
                self.lose('no answer for %d s' % self._timeout)

    def write(self, status):
        """Replaces the status."""
        try:
            with self._lock:
                self._board.write(status)
                self.status = status
        except _LOSSES as error:
            self.lose(error)

    def lose(self, reason):
        """Ends the process, unless the watch is over."""
        if not self._stopped.is_set():
            words = type(reason).__name__ if isinstance(reason, Exception) else reason
            self._leave('%s lost the parameter servers (%s): started again, it joins the run'
                        % (self._name, words))

    def stop(self):
        """Ends the watch, which may take the time of the last look at the parameter servers.

        A process that ends while a thread is inside of TensorFlow is aborted.
        """
        self._stopped.set()
        for thread in self._threads:
            thread.join(self._timeout)
        atexit.unregister(self.stop)


def _end_process(text):
    os.write(2, (text + '\n').encode())
    os._exit(LOST)  # closing a session may hang


def _specification(cluster):
    """The cluster as TensorFlow knows it."""
    return {_JOBS['ps']: list(cluster.ps_hosts), _JOBS['worker']: list(cluster.worker_hosts)}


def _worker_config(device):
    """A worker sees itself and the parameter servers; it need not wait for other workers."""
    config = machines.session_config()
    config.device_filters.extend(['/job:ps', device])
    config.gpu_options.allow_growth = True
    return config


def _start_server(cluster, config):
    _pass_by_proxies(cluster)
    address = getattr(cluster, cluster.job + '_hosts')[cluster.task]
    _await_port(cluster.job, address)
    try:
        return tf.train.Server(_specification(cluster), job_name=_JOBS[cluster.job],
                               task_index=cluster.task, config=config)
    except tf.errors.OpError as error:
        raise ClusterError('%s_hosts: no server at %s: %s' % (
            cluster.job, address, error.message)) from error


def _await_port(job, address):
    """Waits a little until a port of this machine is free."""
    end = time.monotonic() + PORT_PATIENCE
    while True:
        try:
            with socket.socket() as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                return listener.bind(('', int(address.rpartition(':')[2])))
        except OSError as error:
            if time.monotonic() > end:
                raise ClusterError('%s_hosts: cannot listen at %s: %s' % (
                    job, address, error.strerror)) from error
            time.sleep(PERIOD)


def _wait_for_hosts(cluster):
    """Waits until every parameter server can be reached."""
    end = time.monotonic() + cluster.timeout
    for address in cluster.ps_hosts:
        host, _, port = address.rpartition(':')
        while not _reachable(host, int(port)):
            if time.monotonic() > end:
                raise ClusterError('ps_hosts: no parameter server answers at %s within %d s'
                                   % (address, cluster.timeout))
            time.sleep(PERIOD)


def _reachable(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True


def _pass_by_proxies(cluster):
    """What gRPC sends within the cluster goes through no proxy."""
    hosts = {address.rpartition(':')[0] for address in cluster.ps_hosts + cluster.worker_hosts}
    for name in ('no_grpc_proxy', 'no_proxy'):
        known = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ','.join(known + sorted(hosts))
