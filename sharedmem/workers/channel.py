"""Send messages over one socket per worker, with large buffers in anonymous files."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from sharedmem.machine.descriptors import keep_room, lack_of_descriptors, with_descriptors
from sharedmem.machine.signals import is_from_handler, suppressed
from sharedmem.memory.memory_files import anonymous_file
from sharedmem.memory.segments import Segment
from sharedmem.workers.batches import opened
from sharedmem.workers.pickling import Parcel, UnpackingError, read_parts, unpack, write_parts

# Larger parcels, and out-of-band buffers, are sent in a file. A sequenced-packet socket keeps each
# message whole: a worker that is killed has sent all of a message or nothing.
INLINE_BYTES = 32 * 1024
# Bytes that a worker may have sent, in files and segments, before the coordinator has reduced them.
WINDOW_BYTES = 32 * 1024 * 1024
# The kernel passes at most 253 descriptors with one message.
_MAX_SEGMENTS = 250


class Kind:
    """Kinds of messages, as plain integers; results and tasks are sent in batches.

    `RUNS` are several batches of results, and `LAST` is that, and that the worker has finished.
    """

    RESULTS = 0
    TASKS = 1
    FAILURE = 2
    FINISHED = 3
    SEGMENTS = 4
    WORK = 5
    JOB = 6
    SAID = 7
    RUNS = 8
    LAST = 9
    ALL = range(10)
    # Not sent: a team tells it of a worker.
    DIED = -1


class Message(NamedTuple):
    """A message between coordinator and worker.

    Attributes
    ----------
    kind : int
        One of the numbers of :class:`Kind`.
    task : int
        The number of the task, or of the first of several, that the message is about; of what a
        worker says, when it says it.
    value : object
        Results, a failure, items to work on, or what a worker says: a record or a warning.
    window_bytes : int
        Bytes of the result window that it takes.
    """

    kind: int
    task: int
    value: Any
    window_bytes: int = 0


# Kind, whether the parts are in a file, task, bytes of the window, bytes of the stream, numbers of
# buffers and segments; the sizes of the segments follow, then the stream unless it is in the file.
_HEADER = struct.Struct("=BBqqqqq")
_ACK = struct.Struct("=q")
_RECEIVED_BYTES = _HEADER.size + 8 * _MAX_SEGMENTS + INLINE_BYTES
_ANCILLARY_BYTES = socket.CMSG_SPACE(4 * (_MAX_SEGMENTS + 1))
# As plain integers, which are combined in less time.
_WAIT, _CUT = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_CTRUNC)
_DO_NOT_WAIT = _WAIT | int(socket.MSG_DONTWAIT)


class Channel:
    """One end of the socket between the coordinator and a worker.

    Parameters
    ----------
    end : socket.socket
        A sequenced-packet socket.
    windowed : bool
        Whether sending from this end blocks while the result window is full.
    tolerant : bool
        Whether objects that cannot be unpickled are received as errors, among others.

    Attributes
    ----------
    received_bytes : int
        Size of what has been received.
    """

    def __init__(
        self, end: socket.socket, *, windowed: bool = False, tolerant: bool = False
    ) -> None:
        self.socket = end
        self.received_bytes = 0
        self._tolerant = tolerant
        self._windowed = windowed
        self._outstanding = 0
        self._unacknowledged = 0
        self._known_segments: set[tuple[int, int]] = set()
        self._attached: list[Segment] = []

    @classmethod
    def pair(cls, *, windowed: bool, tolerant: bool = False) -> tuple[Channel, Channel]:
        """Return the end of the coordinator and the end of the worker."""
        ours, theirs = with_descriptors(
            lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        )
        # The kernel drops descriptors that arrive when the limit is reached.
        keep_room(theirs.fileno(), _MAX_SEGMENTS + 1)
        return cls(ours, tolerant=tolerant), cls(theirs, windowed=windowed, tolerant=tolerant)

    def begin(self, *, windowed: bool, tolerant: bool) -> None:
        """Begin another call; for the parameters, see the class."""
        self._windowed = windowed
        self._tolerant = tolerant
        self._outstanding = self._unacknowledged = 0
        self._known_segments.clear()

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
        self._attached.clear()

    def send(self, kind: int, index: int, parcel: Parcel) -> int:
        """Send `parcel`, which is about task `index`, and return its size.

        Its buffers may be changed afterwards.
        """
        window_bytes = 0
        # A thread, or a finalizer, may say something between any two lines of this method.
        if self._windowed and kind != Kind.SAID:
            nbytes = parcel.nbytes if _is_apart(parcel) else 0
            window_bytes = self._window_taken(nbytes, parcel.segments)
        self._send_all([self], kind, index, window_bytes, parcel)
        return parcel.nbytes

    @classmethod
    def send_all(cls, channels: Sequence[Channel], kind: int, parcel: Parcel) -> None:
        """Send `parcel` over several channels, whose other ends may be gone."""
        cls._send_all(channels, kind, 0, 0, parcel, gone=(BrokenPipeError, ConnectionResetError))

    @staticmethod
    def _send_all(
        channels: Sequence[Channel],
        kind: int,
        index: int,
        window_bytes: int,
        parcel: Parcel,
        gone: tuple[type[OSError], ...] = (),
    ) -> None:
        stream, buffers, _ = parcel
        file = anonymous_file("sharedmem-result") if _is_apart(parcel) else -1
        try:
            if file >= 0:
                write_parts(file, stream, buffers)
            for channel in channels:
                with contextlib.suppress(*gone):
                    channel.send_parts(kind, index, window_bytes, parcel, file)
        finally:
            if file >= 0:
                os.close(file)

    def send_parts(
        self, kind: int, index: int, window_bytes: int, parcel: Parcel, file: int
    ) -> None:
        """Send `parcel`, whose stream and buffers are in a file unless that is -1."""
        segments = parcel.segments
        while len(segments) > _MAX_SEGMENTS:
            self._send(Kind.SEGMENTS, 0, 0, Parcel(b"", (), segments[:_MAX_SEGMENTS]), -1)
            segments = segments[_MAX_SEGMENTS:]
        self._send(kind, index, window_bytes, parcel._replace(segments=segments), file)

    def _send(self, kind: int, index: int, nbytes: int, parcel: Parcel, file: int) -> None:
        stream, buffers, segments = parcel
        data = [
            _HEADER.pack(kind, file >= 0, index, nbytes, len(stream), len(buffers), len(segments)),
            struct.pack(f"={len(segments)}q", *(segment.nbytes for segment in segments)),
            stream if file < 0 else b"",
        ]
        descriptors = [segment.fd for segment in segments]
        if file >= 0:
            descriptors.append(file)
        while descriptors:
            try:
                socket.send_fds(self.socket, data, descriptors)
                return
            except OSError as error:
                # The kernel limits the descriptors in flight like those that are open. The
                # coordinator receives them, but nothing tells when.
                if error.errno != errno.ETOOMANYREFS:
                    raise
                time.sleep(0.001)
        self.socket.sendmsg(data)

    def _window_taken(self, nbytes: int, segments: Sequence[Segment]) -> int:
        """Wait for room in the window; return the bytes of it that a message takes."""
        for segment in segments:
            if segment.identity not in self._known_segments:
                self._known_segments.add(segment.identity)
                nbytes += segment.nbytes
        # A result larger than the window must pass, too, so the bound is the window and one result.
        while nbytes:
            block = self._outstanding > WINDOW_BYTES
            try:
                ack = self.socket.recv(_ACK.size, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._outstanding -= _ACK.unpack(ack)[0]
        self._outstanding += nbytes
        return nbytes

    def acknowledge(self, message: Message) -> None:
        """Tell the worker that messages were reduced, an eighth of the window at a time."""
        self._unacknowledged += message.window_bytes
        if self._unacknowledged >= WINDOW_BYTES // 8:
            acknowledged, self._unacknowledged = self._unacknowledged, 0
            # A worker that has ended does not need the window any more.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.socket.send(_ACK.pack(acknowledged))

    def receive(self, *, block: bool) -> Message | None:
        """Return the next message, or None if the other side has ended.

        Raises
        ------
        BlockingIOError
            If there is no message and `block` is False.
        UnpackingError
            If the message cannot be unpickled.
        """
        while arrived := self._take(block=block):
            message = self._open(*arrived)
            if message.kind == Kind.SAID:
                return message
            if message.kind != Kind.SEGMENTS:
                # Kept until now, since unpickling looks segments up among the live ones.
                self._attached.clear()
                return message
        return None

    def left_said(self) -> list[Message]:
        """Return what a worker that has ended has said, and drop all else that it has sent."""
        said: list[Message] = []
        if self.socket.fileno() < 0:
            return said
        with suppressed(OSError, UnpackingError):
            self.socket.shutdown(socket.SHUT_RD)  # Children of the worker may continue to send.
            while arrived := self._take(block=False):
                if arrived[0][0] == Kind.SAID:
                    said.append(self._open(*arrived))
                else:
                    for descriptor in arrived[1]:
                        os.close(descriptor)
        return said

    def _take(self, *, block: bool) -> tuple[bytes, list[int]] | None:
        """Return a message and its descriptors; None if the other side has ended."""
        while True:
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(
                    _RECEIVED_BYTES, _ANCILLARY_BYTES, _WAIT if block else _DO_NOT_WAIT
                )
            except ConnectionResetError:
                # Raised once if the worker ended with acknowledgements unread; what it has sent
                # can still be received.
                continue
            descriptors = _descriptors(ancillary)
            if descriptors:
                keep_room(max(descriptors), _MAX_SEGMENTS + 1)
            if flags & _CUT:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise OSError(
                    errno.EMFILE, f"the segments of a result were lost: {lack_of_descriptors()}"
                )
            if len(data) == _ACK.size:  # of the last call of a worker that stays
                continue
            return (data, descriptors) if data else None

    def _open(self, data: bytes, descriptors: list[int]) -> Message:
        """Return the message in `data`, and close or take over its descriptors."""
        index, file = -1, -1
        value: Any = None
        try:
            kind, in_file, index, window_bytes, *lengths = _HEADER.unpack_from(data)
            n_stream, n_buffers, n_segments = lengths
            file = descriptors.pop() if in_file else -1
            if kind not in Kind.ALL or n_segments != len(descriptors):
                raise ValueError(f"a damaged message of kind {kind}, {len(descriptors)} segments")
            for size in struct.unpack_from(f"={n_segments}q", data, _HEADER.size):
                self._attached.append(Segment.attach(descriptors.pop(0), size))
            if kind != Kind.SEGMENTS:
                rest = memoryview(data)[_HEADER.size + 8 * n_segments :]
                parts = read_parts(file, n_stream, n_buffers) if file >= 0 else (rest, ())
                self.received_bytes += n_stream + sum(len(buffer) for buffer in parts[1])
                value = unpack(index, *parts)
            if kind in (Kind.RESULTS, Kind.TASKS):
                value = opened(index, value, keeps_errors=self._tolerant)
            elif kind in (Kind.RUNS, Kind.LAST):
                value = _opened_runs(index, *value)
        except Exception as error:  # The message is damaged, or there is no memory to open it.
            if isinstance(error, UnpackingError) or is_from_handler(error):
                raise
            raise UnpackingError(index, error) from error
        finally:
            for descriptor in (file, *descriptors):
                if descriptor >= 0:
                    os.close(descriptor)
        return Message(kind, index, value, window_bytes)


def _is_apart(parcel: Parcel) -> bool:
    """Return whether a parcel is sent in a file."""
    return bool(parcel.buffers) or parcel.nbytes > INLINE_BYTES


def _opened_runs(first: int, entries: list[Any], runs: list[tuple[int, int]], *note: Any) -> Any:
    """Return the objects of each run, with the number of its first task, and the note."""
    places = [(first, 0), *runs, (-1, len(entries))]
    found = [(index, opened(index, entries[at:to])) for (index, at), (_, to) in pairwise(places)]
    return found, *note


def parts_of(message: Message) -> list[Message]:
    """Return the messages that a message stands for: it may have several runs of results."""
    if message.kind not in (Kind.RUNS, Kind.LAST):
        return [message]
    runs, *note = message.value
    parts = [Message(Kind.RESULTS, index, values) for index, values in runs]
    parts[-1] = parts[-1]._replace(window_bytes=message.window_bytes)
    if message.kind == Kind.LAST:
        parts.append(Message(Kind.FINISHED, 0, *note))
    return parts


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    return [
        descriptor
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for (descriptor,) in struct.iter_unpack("=i", data[: len(data) // 4 * 4])
    ]
