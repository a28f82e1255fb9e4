"""The shared memory in which the workers of one call take turns."""

from __future__ import annotations

import mmap
import threading

from sharedmem.workers.locks import SEMAPHORE_BYTES, EventBell, FileLock, ThreadBell, process_lock

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
        Whether they are processes that will be forked, or threads.
    fed : bool
        Whether tasks are handed out by the coordinator instead of claimed.
    """

    def __init__(self, n_workers: int, *, processes: bool, fed: bool = False) -> None:
        self.n_workers = n_workers
        self.has_processes = processes
        self.fed = fed
        n_bytes = 8 * (n_workers * (CACHE_LINE + 4) + len(Counter.ALL))
        make_bell: type[EventBell | ThreadBell]
        if processes:
            at = -(-n_bytes // SEMAPHORE_BYTES) * SEMAPHORE_BYTES
            memory = mmap.mmap(-1, at + 2 * SEMAPHORE_BYTES)
            self.words = memoryview(memory)[:n_bytes].cast("q")
            self.critical: FileLock | threading.Lock = process_lock(memory, at)
            self.mutex: FileLock | threading.Lock = process_lock(memory, at + SEMAPHORE_BYTES)
            make_bell = EventBell
        else:
            self.words = memoryview(bytearray(n_bytes)).cast("q")
            self.critical, self.mutex = threading.Lock(), threading.Lock()
            make_bell = ThreadBell
        fields = self.words[n_workers * CACHE_LINE :]
        self.fronts, self.awaited, self.given, self.finished = (
            fields[k * n_workers : (k + 1) * n_workers] for k in range(4)
        )
        self.counters = fields[4 * n_workers :]
        for rank in range(n_workers):
            self.words[rank * CACHE_LINE] = -1
            self.fronts[rank] = 0 if fed else rank
            self.awaited[rank] = -1
            self.given[rank] = -1
            self.finished[rank] = -1 if fed else PAST_ALL
        self.bells: list[EventBell | ThreadBell] = []
        try:
            for _ in range(n_workers):
                self.bells.append(make_bell())
        except OSError:
            self.close()
            raise

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
