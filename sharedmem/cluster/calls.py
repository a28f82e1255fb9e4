"""One call on a cluster: submit claims of tasks, and wait for their results."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import queue
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Self

from sharedmem.cluster.dask_arrays import regions_of
from sharedmem.cluster.job import Claim, Job, Outcome, Runs, TaskError, ended
from sharedmem.cluster.pickling import INLINE_BYTES, Package, pack
from sharedmem.cluster.sections import ReduceSync, overdue, remove_lock
from sharedmem.cluster.worker import forget, run_claim
from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.workers.batches import opened
from sharedmem.workers.claims import Pace
from sharedmem.workers.deadlines import is_over, remaining
from sharedmem.workers.failures import Failure, exception_of
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.task_loop import item_text

if TYPE_CHECKING:
    from sharedmem.cluster.backend import DaskBackend

# Each claim costs the coordinator, the scheduler, and a worker some milliseconds together.
CLAIM_SECONDS = 0.3
# A claim takes about this long to travel to a worker and back.
LEAST_SECONDS = 0.01
# Number of times that a claim is sent again if its function or items were lost with a worker.
_MAX_LOSSES = 3


class _Turns:
    """The turns of claims: each comes when all tasks before it are done.

    A worker itself gives the next claim its turn when the last task of a claim leaves its ordered
    block. Here it is given because claims have ended, whose tasks may have entered no such block.

    Attributes
    ----------
    given : set of int
        Turns whose events may be set: those after the claims that have been submitted.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._front = 0  # all tasks before it are done
        self.given: set[int] = set()

    def end(self, claim: Claim) -> list[tuple[str, int]]:
        """Note the end of a claim; return operations on events of the scheduler, by their turns."""
        self._ends[claim.start] = claim.stop
        passed = []
        while self._front in self._ends:
            passed.append(self._front)
            self._front = self._ends.pop(self._front)
        self.given.difference_update(passed)
        if not passed:
            return []
        return [("event_set", self._front), *(("event_clear", index) for index in passed)]


