"""The protocols between a pool, its teams of workers, and a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from sharedmem.memory import open_files
from sharedmem.workers.channel import Message
from sharedmem.workers.failures import Failure
from sharedmem.workers.recorder import Event
from sharedmem.workers.sections import Sections, WorkerSync
from sharedmem.workers.task_context import Call, Contexts

# The longest timeout that epoll takes; longer waits are done in parts.
_LONGEST_WAIT = 1e6

Work = Callable[[int, "Port"], None]


class OverdueError(TimeoutError):
    """Raised if nothing arrives by the deadline; signal handlers never raise this type."""


class Results(Protocol):
    """A receiver of the results of tasks.

    Attributes
    ----------
    pending : list
        Small immutable results that have not been sent.
    """

    pending: list[Any]

    def start(self, index: int) -> None:
        """Set the number of the task of the next result."""
        ...

    def add(self, result: object) -> None:
        """Add a result of any type."""
        ...

    def flush(self) -> None:
        """Send what is pending."""
        ...

    def stopped(self) -> bool:
        """Return whether the coordinator wants no more results."""
        ...


class Port(Results, Protocol):
    """A worker's side of its team: where tasks come from and results go."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of results that have been sent."""
        ...

    def fail(self, index: int, failure: Failure) -> None:
        """Report that task `index` has failed."""
        ...

    def finish(self, note: object = None) -> None:
        """Report that this worker has no more tasks, with a last note."""
        ...

    def receive(self) -> Message | None:
        """Wait for tasks; None when there are no more."""
        ...


class Team(Protocol):
    """The coordinator's side of a team.

    Attributes
    ----------
    size : int
        Number of workers.
    """

    size: int

    def take(self, index: int, items: Iterator[Any], size: int) -> Any:
        """Take up to `size` tasks, the first with number `index`, from an iterator.

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
        """Send a worker the message that there are no more tasks."""
        ...

    def wait(self, deadline: float | None) -> None:
        """Wait until `receive` need not wait, and take nothing: an interrupt loses no message.

        For a team of one worker; of threads, until it has ended.

        Raises
        ------
        OverdueError
            If `receive` would still wait at `deadline`, in seconds of the monotonic clock.
        """
        ...

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages, with the ranks they come from; none once all workers have ended.

        Raises
        ------
        OverdueError
            If none has arrived at `deadline`, in seconds of the monotonic clock.
        WorkerException
            If a task has failed, or a worker has died.
        """
        ...

    def acknowledge(self, rank: int, message: Message) -> None:
        """Acknowledge a message, so that its worker may send as many bytes again."""
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


class Timeline(Protocol):
    """A record of what the workers of a call did.

    Attributes
    ----------
    events : list of list of Event
        The events of each worker.
    """

    events: list[list[Event]]

    def finish(self) -> None:
        """Note the end of the call."""
        ...


class PoolCall(NamedTuple):
    """One call of a pool.

    Attributes
    ----------
    contexts : Contexts
        Those of the pool.
    call : Call
        The source of its random numbers.
    n_workers : int
        Number of workers.
    initializer : callable or None
        Called in each worker before its first task.
    timeout : float or None
        Seconds that the call may take.
    blas_threads : int or None
        Threads of BLAS and OpenMP libraries in each worker; None sets no limit.
    trace : Timeline or None
        Collects what the workers do.
    leave : callable or None
        Called in each worker of a map with its rank, after its last task.
    """

    contexts: Contexts
    call: Call
    n_workers: int
    initializer: Callable[[], object] | None = None
    timeout: float | None = None
    blas_threads: int | None = None
    trace: Timeline | None = None
    leave: Callable[[int], None] | None = None

    def deadline(self) -> float | None:
        """Return the time of the monotonic clock at which the call, begun now, is overdue."""
        return None if self.timeout is None else time.monotonic() + self.timeout

    def acting(self, part: Sections) -> AbstractContextManager[None]:
        """Return the block in which this thread acts for the call, by its part in the team."""
        return self.contexts.acting(self.call.context(part))

    def initialize(self) -> None:
        """Call the initializer in a worker."""
        if self.initializer is not None:
            self.initializer()
            open_files.watch_writers()


class TeamMaker(Protocol):
    """A maker of teams of one kind on this machine.

    Attributes
    ----------
    uses_processes : bool
        Whether workers are forked, and share only what lies in shared memory.
    """

    uses_processes: bool

    def team(
        self, n_workers: int, work: Work, whereabouts: Callable[[int], str], *, fed: bool
    ) -> Team:
        """Start a team, while signals are held: an interrupt would lose what is half made.

        Parameters
        ----------
        n_workers : int
            Number of workers to start.
        work : callable
            Called in each worker with its rank and its port.
        whereabouts : callable
            Returns what the worker of a rank was doing, for the error that reports its end.
        fed : bool
            Whether tasks come from the coordinator, which then bounds the results by itself.
        """
        ...

    def prepare(self, call: PoolCall | None = None) -> None:
        """Do in the coordinator what must come before the start of a team, for a call or not."""
        ...

    def blas_limits(self, n_threads: int | None) -> tuple[int | None, int | None]:
        """Return the limits on threads of BLAS to set in the coordinator and in each worker."""
        ...

    def isolated(self, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return `func` in a form that keeps the context variables of each task apart."""
        ...

    def begin(self, call: PoolCall, part: WorkerSync) -> None:
        """Make the caller, a worker, one of a call."""
        ...

    def finish(self) -> None:
        """Write what tasks have printed, in a worker that may end without exit handlers."""
        ...
