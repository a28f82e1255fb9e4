"""What a team is, to the coordinator and to its workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from sharedmem.workers.channel import Message
from sharedmem.workers.claims import Cursor
from sharedmem.workers.failures import Failure

# What epoll takes; longer waits are done in parts.
_LONGEST_WAIT = 1e6

Work = Callable[[int, "Port"], None]


class OverdueError(TimeoutError):
    """Nothing has come at the deadline; what handlers of signals raise is never of this type."""


class Results(Protocol):
    """Where the results of tasks go.

    Attributes
    ----------
    pending : list
        Takes small immutable results.
    """

    pending: list[Any]

    def start(self, index: int) -> None:
        """Say that the next result is that of task `index`."""
        ...

    def add(self, result: object) -> None:
        """Take any result."""
        ...

    def flush(self) -> None:
        """Send what is pending."""
        ...

    def stopped(self) -> bool:
        """Say whether the coordinator wants no more results."""
        ...


class Port(Results, Protocol):
    """A worker's side of its team: where tasks come from and results go."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of results that have been sent."""
        ...

    def fail(self, index: int, failure: Failure) -> None:
        """Tell that task `index` has failed."""
        ...

    def finish(self, note: object = None) -> None:
        """Tell that this worker has no more tasks, and what else it has to say."""
        ...

    def receive(self) -> Message | None:
        """Wait for tasks; None when there are no more."""
        ...


class Team(Protocol):
    """The coordinator's side of a team.

    Attributes
    ----------
    size : int
        How many workers there are.
    """

    size: int

    def take(self, index: int, items: Iterator[Any], size: int) -> Any:
        """Take up to `size` tasks, the first one with number `index`, out of an iterator.

        Returns
        -------
        sized
            A batch to send next; empty if there are no more.
        """
        ...

    def send(self, rank: int, index: int, batch: Any) -> int:
        """Give a worker a batch of tasks, of which the first has the number `index`.

        Returns
        -------
        int
            Bytes that were copied.
        """
        ...

    def dismiss(self, rank: int) -> None:
        """Tell a worker that there are no more tasks."""
        ...

    def wait(self, deadline: float | None) -> None:
        """Wait until `receive` need not wait, and take nothing: an interrupt loses no message.

        For a team of one worker; of threads, until it has ended.

        Raises
        ------
        OverdueError
            If that is not so at `deadline`, in seconds of the monotonic clock.
        """
        ...

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages, with the ranks they come from; none once all workers have ended.

        Raises
        ------
        OverdueError
            If none has come at `deadline`, in seconds of the monotonic clock.
        WorkerException
            If a task has failed, or a worker has died.
        """
        ...

    def acknowledge(self, rank: int, message: Message) -> None:
        """Give back to a worker its part of the result window."""
        ...

    def watch(self) -> None:
        """Raise if a worker has died or failed, whose lock the coordinator may be waiting for."""
        ...

    def kill(self) -> None:
        """Kill the workers that can be killed; any thread may, while another one waits for them."""
        ...

    def end(self, *, patient: bool) -> None:
        """End all workers; `patient` waits for tasks that cannot be interrupted."""
        ...


def remaining(deadline: float | None) -> float | None:
    """Return the seconds to wait until `deadline`, at least 0, or for as long as can be waited."""
    return None if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST_WAIT)


def is_over(deadline: float | None) -> bool:
    """Return whether the deadline has passed."""
    return deadline is not None and time.monotonic() >= deadline


class Backend(Protocol):
    """Makes the teams of one kind.

    Attributes
    ----------
    uses_processes : bool
        Whether workers are forked, and share only what lies in shared memory.
    """

    uses_processes: bool

    def cursor(self, start: int) -> Cursor:
        """Return a cursor that the workers of such a team share."""
        ...

    def team(
        self, n_workers: int, work: Work, whereabouts: Callable[[int], str], *, fed: bool
    ) -> Team:
        """Start a team, while signals are held: an interrupt would lose what is half made.

        Parameters
        ----------
        n_workers : int
            How many workers to start.
        work : callable
            Called in each worker with its rank and its port.
        whereabouts : callable
            Says what the worker of a rank was doing, for the error that reports its end.
        fed : bool
            Whether tasks come from the coordinator, which then bounds the results by itself.
        """
        ...
