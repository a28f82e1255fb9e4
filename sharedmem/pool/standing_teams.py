"""Teams whose workers stay between the calls of a pool, each of which leases one."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedmem.machine import blas
from sharedmem.machine.signals import signals_held
from sharedmem.pool.jobs import Job
from sharedmem.pool.serving import Order, Post, serve
from sharedmem.workers.attention import attention
from sharedmem.workers.channel import Kind, Message
from sharedmem.workers.functions import pack_any, referred
from sharedmem.workers.numpy_state import NumpyState, numpy_state
from sharedmem.workers.packed_items import packed
from sharedmem.workers.pickling import Parcel, pack
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.team_sync import TeamSync

if TYPE_CHECKING:  # which imports this module
    from sharedmem.pool.backends import TeamBackend

# Workers that wait for a job exit in milliseconds.
_EXIT_SECONDS = 5.0

ItemText = Callable[[int], str]
"""Returns a short text for the item of a task."""


class StandingTeam:
    """A team whose workers run one job after another, and what they share.

    Parameters
    ----------
    backend : type
        The kind of the workers.
    call : PoolCall
        The first call, whose options hold for all.
    size : int
        Number of workers.
    state : tuple
        NumPy's state, unless a call has another.
    whereabouts : callable
        Returns what a worker was doing, from the sync, the `item` of the call, and its rank.
    """

    def __init__(
        self,
        backend: type[TeamBackend],
        call: PoolCall,
        size: int,
        state: NumpyState,
        whereabouts: Callable[[TeamSync, ItemText, int], str],
    ) -> None:
        self.backend = backend
        self.owner = os.getpid()
        self.sync = sync = TeamSync(size, processes=True, stays=True)
        self._items: list[ItemText] = [str]
        items = self._items  # A team that refers to itself would outlive its last user.
        self._call = call = call._replace(
            func=id, trace=None, teams=None, writes=None, tolerance=None
        )
        backend.prepare(call)
        with blas.limited(backend.blas_limit(call.blas_threads)):
            self.team: ProcessTeam = backend.team_with(call.blas_threads)(  # type: ignore[assignment]
                size,
                partial(serve, Post(backend, call, sync, state)),
                lambda rank: whereabouts(sync, items[0], rank),
                fed=False,
            )
        self.team.pack = pack_any

    def is_whole(self) -> bool:
        """Return whether it is a team of this process whose workers wait for a job."""
        return self.owner == os.getpid() and self.team.is_whole()

    def begin(self, n_workers: int, job: Job, parcel: Parcel, item: ItemText) -> None:
        """Let the first workers begin a job, of which `parcel` is the order."""
        if dead := self.team.dead():
            self.backend.prepare(self._call)
            with blas.limited(self.backend.blas_limit(self._call.blas_threads)):
                for rank in dead:
                    self.team.replace(rank)
        self._items[0] = item
        self.sync.reset(n_workers, fed=job.is_fed, tolerant=job.survives)
        self.team.assign(range(n_workers), parcel, tolerant=job.survives)

    def rest(self) -> bool:
        """Forget the last job; return whether the team can have another."""
        self._items[0] = str
        # A consumer of `imap` may have left the section locked.
        if not self.sync.critical.acquire(False):
            return False
        self.sync.critical.release()
        return True

    def end(self, *, patient: bool = False) -> None:
        """Kill the workers."""
        self.team.end(patient=patient)
        with signals_held():  # An interrupt in a finalizer would lose a descriptor.
            self.sync.close()

    def dismiss(self) -> None:
        """Let the workers exit by themselves."""
        self.team.dismiss(_EXIT_SECONDS)
        self.end()


class Lease:
    """A team for one call, with the methods of :class:`ProcessTeam`.

    Parameters
    ----------
    standing : StandingTeam
        The team.
    n_workers : int
        The number of workers that take part.
    job : Job
        What they do.
    parcel : Parcel
        The order to do it.
    give_back : callable
        Called with the team when they have all finished.
    """

    def __init__(
        self,
        standing: StandingTeam,
        n_workers: int,
        job: Job,
        parcel: Parcel,
        give_back: Callable[[StandingTeam], None],
    ) -> None:
        self.size = n_workers
        self._standing = standing
        self._team = team = standing.team
        self._job, self._parcel = job, parcel
        self._running = set(range(n_workers))
        self._give_back = give_back
        self.take, self.send, self.acknowledge = team.take, team.send, team.acknowledge
        self.watch, self.wait, self.kill = team.watch, team.wait, team.kill

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages; none once all workers have finished."""
        messages = self._team.receive(deadline) if self._running else []
        for rank, message in messages:
            if message.kind in (Kind.FINISHED, Kind.DIED):
                self._running.discard(rank)
        return messages

    def replace(self, rank: int) -> None:
        """Start another worker, which does the job, in place of one that has died."""
        self._team.replace(rank)
        self._running.add(rank)
        self._team.assign([rank], self._parcel, tolerant=self._job.survives)

    def end(self, *, patient: bool) -> None:
        """Give the team back; end it if some workers have not finished."""
        if not self._running and self._standing.rest():
            self._give_back(self._standing)
        else:
            self._standing.end(patient=patient)


class Teams:
    """The teams of a pool that stay between its calls.

    They end when the pool is left or collected, and when the program exits.

    Attributes
    ----------
    size : int
        Number of workers of the next team.
    """

    def __init__(self) -> None:
        self.size = 1
        self._state: NumpyState | None = None
        self._idle: list[StandingTeam] = []
        self._at_end = weakref.finalize(self, _dismiss_all, self._idle)

    def __reduce__(self) -> Any:
        """Return none for a copy of the pool, whose workers are not started yet."""
        return Teams, ()

    def dismiss(self) -> None:
        """End the teams that no call uses; the next call starts another."""
        _dismiss_all(self._idle)

    def lease(
        self,
        backend: type[TeamBackend],
        call: PoolCall,
        job: Job,
        whereabouts: Callable[[TeamSync, ItemText, int], str],
        item: ItemText,
    ) -> tuple[Lease, TeamSync]:
        """Return a team that has begun a job, and what its workers share."""
        sequence = job.sequence
        items = None if sequence is None else packed(sequence, call.n_workers)
        job = job._replace(func=referred(job.func), sequence=items)
        state = numpy_state()
        if self._state is None:
            self._state = state
        other = None if state == self._state else state
        order: Order = tuple(job), call.call[:], call.n_workers, other, attention()
        parcel = pack(order)
        size = max(self.size, call.n_workers)
        standing = self._taken(backend, size)
        if standing is None:
            with signals_held():  # An interrupt would lose a team that is not complete.
                standing = StandingTeam(backend, call, size, self._state, whereabouts)
        lease = Lease(standing, call.n_workers, job, parcel, self._idle.append)
        standing.begin(call.n_workers, job, parcel, item)
        return lease, standing.sync

    def _taken(self, backend: type[TeamBackend], size: int) -> StandingTeam | None:
        """Return an idle team, and end those that are of no use."""
        while self._idle:
            try:
                standing = self._idle.pop()
            except IndexError:  # another thread has it
                break
            fits = standing.backend is backend and standing.sync.size == size
            if fits and standing.is_whole():
                return standing
            standing.end()
        return None


def _dismiss_all(idle: list[StandingTeam]) -> None:
    while idle:
        try:
            standing = idle.pop()
        except IndexError:  # another thread has it
            return
        standing.dismiss()
