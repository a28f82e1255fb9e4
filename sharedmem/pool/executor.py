"""An executor of concurrent.futures, whose workers are those of this package."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn, TypeVar

from sharedmem.machine import blas
from sharedmem.machine.arguments import check_count
from sharedmem.machine.fork_locks import new_lock
from sharedmem.machine.freeing import free_with
from sharedmem.machine.signals import signals_held
from sharedmem.pool.arguments import check_optional, is_team_backend
from sharedmem.pool.backends import ProcessBackend, TeamBackend
from sharedmem.pool.call_queue import Call, CallQueue
from sharedmem.pool.debug import get_debug
from sharedmem.pool.dispatcher import Dispatcher
from sharedmem.workers.attention import attention
from sharedmem.workers.deadlines import deadline_in, remaining
from sharedmem.workers.executor_loop import serve
from sharedmem.workers.functions import pack_any
from sharedmem.workers.process import in_worker
from sharedmem.workers.tickets import Tickets

_Result = TypeVar("_Result")


class Executor(futures.Executor):
    """An executor of `concurrent.futures`, whose workers are forked processes.

    Unlike :class:`concurrent.futures.ProcessPoolExecutor` it takes closures and lambdas, large
    arrays are passed without a copy through a pipe, and shared arrays by reference. A worker that
    dies costs only the call that it ran, whose future gets a :class:`DeadWorkerError`; another
    worker takes its place.

    Parameters
    ----------
    np : int, optional
        Number of workers, by default :func:`cpu_count`, and 0 inside a worker. With 0, `submit`
        runs the call itself.
    backend : {ProcessBackend, SpawnBackend}
        Kind of the workers.
    initializer : callable, optional
        Called in each worker before its first call.
    initargs : tuple
        Arguments of `initializer`.
    blas_threads : int, optional
        Number of threads of BLAS and OpenMP libraries in each worker; None sets no limit.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    See Also
    --------
    MapReduce.executor : Make an executor with the settings of a pool.
    MapReduce : A pool, whose workers inherit what a function refers to.
    background : One call in a process of its own.

    Notes
    -----
    Workers are started by the first call, and stay until the executor is shut down, is collected,
    or the program ends; all of these wait for the calls that were submitted. A ``with`` block that
    is left by KeyboardInterrupt does not wait: it ends the workers.

    A call is pickled when it is submitted. Large arrays are copied when it is sent to a worker: do
    not change them until its future is done. Short calls are sent a few at a time; a future counts
    as running when its call is sent.

    A future raises the exception of its call itself, whose ``__cause__`` shows the traceback in the
    worker. An exception that cannot be pickled is replaced by an :class:`Exception` with its text.
    If an initializer raises, or workers die as they start, all futures get
    :class:`concurrent.futures.BrokenExecutor`.

    Callbacks of futures run in a thread of the executor, as in `concurrent.futures`. They may
    submit calls. An executor belongs to the process that has submitted its first call: a fork of it
    makes its own.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.Executor(np=2) as executor:
    ...     future = executor.submit(lambda a, b: a * b, 6, b=7)
    ...     squares = executor.map(lambda i: i * i, range(4))
    >>> future.result(), list(squares)
    (42, [0, 1, 4, 9])
    """

    def __init__(
        self,
        np: int | None = None,
        *,
        backend: type[TeamBackend] | TeamBackend = ProcessBackend,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        blas_threads: int | None = 1,
    ) -> None:
        if not (is_team_backend(backend) and backend.uses_processes):
            raise TypeError(
                f"backend must be ProcessBackend or SpawnBackend, got {backend!r}: for threads use "
                "concurrent.futures.ThreadPoolExecutor, and for a cluster client.get_executor()"
            )
        check_optional("initializer", initializer)
        if np is None:
            np = 0 if in_worker() else backend.n_workers(None)
        self.np = check_count("np", np, smallest=0)
        if blas_threads is not None:
            blas_threads = check_count("blas_threads", blas_threads, smallest=1)
        self._backend = backend
        self._initialize = partial(initializer, *initargs) if initializer else None
        self._blas_threads = blas_threads
        self._starting = new_lock()
        self._queue: CallQueue | None = None
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()
        self._is_shut = False
        # What `submit` runs itself, in the caller, after the initializer.
        self._is_initialized = False
        # What is done when the executor is collected.
        self._at_end: list[Iterator[Any]] = []
        free_with(self, self._at_end)

    def __repr__(self) -> str:
        return f"<Executor, np={self.np}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: an executor cannot be copied or pickled."""
        raise TypeError(
            "an Executor cannot be copied or pickled: make one where it is used, "
            "sharedmem.Executor(np=...)"
        )

    @property
    def _max_workers(self) -> int:
        """The number of workers, as Dask and others ask executors for it."""
        return max(1, self.np)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        """Let a worker call ``fn(*args, **kwargs)``.

        Parameters
        ----------
        fn : callable
            The function; it may be a closure or a lambda.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        concurrent.futures.Future
            The future of the result. If the call cannot be pickled, it has that error.

        Raises
        ------
        RuntimeError
            After `shutdown`, when the program ends, and in a fork of the process that has
            submitted the first call; :class:`~concurrent.futures.BrokenExecutor` if the executor
            is broken.
        OSError
            If no worker can be started.

        See Also
        --------
        Executor.map : Call a function on many items.

        Examples
        --------
        >>> import sharedmem
        >>> with sharedmem.Executor(np=2) as executor:
        ...     executor.submit(pow, 2, 10).result()
        1024
        """
        self._check_open()
        if self.np == 0 or get_debug():
            return self._run_here(fn, args, kwargs)
        name = getattr(fn, "__qualname__", None) or repr(getattr(fn, "func", fn))
        try:
            call = Call(name, pack_any((fn, args, kwargs)))
        except Exception as error:
            error.add_note(f"The call of {name} is pickled to reach a worker: pass data.")
            future: futures.Future[Any] = futures.Future()
            future.set_exception(error)
            return future
        if not self._started().add(call):
            self._check_open()
            raise RuntimeError("cannot schedule new futures after shutdown")
        return call.future

    def _check_open(self) -> None:
        if _is_exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        queue = self._queue
        if queue is None:
            self._owner = os.getpid()
        elif os.getpid() != self._owner:
            raise RuntimeError(
                f"this executor belongs to process {self._owner}, and process {os.getpid()} is a "
                "fork of it: make another one here, sharedmem.Executor(np=...)"
            )
        elif queue.failure:
            text = f"the executor is broken, since {queue.failure}"
            raise futures.BrokenExecutor(text) from queue.cause
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _run_here(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        future.set_running_or_notify_cancel()
        try:
            if self._initialize is not None and not self._is_initialized:
                self._initialize()
            self._is_initialized = True
            result = fn(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            future.set_result(result)
        return future

    def _started(self) -> CallQueue:
        """Return the queue, after the first call has started the workers and the thread."""
        queue = self._queue
        if queue is None:
            with signals_held(), self._starting:
                queue = self._queue or self._start()
        return queue

    def _start(self) -> CallQueue:
        queue = CallQueue()
        tickets = Tickets.new(self.np)
        work = partial(serve, self._initialize, self._blas_threads, tickets, attention())
        prepared = partial(_start_prepared, self._backend, self._blas_threads)
        with prepared():
            start: Any = self._backend.team_with(self._blas_threads)
            team = start(self.np, work, _whereabouts, fed=True, tolerant=True)
        dispatcher = Dispatcher(queue, team, tickets, prepared)
        # Threads begin with the context variables of the caller, as forked workers do.
        run = copy_context().run
        thread = threading.Thread(target=run, args=(_dispatch, dispatcher), daemon=True)
        _running[thread] = queue
        try:
            thread.start()
        except BaseException:
            del _running[thread]
            team.end(patient=False)
            raise
        shutting = map(setattr, (queue,), ("is_shut",), (True,))
        ringing = map(os.eventfd_write, (queue.bell,), (1,))
        # The last step keeps the queue, and so its bell, until the others are done.
        self._at_end[:] = [shutting, ringing, map(id, (queue,))]
        self._thread, self._queue = thread, queue
        return queue

    def map(
        self,
        fn: Callable[..., _Result],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[_Result]:
        """Yield the results of `fn` on the items of iterables, in order.

        Parameters
        ----------
        fn : callable
            Takes as many arguments as there are iterables.
        *iterables : iterable
            The arguments, until the shortest ends.
        timeout : float, optional
            Seconds from now until the last result.
        chunksize : int
            Number of items per call of a worker; a large number makes long iterables faster.
        buffersize : int, optional
            Number of calls whose results may lie unread. By default all items are read, and all
            calls submitted, now.

        Returns
        -------
        iterator
            The results. It cancels what has not begun when it is closed, fails, or is overdue.

        Raises
        ------
        TimeoutError
            When a result is asked for that has not come in time.
        TypeError, ValueError
            If `chunksize` or `buffersize` is not a positive integer.

        See Also
        --------
        Executor.submit : Call a function once.
        MapReduce.imap : The same with a pool: ordered sections, random numbers, and a trace.

        Examples
        --------
        >>> import itertools, sharedmem
        >>> with sharedmem.Executor(np=2) as executor:
        ...     powers = executor.map(pow, itertools.count(), itertools.repeat(2), buffersize=4)
        ...     list(itertools.islice(powers, 4))
        [0, 1, 4, 9]
        """
        size = check_count("chunksize", chunksize, smallest=1)
        if buffersize is not None:
            buffersize = check_count("buffersize", buffersize, smallest=1)
        deadline = deadline_in(timeout)
        items = zip(*iterables, strict=False)
        chunks = iter(lambda: list(itertools.islice(items, size)), [])
        # The iterator does not keep the executor.
        calls = iter(partial(_next_call, weakref.ref(self), partial(_run_chunk, fn), chunks), None)
        pending = deque(itertools.islice(calls, buffersize))
        return _results(pending, calls if buffersize is not None else iter(()), deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the workers when all calls are done.

        Parameters
        ----------
        wait : bool
            Whether to wait until then. A callback of a future never waits.
        cancel_futures : bool
            Whether to cancel the calls that were not sent to a worker.

        See Also
        --------
        Executor.kill_workers : End the workers now.

        Examples
        --------
        >>> import sharedmem
        >>> executor = sharedmem.Executor(np=2)
        >>> future = executor.submit(sum, [1, 2])
        >>> executor.shutdown()
        >>> future.done()
        True
        """
        self._is_shut = True
        queue, thread = self._queue, self._thread
        if queue is None or thread is None or os.getpid() != self._owner:
            return
        queue.shut(cancel=cancel_futures)
        if wait and thread is not threading.current_thread():
            thread.join()
            # Python would lose an interrupt in the callback of a weak reference to a thread.
            with signals_held():
                self._queue = self._thread = thread = None
                self._at_end.clear()

    def kill_workers(self) -> None:
        """End the workers now, and cancel the calls that were not sent to one.

        The futures of the others get a :class:`DeadWorkerError`. No more calls are taken.

        See Also
        --------
        Executor.shutdown : End the workers when all calls are done.

        Examples
        --------
        >>> import sharedmem, time
        >>> executor = sharedmem.Executor(np=2)
        >>> future = executor.submit(time.sleep, 60)
        >>> executor.kill_workers()
        >>> future.done()
        True
        """
        self._is_shut = True
        if self._queue is not None and os.getpid() == self._owner:
            self._queue.kill()
            self.shutdown()

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Wait for all calls; after an interrupt, end the workers."""
        try:
            if kind is None or not issubclass(kind, KeyboardInterrupt):
                self.shutdown()
                return
        except KeyboardInterrupt:
            self.kill_workers()
            raise
        self.kill_workers()


def _next_call(
    reference: weakref.ref[Executor], fn: Callable[[list[Any]], Any], chunks: Iterator[list[Any]]
) -> futures.Future[Any] | None:
    """Submit the next chunk; return None if there is none, or nobody else uses the executor."""
    executor = reference()
    chunk = next(chunks, None) if executor is not None else None
    return None if executor is None or chunk is None else executor.submit(fn, chunk)


def _run_chunk(fn: Callable[..., Any], chunk: list[tuple[Any, ...]]) -> list[Any]:
    return [fn(*arguments) for arguments in chunk]


def _results(
    pending: deque[futures.Future[Any]],
    more: Iterator[futures.Future[Any]],
    deadline: float | None,
) -> Iterator[Any]:
    try:
        while pending:
            pending[0].result(remaining(deadline))
            pending.extend(itertools.islice(more, 1))
            # No variable keeps a result, or the future that does.
            yield from _popped(pending.popleft().result())
    finally:
        while pending:
            pending.pop().cancel()


def _popped(results: list[Any]) -> Iterator[Any]:
    results.reverse()
    while results:
        yield results.pop()


@contextlib.contextmanager
def _start_prepared(
    backend: type[TeamBackend] | TeamBackend, blas_threads: int | None
) -> Iterator[None]:
    """Return a context in which workers are started."""
    backend.prepare()
    with blas.limited(backend.blas_limit(blas_threads)):
        yield


def _whereabouts(_: int) -> str:
    return "in an executor."


# Those that have not ended; a fork does not have the threads.
_running: dict[threading.Thread, CallQueue] = {}
os.register_at_fork(after_in_child=_running.clear)
_is_exiting = False


def _dispatch(dispatcher: Dispatcher) -> None:
    try:
        dispatcher.run()
    finally:
        _running.pop(threading.current_thread(), None)


def _finish_all() -> None:
    """Wait for the calls of all executors when the program ends, as `concurrent.futures` does."""
    global _is_exiting
    _is_exiting = True
    running = list(_running.items())
    for _, queue in running:
        queue.shut()
    for thread, _ in running:
        thread.join()


# Exit handlers of `atexit` come too late: workers could not be replaced any more.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # noqa: SLF001
