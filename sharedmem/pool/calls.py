"""One call of the pool: a team is started, its results are collected, it ends."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

from sharedmem.machine import blas, foreign_libraries
from sharedmem.machine.signals import signals_held
from sharedmem.memory import open_files
from sharedmem.pool.trace import Trace
from sharedmem.workers.channel import INLINE_BYTES, Kind, Message
from sharedmem.workers.claims import Cursor, claims
from sharedmem.workers.protocols import Backend, OverdueError, Port, Team, is_over
from sharedmem.workers.recorder import Recorder
from sharedmem.workers.sections import CoordinatorSync, TeamSync, WorkerSync
from sharedmem.workers.task_loop import item_text, run_claims, run_fed, run_to_the_end

MISSING = object()
"""Stands in the list of results for a task that gave none."""


class Setting(NamedTuple):
    """What all calls of a pool have in common.

    Attributes
    ----------
    backend : Backend
        Makes the team.
    n_workers : int
        How many workers to start.
    blas_threads : int or None
        Threads of BLAS and OpenMP libraries in each worker.
    enter : callable
        Called in each worker with its part in the team, before its first task.
    conduct : callable
        Called in the coordinator with its part in the team; gives the block that it acts in.
    consume : callable
        Called in the coordinator with the part of who takes the results of `imap`; gives the block
        in which the workers keep him out of `critical`.
    timeout : float or None
        Seconds that the call may take.
    trace : Trace or None
        Where to note what the workers do.
    """

    backend: Backend
    n_workers: int
    blas_threads: int | None
    enter: Callable[[WorkerSync], None]
    conduct: Callable[[WorkerSync], contextlib.AbstractContextManager[None]]
    consume: Callable[[WorkerSync], contextlib.AbstractContextManager[None]]
    timeout: float | None
    trace: Trace | None


@contextlib.contextmanager
def _team(
    setting: Setting,
    run: Callable[[WorkerSync, Port], None],
    item: Callable[[int], str],
    *,
    fed: bool,
) -> Iterator[tuple[Team, TeamSync]]:
    """Start a team whose workers call `run`, and leave nothing of it behind.

    It has to be entered while signals are held: an interrupt would lose what is half made.
    """
    in_processes, blas_threads = setting.backend.uses_processes, setting.blas_threads
    limit_of_workers = None
    if in_processes and blas_threads is not None and blas.can_limit_after_fork():
        limit_of_workers, blas_threads = blas_threads, None
    with contextlib.ExitStack() as limit, contextlib.ExitStack() as stack:
        limit.enter_context(blas.limited(blas_threads))
        sync = TeamSync(setting.n_workers, processes=in_processes, fed=fed)
        stack.callback(_close, sync)
        team = setting.backend.team(
            setting.n_workers,
            partial(_work, setting, sync, run, limit_of_workers),
            partial(_whereabouts, sync, item),
            fed=fed,
        )
        stack.push(partial(_end, team))
        if in_processes and fed:
            # Between results the coordinator is the consumer's, who may use BLAS.
            limit.close()
        yield team, sync
        if setting.trace is not None:
            setting.trace.finish()


def _close(resource: TeamSync | Cursor) -> None:
    # An interrupt in a finalizer of Python's would lose the descriptor that it is to close.
    with signals_held():
        resource.close()


def _end(team: Team, kind: type[BaseException] | None, *_: object) -> None:
    impatient = kind is not None and issubclass(kind, (TimeoutError, KeyboardInterrupt))
    team.end(patient=not impatient)


def _work(
    setting: Setting,
    sync: TeamSync,
    run: Callable[[WorkerSync, Port], None],
    blas_threads: int | None,
    rank: int,
    port: Port,
) -> None:
    part: WorkerSync
    if setting.trace is None:
        part, events = WorkerSync(sync, rank), None
    else:
        part = Recorder(sync, rank, lambda: port.sent_bytes)
        events = part.events

    def prepared() -> None:
        if blas_threads is not None:
            blas.limit(blas_threads)
        if setting.backend.uses_processes and setting.blas_threads is not None:
            foreign_libraries.limit_loops(setting.blas_threads)
        setting.enter(part)
        try:
            run(part, port)
        finally:
            if setting.backend.uses_processes:
                open_files.flush()

    run_to_the_end(prepared, part, port, lambda: events)


def _whereabouts(sync: TeamSync, item: Callable[[int], str], rank: int) -> str:
    index = sync.index(rank)
    if index < 0:
        return "before its first task."
    if sync.is_idle(rank):
        return f"while it waited for tasks after task {index}."
    if sync.has_left(rank):
        return f"after its last task, {index}."
    return f"while it ran task {index} (item: {item(index)})."


def _alone(setting: Setting, func: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `func` so that what a task in a thread makes of context variables is its own."""
    if setting.backend.uses_processes:
        return func
    return lambda item: copy_context().run(func, item)


