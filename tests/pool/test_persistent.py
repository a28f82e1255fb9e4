"""Workers that stay: their calls are those of other pools, and they are replaced after errors."""

import contextlib
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from threading import BrokenBarrierError
from typing import Any

import numpy as np
import pytest

import sharedmem
from interrupts import Strike
from sharedmem import MapReduce, StopProcessGroup, ThreadBackend, WorkerException
from sharedmem.errors import DeadWorkerError
from sharedmem.machine import blas


@pytest.fixture
def pool():
    with MapReduce(np=2, persistent=True, timeout=30) as pool:
        yield pool


def pids(pool: MapReduce) -> set[int]:
    return set(pool.map(lambda _: os.getpid(), range(2), chunksize=1))


def square(i: int) -> int:
    return i * i


def test_workers_stay(pool):
    first = pids(pool)
    assert len(first) == 2
    assert os.getpid() not in first
    assert pids(pool) == first
    assert set(pool.imap(lambda _: os.getpid(), range(100))) <= first
    assert pool.map(square, range(1)) == [0]  # a task for one of them
    assert pids(pool) == first


def test_they_end_with_the_outermost_block():
    pool = MapReduce(np=2, persistent=True)
    with pool:
        with pool:
            first = pids(pool)
        assert pids(pool) == first
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pool:
        assert not pids(pool) & first


def test_they_end_with_the_pool():
    first = pids(MapReduce(np=2, persistent=True))
    gc.collect()
    for pid in first:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


