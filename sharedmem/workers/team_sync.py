"""The shared memory in which the workers of one call take turns."""

from __future__ import annotations

import threading
from typing import Any, TypeAlias

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

_Lock: TypeAlias = "FileLock | threading.Lock"
CACHE_LINE = 8  # int64 words; what each task writes is on a line of its worker
PAST_ALL = 2**63 - 1


class Counter:
    """Places of the counters that the workers of a call share, as plain integers."""

    TAKEN, ARRIVED, GENERATION, LEFT, TURNS_USED, INSIDE, LOST = ALL = range(7)


class Word:
    """Places on the line of a worker, as plain integers.

    The times at which it was ready and at which its task began are in nanoseconds of the monotonic
    clock: 0 before, and between tasks; and minus the time that the task has run while it waits for
    other tasks.
    """

    INDEX, BEGAN, READY, RESTARTS = range(4)


class TeamSync:
    """The state that the workers of one call share to take turns.

    Guarantees: a task that skips its ordered block, enters it twice, or raises before it never
    blocks the others; no worker spins; the coordinator takes none of the locks that a worker may
    die with, except `critical`, and that with a time limit.

    Each worker publishes its front: it has finished all of its tasks before that number. The turn
    of a task has come when the fronts of all other workers have reached it. This is exact, since
    tasks are claimed in rising order. Where the coordinator hands out the tasks, also in rising
    order, a worker that has done all of its tasks blocks no other: its next task is a later one.

    In a tolerant call, tasks are lost when workers die, and are handed out once more: until then,
    tasks after the first lost one wait, and so they do for a task that runs again. Since tasks may
    have been inside their ordered block by then, the worker that is inside is noted. The locks are
    such that the kernel releases, and `restart` undoes what else a dead worker has left.

    Parameters
    ----------
    n_workers : int
        Number of workers.
    processes : bool
        Whether they are processes, or threads.
    fed : bool
        Whether tasks are handed out by the coordinator instead of claimed.
    tolerant : bool
        Whether the call goes on when a worker, which is a process, dies.
    stays : bool
        Whether other calls, tolerant or not, will follow.

    Notes
    -----
    Forked workers inherit it. To reach a spawned one it is pickled, within `descriptors_noted`.
    """

    def __init__(
        self,
        n_workers: int,
        *,
        processes: bool,
        fed: bool = False,
        tolerant: bool = False,
        stays: bool = False,
    ) -> None:
        self.n_workers = n_workers
        self.has_processes = processes
        n_words = _n_words(n_workers)
        make_bell: type[EventBell | ThreadBell]
        self.critical: _Lock
        self.mutex: _Lock
        self._locks: dict[bool, tuple[_Lock, _Lock]] = {}
        if processes:
            self._memory = allocate((8 * n_words + 3 * SEMAPHORE_BYTES,), "u1", (0,))
            self._memory[:] = 0
            if stays or not tolerant:
                first, second = _places(self._memory, n_words)
                self._locks[False] = process_lock(first), process_lock(second)
            if stays or tolerant:
                self._locks[True] = FileLock(), FileLock()
            self._divide(self._memory.data[: 8 * n_words].cast("q"))
            make_bell = EventBell
        else:
            self._locks[False] = threading.Lock(), threading.Lock()
            self._divide(memoryview(bytearray(8 * n_words)).cast("q"))
            make_bell = ThreadBell
        self.reset(n_workers, fed=fed, tolerant=tolerant)
        self.bells: list[EventBell | ThreadBell] = []
        try:
            for _ in range(n_workers):
                self.bells.append(make_bell())
        except OSError:
            self.close()
            raise

    def reset(self, n_workers: int, *, fed: bool, tolerant: bool) -> None:
        """Begin a call for the first workers, while none of them runs tasks."""
        self.take_part(n_workers, fed=fed, tolerant=tolerant)
        for rank in range(self.size):
            for word in range(CACHE_LINE):
                self.words[rank * CACHE_LINE + word] = 0
            self.words[rank * CACHE_LINE] = -1
            self.fronts[rank] = 0 if fed else rank if rank < n_workers else PAST_ALL
            self.awaited[rank] = -1
            self.given[rank] = -1
            self.finished[rank] = -1 if fed else PAST_ALL
        for counter in Counter.ALL:
            self.counters[counter] = 0
        self.counters[Counter.LOST] = PAST_ALL

    def take_part(self, n_workers: int, *, fed: bool, tolerant: bool) -> None:
        """Take part, in a worker, in the call that has begun."""
        self.n_workers = n_workers
        self.fed = fed
        self.tolerant = tolerant
        self.critical, self.mutex = self._locks[tolerant]

    def _divide(self, words: memoryview) -> None:
        n_workers, self.words = self.n_workers, words
        fields = words[n_workers * CACHE_LINE :]
        self.fronts, self.awaited, self.given, self.finished = (
            fields[k * n_workers : (k + 1) * n_workers] for k in range(4)
        )
        self.counters = fields[4 * n_workers :]

    def __getstate__(self) -> Any:
        """Return the state for a spawned worker, which gets no thread locks and semaphores."""
        locks = {
            tolerant: [lock if isinstance(lock, FileLock) else None for lock in pair]
            for tolerant, pair in self._locks.items()
        }
        return self.size, self.fed, self.tolerant, self._memory, locks, self.bells

    def __setstate__(self, state: Any) -> None:
        size, fed, tolerant, self._memory, locks, self.bells = state
        self.n_workers = size
        self.has_processes = True
        n_words = _n_words(size)
        places = _places(self._memory, n_words)
        self._locks = {
            kind: (first or lock_at(places[0]), second or lock_at(places[1]))
            for kind, (first, second) in locks.items()
        }
        self._divide(self._memory.data[: 8 * n_words].cast("q"))
        self.take_part(size, fed=fed, tolerant=tolerant)

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

    def ready_since(self, rank: int) -> int:
        """Return when worker `rank` of a tolerant call was initialized; 0 if it is not yet."""
        return self.words[rank * CACHE_LINE + Word.READY]

    def give(self, rank: int, start: int) -> None:
        """Note that worker `rank`, which has nothing to do, is given tasks from `start` on."""
        # In this order: others see the front first.
        self.fronts[rank] = start
        self.given[rank] += 1

    def hold(self, index: int) -> None:
        """Let tasks wait for their turn if they come after `index`, the first lost one."""
        self.counters[Counter.LOST] = index
        self._ring_all()

    def restart(self, rank: int) -> None:
        """Undo what worker `rank` has left when it ended; its tasks have been taken from it."""
        line = rank * CACHE_LINE
        self.words[line + Word.READY] = self.words[line + Word.BEGAN] = 0
        self.words[line + Word.RESTARTS] += 1
        self.words[line + Word.INDEX] = self.awaited[rank] = -1
        self.given[rank] = self.finished[rank] = -1
        self.fronts[rank] = PAST_ALL
        if self.counters[Counter.INSIDE] == rank + 1:
            self.counters[Counter.INSIDE] = 0
        # It may have been about to ring.
        self._ring_all()

    def _ring_all(self) -> None:
        for bell in self.bells:
            bell.ring()

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
