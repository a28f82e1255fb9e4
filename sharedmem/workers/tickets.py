"""Tickets: a worker takes one per message that it begins, and the others can be recalled."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.freeing import free_with
from sharedmem.memory.memory_files import anonymous_file
from sharedmem.workers.handed import handed

# A position of a file has 63 bits: the higher ones count recalls, the lower ones count tickets.
_RECALL = 1 << 36


class Tickets:
    """Which of the messages that were sent to a worker it has begun.

    A worker takes a ticket before it runs what a message holds. The coordinator may recall the
    messages that it has not begun, to send them to another worker. Tickets are counted by the
    position of an open file, to which the kernel adds atomically: a worker that is killed holds no
    lock.

    Parameters
    ----------
    files : sequence of int
        A descriptor for each worker, which the tickets own.
    """

    def __init__(self, files: Sequence[int]) -> None:
        self._files = [*files]
        self._n_recalls = [0] * len(files)
        free_with(self, [map(os.close, self._files)])

    @classmethod
    def new(cls, n_workers: int) -> Tickets:
        """Return tickets for workers that have begun nothing."""
        tickets = cls(())
        file = anonymous_file("sharedmem-tickets")
        # Each opening has a position of its own, and forked workers share it.
        path = f"/proc/self/fd/{file}"
        try:
            for _ in range(n_workers):
                tickets._n_recalls.append(0)
                tickets._files.append(
                    with_descriptors(lambda: os.open(path, os.O_RDWR | os.O_CLOEXEC))
                )
        finally:
            os.close(file)
        return tickets

    def __reduce__(self) -> Any:
        """Pickle for a spawned worker, which inherits the descriptors."""
        return Tickets, ([handed(file) for file in self._files],)

    def stamp(self, rank: int) -> int:
        """Return the number that is sent with a message, and by which it can be recalled."""
        return self._n_recalls[rank]

    def take(self, rank: int, stamp: int) -> bool:
        """Take the ticket for the next message in a worker; return False if it was recalled."""
        return os.lseek(self._files[rank], 1, os.SEEK_CUR) // _RECALL == stamp

    def n_taken(self, rank: int) -> int:
        """Return the number of messages that a worker has begun, or passed over."""
        return os.lseek(self._files[rank], 0, os.SEEK_CUR) % _RECALL

    def recall(self, rank: int) -> int:
        """Recall all messages that a worker has not begun, and return the number of the others."""
        self._n_recalls[rank] += 1
        return os.lseek(self._files[rank], _RECALL, os.SEEK_CUR) % _RECALL

    def renew(self, rank: int) -> None:
        """Begin again at 0, for another worker in the place of one that has ended."""
        self._n_recalls[rank] = 0
        os.lseek(self._files[rank], 0, os.SEEK_SET)
