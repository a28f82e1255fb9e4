"""`imap` and `imap_unordered`."""

from __future__ import annotations

import itertools
import os
import time

import numpy as np
import pytest

from sharedmem import (
    MapReduce,
    StopProcessGroup,
    WorkerException,
)


def test_results_come_in_the_order_of_the_items(pool):
    assert list(pool.imap(lambda i: i * i, range(300))) == [i * i for i in range(300)]


def test_imap_unordered_yields_all_results(pool):
    assert sorted(pool.imap_unordered(lambda i: i * i, range(300))) == [i * i for i in range(300)]


def test_imap_unordered_yields_results_as_they_complete():
    results = MapReduce(np=2).imap_unordered(lambda s: (time.sleep(s), s)[1], [0.5, 0.0])
    assert list(results) == [0.0, 0.5]


@pytest.mark.parametrize("chunksize", [None, 1, 10])
def test_infinite_iterables_are_read_a_little_ahead(pool, chunksize):
    taken = itertools.count()
    results = pool.imap(lambda i: i + 1, taken, chunksize=chunksize)
    assert list(itertools.islice(results, 5)) == [1, 2, 3, 4, 5]
    results.close()
    assert next(taken) <= 5 + (4 * max(pool.np, 1) + 1) * (chunksize or 256)


def test_nothing_starts_before_the_first_result_is_taken(pool):
    items = iter([1])
    pool.imap(abs, items)
    assert next(items) == 1


def test_the_iterator_may_be_dropped(pool):
    results = pool.imap(abs, itertools.count())
    next(results)
    del results
    assert pool.map(abs, [-1]) == [1]


def test_large_items_and_results(pool):
    items = [np.full(50_000, k) for k in range(6)]
    for k, result in enumerate(pool.imap(lambda x: x + 1, iter(items))):
        assert (result == k + 1).all()


def test_star_unpacks_items(pool):
    assert list(pool.imap(lambda a, b: a - b, [(3, 1)], star=True)) == [2]
    assert list(pool.imap_unordered(lambda a, b: a - b, [(3, 1)], star=True)) == [2]


def test_an_exception_of_a_task_is_wrapped(backend):
    pool = MapReduce(backend, np=2)
    results = pool.imap(lambda i: 1 // (2 - i), itertools.count())
    with pytest.raises(WorkerException, match="Task 2 in worker"):
        list(results)
    assert pool.map(abs, [-1]) == [1]


def test_an_exception_of_the_iterable_is_raised_unchanged(pool):
    def items():
        yield from range(5)
        raise KeyError("from the iterable")

    with pytest.raises(KeyError, match="from the iterable"):
        list(pool.imap(abs, items()))


def test_a_killed_worker_ends_the_call():
    pool = MapReduce(np=2)
    with pytest.raises(WorkerException, match="SIGKILL"):
        list(pool.imap(lambda i: i == 9 and os.kill(os.getpid(), 9), itertools.count()))


def test_a_time_limit_raises_timeout_error():
    results = MapReduce(np=2, timeout=0.3).imap(time.sleep, [0, 60])
    assert next(results) is None
    with pytest.raises(TimeoutError):
        next(results)


def test_a_stopped_worker_yields_no_more_results():
    def work(i):
        if i == 3:
            raise StopProcessGroup
        return i

    results = list(MapReduce(np=2).imap(work, range(40), chunksize=1))
    assert 3 not in results
    assert results == sorted(results)
    assert len(results) >= 36


def test_an_argument_that_is_not_iterable_is_refused_immediately(pool):
    with pytest.raises(TypeError, match="needs something to iterate"):
        pool.imap(abs, 3)


def test_random_numbers_do_not_depend_on_when_results_are_taken(pool):
    pool = MapReduce(pool.backend, np=pool.np, seed=3)
    draws = pool.imap(lambda i: pool.rng.random(), range(2))
    later = pool.map(lambda i: pool.rng.random(), range(2))
    reference = MapReduce(np=0, seed=3)
    assert list(draws) == reference.map(lambda i: reference.rng.random(), range(2))
    assert later == reference.map(lambda i: reference.rng.random(), range(2))
