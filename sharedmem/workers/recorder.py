"""Record what each worker of a call does, and when."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import NamedTuple

from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.team_sync import TeamSync


class Activity(enum.IntEnum):
    """Activities of a worker.

    Attributes
    ----------
    TASKS : int
        It runs the tasks of a claim.
    ORDERED_WAIT : int
        It waits for its turn to enter an ordered section.
    CRITICAL_WAIT : int
        It waits for a critical section.

    See Also
    --------
    Event : A period of time in which a worker did one thing.

    Examples
    --------
    >>> from sharedmem.workers.recorder import Activity
    >>> [activity.name for activity in Activity]
    ['TASKS', 'ORDERED_WAIT', 'CRITICAL_WAIT']
    """

    TASKS = 0
    ORDERED_WAIT = 1
    CRITICAL_WAIT = 2


class Event(NamedTuple):
    """A period of time in which a worker did one thing.

    Attributes
    ----------
    activity : Activity
        What it did.
    start, stop : float
        Seconds of the monotonic clock, which all processes share.
    task : int
        The number of the task, or of the first task of a claim.
    n_tasks : int
        The number of tasks in the claim.
    sent_bytes : int
        Bytes of results that the worker has sent.

    See Also
    --------
    sharedmem.Trace : A record of events.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=1, trace=True) as pool:
    ...     _ = pool.map(lambda i: i, range(3), chunksize=3)
    >>> event = pool.trace.events[0][0]
    >>> event.activity.name, event.task, event.n_tasks
    ('TASKS', 0, 3)
    """

    activity: Activity
    start: float
    stop: float
    task: int
    n_tasks: int = 1
    sent_bytes: int = 0


class Recorder(WorkerSync):
    """The sections of one worker, with a record of what it does.

    Parameters
    ----------
    team : TeamSync
        What the workers of the call share.
    rank : int
        The number of the worker.
    sent_bytes : callable
        Returns the bytes that the worker has sent.
    """

    def __init__(self, team: TeamSync, rank: int, sent_bytes: Callable[[], int]) -> None:
        super().__init__(team, rank)
        self.events: list[Event] = []
        self._sent_bytes = sent_bytes
        self._claim: tuple[int, float, int] | None = None

    def claim(self, index: int) -> None:
        """Record the end of a claim and the start of the next."""
        self._close()
        self._claim = index, time.perf_counter(), self._sent_bytes()
        super().claim(index)

    def hand_in(self, index: int) -> None:
        """Record the end of a claim."""
        self._close()
        super().hand_in(index)

    def leave(self) -> None:
        """Record the end of the last claim."""
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
        """Record the wait for the turn."""
        start = time.perf_counter()
        super().enter_turn()
        self.events.append(Event(Activity.ORDERED_WAIT, start, time.perf_counter(), self.index))

    def enter_critical(self) -> None:
        """Record the wait for the section."""
        start = time.perf_counter()
        super().enter_critical()
        self.events.append(Event(Activity.CRITICAL_WAIT, start, time.perf_counter(), self.index))
