"""How the workers of one call take turns: critical, ordered and barrier."""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from threading import BrokenBarrierError, get_ident

from sharedmem.memory.open_files import flush_again, held
from sharedmem.workers.locks import (
    SEMAPHORE_BYTES,
    Bell,
    EventBell,
    Lock,
    ThreadBell,
    process_lock,
)

_CACHE_LINE = 8  # int64 words; the index that each task writes stays on a line of its worker
_PAST_ALL = 2**63 - 1
_ARRIVED, _GENERATION, _LEFT, _TURNS_USED, _N_COUNTERS = range(5)


class TeamSync:
    """What the workers of one call share in order to take turns.

    Guarantees: a task that skips its ordered block, enters it twice or raises before it never
    holds up the others; nobody spins; the coordinator takes none of the locks that a worker may
    die with, but `critical`, and that with a time limit.

    Each worker publishes a front: it has passed every task of its own before that. A task's turn
    has come when the fronts of all other workers have reached it. Tasks are claimed in rising
    order, so that this is exact. Where the coordinator gives out the tasks, also in rising order,
    a worker that has handed in all that it was given holds nobody up: what it gets next is later.

    Parameters
    ----------
    n_workers : int
        How many workers there are.
    processes : bool
        Whether they are processes that will be forked, or threads.
    fed : bool
        Whether tasks are handed out by the coordinator instead of claimed.
    """

    critical: Lock
    mutex: Lock

    def __init__(self, n_workers: int, *, processes: bool, fed: bool = False) -> None:
        self.n_workers = n_workers
        self.has_processes = processes
        self.fed = fed
        n_bytes = 8 * (n_workers * (_CACHE_LINE + 4) + _N_COUNTERS)
        make_bell: Callable[[], Bell]
        if processes:
            at = -(-n_bytes // SEMAPHORE_BYTES) * SEMAPHORE_BYTES
            memory = mmap.mmap(-1, at + 2 * SEMAPHORE_BYTES)
            self.words = memoryview(memory)[:n_bytes].cast("q")
            self.critical = process_lock(memory, at)
            self.mutex = process_lock(memory, at + SEMAPHORE_BYTES)
            make_bell = EventBell
        else:
            self.words = memoryview(bytearray(n_bytes)).cast("q")
            self.critical, self.mutex = threading.Lock(), threading.Lock()
            make_bell = ThreadBell
        fields = self.words[n_workers * _CACHE_LINE :]
        self.fronts, self.awaited, self.given, self.finished = (
            fields[k * n_workers : (k + 1) * n_workers] for k in range(4)
        )
        self.counters = fields[4 * n_workers :]
        for rank in range(n_workers):
            self.words[rank * _CACHE_LINE] = -1
            self.fronts[rank] = 0 if fed else rank
            self.awaited[rank] = -1
            self.given[rank] = -1
            self.finished[rank] = -1 if fed else _PAST_ALL
        self.bells: list[Bell] = []
        try:
            for _ in range(n_workers):
                self.bells.append(make_bell())
        except OSError:
            self.close()
            raise

    def index(self, rank: int) -> int:
        """Return the task that worker `rank` is at, or was at last; -1 before its first."""
        return self.words[rank * _CACHE_LINE]

    def has_left(self, rank: int) -> bool:
        """Say whether worker `rank` has told that it has no more tasks."""
        return self.fronts[rank] == _PAST_ALL

    def is_idle(self, rank: int) -> bool:
        """Say whether worker `rank` has done all that it was given, and waits for more."""
        return self.fed and self.given[rank] == self.finished[rank]

    def close(self) -> None:
        """Give back what the bells hold of the system."""
        for bell in self.bells:
            bell.close()


class WorkerSync:
    """One worker's part in the `TeamSync` of its team."""

    def __init__(self, team: TeamSync, rank: int) -> None:
        self.team = team
        self.rank = rank
        self.slot = rank * _CACHE_LINE
        self._critical_owner: int | None = None
        self._seconds_waited = 0.0

    @property
    def index(self) -> int:
        """The task that the worker is at."""
        return self.team.words[self.slot]

    def begin(self, index: int) -> None:
        """Publish that the worker is at task `index`."""
        self.team.words[self.slot] = index
        self.advance(index)

    def claim(self, index: int) -> None:
        """Publish that the worker has claimed tasks from `index` on."""
        self.advance(index)

    def advance(self, index: int) -> None:
        """Publish that the worker has passed its tasks before `index`."""
        # Always with the mutex: who enters its turn sees this front, or is woken by it.
        team = self.team
        with team.mutex:
            team.fronts[self.rank] = index
            self._wake_next()

    def hand_in(self, index: int) -> None:
        """Publish that the worker has done the tasks given to it that begin at `index`."""
        team = self.team
        with team.mutex:
            team.finished[self.rank] = index
            self._wake_next()

    def leave(self) -> None:
        """Publish that the worker has no more tasks."""
        team = self.team
        with team.mutex:
            team.fronts[self.rank] = _PAST_ALL
            team.counters[_LEFT] = 1
            self._wake_next()
            if team.counters[_ARRIVED] or team.counters[_GENERATION]:
                self._ring_all()

    def enter_turn(self) -> None:
        """Wait until all tasks before this one have passed their ordered block."""
        team, index = self.team, self.index
        if self._critical_owner == get_ident():
            raise RuntimeError(
                "pool.ordered was entered inside pool.critical, which the tasks before this one "
                "may be waiting for: enter pool.ordered first, and pool.critical inside of it"
            )
        if team.fronts[self.rank] > index:
            raise RuntimeError(
                f"task {index} entered pool.ordered a second time, when its turn had passed: "
                "put all that must be in order into one block"
            )
        try:
            with team.mutex:
                team.counters[_TURNS_USED] = 1
                if team.fronts[self.rank] < index:
                    team.fronts[self.rank] = index
                    self._wake_next()
                is_turn = self._is_turn(index, self.rank)
                if not is_turn:
                    team.awaited[self.rank] = index
            if not is_turn:
                began = time.perf_counter()
                self._sleep_until(lambda: self._is_turn(index, self.rank))
                self._seconds_waited += time.perf_counter() - began
        finally:  # also when a handler of signals raises: others would be passed over for this one
            team.awaited[self.rank] = -1

    def leave_turn(self) -> None:
        """Let the next task have its turn."""
        try:
            for flush in held:
                flush()
        except ValueError:
            flush_again()
        finally:
            self.advance(self.index + 1)

    def turns_waited(self) -> float | None:
        """Return the seconds waited for turns; None if no task has entered an ordered block."""
        return self._seconds_waited if self.team.counters[_TURNS_USED] else None

    def _is_turn(self, index: int, rank: int) -> bool:
        team = self.team
        for other, front in enumerate(team.fronts.tolist()):
            if front < index and other != rank and team.given[other] != team.finished[other]:
                return False
        return True

    def _wake_next(self) -> None:
        awaited = self.team.awaited.tolist()
        waiting = [index for index in awaited if index >= 0]
        if waiting:
            index = min(waiting)
            rank = awaited.index(index)
            if rank != self.rank and self._is_turn(index, rank):
                self.team.bells[rank].ring()

    def _ring_all(self) -> None:
        for rank, bell in enumerate(self.team.bells):
            if rank != self.rank:
                bell.ring()

    def _sleep_until(self, condition: Callable[[], bool]) -> None:
        team = self.team
        while True:
            with team.mutex:
                if condition():
                    return
            team.bells[self.rank].sleep()

    def enter_critical(self) -> None:
        """Wait until no other worker is in a critical section."""
        me = get_ident()
        if self._critical_owner == me:
            raise RuntimeError(
                "pool.critical was entered inside pool.critical, and would wait for itself: "
                "leave the first block before the second"
            )
        self._acquire_critical()
        self._critical_owner = me

    def _acquire_critical(self) -> None:
        self.team.critical.acquire()

    def leave_critical(self) -> None:
        """Let another worker in."""
        self._critical_owner = None
        # Between two workers' turns each call counts.
        try:
            for flush in held:
                flush()
        except ValueError:
            flush_again()
        finally:
            self.team.critical.release()

    def barrier(self) -> None:
        """Wait until all workers have come here.

        Raises
        ------
        threading.BrokenBarrierError
            If a worker has no more tasks, or the tasks come from `imap`.
        """
        team = self.team
        if team.fed:
            raise BrokenBarrierError(
                "pool.barrier() needs pool.map: imap cannot promise a task to every worker"
            )
        generation = None
        try:
            with team.mutex:
                generation = team.counters[_GENERATION]
                team.counters[_ARRIVED] += 1
                if team.counters[_ARRIVED] == team.n_workers:
                    team.counters[_ARRIVED] = 0
                    team.counters[_GENERATION] += 1
                    self._ring_all()
            self._sleep_until(
                lambda: team.counters[_GENERATION] != generation or bool(team.counters[_LEFT])
            )
        except BaseException:  # A handler of signals has raised: this worker waits no longer.
            with team.mutex:
                team.counters[_ARRIVED] -= team.counters[_GENERATION] == generation
            raise
        if team.counters[_GENERATION] == generation:
            raise BrokenBarrierError(
                f"task {self.index} waits in pool.barrier(), but a worker has no more tasks: "
                f"give map at least {team.n_workers} tasks, a multiple of that, and chunksize=1"
            )


class CoordinatorSync(WorkerSync):
    """The coordinator's part: `reduce` may use `critical`, and has nothing to wait for else.

    Parameters
    ----------
    team : TeamSync
        What the workers share.
    watch : callable
        Raises if a worker has died, with the lock perhaps, or the time of the call is over.
    """

    def __init__(self, team: TeamSync, watch: Callable[[], None]) -> None:
        super().__init__(team, 0)
        self._watch = watch
        self._failure: Exception | None = None

    @property
    def index(self) -> int:
        """No task: the coordinator runs none."""
        return -1

    def _acquire_critical(self) -> None:
        while not self.team.critical.acquire(True, 0.1):
            try:
                self._watch()
            except Exception as error:
                self._failure = error
                raise

    def check_outside(self) -> None:
        """Refuse to wait for workers inside of `critical`, or for those that have failed."""
        if self._failure is not None:
            raise self._failure
        if self._critical_owner == get_ident():
            raise RuntimeError(
                "a result of imap was asked for inside pool.critical, which its workers may be "
                "waiting for: leave the block first"
            )

    def enter_turn(self) -> None:
        """Do nothing: results are reduced one after the other."""

    def leave_turn(self) -> None:
        """Do nothing: results are reduced one after the other."""

    def barrier(self) -> None:
        """Do nothing: the coordinator is no worker."""
