"""How an exception travels from a worker to the coordinator."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from sharedmem.errors import LostExceptionType, WorkerException, shortened


class Failure(NamedTuple):
    """What went wrong in a worker.

    Attributes
    ----------
    reason : BaseException
        The exception, or a plain one with its text where it cannot be pickled.
    traceback : str
        Where it happened: the worker, the task, and the lines of code.
    type_lost : bool
        Whether `reason` is a stand-in.
    """

    reason: BaseException
    traceback: str
    type_lost: bool


def describe_failure(error: BaseException, where: str) -> Failure:
    """Say what `error` is and where it happened."""
    trace = error.__traceback__
    # The user's lines, without those of this package that called them.
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
    """Return `failure` with a reason that survives pickling, by `dumps`."""
    reason = failure.reason
    try:
        if type(pickle.loads(dumps(reason))) is type(reason):
            return failure
    except BaseException:  # Whatever foreign code raises, the failure must arrive.
        return Failure(Exception(text_of(reason)), failure.traceback, type_lost=True)
    return Failure(Exception(text_of(reason)), failure.traceback, type_lost=True)


def is_from_handler(error: BaseException) -> bool:
    """Return whether a handler of signals has raised `error`, in whatever ran just then."""
    handlers = filter(callable, map(signal.getsignal, signal.valid_signals()))
    codes = {
        getattr(function, "__code__", None)
        for handler in handlers
        for function in (handler, type(handler).__call__)
    }
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def text_of(error: BaseException) -> str:
    """Return the text of `error`, or its type where even that fails."""
    try:
        return f"{type(error).__name__}: {shortened(str(error))}"
    except BaseException:  # as in `portable`
        return type(error).__name__


def exception_of(failure: Failure) -> WorkerException:
    """Return the exception to raise in the coordinator for what a worker has told of."""
    reason = failure.reason
    if failure.type_lost:
        warnings.warn(
            f"an exception cannot be pickled, so that its type is lost: {reason}",
            LostExceptionType,
            stacklevel=2,
        )
    error = WorkerException(reason, failure.traceback)
    error.__cause__ = reason
    return error
