"""Methods of multiprocessing's and other pools, for programs and libraries that take a pool."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedmem.pool.arguments import check_optional, check_sequence
from sharedmem.pool.state import PoolState, after_close
from sharedmem.workers.process import in_worker

if TYPE_CHECKING:  # Few programs need these.
    from concurrent import futures

    from sharedmem.pool.async_result import AsyncCalls, AsyncResult


class PoolMethods(PoolState):
    """Methods of a pool for which libraries ask; see :class:`MapReduce`."""

    @abc.abstractmethod
    def map(self, *args: Any, **options: Any) -> list[Any]:
        """Call a function on each item of a sequence; see :class:`MapReduce`."""

    @property
    def size(self) -> int:
        """Number of workers, at least 1.

        See Also
        --------
        MapReduce : The pool, whose `np` is 0 if it has no workers.

        Examples
        --------
        >>> import sharedmem
        >>> sharedmem.MapReduce(np=2).size, sharedmem.MapReduce(np=0).size
        (2, 1)
        """
        return max(1, self.np)

    @property
    def _processes(self) -> int:
        """The number of workers, by the name that libraries look for in multiprocessing's pools."""
        return self.size

    def executor(self) -> futures.Executor:
        """Return a new executor with the settings of the pool.

        Returns
        -------
        concurrent.futures.Executor
            An :class:`Executor` for processes, and if the pool is serial; a
            :class:`concurrent.futures.ThreadPoolExecutor` for threads; ``client.get_executor()`` of
            a cluster. The caller shuts it down.

        See Also
        --------
        Executor : The executor of processes.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2).executor() as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
        """
        backend, n_workers = self._workers()
        return backend.executor(n_workers, self._initializer, self._blas_threads)

    def _async_calls(self) -> AsyncCalls:
        self._check_open()
        calls = self._calls_in_background
        if calls is None:
            from sharedmem.pool.async_result import AsyncCalls

            # If two threads come here, one of two executors does nothing.
            calls = AsyncCalls(self.executor(), in_workers=self._workers()[1] > 0)
            self._calls_in_background = calls
        return calls

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """Call `func` on each item of `iterable`, spread over its arguments.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            Tuples of arguments.
        chunksize : int, optional
            Number of tasks that a worker takes at a time.

        Returns
        -------
        list
            The results, in order.

        See Also
        --------
        MapReduce.map : The same with ``star=True``, and more options.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.starmap(pow, [(2, 3), (3, 2)])
        [8, 9]
        """
        return self.map(func, iterable, star=True, chunksize=chunksize)

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> Any:  # fmt: skip
        """Call `func` in a worker, and wait for its result.

        Parameters
        ----------
        func : callable
            The function.
        args : iterable
            Its arguments.
        kwds : mapping
            Its keyword arguments.

        Returns
        -------
        object
            The result.

        Raises
        ------
        WorkerException
            If the function raises, or its worker dies.

        See Also
        --------
        MapReduce.apply_async : Do not wait for the result.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.apply(pow, (2, 10))
        1024
        """
        return self.apply_async(func, args, kwds).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = {},
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Call `func` in a worker, and do not wait for its result.

        Such calls run on an :class:`Executor` of the pool, whose workers are started by the first
        one. They are not tasks: the pool's `rng`, `ordered`, and `critical` raise in them.

        Parameters
        ----------
        func : callable
            The function, which is pickled; it may be a closure.
        args : iterable
            Its arguments.
        kwds : mapping
            Its keyword arguments.
        callback : callable, optional
            Called with the result, in another thread.
        error_callback : callable, optional
            Called with the exception of a call that fails, in another thread.

        Returns
        -------
        AsyncResult
            The result, as of :class:`multiprocessing.pool.Pool`.

        Raises
        ------
        ValueError
            If the pool is closed.

        See Also
        --------
        MapReduce.executor : Futures in place of these results.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     results = [pool.apply_async(pow, (2, i)) for i in range(4)]
        ...     [result.get() for result in results]
        [1, 2, 4, 8]
        """
        from sharedmem.pool.async_result import AsyncResult

        calls = self._async_calls()
        future = calls.executor.submit(func, *args, **kwds)
        return AsyncResult(future, callback, error_callback, in_worker=calls.in_workers)

    def map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start a `map`, and do not wait for its results.

        It runs in a thread of the coordinator, which starts the workers when earlier ones are done.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            Items of the tasks.
        chunksize : int, optional
            Number of tasks that a worker takes at a time.
        callback : callable, optional
            Called with the list of all results, in another thread.
        error_callback : callable, optional
            Called with the exception of a map that fails, in another thread.

        Returns
        -------
        AsyncResult
            The list of results, as of :class:`multiprocessing.pool.Pool`.

        Raises
        ------
        ValueError
            If the pool is closed.

        See Also
        --------
        MapReduce.map : Wait for the results.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     result = pool.map_async(lambda i: i * i, range(4))
        ...     result.get()
        [0, 1, 4, 9]
        """
        return self._map_async(func, iterable, chunksize, callback, error_callback)

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """Start a `starmap`, and do not wait for its results.

        Parameters
        ----------
        func : callable
            Called in the workers.
        iterable : iterable
            Tuples of arguments.
        chunksize : int, optional
            Number of tasks that a worker takes at a time.
        callback : callable, optional
            Called with the list of all results, in another thread.
        error_callback : callable, optional
            Called with the exception of a map that fails, in another thread.

        Returns
        -------
        AsyncResult
            The list of results.

        See Also
        --------
        MapReduce.map_async : The same for functions of one argument.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.starmap_async(pow, [(2, 3), (3, 2)]).get()
        [8, 9]
        """
        return self._map_async(func, iterable, chunksize, callback, error_callback, star=True)

    def _map_async(
        self,
        func: Any,
        iterable: Any,
        chunksize: Any,
        callback: Any,
        error_callback: Any,
        *,
        star: bool = False,
    ) -> AsyncResult:
        from sharedmem.pool.async_result import AsyncResult

        check_optional("func", func)
        items = check_sequence(iterable)
        run = partial(after_close(self.map), func, items, star=star, chunksize=chunksize)
        return AsyncResult(self._async_calls().maps.submit(run), callback, error_callback)

    def close(self) -> None:
        """Take no more calls; those that were started go on.

        See Also
        --------
        MapReduce.join : Wait for them.

        Examples
        --------
        >>> import sharedmem
        >>> pool = sharedmem.MapReduce(np=2)
        >>> result = pool.map_async(abs, [-1, 2])
        >>> pool.close()
        >>> pool.join()
        >>> result.get()
        [1, 2]
        """
        self._is_closed = True
        if self._calls_in_background is not None:
            self._calls_in_background.shutdown(wait=False)
        self._dismiss()

    def join(self) -> None:
        """Wait for the calls of a closed pool that were not waited for.

        Raises
        ------
        ValueError
            If the pool is not closed.

        See Also
        --------
        MapReduce.close : Take no more calls.

        Examples
        --------
        >>> import sharedmem
        >>> pool = sharedmem.MapReduce(np=2)
        >>> pool.close()
        >>> pool.join()
        """
        if not self._is_closed:
            raise ValueError("the pool takes calls: call close() or terminate() before join()")
        if self._calls_in_background is not None:
            self._calls_in_background.shutdown(wait=True)
        self._dismiss()

    def terminate(self) -> None:
        """Take no more calls, and end those that were not waited for.

        Calls of `apply_async` fail, and maps that have not begun are cancelled. A map that has
        begun goes on.

        See Also
        --------
        MapReduce.close : Let them go on.

        Examples
        --------
        >>> import sharedmem, time
        >>> pool = sharedmem.MapReduce(np=2)
        >>> result = pool.apply_async(time.sleep, (60,))
        >>> pool.terminate()
        >>> pool.join()
        >>> result.successful()
        False
        """
        self._is_closed = True
        if self._calls_in_background is not None:
            self._calls_in_background.kill()
        self._dismiss()

    def _dismiss(self) -> None:
        if self._teams is not None:
            self._teams.dismiss()

    def _enter(self) -> None:
        self._blocks.append(None)

    def _leave(self, kind: type[BaseException] | None) -> None:
        """Wait for all calls when the outermost block is left; end them after an interrupt.

        Workers that stay end, too.
        """
        del self._blocks[-1:]
        if self._blocks:
            return
        calls, self._calls_in_background = self._calls_in_background, None
        if calls is not None:
            if kind is not None and issubclass(kind, KeyboardInterrupt):
                calls.kill()
            else:
                calls.shutdown(wait=True)
        self._dismiss()

    def is_master(self) -> bool:
        """Return whether the caller is the coordinator, and not a worker.

        Returns
        -------
        bool
            True in the coordinator, False in a worker.

        See Also
        --------
        MapReduce.wait : What programs for MPI let workers do.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.is_master(), pool.map(lambda i: pool.is_master(), range(2))
        (True, [False, False])
        """
        return not in_worker()

    def wait(self) -> None:
        """Do nothing: workers wait for tasks by themselves, and not in the program, as with MPI.

        See Also
        --------
        MapReduce.is_master : Return whether the caller is the coordinator.

        Examples
        --------
        >>> import sharedmem
        >>> pool = sharedmem.MapReduce(np=2)
        >>> if not pool.is_master():
        ...     pool.wait()
        """
