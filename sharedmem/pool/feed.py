"""Hand the items of an iterable to the workers of `imap`, a few batches ahead of their results."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from sharedmem.workers.channel import INLINE_BYTES
from sharedmem.workers.protocols import Team
from sharedmem.workers.team_sync import TeamSync

MISSING = object()
"""Stands in the list of results for a task that gave none."""


class Feed:
    """A feed of items in batches, which grow while tasks are short.

    Parameters
    ----------
    team : Team
        The workers.
    sync : TeamSync
        What the workers share.
    items : iterable
        The items.
    chunksize : int or None
        Items per batch; None lets batches grow.

    Attributes
    ----------
    n_items : int
        Number of items that have been handed out.
    """

    # One batch to work on, and one to go on with.
    _BATCHES_AHEAD = 2
    # To send a batch takes a worker and the coordinator as long as hundreds of trivial tasks.
    _LARGEST_BATCH = 256
    _BATCH_SECONDS = 0.0005

    def __init__(
        self, team: Team, sync: TeamSync, items: Iterable[Any], chunksize: int | None
    ) -> None:
        self._team = team
        self._sync = sync
        self._items = iter(items)
        self._grows = chunksize is None
        self._size = chunksize or 1
        self._batches: list[deque[tuple[int, int, float]]] = [deque() for _ in range(team.size)]
        self._present = set(range(team.size))
        self._n_batches = 0
        self.n_items = 0
        self.is_exhausted = False

    def refill(self, n_taken: int) -> None:
        """Hand out items to workers that have room, not far ahead of the `n_taken` results read."""
        while self._n_batches < self._BATCHES_AHEAD * len(self._present) and not self.is_exhausted:
            rank = min(self._present, key=lambda rank: len(self._batches[rank]))
            bound = 2 * self._BATCHES_AHEAD * self._team.size * self._size
            if self.n_items - n_taken >= bound:
                return
            batch: Any = self._team.take(self.n_items, self._items, self._size)
            length = len(batch)
            if length == 0:
                self.is_exhausted = True
                for other in self._present:
                    self._team.send(other, self.n_items, batch)
                return
            self._batches[rank].append((self.n_items, length, time.perf_counter()))
            self._n_batches += 1
            self._sync.given[rank] = self.n_items
            n_bytes = self._team.send(rank, self.n_items, batch)
            self.n_items += length
            if self._grows and n_bytes > INLINE_BYTES:
                self._size = max(1, self._size // 2)

    def settle(self, rank: int, n_results: int) -> None:
        """Note that results have come from a worker."""
        start, length, sent = self._batches[rank].popleft()
        if n_results < length:
            self._batches[rank].appendleft((start + n_results, length - n_results, sent))
            return
        self._n_batches -= 1
        if self._grows:
            elapsed = (time.perf_counter() - sent) / self._BATCHES_AHEAD
            if elapsed < self._BATCH_SECONDS:
                self._size = min(2 * self._size, self._LARGEST_BATCH)
            elif elapsed > 4 * self._BATCH_SECONDS:
                self._size = max(1, self._size // 2)

    def lose(self, rank: int) -> dict[int, list[Any]]:
        """Note that a worker has stopped; return placeholders of the results that it owes."""
        self._present.discard(rank)
        self._n_batches -= len(self._batches[rank])
        return {start: [MISSING] * length for start, length, _ in self._batches[rank]}
