"""What a worker of a Dask cluster does: runs the tasks of a claim, and takes turns."""

from __future__ import annotations

import collections
import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from threading import BrokenBarrierError
from typing import Any, NamedTuple

from sharedmem.cluster.dask_arrays import blocks_at_hand
from sharedmem.cluster.pickling import Package, Reference, can_attach, pack_results, pickled
from sharedmem.cluster.sections import PATIENCE_SECONDS, ClusterLock
from sharedmem.machine.fork_locks import new_lock
from sharedmem.workers.batches import Pickled, snapshot
from sharedmem.workers.failures import describe_failure, portable
from sharedmem.workers.process import thread_as_worker
from sharedmem.workers.sections import TeamSync, WorkerSync
from sharedmem.workers.task_context import Call, Context, Contexts, in_claim
from sharedmem.workers.task_loop import run_claims

# One who has waited so long for a turn makes room for those who may be before it.
_SLOT_SECONDS = 10.0

_READ_ONLY = re.compile("read-?only|WRITEABLE")
_WAY_OUT = (
    "Arrays that come with a function or an item to the worker of a cluster are copies, and what "
    "is written to them is lost: so they are read-only. Return the result, write to an array of "
    "zarr or to an .npy file (numpy.memmap) on storage that all machines see, or copy the array "
    "first, if only this task needs it. Shared arrays can be written to by workers on their own "
    "machine, of the same user."
)


class Job(NamedTuple):
    """One call, as the workers of a cluster need to know it.

    Attributes
    ----------
    key : str
        Names the call.
    call : Call
        What its random numbers derive from.
    contexts : Contexts
        Those of the pool.
    ranks : dict
        The rank of the first thread of each worker, by the worker's name.
    n_workers : int
        How many threads they have.
    """

    key: str
    call: Call
    contexts: Contexts
    ranks: dict[Any, int]
    n_workers: int

    def turn(self, index: int) -> str:
        """Name the event that all tasks before `index` have passed their ordered block."""
        return f"sharedmem-{self.key}-{index}"

    def mark(self, index: int) -> str:
        """Name the event that task `index` has been begun, and not ended."""
        return f"sharedmem-{self.key}-begun-{index}"

    @property
    def lock(self) -> str:
        """Name the lock of `critical`."""
        return f"sharedmem-{self.key}"


class Outcome(NamedTuple):
    """What came of a claim.

    Attributes
    ----------
    runs : list of (int, list)
        Numbers of tasks, and the results of these and the following ones.
    seconds : float
        How long that took.
    has_stopped : bool
        Whether a task has asked for the end of its worker.
    """

    runs: list[tuple[int, list[Any]]]
    seconds: float
    has_stopped: bool


class TaskError(Exception):
    """A task has failed; the arguments are the text for Dask's log, and the pickled failure."""

    def __repr__(self) -> str:
        return str(self.args[0])


class CallEndedError(Exception):
    """Nobody waits for this claim any more."""


def introduce(reference: Reference, dask_worker: Any) -> tuple[Any, int, bool]:
    """Return a worker's name, how many threads it has, and whether it sees shared memory."""
    return dask_worker.name, dask_worker.state.nthreads, can_attach(reference)


class _Here:
    """The task of Dask that this thread runs."""

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
        """Give the slot away, if tasks wait for one: what this one waits for may be among them."""
        from distributed import secede

        if self.has_slot and (len(self.worker.state.ready) or waited > _SLOT_SECONDS):
            self.has_slot = False
            secede()


class ClaimSync(WorkerSync):
    """The part of a claim in its call: turns and sections are granted by the scheduler."""

    def __init__(self, here: _Here, job: Job, start: int, stop: int) -> None:
        super().__init__(TeamSync(1, processes=False), 0)
        self._here, self._job = here, job
        self._lock = ClusterLock(
            here.ask, job.lock, here.worker.id, here.check, lambda: job.key in _ended
        )
        self._start, self._stop = start, stop
        self._has_turn = start == 0

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
        """Let the next task have its turn."""
        super().leave_turn()
        if self.index == self._stop - 1:
            turn = self._job.turn(self._stop)
            self._here.ask("event_set", name=turn)
            if self._job.key in _ended:  # the coordinator may have cleared it before
                self._here.ask("event_clear", name=turn)

    def _acquire_critical(self) -> None:
        self._lock.acquire()

    def leave_critical(self) -> None:
        """Let another worker in."""
        self._critical_owner = None
        self._lock.release()

    def barrier(self) -> None:
        """Refuse: nothing makes the tasks of a cluster run at the same time."""
        raise BrokenBarrierError(
            "pool.barrier() waits for all workers, but a cluster runs tasks when it has room: those"
            " that wait could keep out the others for ever. Make two calls of map out of one"
        )


