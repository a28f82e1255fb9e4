"""The pool: map and reduce, imap, ordered and critical sections."""

from __future__ import annotations

import copy
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import numpy

from sharedmem.engine.runners import ArrayRunner, LocalRunner
from sharedmem.machine.arguments import check_count
from sharedmem.pool.arguments import (
    check_backend,
    check_flag,
    check_function,
    check_iterable,
    check_optional,
    check_sequence,
    check_timeout,
)
from sharedmem.pool.array_methods import ArrayMethods
from sharedmem.pool.backends import Backend, ProcessBackend, SerialBackend, ThreadBackend
from sharedmem.pool.debug import get_debug
from sharedmem.pool.feed import MISSING
from sharedmem.pool.lost_writes import PrivateArrays
from sharedmem.pool.progress_bar import no_bar, shown_bar
from sharedmem.pool.trace import Trace
from sharedmem.workers.process import in_worker
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.task_context import Contexts, Critical, Ordered


class MapReduce(ArrayMethods):
    """A pool of workers, forked at each call, with a reduction in the coordinator.

    Workers are forked when `map` is called. So the function may be any closure: it sees all
    variables as they are at that moment, and nothing of it is pickled. What it changes is
    seen outside only where it lies in shared memory. A warning says so where tasks return None, and
    each worker has changed other elements of an array in private memory.

    Parameters
    ----------
    backend : {ProcessBackend, ThreadBackend} or DaskBackend
        What workers are: forked processes; threads, for functions that release the
        interpreter's lock, or where forking is not allowed; or those of a cluster: see
        :class:`sharedmem.DaskBackend`.
    np : int, optional
        Number of workers; by default `cpu_count()`, and 0 inside a worker. With 0 all is done
        serially by the caller, and exceptions come as they are. A cluster says itself how many
        it has, so that only 0 may be given.
    progress : bool
        Whether to show a progress bar of the tasks.
    initializer : callable, optional
        Called without arguments in each worker before its first task.
    timeout : float, optional
        Seconds after which a call ends with :class:`TimeoutError` and its workers are killed.
        For `imap`, seconds to wait for a result. A thread, and a serial call, cannot be
        interrupted: a thread goes on to the end of its task, a serial call takes what it takes.
    seed : int, optional
        What `rng` derives from; by default fresh entropy for each pool.
    blas_threads : int, optional
        Threads that BLAS and OpenMP libraries may use in each worker; None leaves them alone. Where
        a build of OpenBLAS cannot be limited after a fork, the coordinator has the same limit until
        `map` returns. One thread adds in another order than several do, so that a matrix product
        may differ in its last bits from that of the coordinator, or of a serial pool.
    trace : bool
        Whether to note what each worker does, and when, for the attribute `trace`.

    Attributes
    ----------
    np : int
        Number of workers.
    critical, ordered : context manager
        Blocks that one worker at a time may be in; `ordered` ones in the order of the tasks. They
        keep out `reduce`, too, and who takes the results of `imap`: he asks for none inside of it.
    trace : Trace or None
        What the workers of the last call did. Not noted are calls that the caller does itself:
        serial ones, and array calls that run in its threads.

    Notes
    -----
    The same pool may be used in many ``with`` blocks, and from several threads at once. A copy of a
    pool, or one that is unpickled, is another pool with the same settings, and the same random
    numbers from then on if it has a seed; in a task, and in items of `imap`, it is the same pool.

    Workers inherit what `func` and the items refer to, open files too. Those that are only read are
    opened anew in each worker. Others share one place in the file with all processes, and so do
    sockets, and handles that a library keeps: open these in the `initializer`, or in the task.

    In threads, each task runs in a copy of the caller's context variables, so that `numpy.errstate`
    and `numpy.printoptions` hold; forked workers inherit them.

    A worker exits without the exit handlers of the coordinator. What it has printed is written, and
    what coverage.py measures in it goes to a file of its own, for ``coverage combine --append``.

    Examples
    --------
    >>> import sharedmem
    >>> squares = sharedmem.empty(4)
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     def work(i):
    ...         squares[i] = i * i
    ...         return i
    ...     pool.map(work, range(4), reduce=lambda i: -i)
    [0, -1, -2, -3]
    >>> squares.tolist()
    [0.0, 1.0, 4.0, 9.0]
    """

    def __init__(
        self,
        backend: Backend = ProcessBackend,
        np: int | None = None,
        *,
        progress: bool = False,
        initializer: Callable[[], object] | None = None,
        timeout: float | None = None,
        seed: int | None = None,
        blas_threads: int | None = 1,
        trace: bool = False,
    ) -> None:
        # Nested pools would have more workers than cores, so they have none unless asked to.
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
        self._bar = shown_bar if check_flag("progress", progress) else no_bar
        self._initializer = initializer
        self._timeout = check_timeout(timeout)
        seed = None if seed is None else check_count("seed", seed, 0)
        self._blas_threads = blas_threads
        self._has_trace = check_flag("trace", trace)
        self.trace: Trace | None = None
        self._meet(Contexts(seed))

    def __repr__(self) -> str:
        backend = getattr(self.backend, "__name__", self.backend)
        return f"{type(self).__name__}({backend}, np={self.np})"

    def __enter__(self) -> Self:
        """Make this the pool that array functions use in this thread."""
        self.backend.enter()
        _entered.set((*_entered.get(), (_place(), weakref.ref(self))))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Go back to the pool that was in use before."""
        pools = _entered.get()
        # Of a pool that was entered more than once, the innermost block is left. None may be found:
        # a generator may be closed in another thread, or task of asyncio, than it was entered in.
        for at in reversed(range(len(pools))):
            if pools[at][1]() is self:
                _entered.set(pools[:at] + pools[at + 1 :])
                break
        self.backend.leave()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy of the pool has: all but what its last call has noted."""
        return vars(self) | {"trace": None}

    def __copy__(self) -> Self:
        """Return another pool with the same settings."""
        other = type(self).__new__(type(self))
        vars(other).update(self.__getstate__())
        other._meet(copy.copy(self._contexts))
        return other

    def _meet(self, contexts: Contexts) -> None:
        self._contexts = contexts
        self.critical = Critical(contexts)
        self.ordered = Ordered(contexts)

    @property
    def local(self) -> SimpleNamespace:
        """What belongs to the worker that asks: its `rank`, and whatever its tasks store."""
        return self._contexts.current().local

    @property
    def rng(self) -> numpy.random.Generator:
        """A random generator for the current task.

        Its numbers depend on the pool's `seed`, on how many calls the pool has had before, and on
        the number of the task, but not on the workers.

        Raises
        ------
        RuntimeError
            Outside of a task.
        """
        return self._contexts.current().rng

    def barrier(self) -> None:
        """Wait until every worker has come here.

        A map that uses it needs a multiple of `np` tasks, and ``chunksize=1``.

        Raises
        ------
        threading.BrokenBarrierError
            If a worker has no more tasks, or the tasks come from `imap`.
        """
        self._contexts.current().sync.barrier()

    def map(
        self,
        func: Callable[..., Any],
        sequence: Iterable[Any],
        reduce: Callable[..., Any] | None = None,
        star: bool = False,
        minlength: int = 0,
        *,
        chunksize: int | None = None,
    ) -> list[Any]:
        """Call `func` on each item of `sequence`, in parallel.

        Parameters
        ----------
        func : callable
            Called in the workers. What it returns is pickled, large arrays and shared arrays
            without a copy through a pipe.
        sequence : sequence or iterable
            The items, those that ``list(sequence)`` has. Workers index a list, a tuple, a range, an
            array of NumPy or h5py, a grid of chunks, and other objects of
            `collections.abc.Sequence`, or without ``__iter__``. All else, such as a Series of
            pandas, is made a list first. A mapping is refused.
        reduce : callable, optional
            Called in the coordinator on each result as it comes; a tuple is spread over its
            arguments. It need not be pure, since it never runs twice at the same time.
        star : bool
            Whether an item is spread over the arguments of `func`.
        minlength : int
            Ignored; programs written for version 0.3 pass it.
        chunksize : int, optional
            Tasks that a worker takes at once. By default as many as take about half a
            millisecond.

        Returns
        -------
        list
            The results, or what `reduce` made of them, in the order of `sequence`.

        Raises
        ------
        WorkerException
            If `func` raises, with the exception as `reason`, or if a worker dies.
        TimeoutError
            If the pool has a time limit and it has passed.
        TypeError, ValueError
            If an argument cannot be used; nothing has been run then.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.map(lambda a, b: a * b, [(1, 2), (3, 4)], star=True)
        [2, 12]
        """
        func = check_function(func, star)
        check_optional("reduce", reduce)
        items = check_sequence(sequence)
        chunksize = None if chunksize is None else check_count("chunksize", chunksize, 1)
        n_tasks = len(items)
        results: list[Any] = [MISSING] * n_tasks
        n_results = 0
        with self._bar(n_tasks) as advance:

            def collect(start: int, values: list[Any]) -> None:
                if reduce is not None:
                    values = [
                        reduce(*value) if isinstance(value, tuple) else reduce(value)
                        for value in values
                    ]
                nonlocal n_results
                n_results += len(values)
                results[start : start + len(values)] = values
                advance(len(values))

            backend, n_workers = self._workers(n_tasks)
            # What tasks return may be why they write to private memory.
            may_lose = backend.uses_processes and reduce is None
            private = PrivateArrays(func if may_lose else None, n_workers)
            call = self._call(n_workers)._replace(leave=private.note)
            backend.run_map(call, func, items, chunksize, collect)
            if may_lose and all(result is None for result in results):
                private.warn()
        # A task that raised StopProcessGroup gave no result.
        if n_results == n_tasks:
            return results
        return [result for result in results if result is not MISSING]

    def imap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool = False,
        *,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """Yield the results of `func` on the items of `iterable`, in order.

        Unlike `map` it holds only a few items and results in memory, also if the iterable is
        endless or nobody reads. The workers are forked at the first result that is asked for, and
        end with the iterator.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            The items; they are pickled.
        star : bool
            Whether an item is spread over the arguments of `func`.
        chunksize : int, optional
            Items that are sent at once. By default it grows while tasks are short.

        Returns
        -------
        iterator

        Raises
        ------
        WorkerException, TimeoutError, TypeError, ValueError
            As `map`, the first two when a result is asked for.

        Examples
        --------
        >>> import itertools, sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     squares = pool.imap(lambda i: i * i, itertools.count())
        ...     list(itertools.islice(squares, 4))
        [0, 1, 4, 9]
        """
        return self._imap(func, iterable, star, chunksize, in_order=True)

    def imap_unordered(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool = False,
        *,
        chunksize: int | None = None,
    ) -> Iterator[Any]:
        """Yield the results of `func` on the items of `iterable`, as they come.

        Parameters
        ----------
        func, iterable, star, chunksize
            As for `imap`.

        Returns
        -------
        iterator

        Raises
        ------
        WorkerException, TimeoutError, TypeError, ValueError
            As `imap`.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.imap_unordered(abs, [-3, 1, -2]))
        [1, 2, 3]
        """
        return self._imap(func, iterable, star, chunksize, in_order=False)

    def _imap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool,
        chunksize: int | None,
        *,
        in_order: bool,
    ) -> Iterator[Any]:
        func = check_function(func, star)
        items = check_iterable("imap needs something", iterable)
        chunksize = None if chunksize is None else check_count("chunksize", chunksize, 1)
        backend, n_workers = self._workers()
        return backend.run_imap(self._call(n_workers), func, items, chunksize, in_order=in_order)

    def _workers(self, n_tasks: int | None = None) -> tuple[Backend, int]:
        """Return the backend of the next call and its number of workers, 0 for a serial call."""
        if self.np == 0 or get_debug() or (self._is_serial_in_workers and in_worker()):
            return SerialBackend, 0
        self.np = self.backend.n_workers(self.np)
        if n_tasks == 0:
            return SerialBackend, 0
        return self.backend, self.np if n_tasks is None else min(self.np, n_tasks)

    def _call(self, n_workers: int) -> PoolCall:
        trace = None
        if self._has_trace and n_workers:
            trace = self.trace = Trace(n_workers)
        return PoolCall(
            self._contexts,
            self._contexts.next_call(),
            n_workers,
            self._initializer,
            self._timeout,
            self._blas_threads,
            trace,
        )

    @property
    def runner(self) -> ArrayRunner:
        """The runner of the next array call; see :class:`sharedmem.engine.runners.ArrayRunner`."""
        backend, n_workers = self._workers()
        shares = not backend.uses_processes
        return backend.array_runner(
            LocalRunner(
                n_workers, self._bar, self.map, self.imap, shares, self._blas_threads, _as_whole
            )
        )


