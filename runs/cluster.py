"""Meta-training on several machines, by TensorFlow's distributed runtime.

Between-graph replication: every worker builds the graphs of its own problems; meta-parameters,
slots and the global step live on the parameter servers, everything else on the worker. Updates are
asynchronous. Worker 0, the chief, validates, saves and says in a few numbers on parameter server 0
(`Facts`) how the run stands; the other workers follow.

A process that loses a parameter server ends with status `LOST` within the time limit, since a run
of a session may hang for ever then. Started again it joins: the chief goes on from the live values
or, where a parameter server has lost them, from what was saved.
"""

import collections
import contextlib
import os
import socket
import threading
import time

import numpy as np
import tensorflow.compat.v1 as tf

from runs import machines

LOST = 75  # exit status of a process that lost a parameter server: start it again
PERIOD = 0.5  # seconds from one look at the parameter servers to the next
PORT_PATIENCE = 5  # seconds in which a process that ends may still release our port
UNROLLS = 'meta_step/global_step'  # the shared variable that counts all workers' unrolls

#: The names that TensorFlow gets for the jobs. TensorFlow 1.15 puts what it adds to loops and
#: branches on the first device by name: that must be the worker, or each step of a loop goes over
#: the network.
_JOBS = {'ps': 'ps', 'worker': 'compute'}

#: Who this process is. `ps_hosts` and `worker_hosts` are lists of `host:port`, `job` is 'ps' or
#: 'worker', `task` its index in that list; `timeout`, seconds, bounds every waiting for others.
Cluster = collections.namedtuple('Cluster', 'ps_hosts worker_hosts job task timeout')

#: How the run stands. `key`, a whole number that tells runs apart, and `seed` of the run; `saved`,
#: meta-iterations in the saved state; `problem`, index of the chief's; `stage` of the curriculum;
#: `complete`, whether the run has ended; `ready`, whether shared variables have their values.
Facts = collections.namedtuple('Facts', 'key seed saved problem stage complete ready')

#: What a session raises when a parameter server is gone or was started again.
_LOSSES = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.FailedPreconditionError,
           tf.errors.UnavailableError)


class ClusterError(ValueError):
    """A host that does not answer, a port that is taken: one clear line, which begins with what to
    mend, `ps_hosts` or `worker_hosts`."""


def serve(cluster):
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

    def __init__(self, cluster, key, leave=None):
        self.task, self.is_chief = cluster.task, cluster.task == 0
        self._cluster, self._key = cluster, key
        self._device = '/job:%s/task:%d' % (_JOBS['worker'], self.task)
        config = _worker_config(self._device)
        self._server = _start_server(cluster, config)
        _wait_for_hosts(cluster)
        self._open = lambda graph: tf.Session(self._server.target, graph=graph, config=config)
        self._watch = _Watch('worker %d' % self.task,
                             lambda: Board(self._open, len(cluster.ps_hosts)), cluster.timeout,
                             leave or _end_process)
        self._facts = self._find_facts()
        self.seed = self._facts.seed if self._facts else None

    def _find_facts(self):
        """The facts of this run. The chief doesn't wait for them: None where there are none."""
        def ours():
            facts = self._watch.facts
            return facts if facts and facts.key == self._key else None

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
    def shared_variables(self):
        setter = tf.train.replica_device_setter(worker_device=self._device,
                                                cluster=_specification(self._cluster))
        with tf.device(setter), super().shared_variables():
            yield

    def begin(self, progress, resume):
        if not self.is_chief:
            progress.meta_iterations = self._facts.saved
            self.follow(progress)
        elif not (self._facts and resume and self._facts.ready
                  and self._facts.seed == progress.seed
                  and self._facts.saved <= progress.meta_iterations):
            self._facts = Facts(self._key, progress.seed, 0, 0, 0, False, False)
            self._publish(progress, saved=progress.meta_iterations)

    @contextlib.contextmanager
    def session(self, graph, progress, set_up):
        with graph.as_default():
            missing = tf.report_uninitialized_variables(tf.global_variables())
            shared, local = tf.global_variables_initializer(), tf.local_variables_initializer()
        session = self._open(graph)
        try:
            session.run(local)
            if not self.is_chief:
                self._wait(lambda: self._watch.facts.ready and not session.run(missing).size)
            elif session.run(missing).size or not self._facts.ready:
                self._publish(progress, ready=False)
                session.run(shared)
                set_up(session)
            if self.is_chief:
                self._publish(progress, ready=True)
            yield session
        except _LOSSES as error:  # not closed: that may hang
            self._watch.lose(error)
        session.close()

    def hold(self, session, variables):
        values = session.run(variables)
        return values, {variables[name].value(): value for name, value in values.items()}

    def publish(self, progress, saved):
        self._publish(progress, **({'saved': progress.meta_iterations} if saved else {}))

    def _publish(self, progress, **facts):
        facts = dict({'stage': progress.curriculum.stage, 'problem': progress.problem}, **facts)
        self._facts = self._facts._replace(**facts)
        self._watch.write(self._facts)

    def follow(self, progress):
        facts = self._watch.facts
        progress.complete = facts.complete
        progress.curriculum.restore(dict(progress.curriculum.state(), stage=facts.stage))
        if facts.problem == progress.problem:
            return not facts.complete
        progress.problem, progress.iteration = facts.problem, 0
        return False

    def left_behind(self, progress):
        return not self.is_chief and (
            self._watch.facts.complete or self._watch.facts.problem != progress.problem)

    def end(self, progress):
        if self.is_chief:
            self._publish(progress, complete=True)
        self._watch.stop()


