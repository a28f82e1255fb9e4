"""How results travel: one socket a worker, large buffers in a segment of their own."""

from __future__ import annotations

import contextlib
import enum
import errno
import io
import os
import pickle
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from sharedmem.array import SharedArray, describe
from sharedmem.files import anonymous_file, map_privately
from sharedmem.memory import Segment

# What fits goes through the socket, and the rest through a segment. A sequenced-packet socket
# keeps each message whole: a worker that is killed leaves a message or none.
INLINE_BYTES = 32 * 1024
# Buffers from this size on are mapped by the coordinator, not copied.
MAPPED_BYTES = 64 * 1024
# What a worker may have sent, in segments, before the coordinator has reduced it.
WINDOW_BYTES = 32 * 1024 * 1024
# The kernel passes at most 253 descriptors with one message.
_MAX_SEGMENTS = 250
_ALIGNMENT = 64

# Results of these types are immutable and small, so that they may be pickled later, many at once.
ATOMIC_TYPES = frozenset({int, float, complex, bool, type(None)}) | {
    scalar
    for scalar in np.sctypeDict.values()
    if not issubclass(scalar, (np.object_, np.void, np.str_, np.bytes_))
}


class Kind(enum.IntEnum):
    """What a message says."""

    RESULTS = 0
    FAILURE = 1
    FINISHED = 2
    TASKS = 3
    SEGMENTS = 4


class Message(NamedTuple):
    """What one side tells the other.

    Attributes
    ----------
    kind : Kind
        What it says.
    index : int
        The task that it is about, the first one where there are several.
    value : object
        Results, a failure, or items to work on.
    window_bytes : int
        What it holds of the result window.
    """

    kind: Kind
    index: int
    value: Any
    window_bytes: int = 0


class UnpackingError(RuntimeError):
    """A message arrived whole, but what it holds cannot be unpickled here."""

    def __init__(self, index: int, reason: BaseException) -> None:
        super().__init__(index, reason)
        self.index = index
        self.reason = reason


