"""The pool: map and reduce, imap, and array functions on a backend."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from sharedmem.engine.apply_ufunc import apply_ufunc
from sharedmem.engine.map_chunks import map_chunks
from sharedmem.engine.map_overlap import map_overlap
from sharedmem.engine.reduce_array import reduce_array
from sharedmem.engine.runners import ArrayRunner
from sharedmem.machine.arguments import check_count
from sharedmem.pool import entered
from sharedmem.pool.arguments import (
    check_function,
    check_iterable,
    check_optional,
    check_sequence,
    is_team_backend,
)
from sharedmem.pool.backends import ThreadBackend
from sharedmem.pool.caller_threads import ThreadsWatch
from sharedmem.pool.feed import MISSING
from sharedmem.pool.lost_writes import warn_of
from sharedmem.pool.pool_methods import PoolMethods
from sharedmem.pool.signatures import as_method
from sharedmem.pool.tolerance import check_tolerance, placed, yielded
from sharedmem.workers.failures import Failure
from sharedmem.workers.tracebacks import our_calls_hidden


class MapReduce(PoolMethods):
    """A pool of workers, with a reduction in the coordinator.

    Workers are forked when `map` is called. The function may be any closure: it sees all variables
    as they are then, and nothing of it is pickled. Only its changes to shared memory are visible
    outside. A warning is given if tasks return None, and each worker has changed other elements of
    an array in private memory.

    Parameters
    ----------
    backend : {ProcessBackend, SpawnBackend, ThreadBackend} or DaskBackend
        Kind of the workers: forked processes; fresh interpreters, for programs that must not fork;
        threads, for functions that release the GIL; or workers of a cluster, see
        :class:`sharedmem.DaskBackend`.
    np : int, optional
        Number of workers, by default :func:`cpu_count`, and 0 inside a worker. With 0 the caller
        runs all tasks serially, and exceptions are unchanged. With a cluster only 0 may be given.
    progress : bool, str, or callable
        Whether to show a progress bar of each call; the label of such a bar; or a function
        ``progress(done, total)``, which is called in the thread of the caller as tasks are done.
        The total is None where `imap` cannot know it, and grows where an array function finds out
        what is left to do. What the function raises ends the call.
    initializer : callable, optional
        Called in each worker before its first task, with `initargs`.
    timeout : float, optional
        Seconds after which a call raises :class:`TimeoutError` and its workers are killed. For
        `imap`, seconds to wait for a result. Threads and serial calls cannot be interrupted: a
        thread runs to the end of its task, and a serial call has no limit.
    seed : int, optional
        Seed of `rng`, by default fresh entropy for each pool.
    blas_threads : int, optional
        Number of threads of BLAS and OpenMP libraries in each worker; None sets no limit. If a
        build of OpenBLAS cannot be limited after a fork, the coordinator has the same limit until
        `map` returns. One thread adds in another order than several, so that a matrix product may
        differ in its last bits from one outside.
    trace : bool
        Whether to record what each worker does, and when, in the attribute `trace`.
    persistent : bool
        Whether the workers of `map` and `imap` stay for the next call, so that short calls take
        little time, and what workers have compiled or cached is kept. They are forked in the first
        call, and end when the outermost ``with`` block of the pool is left. See the notes.
    initargs : iterable
        Arguments of `initializer`.

    Attributes
    ----------
    np : int
        Number of workers.
    critical : context manager
        Block that one worker at a time may be in. It also excludes the ``reduce`` of `map`, and the
        consumer of `imap`, who must not ask for a result inside.
    ordered : context manager
        Block that tasks enter one at a time, in their order.
    trace : Trace or None
        Record of the last call of `map`, `imap`, or an array function.

    See Also
    --------
    MapReduceByThread : Make a pool of threads.
    background : Call one function in the background.
    set_debug : Run all pools serially.

    Notes
    -----
    A pool may be used in several ``with`` blocks, and by several threads at the same time. A copy
    of a pool, or an unpickled one, is another pool with the same settings, and with the same random
    numbers from then on if it has a seed. In a task, and in items of `imap`, it is the same pool.

    Workers inherit what `func` and the items refer to, including open files. Files that are only
    read are opened again in each worker. Others have one position that all processes share, as do
    sockets, and handles of libraries: open these in the `initializer`, or in the task.

    Tasks see the caller's context variables, so that `numpy.errstate` and `numpy.printoptions`
    hold; in threads, each task has a copy of them.

    With ``persistent=True`` workers inherit what there is at the first call only. Functions and
    items are pickled, by cloudpickle: a function once, and again if something that it refers to is
    another object, or contains other values. What is seen: the variables of closures and of
    ``__main__``, default values, attributes of objects, and their contents. What is not seen: a
    change of few elements of a private array > 16 KiB, and global variables of importable modules
    that are no plain data. Private arrays are copied; shared arrays are passed by reference. What
    tasks change in private memory stays with the worker, as `local` does. After an error, a
    timeout, or Ctrl-C new workers are started. Array functions with functions of Python still fork.

    Records of `logging`, and warnings, that a worker process issues are handled in the coordinator.
    A worker exits without the exit handlers of the coordinator. What it has printed is written.
    Measurements of coverage.py go to a file of their own, for ``coverage combine --append``.

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

    def __enter__(self) -> Self:
        """Make this the pool that array functions use in this thread."""
        self.backend.enter()
        self._enter()
        entered.enter(self)
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *exception: object) -> None:
        """Restore the pool that was in use before; wait for calls that were not waited for."""
        entered.leave(self)
        self._leave(kind)
        self.backend.leave()

    def map(
        self,
        func: Callable[..., Any],
        sequence: Iterable[Any],
        reduce: Callable[..., Any] | None = None,
        star: bool = False,
        minlength: int = 0,
        *,
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        return_exceptions: bool = False,
        retries: int = 0,
        task_timeout: float | None = None,
    ) -> list[Any]:
        """Call `func` on each item of `sequence`, in parallel.

        Parameters
        ----------
        func : callable
            Called in the workers. Its results are pickled; large arrays and shared arrays are
            passed without a copy through a pipe.
        sequence : sequence or iterable
            Items of the tasks, those of ``list(sequence)``. Workers index a list, a tuple, a range,
            an array of NumPy or h5py, a grid of chunks, and other objects of
            `collections.abc.Sequence`, or without ``__iter__``. Other iterables, such as a Series
            of pandas, are made a list first. Mappings are refused.
        reduce : callable, optional
            Called in the coordinator on each result as it arrives, never twice at the same time. A
            tuple is spread over its arguments.
        star : bool
            Whether an item is spread over the arguments of `func`.
        minlength : int
            Ignored; an argument of version 0.3.
        chunksize : int, optional
            Number of tasks that a worker takes at a time. By default it grows while tasks are
            short.
        callback : callable, optional
            Called in the coordinator with each element of the returned list, as it arrives, unless
            it is the error of a task.
        return_exceptions : bool
            Whether a task that fails has its :class:`WorkerException` as result, on which `reduce`
            is not called. A worker that dies costs the task that it ran, and is replaced. By
            default the first error ends the call.
        retries : int
            Number of times that a task is run again if it fails or its worker dies, before tasks
            that have not begun, and with the same numbers of `rng`.
        task_timeout : float, optional
            Seconds that a task may take, without what it waits for other tasks. Then its worker is
            killed and replaced, and the task fails with a :class:`TimeoutError` as reason. Tasks of
            threads and of a cluster cannot have it; serial calls ignore it.

        Returns
        -------
        list
            The results, or those of `reduce`, in the order of `sequence`.

        Raises
        ------
        WorkerException
            If `func` raises, with the exception as `reason`, or if a worker dies.
        TimeoutError
            If the call takes longer than the pool's `timeout`.
        TypeError, ValueError
            If an argument is invalid; nothing has been run then.

        See Also
        --------
        MapReduce.imap : Yield results one by one, with bounded memory.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.map(lambda a, b: a * b, [(1, 2), (3, 4)], star=True)
        [2, 12]
        """
        __tracebackhide__ = True
        options = return_exceptions, retries, task_timeout
        with our_calls_hidden:
            return self._map(func, sequence, reduce, star, chunksize, callback, options)

    def _map(
        self,
        func: Any,
        sequence: Any,
        reduce: Any = None,
        star: Any = False,
        chunksize: Any = None,
        callback: Any = None,
        options: tuple[Any, Any, Any] = (False, 0, None),
        *,
        stays: bool = True,
    ) -> list[Any]:
        __tracebackhide__ = True
        func = check_function(func, star)
        check_optional("reduce", reduce)
        check_optional("callback", callback)
        items = check_sequence(sequence)
        chunksize = None if chunksize is None else check_count("chunksize", chunksize, 1)
        n_tasks, n_results = len(items), 0
        results: list[Any] = [MISSING] * n_tasks
        with our_calls_hidden, self._bar(n_tasks) as advance:

            def collect(start: int, values: list[Any]) -> None:
                found = placed(values, reduce, tolerance)
                nonlocal n_results
                n_results += len(found)
                results[start : start + len(found)] = found
                if callback is not None:
                    for value, result in zip(values, found, strict=True):
                        if type(value) is not Failure:
                            callback(result)
                advance(len(found))

            backend, n_workers = self._workers(n_tasks)
            tolerance = check_tolerance(backend, *options)
            # If tasks return something, they may use private arrays as buffers. On a cluster, these
            # are read-only.
            may_lose = backend.uses_processes and reduce is None and is_team_backend(backend)
            writes: list[Any] = []
            call = self._call(n_workers, func, chunksize, stays=stays)
            call = call._replace(
                writes=writes if may_lose else None,
                tolerance=tolerance,
                holds=reduce is None and tolerance is None and not self.is_watched,
            )
            backend.run_map(call, items, collect)
            if writes and all(result is None for result in results):
                warn_of(writes)
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
        return_exceptions: bool = False,
        retries: int = 0,
        task_timeout: float | None = None,
    ) -> Iterator[Any]:
        """Yield the results of `func` on the items of `iterable`, in order.

        Unlike `map` it holds only a few items and results in memory, even if the iterable is
        infinite or no results are taken. Workers are forked when the first result is requested,
        and end with the iterator.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            Items of the tasks, which are pickled.
        star : bool
            Whether an item is spread over the arguments of `func`.
        chunksize : int, optional
            Number of items that are sent at a time. By default it grows while tasks are short.
        return_exceptions : bool
            Whether an error stands at the place of a task that fails; see `map`.
        retries : int
            Number of times that such a task is run again.
        task_timeout : float, optional
            Seconds that a task may take. The limit holds while results are asked for.

        Returns
        -------
        iterator
            The results, in the order of the items.

        Raises
        ------
        WorkerException
            If `func` raises, or if a worker dies; when a result is asked for.
        TimeoutError
            If a result takes longer than the pool's `timeout`.
        TypeError, ValueError
            If an argument is invalid; no worker has been started then.

        See Also
        --------
        MapReduce.imap_unordered : Yield each result as it comes.
        MapReduce.map : Return a list of all results.

        Examples
        --------
        >>> import itertools, sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     squares = pool.imap(lambda i: i * i, itertools.count())
        ...     list(itertools.islice(squares, 4))
        [0, 1, 4, 9]
        """
        options = return_exceptions, retries, task_timeout
        return self._imap(func, iterable, star, chunksize, options, in_order=True)

    def imap_unordered(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        star: bool = False,
        *,
        chunksize: int | None = None,
        return_exceptions: bool = False,
        retries: int = 0,
        task_timeout: float | None = None,
    ) -> Iterator[Any]:
        """Yield the results of `func` on the items of `iterable`, as they come.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            Items of the tasks, which are pickled.
        star : bool
            Whether an item is spread over the arguments of `func`.
        chunksize : int, optional
            Number of items that are sent at a time. By default it grows while tasks are short.
        return_exceptions : bool
            Whether an error stands at the place of a task that fails; see `map`.
        retries : int
            Number of times that such a task is run again.
        task_timeout : float, optional
            Seconds that a task may take. The limit holds while results are asked for.

        Returns
        -------
        iterator
            The results, in the order in which the tasks end.

        Raises
        ------
        WorkerException
            If `func` raises, or if a worker dies; when a result is asked for.
        TimeoutError
            If a result takes longer than the pool's `timeout`.
        TypeError, ValueError
            If an argument is invalid; no worker has been started then.

        See Also
        --------
        MapReduce.imap : Yield the results in the order of the items.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     sorted(pool.imap_unordered(abs, [-3, 1, -2]))
        [1, 2, 3]
        """
        options = return_exceptions, retries, task_timeout
        return self._imap(func, iterable, star, chunksize, options, in_order=False)

    def _imap(
        self,
        func: Any,
        iterable: Any,
        star: Any = False,
        chunksize: Any = None,
        options: tuple[Any, Any, Any] = (False, 0, None),
        *,
        in_order: bool = True,
        stays: bool = True,
    ) -> Iterator[Any]:
        func = check_function(func, star)
        items = check_iterable("imap needs something", iterable)
        chunksize = None if chunksize is None else check_count("chunksize", chunksize, 1)
        backend, n_workers = self._workers()
        tolerance = check_tolerance(backend, *options)
        call = self._call(n_workers, func, chunksize, stays=stays)._replace(tolerance=tolerance)
        results = yielded(backend.run_imap(call, items, in_order=in_order), tolerance)
        return self._counted(results, iterable)

    @property
    def runner(self) -> ArrayRunner:
        """The runner of the next array call; see :class:`sharedmem.engine.runners.ArrayRunner`."""
        backend, n_workers = self._workers()
        shares = not backend.uses_processes
        stays = getattr(backend, "must_stay", False)
        watch = ThreadsWatch(self) if self.is_watched else None
        # For themselves, if possible: kernels may refer to large private arrays.
        run = functools.partial(self._map, stays=stays)
        return backend.array_runner(
            ArrayRunner(
                n_workers,
                watch,
                run if watch is None else functools.partial(watch.map, run),
                functools.partial(self._imap, stays=stays),
                shares,
                self._blas_threads,
                _form_of,
            )
        )

    @as_method(of=map_chunks)
    def map_chunks(self, *args: Any, **options: Any) -> Any:  # noqa: D102 - see `as_method`
        return map_chunks(self.runner, *args, **options)

    @as_method(of=map_overlap)
    def map_overlap(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return map_overlap(self.runner, *args, **options)

    @as_method(of=apply_ufunc)
    def apply_ufunc(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return apply_ufunc(self.runner, *args, **options)

    @as_method(of=reduce_array)
    def reduce(self, *args: Any, **options: Any) -> Any:  # noqa: D102
        return reduce_array(self.runner, *args, **options)


def _form_of(ufunc: Any, inputs: Sequence[Any]) -> Any:
    return _forms()(ufunc, inputs)


@functools.cache
def _forms() -> Callable[..., Any]:
    from sharedmem.expressions.whole_ufuncs import form_of  # which few programs need

    return form_of


def MapReduceByThread(np: int | None = None) -> MapReduce:  # noqa: N802 - the name is 0.3.8's
    """Return a pool whose workers are threads.

    Parameters
    ----------
    np : int, optional
        Number of threads, by default :func:`cpu_count`.

    Returns
    -------
    MapReduce
        The pool, ``MapReduce(ThreadBackend, np)``.

    See Also
    --------
    MapReduce : A pool of processes.
    ThreadBackend : The kind of these workers.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduceByThread(np=2) as pool:
    ...     pool.map(lambda i: i + 1, range(3))
    [1, 2, 3]
    """
    return MapReduce(ThreadBackend, np)


def current_pool() -> MapReduce:
    """Return the innermost pool that the caller has entered, or else the default one."""
    pool: MapReduce | None = entered.innermost()
    return _default(os.getpid()) if pool is None else pool


@functools.cache
def _default(_: int) -> MapReduce:
    return MapReduce()
