"""Claim runs of tasks from a cursor that the workers share."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

from sharedmem.machine.descriptors import with_descriptors
from sharedmem.memory.memory_files import anonymous_file

# The time that a claim should take. Each claim costs a message to the coordinator.
CLAIM_SECONDS = 0.02
# The same where tasks take turns: the other workers wait while one runs the tasks of its claim, and
# only short tasks need to share the cost of handing over a turn.
TURNS_SECONDS = 0.0001


class Cursor(Protocol):
    """A counter that hands out the numbers of tasks, each once."""

    def claim(self, n_tasks: int) -> int:
        """Return the first of `n_tasks` numbers that belong to the caller now."""
        ...

    def close(self) -> None:
        """Close the descriptor of the cursor, if it has one."""
        ...


class FileCursor:
    """A cursor for processes: the offset of an open file, which the kernel moves atomically.

    No number is handed out twice, and a worker that is killed leaves no lock taken.
    """

    def __init__(self, start: int) -> None:
        raw = anonymous_file("sharedmem-cursor")
        try:
            # The kernel locks the offset of files that were opened by open(), and not of those of
            # memfd_create, which would hand out some numbers twice.
            path = f"/proc/self/fd/{raw}"
            self._descriptor = with_descriptors(lambda: os.open(path, os.O_RDWR | os.O_CLOEXEC))
            self._close = weakref.finalize(self, os.close, self._descriptor)
        finally:
            os.close(raw)
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def claim(self, n_tasks: int) -> int:
        """Return the first of `n_tasks` numbers that belong to the caller now."""
        return os.lseek(self._descriptor, n_tasks, os.SEEK_CUR) - n_tasks

    def close(self) -> None:
        """Close the file."""
        self._close()


class LockedCursor:
    """A cursor for threads."""

    def __init__(self, start: int) -> None:
        self._next = start
        self._lock = threading.Lock()

    def claim(self, n_tasks: int) -> int:
        """Return the first of `n_tasks` numbers that belong to the caller now."""
        with self._lock:
            first = self._next
            self._next += n_tasks
        return first

    def close(self) -> None:
        """Do nothing: there is no descriptor to close."""


def claims(
    cursor: Cursor,
    rank: int,
    n_workers: int,
    n_tasks: int,
    size: int | None,
    waited: Callable[[], float | None],
) -> Iterator[tuple[int, int]]:
    """Claim tasks until none are left.

    The first claim of each worker begins at its rank and does not move the cursor, so that each
    worker gets a task if there are enough. If `size` is None, a claim has as many tasks as are
    estimated to take `CLAIM_SECONDS`, or `TURNS_SECONDS` if tasks take turns, but at most half of
    a fair share of the tasks that are left.

    Parameters
    ----------
    cursor : Cursor
        The next task after the first claims, ``n_workers * (size or 1)``.
    rank, n_workers, n_tasks : int
        The number of the worker, the number of workers, and the number of tasks.
    size : int or None
        Tasks per claim; None adapts the size to the duration of tasks.
    waited : callable
        Returns the seconds that this worker has waited for turns; None if no turns are taken.

    Yields
    ------
    start, stop : int
        The tasks of a claim are in [start, stop).
    """
    length = size or 1
    start = rank * length
    pace = Pace(n_workers)
    while start < n_tasks:
        stop = min(start + length, n_tasks)
        began = time.perf_counter() - (waited() or 0.0)
        yield start, stop
        if size is None:
            turns_waited = waited()
            elapsed = time.perf_counter() - (turns_waited or 0.0) - began
            claim_seconds = CLAIM_SECONDS if turns_waited is None else TURNS_SECONDS
            length = pace.next_length(length, elapsed, n_tasks - stop, claim_seconds)
        start = cursor.claim(length)


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
