"""The shared memory in which the workers of one call take turns."""

from __future__ import annotations

import threading
from typing import Any

from sharedmem.arrays.shared_array import SharedArray, allocate
from sharedmem.kernels.loops.layout import address_of
from sharedmem.workers.locks import (
    SEMAPHORE_BYTES,
    EventBell,
    FileLock,
    ThreadBell,
    lock_at,
    process_lock,
)

CACHE_LINE = 8  # int64 words; the index that each task writes is on a line of its worker
PAST_ALL = 2**63 - 1


class Counter:
    """Places of the counters that the workers of a call share, as plain integers."""

    TAKEN, ARRIVED, GENERATION, LEFT, TURNS_USED = ALL = range(5)


class TeamSync:
    """The state that the workers of one call share to take turns.

    Guarantees: a task that skips its ordered block, enters it twice, or raises before it never
    blocks the others; no worker spins; the coordinator takes none of the locks that a worker may
    die with, except `critical`, and that with a time limit.

    Each worker publishes its front: it has finished all of its tasks before that number. The turn
    of a task has come when the fronts of all other workers have reached it. This is exact, since
    tasks are claimed in rising order. Where the coordinator hands out the tasks, also in rising
    order, a worker that has done all of its tasks blocks no other: its next task is a later one.

    Parameters
    ----------
    n_workers : int
        Number of workers.
    processes : bool
        Whether they are processes, or threads.
    fed : bool
        Whether tasks are handed out by the coordinator instead of claimed.

    Notes
    -----
    Forked workers inherit it. To reach a spawned one it is pickled, within `descriptors_noted`.
    """

    def __init__(self, n_workers: int, *, processes: bool, fed: bool = False) -> None:
        self.n_workers = n_workers
        self.has_processes = processes
        self.fed = fed
        n_words = _n_words(n_workers)
        make_bell: type[EventBell | ThreadBell]
        self.critical: FileLock | threading.Lock
        self.mutex: FileLock | threading.Lock
        if processes:
            self._memory = allocate((8 * n_words + 3 * SEMAPHORE_BYTES,), "u1", (0,))
            self._memory[:] = 0
            self.critical, self.mutex = map(process_lock, _places(self._memory, n_words))
            self._divide(self._memory.data[: 8 * n_words].cast("q"))
            make_bell = EventBell
        else:
            self.critical, self.mutex = threading.Lock(), threading.Lock()
            self._divide(memoryview(bytearray(8 * n_words)).cast("q"))
            make_bell = ThreadBell
        self.reset(n_workers, fed=fed)
        self.bells: list[EventBell | ThreadBell] = []
        try:
            for _ in range(n_workers):
                self.bells.append(make_bell())
        except OSError:
            self.close()
            raise

    def reset(self, n_workers: int, *, fed: bool) -> None:
        """Begin a call for the first workers, while none of them runs tasks."""
        self.take_part(n_workers, fed=fed)
        for rank in range(self.size):
            self.words[rank * CACHE_LINE] = -1
            self.fronts[rank] = 0 if fed else rank if rank < n_workers else PAST_ALL
            self.awaited[rank] = -1
            self.given[rank] = -1
            self.finished[rank] = -1 if fed else PAST_ALL
        for counter in Counter.ALL:
            self.counters[counter] = 0

    def take_part(self, n_workers: int, *, fed: bool) -> None:
        """Take part, in a worker, in the call that has begun."""
        self.n_workers = n_workers
        self.fed = fed

    def _divide(self, words: memoryview) -> None:
        n_workers, self.words = self.n_workers, words
        fields = words[n_workers * CACHE_LINE :]
        self.fronts, self.awaited, self.given, self.finished = (
            fields[k * n_workers : (k + 1) * n_workers] for k in range(4)
        )
        self.counters = fields[4 * n_workers :]

    def __getstate__(self) -> Any:
        """Return the state for a spawned worker, which gets no thread locks and semaphores."""
        locks = self.critical, self.mutex
        files = [lock if isinstance(lock, FileLock) else None for lock in locks]
        return self.size, self.fed, self._memory, files, self.bells

    def __setstate__(self, state: Any) -> None:
        self.n_workers, self.fed, self._memory, files, self.bells = state
        self.has_processes = True
        n_words = _n_words(self.n_workers)
        self.critical, self.mutex = (
            file or lock_at(place)
            for file, place in zip(files, _places(self._memory, n_words), strict=True)
        )
        self._divide(self._memory.data[: 8 * n_words].cast("q"))

    @property
    def size(self) -> int:
        """The number of workers that the team has; some may take no part in a call."""
        return len(self.fronts)

    def index(self, rank: int) -> int:
        """Return the current or last task of worker `rank`; -1 before its first."""
        return self.words[rank * CACHE_LINE]

    def has_left(self, rank: int) -> bool:
        """Return whether worker `rank` has published that it has no more tasks."""
        return self.fronts[rank] == PAST_ALL

    def is_idle(self, rank: int) -> bool:
        """Return whether worker `rank` has done all tasks that it was given, and waits for more."""
        return self.fed and self.given[rank] == self.finished[rank]

    def close(self) -> None:
        """Close the bells."""
        for bell in self.bells:
            bell.close()


def _n_words(n_workers: int) -> int:
    return n_workers * (CACHE_LINE + 4) + len(Counter.ALL)


def _places(memory: SharedArray, n_words: int) -> tuple[int, int]:
    """Return the addresses of the semaphores of `critical` and `mutex`."""
    after = address_of(memory) + 8 * n_words
    first = -(-after // SEMAPHORE_BYTES) * SEMAPHORE_BYTES
    return first, first + SEMAPHORE_BYTES