def run_map(
    setting: Setting,
    func: Callable[[Any], Any],
    sequence: Any,
    chunksize: int | None,
    collect: Callable[[int, list[Any]], None],
    leave: Callable[[int], None],
) -> None:
    """Run `func` on the items of `sequence`; `collect` gets the results of runs of tasks.

    Each worker calls `leave` with its rank when it has done its tasks.

    Raises
    ------
    WorkerException
        If a task raises, or a worker dies.
    TimeoutError
        If the call takes longer than the setting allows.
    """
    n_tasks = len(sequence)
    n_workers = setting.n_workers
    deadline = None if setting.timeout is None else time.monotonic() + setting.timeout

    func = _alone(setting, func)

    def run(part: WorkerSync, port: Port) -> None:
        claimed = claims(cursor, part.rank, n_workers, n_tasks, chunksize, part.turns_waited)
        run_claims(func, sequence, claimed, part, port)
        leave(part.rank)

    def watch() -> None:
        team.watch()
        if is_over(deadline):
            raise _overdue(setting.timeout)

    if setting.backend.uses_processes:
        open_files.flush_output()
    with contextlib.ExitStack() as stack:
        with signals_held():
            cursor = setting.backend.cursor(n_workers * (chunksize or 1))
            stack.callback(_close, cursor)
            team, sync = stack.enter_context(
                _team(setting, run, lambda index: item_text(sequence, index), fed=False)
            )
            stack.enter_context(setting.conduct(CoordinatorSync(sync, watch)))
        while messages := _receive(team, deadline, setting.timeout):
            for rank, message in messages:
                if is_over(deadline):
                    raise _overdue(setting.timeout)
                if message.kind == Kind.RESULTS:
                    collect(message.task, message.value)
                    team.acknowledge(rank, message)
                elif setting.trace is not None:
                    setting.trace.events[rank] = message.value


def _receive(
    team: Team, deadline: float | None, timeout: float | None
) -> list[tuple[int, Message]]:
    try:
        return team.receive(deadline)
    except OverdueError:
        raise _overdue(timeout) from None


def _overdue(timeout: float | None) -> TimeoutError:
    return TimeoutError(
        f"the call took longer than timeout={timeout or 0:g} seconds; its workers were told to end"
    )


