"""Hand out the tasks of a call that goes on when workers die, and know which worker has which."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from sharedmem.pool.standing_teams import Lease
from sharedmem.workers.batches import Batch
from sharedmem.workers.channel import INLINE_BYTES
from sharedmem.workers.claims import CLAIM_SECONDS, TURNS_SECONDS, Pace
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.team_sync import PAST_ALL, Counter, TeamSync


class Piece(NamedTuple):
    """Consecutive tasks that are handed out together.

    Attributes
    ----------
    start : int
        The number of the first.
    batch : Batch
        Their items.
    n_spent : int
        How often they have failed in workers that have died.
    """

    start: int
    batch: Batch
    n_spent: int = 0

    @property
    def stop(self) -> int:
        """The number after that of the last task."""
        return self.start + len(self.batch)

    def part(self, start: int, stop: int, n_spent: int = 0) -> Piece:
        """Return the tasks from `start` to `stop`."""
        return Piece(start, self.batch.part(start - self.start, stop - self.start), n_spent)


class TolerantFeed:
    """A feed of items in batches, which grow while tasks are short, and are kept until done.

    Tasks that are lost with a worker are handed out first, to workers that have no others: each
    worker runs its tasks in rising order, so that the first one that is not done never waits for
    its turn in `ordered`.

    Parameters
    ----------
    team : ProcessTeam or Lease
        The workers.
    sync : TeamSync
        What the workers share.
    items : iterable
        The items.
    chunksize : int or None
        Items per batch; None lets batches grow.
    n_items : int or None
        The number of items, if these are the numbers of tasks; otherwise, batches stay short.

    Attributes
    ----------
    n_given : int
        Number of items that have been handed out.
    present : set of int
        The workers that live.
    is_exhausted : bool
        Whether there are no more items.
    """

    # With the batch that it works on, a worker has another one, if these are short.
    _BATCHES_AHEAD = 2
    _LARGEST_BATCH = 256
    _SHORT_SECONDS = 2 * CLAIM_SECONDS

    def __init__(
        self,
        team: ProcessTeam | Lease,
        sync: TeamSync,
        items: Iterable[Any],
        chunksize: int | None,
        n_items: int | None,
    ) -> None:
        self._team = team
        self._sync = sync
        self._items = iter(items)
        self._chunksize = chunksize
        self._n_items = n_items
        self._size = chunksize or 1
        self._pace = Pace(team.size)
        self._seconds = 1.0
        self._pieces: list[deque[Piece]] = [deque() for _ in range(team.size)]
        self._heard = [0] * team.size
        self._lost: list[tuple[int, Piece]] = []
        self.present = set(range(team.size))
        self.n_given = 0
        self.is_exhausted = False

    def has_more(self) -> bool:
        """Return whether tasks are left that no worker has."""
        return bool(self._lost) or not self.is_exhausted

    def is_done(self) -> bool:
        """Return whether the results of all tasks have come."""
        return not self.has_more() and not any(self._pieces)

    def busy(self) -> list[tuple[int, int]]:
        """Return the workers that have tasks, with the nanoseconds at which they were heard of."""
        return [(rank, self._heard[rank]) for rank in self.present if self._pieces[rank]]

    def refill(self, n_taken: int) -> None:
        """Hand out items to workers that have room, not far ahead of the `n_taken` results read."""
        idle = sorted(rank for rank in self.present if not self._pieces[rank])
        while idle and self._lost:
            piece = heapq.heappop(self._lost)[1]
            self._give(idle.pop(0), piece)
            self._hold()
        while not self._lost and not self.is_exhausted:
            n_ahead = self._BATCHES_AHEAD if self._seconds < self._SHORT_SECONDS else 1
            rank = min(self.present, key=lambda rank: len(self._pieces[rank]), default=-1)
            bound = 2 * self._BATCHES_AHEAD * self._team.size * self._size
            is_far = self._n_items is None and self.n_given - n_taken >= bound
            if rank < 0 or len(self._pieces[rank]) >= n_ahead or is_far:
                return
            batch = self._take()
            if len(batch) == 0:
                self.is_exhausted = True
                return
            start, self.n_given = self.n_given, self.n_given + len(batch)
            self._give(rank, Piece(start, batch))

    def _take(self) -> Batch:
        if self._n_items is not None:  # The items are numbers of tasks.
            return Batch(list(islice(self._items, self._size)))
        batch = self._team.take(self.n_given, self._items, self._size)
        batch.keep()
        return batch

    def _give(self, rank: int, piece: Piece) -> None:
        if self._pieces[rank]:
            self._sync.given[rank] += 1
        else:
            self._sync.give(rank, piece.start)
            self._heard[rank] = time.monotonic_ns()
        self._pieces[rank].append(piece)
        batch = piece.batch.part(0, len(piece.batch), piece.n_spent)
        n_bytes = self._team.send(rank, piece.start, batch)
        if n_bytes > INLINE_BYTES and self._chunksize is None:
            self._size = max(1, self._size // 2)

    def _hold(self) -> None:
        self._sync.hold(self._lost[0][0] if self._lost else PAST_ALL)

    def settle(self, rank: int, start: int, n_results: int) -> None:
        """Note that the results of tasks from `start` on have come from a worker."""
        now = time.monotonic_ns()
        began = max(self._heard[rank], self._sync.ready_since(rank))
        elapsed, self._heard[rank] = (now - began) / 1e9, now
        piece = self._pieces[rank].popleft()
        n_left = len(piece.batch) - n_results
        if n_left:
            self._pieces[rank].appendleft(piece.part(start + n_results, piece.stop, piece.n_spent))
        self._seconds = max(elapsed, self._seconds / 2)
        if self._chunksize is None:
            self._size = self._next_size(n_results, elapsed)

    def _next_size(self, n_results: int, elapsed: float) -> int:
        if self._n_items is None:
            n_left = 2 * self._team.size * self._LARGEST_BATCH
        else:
            n_left = self._n_items - self.n_given
        has_turns = self._sync.counters[Counter.TURNS_USED]
        seconds = TURNS_SECONDS if has_turns else CLAIM_SECONDS
        return self._pace.next_length(n_results, elapsed, n_left, seconds)

    def task_of(self, rank: int, index: int) -> int:
        """Return `index` if a worker has that task to do, and otherwise its next task."""
        pieces = self._pieces[rank]
        is_there = any(piece.start <= index < piece.stop for piece in pieces)
        return index if is_there else pieces[0].start

    def lose(self, rank: int) -> list[Piece]:
        """Note that a worker is gone; return the tasks that it had, of which results are owed."""
        self.present.discard(rank)
        pieces = list(self._pieces[rank])
        self._pieces[rank].clear()
        return pieces

    def give_back(self, pieces: Iterable[Piece]) -> None:
        """Take tasks that are handed out before others, which wait for their turns."""
        for piece in pieces:
            if len(piece.batch):
                heapq.heappush(self._lost, (piece.start, piece))
        self._hold()
