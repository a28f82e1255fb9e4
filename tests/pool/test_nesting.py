"""Pools inside the tasks of pools."""

from __future__ import annotations

import os

from sharedmem import (
    MapReduce,
)


def test_nested_pools_are_serial_unless_np_is_given(backend):
    def work(i):
        inner = MapReduce()
        forked = MapReduce(np=2)
        return (
            inner.np,
            inner.map(lambda j: os.getpid(), [0])[0] == os.getpid(),
            forked.map(lambda j: os.getpid(), [0])[0] == os.getpid(),
        )

    assert MapReduce(backend, np=2).map(work, range(2)) == [(0, True, False)] * 2


def test_a_pool_may_be_used_in_its_own_tasks(backend):
    pool = MapReduce(backend, np=2)

    def work(i):
        with pool.ordered:
            inner = pool.map(lambda j: 10 * i + j, range(2))
        return [*inner, pool.local.rank]

    assert pool.map(work, range(2)) == [[0, 1, 0], [10, 11, 1]]
