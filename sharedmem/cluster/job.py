"""The records of a call that the coordinator and the workers of a cluster exchange."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

from sharedmem.workers.attempts import Tolerance
from sharedmem.workers.task_context import Call, Contexts

# The names of calls that have ended, as far as this process knows.
ended: collections.deque[str] = collections.deque(maxlen=64)

# Numbers of tasks, each with the results of that task and of the following ones.
Runs = list[tuple[int, list[Any]]]


class Members(NamedTuple):
    """The workers of a cluster.

    Attributes
    ----------
    ranks : dict
        Rank of the first thread of each worker, by the worker's name.
    n_workers : int
        Number of threads of all workers.
    attaches : bool
        Whether all of them can attach shared memory of the coordinator.
    """

    ranks: dict[Any, int]
    n_workers: int
    attaches: bool

    def joined(self, name: Any, n_threads: int, attaches: bool) -> Members:
        """Return the members with one more, unless it is among them."""
        if name in self.ranks:
            return self
        ranks = {**self.ranks, name: self.n_workers}
        return Members(ranks, self.n_workers + n_threads, self.attaches and attaches)


class Job(NamedTuple):
    """One call, in the form that is sent to the workers.

    Attributes
    ----------
    key : str
        Name of the call, and of the lock of `critical`.
    call : Call
        The source of its random numbers.
    contexts : Contexts
        Those of the pool.
    members : Members
        The workers.
    tolerance : Tolerance or None
        What the call does when its tasks fail.
    """

    key: str
    call: Call
    contexts: Contexts
    members: Members
    tolerance: Tolerance | None = None

    def turn(self, index: int) -> str:
        """Return the name of the event that all tasks before `index` have passed their turn."""
        return f"{self.key}-{index}"

    def mark(self, index: int) -> str:
        """Return the name of the event that task `index` has begun, and not ended."""
        return f"{self.key}-begun-{index}"


class Claim(NamedTuple):
    """Tasks that are sent to the cluster together.

    Attributes
    ----------
    start : int
        Number of the first task.
    items : sequence
        Their items.
    n_losses : int
        Number of times that they were lost with a worker.
    is_suspect : bool
        Whether the claim, of one task, may have killed a worker: then an event marks its run.
    """

    start: int
    items: Sequence[Any]
    n_losses: int = 0
    is_suspect: bool = False

    @property
    def stop(self) -> int:
        """Number of the task after the last one."""
        return self.start + len(self.items)


class Outcome(NamedTuple):
    """The result of a claim.

    Attributes
    ----------
    runs : list of (int, list)
        Numbers of tasks, each with the results of that task and of the following ones.
    seconds : float
        Duration of the claim.
    has_stopped : bool
        Whether a task has raised StopProcessGroup.
    """

    runs: Runs
    seconds: float
    has_stopped: bool


class TaskError(Exception):
    """Raised if a task fails, with a text for the log of Dask, and the pickled failure."""

    def __repr__(self) -> str:
        return str(self.args[0])


class CallEndedError(Exception):
    """Raised if the call of a claim has ended."""
