"""Teams of spawned processes, for coordinators that must not be forked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

from sharedmem.workers.channel import Kind
from sharedmem.workers.functions import pack_any
from sharedmem.workers.handed import descriptors_noted
from sharedmem.workers.member import Member, Work
from sharedmem.workers.process_team import ProcessTeam
from sharedmem.workers.spawned_process import SpawnedProcess, this_interpreter


class _Program:
    """What the workers of a team are started with; their work is pickled once."""

    def __init__(self, work: Work, n_threads: int | None, *, windowed: bool) -> None:
        with descriptors_noted() as descriptors:
            self.parcel = pack_any((work, windowed))
        self.descriptors = sorted(descriptors)
        self.interpreter = this_interpreter(n_threads)


class _SpawnedMember(Member):
    """A worker in a fresh interpreter."""

    def __init__(
        self, program: _Program, rank: int, work: Work, *, windowed: bool, tolerant: bool
    ) -> None:
        super().__init__(rank, work, windowed=windowed, tolerant=tolerant)
        self._program = program

    def start(self, handled: Sequence[int]) -> None:
        """Start the worker, whose signals are as in any new program, and send it its work."""
        program = self._program
        inherited = [self._theirs.socket.fileno(), *program.descriptors]
        process = SpawnedProcess(program.interpreter, self._line, inherited)
        # Now, since a descriptor in a message that nobody can receive is in flight for ever.
        self.close_other_end()
        try:
            # A worker that has died is reported by `receive`.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.channel.send(Kind.WORK, self.rank, program.parcel)
        except BaseException:
            process.kill()
            process.wait()
            raise
        self.process = process


def spawn_team(
    n_workers: int,
    work: Work,
    whereabouts: Callable[[int], str],
    *,
    fed: bool,
    tolerant: bool = False,
    n_threads: int | None = None,
) -> ProcessTeam:
    """Start a team of spawned processes.

    Parameters
    ----------
    n_workers, whereabouts, fed, tolerant
        See :class:`ProcessTeam`.
    work : callable
        Called in each worker with its rank and its port. It is pickled, with functions by value
        that cannot be imported by name.
    n_threads : int or None
        Threads of libraries in each worker; None sets no limit.

    Raises
    ------
    TypeError, pickle.PicklingError
        If `work` cannot be pickled; nothing has been started then.
    OSError
        If Python is embedded in another program, or the system refuses a process, a socket, or
        a descriptor.
    """
    program = _Program(work, n_threads, windowed=not fed)
    member = partial(_SpawnedMember, program)
    return ProcessTeam(n_workers, work, whereabouts, fed=fed, tolerant=tolerant, member=member)