class _Pickler(pickle.Pickler):
    """Keeps large buffers and the segments of shared arrays out of the stream."""

    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream, protocol=5, buffer_callback=self._keep_apart)
        self.buffers: list[memoryview] = []
        self.segments: list[Segment] = []

    def _keep_apart(self, buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < MAPPED_BYTES:
            return True
        self.buffers.append(raw)
        return False

    def reducer_override(self, value: Any) -> Any:
        if type(value) is SharedArray:
            segment = describe(value)[0]
            if segment.fd >= 0 and segment not in self.segments:
                self.segments.append(segment)
        return NotImplemented


class Parcel(NamedTuple):
    """A pickled object: its stream, the buffers kept out of it, the segments that it refers to."""

    stream: bytes
    buffers: Sequence[memoryview] = ()
    segments: Sequence[Segment] = ()


def pack(value: object) -> Parcel:
    """Pickle `value`, large buffers and shared arrays apart; the buffers are not copied yet."""
    stream = io.BytesIO()
    pickler = _Pickler(stream)
    pickler.dump(value)
    return Parcel(stream.getvalue(), pickler.buffers, pickler.segments)


# Kind, whether the parts are in a file, index, bytes of the window, bytes of the stream, buffers,
# segments; the sizes of the segments follow, then the stream unless it is in the file.
_HEADER = struct.Struct("=BBqqqqq")
_ACK = struct.Struct("=q")


class Channel:
    """One end of the socket between the coordinator and a worker.

    Parameters
    ----------
    end : socket.socket
        A sequenced-packet socket.
    windowed : bool
        Whether what is sent from here waits once the result window is full.
    """

    def __init__(self, end: socket.socket, *, windowed: bool = False) -> None:
        self.socket = end
        self._windowed = windowed
        self._outstanding = 0
        self._unacknowledged = 0
        self._known_segments: set[tuple[int, int]] = set()
        self._attached: list[Segment] = []

    @classmethod
    def pair(cls, *, windowed: bool) -> tuple[Channel, Channel]:
        """Return the coordinator's end and the worker's."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs, windowed=windowed)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
        self._attached.clear()

    def send(self, kind: Kind, index: int, parcel: Parcel) -> None:
        """Send `parcel`, which is about task `index`; its buffers may be changed afterwards."""
        stream, buffers, segments = parcel
        nbytes = 0
        for segment in segments:
            if segment.identity not in self._known_segments:
                self._known_segments.add(segment.identity)
                nbytes += segment.nbytes
        while len(segments) > _MAX_SEGMENTS:
            self._send(Kind.SEGMENTS, 0, 0, Parcel(b"", (), segments[:_MAX_SEGMENTS]), -1)
            segments = segments[_MAX_SEGMENTS:]
        parcel = Parcel(stream, buffers, segments)
        file = -1
        if buffers or len(stream) > INLINE_BYTES:
            file = anonymous_file("sharedmem-result")
        try:
            if file >= 0:
                nbytes += _write_parts(file, stream, buffers)
            if nbytes and self._windowed:
                self._wait_for_window(nbytes)
            self._send(kind, index, nbytes, parcel, file)
        finally:
            if file >= 0:
                os.close(file)

    def _send(self, kind: Kind, index: int, nbytes: int, parcel: Parcel, file: int) -> None:
        stream, buffers, segments = parcel
        data = [
            _HEADER.pack(
                kind, file >= 0, index, nbytes, len(stream), len(buffers), len(segments)
            ),
            struct.pack(f"={len(segments)}q", *(segment.nbytes for segment in segments)),
            stream if file < 0 else b"",
        ]
        descriptors = [segment.fd for segment in segments]
        if file >= 0:
            descriptors.append(file)
        if descriptors:
            socket.send_fds(self.socket, data, descriptors)
        else:
            self.socket.sendmsg(data)

    def _wait_for_window(self, nbytes: int) -> None:
        # A result larger than the window must pass too, so the bound is the window and one result.
        while True:
            block = self._outstanding > WINDOW_BYTES
            try:
                ack = self.socket.recv(_ACK.size, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._outstanding -= _ACK.unpack(ack)[0]
        self._outstanding += nbytes

    def acknowledge(self, message: Message) -> None:
        """Tell the worker that `message` has been reduced; eighths of the window at a time."""
        self._unacknowledged += message.window_bytes
        if self._unacknowledged >= WINDOW_BYTES // 8:
            acknowledged, self._unacknowledged = self._unacknowledged, 0
            # A worker that has ended needs no window any more.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.socket.send(_ACK.pack(acknowledged))

    def receive(self, *, block: bool) -> Message | None:
        """Return the next message, None when the other side has ended.

        Raises
        ------
        BlockingIOError
            If there is none now and `block` is False.
        UnpackingError
            If the message cannot be unpickled.
        """
        while True:
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(
                    _HEADER.size + 8 * _MAX_SEGMENTS + INLINE_BYTES,
                    socket.CMSG_SPACE(4 * (_MAX_SEGMENTS + 1)),
                    socket.MSG_CMSG_CLOEXEC | (0 if block else socket.MSG_DONTWAIT),
                )
            except ConnectionResetError:
                # Said once if the worker ended with acknowledgements unread; what it has sent
                # can still be received.
                continue
            descriptors = _descriptors(ancillary)
            if flags & socket.MSG_CTRUNC:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise OSError(
                    errno.EMFILE, "a result was lost, since this process has no descriptor left"
                )
            if not data:
                return None
            message = self._open(data, descriptors)
            if message.kind != Kind.SEGMENTS:
                # Only now may the segments go: unpickling finds them among the live ones.
                self._attached.clear()
                return message

    def _open(self, data: bytes, descriptors: list[int]) -> Message:
        kind, in_file, index, nbytes, n_stream, n_buffers, n_segments = _HEADER.unpack_from(data)
        sizes = struct.unpack_from(f"={n_segments}q", data, _HEADER.size)
        file = descriptors.pop() if in_file else -1
        try:
            while descriptors:
                fd = descriptors.pop(0)
                self._attached.append(Segment.attach(fd, sizes[-len(descriptors) - 1]))
            if kind == Kind.SEGMENTS:
                return Message(Kind.SEGMENTS, index, None)
            if in_file:
                value = _read_parts(file, index, n_stream, n_buffers)
            else:
                value = _loads(index, memoryview(data)[_HEADER.size + 8 * n_segments :])
            if kind == Kind.RESULTS and bytes in map(type, value):
                for k, item in enumerate(value):
                    if type(item) is bytes:
                        value[k] = _loads(index + k, item)
        finally:
            for descriptor in (file, *descriptors):
                if descriptor >= 0:
                    os.close(descriptor)
        return Message(Kind(kind), index, value, nbytes)


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    return [
        descriptor
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for (descriptor,) in struct.iter_unpack("=i", data[: len(data) // 4 * 4])
    ]


def _loads(index: int, stream: bytes | memoryview, buffers: Iterable[memoryview] = ()) -> Any:
    try:
        return pickle.loads(stream, buffers=buffers)
    except Exception as error:
        raise UnpackingError(index, error) from error


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _write_parts(file: int, stream: bytes, buffers: Sequence[memoryview]) -> int:
    """Write the lengths of `buffers`, the stream and the buffers; return the bytes written."""
    lengths = struct.pack(f"={len(buffers)}q", *(buffer.nbytes for buffer in buffers))
    offset = 0
    for part in (lengths, stream, *buffers):
        # Writing is 2 x faster than to map the fresh file and to fault its pages in one by one.
        offset = _aligned(offset)
        view = memoryview(part)
        while view:
            n_written = os.pwrite(file, view, offset)
            view = view[n_written:]
            offset += n_written
    return offset


def _read_parts(file: int, index: int, n_stream: int, n_buffers: int) -> Any:
    content = map_privately(file, os.fstat(file).st_size)
    lengths = struct.unpack_from(f"={n_buffers}q", content)
    start = _aligned(8 * n_buffers)
    stream = content[start : start + n_stream]
    offset = start + n_stream
    buffers = []
    for length in lengths:
        offset = _aligned(offset)
        buffers.append(content[offset : offset + length])
        offset += length
    return _loads(index, stream, buffers)


class Outbox:
    """Where a worker puts its results, in the order of their tasks.

    Small immutable results wait in `pending` and leave together; all others are pickled at once,
    so that a task may use the same buffer as the one before. In a list of results an item of type
    bytes is always such a pickle, since bytes themselves are not of an atomic type.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._first = 0
        self._pending_bytes = 0
        self.pending: list[Any] = []

    def start(self, index: int) -> None:
        """Say that the next result is that of task `index`."""
        self._first = index

    def add(self, result: object) -> None:
        """Take a result that is not of an atomic type."""
        parcel = pack(result)
        if parcel.buffers or parcel.segments:
            self.flush()
            self._channel.send(Kind.RESULTS, self._first, pack([result]))
            self._first += 1
            return
        self.pending.append(parcel.stream)
        self._pending_bytes += len(parcel.stream)
        if self._pending_bytes > INLINE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is pending."""
        if self.pending:
            self._channel.send(Kind.RESULTS, self._first, Parcel(pickle.dumps(self.pending, 5)))
            self._first += len(self.pending)
            self.pending.clear()
            self._pending_bytes = 0
