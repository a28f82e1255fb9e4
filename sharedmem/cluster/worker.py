"""Run the tasks of a claim in a worker of a Dask cluster."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

from sharedmem.arrays.shared_array import SharedArray
from sharedmem.cluster.dask_arrays import blocks_at_hand
from sharedmem.cluster.job import CallEndedError, Claim, Job, Outcome, Runs, TaskError, ended
from sharedmem.cluster.pickling import Package, pack_results, pickled
from sharedmem.cluster.sections import ClaimSync, Here
from sharedmem.machine.fork_locks import new_lock
from sharedmem.workers.attempts import tolerant
from sharedmem.workers.batches import Pickled, Results, snapshot
from sharedmem.workers.failures import Failure, describe_failure, portable
from sharedmem.workers.process import thread_as_worker
from sharedmem.workers.task_context import Context, in_claim
from sharedmem.workers.task_loop import run_claims

_READ_ONLY = re.compile("read-?only|WRITEABLE")
_WAY_OUT = (
    "Arrays that are sent to a worker of a cluster with a function or an item are copies, and are "
    "read-only, since writes to them would be lost. Return the result, write to an array of zarr "
    "or to an .npy file (numpy.memmap) on storage that all machines see, or copy the array first "
    "if only this task needs it. Workers on the same machine, of the same user, can write to "
    "shared arrays."
)


def introduce(sample: Package, dask_worker: Any) -> tuple[Any, int, bool]:
    """Return the worker's name, its number of threads, and whether it can attach a sample."""
    attaches = isinstance(sample.unpack(), SharedArray)
    return dask_worker.name, dask_worker.state.nthreads, attaches


class _Results(Results):
    """A collector of the results of a claim; buffers are pickled immediately."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: Runs = []

    def add(self, result: object) -> None:
        """Add a result of any type."""
        taken = snapshot(result)
        value = Pickled(pickled(result)) if taken is None else taken.kept
        self.pending.append(value)

    def portable(self, failure: Failure) -> Failure:
        """Return a failure in the form in which it can be sent."""
        return portable(failure, pickled)

    def _send_run(self, first: int) -> None:
        self.runs.append((first, self.pending.copy()))


class _Items:
    """The items of a claim; taking one raises if the call is no longer wanted."""

    def __init__(self, claim: Claim, here: Here) -> None:
        self._claim, self._check = claim, here.check

    def __getitem__(self, index: int) -> Any:
        self._check()
        return self._claim.items[index - self._claim.start]


class _Station:
    """The function of a call in one process of the cluster, and a context per thread."""

    def __init__(self, job: Job, function: Package) -> None:
        self._job = job
        self._lock = new_lock()
        self._free: dict[int, Context] = {}
        self._n_contexts = 0
        job.contexts.start_from(job.call.number + 1)
        self.func, self._initializer = function.unpack()

    @contextlib.contextmanager
    def context(self, here: Here, part: ClaimSync) -> Iterator[None]:
        """Act in a context of this call, of which each task that runs or waits has one."""
        with self._lock:
            is_new = not self._free
            slot = self._n_contexts if is_new else min(self._free)
            self._n_contexts += is_new
            context = self._free.pop(slot, None) or self._new_context(here, part, slot)
        context.sync = part
        try:
            with thread_as_worker(), self._job.contexts.acting(context):
                if is_new and self._initializer is not None:
                    self._initializer()
                yield
        finally:
            with self._lock:
                self._free[slot] = context

    def _new_context(self, here: Here, part: ClaimSync, slot: int) -> Context:
        context = Context(part, self._job.call)
        ranks, n_workers, _ = self._job.members
        rank = ranks[here.worker.name] + slot
        n_threads = here.worker.state.nthreads
        context.local.rank = rank if slot < n_threads else rank - n_threads + n_workers
        return context


# By the call and by the worker, since one process may have several workers.
_stations: dict[tuple[str, str], _Station] = {}
_opening = new_lock()
# A call is forgotten when it ends, unless its coordinator has died.
_MAX_STATIONS = 64


def _station(job: Job, function: Package, address: str) -> _Station:
    with _opening:
        if job.key in ended:  # but this claim begins only now
            raise CallEndedError
        station = _stations.get((job.key, address))
        if station is None:
            station = _stations[job.key, address] = _Station(job, function)
            if len(_stations) > _MAX_STATIONS:
                del _stations[next(iter(_stations))]
    return station


def forget(key: str) -> None:
    """Forget a call that has ended."""
    with _opening:
        ended.append(key)
        for known in [known for known in _stations if known[0] == key]:
            del _stations[known]


@in_claim()
def run_claim(job: Package, function: Package, tasks: Package, *blocks: Any) -> Package | None:
    """Run the tasks of a claim.

    Parameters
    ----------
    job, function, tasks : Package
        The :class:`Job`; the function with the initializer of the pool; the :class:`Claim` with
        the regions of dask arrays that its tasks read.
    *blocks
        The contents of these regions.

    Returns
    -------
    Package or None
        An :class:`Outcome`; None if the call does not know this worker yet.

    Raises
    ------
    TaskError
        If a task has failed.
    """
    here, known = Here(), job.unpack()
    if here.worker.name not in known.members.ranks:
        return None
    part: ClaimSync | None = None
    results = _Results()
    try:
        station = _station(known, function, here.worker.address)
        claim, places = tasks.unpack()
        part = ClaimSync(here, known, claim)
        began = time.perf_counter()
        with (
            station.context(here, part),
            _marked(here, known.mark(claim.start), claim.is_suspect),
            blocks_at_hand(dict(zip(places, blocks, strict=True))),
        ):
            items, bounds = _Items(claim, here), (claim.start, claim.stop)
            func = tolerant(station.func, known.tolerance, part, results.portable)
            has_stopped = run_claims(func, items, iter([bounds]), part, results)
        seconds = time.perf_counter() - began
        return pack_results(Outcome(results.runs, seconds, has_stopped))
    except CallEndedError:
        raise
    except BaseException as error:
        task_error = _task_error(error, -1 if part is None else part.index, here)
    raise task_error  # out of the block: Dask would pickle the task's exception as its context


@contextlib.contextmanager
def _marked(here: Here, name: str, is_suspect: bool) -> Iterator[None]:
    if is_suspect:
        here.ask("event_set", name=name)
    try:
        yield
    finally:
        if is_suspect:
            here.ask("event_clear", name=name)


def _task_error(error: BaseException, index: int, here: Here) -> TaskError:
    if isinstance(error, ValueError | TypeError) and _READ_ONLY.search(str(error)):
        error.add_note(_WAY_OUT)
    what = f"Task {index}" if index >= 0 else "The function or the initializer"
    where = f"{what} in worker {here.worker.name} at {here.worker.address}"
    failure = describe_failure(error, where)
    return TaskError(failure.traceback, pickled(portable(failure, pickled)))
