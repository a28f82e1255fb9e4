"""`critical`, `ordered`, and `barrier` in the tasks of a pool."""

from __future__ import annotations

import random
import time

import pytest

import sharedmem
from sharedmem import (
    MapReduce,
    StopProcessGroup,
    WorkerException,
)


def test_critical_blocks_exclude_each_other(pool):
    count = sharedmem.zeros((), "i8")

    def work(i):
        for _ in range(20):
            with pool.critical:
                before = int(count)
                time.sleep(0)
                count[()] = before + 1

    pool.map(work, range(20))
    assert count == 400


def test_critical_inside_critical_raises(pool):
    def work(i):
        with pool.critical, pool.critical:
            pass

    with pytest.raises((WorkerException, RuntimeError), match="would wait for itself"):
        pool.map(work, range(1))


def test_critical_is_a_lock_of_one_worker(pool):
    count = sharedmem.zeros((), "i8")

    def work(i):
        assert pool.critical.acquire()
        before = int(count)
        time.sleep(0)
        count[()] = before + 1
        pool.critical.release()

    pool.map(work, range(50))
    assert count == 50


def test_a_release_without_acquire_raises(pool):
    with pytest.raises((WorkerException, RuntimeError), match=r"call acquire\(\) first"):
        pool.map(lambda i: pool.critical.release(), range(5))
    with pytest.raises(RuntimeError, match=r"call acquire\(\) first"):
        pool.critical.release()


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_task_that_never_releases_ends_the_call(backend, chunksize):
    pool = MapReduce(backend, np=3)
    with pytest.raises(WorkerException, match=r"(ended|entered) inside"):
        pool.map(lambda i: pool.critical.acquire(), range(30), chunksize=chunksize)
    with pytest.raises(WorkerException, match=r"(ended|entered) inside"):
        list(pool.imap(lambda i: pool.critical.acquire(), range(30)))
    assert pool.map(abs, range(3)) == [0, 1, 2]


def test_critical_is_released_after_an_exception(pool):
    def work(i):
        try:
            with pool.critical:
                raise KeyError
        except KeyError:
            with pool.critical:
                return i

    assert pool.map(work, range(10)) == list(range(10))


def test_ordered_runs_in_the_order_of_tasks(pool, tmp_path):
    path = tmp_path / "log"

    def work(i):
        time.sleep(random.random() / 1000)
        with pool.ordered, open(path, "a") as file:
            print(i, file=file)

    pool.map(work, range(60))
    assert path.read_text().split() == [str(i) for i in range(60)]


@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_ordered_may_be_skipped(pool, chunksize):
    log, end = sharedmem.zeros(30, "i8"), sharedmem.zeros((), "i8")

    def work(i):
        if i % 3:
            with pool.ordered:
                log[int(end)] = i
                end[()] += 1

    pool.map(work, range(45), chunksize=chunksize)
    assert log.tolist() == [i for i in range(45) if i % 3]


def test_an_exception_inside_ordered_does_not_block_other_tasks(backend):
    pool = MapReduce(backend, np=3)
    passed = sharedmem.zeros(30, "i8")

    def work(i):
        try:
            if i % 5 == 0:
                raise KeyError("before")
            with pool.ordered:
                if i % 5 == 1:
                    raise KeyError("inside")
            if i % 5 == 2:
                raise KeyError("after")
        except KeyError:
            pass
        passed[i] = 1

    pool.map(work, range(30))
    assert passed.all()


def test_entering_ordered_twice_raises(pool):
    def work(i):
        with pool.ordered:
            pass
        with pool.ordered:
            pass

    with pytest.raises((WorkerException, RuntimeError), match="a second time"):
        pool.map(work, range(4))


def test_ordered_continues_after_a_worker_has_stopped(backend):
    pool = MapReduce(backend, np=3)

    def work(i):
        if i == 1:
            raise StopProcessGroup
        with pool.ordered:
            return i

    assert pool.map(work, range(20)) == [0, *range(2, 20)]


def test_ordered_in_imap(pool):
    log = sharedmem.zeros(40, "i8")
    end = sharedmem.zeros((), "i8")

    def work(i):
        time.sleep(random.random() / 2000)
        with pool.ordered:
            log[int(end)] = i
            end[()] += 1

    list(pool.imap_unordered(work, range(40)))
    assert log.tolist() == list(range(40))


def test_barrier_waits_for_all_workers(pool):
    n = max(pool.np, 1)
    arrived = sharedmem.zeros(2 * n, "i8")

    def work(i):
        arrived[i] = 1
        pool.barrier()
        return int(arrived[: n * (i // n + 1)].sum())

    counts = pool.map(work, range(2 * n), chunksize=1)
    assert min(counts[:n]) >= n
    if pool.np:
        assert min(counts[n:]) == 2 * n


def test_a_barrier_that_other_workers_cannot_reach_raises(backend):
    pool = MapReduce(backend, np=2)
    with pytest.raises(WorkerException, match="no more tasks"):
        pool.map(lambda i: pool.barrier(), range(3), chunksize=1)


def test_barrier_in_imap_is_refused(backend):
    pool = MapReduce(backend, np=2)
    with pytest.raises(WorkerException, match="task of imap"):
        list(pool.imap(lambda i: pool.barrier(), range(2)))


def test_sections_do_not_wait_outside_a_call(pool):
    with pool.critical, pool.ordered:
        pool.barrier()
    assert pool.local.rank == 0
