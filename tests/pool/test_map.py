"""`map`: order of results, chunk sizes, sequences, and the state that the function sees."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sharedmem import (
    MapReduce,
)


def test_results_come_in_the_order_of_the_sequence(pool):
    with pool:
        assert pool.map(lambda i: i * i, range(100)) == [i * i for i in range(100)]


def test_every_worker_gets_a_task_if_there_are_enough(backend):
    with MapReduce(backend, np=3) as pool:
        ranks = pool.map(lambda i: (i, pool.local.rank), range(3))
    assert ranks == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("chunksize", [1, 2, 7, 1000])
def test_results_do_not_depend_on_chunksize(pool, chunksize):
    assert pool.map(str, range(50), chunksize=chunksize) == [str(i) for i in range(50)]


def test_all_arguments_by_keyword(pool):
    assert pool.map(func=abs, sequence=[-1], reduce=None, star=False, minlength=0) == [1]


def test_an_empty_sequence_calls_nothing(pool):
    assert pool.map(lambda i: 1 / 0, []) == []


def test_star_unpacks_items(pool):
    assert pool.map(lambda a, b: a - b, [(5, 2), (2, 5)], star=True) == [3, -3]


@pytest.mark.parametrize(
    "kind", [range, tuple, np.array, iter, set, bytes], ids=lambda kind: kind.__name__
)
def test_sequences_and_iterables(pool, kind):
    sequence = range(4) if kind is range else kind([0, 1, 2, 3])
    assert pool.map(lambda i: int(i) + 1, sequence) == [1, 2, 3, 4]


def test_rows_of_an_array(pool):
    table = np.arange(6.0).reshape(3, 2)
    assert pool.map(lambda row: row.sum(), table) == [1.0, 5.0, 9.0]


def test_the_function_is_not_pickled(pool):
    lock = threading.Lock()
    assert pool.map(lambda i: (i, lock.locked()), range(2)) == [(0, False), (1, False)]


def test_the_function_sees_the_state_at_the_time_of_the_call(pool):
    factor = 1
    with pool:
        for factor in (2, 3):
            assert pool.map(lambda i: i * factor, [5]) == [5 * factor]


def test_many_short_tasks(pool):
    assert pool.map(lambda i: i, range(20_000)) == list(range(20_000))


def test_a_pool_works_outside_a_with_block_and_can_be_entered_repeatedly(pool):
    assert pool.map(abs, [-1]) == [1]
    for _ in range(3):
        with pool:
            assert pool.map(abs, [-1]) == [1]


def test_map_in_several_threads(backend):
    pool = MapReduce(backend, np=2)
    results = {}

    def call(k):
        results[k] = pool.map(lambda i: i + k, range(200))

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {k: [i + k for i in range(200)] for k in range(4)}


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((3, [1]), TypeError, "func must be callable"),
        ((abs, {"a": 1}), TypeError, "dict cannot be indexed by position"),
        ((abs, 3), TypeError, "needs a sequence"),
    ],
)
def test_bad_arguments_are_refused(pool, arguments, error, text):
    with pytest.raises(error, match=text):
        pool.map(*arguments)


def test_bad_chunksize_is_refused(pool):
    with pytest.raises(ValueError, match="chunksize must be at least 1, got 0"):
        pool.map(abs, [1], chunksize=0)