class Board:
    """The facts on parameter server 0, in a graph and a session of its own.

    Args:
      open_session: function of a graph that gives a session.
      num_servers: how many parameter servers must answer.
    """

    def __init__(self, open_session, num_servers):
        with tf.Graph().as_default() as graph:
            facts = _variable('cluster/facts', tf.int64, [len(Facts._fields)])
            unrolls = _variable(UNROLLS, tf.int32, [])
            self._reads = facts.read_value(), unrolls.read_value()
            self._facts = tf.placeholder(tf.int64, facts.shape)
            self._write = facts.assign(self._facts).op
            self._answers = [_on_server(index, lambda: tf.random_uniform([]))
                             for index in range(num_servers)]
        self._session = open_session(graph)

    def read(self):
        """The `Facts`; None where nothing was written since the parameter server's start."""
        self._session.run(self._answers)
        found = self._read(0)
        return None if found is None else Facts(*[int(number) for number in found])

    def unrolls(self):
        """How many unrolls all workers have done; None where there is no count."""
        return self._read(1)

    def _read(self, index):
        try:
            return self._session.run(self._reads[index])
        except (tf.errors.FailedPreconditionError, tf.errors.NotFoundError):
            return None

    def write(self, facts):
        """Replaces the facts."""
        self._session.run(self._write, {self._facts: np.array(facts, 'int64')})

    def close(self):
        """Ends the session: to be called while the parameter servers live, else it may hang."""
        self._session.close()


def _variable(name, dtype, shape):
    return _on_server(0, lambda: tf.Variable(tf.zeros(shape, dtype), name=name, trainable=False,
                                             use_resource=True, collections=[]))


def _on_server(index, make):
    with tf.device('/job:ps/task:%d/device:CPU:0' % index):
        return make()


def observe(ps_hosts):
    """The `Board` of a cluster for a process outside of it."""
    config = tf.ConfigProto(device_filters=['/job:ps'])
    return Board(lambda graph: tf.Session('grpc://' + ps_hosts[0], graph=graph, config=config),
                 len(ps_hosts))


class _Watch:
    """Looks at the parameter servers all the time, and ends the process when one is lost.

    The looking itself may hang for ever, so another thread looks whether it still happens.

    Args:
      name: of the process.
      make_board: gives a `Board`.
      timeout: seconds without an answer after which the parameter servers are lost.
      leave: function of a line of text that ends the process.

    Attributes:
      facts: the latest.
      first: the event of the first answer.
    """

    def __init__(self, name, make_board, timeout, leave):
        self._name, self._make_board, self._timeout = name, make_board, timeout
        self._leave = leave
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self.facts, self.first, self._answered = None, threading.Event(), time.monotonic()
        for loop in (self._look, self._check):
            threading.Thread(target=loop, daemon=True).start()

    def _look(self):
        self._board = self._make_board()
        while not self._stopped.wait(PERIOD if self.first.is_set() else 0):
            try:
                with self._lock:
                    facts = self._board.read()
                    if facts is None and self.facts is not None:
                        self.lose('a parameter server was started again')
                    self.facts = facts
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

    def write(self, facts):
        """Replaces the facts."""
        try:
            with self._lock:
                self._board.write(facts)
                self.facts = facts
        except _LOSSES as error:
            self.lose(error)

    def lose(self, reason):
        """Ends the process, unless the watch is over."""
        if not self._stopped.is_set():
            words = type(reason).__name__ if isinstance(reason, Exception) else reason
            self._leave('%s lost the parameter servers (%s): started again, it joins the run'
                        % (self._name, words))

    def stop(self):
        """Ends the watch."""
        self._stopped.set()


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
