"""Exceptions and warnings of the package."""

from __future__ import annotations


class StopProcessGroup(Exception):
    """Raised by a task to end the worker that runs it, quietly.

    The task gives no result, and the other workers go on. Tasks that no worker is left to run are
    left out of the list that :meth:`sharedmem.MapReduce.map` returns, and so are, from `imap`,
    items that had been sent to the worker already.

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
    """Issued when an exception of a task cannot be pickled, so that its type is lost.

    The :attr:`WorkerException.reason` is then a plain :class:`Exception` with the text of the
    original one.
    """


class WorkerException(Exception):
    """A task, or the worker that ran it, has failed.

    Parameters
    ----------
    reason : BaseException
        What went wrong: the exception that the task raised, or an error that says how the worker
        ended.
    traceback : str
        The formatted traceback in the worker, empty where there is none.

    Attributes
    ----------
    reason : BaseException
        As above. Where the exception could not be pickled it is an :class:`Exception` with
        the same text, and a :class:`LostExceptionType` warning is issued.
    traceback : str
        As above.

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
        """Return the reason, followed by the traceback in the worker."""
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


class DeadWorkerError(ChildProcessError):
    """A worker has ended before it was done; the `reason` of a `WorkerException`.

    Parameters
    ----------
    message : str
        How it ended, and what it was doing.
    exitcode : int or None
        Its exit code; minus the number of the signal that killed it; None if somebody else in
        this process has taken its status.

    Attributes
    ----------
    exitcode : int or None
        As above.
    """

    def __init__(self, message: str, exitcode: int | None) -> None:
        super().__init__(message)
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[type[DeadWorkerError], tuple[str, int | None]]:
        """Pickle by both arguments."""
        return type(self), (str(self), self.exitcode)
