"""The lock of `critical` on a cluster: held until it is released, or its holder is gone."""

from __future__ import annotations

import functools
import pickle
import secrets
from collections.abc import Callable
from types import FunctionType
from typing import Any

from sharedmem.workers.protocols import is_over
from sharedmem.workers.sections import CoordinatorSync, TeamSync

# After so long, one who waits looks whether the call is still wanted,
PATIENCE_SECONDS = 0.5
# and after so many times, whether the holder is still there.
_CHECKS_A_SEARCH = 4


class ClusterLock:
    """A lock in the scheduler that its holder keeps until it is released.

    `distributed.Lock` is a lease, which a task loses to another one when it holds the interpreter's
    lock for longer than the lease lasts. Here those who wait have the scheduler take the lock from
    workers and clients that it has lost, and from nobody else.

    Parameters
    ----------
    ask : callable
        ``ask(operation, **arguments)`` calls the scheduler.
    name : str
        Names the lock.
    holder : str
        The identity of the worker, or the client, that may hold it.
    check : callable
        Raises if there is nothing to wait for any more.
    has_ended : callable
        Returns whether the call has ended, so that its last holder removes the lock.
    """

    def __init__(
        self,
        ask: Callable[..., Any],
        name: str,
        holder: str,
        check: Callable[[], None],
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ask, self._name, self._check, self._has_ended = ask, name, check, has_ended
        self._lease = f"{holder}|{secrets.token_hex(8)}"
        self._is_known = False

    def acquire(self) -> None:
        """Take the lock, however long that takes."""
        self._check()
        if not self._is_known:
            self._ask("semaphore_register", name=self._name, max_leases=1, lease_timeout=None)
            self._is_known = True
        n_checks = 0
        while not self._ask(
            "semaphore_acquire",
            name=self._name,
            timeout=PATIENCE_SECONDS,
            lease_id=self._lease,
        ):
            self._check()
            n_checks += 1
            if n_checks % _CHECKS_A_SEARCH == 0:
                arguments = pickle.dumps({"name": self._name})
                self._ask("run_function", function=_packed_search(), kwargs=arguments)

    def release(self) -> None:
        """Give the lock back."""
        self._ask("semaphore_release", name=self._name, lease_id=self._lease)
        if self._has_ended():
            self._ask("semaphore_close", name=self._name)


async def remove_lock(scheduler: Any, name: str) -> None:
    """Remove the lock of a call that has ended; who still holds it does that by itself."""
    # Known now, so that nothing is left of what asking for its value makes.
    await scheduler.semaphore_register(name=name, max_leases=1, lease_timeout=None)
    if not await scheduler.semaphore_value(name=name):
        await scheduler.semaphore_close(name=name)


def _free_from_lost(name: str, dask_scheduler: Any) -> None:
    """In the scheduler, take a lock from a holder that is gone."""
    semaphores = dask_scheduler.extensions["semaphores"]
    present = {worker.server_id for worker in dask_scheduler.workers.values()}
    present.update(dask_scheduler.clients)
    for lease in list(semaphores.leases.get(name, ())):
        if lease.split("|")[0] not in present:
            semaphores.release(name=name, lease_id=lease)


@functools.cache
def _packed_search() -> bytes:
    """Return the search, pickled by value: the scheduler may run where this package is not."""
    import cloudpickle

    search = FunctionType(_free_from_lost.__code__, {"__builtins__": __builtins__})
    search.__module__ = "__main__"
    packed: bytes = cloudpickle.dumps(search)
    return packed


def overdue(timeout: float | None) -> TimeoutError:
    """Return the error of a call that takes too long."""
    return TimeoutError(
        f"the call took longer than timeout={timeout or 0:g} seconds; its tasks were cancelled, "
        "but those that run go on to their end"
    )


class ReduceSync(CoordinatorSync):
    """The coordinator's part: `reduce` may enter the critical sections of the workers."""

    def __init__(self, client: Any, name: str, timeout: float | None) -> None:
        super().__init__(TeamSync(1, processes=False), watch=lambda: None)
        self._timeout = timeout
        self.deadline: float | None = None
        self.has_ended = False

        def ask(operation: str, **arguments: Any) -> Any:
            return client.sync(getattr(client.scheduler, operation), **arguments)

        self._lock = ClusterLock(ask, name, client.id, self._check, lambda: self.has_ended)

    def _check(self) -> None:
        if is_over(self.deadline):
            raise overdue(self._timeout)

    def _acquire_critical(self) -> None:
        self._lock.acquire()

    def leave_critical(self) -> None:
        """Let a worker in."""
        self._critical_owner = None
        self._lock.release()