class _Feed:
    """Hands the items of an iterable to the workers, a few batches ahead of their results.

    Attributes
    ----------
    n_items : int
        How many items have been handed out.
    """

    # One batch to work on and one to go on with.
    _BATCHES_AHEAD = 2
    # Sending a batch costs about 50 us, 0.2 us an item then.
    _LARGEST_BATCH = 256
    _BATCH_SECONDS = 0.0005

    def __init__(
        self, team: Team, sync: TeamSync, items: Iterable[Any], chunksize: int | None
    ) -> None:
        self._team = team
        self._sync = sync
        self._items = iter(items)
        self._grows = chunksize is None
        self._size = chunksize or 1
        self._batches: list[deque[tuple[int, int, float]]] = [deque() for _ in range(team.size)]
        self._present = set(range(team.size))
        self._n_batches = 0
        self.n_items = 0
        self.is_exhausted = False

    def refill(self, n_taken: int) -> None:
        """Hand out items while a worker has room and the consumer, at `n_taken`, is near."""
        while self._n_batches < self._BATCHES_AHEAD * len(self._present) and not self.is_exhausted:
            rank = min(self._present, key=lambda rank: len(self._batches[rank]))
            bound = 2 * self._BATCHES_AHEAD * self._team.size * self._size
            if self.n_items - n_taken >= bound:
                return
            batch = self._team.take(self.n_items, self._items, self._size)
            length = len(batch)
            if length == 0:
                self.is_exhausted = True
                for other in self._present:
                    self._team.dismiss(other)
                return
            self._batches[rank].append((self.n_items, length, time.perf_counter()))
            self._n_batches += 1
            self._sync.given[rank] = self.n_items
            n_bytes = self._team.send(rank, self.n_items, batch)
            self.n_items += length
            if self._grows and n_bytes > INLINE_BYTES:
                self._size = max(1, self._size // 2)

    def settle(self, rank: int, n_results: int) -> None:
        """Note that results have come from a worker."""
        start, length, sent = self._batches[rank].popleft()
        if n_results < length:
            self._batches[rank].appendleft((start + n_results, length - n_results, sent))
            return
        self._n_batches -= 1
        if self._grows:
            elapsed = (time.perf_counter() - sent) / self._BATCHES_AHEAD
            if elapsed < self._BATCH_SECONDS:
                self._size = min(2 * self._size, self._LARGEST_BATCH)
            elif elapsed > 4 * self._BATCH_SECONDS:
                self._size = max(1, self._size // 2)

    def lose(self, rank: int) -> dict[int, list[Any]]:
        """Note that a worker has stopped; return what stands for the results that it owes."""
        self._present.discard(rank)
        self._n_batches -= len(self._batches[rank])
        return {start: [MISSING] * length for start, length, _ in self._batches[rank]}


def run_imap(
    setting: Setting,
    func: Callable[[Any], Any],
    items: Iterable[Any],
    chunksize: int | None,
    *,
    in_order: bool,
) -> Iterator[Any]:
    """Yield the results of `func` on `items`, with a bounded number of both in memory.

    Raises
    ------
    WorkerException
        If a task raises, or a worker dies.
    TimeoutError
        If a result takes longer than the setting allows.
    """
    n_taken = 0
    # Runs of results that have come, by the number of their first task.
    waiting: dict[int, list[Any]] = {}

    func = _alone(setting, func)

    def run(part: WorkerSync, port: Port) -> None:
        run_fed(func, part, port)

    if setting.backend.uses_processes:
        open_files.flush_output()
    with contextlib.ExitStack() as stack:
        with signals_held():
            team, sync = stack.enter_context(_team(setting, run, lambda _: "from imap", fed=True))
            consumer = CoordinatorSync(sync, team.watch)
            stack.enter_context(setting.consume(consumer))
        feed = _Feed(team, sync, items, chunksize)
        while True:
            feed.refill(n_taken)
            start = n_taken if in_order else next(iter(waiting), None)
            if start in waiting:
                results = waiting.pop(start)
                n_taken += len(results)
                for result in results:
                    if result is not MISSING:
                        yield result
                        consumer.check_outside()
                continue
            deadline = None if setting.timeout is None else time.monotonic() + setting.timeout
            messages = _receive(team, deadline, setting.timeout)
            if not messages:
                return
            for rank, message in messages:
                if message.kind == Kind.RESULTS:
                    feed.settle(rank, len(message.value))
                    waiting[message.task] = message.value
                    team.acknowledge(rank, message)
                else:
                    waiting.update(feed.lose(rank))
                    if setting.trace is not None:
                        setting.trace.events[rank] = message.value
