"""The protocol of backends, and those of this machine: processes, threads, and the caller alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from sharedmem.engine.runners import ArrayRunner
from sharedmem.errors import StopProcessGroup
from sharedmem.machine import blas, foreign_libraries, fork_dangers, limits
from sharedmem.memory import open_files
from sharedmem.pool import calls, tolerant_calls
from sharedmem.workers.attempts import tolerant
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.protocols import Collect, PoolCall, Team
from sharedmem.workers.recorder import Recorder
from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.task_context import Context
from sharedmem.workers.task_loop import by_index, items_of
from sharedmem.workers.team_sync import TeamSync
from sharedmem.workers.thread_team import ThreadTeam

if TYPE_CHECKING:
    from concurrent import futures


@runtime_checkable
class Backend(Protocol):
    """A kind of workers: everything that a pool asks of them.

    Attributes
    ----------
    uses_processes : bool
        Whether workers and the caller share only what lies in shared memory.
    """

    uses_processes: bool

    def check_options(self, np: int | None, trace: bool) -> None:
        """Raise ValueError if a pool of such workers cannot have the options."""
        ...

    def n_workers(self, np: int | None) -> int:
        """Return the number of workers that a pool with the option `np` has now."""
        ...

    def enter(self) -> None:
        """Keep what is this backend's own until it has been left as often."""
        ...

    def leave(self) -> None:
        """Close what is this backend's own, when it is left for the last time."""
        ...

    def run_map(self, call: PoolCall, sequence: Any, collect: Collect) -> None:
        """Run the tasks of a map; see :func:`sharedmem.pool.calls.run_map`."""
        ...

    def run_imap(self, call: PoolCall, items: Iterable[Any], *, in_order: bool) -> Iterator[Any]:
        """Yield the results of tasks; see :func:`sharedmem.pool.calls.run_imap`."""
        ...

    def array_runner(self, local: ArrayRunner) -> ArrayRunner:
        """Return the runner of array functions, given one that runs them on this machine."""
        ...

    def executor(
        self, np: int, initializer: Callable[[], object] | None, blas_threads: int | None
    ) -> futures.Executor:
        """Return an executor of such workers, with the options of a pool."""
        ...


class _LocalBackend:
    """A backend of workers on this machine, which needs nothing between two calls."""

    uses_processes: ClassVar[bool] = False

    @classmethod
    def check_options(cls, np: int | None, trace: bool) -> None:
        """Accept all options."""

    @classmethod
    def n_workers(cls, np: int | None) -> int:
        """Return `np`, or one worker per core."""
        return limits.cpu_count() if np is None else np

    @classmethod
    def enter(cls) -> None:
        """Do nothing."""

    @classmethod
    def leave(cls) -> None:
        """Do nothing."""

    @classmethod
    def array_runner(cls, local: ArrayRunner) -> ArrayRunner:
        """Return the runner of this machine."""
        return local

    @classmethod
    def executor(
        cls, np: int, initializer: Callable[[], object] | None, blas_threads: int | None
    ) -> futures.Executor:
        """Return an executor of processes, or, without workers, of the caller."""
        from sharedmem.pool.executor import Executor  # which imports this module

        backend: Any = cls if np else ProcessBackend
        return Executor(np, backend=backend, initializer=initializer, blas_threads=blas_threads)


class SerialBackend(_LocalBackend):
    """A backend without workers: the caller runs all tasks, and exceptions are unchanged."""

    @classmethod
    def run_map(cls, call: PoolCall, sequence: Any, collect: Collect) -> None:
        """Run the tasks of a map; see :class:`Backend`."""
        # Taken as by workers: iterating might find no end.
        items: Iterable[Any] = items_of(sequence, 0, len(sequence))
        if call.tolerance is not None:
            call, items = call._replace(func=by_index(call.func, sequence)), range(len(sequence))
        for index, result in enumerate(cls.run_imap(call, items, in_order=True)):
            collect(index, [result])

    @classmethod
    def run_imap(cls, call: PoolCall, items: Iterable[Any], *, in_order: bool) -> Iterator[Any]:
        """Yield the results of tasks; see :class:`Backend`."""
        sync = TeamSync(1, processes=False)
        recorder = None if call.trace is None else Recorder(sync, 0)
        part = recorder or WorkerSync(sync, 0)
        func = tolerant(call.func, call.tolerance, part, None)
        if recorder is not None:
            func = partial(recorder.run, func)
        context = Context(part, call.call)
        with call.contexts.acting(context):
            call.initialize()
        try:
            for index, item in enumerate(items):
                part.begin(index)
                # Between tasks the pool is the consumer's.
                with call.contexts.acting(context):
                    try:
                        result = func(item)
                    except StopProcessGroup:
                        return
                yield result
        finally:
            if call.trace is not None and recorder is not None:
                call.trace.add(0, recorder.report())
                call.trace.finish()


