"""The work of a worker that stays: one call after another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from sharedmem.memory import open_files
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
from sharedmem.workers.sections import Sections, WorkerSync
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
    numpy_state : tuple
        NumPy's state, unless a call has another.
    """

    backend: type[TeamBackend]
    call: PoolCall
    sync: TeamSync
    numpy_state: NumpyState


Order: TypeAlias = tuple[tuple[Any, ...], tuple[int, int], int, NumpyState | None, bytes]
"""What a worker is told for one call: a `Job`, a `Call`, the number of workers that take part,
NumPy's state of the caller, if it differs, and the warnings and records that the caller wants to
hear. Plain tuples are pickled in less time."""


def serve(post: Post, rank: int, port: ProcessPort) -> None:
    """Run the tasks of one call after another, until the coordinator lets the worker go."""
    port.pack = pack_result
    port.speak(rank)
    open_files.watch_opened()
    worker = _Worker(post, rank, port)
    # A method: no variable keeps what a call has used while the worker waits.
    while worker.serve_next():
        pass
    port.finish()


class _Worker:
    """A worker between its calls."""

    def __init__(self, post: Post, rank: int, port: ProcessPort) -> None:
        self._post = post
        self._port = port
        self._local = SimpleNamespace(rank=rank)
        self._numpy_state = post.numpy_state
        self._is_new = True
        # Before the first function is unpickled: a pool that it refers to is that of this worker.
        sections = Sections(post.sync.critical, rank)
        context = Context(sections, post.call.call, self._local)
        post.call.contexts.enter_process(context)
        set_numpy_state(post.numpy_state)

    def serve_next(self) -> bool:
        """Run the tasks of a call; return False if there is none."""
        port, rank = self._port, self._local.rank
        try:
            order: Order | None = port.next_job()
        except UnpackingError as error:
            what = f"The function or the items of a call, unpickled in worker {rank}"
            port.fail(-1, describe_failure(error.reason, what))
            return True
        if order is None:
            return False
        job, sync = Job(*order[0]), self._post.sync
        call = self._post.call._replace(call=Call(*order[1]), n_workers=order[2])
        sync.take_part(call.n_workers, fed=job.is_fed, tolerant=job.survives)
        port.begin(windowed=not job.is_fed, tolerant=job.survives)
        heed(order[4])
        port.speak(rank)  # A fresh interpreter may have imported `logging` now.
        part = job.part(sync, rank, port)

        def run() -> Changes:
            self._begin(call, part, order[3] or self._post.numpy_state)
            try:
                return job.run(part, port)
            finally:
                self._post.backend.finish()

        run_to_the_end(run, part, port)
        return True

    def _begin(self, call: PoolCall, part: WorkerSync, numpy_state: NumpyState) -> None:
        self._post.backend.begin(call, part, self._local, is_new=self._is_new)
        if numpy_state != self._numpy_state:
            set_numpy_state(numpy_state)
            self._numpy_state = numpy_state
        if self._is_new:
            note_globals(call.initializer)
            call.initialize()
            self._is_new = False
