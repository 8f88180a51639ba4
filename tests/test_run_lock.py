"""One run at a time in a folder; files that several processes write are whole at any moment."""

import concurrent.futures
import multiprocessing
import os
import signal
import socket
import subprocess
import sys

import pytest

import metaopt
from l2o.commandline import resuming
from l2o.commandline.flags import FlagError
from l2o.runs import run_files, run_lock
from optimizer.trainable_adam import TrainableAdam
from problems import problem_generator
from problems.problem_spec import Spec

HOLDING = '''
import sys, time
from l2o.runs import run_lock
with run_lock.held(sys.argv[1]):
    print('held', flush=True)
    time.sleep(600)
'''


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    process = subprocess.Popen([sys.executable, '-c', HOLDING, str(tmp_path)],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


def test_another_process_is_refused_and_told_who_is_at_work(holder, tmp_path):
    with pytest.raises(run_lock.FolderInUseError) as raised:
        with run_lock.held(str(tmp_path)):
            pass
    assert str(raised.value) == 'another run is at work in %s: process %d on %s' % (
        tmp_path, holder.pid, socket.gethostname())


def test_a_killed_process_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run_lock.held(str(tmp_path)):
        pass


def test_a_process_may_hold_a_folder_twice_but_two_threads_may_not(tmp_path):
    def hold():
        with run_lock.held(str(tmp_path)):
            return True

    link = tmp_path / 'link'
    link.symlink_to(tmp_path)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with run_lock.held(str(tmp_path)):
            with run_lock.held(str(link)):
                pass
            with pytest.raises(run_lock.FolderInUseError):
                pool.submit(hold).result()
        assert pool.submit(hold).result()


def test_a_file_system_without_locks_can_be_used(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(run_lock, '_lock', refuse)
    with run_lock.held(str(tmp_path)):
        pass


def _write_often(path, content):
    for _ in range(300):
        run_files.write(path, content)


def test_two_processes_write_one_file(tmp_path):
    path, contents = str(tmp_path / 'state.npz'), [b'a' * 200000, b'b' * 200000]
    run_files.write(path, contents[0])
    spawn = multiprocessing.get_context('spawn')
    writers = [spawn.Process(target=_write_often, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        with open(path, 'rb') as file:
            assert file.read() in contents
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert os.listdir(str(tmp_path)) == ['state.npz']


def test_a_second_start_in_the_folder_of_a_run_is_one_clear_line(holder, tmp_path):
    with pytest.raises(run_lock.FolderInUseError, match='process %d on' % holder.pid):
        metaopt.train_optimizer(str(tmp_path), Spec(TrainableAdam, (), {}),
                                [(Spec(problem_generator.Quadratic, (2,), {}), None, None)], 1, 1)
    with pytest.raises(FlagError, match='--train_dir: another run is at work in .*: process %d on'
                       % holder.pid):
        resuming.lock(str(tmp_path))
