"""One function call in the background."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.machine.signals import signals_held
from sharedmem.pool.arguments import check_timeout, is_team_backend
from sharedmem.pool.backends import ProcessBackend, TeamBackend
from sharedmem.workers.channel import Kind
from sharedmem.workers.deadlines import OverdueError, deadline_in
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.protocols import Port, Team

# Running calls. They are held here, so that a call continues when its object is dropped.
_running: set[background] = set()
os.register_at_fork(after_in_child=_running.clear)


class background:  # noqa: N801 - the name is 0.3.8's
    """A function call in a forked process, or in a thread, while the caller continues.

    Parameters
    ----------
    function : callable
        Called immediately with `args` and `kwargs`. It may be a closure; nothing of it is pickled.
    *args
        Positional arguments of `function`.
    backend : {ProcessBackend, SpawnBackend, ThreadBackend}
        Whether it runs in a forked process, in a fresh interpreter, or in a thread.
    **kwargs
        Keyword arguments of `function`.

    Raises
    ------
    TypeError
        If `function` is not callable, or `backend` is not one of this machine.
    OSError
        If no process can be started.

    See Also
    --------
    MapReduce : A pool, for many calls.

    Examples
    --------
    >>> import sharedmem
    >>> call = sharedmem.background(sum, [1, 2, 3])
    >>> call.wait()
    6
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *args: Any,
        backend: type[TeamBackend] | TeamBackend = ProcessBackend,
        **kwargs: Any,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, got {function!r}")
        if not is_team_backend(backend):
            raise TypeError(
                "backend must be ProcessBackend, SpawnBackend, or ThreadBackend, got "
                f"{backend!r}: background runs a call on this machine; to start one on a cluster, "
                "use Dask's client.submit"
            )
        self._name = getattr(function, "__qualname__", repr(function))
        self._is_process = backend.uses_processes
        self._owner = os.getpid()
        # Held by the thread that receives messages. Reentrant: only its owner may release it.
        self._taking: Any = threading.RLock()
        self._results: list[Any] = []
        self._error: WorkerException | None = None
        self._exitcode: int | None = None
        self._state = "running"
        self._is_cancelled = False

        for call in list(_running):
            call.done()
        where = f"in background({self._name})."
        work = partial(_run, function, args, kwargs, backend, self._name)
        backend.prepare()
        with signals_held():
            self._team: Team = backend.team(1, work, lambda _: where, fed=True)
            _running.add(self)

    def __repr__(self) -> str:
        if self._is_elsewhere():
            return f"<background {self._name}, of process {self._owner}>"
        self.done()
        return f"<background {self._name}, {self._state}>"

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: a call cannot be copied or pickled."""
        raise TypeError(
            f"background({self._name}) is a call of process {self._owner}, and cannot be copied or "
            "pickled: use the object itself, or its result, from wait()"
        )

    @property
    def exitcode(self) -> int | None:
        """Exit code: 0 after a return, 1 after an exception, or minus the signal that killed it.

        None while the call runs.

        See Also
        --------
        background.wait : Wait for the end of the call.

        Examples
        --------
        >>> import sharedmem
        >>> call = sharedmem.background(max, 1, 2)
        >>> call.wait(), call.exitcode
        (2, 0)
        """
        self.done()
        return self._exitcode

    def done(self) -> bool:
        """Return whether the call has ended, without waiting.

        Returns
        -------
        bool
            True if :meth:`wait` would return or raise immediately.

        Raises
        ------
        RuntimeError
            In a worker, or another process that was forked before the call had ended.

        See Also
        --------
        background.wait : Wait for the end of the call.

        Examples
        --------
        >>> import sharedmem, time
        >>> call = sharedmem.background(time.sleep, 0.1)
        >>> while not call.done():
        ...     time.sleep(0.01)  # do something else
        """
        try:
            self._await_end(0)
        except OverdueError:  # and not what a handler of signals raises
            return False
        return True

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the call and return its result.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait. The call continues after a timeout.

        Returns
        -------
        object
            The result, the same object each time.

        Raises
        ------
        WorkerException
            If the function raised, or its process died or was cancelled.
        TimeoutError
            If the call has not ended in time.
        RuntimeError
            In a worker, or another process that was forked before the call had ended.

        See Also
        --------
        background.done : Return whether the call has ended.
        background.cancel : Kill the process of the call.

        Examples
        --------
        >>> import sharedmem
        >>> call = sharedmem.background(divmod, 17, 5)
        >>> call.wait(timeout=10)
        (3, 2)
        """
        try:
            self._await_end(timeout)
        except OverdueError:
            waited = "" if timeout is None else f" after {timeout} seconds"
            raise TimeoutError(f"background({self._name}) is still running{waited}") from None
        if self._error is None:
            return self._results[0]
        try:
            raise self._error.with_traceback(None)
        finally:
            del self  # The frame of a traceback must not hold what holds the error.

    def cancel(self) -> bool:
        """Kill the process of the call; threads that wait for it get an error.

        Returns
        -------
        bool
            Whether the call was running and has been ended; always False for a thread, which
            cannot be killed.

        Raises
        ------
        RuntimeError
            In a worker, or another process that was forked before the call had ended.

        See Also
        --------
        background.wait : Wait for the end of the call.

        Examples
        --------
        >>> import sharedmem, time
        >>> call = sharedmem.background(time.sleep, 60)
        >>> call.cancel(), call.exitcode
        (True, -9)
        """
        if self.done() or not self._is_process:
            return False
        with signals_held():
            self._is_cancelled = True
            self._team.kill()
        if _is_owned(self._taking):  # A handler of signals is called while this thread waits.
            return True
        self._await_end(None)
        return self._state == "cancelled"

    def _is_elsewhere(self) -> bool:
        return self._state == "running" and os.getpid() != self._owner

    def _await_end(self, timeout: float | None) -> None:
        timeout = check_timeout(timeout, 0.0)
        if self._is_elsewhere():
            raise RuntimeError(
                f"background({self._name}) is a call of process {self._owner}, and process "
                f"{os.getpid()} is a fork of it: call wait() in process {self._owner}, and pass on "
                "the result"
            )
        deadline = deadline_in(timeout)
        if _is_owned(self._taking):  # A handler of signals would wait for its own thread.
            raise OverdueError
        try:
            # An interrupt may come as soon as it is acquired, and whoever owns it, releases it.
            seconds = -1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)
            if not self._taking.acquire(timeout=seconds):
                raise OverdueError
            while self._state == "running":
                self._team.wait(deadline)
                with signals_held():
                    self._take()
        finally:
            try:  # noqa: SIM105 - in `suppress` an interrupt might come before the release
                self._taking.release()
            except RuntimeError:
                pass

    def _take(self) -> None:
        try:
            messages = self._team.receive(deadline=0.0)
        except OverdueError:
            return
        except WorkerException as error:
            self._close(error)
            return
        self._results += (
            message.value[0] for _, message in messages if message.kind == Kind.RESULTS
        )
        if not messages:
            self._close(None)

    def _close(self, error: WorkerException | None) -> None:
        self._team.end(patient=False)
        reason = None if error is None else error.reason
        death = reason if isinstance(reason, DeadWorkerError) else None
        self._exitcode = int(error is not None) if death is None else death.exitcode
        self._error = error and error.with_traceback(None)  # whose frames hold this object
        self._state = "done" if error is None else "failed"
        if death is not None and self._is_cancelled:
            death = DeadWorkerError(f"background({self._name}) was cancelled", death.exitcode)
            self._error, self._state = WorkerException(death), "cancelled"
        _running.discard(self)


def _run(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    backend: type[TeamBackend] | TeamBackend,
    name: str,
    _: int,
    port: Port,
) -> None:
    port.start(0)
    try:
        result = function(*args, **kwargs)
        backend.finish()
        port.add(result)
        port.flush()
    except BaseException as error:
        port.fail(0, describe_failure(error, f"background({name})"))
    port.finish()


def _is_owned(lock: Any) -> bool:
    """Return whether this thread holds a reentrant lock, as threading.Condition asks it."""
    owned: bool = lock._is_owned()  # noqa: SLF001 - CPython's locks have no public method for this
    return owned
