"""Threads of BLAS libraries during a call."""

from __future__ import annotations

import os
import threading
import time

from threadpoolctl import threadpool_info

from sharedmem import (
    MapReduce,
    MapReduceByThread,
)


def n_blas_threads(_=None):
    return [library["num_threads"] for library in threadpool_info()]


def test_blas_threads_are_limited_in_workers_only():
    before = n_blas_threads()
    assert MapReduce(np=1).map(n_blas_threads, range(1)) == [[1] * len(before)]
    assert MapReduce(np=1, blas_threads=None).map(n_blas_threads, range(1)) == [before]
    assert n_blas_threads() == before


def test_limiting_blas_threads_starts_no_threads():
    def n_threads(_=None):
        return len(os.listdir("/proc/self/task"))

    MapReduce(np=2).map(abs, range(2))  # before a fork, BLAS ends its threads
    before = n_threads()
    assert MapReduce(np=2).map(n_threads, range(2)) == [1, 1]
    MapReduceByThread(np=2).map(abs, range(2))
    deadline = time.monotonic() + 5
    while n_threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # The system lists a thread for a while after it has been joined.
    assert n_threads() <= before


def test_blas_threads_are_limited_until_the_last_of_two_calls_ends():
    before = n_blas_threads()
    starts, ends = threading.Barrier(2), threading.Event()

    def short_call():
        MapReduceByThread(np=1).map(lambda _: starts.wait(), range(1))
        ends.set()

    thread = threading.Thread(target=short_call)
    thread.start()
    MapReduceByThread(np=1).map(lambda _: (starts.wait(), ends.wait()), range(1))
    thread.join()
    assert n_blas_threads() == before
