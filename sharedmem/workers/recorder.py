"""Record what each worker of a call does, and when."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from sharedmem.machine.proc import proportional_memory
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
    received_bytes : int
        Bytes of items that the worker has received.
    array_bytes : int
        Bytes of arrays that a task of an array function has read and written.
    name : str
        The array function; empty for tasks of `map` and `imap`.

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
    received_bytes: int = 0
    array_bytes: int = 0
    name: str = ""


class Report(NamedTuple):
    """What a worker reports at its end.

    Attributes
    ----------
    events : list of Event
        What it did.
    memory_bytes : int
        The memory of its process, each page divided by the number of processes that share it; 0
        for a thread, whose memory is the coordinator's.
    """

    events: list[Event]
    memory_bytes: int = 0


class Traffic(Protocol):
    """The side of a worker in its team, which counts what it sends and receives."""

    sent_bytes: int
    received_bytes: int


# Tasks that are not claimed share an event up to this duration, if they follow each other closely.
_EVENT_SECONDS = 0.001
_GAP_SECONDS = 0.0001


def append_task(events: list[Event], task: Event) -> None:
    """Add the event of a task; short ones are added to the last event."""
    last = events[-1] if events else None
    if (
        last is not None
        and last.activity == Activity.TASKS
        and last.task + last.n_tasks == task.task
        and task.start - last.stop < _GAP_SECONDS
        and task.stop - last.start < _EVENT_SECONDS
    ):
        events[-1] = last._replace(
            stop=task.stop,
            n_tasks=last.n_tasks + 1,
            array_bytes=last.array_bytes + task.array_bytes,
        )
    else:
        events.append(task)


class Recorder(WorkerSync):
    """The sections of one worker, with a record of what it does.

    Parameters
    ----------
    team : TeamSync
        What the workers of the call share.
    rank : int
        The number of the worker.
    port : Traffic, optional
        Counts the bytes that the worker sends and receives.
    """

    def __init__(self, team: TeamSync, rank: int, port: Traffic | None = None) -> None:
        super().__init__(team, rank)
        self.events: list[Event] = []
        self._port = port
        self._claim: tuple[int, float, int, int] | None = None
        self._received = self._traffic()[1]  # a worker that stays has received items before

    def claim(self, index: int) -> None:
        """Record the end of a claim and the start of the next."""
        self._close()
        sent, received = self._traffic()
        received, self._received = received - self._received, received
        self._claim = index, time.perf_counter(), sent, received
        super().claim(index)

    def hand_in(self, index: int) -> None:
        """Record the end of a claim."""
        self._close()
        super().hand_in(index)

    def leave(self) -> None:
        """Record the end of the last claim."""
        self._close()
        super().leave()

    def run(self, func: Callable[[Any], Any], item: Any) -> Any:
        """Run a task of the caller, which claims none; short tasks share an event."""
        start = time.perf_counter()
        try:
            return func(item)
        finally:
            stop = time.perf_counter()
            append_task(self.events, Event(Activity.TASKS, start, stop, self.index))

    def report(self) -> Report:
        """Return what the worker did, and its memory."""
        return Report(self.events, proportional_memory() if self.team.has_processes else 0)

    def _traffic(self) -> tuple[int, int]:
        port = self._port
        return (0, 0) if port is None else (port.sent_bytes, port.received_bytes)

    def _close(self) -> None:
        if self._claim is not None:
            task, start, sent, received = self._claim
            now, n_tasks = time.perf_counter(), self.index + 1 - task
            sent = self._traffic()[0] - sent
            self.events.append(Event(Activity.TASKS, start, now, task, n_tasks, sent, received))
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