SEQUENCES: dict[str, Any] = {
    "a range": range(3, 50, 2),
    "ints": [1, 2, 3],
    "strings": ("a", "bc"),
    "small arrays": [np.full(3, k) for k in range(100)],
    "large arrays": [np.full(100_000, k) for k in range(3)],
    "an array": np.arange(12.0).reshape(6, 2),
    "a large array": np.arange(2e5).reshape(-1, 1000),
    "objects in an array": np.array([None, "x", 3.5], object),
    "tuples": [(k, str(k)) for k in range(1000)],
    "functions": [lambda: 1, square, len],
    "a string": "abc",
    "nothing": [],
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_items_are_those_of_the_sequence(pool, name):
    sequence = SEQUENCES[name]
    found = pool.map(lambda item: item, sequence)
    assert list(map(type, found)) == list(map(type, sequence))
    for one, other in zip(found, sequence, strict=True):
        np.testing.assert_array_equal(one, other) if not callable(one) else one


def test_shared_arrays_are_items_and_sequences(pool):
    shared = sharedmem.zeros((4, 3))

    def write(row):
        row[...] += 1
        return row

    assert sum(row.sum() for row in pool.map(write, list(shared))) == 12
    pool.map(write, shared)
    assert (shared == 2).all()


def test_mapped_files_are_not_copied(pool, tmp_path):
    mapped = np.memmap(tmp_path / "file", "f8", "w+", shape=(3, 1000))

    def write(row):
        row += 1

    pool.map(write, mapped)
    pool.map(lambda k: write(mapped[k]), range(3))
    assert (mapped == 2).all()


def test_items_that_cannot_be_pickled_are_named(pool):
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        pool.map(print, [1, threading.Lock()])
    assert "Item 1, of type lock" in caught.value.__notes__[-1]
    lock = threading.Lock()
    with pytest.raises(TypeError, match="cannot pickle"):
        pool.map(lambda _: lock, range(3))
    assert pool.map(square, range(3)) == [0, 1, 4]


def test_local_and_initializer_are_kept():
    calls = sharedmem.zeros(2, int)

    def initialize():
        calls[pool.local.rank] += 1
        pool.local.n_tasks = 0

    def count(_):
        pool.local.n_tasks += 1
        return pool.local.n_tasks

    with MapReduce(np=2, persistent=True, initializer=initialize) as pool:
        for k in range(1, 4):
            assert pool.map(count, range(2), chunksize=1) == [k, k]
    assert calls.tolist() == [1, 1]


def test_the_variables_of_the_function_are_as_they_are_now(pool):
    values = [1]
    for k in range(3):
        values.append(k)
        assert pool.map(lambda i: values[-1] + i, range(2)) == [k, k + 1]
        assert pool.map(lambda i: (i, tuple(values)), [0]) == [(0, tuple(values))]


def test_sections(pool):
    total, order = sharedmem.zeros(1, int), sharedmem.zeros(20, int)

    def work(i):
        with pool.critical:
            total[0] += i
        with pool.ordered:
            order[i] = order.max() + 1
        return pool.local.rank

    for _ in range(3):
        total[:], order[:] = 0, 0
        pool.map(work, range(20))
        assert total[0] == 190
        assert order.tolist() == list(range(1, 21))
        order[:] = 0
        assert len(list(pool.imap(work, range(20)))) == 20
        assert order.tolist() == list(range(1, 21))

    def meet(_):
        pool.barrier()

    for _ in range(3):
        assert pool.map(meet, range(4), chunksize=1) == [None] * 4
    with pytest.raises(WorkerException) as caught:
        pool.map(meet, range(3), chunksize=1)
    assert isinstance(caught.value.reason, BrokenBarrierError)
    pool.map(meet, range(4), chunksize=1)


def test_fewer_tasks_than_workers_and_another_number_of_workers():
    with MapReduce(np=3, persistent=True) as pool:
        for n_tasks in (1, 3, 2, 0, 10):
            assert pool.map(square, range(n_tasks)) == [i * i for i in range(n_tasks)]

        def meet(_):
            pool.barrier()
            with pool.ordered:
                return pool.local.rank

        assert pool.map(meet, range(2), chunksize=1) == [0, 1]
        pool.np = 2
        assert sorted(pool.map(meet, range(4), chunksize=1)) == [0, 0, 1, 1]


def test_random_numbers_are_those_of_other_pools():
    def draw(_):
        return pool.rng.random(), float(np.random.random())

    found = []
    for persistent in (False, True):
        with MapReduce(np=2, seed=3, persistent=persistent) as pool:
            found.append([pool.map(draw, range(2), chunksize=1) for _ in range(3)])
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def test_the_state_of_numpy_is_the_callers(pool):
    def divide(i):
        with np.errstate():
            return np.geterr()["divide"], str(np.float64(1) / np.array(3.0))

    usual = pool.map(divide, [0])
    with np.errstate(divide="raise"), np.printoptions(precision=2):
        assert pool.map(divide, [0])[0][0] == "raise"
        assert pool.map(lambda i: str(np.array([1 / 3])), [0]) == ["[0.33]"]
        with pytest.raises(WorkerException) as caught:
            pool.map(lambda i: np.float64(1) / i, [0])
        assert isinstance(caught.value.reason, FloatingPointError)
    assert pool.map(divide, [0]) == usual


def test_an_error_ends_the_team_and_not_the_pool(pool):
    first = pids(pool)
    for _ in range(2):
        with pytest.raises(WorkerException) as caught:
            pool.map(lambda i: 1 // i, [1, 0])
        assert isinstance(caught.value.reason, ZeroDivisionError)
        assert "test_persistent.py" in caught.value.traceback
    assert not pids(pool) & first
    with pytest.raises(ZeroDivisionError):
        pool.map(square, [1, 0], reduce=lambda x: 1 // x)
    assert pool.map(square, range(3)) == [0, 1, 4]


def test_stop_process_group(pool):
    def work(i):
        if i == 3:
            raise StopProcessGroup
        return i

    first = pids(pool)
    for _ in range(3):
        assert set(pool.map(work, range(10))) == set(range(10)) - {3}
        assert {0, 1, 2} <= set(pool.imap(work, range(100)))
    assert pids(pool) == first


@pytest.mark.parametrize("when", ["idle", "busy"])
def test_the_death_of_a_worker(pool, when):
    first = pids(pool)
    if when == "busy":
        with pytest.raises(WorkerException, match="SIGKILL while it ran task 1"):
            pool.map(lambda i: i and os.kill(os.getpid(), signal.SIGKILL), range(2))
    else:
        os.kill(min(first), signal.SIGKILL)
        time.sleep(0.1)
    second = pids(pool)
    assert len(second) == 2
    assert not first & second


def test_a_timeout():
    with MapReduce(np=2, persistent=True, timeout=2) as pool:
        assert pool.map(square, range(3)) == [0, 1, 4]
        with pytest.raises(TimeoutError):
            pool.map(time.sleep, [0, 60])
        assert pool.map(square, range(3)) == [0, 1, 4]


def test_a_generator_that_is_closed_early(pool):
    for _ in range(3):
        results = pool.imap(square, itertools.count())
        assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
        results.close()
    assert list(pool.imap_unordered(square, range(3), chunksize=3)) == [0, 1, 4]


def test_calls_at_the_same_time(pool):
    assert [pool.map(square, range(k)) for k in pool.imap(square, range(4))] == [
        [i * i for i in range(k)] for k in (0, 1, 4, 9)
    ]
    results: list[Any] = []

    def call() -> None:
        results.extend(pool.map(lambda i: i + 1, range(10)) == list(range(1, 11)) for _ in range(9))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 27


def test_nested_pools(pool):
    def work(i):
        with MapReduce(np=2, persistent=True) as inner:
            return sum(sum(inner.map(square, range(i))) for _ in range(2))

    assert pool.map(work, [2, 3, 4]) == [2, 10, 28]
    assert pool.map(lambda i: pool.map(square, range(i)), [2, 3]) == [[0, 1], [0, 1, 4]]


def test_lost_writes_are_told(pool):
    private = np.zeros(10)

    def work(i):
        private[i] = 1

    with pytest.warns(RuntimeWarning, match="'private'"):
        pool.map(work, range(10), chunksize=1)


def test_a_trace(pool):
    with MapReduce(np=2, persistent=True, trace=True) as pool:
        for n_tasks in (5, 3):
            pool.map(square, range(n_tasks))
            assert pool.trace is not None
            events = [event for worker in pool.trace.events for event in worker]
            assert sum(event.n_tasks for event in events) == n_tasks
            assert pool.trace.summary().seconds > 0


def test_threads_of_blas():
    with MapReduce(np=1, persistent=True, blas_threads=1) as pool:
        for _ in range(2):
            if blas.can_limit_after_fork():
                assert pool.map(lambda _: max(blas_threads(), default=1), [0]) == [1]


def blas_threads() -> list[int]:
    from threadpoolctl import threadpool_info

    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_array_functions(pool):
    x = np.arange(1000.0)
    shared, private = sharedmem.copy(x), np.ones(100_000)
    pool.map_chunks(lambda chunk: np.add(chunk, private[0], out=chunk), shared)
    assert (shared == x + 1).all()


def test_a_fork_of_the_coordinator_leaves_the_team_alone(pool):
    first = pids(pool)
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            with pool:
                status = int(bool(pids(pool) & first))
            with pool:
                pass
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert pids(pool) == first


@pytest.mark.parametrize("backend", [ThreadBackend])
def test_other_workers_do_not_stay(backend):
    with pytest.raises(ValueError, match="persistent=True needs"):
        MapReduce(backend, np=2, persistent=True)


@pytest.mark.slow
def test_an_interrupt_at_any_moment_leaves_the_pool_usable(pool):
    pool.map(lambda i: i, range(3))  # modules are loaded, which an interrupt would leave open
    moments, n_interrupted = range(3, 2000, 13), 0
    for at in moments:
        factor = at  # the function is pickled anew
        strike = Strike(at)
        with contextlib.suppress(KeyboardInterrupt), strike:
            assert pool.map(lambda i, k=factor: i * k, range(3)) == [0, at, 2 * at]
        n_interrupted += strike.n_left < 0
        assert pool.map(square, range(3)) == [0, 1, 4]
        if strike.n_left >= 0:
            break
    assert n_interrupted > 10
    for at in range(0, 400, 17):
        with contextlib.suppress(KeyboardInterrupt), Strike(at):
            assert list(pool.imap(square, range(3))) == [0, 1, 4]
        assert list(pool.imap(square, range(3))) == [0, 1, 4]


@pytest.mark.slow
def test_a_worker_killed_at_any_moment_ends_one_call_at_most(pool):
    random, reasons = np.random.default_rng(0), []
    for _ in range(30):
        victim = int(random.choice(sorted(pids(pool))))
        timer = threading.Timer(random.uniform(0, 0.005), os.kill, (victim, signal.SIGKILL))
        timer.start()
        for _ in range(5):
            try:
                assert pool.map(square, range(8)) == [i * i for i in range(8)]
                assert list(pool.imap(square, range(8))) == [i * i for i in range(8)]
            except WorkerException as error:
                reasons.append(type(error.reason))
        timer.join()
        time.sleep(0.02)  # A worker that dies when a call begins ends that.
    assert set(reasons) <= {DeadWorkerError}
    assert pool.map(square, range(3)) == [0, 1, 4]


@pytest.mark.slow
def test_a_program_may_exit_with_workers(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sharedmem, sys\n"
        "pool = sharedmem.MapReduce(np=2, persistent=True)\n"
        "files = []\n"
        "def work(i):\n"
        "    files.append(open(sys.argv[1], 'a'))\n"
        "    print(i, file=files[-1])\n"
        "pool.map(work, range(2), chunksize=1)\n"
        "assert sorted(open(sys.argv[1]).read().split()) == ['0', '1']\n"
        "stream = pool.imap(work, range(100))\n"
        "next(stream)\n"
    )
    for how in ("", "sys.exit(0)", "import os; os._exit(0)", "import os; os.kill(os.getpid(), 9)"):
        ends = program.with_name("ends.py")
        ends.write_text(program.read_text() + how)
        found = subprocess.run(
            [sys.executable, ends, tmp_path / f"text{len(how)}"],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert (found.returncode, found.stderr) == (-9 if "kill" in how else 0, b"")


def test_tasks_write_to_items_that_are_plain_views_of_shared_arrays() -> None:
    shared = sharedmem.zeros((6, 2))
    plain = np.asarray(shared)

    def write(row: Any) -> None:
        row += 1

    with MapReduce(np=2, persistent=True) as pool:
        pool.map(write, [plain[0], plain[1]])
        assert shared.tolist() == [[1, 1]] * 2 + [[0, 0]] * 4
        pool.map(write, plain)
        assert shared.tolist() == [[2, 2]] * 2 + [[1, 1]] * 4
