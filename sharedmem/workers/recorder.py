"""What each worker of a call did, and when."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from sharedmem.workers.sections import TeamSync, WorkerSync


class Activity(enum.IntEnum):
    """What a worker may be doing."""

    TASKS = 0
    ORDERED_WAIT = 1
    CRITICAL_WAIT = 2


class Event(NamedTuple):
    """A stretch of time of one worker.

    Attributes
    ----------
    activity : Activity
        What it did.
    start, stop : float
        Seconds of the monotonic clock, which all processes share.
    task : int
        Number of the task, of the first one in a claim.
    n_tasks : int
        How many tasks the claim had.
    sent_bytes : int
        Bytes of results that left the worker.
    """

    activity: Activity
    start: float
    stop: float
    task: int
    n_tasks: int = 1
    sent_bytes: int = 0


class Recorder(WorkerSync):
    """A worker's part in its team that notes what it does.

    Parameters
    ----------
    team : TeamSync
        What the workers share.
    rank : int
        The worker's number.
    sent_bytes : callable
        Gives the bytes that the worker has sent so far.
    """

    def __init__(self, team: TeamSync, rank: int, sent_bytes: Callable[[], int]) -> None:
        super().__init__(team, rank)
        self.events: list[Event] = []
        self._sent_bytes = sent_bytes
        self._claim: tuple[int, float, int] | None = None

    def claim(self, index: int) -> None:
        """Note the end of a claim and the start of the next."""
        self._close()
        self._claim = index, time.perf_counter(), self._sent_bytes()
        super().claim(index)

    def hand_in(self, index: int) -> None:
        """Note the end of a claim."""
        self._close()
        super().hand_in(index)

    def leave(self) -> None:
        """Note the end of the last claim."""
        self._close()
        super().leave()

    def _close(self) -> None:
        if self._claim is not None:
            task, start, sent = self._claim
            now, n_tasks = time.perf_counter(), self.index + 1 - task
            sent = self._sent_bytes() - sent
            self.events.append(Event(Activity.TASKS, start, now, task, n_tasks, sent))
            self._claim = None

    def enter_turn(self) -> None:
        """Note how long the turn was waited for."""
        start = time.perf_counter()
        super().enter_turn()
        now = time.perf_counter()
        self.events.append(Event(Activity.ORDERED_WAIT, start, now, self.index))

    def enter_critical(self) -> None:
        """Note how long the section was waited for."""
        start = time.perf_counter()
        super().enter_critical()
        now = time.perf_counter()
        self.events.append(Event(Activity.CRITICAL_WAIT, start, now, self.index))
