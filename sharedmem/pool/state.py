"""The state of a pool: its options, its calls, and what its tasks use."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy

from sharedmem.machine.arguments import check_count
from sharedmem.machine.progress_bar import Display, check_progress
from sharedmem.pool.arguments import (
    check_backend,
    check_flag,
    check_optional,
    check_persistent,
    check_timeout,
)
from sharedmem.pool.backends import Backend, ProcessBackend, SerialBackend
from sharedmem.pool.debug import get_debug
from sharedmem.pool.standing_teams import Teams
from sharedmem.pool.trace import Trace
from sharedmem.pool.watches import advancing, counted, trace_of
from sharedmem.workers.process import assigned, in_worker
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.task_context import Contexts, Critical, Ordered

if TYPE_CHECKING:
    from sharedmem.pool.async_result import AsyncCalls


class _Deferred(threading.local):
    is_running = False


_deferred = _Deferred()


def after_close(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that may call pools which have been closed since it was submitted."""

    def run(*args: Any, **options: Any) -> Any:
        with assigned(_deferred, "is_running", True):
            return func(*args, **options)

    return run


_unseen = nullcontext[Callable[[int], object]](lambda _: None)


class PoolState:
    """The state of a pool; its parameters and attributes are those of :class:`MapReduce`."""

    def __init__(
        self,
        backend: Backend = ProcessBackend,
        np: int | None = None,
        *,
        progress: bool | str | Callable[[int, int | None], object] = False,
        initializer: Callable[..., object] | None = None,
        timeout: float | None = None,
        seed: int | None = None,
        blas_threads: int | None = 1,
        trace: bool = False,
        persistent: bool = False,
        initargs: Iterable[Any] = (),
    ) -> None:
        # Nested pools would start more workers than cores, so they are serial by default.
        self._is_serial_in_workers = np is None
        check_backend(backend)
        check_optional("initializer", initializer)
        backend.check_options(np, trace)
        if np is None:
            np = 0 if in_worker() else backend.n_workers(None)
        if blas_threads is not None:
            blas_threads = check_count("blas_threads", blas_threads, smallest=1)
        self.backend = backend
        self.np = check_count("np", np, smallest=0)
        self._progress = check_progress(progress)
        self._initializer = initializer and partial(initializer, *initargs)
        self._timeout = check_timeout(timeout)
        seed = None if seed is None else check_count("seed", seed, 0)
        self._blas_threads = blas_threads
        self._has_trace = check_flag("trace", trace)
        # Whether the progress of calls is shown, or they are recorded.
        self.is_watched = self._has_trace or self._progress is not None
        self.trace: Trace | None = None
        self._teams = Teams() if check_persistent(backend, persistent) else None
        self._is_closed = False
        self._blocks: list[None] = []
        self._calls_in_background: AsyncCalls | None = None
        self._contexts = contexts = Contexts(seed)
        self.critical, self.ordered = Critical(contexts), Ordered(contexts)

    def __repr__(self) -> str:
        backend = getattr(self.backend, "__name__", self.backend)
        return f"{type(self).__name__}({backend}, np={self.np})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy, which is open, and has no calls yet."""
        own: dict[str, Any] = {
            "trace": None,
            "_is_closed": False,
            "_blocks": [],
            "_calls_in_background": None,
        }
        return vars(self) | own

    def __copy__(self) -> Self:
        """Return another pool with the same settings."""
        other = type(self).__new__(type(self))
        contexts = copy.copy(self._contexts)
        own = {
            "critical": Critical(contexts),
            "ordered": Ordered(contexts),
            "_teams": copy.copy(self._teams),
        }
        vars(other).update(self.__getstate__(), _contexts=contexts, **own)
        return other

    def display(self) -> Display | None:
        """Return a new display of progress, if it is shown."""
        return None if self._progress is None else self._progress()

    def new_trace(self, n_workers: int) -> Trace | None:
        """Return a new trace, that of the last call from now on, if calls are recorded."""
        if not self._has_trace:
            return None
        self.trace = trace = Trace(n_workers)
        return trace

    def _bar(self, n_tasks: int) -> AbstractContextManager[Callable[[int], object]]:
        """Return the block of a call, which gives a function of the number of tasks just done."""
        return advancing(self, n_tasks) if self.is_watched else _unseen

    def _counted(self, results: Iterator[Any], items: Iterable[Any]) -> Iterator[Any]:
        """Return results whose progress is shown as they are taken."""
        if self._progress is None:
            return results
        return counted(self, results, len(items) if isinstance(items, Sized) else None)

    def _workers(self, n_tasks: int | None = None) -> tuple[Backend, int]:
        """Return the backend of the next call and its number of workers, 0 for a serial call."""
        self._check_open()
        if self.np == 0 or get_debug() or (self._is_serial_in_workers and in_worker()):
            return SerialBackend, 0
        self.np = self.backend.n_workers(self.np)
        if n_tasks == 0:
            return SerialBackend, 0
        return self.backend, self.np if n_tasks is None else min(self.np, n_tasks)

    def _check_open(self) -> None:
        """Raise ValueError if the pool takes no more calls."""
        if self._is_closed and not _deferred.is_running:
            raise ValueError(
                "the pool is closed, since close() or terminate() was called: make another one"
            )

    def _call(
        self, n_workers: int, func: Callable[..., Any], chunksize: int | None, *, stays: bool
    ) -> PoolCall:
        if self._teams is not None:
            self._teams.size = self.np
        trace = trace_of(self, max(n_workers, 1)) if self.is_watched else None
        return PoolCall(
            self._contexts,
            self._contexts.next_call(),
            n_workers,
            func,
            chunksize,
            self._initializer,
            self._timeout,
            self._blas_threads,
            trace,
            teams=self._teams if stays else None,
        )

    @property
    def local(self) -> SimpleNamespace:
        """Storage of the worker that asks: its `rank`, and whatever its tasks store.

        It lasts for one call of the pool, or for as long as its workers stay. Outside of a task,
        the rank is 0.

        See Also
        --------
        MapReduce.rng : Random generator of the current task.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.map(lambda i: pool.local.rank, range(2), chunksize=1))
        [0, 1]
        """
        return self._contexts.current().local

    @property
    def rng(self) -> numpy.random.Generator:
        """Random generator of the current task.

        Its numbers depend on the pool's `seed`, on the number of earlier calls of the pool, and on
        the number of the task, but not on the workers.

        Raises
        ------
        RuntimeError
            Outside of a task.

        See Also
        --------
        sharedmem.random : Random numbers in arrays.

        Examples
        --------
        >>> import sharedmem
        >>> def draw(i):
        ...     return pool.rng.integers(1000)
        >>> with sharedmem.MapReduce(np=2, seed=1) as pool:
        ...     numbers = pool.map(draw, range(4))
        >>> with sharedmem.MapReduce(np=0, seed=1) as pool:
        ...     pool.map(draw, range(4)) == numbers
        True
        """
        return self._contexts.current().rng

    def barrier(self) -> None:
        """Wait until every worker has called this.

        A map that uses it needs a multiple of `np` tasks, and ``chunksize=1``.

        Raises
        ------
        threading.BrokenBarrierError
            If a worker has no more tasks, or the tasks come from `imap`.

        See Also
        --------
        MapReduce.map : Call a function on many items.

        Examples
        --------
        >>> import sharedmem
        >>> halves = sharedmem.zeros(2)
        >>> def work(i):
        ...     halves[i] = i + 1
        ...     pool.barrier()  # both are written now
        ...     return float(halves.sum())
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.map(work, range(2), chunksize=1)
        [3.0, 3.0]
        """
        self._contexts.current().sync.barrier()
