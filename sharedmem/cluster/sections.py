"""Critical and ordered sections on a cluster: the scheduler grants them."""

from __future__ import annotations

import functools
import pickle
import secrets
from collections.abc import Callable
from threading import BrokenBarrierError
from types import FunctionType
from typing import Any

from sharedmem.cluster.job import CallEndedError, Claim, Job, ended
from sharedmem.workers.deadlines import is_over
from sharedmem.workers.sections import Sections, WorkerSync
from sharedmem.workers.team_sync import TeamSync

# Whoever waits checks after this time that the call is still wanted,
PATIENCE_SECONDS = 0.5
# and after so many of these checks, that the holder is still there.
_CHECKS_A_SEARCH = 4
# A task that has waited this long for its turn makes room for tasks that may come before it.
_SLOT_SECONDS = 10.0


class ClusterLock:
    """A lock in the scheduler that its holder keeps until it releases it.

    `distributed.Lock` is a lease: a task that holds the GIL for longer than the lease loses it to
    another task. Here the scheduler takes the lock only from workers and clients that are gone.

    Parameters
    ----------
    ask : callable
        ``ask(operation, **arguments)`` calls the scheduler.
    name : str
        Name of the call; its last holder removes the lock.
    holder : str
        Identity of the worker, or the client, that may hold it.
    check : callable
        Raises if the call is no longer wanted.
    """

    def __init__(
        self, ask: Callable[..., Any], name: str, holder: str, check: Callable[[], None]
    ) -> None:
        self._ask, self._name, self._check = ask, name, check
        self._lease = f"{holder}|{secrets.token_hex(8)}"
        self._is_known = False

    def acquire(self) -> None:
        """Acquire the lock; wait without a time limit."""
        self._check()
        if not self._is_known:
            self._ask("semaphore_register", name=self._name, max_leases=1, lease_timeout=None)
            self._is_known = True
        n_checks = 0
        while not self._ask(
            "semaphore_acquire", name=self._name, timeout=PATIENCE_SECONDS, lease_id=self._lease
        ):
            self._check()
            n_checks += 1
            if n_checks % _CHECKS_A_SEARCH == 0:
                arguments = pickle.dumps({"name": self._name})
                self._ask("run_function", function=_packed_search(), kwargs=arguments)

    def release(self) -> None:
        """Release the lock."""
        self._ask("semaphore_release", name=self._name, lease_id=self._lease)
        if self._name in ended:
            self._ask("semaphore_close", name=self._name)


async def remove_lock(scheduler: Any, name: str) -> None:
    """Remove the lock of a call that has ended, unless it is held; its holder removes it then."""
    # Known now, so that nothing is left of what asking for its value makes.
    await scheduler.semaphore_register(name=name, max_leases=1, lease_timeout=None)
    if not await scheduler.semaphore_value(name=name):
        await scheduler.semaphore_close(name=name)


def _free_from_lost(name: str, dask_scheduler: Any) -> None:
    """Take a lock, in the scheduler, from holders that are gone."""
    semaphores = dask_scheduler.extensions["semaphores"]
    present = {worker.server_id for worker in dask_scheduler.workers.values()}
    present.update(dask_scheduler.clients)
    for lease in list(semaphores.leases.get(name, ())):
        if lease.split("|")[0] not in present:
            semaphores.release(name=name, lease_id=lease)


@functools.cache
def _packed_search() -> bytes:
    """Return the search, pickled by value: the scheduler may not have this package."""
    import cloudpickle

    search = FunctionType(_free_from_lost.__code__, {"__builtins__": __builtins__})
    search.__module__ = "__main__"
    packed: bytes = cloudpickle.dumps(search)
    return packed


def overdue(timeout: float | None) -> TimeoutError:
    """Return the error of a call that takes too long."""
    return TimeoutError(
        f"the call took longer than timeout={timeout or 0:g} seconds; its tasks were cancelled, "
        "but those that run will finish"
    )


class ReduceSync(Sections):
    """The coordinator's part: `reduce` may enter the critical sections of the workers."""

    def __init__(self, client: Any, name: str, timeout: float | None) -> None:
        self._timeout = timeout
        self.deadline: float | None = None

        def ask(operation: str, **arguments: Any) -> Any:
            return client.sync(getattr(client.scheduler, operation), **arguments)

        super().__init__(ClusterLock(ask, name, client.id, self._check))

    def _check(self) -> None:
        if is_over(self.deadline):
            raise overdue(self._timeout)


class Here:
    """The task of Dask that this thread runs.

    Attributes
    ----------
    worker : distributed.Worker
        Its worker.
    key : str
        Its key.
    has_slot : bool
        Whether it takes one of the threads of the worker's pool.
    """

    def __init__(self) -> None:
        import distributed

        self.worker: Any = distributed.get_worker()
        self.key = self.worker.get_current_task()
        self.has_slot = True

    def check(self) -> None:
        """End the task if it has been cancelled."""
        task = self.worker.state.tasks.get(self.key)
        if task is None or task.state == "cancelled":
            raise CallEndedError

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Call the scheduler."""
        from distributed.utils import sync

        return sync(self.worker.loop, getattr(self.worker.scheduler, operation), **arguments)

    def make_room(self, waited: float) -> None:
        """Leave the worker's thread pool if tasks wait for it: one may come before this one."""
        from distributed import secede

        if self.has_slot and (len(self.worker.state.ready) or waited > _SLOT_SECONDS):
            self.has_slot = False
            secede()


class ClaimSync(WorkerSync):
    """The part of a claim in its call.

    Parameters
    ----------
    here : Here
        The task of Dask that runs the claim.
    job : Job
        The call.
    claim : Claim
        The claim.
    """

    def __init__(self, here: Here, job: Job, claim: Claim) -> None:
        super().__init__(TeamSync(1, processes=False), 0)
        self._here, self._job = here, job
        self._critical = ClusterLock(here.ask, job.key, here.worker.id, here.check)
        self._start, self._stop = claim.start, claim.stop
        self._has_turn = claim.start == 0

    def enter_turn(self) -> None:
        """Wait until all tasks before this one have passed their ordered block."""
        waited = 0.0
        while not self._has_turn:
            self._has_turn = self._here.ask(
                "event_wait", name=self._job.turn(self._start), timeout=PATIENCE_SECONDS
            )
            self._here.check()
            if not self._has_turn:
                waited += PATIENCE_SECONDS
                self._here.make_room(waited)
        super().enter_turn()

    def leave_turn(self) -> None:
        """Give the turn to the next task."""
        super().leave_turn()
        if self.index == self._stop - 1 and self.team.fronts[0] > self.index:
            turn = self._job.turn(self._stop)
            self._here.ask("event_set", name=turn)
            if self._job.key in ended:  # the coordinator may have cleared it before
                self._here.ask("event_clear", name=turn)

    def run_again(self) -> bool:
        """Prepare another attempt of a task, unless the next claim has its turn."""
        may_run = self.index < self._stop - 1 or self.team.fronts[0] <= self.index
        return may_run and super().run_again()

    def barrier(self) -> None:
        """Raise BrokenBarrierError: the tasks of a cluster may not run at the same time."""
        raise BrokenBarrierError(
            "pool.barrier() waits for all workers, but a cluster runs a task when a thread is "
            "free, and tasks that wait could block the others forever. Make two calls of map "
            "instead of one"
        )
