"""Sections do not deadlock if workers are delayed, or raise, at any moment."""

import contextlib
import os
import pickle
import signal
import sys
import threading
import time

import pytest

import sharedmem
from sharedmem import MapReduce, ProcessBackend, ThreadBackend, WorkerException
from sharedmem.workers import locks, sections
from sharedmem.workers.channel import Channel
from sharedmem.workers.handed import descriptors_noted
from sharedmem.workers.team_sync import TeamSync

BACKENDS = [ProcessBackend, ThreadBackend]


is_armed = False  # in a task: elsewhere a worker fails, as it should


class StrikeError(Exception):
    pass


def hold_up(at, seconds):
    """Sleep at line `at` that this thread runs in `sync`, as on a busy machine."""
    n_seen = 0

    def trace(frame, event, _):
        nonlocal n_seen
        if frame.f_code.co_filename != sections.__file__:
            return None
        n_seen += event == "line"
        if n_seen == at and event == "line":
            time.sleep(seconds)
        return trace

    sys.settrace(trace)


def strike(at):
    """Raise where a handler of signals may, in tasks: at call `at` in `sync`, or after a C call."""
    n_seen = 0

    def profile(frame, event, _):
        nonlocal n_seen
        is_inside = frame.f_code.co_filename == sections.__file__ and event in ("call", "c_return")
        if is_inside and is_armed:
            n_seen += 1
            if n_seen == at:
                raise StrikeError

    sys.setprofile(profile)


def turns(n_workers, backend, disturb, chunksize=3, n_tasks=9):
    """Run tasks that take turns; `disturb` is called in all workers but the first of several."""
    pool = MapReduce(
        backend,
        np=n_workers,
        timeout=20,
        initializer=lambda: (
            time.sleep(0.003) if n_workers > 1 and pool.local.rank == 0 else disturb()
        ),
    )
    log = sharedmem.full(n_tasks + 1, -1, "i8")

    def note(i):
        log[0] += 1
        log[log[0] + 1] = i

    def task(i):
        global is_armed
        for _ in range(2):
            try:
                is_armed = True
                with pool.ordered:
                    if (log[1:] != i).all():
                        note(i)
                break
            except StrikeError:
                continue
            except RuntimeError:  # struck when its turn had passed
                break
            finally:
                is_armed = False
        return i

    with pool:
        assert pool.map(task, range(n_tasks), chunksize=chunksize) == list(range(n_tasks))
    assert log[1:].tolist() == list(range(n_tasks))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("chunksize", [1, 3])
def test_no_turn_is_missed_if_a_worker_is_delayed_at_any_line(backend, chunksize):
    for at in range(1, 30):
        turns(2, backend, lambda at=at: hold_up(at, 0.006), chunksize, 6)


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow), 5])
def test_a_task_may_retry_after_an_exception_in_its_turn(n_workers):
    for at in range(1, 40, n_workers):
        turns(n_workers, ProcessBackend, lambda at=at: strike(at))


@pytest.mark.parametrize("n_workers", [2, 5])
def test_an_exception_in_a_barrier_does_not_block_the_others(n_workers):
    def task(i):
        global is_armed
        is_armed = True
        with contextlib.suppress(StrikeError, threading.BrokenBarrierError):
            pool.barrier()
        is_armed = False
        return i

    for at in range(1, 20, n_workers - 1):
        pool = MapReduce(
            np=n_workers,
            timeout=20,
            initializer=lambda at=at: pool.local.rank or strike(at),
        )
        with pool:
            assert pool.map(task, range(n_workers), chunksize=1) == list(range(n_workers))


@pytest.mark.parametrize("section", ["ordered", "barrier"])
def test_handled_signals_do_not_end_a_wait(section):
    """As of a timer that a profiler sets; system calls are to be tried again."""

    def task(i):
        if i == 0:
            time.sleep(0.1)
        if section == "barrier":
            pool.barrier()
            return i
        with pool.ordered:
            return i

    def start_timer():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.005)

    with MapReduce(np=2, timeout=20, initializer=start_timer) as pool:
        assert pool.map(task, range(2)) == [0, 1]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("is_file", [False, True], ids=["semaphore", "file"])
