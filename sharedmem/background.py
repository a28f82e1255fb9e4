"""One function call in the background."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from sharedmem.checks import check_timeout
from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.failures import describe_failure
from sharedmem.processes import ProcessBackend
from sharedmem.signals import signals_held
from sharedmem.team import Backend, OverdueError, Port, Team
from sharedmem.transport import Kind, Message
from sharedmem.worker import flush_output

# Calls that have not ended. They are held here, so that one whose object is dropped goes on.
_running: set[background] = set()
os.register_at_fork(after_in_child=_running.clear)


class background:  # noqa: N801 - the name is 0.3.8's
    """A call that runs in a forked process, or in a thread, while the caller goes on.

    Parameters
    ----------
    function : callable
        Called at once with `args` and `kwargs`. It may be a closure; nothing of it is pickled.
    *args
        Its positional arguments.
    backend : {ProcessBackend, ThreadBackend}
        Where it runs.
    **kwargs
        Its keyword arguments.

    Raises
    ------
    TypeError
        If `function` is not callable, or the backend is none of this machine.
    OSError
        If no process can be started.

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
        backend: Backend = ProcessBackend,
        **kwargs: Any,
    ) -> None:
        if not callable(function):
            raise TypeError(f"background needs a callable, got {function!r}")
        if not hasattr(backend, "team"):
            raise TypeError(
                f"backend must be ProcessBackend or ThreadBackend, got {backend!r}: a call in the "
                "background runs on this machine; Dask's client.submit starts one on a cluster"
            )
        self._name = getattr(function, "__qualname__", repr(function))
        self._lock = threading.Lock()
        self._is_process = backend.uses_processes
        self._result: Any = None
        self._error: WorkerException | None = None
        self._exitcode: int | None = None

        def work(_: int, port: Port) -> None:
            port.start(0)
            try:
                port.add(function(*args, **kwargs))
                port.flush()
            except BaseException as error:
                port.fail(0, describe_failure(error, f"background({self._name})"))
            port.finish()

        for call in list(_running):
            call.done()
        where = f"in background({self._name})."
        if self._is_process:
            flush_output()
        with signals_held():
            self._team: Team = backend.team(1, work, lambda _: where, fed=True)
            _running.add(self)

    def __repr__(self) -> str:
        state = "running" if self in _running else "done"
        return f"<background {self._name}, {state}>"

    @property
    def exitcode(self) -> int | None:
        """0 if the function returned, 1 if it raised, minus the signal that killed its process.

        None while it runs.
        """
        return self._exitcode

    def done(self) -> bool:
        """Say whether the call has ended, without waiting."""
        try:
            self._await_end(0)
        except TimeoutError:
            return False
        return True

    def wait(self, timeout: float | None = None) -> Any:
        """Wait for the call and return its result.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; the call goes on if they are not enough.

        Returns
        -------
        object
            What the function returned; the same object each time.

        Raises
        ------
        WorkerException
            If the function raised, or its process died or was cancelled.
        TimeoutError
            If the time is over.
        """
        self._await_end(timeout)
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> bool:
        """Kill the process of the call.

        Returns
        -------
        bool
            Whether the call was still running, and has been ended. A thread cannot be killed:
            False.
        """
        if not self._is_process or self.done():
            return False
        with self._lock:
            self._team.end(patient=False)
            reason = DeadWorkerError(f"background({self._name}) was cancelled", -signal.SIGKILL)
            self._close(-signal.SIGKILL, WorkerException(reason))
        return True

    def _await_end(self, timeout: float | None) -> None:
        timeout = check_timeout(timeout, 0.0)
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._lock.acquire(
            timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)
        ):
            raise self._too_slow(timeout)
        try:
            while self in _running:
                self._take(self._team.receive(deadline))
        except OverdueError:
            raise self._too_slow(timeout) from None
        except WorkerException as error:
            code = error.reason.exitcode if isinstance(error.reason, DeadWorkerError) else 1
            self._close(code, error)
        finally:
            self._lock.release()

    def _take(self, messages: list[tuple[int, Message]]) -> None:
        for _, message in messages:
            if message.kind == Kind.RESULTS:
                (self._result,) = message.value
        if not messages:
            self._close(0, None)

    def _close(self, exitcode: int | None, error: WorkerException | None) -> None:
        self._team.end(patient=False)
        self._exitcode = exitcode
        self._error = error
        _running.discard(self)

    def _too_slow(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"background({self._name}) is still running after {timeout} seconds")
