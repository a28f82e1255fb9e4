"""The work of a worker that stays: one call after another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

from sharedmem.pool.jobs import Job
from sharedmem.pool.lost_writes import Changes
from sharedmem.workers.attention import heed
from sharedmem.workers.failures import describe_failure
from sharedmem.workers.functions import pack_result
from sharedmem.workers.module_globals import note_globals
from sharedmem.workers.numpy_state import NumpyState, set_numpy_state
from sharedmem.workers.pickling import UnpackingError
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.protocols import PoolCall
from sharedmem.workers.sections import Sections
from sharedmem.workers.task_context import Call, Context
from sharedmem.workers.task_loop import run_to_the_end
from sharedmem.workers.team_sync import TeamSync

if TYPE_CHECKING:  # which imports this module
    from sharedmem.pool.backends import TeamBackend


class Post(NamedTuple):
    """What a worker is told when it starts.

    Attributes
    ----------
    backend : type
        The kind of the worker.
    call : PoolCall
        The options of all calls.
    sync : TeamSync
        What the workers share.
    """

    backend: type[TeamBackend]
    call: PoolCall
    sync: TeamSync


class Order(NamedTuple):
    """What a worker is told for one call.

    Attributes
    ----------
    job : Job
        What it does.
    call : Call
        The source of random numbers.
    n_workers : int
        The number of workers that take part.
    numpy_state : tuple
        NumPy's state of the caller.
    attention : bytes
        The warnings and records that the caller wants to hear.
    """

    job: Job
    call: Call
    n_workers: int
    numpy_state: NumpyState
    attention: bytes


def serve(post: Post, rank: int, port: ProcessPort) -> None:
    """Run the tasks of one call after another, until the coordinator lets the worker go."""
    port.pack = pack_result
    port.speak(rank)
    local = SimpleNamespace(rank=rank)
    # Before the first function is unpickled: a pool that it refers to is that of this worker.
    sections = Sections(post.sync.critical, rank)
    post.call.contexts.enter_process(Context(sections, post.call.call, local))
    is_new = True
    # A function of its own: no variable keeps what a call has used while the worker waits.
    while _serve_next(post, port, local, is_new=is_new):
        is_new = False
    port.finish()


def _serve_next(post: Post, port: ProcessPort, local: SimpleNamespace, *, is_new: bool) -> bool:
    try:
        order: Order | None = port.next_job()
    except UnpackingError as error:
        what = f"The function or the items of a call, unpickled in worker {local.rank}"
        port.fail(-1, describe_failure(error.reason, what))
        return True
    if order is None:
        return False
    job, backend, sync = order.job, post.backend, post.sync
    call = post.call._replace(call=order.call, n_workers=order.n_workers)
    sync.take_part(order.n_workers, fed=job.is_fed, tolerant=job.survives)
    port.begin(windowed=not job.is_fed, tolerant=job.survives)
    heed(order.attention)
    port.speak(local.rank)  # A fresh interpreter may have imported `logging` now.
    part = job.part(sync, local.rank, port)

    def run() -> Changes:
        backend.begin(call, part, local, is_new=is_new)
        if is_new:
            note_globals(call.initializer)
            call.initialize()
        set_numpy_state(order.numpy_state)
        try:
            return job.run(part, port)
        finally:
            backend.finish()

    run_to_the_end(run, part, port)
    return True
