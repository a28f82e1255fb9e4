"""Exceptions and warnings of the package."""

from __future__ import annotations

import inspect
import warnings


class StopProcessGroup(Exception):
    """Raised by a task to stop its worker without an error.

    The task has no result, and the other workers continue. The list that
    :meth:`sharedmem.MapReduce.map` returns has no results of tasks that no worker was left to run;
    `imap` yields no results of items that were already sent to the stopped worker.

    See Also
    --------
    MapReduce.map : Call a function on many items.

    Examples
    --------
    >>> import sharedmem
    >>> def work(i):
    ...     if i == 1:
    ...         raise sharedmem.StopProcessGroup
    ...     return i
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     pool.map(work, range(2))
    [0]
    """


class LostExceptionType(Warning):
    """Issued when the exception of a task cannot be pickled.

    :attr:`WorkerException.reason` is then an :class:`Exception` with the text of the original.

    See Also
    --------
    WorkerException : The exception that the call raises.

    Examples
    --------
    >>> import sharedmem, threading, warnings
    >>> def work(i):
    ...     raise ValueError("no lock", threading.Lock())
    >>> warnings.simplefilter("ignore", sharedmem.LostExceptionType)
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     try:
    ...         pool.map(work, range(2))
    ...     except sharedmem.WorkerException as error:
    ...         type(error.reason)
    <class 'Exception'>
    """


class WorkerException(Exception):
    """Raised when a task fails, or the worker that runs it.

    Parameters
    ----------
    reason : BaseException
        The exception that the task raised, or a :class:`DeadWorkerError`.
    traceback : str, optional
        The formatted traceback in the worker. Default: empty.

    Attributes
    ----------
    reason : BaseException
        The exception of the task. If it cannot be pickled, it is replaced by an
        :class:`Exception` with the same text, and a :class:`LostExceptionType` warning is issued.
    traceback : str
        The formatted traceback in the worker; empty if there is none.

    See Also
    --------
    DeadWorkerError : The reason if a worker has died.
    LostExceptionType : The warning if an exception cannot be pickled.

    Examples
    --------
    >>> import sharedmem
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     try:
    ...         pool.map(lambda x: 1 / x, [1, 0])
    ...     except sharedmem.WorkerException as error:
    ...         error.reason
    ZeroDivisionError('division by zero')
    """

    def __init__(self, reason: BaseException, traceback: str = "") -> None:
        super().__init__(reason, traceback)
        self.reason = reason
        self.traceback = traceback

    def __str__(self) -> str:
        """Return the reason and the traceback in the worker."""
        try:
            text = shortened(str(self.reason))
        except Exception:
            text = ""
        name = type(self.reason).__name__
        summary = f"{name}: {text}" if text else name
        return f"{summary}\n\n{self.traceback}" if self.traceback else summary


def shortened(text: str, limit: int = 20_000) -> str:
    """Return `text` without its middle if it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n[{len(text) - limit} characters left out]\n{text[-limit // 2 :]}"


def warn_caller(text: str, category: type[Warning] = RuntimeWarning) -> None:
    """Issue a warning at the line that called this package."""
    level, frame = 1, inspect.currentframe()
    # Context managers of ours are entered by those of the standard library.
    ours = "sharedmem", "contextlib"
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in ours:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


class DeadWorkerError(ChildProcessError):
    """The end of a worker before its tasks were done: the `reason` of a `WorkerException`.

    Parameters
    ----------
    message : str
        How the worker ended, and what it was doing.
    exitcode : int or None
        The exit code, or the negative number of the signal that killed the worker; None if other
        code in this process has waited for the worker.

    Attributes
    ----------
    exitcode : int or None
        The exit code, as above.

    See Also
    --------
    WorkerException : The exception that the call raises.

    Examples
    --------
    >>> import os, sharedmem
    >>> with sharedmem.MapReduce(np=2) as pool:
    ...     try:
    ...         pool.map(lambda i: os._exit(3), range(2))
    ...     except sharedmem.WorkerException as error:
    ...         type(error.reason).__name__, error.reason.exitcode
    ('DeadWorkerError', 3)
    """

    def __init__(self, message: str, exitcode: int | None) -> None:
        super().__init__(message)
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[type[DeadWorkerError], tuple[str, int | None]]:
        """Pickle both arguments."""
        return type(self), (str(self), self.exitcode)
