"""Each task is claimed once, by any worker and in claims of any length."""

from __future__ import annotations

import contextlib
import os
import random
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from sharedmem.workers.claims import FileCursor, LockedCursor, claims


def no_turns() -> None:
    """Return None: no task waits for its turn."""


@pytest.fixture(params=[FileCursor, LockedCursor])
def make_cursor(request):
    return request.param


@given(
    n_tasks=st.integers(0, 300),
    n_workers=st.integers(1, 5),
    size=st.none() | st.integers(1, 400),
    waited=st.none() | st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_claims_cover_all_tasks_once(n_tasks, n_workers, size, waited, seed):
    cursor = LockedCursor(n_workers * (size or 1))
    workers = [
        claims(cursor, rank, n_workers, n_tasks, size, lambda: waited) for rank in range(n_workers)
    ]
    taken = []
    random_order = random.Random(seed)  # not Hypothesis's: how many are left hangs on the clock
    while workers:
        worker = random_order.choice(workers)
        try:
            taken.extend(range(*next(worker)))
        except StopIteration:
            workers.remove(worker)
    assert sorted(taken) == list(range(n_tasks))


def test_the_first_claim_begins_at_the_rank(make_cursor):
    with contextlib.closing(make_cursor(3)) as cursor:
        assert [next(claims(cursor, rank, 3, 9, None, no_turns)) for rank in range(3)] == [
            (0, 1),
            (1, 2),
            (2, 3),
        ]


def test_claims_grow_if_tasks_are_short(make_cursor):
    with contextlib.closing(make_cursor(1)) as cursor:
        assert max(stop - start for start, stop in claims(cursor, 0, 1, 9999, None, no_turns)) > 1


@pytest.mark.parametrize("is_waiting", [False, True])
def test_the_wait_for_turns_does_not_shorten_claims(make_cursor, is_waiting):
    slept = 0.0
    lengths = []
    with contextlib.closing(make_cursor(1)) as cursor:
        for start, stop in claims(cursor, 0, 1, 100, None, lambda: slept if is_waiting else 0.0):
            before = time.perf_counter()
            time.sleep(2e-4)
            slept += time.perf_counter() - before
            lengths.append(stop - start)
    assert (max(lengths) > 1) is is_waiting


def test_processes_never_claim_the_same_task(tmp_path):
    n_workers, n_claims = 4, 5000
    with contextlib.closing(FileCursor(0)) as cursor:
        pids = []
        for rank in range(n_workers):
            pid = os.fork()
            if pid == 0:
                numbers = [cursor.claim(3) for _ in range(n_claims)]
                np.array(numbers).tofile(tmp_path / str(rank))
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
    claimed = np.concatenate([np.fromfile(path, int) for path in tmp_path.iterdir()])
    np.testing.assert_array_equal(np.sort(claimed), range(0, 3 * n_workers * n_claims, 3))
