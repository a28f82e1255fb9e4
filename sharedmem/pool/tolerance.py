"""Errors as results: the options of a call, and what stands in the place of results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from sharedmem.machine.arguments import check_count
from sharedmem.pool.arguments import check_flag, check_timeout, is_team_backend
from sharedmem.pool.backends import SerialBackend
from sharedmem.workers.attempts import Tolerance
from sharedmem.workers.failures import Failure, exception_of


def check_tolerance(
    backend: Any, return_exceptions: Any, retries: Any, task_timeout: Any
) -> Tolerance | None:
    """Return what a call does when its tasks fail; None if that ends the call.

    Parameters
    ----------
    backend : Backend
        The backend of the call.
    return_exceptions, retries, task_timeout
        See :meth:`sharedmem.MapReduce.map`.
    """
    returns_errors = check_flag("return_exceptions", return_exceptions)
    retries = check_count("retries", retries, smallest=0)
    limit = check_timeout(task_timeout, name="task_timeout")
    if limit is not None and backend is not SerialBackend and not _can_kill(backend):
        name = getattr(backend, "__name__", type(backend).__name__)
        raise ValueError(
            f"task_timeout={task_timeout!r} was given, but a task of {name} cannot be ended "
            "before it returns: use ProcessBackend, or let the task watch the clock"
        )
    is_default = not returns_errors and retries == 0 and limit is None
    return None if is_default else Tolerance(returns_errors, retries, limit)


def _can_kill(backend: Any) -> bool:
    return is_team_backend(backend) and backend.uses_processes


def placed(
    values: list[Any], reduce: Callable[..., Any] | None, tolerance: Tolerance | None
) -> list[Any]:
    """Return what `map` returns for results, or raise the error of one.

    Parameters
    ----------
    values : list
        The results, and failures of type `Failure`.
    reduce : callable or None
        Called on each result.
    tolerance : Tolerance or None
        That of the call.
    """
    if reduce is None and tolerance is None:
        return values
    return [
        _settled(value, tolerance)
        if tolerance is not None and type(value) is Failure
        else _reduced(value, reduce)
        for value in values
    ]


def _reduced(value: Any, reduce: Callable[..., Any] | None) -> Any:
    if reduce is None:
        return value
    return reduce(*value) if isinstance(value, tuple) else reduce(value)


def yielded(results: Iterator[Any], tolerance: Tolerance | None) -> Iterator[Any]:
    """Return an iterator of what `imap` yields for results, some of type `Failure`."""
    return results if tolerance is None else _yielded(results, tolerance)


def _yielded(results: Any, tolerance: Tolerance) -> Generator[Any]:
    __tracebackhide__ = True
    # An error's traceback keeps `results`, with their workers.
    with contextlib.closing(results):
        for result in results:
            yield _settled(result, tolerance) if type(result) is Failure else result


def _settled(failure: Failure, tolerance: Tolerance) -> Any:
    error = exception_of(failure)
    if tolerance.returns_errors:
        return error
    raise error
