"""Calls that go on when tasks fail and workers die: failures are results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from sharedmem.errors import DeadWorkerError
from sharedmem.machine import blas
from sharedmem.machine.signals import signals_held
from sharedmem.pool.calls import job_of, overdue, team_for
from sharedmem.pool.feed import MISSING
from sharedmem.pool.standing_teams import Lease
from sharedmem.pool.tolerant_feed import Piece, TolerantFeed
from sharedmem.workers.batches import Batch
from sharedmem.workers.channel import Kind, Message
from sharedmem.workers.deadlines import OverdueError, is_over
from sharedmem.workers.failures import Failure, exception_of
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.protocols import Collect, PoolCall
from sharedmem.workers.sections import CoordinatorSync
from sharedmem.workers.task_loop import item_text
from sharedmem.workers.team_sync import CACHE_LINE, TeamSync, Word
from sharedmem.workers.thread_team import ThreadTeam
from sharedmem.workers.tracebacks import our_calls_hidden

if TYPE_CHECKING:
    from sharedmem.pool.backends import TeamBackend

_Runs: TypeAlias = list[tuple[int, list[Any]]]
# Longer ones would not fit into an integer of nanoseconds.
_LONGEST_LIMIT = 1e9
_GRACE_NS = 1_000_000_000
# More workers in succession that die before they are initialized will do so always.
_EARLY_DEATHS = 5


class TolerantCall:
    """The coordinator's side of a call that goes on when workers die.

    A death costs one task, which the worker was at: it is run again, or a :class:`Failure` is its
    result. The others that the worker had are handed out once more. A worker that has never been
    ready costs none; that ends the call if it happens time and again.

    Parameters
    ----------
    call : PoolCall
        The call, which has a tolerance.
    team : ProcessTeam or Lease
        A tolerant team, whose workers run :func:`sharedmem.workers.task_loop.run_batches`.
    sync : TeamSync
        What the workers share.
    feed : TolerantFeed
        The tasks.
    item : callable
        Returns a text for the item of a task.
    restart : callable
        Starts another worker in place of one that has died.
    """

    def __init__(
        self,
        call: PoolCall,
        team: ProcessTeam | Lease,
        sync: TeamSync,
        feed: TolerantFeed,
        item: Callable[[int], str],
        restart: Callable[[int], None],
    ) -> None:
        assert call.tolerance is not None
        self._call = call
        self._team = team
        self._sync = sync
        self._feed = feed
        self._item = item
        self._restart = restart
        self._retries = call.tolerance.retries
        self._limit = call.tolerance.task_timeout
        # Why a worker that will end does so, if that is known: the task, and its failure.
        self._failures: dict[int, tuple[int, Failure]] = {}
        self._dead: set[int] = set()
        self._n_early_deaths = 0
        self._is_ending = False
        self._entered = 0

    def receive(self, deadline: float | None, n_taken: int = 0) -> _Runs:
        """Wait for results, of which `n_taken` have been read; none if all tasks are done.

        Returns
        -------
        list of (int, list)
            Runs of results, each with the number of the first task.

        Raises
        ------
        TimeoutError
            If none has come at `deadline`, in seconds of the monotonic clock.
        WorkerException
            If no worker can be initialized.
        """
        self._entered = time.monotonic_ns()
        runs: _Runs = []
        while not runs:
            self._refill(n_taken)
            if not (messages := self._messages(deadline)):
                return runs
            for rank, message in messages:
                self._take(rank, message, runs)
        return runs

    def watch(self, deadline: float | None = None) -> None:
        """Receive, and end tasks that take too long: one may have the lock that is waited for."""
        self._team.watch()
        self._check_times()
        if is_over(deadline):
            raise overdue(self._call)

    def _refill(self, n_taken: int) -> None:
        feed = self._feed
        if self._is_ending:
            return
        if self._dead and feed.has_more():
            self._replace()
        feed.refill(n_taken)
        if feed.is_done() or not feed.present:
            self._is_ending = True
            for rank in feed.present:
                self._team.send(rank, feed.n_given, Batch([]))

    def _replace(self) -> None:
        for rank in list(self._dead):
            try:
                self._restart(rank)
            except OSError:
                if not self._feed.present:
                    raise
                return  # The others go on.
            self._feed.present.add(rank)
            self._dead.discard(rank)

    def _messages(self, deadline: float | None) -> list[tuple[int, Message]]:
        while True:
            times = [at for at in (deadline, self._check_times()) if at is not None]
            try:
                return self._team.receive(min(times, default=None))
            except OverdueError:
                if is_over(deadline):
                    raise overdue(self._call) from None

    def _check_times(self) -> float | None:
        """End tasks that take too long; return when there may be another one."""
        if self._limit is None:
            return None
        now = time.monotonic_ns()
        limit = int(min(self._limit, _LONGEST_LIMIT) * 1e9)
        next_check = now + limit
        for rank, heard in self._feed.busy():
            line = rank * CACHE_LINE
            index = self._sync.index(rank)
            began = self._sync.words[line + Word.BEGAN]
            end = began + limit
            if began == 0:
                # Between two tasks, unless something has stopped it there.
                end = max(heard, self._entered) + (self._retries + 2) * limit + _GRACE_NS
            if began < 0 or not self._sync.ready_since(rank) or rank in self._failures:
                continue  # It waits for others, or is being initialized, or ends.
            if now < end:
                next_check = min(next_check, end)
            elif index == self._sync.index(rank):
                self._end_task(rank, index)
        return next_check / 1e9

    def _end_task(self, rank: int, index: int) -> None:
        at = self._feed.task_of(rank, index)
        error = TimeoutError(
            f"task {at} (item: {self._item(at)}) took longer than task_timeout={self._limit:g} "
            "seconds; its worker was killed"
        )
        self._failures[rank] = at, Failure(error, "", type_lost=False)
        self._team.kill(rank)

    def _take(self, rank: int, message: Message, runs: _Runs) -> None:
        if message.kind == Kind.RESULTS:
            self._n_early_deaths = 0
            values = message.value
            if UnpackingError in map(type, values):
                values = [_opened(value, rank) for value in values]
            runs.append((message.task, values))
            self._feed.settle(rank, message.task, len(values))
            self._team.acknowledge(rank, message)
        elif message.kind == Kind.FAILURE:
            if message.task < 0:
                raise exception_of(message.value)
            self._failures.setdefault(rank, (message.task, message.value))
            self._team.kill(rank)  # It would wait for another call.
        elif message.kind == Kind.FINISHED:
            # Others run the tasks that it had, but for the one that has stopped it.
            stopped, others = _without(self._sync.index(rank), self._feed.lose(rank))
            if stopped is not None:
                runs.append((stopped.start, [MISSING]))
            self._feed.give_back(others)
            self._sync.restart(rank)
            report, changes = message.value
            if self._call.trace is not None:
                self._call.trace.add(rank, report)
            if self._call.writes is not None and changes:
                self._call.writes.append(changes)
        elif rank in self._feed.present and not self._is_ending:
            self._bury(rank, message.value, runs)

    def _bury(self, rank: int, error: DeadWorkerError, runs: _Runs) -> None:
        pieces = self._feed.lose(rank)
        self._dead.add(rank)
        index, was_ready = self._sync.index(rank), self._sync.ready_since(rank) > 0
        known = self._failures.pop(rank, None)
        index, failure = known or (index, Failure(error, "", type_lost=False))
        guilty, others = _without(index, pieces)
        if not was_ready:
            self._n_early_deaths += 1
            if self._n_early_deaths > self._team.size + _EARLY_DEATHS:
                raise exception_of(failure)
        elif guilty is None and known is None and pieces:
            # It has died between two batches, or by the items of the next one.
            first, *rest = pieces
            if len(first.batch) == 1:
                guilty, others = first, rest
            else:
                others = [first.part(k, k + 1) for k in range(first.start, first.stop)] + rest
        if guilty is not None and guilty.n_spent < self._retries:
            others.append(guilty._replace(n_spent=guilty.n_spent + 1))
        elif guilty is not None:
            runs.append((guilty.start, [failure]))
        self._feed.give_back(others)
        self._sync.restart(rank)


def _opened(value: Any, rank: int) -> Any:
    if type(value) is not UnpackingError:
        return value
    text = (
        f"The result of task {value.index}, sent by worker {rank}, cannot be unpickled in the "
        "coordinator."
    )
    return Failure(value.reason, text, type_lost=False)


def _without(index: int, pieces: Iterable[Piece]) -> tuple[Piece | None, list[Piece]]:
    """Return the task `index`, if it is among the tasks of the pieces, and the other ones."""
    found: Piece | None = None
    others: list[Piece] = []
    for piece in pieces:
        if piece.start <= index < piece.stop:
            found = piece.part(index, index + 1, piece.n_spent)
            others += [piece.part(piece.start, index), piece.part(index + 1, piece.stop)]
        else:
            others.append(piece)
    return found, others


@contextlib.contextmanager
def _started(
    backend: type[TeamBackend],
    call: PoolCall,
    sequence: Any,
    items: Iterable[Any],
    n_items: int | None,
    item: Callable[[int], str],
) -> Iterator[tuple[TolerantCall, TeamSync]]:
    """Start a tolerant call, and leave nothing of it behind; enter it while signals are held."""
    with team_for(backend, call, job_of(backend, call, sequence), item) as (team, sync):
        assert not isinstance(team, ThreadTeam)

        def restart(rank: int) -> None:
            backend.prepare(call)
            with signals_held(), blas.limited(backend.blas_limit(call.blas_threads)):
                team.replace(rank)

        feed = TolerantFeed(team, sync, items, call.chunksize, n_items)
        yield TolerantCall(call, team, sync, feed, item, restart), sync


def run_map(backend: type[TeamBackend], call: PoolCall, sequence: Any, collect: Collect) -> None:
    """Run a map as :func:`sharedmem.pool.calls.run_map`; results may be of type `Failure`."""
    n_tasks = len(sequence)
    deadline = call.deadline()
    with contextlib.ExitStack() as stack:
        with signals_held():
            run, sync = stack.enter_context(
                _started(
                    backend,
                    call,
                    sequence,
                    range(n_tasks),
                    n_tasks,
                    lambda index: item_text(sequence, index),
                )
            )
            consumer = CoordinatorSync(sync, lambda: run.watch(deadline))
            stack.enter_context(call.acting(consumer))
        while runs := run.receive(deadline):
            for start, values in runs:
                if is_over(deadline):
                    raise overdue(call)
                if values[0] is not MISSING:
                    collect(start, values)


def run_imap(
    backend: type[TeamBackend], call: PoolCall, items: Iterable[Any], *, in_order: bool
) -> Iterator[Any]:
    """Yield results as :func:`sharedmem.pool.calls.run_imap`; they may be of type `Failure`."""
    __tracebackhide__ = True
    n_taken = 0
    # Results that have come, by the number of their task.
    waiting: dict[int, Any] = {}
    with contextlib.ExitStack() as stack:
        stack.push(our_calls_hidden)
        with signals_held():
            run, sync = stack.enter_context(
                _started(backend, call, None, items, None, lambda _: "from imap")
            )
            consumer = CoordinatorSync(sync, run.watch)
            stack.enter_context(call.contexts.consumed(consumer))
        while runs := run.receive(call.deadline(), n_taken):
            for start, values in runs:
                waiting.update(enumerate(values, start))
            while waiting and (not in_order or n_taken in waiting):
                result = waiting.pop(n_taken if in_order else next(iter(waiting)))
                n_taken += 1
                if result is not MISSING:
                    yield result
                    consumer.check_outside()
        # Nobody was left to run the tasks that are missing.
        for index in sorted(waiting):
            yield waiting[index]
