"""Copied and unpickled pools, and other public objects."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import sharedmem
from sharedmem import MapReduce, MapReduceByThread, ProcessBackend, ThreadBackend, WorkerException


def unpickled(value):
    return pickle.loads(pickle.dumps(value))


HOW = [copy.copy, copy.deepcopy, unpickled]
how = pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)


class Prepare:
    """An initializer that can be pickled."""

    def __call__(self):
        Prepare.done = True


def draw(pool):
    return pool.map(lambda _: pool.rng.integers(1 << 60), range(4))


@how
class TestPools:
    @pytest.mark.parametrize("backend", [ProcessBackend, ThreadBackend])
    @pytest.mark.parametrize("n", [None, 0, 2])
    def test_options_are_kept(self, how, backend, n):
        pool = MapReduce(
            backend,
            np=n,
            initializer=Prepare(),
            timeout=30,
            blas_threads=None,
            trace=True,
            progress=True,
        )
        other = how(pool)
        assert type(other) is MapReduce
        assert repr(other) == repr(pool)
        assert other.backend is backend
        kept = (
            "np",
            "_timeout",
            "_blas_threads",
            "_has_trace",
            "_progress",
            "_is_serial_in_workers",
        )
        for name in kept:
            assert getattr(other, name) == getattr(pool, name)
        Prepare.done = False
        assert other.map(lambda _: Prepare.done, range(3)) == [True] * 3
        assert sum(event.n_tasks for events in other.trace.events for event in events) == 3

    def test_a_time_limit_is_kept(self, how):
        with pytest.raises(TimeoutError, match=r"timeout=0\.05"):
            how(MapReduce(np=1, timeout=0.05)).map(time.sleep, [10])

    def test_the_seed_and_the_number_of_calls_are_kept(self, how):
        pool = MapReduce(np=2, seed=5)
        assert draw(how(pool)) == draw(MapReduce(np=2, seed=5))
        first = draw(pool)
        other = how(pool)
        second = draw(other)
        assert second == draw(pool)
        assert second != first

    def test_without_a_seed_random_numbers_differ(self, how):
        pool = MapReduce(np=2)
        assert draw(how(pool)) != draw(pool)

    def test_a_copy_has_its_own_sections(self, how):
        pool = how(MapReduce(np=2))
        count, order = sharedmem.zeros(1, "i8"), sharedmem.full(20, -1)

        def work(i):
            with pool.ordered:
                order[count[0]] = i
                with pool.critical:
                    count[0] += 1
            return pool.local.rank

        assert set(pool.map(work, range(20))) == {0, 1}
        assert order.tolist() == list(range(20))

    def test_objects_that_hold_a_pool_and_its_sections_can_be_copied(self, how):
        @dataclasses.dataclass
        class Model:
            pool: MapReduce
            critical: object

        pool = MapReduce(np=2)
        model = Model(pool, pool.critical)
        other = Model(*how((model.pool, model.critical)))
        other = dataclasses.replace(other)
        count = sharedmem.zeros(1, "i8")

        def work(_):
            with other.critical:
                seen = int(count[0])
                time.sleep(0.0005)
                count[0] = seen + 1

        other.pool.map(work, range(40), chunksize=1)
        assert count[0] == 40

    def test_a_pool_may_be_subclassed(self, how):
        pool = how(Named("x", np=2))
        assert (type(pool), pool.name, pool.np) == (Named, "x", 2)
        assert pool.map(abs, [-1]) == [1]


class Named(MapReduce):
    def __init__(self, name, **options):
        super().__init__(**options)
        self.name = name


@pytest.mark.parametrize("call", ["imap", "imap_unordered"])
@pytest.mark.parametrize("backend", [ProcessBackend, ThreadBackend])
def test_a_pool_in_an_item_is_the_one_that_runs_the_task(backend, call):
    pool = MapReduce(backend, np=2)
    count = sharedmem.zeros(1, "i8")

    def work(item):
        with item.critical:
            seen = int(count[0])
            time.sleep(0.0005)
            count[0] = seen + 1
        return item.local.rank

    assert set(getattr(pool, call)(work, [pool] * 40, chunksize=1)) == {0, 1}
    assert count[0] == 40


def test_a_pool_that_a_task_copies_or_returns_is_the_one_that_runs_it():
    pool = MapReduce(np=2)

    def work(_):
        with copy.deepcopy(pool).ordered:
            return copy.copy(pool).local.rank, pool.local.rank, pool

    for one, two, returned in pool.map(work, range(4), chunksize=1):
        assert one == two
        assert returned.map(abs, [-1]) == [1]


def test_an_initializer_that_cannot_be_pickled_is_named():
    pool = MapReduce(np=2, initializer=lambda: None)
    with pytest.raises(Exception, match="lambda"):
        pickle.dumps(pool)
    assert copy.deepcopy(pool).map(abs, [-1]) == [1]


@how
def test_other_public_objects_can_be_copied_and_pickled(how):
    grid = sharedmem.chunks((10, 4), n=3, overlap=1)
    assert how(grid) == grid
    assert (how(grid[1]), how(grid[1]).interior) == (grid[1], grid[1].interior)
    for backend in (ProcessBackend, ThreadBackend):
        assert how(backend) is backend
        assert MapReduce(how(backend()), np=2).map(abs, [-1]) == [1]
    reduction = sharedmem.Reduction(chunk=np.sum, combine=np.add, finalize=float, identity=0.0)
    assert how(reduction) == reduction
    pool = MapReduceByThread(np=2)
    assert how(pool).map(lambda _: threading.current_thread().daemon, [0]) == [True]
    traced = MapReduce(np=2, trace=True)
    traced.map(abs, range(4))
    assert repr(how(traced.trace).summary()) == repr(traced.trace.summary())
    error = WorkerException(ValueError("x"), "trace")
    assert str(how(error)) == str(error)
    dead = sharedmem.DeadWorkerError("gone", -9)
    assert (str(how(dead)), how(dead).exitcode) == ("gone", -9)


class TestConsumers:
    """The consumer of imap and the workers exclude each other in critical, as with reduce."""

    @pytest.mark.parametrize("backend", [ProcessBackend, ThreadBackend])
    def test_a_consumer_takes_turns_with_the_workers(self, backend):
        pool = MapReduce(backend, np=2)
        count = sharedmem.zeros(1, "i8")

        def step():
            with pool.critical:
                seen = int(count[0])
                time.sleep(0.0005)
                count[0] = seen + 1

        for _ in pool.imap(lambda _: step(), range(40), chunksize=1):
            step()
        for _ in pool.imap_unordered(lambda _: step(), range(20), chunksize=1):
            step()
        assert count[0] == 120
        step()  # outside of critical, too

    @pytest.mark.parametrize("backend", [ProcessBackend, ThreadBackend])
    def test_taking_a_result_inside_critical_is_refused(self, backend):
        pool = MapReduce(backend, np=2)
        results = pool.imap(abs, range(100), chunksize=1)
        next(results)
        with pool.critical, pytest.raises(RuntimeError, match="leave the block first"):
            next(results)
        with pool.critical:
            pass
        assert list(results) == []  # the call has ended
        assert pool.map(abs, [-1]) == [1]

    def test_two_calls_and_two_consumers(self):
        pool = MapReduce(np=1)
        count = sharedmem.zeros(1, "i8")

        def consume():
            for _ in pool.imap(abs, range(30), chunksize=1):
                with pool.critical:
                    count[0] += 1

        threads = [threading.Thread(target=consume) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert count[0] == 90

    def test_a_worker_that_dies_inside_critical_ends_the_call(self):
        pool = MapReduce(np=2)
        inside = sharedmem.zeros(1, "?")

        def work(i):
            if i:
                with pool.critical:
                    inside[0] = True
                    time.sleep(0.2)
                    os.kill(os.getpid(), signal.SIGKILL)
            return i

        results = pool.imap(work, range(8), chunksize=1)
        assert next(results) == 0
        while not inside[0]:
            time.sleep(0.001)
        with pytest.raises(WorkerException, match="SIGKILL"), pool.critical:
            pass
        with pytest.raises(WorkerException, match="SIGKILL"):
            list(results)
        assert pool.map(abs, [-1]) == [1]
