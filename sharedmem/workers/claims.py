"""How workers claim runs of tasks from a cursor that they share."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Protocol

from sharedmem.machine.descriptors import with_descriptors
from sharedmem.memory.memory_files import anonymous_file

# A claim costs 30 us, in its worker and for the message to the coordinator, and 0.3 ms where the
# host has other work: there, 1,000 tasks of 1 ms took two workers 556 ms by claims of 5 ms, 530 by
# those of 20, and 527 by those of 40.
CLAIM_SECONDS = 0.02
# Tasks that take turns go on one by one, so the others wait while one worker does its claim. To
# hand over a turn takes 20 us, which short tasks share and long ones need not avoid.
TURNS_SECONDS = 0.0001


class Cursor(Protocol):
    """Hands out the numbers of tasks, each one once."""

    def claim(self, n_tasks: int) -> int:
        """Return the first of `n_tasks` numbers that are now the caller's."""
        ...

    def close(self) -> None:
        """Give back what the cursor holds of the system."""
        ...


class FileCursor:
    """A cursor for processes: the offset of an open file, which the kernel moves under its lock.

    Guarantees: no number is handed out twice, and a worker that is killed at any moment leaves
    nothing locked.
    """

    def __init__(self, start: int) -> None:
        raw = anonymous_file("sharedmem-cursor")
        try:
            # Only a file that came through open() has its offset locked; on the descriptor that
            # memfd_create returns, 0.6% of the numbers were handed out twice.
            path = f"/proc/self/fd/{raw}"
            self._descriptor = with_descriptors(lambda: os.open(path, os.O_RDWR | os.O_CLOEXEC))
            self._close = weakref.finalize(self, os.close, self._descriptor)
        finally:
            os.close(raw)
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def claim(self, n_tasks: int) -> int:
        """Return the first of `n_tasks` numbers that are now the caller's."""
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
        """Return the first of `n_tasks` numbers that are now the caller's."""
        with self._lock:
            first = self._next
            self._next += n_tasks
        return first

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


def claims(
    cursor: Cursor,
    rank: int,
    n_workers: int,
    n_tasks: int,
    size: int | None,
    waited: Callable[[], float | None],
) -> Iterator[tuple[int, int]]:
    """Claim tasks until there are none left.

    The first claim of each worker needs no cursor: it begins at its rank, so that every worker
    gets a task while there are enough. With `size` None a claim is as long as takes
    `CLAIM_SECONDS`, or `TURNS_SECONDS`, but never over half of a fair share of what is left.

    Parameters
    ----------
    cursor : Cursor
        Starts behind the first claims, at ``n_workers * (size or 1)``.
    rank, n_workers, n_tasks : int
        The worker's number, how many there are, and the number of tasks.
    size : int or None
        Tasks a claim; None lets it grow.
    waited : callable
        Returns the seconds that this worker has waited for turns, None where none are taken.

    Yields
    ------
    start, stop : int
        The claim: tasks `start` to `stop`, without `stop`.
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
    """Says how long claims are to be, from how long earlier ones have taken."""

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
        """Return the length of a claim that takes `claim_seconds`, as far as is known.

        Parameters
        ----------
        length, elapsed
            The last claim's number of tasks, and the seconds that they took.
        n_left
            How many tasks are left: a claim takes no more than half of a fair share of them.
        claim_seconds
            The seconds that a claim should take.
        least_seconds
            What is not worth a claim of its own: so much is not halved.
        """
        # A long task is forgotten slowly: where lengths vary, one claim must not take several.
        self._task_seconds = max(elapsed / length, self._task_seconds / 2, 1e-9)
        half_share = n_left // (2 * self._n_workers)
        least = min(int(least_seconds / self._task_seconds), -(-n_left // self._n_workers))
        wanted = min(8 * length, int(claim_seconds / self._task_seconds), half_share)
        return max(1, least, wanted)
