"""Local state, inherited state, and output of workers."""

from __future__ import annotations

import collections
import os
import signal
import threading
import warnings

import pytest

import sharedmem
from sharedmem import (
    MapReduce,
    WorkerException,
)


def test_local_keeps_what_a_worker_stores(pool):
    def work(i):
        pool.local.count = getattr(pool.local, "count", 0) + 1
        return pool.local.rank, pool.local.count

    ranks = collections.Counter()
    for rank, count in pool.map(work, range(30), chunksize=1):
        ranks[rank] = max(ranks[rank], count)
    assert sum(ranks.values()) == 30
    assert set(ranks) <= set(range(max(pool.np, 1)))


def test_one_buffer_row_per_worker(pool):
    rows = sharedmem.zeros((max(pool.np, 1), 10), "i8")

    def work(i):
        rows[pool.local.rank, i % 10] += 1

    pool.map(work, range(500))
    assert rows.sum(axis=0).tolist() == [50] * 10


def test_the_initializer_runs_once_per_worker(pool):
    runs = sharedmem.zeros(8, "i8")

    def initializer():
        runs[each.local.rank] += 1

    each = MapReduce(pool.backend, np=pool.np, initializer=initializer)
    each.map(abs, range(30))
    assert runs[: max(pool.np, 1)].tolist() == [1] * max(pool.np, 1)


def test_handlers_and_pending_output_stay_with_the_coordinator(capfd):
    calls = []
    before = signal.signal(signal.SIGTERM, lambda *_: calls.append(os.getpid()))
    try:
        print("pending", end="")
        with pytest.raises(WorkerException, match="killed by SIGTERM"):
            MapReduce(np=1).map(lambda i: os.kill(os.getpid(), signal.SIGTERM), range(1))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert calls == []
    assert capfd.readouterr().out == "pending"


def test_the_output_of_a_task_is_written(capfd):
    MapReduce(np=2).map(lambda i: print(f"<{i}>", end=""), range(3))
    assert sorted(capfd.readouterr().out.replace("><", "> <").split()) == ["<0>", "<1>", "<2>"]


def test_progress_is_shown_for_all_tasks(pool, capsys):
    MapReduce(pool.backend, np=pool.np, progress=True).map(abs, range(7))
    assert "7/7" in capsys.readouterr().err


def test_a_fork_beside_other_threads_gives_no_warning():
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert MapReduce(np=2).map(abs, [-1, -2]) == [1, 2]
    finally:
        stop.set()
        thread.join()