class _Results:
    """Takes the results of a claim, as the port of a worker does; those in buffers are pickled."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, list[Any]]] = []
        self.pending: list[Any] = []
        self._first = 0

    def start(self, index: int) -> None:
        """Say that the next result is that of task `index`."""
        self._first = index

    def add(self, result: object) -> None:
        """Take any result."""
        taken = snapshot(result)
        value = Pickled(pickled(result)) if taken is None else taken[0]
        self.pending.append(value)

    def flush(self) -> None:
        """End a run of results."""
        if self.pending:
            self.runs.append((self._first, self.pending.copy()))
            self.pending.clear()

    def stopped(self) -> bool:
        """Say that results are wanted."""
        return False


class _Items:
    """The items of a claim, as long as the call is wanted."""

    def __init__(self, items: Sequence[Any], start: int, here: _Here) -> None:
        self._items, self._start, self._check = items, start, here.check

    def __getitem__(self, index: int) -> Any:
        self._check()
        return self._items[index - self._start]


class _Station:
    """What one process of the cluster has of a call: its function, and a context a thread."""

    def __init__(self, job: Job, function: Package) -> None:
        self._job = job
        self._lock = new_lock()
        self._free: dict[int, Context] = {}
        self._n_contexts = 0
        job.contexts.start_from(job.call.number + 1)
        self.func, self._initializer = function.unpack()

    @contextlib.contextmanager
    def context(self, here: _Here, part: ClaimSync) -> Iterator[None]:
        """Act in a context of this call; who waits for a turn has one, though perhaps no slot."""
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

    def _new_context(self, here: _Here, part: ClaimSync, slot: int) -> Context:
        context = self._job.call.context(part)
        rank = self._job.ranks[here.worker.name] + slot
        n_threads = here.worker.state.nthreads
        context.local.rank = rank if slot < n_threads else rank - n_threads + self._job.n_workers
        return context


# By the call, and by the worker, of which one process may have several.
_stations: dict[tuple[str, str], _Station] = {}
_opening = new_lock()
# Calls are forgotten when they end, unless their coordinator has died.
_MAX_STATIONS = 64
# Calls that have ended: to be told of that may take longer for claims that begin.
_ended: collections.deque[str] = collections.deque(maxlen=_MAX_STATIONS)


def _station(job: Job, function: Package, address: str) -> _Station:
    with _opening:
        if job.key in _ended:
            raise CallEndedError
        station = _stations.get((job.key, address))
        if station is None:
            station = _stations[job.key, address] = _Station(job, function)
            if len(_stations) > _MAX_STATIONS:
                del _stations[next(iter(_stations))]
    return station


def forget(key: str) -> None:
    """Drop what this process has of a call that has ended."""
    with _opening:
        _ended.append(key)
        for known in [known for known in _stations if known[0] == key]:
            del _stations[known]


@in_claim()
def run_claim(
    job: Package,
    function: Package,
    items: Package,
    start: int,
    is_suspect: bool,
    places: Package,
    *blocks: Any,
) -> Package | None:
    """Run the tasks of a claim, from number `start` on.

    Parameters
    ----------
    job, function, items : Package
        The :class:`Job`, the function with the initializer of the pool, and the items.
    start : int
        The number of the first task.
    is_suspect : bool
        Whether the claim, of one task, may end its worker: then the scheduler knows where it is.
    places, *blocks
        The regions of Dask's arrays that the tasks read.

    Returns
    -------
    Package or None
        An :class:`Outcome`; None if the call does not know of this worker yet.

    Raises
    ------
    TaskError
        If a task has failed.
    """
    here, known = _Here(), job.unpack()
    if here.worker.name not in known.ranks:
        return None
    part = ClaimSync(here, known, start, start)
    results = _Results()
    try:
        station = _station(known, function, here.worker.address)
        values = items.unpack()
        part = ClaimSync(here, known, start, start + len(values))
        began = time.perf_counter()
        with (
            station.context(here, part),
            _marked(here, known.mark(start), is_suspect),
            blocks_at_hand(dict(zip(places.unpack(), blocks, strict=True))),
        ):
            claim = start, start + len(values)
            sequence = _Items(values, start, here)
            has_stopped = run_claims(station.func, sequence, iter([claim]), part, results)
        seconds = time.perf_counter() - began
        return pack_results(Outcome(results.runs, seconds, has_stopped))
    except CallEndedError:
        raise
    except BaseException as error:
        task_error = _task_error(error, part.index, here)
    raise task_error  # out of the block: Dask would pickle the task's exception as its context


@contextlib.contextmanager
def _marked(here: _Here, name: str, is_suspect: bool) -> Iterator[None]:
    if is_suspect:
        here.ask("event_set", name=name)
    try:
        yield
    finally:
        if is_suspect:
            here.ask("event_clear", name=name)


def _task_error(error: BaseException, index: int, here: _Here) -> TaskError:
    if isinstance(error, ValueError | TypeError) and _READ_ONLY.search(str(error)):
        error.add_note(_WAY_OUT)
    what = f"Task {index}" if index >= 0 else "The function or the initializer"
    where = f"{what} in worker {here.worker.name} at {here.worker.address}"
    failure = describe_failure(error, where)
    return TaskError(failure.traceback, pickled(portable(failure, pickled)))
