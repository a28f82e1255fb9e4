"""Each task is claimed once, by any worker and in claims of any length."""

from __future__ import annotations

import contextlib
import os
import random
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st

from sharedmem.workers import locks
from sharedmem.workers.claims import claims
from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.team_sync import TeamSync


class Sync(WorkerSync):
    """The sections of a worker that has waited for turns as long as a test says, or not at all."""

    waited: float | None = None

    def turns_waited(self):
        return self.waited


@pytest.fixture(params=["threads", "processes", "processes without semaphores"])
def make_team(request, monkeypatch):
    if request.param == "processes without semaphores":
        monkeypatch.setattr(locks, "semaphore_type", lambda: None)
    with contextlib.ExitStack() as stack:

        def make(n_workers):
            team = TeamSync(n_workers, processes=request.param != "threads")
            stack.callback(team.close)
            return team

        yield make


@given(
    n_tasks=st.integers(0, 300),
    n_workers=st.integers(1, 5),
    size=st.none() | st.integers(1, 400),
    waited=st.none() | st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_claims_cover_all_tasks_once(n_tasks, n_workers, size, waited, seed):
    team = TeamSync(n_workers, processes=False)
    syncs = [Sync(team, rank) for rank in range(n_workers)]
    for sync in syncs:
        sync.waited = waited
    workers = [claims(sync, n_tasks, size) for sync in syncs]
    taken = []
    random_order = random.Random(seed)  # not Hypothesis's: how many are left hangs on the clock
    while workers:
        worker = random_order.choice(workers)
        try:
            taken.extend(range(*next(worker)))
        except StopIteration:
            workers.remove(worker)
    assert sorted(taken) == list(range(n_tasks))


def test_the_first_claim_begins_at_the_rank(make_team):
    team = make_team(3)
    assert [next(claims(Sync(team, rank), 9, None)) for rank in range(3)] == [
        (0, 1),
        (1, 2),
        (2, 3),
    ]


def test_claims_grow_if_tasks_are_short(make_team):
    sync = Sync(make_team(1), 0)
    assert max(stop - start for start, stop in claims(sync, 9999, None)) > 1


@pytest.mark.parametrize("is_waiting", [False, True])
def test_the_wait_for_turns_does_not_shorten_claims(make_team, is_waiting):
    lengths = []
    sync = Sync(make_team(1), 0)
    sync.waited = 0.0
    for start, stop in claims(sync, 100, None):
        before = time.perf_counter()
        time.sleep(2e-4)
        if is_waiting:
            sync.waited += time.perf_counter() - before
        lengths.append(stop - start)
    assert (max(lengths) > 1) is is_waiting


@pytest.mark.parametrize("semaphore", [True, False], ids=["semaphore", "file"])
def test_processes_never_claim_the_same_task(tmp_path, semaphore, monkeypatch):
    if not semaphore:
        monkeypatch.setattr(locks, "semaphore_type", lambda: None)
    n_workers, n_claims = 4, 5000
    with contextlib.closing(TeamSync(n_workers, processes=True)) as team:
        pids = []
        for rank in range(n_workers):
            pid = os.fork()
            if pid == 0:
                sync = WorkerSync(team, rank)
                numbers = [sync.take(3, 0) for _ in range(n_claims)]
                np.array(numbers).tofile(tmp_path / str(rank))
                os._exit(0)
            pids.append(pid)
        for pid in pids:
            os.waitpid(pid, 0)
    claimed = np.concatenate([np.fromfile(path, int) for path in tmp_path.iterdir()])
    np.testing.assert_array_equal(np.sort(claimed), range(0, 3 * n_workers * n_claims, 3))
