"""One call on a cluster: submit claims of tasks, and wait for their results."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import queue
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple, Self

from sharedmem.cluster.dask_arrays import regions_of
from sharedmem.cluster.job import Job, TaskError
from sharedmem.cluster.pickling import INLINE_BYTES, Package, pack
from sharedmem.cluster.sections import ReduceSync, overdue, remove_lock
from sharedmem.cluster.worker import forget, run_claim
from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.workers.batches import Pickled
from sharedmem.workers.claims import Pace
from sharedmem.workers.deadlines import is_over, remaining
from sharedmem.workers.failures import exception_of
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.task_loop import item_text

# Each claim costs the coordinator, the scheduler, and a worker some milliseconds together.
CLAIM_SECONDS = 0.3
# A claim takes about this long to travel to a worker and back.
LEAST_SECONDS = 0.01
# Number of times that a claim is sent again if its function or items were lost with a worker.
_MAX_LOSSES = 3

# Unfinished cleaning of calls that have ended, by client.
_CLEANING_SECONDS = 5.0
_cleanings: weakref.WeakKeyDictionary[Any, set[Future[None]]] = weakref.WeakKeyDictionary()

Runs = list[tuple[int, list[Any]]]


def await_cleaning(client: Any) -> None:
    """Wait until the scheduler has nothing left of a client's ended calls, before it is closed."""
    for cleaning in list(_cleanings.get(client, ())):
        with contextlib.suppress(Exception, CancelledError):
            cleaning.result(_CLEANING_SECONDS)


class Members(NamedTuple):
    """The workers of a cluster.

    Attributes
    ----------
    ranks : dict
        Rank of the first thread of each worker, by the worker's name.
    n_workers : int
        Number of threads of all workers.
    attaches : bool
        Whether all of them can attach shared memory of this process.
    """

    ranks: dict[Any, int]
    n_workers: int
    attaches: bool

    def joined(self, name: Any, n_threads: int, attaches: bool) -> Members:
        """Return the members with one more, unless it is among them."""
        if name in self.ranks:
            return self
        ranks = {**self.ranks, name: self.n_workers}
        return Members(ranks, self.n_workers + n_threads, self.attaches and attaches)


class _Claim(NamedTuple):
    """Tasks that are sent to the cluster together."""

    start: int
    items: Sequence[Any]
    n_losses: int = 0
    is_suspect: bool = False

    @property
    def stop(self) -> int:
        return self.start + len(self.items)


