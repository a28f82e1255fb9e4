"""Teams of forked processes."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeAlias

from sharedmem.errors import WorkerException
from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.signals import handled_signals, is_from_handler, signals_held
from sharedmem.workers.batches import ATOMIC_TYPES, Batch, Packable, entry_of
from sharedmem.workers.channel import Channel, Kind, Message, parts_of
from sharedmem.workers.deadlines import OverdueError, deadline_in, is_over, remaining
from sharedmem.workers.failures import Failure, exception_of
from sharedmem.workers.member import Member, Work
from sharedmem.workers.pickling import Parcel, UnpackingError, pack

_Events: TypeAlias = list[tuple[selectors.SelectorKey, int]]
# A worker that holds the lock for which the coordinator waits may have so much to say, and waits.
_MANY_MESSAGES = 1000


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
    tolerant : bool
        Whether `receive` returns failures and deaths of workers instead of raising them.
    member : callable
        Makes a worker that can be started; :class:`Member`, or with its parameters.

    Attributes
    ----------
    pack : callable
        Pickles items.

    Raises
    ------
    OSError
        If the system refuses a process, a socket or a descriptor.
    """

    def __init__(
        self,
        n_workers: int,
        work: Work,
        whereabouts: Callable[[int], str],
        *,
        fed: bool,
        tolerant: bool = False,
        member: Callable[..., Member] = Member,
    ) -> None:
        if sys.platform != "linux":
            raise OSError(
                errno.ENOSYS,
                "workers that are processes need system calls of Linux, and this system is "
                f"{sys.platform}: use ThreadBackend, or np=0",
            )
        self.size = n_workers
        self._work = work
        self._whereabouts = whereabouts
        self._fed = fed
        self._tolerant = tolerant
        self._member = member
        self.pack: Callable[[object], Parcel] = pack
        self._members: list[Member] = []
        self._heard: list[tuple[int, Message]] = []
        self._said: deque[Message] = deque()
        self._selector = with_descriptors(selectors.DefaultSelector)
        self._owner = os.getpid()
        self._is_closed = False
        self.__class__ = _OpenTeam
        try:
            self._start(range(n_workers))
        except BaseException:
            self.end(patient=False)
            raise

    def _start(self, ranks: Sequence[int]) -> None:
        """Start workers, and listen to them."""
        members: list[Member] = []
        try:
            members += (
                self._member(rank, self._work, windowed=not self._fed, tolerant=self._tolerant)
                for rank in ranks
            )
            self._fork(members)
        finally:
            for member in members:
                member.close_other_end()
                if member not in self._members:
                    member.close()
        for member in members:
            self._selector.register(member.channel.socket, selectors.EVENT_READ, member)
            self._selector.register(member.process.watch(), selectors.EVENT_READ, member)

    def _fork(self, members: Sequence[Member]) -> None:
        handled = handled_signals()
        # Each fork write-protects all memory, and the next write to each page is slow. So no other
        # work is done between the first fork and the last.
        try:
            for member in members:
                member.start(handled)
                self._members[member.rank : member.rank + 1] = [member]
        except OSError as error:
            error.add_note(
                f"Worker {member.rank} of {self.size} could not be started. See `ulimit -u` "
                "and `ulimit -n` for the limits on processes and descriptors, or use a smaller np."
            )
            raise

    def replace(self, rank: int) -> None:
        """Start another worker in place of one that has died, or that is killed now.

        What the old one has sent, and `receive` has not returned, is lost.

        Raises
        ------
        OSError
            If the system refuses a process or a descriptor; the old worker has ended then.
        """
        with signals_held():
            self.kill(rank)
            self._end(self._members[rank])
            self._members[rank].close()
            self._start([rank])

    def fileno(self) -> int:
        """Return the descriptor that is readable when `receive` need not wait."""
        return self._selector.fileno()

    def take(self, index: int, items: Iterator[Any], size: int) -> Batch:
        """Take up to `size` tasks, the first with number `index`, from an iterator.

        Returns
        -------
        Batch
            What `send` sends; empty if there are no more tasks.
        """
        batch = Batch([])
        for item in islice(items, size):
            if type(item) in ATOMIC_TYPES:
                batch.entries.append(item)
                continue
            try:
                entry = entry_of(item, self.pack)
            except BaseException as error:
                error.add_note(
                    f"Item {index + len(batch)}, of type {type(item).__name__}, is pickled to "
                    "reach a worker: yield data, or use map, whose workers inherit the items."
                )
                raise
            batch.add(entry)
            if entry.has_buffers:
                break
        return batch

    def send(self, rank: int, index: int, batch: Packable) -> int:
        """Give a worker tasks, from number `index` on; an empty batch tells it that all are done.

        Returns
        -------
        int
            Bytes that were copied.
        """
        parcel = batch.pack()
        # A worker that has died is reported by `receive`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._members[rank].channel.send(Kind.TASKS, index, parcel)
        return parcel.nbytes

    def is_whole(self) -> bool:
        """Return whether all workers wait for a job; between two calls they only say something."""
        if os.getpid() != self._owner or self._is_closed:
            return False
        messages: list[tuple[int, Message]] = []
        with contextlib.suppress(WorkerException):
            self._handle_all(messages)
        return not messages and len(self._left()) == self.size

    def dead(self) -> list[int]:
        """Return the ranks of workers that have ended."""
        return [member.rank for member in self._members if member.has_ended]

    def assign(self, ranks: Sequence[int], parcel: Parcel, *, tolerant: bool) -> None:
        """Give a job to workers, which have finished the one before."""
        self._tolerant = tolerant
        members = [self._members[rank] for rank in ranks]
        for member in members:
            member.has_finished = False
            member.channel.begin(windowed=False, tolerant=tolerant)
        # A worker that has died is reported by `receive`.
        Channel.send_all([member.channel for member in members], Kind.JOB, parcel)

    def dismiss(self, seconds: float) -> None:
        """Let workers that wait for a job exit by themselves; kill those that take longer."""
        if self._is_closed or os.getpid() != self._owner:
            return
        self._tolerant = True
        channels = [member.channel for member in self._left()]
        Channel.send_all(channels, Kind.JOB, pack(None))
        with contextlib.suppress(OverdueError):
            while self.receive(deadline_in(seconds)):
                pass
        self.end(patient=False)

    def wait(self, deadline: float | None) -> None:
        """Wait until `receive` need not wait, and take nothing: an interrupt loses no message.

        Raises
        ------
        OverdueError
            If `receive` would still wait at `deadline`, in seconds of the monotonic clock.
        """
        if not self._heard and self._left():
            self._select(deadline)

    def _left(self) -> list[Member]:
        # A list and not a generator: Python would lose an interrupt while it closes a generator.
        return [member for member in self._members if not member.has_ended]

    def _select(self, deadline: float | None) -> _Events:
        while not (events := self._selector.select(remaining(deadline))):
            if is_over(deadline):
                raise OverdueError
        return events

    def receive(self, deadline: float | None) -> list[tuple[int, Message]]:
        """Wait for messages, with the ranks they come from; none once all workers have ended.

        A tolerant team returns a message of `Kind.FAILURE` with a `Failure` for each failure that a
        worker sends, and, after all that it has sent, one of `Kind.DIED` with a `DeadWorkerError`
        for a worker that has died. What task it was at is known to the `TeamSync`.

        Raises
        ------
        OverdueError
            If none has arrived at `deadline`, in seconds of the monotonic clock.
        WorkerException
            If a task has failed, or a worker has died, in a team that is not tolerant.
        Exception
            What a handler of records, or a filter of warnings, raises; a tolerant team prints it.
        """
        if os.getpid() != self._owner:
            raise RuntimeError(
                f"results of a call of process {self._owner} were asked for in process "
                f"{os.getpid()}, which is a fork of it: take them in process {self._owner}"
            )
        messages, self._heard = self._heard, []
        while not messages and self._left():
            try:
                self._handle(self._select(deadline), messages)
                if self._said:
                    self._handle_all(messages)
            finally:
                has_heard = self._hear()
            if has_heard and not messages and is_over(deadline):
                raise OverdueError
        return messages

    def _hear(self) -> bool:
        """Handle what workers have said; return whether they have said anything."""
        has_heard = bool(self._said)
        self._said = deque(sorted(self._said, key=lambda message: message.task))
        while self._said:
            try:
                self._said.popleft().value.hear()
            except Exception as error:
                # A tolerant team goes on, and its messages must not be lost.
                if not self._tolerant or is_from_handler(error):
                    raise
                traceback.print_exc()
        return has_heard

    def _handle_all(self, messages: list[tuple[int, Message]]) -> None:
        """Handle what has arrived: also what was said before something that was read already."""
        for _ in range(_MANY_MESSAGES):
            if not (events := self._selector.select(0)):
                break
            self._handle(events, messages)

    def _handle(self, events: _Events, messages: list[tuple[int, Message]]) -> None:
        for key, _ in events:
            member: Member = key.data
            if member.has_ended:
                continue
            if key.fileobj is member.channel.socket:
                self._listen(member, messages)
            else:
                # What it has sent before its end is received first.
                while self._listen(member, messages):
                    pass
                self._bury(member, messages)

    def _listen(self, member: Member, messages: list[tuple[int, Message]]) -> bool:
        """Receive one message of `member`; return False if there is none."""
        if member.channel.socket.fileno() not in self._selector.get_map():
            return False
        try:
            message = member.channel.receive(block=False)
        except BlockingIOError:
            return False
        except UnpackingError as error:
            text = (
                f"The result of task {error.index}, sent by worker {member.rank} "
                f"(pid {member.process.pid}), cannot be unpickled in the coordinator."
            )
            if not self._tolerant:
                raise WorkerException(error.reason, text) from error.reason
            failure = Failure(error.reason, text, type_lost=False)
            message = Message(Kind.FAILURE, error.index, failure)
        if message is None:
            self._ignore(member.channel.socket)
            return False
        if message.kind == Kind.SAID:
            self._said.append(message)
            return True
        if message.kind == Kind.FAILURE and not self._tolerant:
            raise exception_of(message.value)
        member.has_finished |= message.kind in (Kind.FINISHED, Kind.LAST)
        messages += ((member.rank, part) for part in parts_of(message))
        return True

    def _bury(self, member: Member, messages: list[tuple[int, Message]]) -> None:
        self._end(member)
        error = member.death(self._whereabouts)
        if error is not None:
            if not self._tolerant:
                raise WorkerException(error)
            messages.append((member.rank, Message(Kind.DIED, -1, error)))

    def _end(self, member: Member) -> None:
        for waited_on in (member.channel.socket, member.process.sentinel):
            self._ignore(waited_on)
        member.process.wait()
        self._said.extend(member.channel.left_said())
        member.channel.close()
        member.has_ended = True  # Set last: after an interrupt `end` does all of this again.

    def _ignore(self, waited_on: Any) -> None:
        # Selectors suppress errors of the system, and so what a handler of signals raises.
        with signals_held(), contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(waited_on)

    def acknowledge(self, rank: int, message: Message) -> None:
        """Acknowledge a message, so that its worker may send as many bytes again."""
        member = self._members[rank]
        if message.window_bytes and not member.has_ended:
            member.channel.acknowledge(message)

    def watch(self) -> None:
        """Raise if a worker has died or failed, whose lock the coordinator may be waiting for."""
        try:
            with signals_held():  # An interrupt would lose a message.
                self._handle_all(self._heard)
        finally:
            self._hear()

    def kill(self, rank: int | None = None) -> None:
        """Kill one worker, or all; any thread may, while another one waits for them."""
        for member in self._members if rank is None else self._members[rank : rank + 1]:
            member.process.kill()

    def end(self, *, patient: bool) -> None:
        """Kill all workers that are left, and wait for them, `patient` or not."""
        self._close()
        self._hear()

    def _close(self) -> None:
        if self._is_closed or os.getpid() != self._owner:
            return
        # A second Ctrl-C must not interrupt this.
        with signals_held():
            self._is_closed = True
            self.kill()
            for member in self._left():
                self._end(member)
            for member in self._members:
                member.close()
            self._selector.close()
            # Python drops an interrupt that comes during `__del__`, so this has none any more.
            self.__class__ = ProcessTeam


class _OpenTeam(ProcessTeam):
    def __del__(self) -> None:
        # An interrupt may come between the start of a team and the block that ends it. What workers
        # have said is lost: the thread that collects garbage may hold the lock of a handler.
        self._close()
