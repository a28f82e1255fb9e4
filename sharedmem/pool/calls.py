"""One call on a team of this machine: start the team, collect its results, end it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from sharedmem.machine import blas
from sharedmem.machine.signals import signals_held
from sharedmem.pool.feed import MISSING, Feed
from sharedmem.pool.jobs import Job
from sharedmem.pool.lost_writes import Changes
from sharedmem.pool.standing_teams import ItemText
from sharedmem.workers.channel import Kind, Message
from sharedmem.workers.deadlines import OverdueError, is_over
from sharedmem.workers.protocols import Collect, PoolCall, Port, Team
from sharedmem.workers.sections import CoordinatorSync
from sharedmem.workers.task_loop import item_text, run_to_the_end
from sharedmem.workers.team_sync import TeamSync
from sharedmem.workers.tracebacks import our_calls_hidden

if TYPE_CHECKING:  # which imports this module
    from sharedmem.pool.backends import TeamBackend


@contextlib.contextmanager
def team_for(
    backend: type[TeamBackend], call: PoolCall, job: Job, item: ItemText
) -> Iterator[tuple[Team, TeamSync]]:
    """Start a team that does a job, or lease one, and leave nothing of it behind."""
    with contextlib.ExitStack() as stack:
        yield _join(backend, call, job, item, stack)


def _join(
    backend: type[TeamBackend],
    call: PoolCall,
    job: Job,
    item: ItemText,
    stack: contextlib.ExitStack,
) -> tuple[Team, TeamSync]:
    """Start a team that does a job, or lease one; `stack` ends it, after the end of the trace."""
    team: Team
    if call.teams is not None:
        team, sync = call.teams.lease(backend, call, job, _whereabouts, item)
        stack.push(partial(_end, team))
    else:
        team, sync = _started(backend, call, job, item, stack)
    if call.trace is not None:
        stack.callback(call.trace.finish)
    return team, sync


def _starting(call: PoolCall) -> contextlib.AbstractContextManager[None]:
    """Return a context in which no interrupt loses a team that is not yet complete."""
    # A team that is leased kills its workers when it is lost.
    return signals_held() if call.teams is None else contextlib.nullcontext()


def _started(
    backend: type[TeamBackend],
    call: PoolCall,
    job: Job,
    item: ItemText,
    stack: contextlib.ExitStack,
) -> tuple[Team, TeamSync]:
    backend.prepare(call)
    limit = stack.enter_context(contextlib.ExitStack())
    limit.enter_context(blas.limited(backend.blas_limit(call.blas_threads)))
    sync = TeamSync(
        call.n_workers,
        processes=backend.uses_processes,
        fed=job.is_fed,
        tolerant=job.survives,
    )
    stack.callback(_close, sync)
    team = backend.team_with(call.blas_threads)(
        call.n_workers,
        partial(_work, backend, call, sync, job),
        partial(_whereabouts, sync, item),
        fed=job.is_fed,
        tolerant=job.survives,
    )
    stack.push(partial(_end, team))
    if backend.uses_processes and job.is_fed:
        # Between results the consumer runs here, and may use BLAS.
        limit.close()
    return team, sync


def _close(sync: TeamSync) -> None:
    # An interrupt in a finalizer of Python's would lose the descriptor that it is to close.
    with signals_held():
        sync.close()


def _end(team: Team, kind: type[BaseException] | None, *_: object) -> None:
    impatient = kind is not None and issubclass(kind, (TimeoutError, KeyboardInterrupt))
    team.end(patient=not impatient)


def _work(
    backend: type[TeamBackend],
    call: PoolCall,
    sync: TeamSync,
    job: Job,
    rank: int,
    port: Port,
) -> None:
    port.speak(rank)
    part = job.part(sync, rank, port)

    def run() -> Changes:
        backend.begin(call, part)
        call.initialize()
        try:
            return job.run(part, port)
        finally:
            backend.finish()

    run_to_the_end(run, part, port)


def _whereabouts(sync: TeamSync, item: ItemText, rank: int) -> str:
    index = sync.index(rank)
    if index < 0:
        return "before its first task."
    if sync.is_idle(rank):
        return f"while it waited for tasks after task {index}."
    if sync.has_left(rank):
        return f"after its last task, {index}."
    return f"while it ran task {index} (item: {item(index)})."


def run_map(backend: type[TeamBackend], call: PoolCall, sequence: Any, collect: Collect) -> None:
    """Run the function of a call on the items of `sequence`, by a team.

    Parameters
    ----------
    backend : type
        Starts the team.
    call : PoolCall
        The call.
    sequence : sequence
        The items of the tasks.
    collect : callable
        Called with the number of a task, and the results of that task and the following ones.

    Raises
    ------
    WorkerException
        If a task raises, or a worker dies.
    TimeoutError
        If the call takes longer than its timeout.
    """
    deadline = call.deadline()
    job = job_of(backend, call, sequence)

    def watch() -> None:
        team.watch()
        if is_over(deadline):
            raise overdue(call)

    with contextlib.ExitStack() as stack:
        with _starting(call):
            item = partial(item_text, sequence)
            team, sync = _join(backend, call, job, item, stack)
            stack.enter_context(call.acting(CoordinatorSync(sync, watch)))
        while messages := _receive(team, deadline, call):
            for rank, message in messages:
                if is_over(deadline):
                    raise overdue(call)
                if message.kind == Kind.RESULTS:
                    collect(message.task, message.value)
                    team.acknowledge(rank, message)
                else:
                    report, changes = message.value
                    if call.trace is not None:
                        call.trace.add(rank, report)
                    if call.writes is not None and changes:
                        call.writes.append(changes)


def job_of(backend: type[TeamBackend], call: PoolCall, sequence: Any) -> Job:
    """Return the job of the workers in a call; without a sequence, the coordinator sends items."""
    return Job(
        backend.isolated(call.func),
        sequence,
        call.chunksize,
        call.trace is not None,
        call.writes is not None,
        call.tolerance,
        call.tolerance is not None and backend.uses_processes,
        call.holds,
    )


def _receive(team: Team, deadline: float | None, call: PoolCall) -> list[tuple[int, Message]]:
    try:
        return team.receive(deadline)
    except OverdueError:
        raise overdue(call) from None


def overdue(call: PoolCall) -> TimeoutError:
    """Return the error of a call that takes too long."""
    return TimeoutError(
        f"the call took longer than timeout={call.timeout or 0:g} seconds; its workers were told "
        "to end"
    )


def run_imap(
    backend: type[TeamBackend], call: PoolCall, items: Iterable[Any], *, in_order: bool
) -> Iterator[Any]:
    """Yield the results of a call on `items`, with a bounded number of both in memory.

    Raises
    ------
    WorkerException
        If a task raises, or a worker dies.
    TimeoutError
        If a result takes longer than the timeout of the call.
    """
    __tracebackhide__ = True
    n_taken = 0
    # Runs of results that have come, by the number of their first task.
    waiting: dict[int, list[Any]] = {}
    with contextlib.ExitStack() as stack:
        stack.push(our_calls_hidden)
        with _starting(call):
            job = job_of(backend, call, None)
            team, sync = _join(backend, call, job, lambda _: "from imap", stack)
            consumer = CoordinatorSync(sync, team.watch)
            stack.enter_context(call.contexts.consumed(consumer))
        feed = Feed(team, sync, items, call.chunksize)
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
            messages = _receive(team, call.deadline(), call)
            if not messages:
                return
            for rank, message in messages:
                if message.kind == Kind.RESULTS:
                    feed.settle(rank, len(message.value))
                    waiting[message.task] = message.value
                    team.acknowledge(rank, message)
                else:
                    waiting.update(feed.lose(rank))
                    if call.trace is not None:
                        call.trace.add(rank, message.value[0])