class _Turns:
    """The turns of claims: each comes when all tasks before it are done.

    A worker itself gives the next claim its turn when the last task of a claim leaves its ordered
    block. Here it is given because claims have ended, whose tasks may have entered no such block.

    Attributes
    ----------
    given : set of int
        Turns whose events may be set.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}
        self._front = 0  # all tasks before it are done
        self.given: set[int] = set()

    def begin(self, claim: _Claim) -> None:
        """Note that a worker may give the tasks after a claim their turn."""
        self.given.add(claim.stop)

    def end(self, claim: _Claim) -> list[tuple[str, int]]:
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
    client : distributed.Client
        Client of the cluster.
    admit : callable
        Returns the given members, and the other ones of the cluster.
    retries : int
        Number of times that Dask runs a claim again that has raised.
    pool_call : PoolCall
        The call.
    func : callable
        The function of the tasks.
    """

    def __init__(
        self,
        client: Any,
        admit: Callable[[Members], Members],
        retries: int,
        pool_call: PoolCall,
        func: Callable[[Any], Any],
    ) -> None:
        self._client, self._retries = client, retries
        self._pool_call, self._func = pool_call, func
        self._admit = admit
        self._members = admit(Members({}, 0, True))
        self._key = secrets.token_hex(8)
        self._name = getattr(func, "__name__", type(func).__name__)
        self._numbers = itertools.count()
        self._claims: dict[Any, tuple[_Claim, Any]] = {}
        self._answers: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        self._reads_dask = False
        self._turns = _Turns()
        self._marks: list[str] = []
        self._telling = asyncio.Lock()
        self._send_function()
        n_workers = self._members.n_workers
        # Without a pool tasks wait for no others, so that claims may be queued behind them.
        self.window = n_workers if self._has_pool else 2 * n_workers
        self.sync = ReduceSync(client, self._job.lock, pool_call.timeout)

    def _send_function(self) -> None:
        ranks, n_workers, attaches = self._members
        pool_call = self._pool_call
        self._job = Job(self._key, pool_call.call, pool_call.contexts, ranks, n_workers)
        try:
            function, self._has_pool = pack((self._func, pool_call.initializer), attaches)
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
        self.sync.has_ended = True
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
        unfinished = _cleanings.setdefault(self._client, set())
        unfinished.add(cleaning)
        cleaning.add_done_callback(unfinished.discard)

    async def _clean_up(self, events: Sequence[str]) -> None:
        with contextlib.suppress(Exception, CancelledError):
            await self._client.run(forget, self._key, on_error="ignore")
            for name in events:
                await self._tell("event_clear", name)
            if self._has_pool:
                await remove_lock(self._client.scheduler, self._job.lock)

    def results(
        self,
        take: Callable[[int], Sequence[Any]],
        n_left: Callable[[], int],
        chunksize: int | None,
        deadline: Callable[[], float | None],
    ) -> Iterator[tuple[int, int, Runs]]:
        """Run tasks.

        Parameters
        ----------
        take : callable
            ``take(n)`` returns the next items, at most n; none if there are none at present.
        n_left : callable
            Returns an upper bound on the number of items left.
        chunksize : int or None
            Tasks per claim; None lets it grow.
        deadline : callable
            Returns the deadline for the next results.

        Yields
        ------
        start, n_tasks : int
            A claim that is done.
        runs : list of (int, list)
            Numbers of tasks, each with the results of that task and of the following ones.
        """
        pace, length = Pace(self._members.n_workers), chunksize or 1
        next_task, n_stopped = 0, 0
        while True:
            while len(self._claims) < self.window and n_stopped < self._members.n_workers:
                items = take(length)
                if not items:
                    break
                self._submit(_Claim(next_task, items))
                next_task += len(items)
            if not self._claims:
                return
            claim, outcome = self._receive(deadline())
            n_stopped += outcome.has_stopped
            if chunksize is None and not self._reads_dask:  # of which the worker holds one chunk
                n_tasks = len(claim.items)
                length = pace.next_length(
                    n_tasks, outcome.seconds, n_left(), CLAIM_SECONDS, LEAST_SECONDS
                )
            yield claim.start, len(claim.items), self._opened(outcome.runs)

    def _submit(self, claim: _Claim) -> None:
        self._turns.begin(claim)
        if claim.is_suspect:
            self._marks.append(self._job.mark(claim.start))
        key = (f"{self._name}-{self._key}", next(self._numbers))
        items = self._placed(pack(claim.items, self._members.attaches)[0], broadcast=False)
        regions = regions_of(self._func, claim.items)
        self._reads_dask = bool(regions)
        future = self._client.submit(
            run_claim,
            self._packed_job,
            self._function,
            items,
            claim.start,
            claim.is_suspect,
            Package(pickle.dumps(list(regions))),
            *(self._client.compute(list(regions.values())) if regions else ()),
            key=key,
            pure=False,
            retries=self._retries,
            fifo_timeout=0,
        )
        self._claims[key] = claim, future
        self._client.loop.add_callback(self._deliver, key, future)

    async def _deliver(self, key: Any, future: Any) -> None:
        try:
            answer = await self._client.gather(future)
        except BaseException as error:
            answer = error
        self._answers.put((key, answer))

    def _receive(self, deadline: float | None) -> tuple[_Claim, Any]:
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
            if isinstance(answer, Package):
                if self._has_pool:
                    for operation, index in self._turns.end(claim):
                        self._client.loop.add_callback(self._tell, operation, self._job.turn(index))
                return claim, answer.unpack()
            if answer is None:  # from a worker that has joined since the call began
                self._members = self._admit(self._members)
                self._send_function()
                self._submit(claim)
            else:
                self._recover(claim, answer)

    async def _tell(self, operation: str, name: str) -> None:
        """Call the scheduler after all earlier calls: its connections may overtake each other."""
        async with self._telling:
            await getattr(self._client.scheduler, operation)(name=name)

    def _recover(self, claim: _Claim, error: BaseException) -> None:
        """Submit a claim again, perhaps in parts, or raise its error."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, TaskError):
            raise exception_of(pickle.loads(error.args[1])) from None
        if isinstance(error, KilledWorker):
            # Dask blames all tasks of the worker, also those that it had not begun.
            is_last = claim.n_losses == _MAX_LOSSES
            if claim.is_suspect and (is_last or self._was_begun(claim)):
                raise WorkerException(_killed(claim, error)) from error
            for at in range(len(claim.items)):
                one = claim.items[at : at + 1]
                self._submit(_Claim(claim.start + at, one, claim.n_losses + 1, is_suspect=True))
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

    def _was_begun(self, claim: _Claim) -> bool:
        ask = self._client.scheduler.event_is_set
        return bool(self._client.sync(ask, name=self._job.mark(claim.start)))

    def _opened(self, runs: Runs) -> Runs:
        """Return runs whose results, where they were pickled one by one, are unpickled."""
        return [
            (start, [_opened(start + at, value) for at, value in enumerate(values)])
            for start, values in runs
        ]


def _opened(index: int, value: Any) -> Any:
    if type(value) is not Pickled:
        return value
    try:
        return pickle.loads(value.stream)
    except Exception as error:
        error.add_note(f"The result of task {index} cannot be unpickled.")
        raise WorkerException(error) from error


def _killed(claim: _Claim, error: Any) -> DeadWorkerError:
    return DeadWorkerError(
        f"Task {claim.start} (item: {item_text(claim.items, 0)}) was run "
        f"{error.allowed_failures + 1} times, and each time its worker died, the last one at "
        f"{error.last_worker.address}. Its log tells more; it may have run out of memory",
        None,
    )
