"""Jobs: what the workers of a team do in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from sharedmem.pool.lost_writes import Changes, PrivateArrays
from sharedmem.workers.attempts import Attempts, Tolerance, tolerant
from sharedmem.workers.claims import claims
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.protocols import Port
from sharedmem.workers.recorder import Recorder
from sharedmem.workers.sections import WorkerSync
from sharedmem.workers.task_loop import by_index, run_batches, run_claims, run_fed
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
    tolerance : Tolerance or None
        What they do with tasks that fail.
    survives : bool
        Whether the call goes on when workers die: the coordinator hands out the tasks.
    holds : bool
        Whether nobody looks at results before the last one.
    """

    func: Callable[[Any], Any]
    sequence: Any
    chunksize: int | None
    is_traced: bool
    may_lose: bool
    tolerance: Tolerance | None = None
    survives: bool = False
    holds: bool = False

    @property
    def is_fed(self) -> bool:
        """Whether the coordinator hands out the tasks: items, or their numbers."""
        return self.sequence is None or self.survives

    def part(self, sync: TeamSync, rank: int, port: Port) -> WorkerSync:
        """Return the sections of a worker."""
        return Recorder(sync, rank, port) if self.is_traced else WorkerSync(sync, rank)

    def run(self, part: WorkerSync, port: Port) -> Changes:
        """Run the tasks of a worker; return which private arrays they have changed."""
        port.holds = self.holds
        private = PrivateArrays(self.func) if self.may_lose else None
        func, sequence = self.func, self.sequence
        if self.tolerance is not None and sequence is not None:
            func, sequence = by_index(func, sequence), range(len(sequence))
        if self.survives and self.tolerance is not None and isinstance(port, ProcessPort):
            attempts = Attempts(func, part, self.tolerance, port.portable, raises=False)
            run_batches(attempts, part, port)
        else:
            func = tolerant(func, self.tolerance, part, port.portable)
            if sequence is None:
                run_fed(func, part, port)
            else:
                run_claims(func, sequence, claims(part, len(sequence), self.chunksize), part, port)
        return private.changes() if private else {}
