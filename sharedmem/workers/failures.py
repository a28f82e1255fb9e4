"""Send an exception from a worker to the coordinator."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from sharedmem.errors import LostExceptionType, WorkerException, shortened, warn_caller


class Failure(NamedTuple):
    """An exception that was raised in a worker.

    Attributes
    ----------
    reason : BaseException
        The exception, or an `Exception` with its text if it cannot be pickled.
    traceback : str
        The worker, the task, and the lines of code that have raised it.
    type_lost : bool
        Whether `reason` stands in for an exception that cannot be pickled.
    """

    reason: BaseException
    traceback: str
    type_lost: bool


def describe_failure(error: BaseException, where: str) -> Failure:
    """Return the failure for an exception; `where` names the task and the worker."""
    trace = error.__traceback__
    # The lines of user code, without those of this package that have called them.
    while trace is not None and _is_ours(trace.tb_frame):
        trace = trace.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    except Exception:
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    return Failure(error, f"{where} (pid {os.getpid()}):\n{shortened(text)}", type_lost=False)


def _is_ours(frame: FrameType) -> bool:
    package: str = frame.f_globals.get("__package__") or ""
    return package.partition(".")[0] == "sharedmem"


def portable(failure: Failure, dumps: Callable[[Any], bytes] = pickle.dumps) -> Failure:
    """Return `failure` with a reason that can be pickled, by `dumps`, and unpickled."""
    reason = failure.reason
    with contextlib.suppress(BaseException):  # Whatever user code raises, the failure must arrive.
        if type(pickle.loads(dumps(reason))) is type(reason):
            return failure
    return Failure(Exception(text_of(reason)), failure.traceback, type_lost=True)


def text_of(error: BaseException) -> str:
    """Return type and message of `error`; only the type if the message raises an exception."""
    try:
        return f"{type(error).__name__}: {shortened(str(error))}"
    except BaseException:  # as in `portable`
        return type(error).__name__


def exception_of(failure: Failure) -> WorkerException:
    """Return the exception that the coordinator raises for a failure."""
    reason = failure.reason
    if failure.type_lost:
        text = f"an exception cannot be pickled, so that its type is lost: {reason}"
        warn_caller(text, LostExceptionType)
    error = WorkerException(reason, failure.traceback)
    error.__cause__ = reason
    return error
