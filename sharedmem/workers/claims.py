"""Claim runs of tasks, as many as are estimated to take a given time."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sharedmem.workers.sections import WorkerSync

# The time that a claim should take. Each claim costs a message to the coordinator.
CLAIM_SECONDS = 0.02
# The same where tasks take turns: the other workers wait while one runs the tasks of its claim, and
# only short tasks need to share the cost of handing over a turn.
TURNS_SECONDS = 0.0001


def claims(sync: WorkerSync, n_tasks: int, size: int | None) -> Iterator[tuple[int, int]]:
    """Claim tasks until none are left.

    The first claim of each worker begins at its rank, so that each worker gets a task if there are
    enough. If `size` is None, a claim has as many tasks as are estimated to take `CLAIM_SECONDS`,
    or `TURNS_SECONDS` if tasks take turns, but at most half of a fair share of the tasks left.

    Parameters
    ----------
    sync : WorkerSync
        The sections of the worker that claims them.
    n_tasks : int
        The number of tasks.
    size : int or None
        Tasks per claim; None adapts the size to the duration of tasks.

    Yields
    ------
    start, stop : int
        The tasks of a claim are in [start, stop).
    """
    length = first_length = size or 1
    start = sync.rank * length
    n_workers = sync.team.n_workers
    pace = Pace(n_workers)
    while start < n_tasks:
        stop = min(start + length, n_tasks)
        began = time.perf_counter() - (sync.turns_waited() or 0.0)
        yield start, stop
        if size is None:
            turns_waited = sync.turns_waited()
            elapsed = time.perf_counter() - (turns_waited or 0.0) - began
            claim_seconds = CLAIM_SECONDS if turns_waited is None else TURNS_SECONDS
            length = pace.next_length(length, elapsed, n_tasks - stop, claim_seconds)
        start = sync.take(length, n_workers * first_length)


class Pace:
    """Estimate the length of claims from the time that earlier ones have taken."""

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._task_seconds = 0.0

    def next_length(
        self,
        length: int,
        elapsed: float,
        n_left: int,
        claim_seconds: float,
        least_seconds: float = 0.0,
    ) -> int:
        """Return the number of tasks of a claim that is estimated to take `claim_seconds`.

        Parameters
        ----------
        length : int
            The number of tasks of the last claim.
        elapsed : float
            The seconds that they took.
        n_left : int
            The number of tasks that are left; a claim takes at most half of a fair share of them.
        claim_seconds : float
            The seconds that a claim should take.
        least_seconds : float
            A fair share that takes less is not halved.
        """
        # The estimate falls slowly: where durations vary, a claim must not get several long tasks.
        self._task_seconds = max(elapsed / length, self._task_seconds / 2, 1e-9)
        half_share = n_left // (2 * self._n_workers)
        least = min(int(least_seconds / self._task_seconds), -(-n_left // self._n_workers))
        wanted = min(8 * length, int(claim_seconds / self._task_seconds), half_share)
        return max(1, least, wanted)
