"""Tasks that raise, exit, stop, or are killed, and calls that take too long."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

import sharedmem
from sharedmem import (
    DeadWorkerError,
    LostExceptionType,
    MapReduce,
    ProcessBackend,
    StopProcessGroup,
    WorkerException,
)


class ArgumentsError(Exception):
    def __init__(self, one, two):
        super().__init__("one text")


class TextlessError(Exception):
    def __str__(self):
        raise ValueError


def test_the_exception_is_wrapped_with_its_traceback(backend):
    pool = MapReduce(backend, np=2)
    with pytest.raises(WorkerException) as caught:
        pool.map(lambda i: 1 // i, [3, 2, 0])
    assert isinstance(caught.value.reason, ZeroDivisionError)
    assert "test_failures.py" in caught.value.traceback
    assert "Task 2 in worker" in caught.value.traceback
    assert "by zero" in str(caught.value)
    assert pool.map(abs, [-1]) == [1]


def test_a_serial_pool_raises_the_exception_itself():
    with pytest.raises(ZeroDivisionError):
        MapReduce(np=0).map(lambda i: 1 // i, [0])


def test_debug_mode_raises_the_exception_itself():
    sharedmem.set_debug(True)
    try:
        with pytest.raises(ZeroDivisionError):
            MapReduce(np=2).map(lambda i: 1 // i, [0])
    finally:
        sharedmem.set_debug(False)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_exceptions_that_exit_the_interpreter_are_wrapped(backend, error):
    def work(i):
        raise error

    with pytest.raises(WorkerException) as caught:
        MapReduce(backend, np=2).map(work, range(2))
    assert type(caught.value.reason) is type(error)


def test_notes_and_arguments_are_kept():
    def work(i):
        error = OSError(5, "text")
        error.add_note("a note")
        raise error

    with pytest.raises(WorkerException) as caught:
        MapReduce(np=1).map(work, range(1))
    assert caught.value.reason.args == (5, "text")
    assert caught.value.reason.__notes__ == ["a note"]


@pytest.mark.parametrize("kind", ["local", "arguments", "text"])
def test_an_exception_that_cannot_be_pickled_loses_its_type(kind):
    class LocalError(Exception):
        pass

    def work(i):
        raise {
            "local": LocalError("the text"),
            "arguments": ArgumentsError(1, 2),
            "text": TextlessError(lambda: 0),
        }[kind]

    with (
        pytest.warns(LostExceptionType, match="Error") as issued,
        pytest.raises(WorkerException) as caught,
    ):
        MapReduce(np=1).map(work, range(1))
    assert type(caught.value.reason) is Exception
    assert issued[0].filename == __file__


@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_a_killed_worker_ends_the_call(n):
    pool = MapReduce(np=n)
    with pytest.raises(WorkerException, match="was killed by SIGKILL while") as e:
        pool.map(lambda i: i == n - 1 and os.kill(os.getpid(), signal.SIGKILL), range(n))
    assert isinstance(e.value.reason, DeadWorkerError)
    assert e.value.reason.exitcode == -9
    assert pool.map(abs, [-1]) == [1]


@pytest.mark.parametrize("status", [0, 3])
def test_a_worker_that_exits_ends_the_call(status):
    with pytest.raises(WorkerException, match=f"exited with status {status} while it ran"):
        MapReduce(np=2).map(lambda i: os._exit(status), range(4))


def test_a_worker_killed_while_it_holds_all_locks_ends_the_call():
    pool = MapReduce(np=2)

    def work(i):
        if i == 0:
            with pool.ordered, pool.critical:
                os.kill(os.getpid(), signal.SIGKILL)
        with pool.ordered, pool.critical:
            return i

    for _ in range(5):
        with pytest.raises(WorkerException, match="SIGKILL"):
            pool.map(work, range(2))


def test_a_time_limit_raises_timeout_error(backend):
    pool = MapReduce(backend, np=2, timeout=0.5)
    with pytest.raises(TimeoutError, match=r"timeout=0\.5"):
        pool.map(lambda i: time.sleep(i), [0, 0.8, 0.8])
    time.sleep(0.4)  # Threads finish their tasks.
    assert pool.map(abs, [-1]) == [1]


@pytest.mark.parametrize("error", [TimeoutError, ArithmeticError])
def test_an_exception_of_a_signal_handler_is_raised_unchanged(backend, error):
    def ring(*_):
        raise error("mine")

    class Ringing:
        def __reduce__(self):
            return signal.raise_signal, (signal.SIGALRM,)

    pool = MapReduce(backend, np=1)
    calls = [
        lambda: pool.map(time.sleep, [0.2]),
        lambda: list(pool.imap(time.sleep, [0.2])),
        lambda: sharedmem.background(time.sleep, 0.2, backend=backend).wait(),
    ]
    if backend is ProcessBackend:  # while a result is unpickled
        calls += [
            lambda: pool.map(lambda i: Ringing(), range(1)),
            lambda: pool.map(lambda i: [Ringing(), bytes(100_000)], range(1)),
        ]
    before = signal.signal(signal.SIGALRM, ring)
    try:
        for call in calls:
            signal.setitimer(signal.ITIMER_REAL, 0.02 if call in calls[:3] else 0)
            with pytest.raises(error, match=r"^mine"):
                call()
    finally:
        signal.signal(signal.SIGALRM, before)
        time.sleep(0.2)  # the call in the background ends, and
        assert sharedmem.background(abs, -1).wait() == 1  # is forgotten


def test_stop_process_group_ends_one_worker_quietly(backend):
    def work(i):
        if i == 0:
            raise StopProcessGroup
        return i

    assert MapReduce(backend, np=2).map(work, range(50)) == list(range(1, 50))


@pytest.mark.parametrize("chunksize", [1, 7, 100])
def test_other_workers_run_all_tasks_after_one_has_stopped(backend, chunksize):
    def work(i):
        if i == 3:
            raise StopProcessGroup
        return i

    results = MapReduce(backend, np=2).map(work, range(50), chunksize=chunksize)
    assert results == [i for i in range(50) if i != 3]


def test_a_refused_fork_raises(monkeypatch):
    forks = itertools.count()
    fork = os.fork

    def failing():
        if next(forks) == 2:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", failing)
    pool = MapReduce(np=4)
    with pytest.raises(BlockingIOError) as caught:
        pool.map(abs, range(4))
    assert "Worker 2 of 4 could not be started" in caught.value.__notes__[0]
    assert pool.map(abs, [-1]) == [1]


def test_an_exception_of_the_iterable_is_raised_unchanged(pool):
    def items():
        yield 1
        raise KeyError("from the iterable")

    with pytest.raises(KeyError, match="from the iterable"):
        pool.map(abs, items())


def test_an_exception_of_the_initializer_is_wrapped(backend):
    with pytest.raises(WorkerException, match="The initializer in worker"):
        MapReduce(backend, np=2, initializer=lambda: 1 / 0).map(abs, range(2))
