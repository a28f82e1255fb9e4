"""Attempts of a task, after which its exception is a result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sharedmem.errors import StopProcessGroup
from sharedmem.machine.signals import is_from_handler
from sharedmem.workers.failures import Failure, describe_failure
from sharedmem.workers.sections import Sections


class Tolerance(NamedTuple):
    """What a call does when its tasks fail.

    Attributes
    ----------
    returns_errors : bool
        Whether errors stand in the place of results, instead of ending the call.
    retries : int
        How often a task that fails is run again.
    task_timeout : float or None
        Seconds that an attempt of a task may take.
    """

    returns_errors: bool
    retries: int
    task_timeout: float | None


class Attempts:
    """The function of a call in one worker, run again if it fails; its last exception is a result.

    Parameters
    ----------
    func : callable
        The function of one item.
    sync : Sections
        The sections of the worker.
    tolerance : Tolerance
        That of the call.
    portable : callable, optional
        Makes a failure one that can be sent. By default the caller runs the tasks, and may be
        interrupted: exceptions of signal handlers are raised.
    raises : bool
        Whether the last exception is raised.
    """

    def __init__(
        self,
        func: Callable[[Any], Any],
        sync: Sections,
        tolerance: Tolerance,
        portable: Callable[[Failure], Failure] | None,
        *,
        raises: bool,
    ) -> None:
        self._func = func
        self._sync = sync
        self._portable = portable
        self._raises = raises
        sync.retries = tolerance.retries

    def __call__(self, item: Any) -> Any:
        """Return the result for an item, or a :class:`Failure`."""
        sync = self._sync
        sync.attempt = sync.n_spent
        while True:
            try:
                result = self._func(item)
                sync.check_released()
                return result
            except StopProcessGroup:
                raise
            except BaseException as error:
                sync.leave_held_critical()
                if self._portable is None and _is_interrupt(error):
                    raise
                if sync.attempt >= sync.retries or not sync.run_again():
                    if self._raises:
                        raise
                    return self.failure(error)

    def failure(self, error: BaseException) -> Failure:
        """Return the failure of the current task."""
        sync = self._sync
        failure = describe_failure(error, f"Task {sync.index} in worker {sync.rank}")
        return failure if self._portable is None else self._portable(failure)


def tolerant(
    func: Callable[[Any], Any],
    tolerance: Tolerance | None,
    sync: Sections,
    portable: Callable[[Failure], Failure] | None,
) -> Callable[[Any], Any]:
    """Return `func`; in a tolerant call, its attempts, of which the last may raise."""
    if tolerance is None:
        return func
    return Attempts(func, sync, tolerance, portable, raises=not tolerance.returns_errors)


def _is_interrupt(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt) or is_from_handler(error)
