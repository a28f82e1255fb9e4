"""Methods of multiprocessing's and other pools, for which libraries ask."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import threading
import time
from concurrent import futures
from functools import partial

import numpy as np
import pytest

import sharedmem
from sharedmem import DeadWorkerError, Executor, MapReduce, ThreadBackend, WorkerException

LONG = 60


@pytest.fixture(params=[False, True], ids=["forked", "persistent"])
def processes(request):
    with MapReduce(np=2, persistent=request.param) as pool:
        yield pool


def fail(*_):
    raise KeyError("name")


def test_results_are_those_of_map(pool):
    with pool:
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
        assert pool.starmap(pow, [(2, 3), (3, 2)], 1) == [8, 9]
        assert pool.map_async(lambda i: i * i, range(5)).get() == [0, 1, 4, 9, 16]
        assert pool.map_async(abs, iter([-1, -2]), 1).get(LONG) == [1, 2]
        assert pool.starmap_async(pow, [(2, 3)]).get() == [8]
        assert pool.apply(divmod, (7, 2)) == (3, 1)
        assert pool.apply(dict, kwds={"a": 1}) == {"a": 1}
        results = [pool.apply_async(lambda i: i + 1, [i]) for i in range(20)]
        assert [result.get() for result in results] == list(range(1, 21))


def test_sections_and_random_numbers_in_map_async():
    total = sharedmem.zeros(1)

    def work(i):
        with pool.critical:
            total[0] += i
        return pool.rng.integers(1000)

    with MapReduce(np=2, seed=1) as pool:
        numbers = pool.map_async(work, range(10)).get()
    assert total[0] == 45
    with MapReduce(np=0, seed=1) as pool:
        assert pool.map(work, range(10)) == numbers


def test_calls_of_an_executor_are_told_that_they_have_no_sections():
    def enter(name):
        with getattr(pool, name):
            pass

    def nested(i):
        with MapReduce(np=2) as inner:

            def work(j):
                with inner.critical:
                    return i + j

            return inner.map(work, range(2))

    with MapReduce(np=2) as pool:
        for work in (*(partial(enter, name) for name in ("critical", "ordered")), pool.barrier):
            with pytest.raises(WorkerException, match="a call of an executor"):
                pool.apply(work)
            with pytest.raises(RuntimeError, match="a call of an executor"):
                pool.executor().submit(work).result(LONG)
        assert pool.apply(nested, (1,)) == [1, 2]


def test_errors_are_those_of_map(processes):
    for result in processes.apply_async(fail), processes.map_async(fail, [1]):
        with pytest.raises(WorkerException) as caught:
            result.get()
        assert type(caught.value.reason) is KeyError
        assert "in fail" in caught.value.traceback
        assert not result.successful()
    with pytest.raises(WorkerException) as caught:
        processes.apply(os._exit, (3,))
    assert type(caught.value.reason) is DeadWorkerError
    assert processes.apply(abs, (-1,)) == 1


def test_errors_of_a_serial_pool_are_unchanged():
    with MapReduce(np=0) as pool:
        with pytest.raises(KeyError):
            pool.apply(fail)
        with pytest.raises(KeyError):
            pool.map_async(fail, [1]).get()


def test_a_result_that_is_not_ready(processes):
    flag = sharedmem.zeros(1, "?")

    def work(_=None):
        while not flag[0]:
            time.sleep(0.001)

    for result in processes.apply_async(work), processes.map_async(work, [1]):
        assert not result.ready()
        with pytest.raises(ValueError, match="not ready"):
            result.successful()
        result.wait(0.01)
        with pytest.raises(multiprocessing.TimeoutError, match=r"after 0\.01 seconds"):
            result.get(0.01)
        with pytest.raises(TimeoutError):
            result.get(0)
    flag[0] = True
    assert result.get() == [None]


def test_callbacks(pool):
    got, errors = [], []
    with pool:
        pool.apply_async(abs, (-1,), {}, got.append, errors.append)
        pool.map_async(abs, [-2, -3], None, got.append, errors.append)
        pool.map_async(fail, [1], callback=got.append, error_callback=errors.append)
        with pytest.raises(TypeError, match="callback must be callable"):
            pool.apply_async(abs, (-1,), callback=3)
    assert sorted(got, key=str) == [1, [2, 3]]
    assert len(errors) == 1


def test_map_calls_back_with_each_result(pool):
    got = []
    assert pool.map(abs, [-1, 2, -3], callback=got.append) == [1, 2, 3]
    assert sorted(got) == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        pool.map(abs, [-1, 2, -3], callback=lambda _: 1 / 0)


def test_initializer_with_arguments(pool):
    state = sharedmem.zeros(3)

    def start(at, value):
        state[at] = value

    other = MapReduce(pool.backend, pool.np, initializer=start, initargs=(1, 5.0))
    other.map(abs, [1, 2])
    assert state.tolist() == [0, 5, 0]
    with other:
        state[1] = 0
        assert other.apply(abs, (-1,)) == 1
    assert state.tolist() == [0, 5, 0]


def test_size():
    assert (MapReduce(np=3).size, MapReduce(np=3)._processes, MapReduce(np=0).size) == (3, 3, 1)


def test_a_closed_pool_takes_no_calls_and_finishes_those_it_has(pool):
    flag = sharedmem.zeros(1, "?")

    def work(i):
        while not flag[0] and pool.np:
            time.sleep(0.001)
        return i

    results = [pool.map_async(work, range(3)), pool.map_async(work, range(2))]
    results.append(pool.apply_async(work, (7,)))
    with pytest.raises(ValueError, match="call close"):
        pool.join()
    pool.close()
    for call in (
        lambda: pool.map(abs, [1]),
        lambda: next(pool.imap(abs, [1])),
        lambda: pool.apply_async(abs, (1,)),
        lambda: pool.map_async(abs, [1]),
        pool.executor,
    ):
        with pytest.raises(ValueError, match="the pool is closed"):
            call()
    flag[0] = True
    pool.join()
    assert [result.get(0) for result in results] == [[0, 1, 2], [0, 1], 7]
    pool.close()
    assert copy.copy(pool).map(abs, [-1]) == [1]


def test_terminate_ends_calls(processes):
    flag = sharedmem.zeros(1, "?")

    def work(_):
        while not flag[0]:
            time.sleep(0.001)

    begun, waiting = processes.map_async(work, [1]), processes.map_async(work, [1])
    call = processes.apply_async(time.sleep, (60,))
    while not (begun._future.running() and call._future.running()):
        time.sleep(0.001)
    processes.terminate()
    flag[0] = True
    processes.join()
    with pytest.raises(WorkerException):
        call.get()
    with pytest.raises(futures.CancelledError):
        waiting.get()
    assert begun.get() == [None]


def test_the_end_of_a_block_waits_and_the_pool_goes_on():
    pool = MapReduce(np=2)
    with pool:
        results = [pool.apply_async(time.sleep, (0.05,)) for _ in range(4)]
        results.append(pool.map_async(abs, [-1]))
    assert all(result.ready() for result in results)
    with pool:
        assert pool.apply(abs, (-1,)) == 1
        with pool:
            result = pool.apply_async(time.sleep, (0.3,))
        assert not result.ready()


def test_an_interrupt_in_the_block_ends_calls():
    results = []

    def work():
        with MapReduce(np=2) as pool:
            results.append(pool.apply_async(time.sleep, (60,)))
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert not results[0].successful()
    assert time.monotonic() - began < LONG


def test_a_pool_with_calls_travels(processes):
    processes.apply(abs, (-1,))
    copies = copy.copy(processes), pickle.loads(pickle.dumps(processes))
    for other in copies:
        assert other.np == 2
        with other:
            assert other.apply(abs, (-2,)) == 2


def test_executors_of_pools(pool):
    value = np.arange(3)
    with pool.executor() as executor:
        assert executor.submit(lambda: value.sum()).result() == 3
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
    threads = pool.backend is ThreadBackend and pool.np
    assert type(executor) is (futures.ThreadPoolExecutor if threads else Executor)


def test_masters_and_workers(pool):
    assert pool.is_master()
    assert pool.map(lambda _: pool.is_master(), range(2)) == [pool.np == 0] * 2
    assert pool.wait() is None


def test_many_threads(processes):
    results = [None] * 4

    def run(k):
        results[k] = [processes.apply_async(pow, (i, k)) for i in range(50)]

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, calls in enumerate(results):
        assert [call.get() for call in calls] == [i**k for i in range(50)]