class TeamBackend(_LocalBackend):
    """A backend that starts a team for each call.

    Attributes
    ----------
    team : callable
        Starts a team, while signals are held: an interrupt would lose what is half made. See
        :class:`sharedmem.workers.process_team.ProcessTeam` for its parameters.
    may_stay, must_stay : bool
        Whether a team can run one call after another, and whether it always does.
    """

    team: ClassVar[Callable[..., Team]]
    may_stay: ClassVar[bool] = False
    must_stay: ClassVar[bool] = False

    @classmethod
    def run_map(cls, call: PoolCall, sequence: Any, collect: Collect) -> None:
        """Run the tasks of a map; see :class:`Backend`."""
        calls.run_map(cls, call, sequence, collect)

    @classmethod
    def run_imap(cls, call: PoolCall, items: Iterable[Any], *, in_order: bool) -> Iterator[Any]:
        """Yield the results of tasks; see :class:`Backend`."""
        return calls.run_imap(cls, call, items, in_order=in_order)

    @classmethod
    def team_with(cls, n_threads: int | None) -> Callable[..., Team]:
        """Return `team` for workers in which libraries will have so many threads."""
        return cls.team

    @classmethod
    def prepare(cls, call: PoolCall | None = None) -> None:
        """Do in the coordinator what must come before the start of a team, for a call or not."""

    @classmethod
    def blas_limit(cls, n_threads: int | None) -> int | None:
        """Return the limit on threads of BLAS to set in the coordinator, given that of workers."""
        return n_threads

    @classmethod
    def isolated(cls, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return `func` in a form that keeps the context variables of each task apart."""
        return func

    @classmethod
    def begin(
        cls,
        call: PoolCall,
        part: WorkerSync,
        local: SimpleNamespace | None = None,
        *,
        is_new: bool = True,
    ) -> None:
        """Make this thread a worker of a call, until another call; `local` is its storage."""
        call.contexts.of_thread.context = Context(part, call.call, local)

    @classmethod
    def finish(cls) -> None:
        """Write what tasks have printed, in a worker that may end without exit handlers."""


class ProcessBackend(TeamBackend):
    """A backend whose workers are forked processes, which share arrays in shared memory.

    See Also
    --------
    MapReduce : A pool, which uses this backend by default.
    ThreadBackend : Run tasks in threads.

    Examples
    --------
    >>> import os, sharedmem
    >>> with sharedmem.MapReduce(sharedmem.ProcessBackend, np=2) as pool:
    ...     os.getpid() in pool.map(lambda i: os.getpid(), range(2))
    False
    """

    uses_processes = True
    team: ClassVar[Callable[..., Team]] = ProcessTeam
    may_stay = True

    @classmethod
    def run_map(cls, call: PoolCall, sequence: Any, collect: Collect) -> None:
        """Run the tasks of a map; see :class:`Backend`."""
        run = calls.run_map if call.tolerance is None else tolerant_calls.run_map
        run(cls, call, sequence, collect)

    @classmethod
    def run_imap(cls, call: PoolCall, items: Iterable[Any], *, in_order: bool) -> Iterator[Any]:
        """Yield the results of tasks; see :class:`Backend`."""
        run = calls.run_imap if call.tolerance is None else tolerant_calls.run_imap
        return run(cls, call, items, in_order=in_order)

    @classmethod
    def prepare(cls, call: PoolCall | None = None) -> None:
        """Write the text in output streams, and warn of libraries that break in workers."""
        fork_dangers.warn_of_fork()
        if call is not None and call.contexts.seed is not None:
            import numpy.random  # noqa: F401 - here, so that not each worker of each call does it
        open_files.flush_output()

    @classmethod
    def blas_limit(cls, n_threads: int | None) -> int | None:
        """Return None if workers can set the limit themselves."""
        return None if n_threads is None or blas.can_limit_after_fork() else n_threads

    @classmethod
    def begin(
        cls,
        call: PoolCall,
        part: WorkerSync,
        local: SimpleNamespace | None = None,
        *,
        is_new: bool = True,
    ) -> None:
        """Make this process a worker of a call, until another call; `local` is its storage."""
        if is_new and call.blas_threads is not None:
            cls.limit_threads(call.blas_threads)
        call.contexts.enter_process(Context(part, call.call, local))
        has_seed = call.contexts.seed is not None
        if has_seed or (is_new and foreign_libraries.has_global_generators()):
            seeds = call.call.worker_seeds(max(call.n_workers, part.number + 1))
            foreign_libraries.seed_generators(seeds[part.number])

    @classmethod
    def limit_threads(cls, n_threads: int) -> None:
        """Limit the threads of libraries in a worker."""
        foreign_libraries.limit_threads(n_threads)

    @classmethod
    def finish(cls) -> None:
        """Write what tasks have printed."""
        open_files.flush()


class ThreadBackend(TeamBackend):
    """A backend whose workers are threads of the coordinator, which share all memory.

    See Also
    --------
    MapReduceByThread : A pool that uses this backend.
    ProcessBackend : Run tasks in forked processes.

    Examples
    --------
    >>> import os, sharedmem
    >>> with sharedmem.MapReduce(sharedmem.ThreadBackend, np=2) as pool:
    ...     {*pool.map(lambda i: os.getpid(), range(2))} == {os.getpid()}
    True
    """

    team = ThreadTeam

    @classmethod
    def executor(
        cls, np: int, initializer: Callable[[], object] | None, blas_threads: int | None
    ) -> futures.Executor:
        """Return an executor of threads."""
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(np, initializer=initializer)

    @classmethod
    def isolated(cls, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return `func` run in a copy of the context variables, one per task."""
        return lambda item: copy_context().run(func, item)
