"""Calls that a pool does not wait for, and their results, as those of multiprocessing's pools."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from concurrent import futures
from typing import Any

from sharedmem.errors import WorkerException
from sharedmem.pool.arguments import check_optional, check_timeout
from sharedmem.workers.failures import RemoteError


class AsyncCalls:
    """What runs the calls for which a pool does not wait.

    Parameters
    ----------
    executor : concurrent.futures.Executor
        Runs the calls of `apply_async`.
    in_workers : bool
        Whether it runs them in workers, and not in the caller.
    """

    def __init__(self, executor: futures.Executor, *, in_workers: bool) -> None:
        self.executor = executor
        self.in_workers = in_workers
        # Maps run one after the other, each on all workers.
        self.maps = futures.ThreadPoolExecutor(1, "sharedmem-map")

    def shutdown(self, *, wait: bool) -> None:
        """Take no more calls."""
        self.executor.shutdown(wait)
        self.maps.shutdown(wait)

    def kill(self) -> None:
        """End the workers of calls, and cancel the maps that have not begun."""
        kill = getattr(self.executor, "kill_workers", None)  # threads cannot be killed
        self.maps.shutdown(wait=False, cancel_futures=True)
        if kill is None:
            self.executor.shutdown(wait=False, cancel_futures=True)
        else:
            kill()


class AsyncResult:
    """The result of a call that a pool does not wait for, as of :class:`multiprocessing.pool.Pool`.

    Parameters
    ----------
    future : concurrent.futures.Future
        The call.
    callback : callable, optional
        Called with the result, in another thread.
    error_callback : callable, optional
        Called with the exception of a call that fails, in another thread.
    in_worker : bool
        Whether the exception of `future` was raised in a worker, and is the reason of a
        :class:`WorkerException`.

    See Also
    --------
    MapReduce.map_async : Start a map.
    MapReduce.apply_async : Start one call.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     result = pool.map_async(abs, [-1, 2])
    ...     result.get()
    [1, 2]
    """

    def __init__(
        self,
        future: futures.Future[Any],
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        *,
        in_worker: bool = False,
    ) -> None:
        check_optional("callback", callback)
        check_optional("error_callback", error_callback)
        self._future = future
        self._in_worker = in_worker

        def tell(_: object) -> None:
            if not self.successful():
                if error_callback is not None:
                    error_callback(self._error)
            elif callback is not None:
                callback(future.result())

        if callback is not None or error_callback is not None:
            future.add_done_callback(tell)

    @property
    def _error(self) -> BaseException:
        if self._future.cancelled():
            return futures.CancelledError("the pool was terminated before the call began")
        error = self._future.exception()
        if error is None or not self._in_worker:
            return error  # type: ignore[return-value]
        cause = error.__cause__
        wrapped = WorkerException(error, cause.tb if isinstance(cause, RemoteError) else "")
        wrapped.__cause__ = error
        return wrapped

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the result, and return it.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.

        Returns
        -------
        object
            The result.

        Raises
        ------
        WorkerException
            If the call fails, as of `map`.
        multiprocessing.TimeoutError
            If there is no result in time. It is a :class:`TimeoutError`, too.

        See Also
        --------
        AsyncResult.wait : Wait, and raise nothing.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.apply_async(pow, (2, 10)).get(timeout=10)
        1024
        """
        self.wait(timeout)
        if not self.ready():
            raise _timeout_error()(f"there is no result after {timeout} seconds")
        if self.successful():
            return self._future.result()
        try:
            raise self._error
        finally:
            del self  # The frame of a traceback must not hold what holds the error.

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait.

        See Also
        --------
        AsyncResult.get : Wait for the result, and return it.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     result = pool.apply_async(abs, (-1,))
        ...     result.wait()
        ...     result.ready()
        True
        """
        # Threads of executors do not wake `futures.wait` where they cancel what is left.
        with contextlib.suppress(futures.CancelledError, TimeoutError):
            self._future.exception(check_timeout(timeout, 0.0))

    def ready(self) -> bool:
        """Return whether the call has ended.

        Returns
        -------
        bool
            True if :meth:`get` would not wait.

        See Also
        --------
        AsyncResult.successful : Return whether it has a result.

        Examples
        --------
        >>> import sharedmem, time
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     pool.apply_async(time.sleep, (0.1,)).ready()
        False
        """
        return self._future.done()

    def successful(self) -> bool:
        """Return whether the call has a result.

        Returns
        -------
        bool
            False if it has raised an exception, or was cancelled.

        Raises
        ------
        ValueError
            If the call has not ended.

        See Also
        --------
        AsyncResult.ready : Return whether the call has ended.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.MapReduce(np=2) as pool:
        ...     result = pool.apply_async(divmod, (1, 0))
        ...     result.wait()
        ...     result.successful()
        False
        """
        if not self.ready():
            raise ValueError(f"{self!r} is not ready: call wait() first")
        return not self._future.cancelled() and self._future.exception() is None


@functools.cache
def _timeout_error() -> type[Exception]:
    """Return the type of error for which programs look that were written for multiprocessing."""
    import multiprocessing

    return type("OverdueError", (multiprocessing.TimeoutError, TimeoutError), {})
