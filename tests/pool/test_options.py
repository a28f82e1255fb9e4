"""Options of a pool."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sharedmem
from sharedmem import (
    MapReduce,
)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"np": -1}, ValueError, "np must be at least 0, got -1"),
        ({"np": 1.5}, TypeError, "np must be an integer, got 1.5"),
        ({"timeout": 0}, ValueError, "timeout must be positive, in seconds, got 0"),
        ({"timeout": -1.5}, ValueError, r"timeout must be positive, in seconds, got -1\.5"),
        ({"timeout": math.nan}, ValueError, "timeout must be positive, in seconds, got nan"),
        ({"timeout": "5"}, TypeError, "timeout must be a number of seconds, or None, got '5'"),
        ({"timeout": True}, TypeError, "timeout must be a number of seconds, or None, got Tr"),
        ({"initializer": 3}, TypeError, "initializer must be callable"),
        ({"seed": -4}, ValueError, "seed must be at least 0"),
        ({"blas_threads": 0}, ValueError, "blas_threads must be at least 1"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        MapReduce(**arguments)


@pytest.mark.parametrize("timeout", [math.inf, 3e6, 1e10, 1e300, np.float32(50), 10**400])
def test_time_limits_of_any_length(backend, timeout):
    pool = MapReduce(backend, np=2, timeout=timeout)
    assert pool.map(abs, [-1, 2]) == [1, 2]
    assert list(pool.imap(abs, [-1, 2])) == [1, 2]
    assert sharedmem.background(abs, -1, backend=backend).wait(timeout) == 1


def test_np_is_the_number_of_cores_by_default(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert MapReduce().np == 3
    assert sharedmem.MapReduceByThread().np == 3
    assert MapReduce(np=0).np == 0


def test_np_is_the_same_in_tasks():
    pool = MapReduce()
    assert pool.map(lambda i: pool.np, range(2)) == [pool.np] * 2


def test_aliases_of_pools():
    assert sharedmem.Pool is MapReduce
    assert sharedmem.TPool(2).map(abs, [-1]) == [1]


def test_more_workers_than_tasks():
    assert MapReduce(np=64).map(abs, [-1, 2]) == [1, 2]
    assert MapReduce(np=64).map(abs, range(64)) == list(range(64))
