"""Teams of forked processes."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from sharedmem.errors import DeadWorkerError, WorkerException
from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.signals import handled_signals, signals_held
from sharedmem.workers.batches import ATOMIC_TYPES, Batch, entry_of
from sharedmem.workers.channel import Channel, Kind, Message
from sharedmem.workers.failures import exception_of
from sharedmem.workers.life_line import LifeLine
from sharedmem.workers.pickling import UnpackingError, pack
from sharedmem.workers.process import WorkerProcess
from sharedmem.workers.process_port import ProcessPort
from sharedmem.workers.protocols import OverdueError, Work, is_over, remaining


class _Member:
    """One worker as the coordinator sees it."""

    def __init__(self, rank: int, process: WorkerProcess, channel: Channel) -> None:
        self.rank = rank
        self.process = process
        self.channel = channel
        self.has_finished = False
        self.has_ended = False


class ProcessTeam:
    """A team of forked processes.

    The coordinator waits for sockets and for the ends of processes, and never polls. After `end`,
    which may follow an exception or a signal at any moment, no worker is left.

    Parameters
    ----------
    n_workers : int
        Number of workers.
    work : callable
        Called in each worker with its rank and its port.
    whereabouts : callable
        Returns what the worker of a rank was doing, for the error that reports its end.
    fed : bool
        Whether tasks come from the coordinator, which then limits the results itself.

    Raises
    ------
    OSError
        If the system refuses a process, a socket or a descriptor.
    """

    def __init__(
        self, n_workers: int, work: Work, whereabouts: Callable[[int], str], *, fed: bool
    ) -> None:
        if sys.platform != "linux":
            raise OSError(
                errno.ENOSYS,
                f"forked workers need system calls of Linux, which {sys.platform} does not have; "
                "use MapReduceByThread, or np=0",
            )
        self.size = n_workers
        self._whereabouts = whereabouts
        self._members: list[_Member] = []
        self._heard: list[tuple[int, Message]] = []
        self._selector = with_descriptors(selectors.DefaultSelector)
        self._owner = os.getpid()
        pairs: list[tuple[Channel, Channel]] = []
        self._lines: list[LifeLine] = []
        self._is_closed = False
        try:
            self._lines += (LifeLine() for _ in range(n_workers))
            pairs += (Channel.pair(windowed=not fed) for _ in range(n_workers))
            handled = handled_signals()
            # Each fork write-protects all memory, and the next write to each page is slow. So no
            # other work is done between the first fork and the last.
            for rank, (ours, theirs) in enumerate(pairs):
                self._start(rank, work, ours, theirs, handled)
            for member in self._members:
                self._selector.register(member.channel.socket, selectors.EVENT_READ, member)
                self._selector.register(member.process.watch(), selectors.EVENT_READ, member)
        except BaseException:
            self.end(patient=False)
            for ours, _ in pairs:
                ours.close()
            raise
        finally:
            for _, theirs in pairs:
                theirs.close()

    def _start(
        self, rank: int, work: Work, ours: Channel, theirs: Channel, handled: Sequence[int]
    ) -> None:
        try:
            line = self._lines[rank]
            process = WorkerProcess(lambda: work(rank, ProcessPort(theirs)), line, handled)
        except OSError as error:
            error.add_note(
                f"Worker {rank} of {self.size} could not be started. See `ulimit -u` and "
                "`ulimit -n` for the limits on processes and descriptors, or use a smaller np."
            )
            raise
        self._members.append(_Member(rank, process, ours))

    def take(self, index: int, items: Iterator[Any], size: int) -> Batch:
        """Take tasks from an iterator; see :class:`Team`."""
        batch = Batch()
        for item in islice(items, size):
            if type(item) in ATOMIC_TYPES:
                batch.entries.append(item)
                continue
            try:
                batch.add(entry_of(item))
            except BaseException as error:
                error.add_note(
                    f"Item {index + len(batch)} is pickled to reach a worker; map, unlike imap, "
                    "lets workers inherit items as they are."
                )
                raise
            if batch.has_buffers:
                break
        return batch

    def send(self, rank: int, index: int, batch: Batch) -> int:
        """Give a worker tasks; see :class:`Team`."""
        parcel = batch.close()
        # A worker that has died is reported by `receive`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._members[rank].channel.send(Kind.TASKS, index, parcel)
        return parcel.nbytes

    def dismiss(self, rank: int) -> None:
        """Tell a worker that there are no more tasks; see :class:`Team`."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._members[rank].channel.send(Kind.FINISHED, 0, pack(None))

    def wait(self, deadline: float | None) -> None:
        """Wait for a message, or the end of a worker; see :class:`Team`."""
        # A list and not a generator: Python would lose an interrupt while it closes a generator.
        while not self._heard and [member for member in self._members if not member.has_ended]:
            if self._selector.select(remaining(deadline)):
                return
            if is_over(deadline):
                raise OverdueError

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages; see :class:`Team`."""
        if os.getpid() != self._owner:
            raise RuntimeError(
                f"this call belongs to process {self._owner}, and process {os.getpid()} is a fork "
                "of it: get the results in the first"
            )
        messages, self._heard = self._heard, []
        while not messages and [member for member in self._members if not member.has_ended]:
            events = self._selector.select(remaining(deadline))
            if not events and is_over(deadline):
                raise OverdueError
            for key, _ in events:
                member: _Member = key.data
                if member.has_ended:
                    continue
                if key.fileobj is member.channel.socket:
                    self._listen(member, messages)
                else:
                    # What it has sent before its end is received first.
                    while self._listen(member, messages):
                        pass
                    self._bury(member)
        return messages

    def _listen(self, member: _Member, messages: list[tuple[int, Message]]) -> bool:
        """Receive one message of `member`; return False if there is none."""
        if member.channel.socket.fileno() not in self._selector.get_map():
            return False
        try:
            message = member.channel.receive(block=False)
        except BlockingIOError:
            return False
        except UnpackingError as error:
            raise WorkerException(
                error.reason,
                f"The result of task {error.index}, sent by worker {member.rank} "
                f"(pid {member.process.pid}), cannot be unpickled in the coordinator.",
            ) from error.reason
        if message is None:
            self._ignore(member.channel.socket)
            return False
        if message.kind == Kind.FAILURE:
            raise exception_of(message.value)
        member.has_finished |= message.kind == Kind.FINISHED
        messages.append((member.rank, message))
        return True

    def _bury(self, member: _Member) -> None:
        how = self._end(member)
        code = member.process.wait()
        if not member.has_finished or code not in (0, None):
            reason = (
                f"Worker {member.rank} (pid {member.process.pid}) {how} "
                f"{self._whereabouts(member.rank)}"
            )
            if code == -9:
                reason += (
                    " The system may have run out of memory; see sharedmem.available_memory()."
                )
            raise WorkerException(DeadWorkerError(reason, code))

    def _end(self, member: _Member) -> str:
        for waited_on in (member.channel.socket, member.process.sentinel):
            self._ignore(waited_on)
        how = member.process.end()
        member.channel.close()
        member.has_ended = True  # Set last: after an interrupt `end` does all of this again.
        return how

    def _ignore(self, waited_on: Any) -> None:
        # Selectors suppress errors of the system, and so what a handler of signals raises.
        with signals_held(), contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(waited_on)

    def acknowledge(self, rank: int, message: Message) -> None:
        """Acknowledge a message; see :class:`Team`."""
        member = self._members[rank]
        if message.window_bytes and not member.has_ended:
            member.channel.acknowledge(message)

    def watch(self) -> None:
        """Raise if a worker has died or failed; see :class:`Team`."""
        for member in self._members:
            if not member.has_ended and member.process.has_ended():
                while self._listen(member, self._heard):
                    pass
                self._bury(member)

    def kill(self) -> None:
        """Kill all workers; see :class:`Team`."""
        for member in self._members:
            member.process.kill()

    def end(self, *, patient: bool) -> None:
        """Kill all workers that are left, and wait for them; see :class:`Team`."""
        if self._is_closed or os.getpid() != self._owner:
            return
        # A second Ctrl-C must not interrupt this.
        with signals_held():
            self._is_closed = True
            left = [member for member in self._members if not member.has_ended]
            for member in left:
                member.process.kill()
            for member in left:
                self._end(member)
            for line in self._lines:
                line.close()
            self._selector.close()

    def __del__(self) -> None:
        # An interrupt may come between the start of a team and the block that ends it.
        if hasattr(self, "_is_closed"):
            self.end(patient=False)
