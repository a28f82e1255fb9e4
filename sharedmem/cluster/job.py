"""The records of a call that the coordinator and the workers of a cluster exchange."""

from __future__ import annotations

from typing import Any, NamedTuple

from sharedmem.workers.task_context import Call, Contexts


class Job(NamedTuple):
    """One call, in the form that is sent to the workers.

    Attributes
    ----------
    key : str
        Name of the call.
    call : Call
        The source of its random numbers.
    contexts : Contexts
        Those of the pool.
    ranks : dict
        Rank of the first thread of each worker, by the worker's name.
    n_workers : int
        Number of threads of all workers.
    """

    key: str
    call: Call
    contexts: Contexts
    ranks: dict[Any, int]
    n_workers: int

    def turn(self, index: int) -> str:
        """Return the name of the event that all tasks before `index` have passed their turn."""
        return f"sharedmem-{self.key}-{index}"

    def mark(self, index: int) -> str:
        """Return the name of the event that task `index` has begun, and not ended."""
        return f"sharedmem-{self.key}-begun-{index}"

    @property
    def lock(self) -> str:
        """Name of the lock of `critical`."""
        return f"sharedmem-{self.key}"


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

    runs: list[tuple[int, list[Any]]]
    seconds: float
    has_stopped: bool


class TaskError(Exception):
    """Raised if a task fails, with a text for the log of Dask, and the pickled failure."""

    def __repr__(self) -> str:
        return str(self.args[0])


class CallEndedError(Exception):
    """Raised if the call of a claim has ended."""
