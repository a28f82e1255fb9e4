"""Send an exception from a worker to the coordinator."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sharedmem.errors import LostExceptionType, WorkerException, shortened, warn_caller
from sharedmem.workers.tracebacks import Stack, of_user, stack_of, traceback_of


class Raised(NamedTuple):
    """An exception of a chain, as it is sent.

    Attributes
    ----------
    error : BaseException
        The exception, or one with its text if it cannot be pickled.
    stack : sequence of Call
        Its traceback.
    is_caused : bool
        Whether the next exception of the chain is its cause, and not only its context.
    """

    error: BaseException
    stack: Stack
    is_caused: bool


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
    chain : sequence of Raised
        `reason`, and what has led to it, with tracebacks, if they come from another process.
    """

    reason: BaseException
    traceback: str
    type_lost: bool
    chain: Sequence[Raised] = ()


def describe_failure(error: BaseException, where: str) -> Failure:
    """Return the failure for an exception; `where` names the task and the worker."""
    # The lines of user code, without those of this package that have called them.
    error.__traceback__ = of_user(error.__traceback__)
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    return Failure(error, f"{where} (pid {os.getpid()}):\n{shortened(text)}", type_lost=False)


def portable(failure: Failure, dumps: Callable[[Any], bytes] = pickle.dumps) -> Failure:
    """Return `failure` with a reason that can be pickled, by `dumps`, and unpickled."""
    links = [
        (error, stack_of(error.__traceback__), error.__cause__ is not None)
        for error in _chain(failure.reason)
    ]
    for error, _, _ in links:  # tblib, which Dask installs, would pickle all that with each.
        error.__traceback__ = error.__cause__ = error.__context__ = None
    chain = [Raised(_portable(error, dumps), stack, is_caused) for error, stack, is_caused in links]
    reason = chain[0].error
    type_lost = failure.type_lost or reason is not failure.reason
    return failure._replace(reason=reason, type_lost=type_lost, chain=chain)


def _portable(error: BaseException, dumps: Callable[[Any], bytes]) -> BaseException:
    with contextlib.suppress(BaseException):  # Whatever user code raises, the failure must arrive.
        if type(pickle.loads(dumps(error))) is type(error):
            return error
    return Exception(text_of(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its cause or context, and so on, as Python shows them."""
    seen: dict[int, BaseException] = {}
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen[id(link)] = link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def text_of(error: BaseException) -> str:
    """Return type and message of `error`; only the type if the message raises an exception."""
    try:
        return f"{type(error).__name__}: {shortened(str(error))}"
    except BaseException:  # as in `portable`
        return type(error).__name__


def exception_of(failure: Failure) -> WorkerException:
    """Return the exception that the coordinator raises for a failure."""
    reason = _revived(failure)
    if failure.type_lost:
        text = f"an exception cannot be pickled, so that its type is lost: {reason}"
        warn_caller(text, LostExceptionType)
    error = WorkerException(reason, failure.traceback)
    error.__cause__ = reason
    return error


def _revived(failure: Failure) -> BaseException:
    """Return the reason of a failure with its traceback, and with what has led to it."""
    for raised in failure.chain:
        raised.error.__traceback__ = traceback_of(raised.stack)
    for outer, inner in pairwise(failure.chain):
        if outer.is_caused:
            outer.error.__cause__ = inner.error
        else:
            outer.error.__context__ = inner.error
    return failure.reason


class RemoteError(Exception):
    """The cause of an exception that was raised in a worker: it shows the traceback there."""

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.tb = traceback

    def __str__(self) -> str:
        """Return the traceback, apart from that of the coordinator."""
        return f'\n"""\n{self.tb}"""'


def original_of(failure: Failure) -> BaseException:
    """Return the exception of a failure itself, whose cause shows the traceback in the worker."""
    reason = _revived(failure)
    reason.__cause__ = RemoteError(failure.traceback)
    return reason