class ClusterCall:
    """The coordinator's side of a call.

    Guarantees: claims that were lost with a worker are submitted again. After the block nothing is
    left in the scheduler, unless the coordinator was killed.

    Parameters
    ----------
    backend : DaskBackend
        The cluster.
    pool_call : PoolCall
        The call.

    Attributes
    ----------
    window : int
        Number of claims that are submitted at a time.
    sync : ReduceSync
        The sections of the coordinator.
    """

    def __init__(self, backend: DaskBackend, pool_call: PoolCall) -> None:
        self._backend, self._client = backend, backend.client
        self._pool_call = pool_call
        self._members = backend.admit()
        self._token = secrets.token_hex(8)
        self._name = getattr(pool_call.func, "__name__", type(pool_call.func).__name__)
        self._numbers = itertools.count()
        self._claims: dict[Any, tuple[Claim, Any]] = {}
        self._answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._reads_dask = False
        self._turns = _Turns()
        self._marks: list[str] = []
        self._telling = asyncio.Lock()
        self._send_function()
        # Without a pool tasks wait for no others, so that claims may be queued behind them.
        self.window = self._members.n_workers * (1 if self._has_pool else 2)
        self.sync = ReduceSync(self._client, self._job.key, pool_call.timeout)

    def _send_function(self) -> None:
        pool_call, attaches = self._pool_call, self._members.attaches
        key = f"sharedmem-{self._token}"
        self._job = Job(key, pool_call.call, pool_call.contexts, self._members, pool_call.tolerance)
        try:
            function, self._has_pool = pack((pool_call.func, pool_call.initializer), attaches)
        except Exception as error:
            raise TypeError(
                f"{self._name} cannot be sent to the workers of a cluster: {error}"
            ) from error
        self._packed_job = pack(self._job, attaches)[0]
        self._function = self._placed(function, broadcast=True)

    def _placed(self, package: Package, *, broadcast: bool) -> Any:
        """Return a package to send with a claim, or a future of it on the cluster."""
        if package.nbytes <= INLINE_BYTES:
            return package
        return self._client.scatter(package, broadcast=broadcast, hash=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        ended.append(self._job.key)
        claims, self._claims = self._claims, {}
        function, self._function = self._function, None
        if self._client.status != "running":
            return
        if claims:
            self._client.cancel([future for _, future in claims.values()])
        if not isinstance(function, Package):
            function.release()
        events = [self._job.turn(index) for index in self._turns.given] if self._has_pool else []
        loop = self._client.loop.asyncio_loop
        cleaning = asyncio.run_coroutine_threadsafe(self._clean_up(events + self._marks), loop)
        self._backend.cleaning.add(cleaning)
        cleaning.add_done_callback(self._backend.cleaning.discard)

    async def _clean_up(self, events: Sequence[str]) -> None:
        with contextlib.suppress(Exception, CancelledError):
            await self._client.run(forget, self._job.key, on_error="ignore")
            for name in events:
                await self._tell("event_clear", name)
            if self._has_pool:
                await remove_lock(self._client.scheduler, self._job.key)

    def results(
        self,
        take: Callable[[int], Sequence[Any]],
        n_left: Callable[[], int],
        deadline: Callable[[], float | None],
    ) -> Iterator[tuple[int, int, Runs]]:
        """Run tasks.

        Parameters
        ----------
        take : callable
            ``take(n)`` returns the next items, at most n; none if there are none at present.
        n_left : callable
            Returns an upper bound on the number of items left.
        deadline : callable
            Returns the deadline for the next results.

        Yields
        ------
        start, n_tasks : int
            A claim that is done.
        runs : list of (int, list)
            Numbers of tasks, each with the results of that task and of the following ones.
        """
        chunksize = self._pool_call.chunksize
        pace, length = Pace(self._members.n_workers), chunksize or 1
        next_task, n_stopped = 0, 0
        while True:
            while len(self._claims) < self.window and n_stopped < self._members.n_workers:
                items = take(length)
                if not items:
                    break
                self._submit(Claim(next_task, items))
                next_task += len(items)
            if not self._claims:
                return
            claim, outcome = self._receive(deadline())
            n_stopped += outcome.has_stopped
            if chunksize is None and not self._reads_dask:  # of which the worker holds one chunk
                length = pace.next_length(
                    len(claim.items), outcome.seconds, n_left(), CLAIM_SECONDS, LEAST_SECONDS
                )
            yield claim.start, len(claim.items), _opened(outcome.runs)

    def _submit(self, claim: Claim) -> None:
        self._turns.given.add(claim.stop)
        if claim.is_suspect:
            self._marks.append(self._job.mark(claim.start))
        key = (f"{self._name}-{self._token}", next(self._numbers))
        regions = regions_of(self._pool_call.func, claim.items)
        self._reads_dask = bool(regions)
        package = pack((claim, list(regions)), self._members.attaches)[0]
        future = self._client.submit(
            run_claim,
            self._packed_job,
            self._function,
            self._placed(package, broadcast=False),
            *(self._client.compute(list(regions.values())) if regions else ()),
            key=key,
            pure=False,
            retries=self._backend.retries,
            fifo_timeout=0,
        )
        self._claims[key] = claim, future
        self._client.loop.add_callback(self._deliver, key, future)

    async def _deliver(self, key: Any, future: Any) -> None:
        try:
            answer = await self._client.gather(future)
        except BaseException as error:
            answer = error.with_traceback(None)  # whose frames hold this call
        self._answers.put((key, answer))

    def _receive(self, deadline: float | None) -> tuple[Claim, Any]:
        """Wait until a claim is done; return it and its outcome."""
        while True:
            try:
                key, answer = self._answers.get(timeout=remaining(deadline))
            except queue.Empty:
                if not is_over(deadline):
                    continue
                raise overdue(self._pool_call.timeout) from None
            claim, future = self._claims.pop(key)
            future.release()  # which the traceback of an error might hold
            if answer is None:  # from a worker that has joined since the call began
                self._members = self._backend.admit(self._members)
                self._send_function()
                self._submit(claim)
                continue
            is_done = isinstance(answer, Package)
            outcome = answer.unpack() if is_done else self._recover(claim, answer)
            if outcome is not None:
                if self._has_pool:
                    for operation, index in self._turns.end(claim):
                        self._client.loop.add_callback(self._tell, operation, self._job.turn(index))
                return claim, outcome

    async def _tell(self, operation: str, name: str) -> None:
        """Call the scheduler after all earlier calls: its connections may overtake each other."""
        async with self._telling:
            await getattr(self._client.scheduler, operation)(name=name)

    def _recover(self, claim: Claim, error: BaseException) -> Outcome | None:
        """Submit a claim again, perhaps in parts, or raise its error, or return it as result."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, TaskError):
            raise exception_of(pickle.loads(error.args[1])) from None
        if isinstance(error, KilledWorker):
            # Dask blames all tasks of the worker, also those that it had not begun.
            is_last = claim.n_losses == _MAX_LOSSES
            if claim.is_suspect and (is_last or self._was_begun(claim)):
                death, tolerance = _killed(claim, error), self._pool_call.tolerance
                if tolerance is None or not tolerance.returns_errors:
                    raise WorkerException(death) from error
                failure = Failure(death, "", type_lost=False)
                return Outcome([(claim.start, [failure])], 0.0, has_stopped=False)
            for at in range(len(claim.items)):
                one = claim.items[at : at + 1]
                self._submit(Claim(claim.start + at, one, claim.n_losses + 1, is_suspect=True))
        elif not isinstance(error, CancelledError):
            raise RuntimeError(
                f"tasks {claim.start} to {claim.stop - 1} could not be run on the cluster: {error}"
            ) from error
        elif self._client.status != "running" or claim.n_losses == _MAX_LOSSES:
            raise ConnectionError(
                f"the cluster is gone: {self._client} has lost its scheduler, or repeatedly all "
                f"workers, while tasks {claim.start} to {claim.stop - 1} ran"
            ) from error
        else:
            self._send_function()
            self._submit(claim._replace(n_losses=claim.n_losses + 1))
        return None

    def _was_begun(self, claim: Claim) -> bool:
        ask = self._client.scheduler.event_is_set
        return bool(self._client.sync(ask, name=self._job.mark(claim.start)))


def _opened(runs: Runs) -> Runs:
    """Return runs whose results, where they were pickled one by one, are unpickled."""
    try:
        return [(start, opened(start, values)) for start, values in runs]
    except UnpackingError as error:
        text = f"The result of task {error.index} cannot be unpickled in the coordinator."
        raise WorkerException(error.reason, text) from error.reason


def _killed(claim: Claim, error: Any) -> DeadWorkerError:
    return DeadWorkerError(
        f"Task {claim.start} (item: {item_text(claim.items, 0)}) was run "
        f"{error.allowed_failures + 1} times, and each time its worker died, the last one at "
        f"{error.last_worker.address}. Its log tells more; it may have run out of memory",
        None,
    )
