"""What a pool, its teams of workers, and a worker know of each other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeAlias

from sharedmem.memory import open_files
from sharedmem.workers.attempts import Tolerance
from sharedmem.workers.deadlines import deadline_in
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.recorder import Report
from sharedmem.workers.sections import Sections
from sharedmem.workers.task_context import Call, Context, Contexts
from sharedmem.workers.thread_team import ThreadPort, ThreadTeam

Port: TypeAlias = ProcessPort | ThreadPort
"""A worker's side of its team: where tasks come from and results go."""

Team: TypeAlias = ProcessTeam | ThreadTeam
"""The coordinator's side of a team."""

Collect: TypeAlias = Callable[[int, list[Any]], None]
"""Called with the number of a task, and the results of that task and of the following ones."""


class Timeline(Protocol):
    """A record of what the workers of a call did."""

    def add(self, rank: int, report: Report) -> None:
        """Add what a worker reports at its end."""
        ...

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
    func : callable
        The function of the tasks, which takes one item.
    chunksize : int or None
        Tasks per claim or batch; None lets it grow.
    initializer : callable or None
        Called in each worker before its first task.
    timeout : float or None
        Seconds that the call may take.
    blas_threads : int or None
        Threads of BLAS and OpenMP libraries in each worker; None sets no limit.
    trace : Timeline or None
        Collects what the workers do.
    writes : list or None
        Collects which private arrays the workers of a map change.
    teams : Teams or None
        The teams of the pool that stay; None starts one for the call.
    tolerance : Tolerance or None
        What the call does when its tasks fail; None ends it.
    holds : bool
        Whether nobody looks at results before the last one.
    """

    contexts: Contexts
    call: Call
    n_workers: int
    func: Callable[[Any], Any]
    chunksize: int | None
    initializer: Callable[[], object] | None
    timeout: float | None
    blas_threads: int | None
    trace: Timeline | None
    writes: list[Any] | None = None
    teams: Any = None
    tolerance: Tolerance | None = None
    holds: bool = False

    def deadline(self) -> float | None:
        """Return the time of the monotonic clock at which the call, begun now, is overdue."""
        return deadline_in(self.timeout)

    def acting(self, part: Sections) -> AbstractContextManager[None]:
        """Return the block in which this thread acts for the call, by its part in the team."""
        return self.contexts.acting(Context(part, self.call))

    def initialize(self) -> None:
        """Call the initializer in a worker."""
        if self.initializer is not None:
            self.initializer()
            open_files.watch_writers()
