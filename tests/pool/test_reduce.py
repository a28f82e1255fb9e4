"""`map` with `reduce`: its arguments, and the process that it runs in."""

from __future__ import annotations

import collections
import os

import pytest

import sharedmem
from sharedmem import (
    MapReduce,
)


class Point(collections.namedtuple("Point", "x y")):
    __slots__ = ()

    def __new__(cls, x, y=7):
        return super().__new__(cls, x, y)


def test_a_tuple_is_unpacked(pool):
    seen = []

    def reduce(i, square):
        seen.append(i)
        return square

    assert pool.map(lambda i: (i, i * i), range(10), reduce=reduce) == [i * i for i in range(10)]
    assert sorted(seen) == list(range(10))


def test_a_namedtuple_is_unpacked_like_a_tuple(pool):
    assert pool.map(Point, range(2), reduce=lambda x, y: (y, x)) == [(7, 0), (7, 1)]


def test_none_is_passed_to_reduce(pool):
    assert pool.map(lambda i: None, range(3), reduce=lambda x: [x]) == [[None]] * 3


def test_reduce_runs_in_the_coordinator_and_may_count(pool):
    counts = collections.Counter()

    def reduce(word_counts):
        assert os.getpid() == coordinator
        counts.update(word_counts)

    coordinator = os.getpid()
    pool.map(lambda text: collections.Counter(text.split()), ["a b", "b c"], reduce=reduce)
    assert counts == {"a": 1, "b": 2, "c": 1}


def test_an_exception_of_reduce_is_raised_unchanged(pool):
    with pytest.raises(KeyError, match="from reduce"):
        pool.map(abs, range(100), reduce=lambda i: {}["from reduce"])
    assert pool.map(abs, [-1]) == [1]


def test_reduce_and_workers_exclude_each_other_in_critical(backend):
    total = sharedmem.zeros(1, "i8")
    with MapReduce(backend, np=2) as pool:

        def add(i):
            with pool.critical:
                total[0] += 1

        pool.map(add, range(200), reduce=add)
    assert total[0] == 400
