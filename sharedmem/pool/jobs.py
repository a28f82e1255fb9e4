"""Jobs: what the workers of a team do in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sharedmem.pool.lost_writes import Changes, PrivateArrays
from sharedmem.workers.claims import claims
from sharedmem.workers.protocols import Port
from sharedmem.workers.recorder import Recorder
from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.task_loop import run_claims, run_fed
from sharedmem.workers.team_sync import TeamSync


class Job(NamedTuple):
    """What the workers of a team do in one call.

    Attributes
    ----------
    func : callable
        The function of one item.
    sequence : sequence or None
        The items that workers claim; None if the coordinator sends them.
    chunksize : int or None
        Tasks per claim; None lets it grow.
    is_traced : bool
        Whether workers record what they do.
    may_lose : bool
        Whether they look for results in private arrays.
    """

    func: Callable[[Any], Any]
    sequence: Any
    chunksize: int | None
    is_traced: bool
    may_lose: bool

    def part(self, sync: TeamSync, rank: int, port: Port) -> WorkerSync:
        """Return the sections of a worker."""
        return Recorder(sync, rank, port) if self.is_traced else WorkerSync(sync, rank)

    def run(self, part: WorkerSync, port: Port) -> Changes:
        """Run the tasks of a worker; return which private arrays they have changed."""
        if self.sequence is None:
            run_fed(self.func, part, port)
            return {}
        private = PrivateArrays(self.func) if self.may_lose else None
        tasks = claims(part, len(self.sequence), self.chunksize)
        run_claims(self.func, self.sequence, tasks, part, port)
        return private.changes() if private else {}
