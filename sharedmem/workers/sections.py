"""Sections in which the workers of one call take turns: critical, ordered, and barrier."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from threading import BrokenBarrierError, get_ident
from typing import Protocol

from sharedmem.memory.open_files import flush_open, flushes
from sharedmem.workers.team_sync import CACHE_LINE, PAST_ALL, Counter, TeamSync, Word


class CriticalLock(Protocol):
    """The lock of `critical`, on one machine or on a cluster."""

    def acquire(self) -> object:
        """Take the lock."""
        ...

    def release(self) -> None:
        """Give the lock back."""
        ...


class Sections:
    """The sections of a process or thread that runs no task: it waits in `critical` only.

    Parameters
    ----------
    critical : CriticalLock
        The lock that it shares with the workers.
    rank : int
        The number of the worker; 0 for the coordinator.

    Attributes
    ----------
    attempt : int
        How often the current task has failed.
    retries : int
        How often it may fail and run again.
    n_spent : int
        How often it has failed in workers that have died.
    has_entered : bool
        Whether it has entered `critical` or `ordered`.
    """

    attempt = retries = n_spent = 0
    has_entered = False

    def __init__(self, critical: CriticalLock, rank: int = 0) -> None:
        self.rank = rank
        self._critical = critical
        self._critical_owner: int | None = None

    @property
    def index(self) -> int:
        """The number of the current task; -1 if there is none."""
        return -1

    def enter_turn(self) -> None:
        """Do nothing; a task waits for its turn."""

    def leave_turn(self) -> None:
        """Do nothing; a task gives its turn to the next one."""

    def barrier(self) -> None:
        """Do nothing; a task waits for all workers."""

    def run_again(self) -> bool:
        """Prepare another attempt of the current task; return whether it may run again."""
        self.attempt += 1
        return True

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
        self.has_entered = True

    def _acquire_critical(self) -> None:
        self._critical.acquire()

    def leave_critical(self) -> None:
        """Release the section for another worker."""
        self._critical_owner = None
        # Each call between the turns of two workers costs time.
        try:
            for flush in flushes:
                flush()
        except ValueError:
            flush_open()
        finally:
            self._critical.release()

    def release_critical(self) -> None:
        """Release the section if the caller is in it."""
        if self._critical_owner != get_ident():
            raise RuntimeError(
                "pool.critical.release() was called outside the section: call acquire() first"
            )
        self.leave_critical()

    def check_released(self) -> None:
        """Raise if a task has ended inside `critical`, which no other worker could enter."""
        if self.leave_held_critical():
            raise RuntimeError(
                "a task ended inside pool.critical: use `with pool.critical`, or call release() in "
                "a `finally` block"
            )

    def leave_held_critical(self) -> bool:
        """Release the section if it is held, for threads that wait; return whether it was."""
        is_held = self._critical_owner is not None
        if is_held:
            self.leave_critical()
        return is_held

    def check_outside(self) -> None:
        """Raise if the caller is in `critical`, and would wait for workers that wait for it."""
        if self._critical_owner == get_ident():
            raise RuntimeError(
                "a result of imap was asked for inside pool.critical, for which its workers may "
                "be waiting: leave the block first"
            )


class WorkerSync(Sections):
    """The sections of one worker.

    Parameters
    ----------
    team : TeamSync
        What the workers of the call share.
    rank : int
        The number of the worker.
    """

    def __init__(self, team: TeamSync, rank: int) -> None:
        super().__init__(team.critical, rank)
        self.team = team
        self.slot = rank * CACHE_LINE
        self._seconds_waited = 0.0

    @property
    def index(self) -> int:
        """The number of the current task; -1 before the first."""
        return self.team.words[self.slot]

    @property
    def number(self) -> int:
        """The rank, or another number if the worker has replaced one that has died."""
        n_restarts = self.team.words[self.slot + Word.RESTARTS]
        return self.rank + self.team.n_workers * n_restarts

    def begin(self, index: int) -> None:
        """Publish that the worker begins task `index`."""
        self.team.words[self.slot] = index
        self.advance(index)

    def take(self, n_tasks: int, after: int) -> int:
        """Claim `n_tasks`; return the first, which is `after` if no worker has taken any before."""
        team = self.team
        with team.mutex:  # Once per claim, for both: others may be waiting for it.
            index = after + team.counters[Counter.TAKEN]
            team.counters[Counter.TAKEN] += n_tasks
            team.fronts[self.rank] = index
            self._wake_next()
        return index

    def claim(self, index: int) -> None:
        """Publish that the worker has claimed tasks that begin at `index`, unless `take` has."""
        if self.team.fronts[self.rank] < index:
            self.advance(index)

    def advance(self, index: int) -> None:
        """Publish that the worker has finished its tasks before `index`."""
        # With the mutex: a worker that enters its turn sees this front, or is woken by it.
        team = self.team
        with team.mutex:
            team.fronts[self.rank] = index
            self._wake_next()

    def report(self) -> object:
        """Return what the worker reports at its end: nothing."""
        return None

    def hand_in(self, index: int) -> None:
        """Publish that the worker has done the tasks given to it that begin at `index`."""
        team = self.team
        with team.mutex:
            team.finished[self.rank] = index
            self._wake_next()

    def leave(self) -> None:
        """Publish that the worker has no more tasks; in a tolerant call, the coordinator does."""
        team = self.team
        if team.tolerant:
            return
        with team.mutex:
            team.fronts[self.rank] = PAST_ALL
            team.counters[Counter.LEFT] = 1
            self._wake_next()
            if team.counters[Counter.ARRIVED] or team.counters[Counter.GENERATION]:
                self._ring_all()

    def enter_turn(self) -> None:
        """Wait until all tasks before this one have passed their ordered block."""
        team, index = self.team, self.index
        if self._critical_owner == get_ident():
            raise RuntimeError(
                "pool.ordered was entered inside pool.critical, for which earlier tasks may be "
                "waiting: enter pool.ordered first, and pool.critical inside it"
            )
        if team.fronts[self.rank] > index:
            raise RuntimeError(
                f"task {index} entered pool.ordered a second time, after its turn: "
                "put all that must be in order into one block"
            )
        try:
            with team.mutex:
                team.counters[Counter.TURNS_USED] = 1
                if team.fronts[self.rank] < index:
                    team.fronts[self.rank] = index
                    self._wake_next()
                is_turn = self._takes_turn(index)
                if not is_turn:
                    team.awaited[self.rank] = index
            if not is_turn:
                began = time.perf_counter()
                with self._clock_stopped():
                    self._sleep_until(lambda: self._takes_turn(index))
                self._seconds_waited += time.perf_counter() - began
        finally:  # Where a signal handler raises, others would be passed over for this worker.
            team.awaited[self.rank] = -1

    def leave_turn(self) -> None:
        """Give the turn to the next task; a task that fails, and will run again, keeps it."""
        try:
            for flush in flushes:
                flush()
        except ValueError:
            flush_open()
        finally:
            is_kept = self.attempt < self.retries and sys.exception() is not None
            self.advance(self.index + (not is_kept))

    def run_again(self) -> bool:
        """Prepare another attempt of the current task, which takes its turn again."""
        team = self.team
        with team.mutex:
            team.fronts[self.rank] = min(team.fronts[self.rank], self.index)
        if team.words[self.slot + Word.BEGAN]:
            team.words[self.slot + Word.BEGAN] = time.monotonic_ns()
        return super().run_again()

    @contextlib.contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Leave out of the time of the current task, if it is limited, what it waits for others."""
        words, at = self.team.words, self.slot + Word.BEGAN
        is_limited = words[at] > 0
        words[at] -= is_limited and time.monotonic_ns()
        try:
            yield
        finally:
            words[at] += is_limited and time.monotonic_ns()

    def _acquire_critical(self) -> None:
        if self.team.words[self.slot + Word.BEGAN]:
            with self._clock_stopped():
                self._critical.acquire()
        else:
            self._critical.acquire()

    def turns_waited(self) -> float | None:
        """Return the seconds waited for turns; None if no task has entered an ordered block."""
        return self._seconds_waited if self.team.counters[Counter.TURNS_USED] else None

    def _takes_turn(self, index: int) -> bool:
        is_turn = self._is_turn(index, self.rank)
        if is_turn:
            self.team.counters[Counter.INSIDE] = self.rank + 1
            self.has_entered = True
        return is_turn

    def _is_turn(self, index: int, rank: int) -> bool:
        team = self.team
        inside = team.counters[Counter.INSIDE]
        if team.counters[Counter.LOST] < index or inside not in (0, rank + 1):
            return False
        for other, front in enumerate(team.fronts.tolist()):
            if front < index and other != rank and team.given[other] != team.finished[other]:
                return False
        return True

    def _wake_next(self) -> None:
        if self.team.counters[Counter.INSIDE] == self.rank + 1:
            self.team.counters[Counter.INSIDE] = 0
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

    def barrier(self) -> None:
        """Wait until all workers have come here; raise if one cannot come."""
        team = self.team
        if team.fed:
            raise BrokenBarrierError(
                "pool.barrier() was called in a task of imap, which does not give every worker a "
                "task: use pool.map"
            )
        counters, generation = team.counters, None
        try:
            with team.mutex:
                generation = counters[Counter.GENERATION]
                counters[Counter.ARRIVED] += 1
                if counters[Counter.ARRIVED] == team.n_workers:
                    counters[Counter.ARRIVED] = 0
                    counters[Counter.GENERATION] += 1
                    self._ring_all()
            self._sleep_until(
                lambda: counters[Counter.GENERATION] != generation or bool(counters[Counter.LEFT])
            )
        except BaseException:  # A signal handler has raised: this worker no longer waits.
            with team.mutex:
                counters[Counter.ARRIVED] -= counters[Counter.GENERATION] == generation
            raise
        if counters[Counter.GENERATION] == generation:
            raise BrokenBarrierError(
                f"task {self.index} waits in pool.barrier(), but a worker has no more tasks: call "
                f"map with a multiple of {team.n_workers} tasks, the number of workers, and "
                "chunksize=1"
            )


class CoordinatorSync(Sections):
    """The sections of the coordinator, whose `reduce` calls come one after the other.

    Parameters
    ----------
    team : TeamSync
        What the workers share.
    watch : callable
        Raises if a worker has died, perhaps with the lock, or the time limit of the call is over.
    """

    def __init__(self, team: TeamSync, watch: Callable[[], None]) -> None:
        super().__init__(team.critical)
        self.team = team
        self._watch = watch
        self._failure: Exception | None = None

    def _acquire_critical(self) -> None:
        while not self.team.critical.acquire(True, 0.1):
            try:
                self._watch()
            except Exception as error:
                self._failure = error
                raise

    def check_outside(self) -> None:
        """Raise if the coordinator is in `critical`, or its workers have failed."""
        if self._failure is not None:
            raise self._failure
        super().check_outside()