def _as_whole(ufunc: Any) -> Any:
    from sharedmem.expressions.whole_arrays import as_whole  # which few programs need

    return as_whole(ufunc)


def MapReduceByThread(np: int | None = None) -> MapReduce:  # noqa: N802 - the name is 0.3.8's
    """Return a pool whose workers are threads.

    Parameters
    ----------
    np : int, optional
        Number of threads, by default `cpu_count()`.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduceByThread(np=2) as pool:
    ...     pool.map(lambda i: i + 1, range(3))
    [1, 2, 3]
    """
    return MapReduce(ThreadBackend, np)


Place = tuple[int, int]

# Those that are entered, the innermost last, each with where that was. Threads and tasks of asyncio
# have their own; a thread that is started in a copy of a context begins with the pools in it. Weak,
# since callbacks of an event loop keep such copies: a block holds its pool by itself.
_entered: ContextVar[tuple[tuple[Place, weakref.ref[MapReduce]], ...]]
_entered = ContextVar("entered", default=())


def _place() -> Place:
    """Return the process, and the thread if that is a worker."""
    return os.getpid(), threading.get_ident() if in_worker() else 0


def current_pool() -> MapReduce:
    """Return the innermost pool that the caller has entered, or else the default one.

    Pools that the coordinator has entered before it started a worker are not the worker's.
    """
    here = _place()
    for place, reference in reversed(_entered.get()):
        pool = reference()
        if place == here and pool is not None:
            return pool
    return _default(here[0])


@functools.cache
def _default(_: int) -> MapReduce:
    return MapReduce()
