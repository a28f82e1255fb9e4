"""One forked worker of a team, as the coordinator sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from sharedmem.errors import DeadWorkerError
from sharedmem.workers.channel import Channel
from sharedmem.workers.child_process import ChildProcess
from sharedmem.workers.life_line import LifeLine
from sharedmem.workers.process import WorkerProcess
from sharedmem.workers.process_port import ProcessPort

Work: TypeAlias = Callable[[int, ProcessPort], None]
"""Called in a worker with its rank and its port."""


class Member:
    """One worker as the coordinator sees it; all is ready for its fork.

    Parameters
    ----------
    rank : int
        The number of the worker.
    work : callable
        Called in the worker with its rank and its port.
    windowed : bool
        Whether the worker waits while the result window is full.
    tolerant : bool
        Whether objects that cannot be unpickled are received as errors.

    Raises
    ------
    OSError
        If the system refuses a descriptor.
    """

    process: ChildProcess

    def __init__(self, rank: int, work: Work, *, windowed: bool, tolerant: bool) -> None:
        self.rank = rank
        self.has_finished = False
        self.has_ended = False
        self._line = LifeLine()
        try:
            self.channel, self._theirs = Channel.pair(windowed=windowed, tolerant=tolerant)
        except OSError:
            self._line.close()
            raise
        self._main = partial(work, rank, ProcessPort(self._theirs))

    def start(self, handled: Sequence[int]) -> None:
        """Start the worker, which resets the `handled` signals."""
        self.process = WorkerProcess(self._main, self._line, handled)

    def close_other_end(self) -> None:
        """Close the worker's end of the channel in the coordinator, after the start."""
        self._theirs.close()

    def death(self, whereabouts: Callable[[int], str]) -> DeadWorkerError | None:
        """Return the error that reports the end of the worker; None if it had done its work."""
        code = self.process.wait()
        if self.has_finished and code in (0, None):
            return None
        reason = (
            f"Worker {self.rank} (pid {self.process.pid}) {self.process.how_ended()} "
            f"{whereabouts(self.rank)}"
        )
        if code == -9:
            reason += " The system may have run out of memory; see sharedmem.available_memory()."
        return DeadWorkerError(reason, code)

    def close(self) -> None:
        """Close the coordinator's descriptors; a worker that is left is killed."""
        self.channel.close()
        self._line.close()