def test_the_timeout_applies_while_reduce_waits_for_critical(backend, is_file, monkeypatch):
    if is_file:
        monkeypatch.setattr(locks, "semaphore_type", lambda: None)
    end = threading.Event()

    def task(i):
        if i == 1:
            with pool.critical:
                (time.sleep if backend is ProcessBackend else end.wait)(60)
        return i

    def reduce(i):
        with pool.critical:
            return i

    pool = MapReduce(backend, np=2, timeout=0.3)
    with pytest.raises(TimeoutError, match=r"longer than timeout=0\.3 seconds"):
        pool.map(task, range(2), reduce=reduce, chunksize=1)
    end.set()


def test_an_exception_of_a_handler_while_reduce_waits_for_critical_loses_no_result(monkeypatch):
    n_struck = 0
    is_waiting = False
    is_held, is_struck = sharedmem.zeros(1, "?"), sharedmem.zeros(1, "?")
    receive = Channel.receive

    def handler(*_):
        is_struck[0] = True
        raise StrikeError

    def receive_and_strike(self, *, block):
        message = receive(self, block=block)
        if is_waiting and message:
            signal.raise_signal(signal.SIGUSR1)
        return message

    def task(i):
        if i == 1:
            with pool.critical:
                is_held[0] = True
                deadline = time.monotonic() + 10
                while not is_struck[0] and time.monotonic() < deadline:
                    time.sleep(0.001)
        while not is_held[0]:
            time.sleep(0.001)
        time.sleep(0.05)  # each result is a message of its own
        return i

    def reduce(i):
        nonlocal is_waiting, n_struck
        is_waiting = True
        try:
            with pool.critical:
                pass
        except StrikeError:
            n_struck += 1
        is_waiting = False
        return i

    monkeypatch.setattr(Channel, "receive", receive_and_strike)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        pool = MapReduce(np=2, timeout=20)
        assert pool.map(task, range(4), reduce=reduce, chunksize=1) == list(range(4))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert n_struck > 0


def test_the_timeout_includes_the_time_of_reduce():
    with pytest.raises(TimeoutError, match=r"longer than timeout=0\.1 seconds"):
        MapReduce(np=1, timeout=0.1).map(abs, range(20), reduce=lambda _: time.sleep(0.02))


def test_a_thread_that_fails_with_the_lock_does_not_block_reduce():
    def task(i):
        if i == 1:
            pool.critical.__enter__()
            raise ArithmeticError
        time.sleep(0.05)
        return i

    def reduce(i):
        with pool.critical:
            return i

    pool = MapReduce(ThreadBackend, np=2, timeout=20)
    with pytest.raises(WorkerException, match="ArithmeticError"):
        pool.map(task, range(2), reduce=reduce, chunksize=1)


def test_a_file_lock_respects_a_timeout():
    lock = locks.FileLock()
    assert lock.acquire()
    if (pid := os.fork()) == 0:
        os._exit(lock._take(block=False) + 2 * lock.acquire(True, 0.01))
    assert os.waitpid(pid, 0)[1] == 0
    assert not lock.acquire(True, 0.01)
    lock.release()
    with lock:
        pass
    assert lock.acquire(True, 0.01)


def test_a_pickled_team_sync_is_the_same_team():
    """As in a spawned worker, which inherits the descriptors; here they are duplicated."""
    with contextlib.closing(TeamSync(2, processes=True)) as team:
        with descriptors_noted() as descriptors:
            stream = pickle.dumps(team)
        assert len(descriptors) == 2
        kept = {descriptor: os.dup(descriptor) for descriptor in descriptors}
        other = pickle.loads(stream)
        other.words[0] = 17
        assert team.index(0) == 17
        with other.critical:
            assert not team.critical.acquire(False)
        other.bells[1].ring()
        team.bells[1].sleep()
        other.close()
        for descriptor, copy in kept.items():
            os.dup2(copy, descriptor, inheritable=False)
            os.close(copy)


def test_a_team_sync_is_not_pickled_for_a_process_without_its_descriptors():
    with (
        contextlib.closing(TeamSync(1, processes=True)) as team,
        pytest.raises(TypeError, match="cannot be pickled"),
    ):
        pickle.dumps(team)
