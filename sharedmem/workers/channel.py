"""Send messages over one socket per worker, with large buffers in anonymous files."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sharedmem.machine.descriptors import keep_room, lack_of_descriptors, with_descriptors
from sharedmem.machine.signals import is_from_handler
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
    """Kinds of messages, as plain integers; results and tasks are sent in batches."""

    RESULTS = 0
    TASKS = 1
    FAILURE = 2
    FINISHED = 3
    SEGMENTS = 4
    ALL = range(5)


class Message(NamedTuple):
    """A message between coordinator and worker.

    Attributes
    ----------
    kind : int
        One of the numbers of :class:`Kind`.
    task : int
        The number of the task, or of the first of several, that the message is about.
    value : object
        Results, a failure, or items to work on.
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


class Channel:
    """One end of the socket between the coordinator and a worker.

    Parameters
    ----------
    end : socket.socket
        A sequenced-packet socket.
    windowed : bool
        Whether sending from this end blocks while the result window is full.
    """

    def __init__(self, end: socket.socket, *, windowed: bool = False) -> None:
        self.socket = end
        self._windowed = windowed
        self._outstanding = 0
        self._unacknowledged = 0
        self.sent_bytes = 0
        self._known_segments: set[tuple[int, int]] = set()
        self._attached: list[Segment] = []

    @classmethod
    def pair(cls, *, windowed: bool) -> tuple[Channel, Channel]:
        """Return the end of the coordinator and the end of the worker."""
        ours, theirs = with_descriptors(
            lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        )
        # The kernel drops descriptors that arrive when the limit is reached.
        keep_room(theirs.fileno(), _MAX_SEGMENTS + 1)
        return cls(ours), cls(theirs, windowed=windowed)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
        self._attached.clear()

    def send(self, kind: int, index: int, parcel: Parcel) -> None:
        """Send `parcel`, which is about task `index`; its buffers may be changed afterwards."""
        stream, buffers, segments = parcel
        size = parcel.nbytes
        self.sent_bytes += size
        is_apart = bool(buffers) or size > INLINE_BYTES
        window_bytes = self._window_bytes(size if is_apart else 0, segments)
        if window_bytes:
            self._wait_for_window(window_bytes)
        while len(segments) > _MAX_SEGMENTS:
            self._send(Kind.SEGMENTS, 0, 0, Parcel(b"", (), segments[:_MAX_SEGMENTS]), -1)
            segments = segments[_MAX_SEGMENTS:]
        file = write_parts(stream, buffers) if is_apart else -1
        try:
            self._send(kind, index, window_bytes, Parcel(stream, buffers, segments), file)
        finally:
            if file >= 0:
                os.close(file)

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
        if not descriptors:
            self.socket.sendmsg(data)
            return
        while True:
            try:
                socket.send_fds(self.socket, data, descriptors)
            except OSError as error:
                # The kernel limits the descriptors in flight like those that are open. The
                # coordinator receives them, but nothing tells when.
                if error.errno != errno.ETOOMANYREFS:
                    raise
                time.sleep(0.001)
            else:
                return

    def _window_bytes(self, nbytes: int, segments: Sequence[Segment]) -> int:
        """Return the bytes of the window that a message takes until it is acknowledged."""
        if not self._windowed:
            return 0
        for segment in segments:
            if segment.identity not in self._known_segments:
                self._known_segments.add(segment.identity)
                nbytes += segment.nbytes
        return nbytes

    def _wait_for_window(self, nbytes: int) -> None:
        # A result larger than the window must pass, too, so the bound is the window and one result.
        while True:
            block = self._outstanding > WINDOW_BYTES
            try:
                ack = self.socket.recv(_ACK.size, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            self._outstanding -= _ACK.unpack(ack)[0]
        self._outstanding += nbytes

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
        while True:
            try:
                data, ancillary, flags, _ = self.socket.recvmsg(
                    _HEADER.size + 8 * _MAX_SEGMENTS + INLINE_BYTES,
                    socket.CMSG_SPACE(4 * (_MAX_SEGMENTS + 1)),
                    socket.MSG_CMSG_CLOEXEC | (0 if block else socket.MSG_DONTWAIT),
                )
            except ConnectionResetError:
                # Raised once if the worker ended with acknowledgements unread; what it has sent
                # can still be received.
                continue
            descriptors = _descriptors(ancillary)
            if descriptors:
                keep_room(max(descriptors), _MAX_SEGMENTS + 1)
            if flags & socket.MSG_CTRUNC:
                for descriptor in descriptors:
                    os.close(descriptor)
                raise OSError(
                    errno.EMFILE, f"the segments of a result were lost: {lack_of_descriptors()}"
                )
            if not data:
                return None
            message = self._open(data, descriptors)
            if message.kind != Kind.SEGMENTS:
                # Kept until now, since unpickling looks segments up among the live ones.
                self._attached.clear()
                return message

    def _open(self, data: bytes, descriptors: list[int]) -> Message:
        """Return the message in `data`, and close or take over its descriptors."""
        index, file = -1, -1
        try:
            kind, in_file, index, nbytes, *lengths = _HEADER.unpack_from(data)
            file = descriptors.pop() if in_file else -1
            value = self._value(kind, index, file, data, lengths, descriptors)
        except UnpackingError:
            raise
        except Exception as error:  # The message is damaged, or there is no memory to open it.
            if is_from_handler(error):
                raise
            raise UnpackingError(index, error) from error
        finally:
            for descriptor in (file, *descriptors):
                if descriptor >= 0:
                    os.close(descriptor)
        return Message(kind, index, value, nbytes)

    def _value(
        self,
        kind: int,
        index: int,
        file: int,
        data: bytes,
        lengths: Sequence[int],
        descriptors: list[int],
    ) -> Any:
        n_stream, n_buffers, n_segments = lengths
        if kind not in Kind.ALL or n_segments != len(descriptors):
            raise ValueError(f"a damaged message of kind {kind} with {len(descriptors)} segments")
        for size in struct.unpack_from(f"={n_segments}q", data, _HEADER.size):
            self._attached.append(Segment.attach(descriptors.pop(0), size))
        if kind == Kind.SEGMENTS:
            return None
        if file >= 0:
            value = read_parts(file, index, n_stream, n_buffers)
        else:
            value = unpack(index, memoryview(data)[_HEADER.size + 8 * n_segments :])
        return opened(index, value) if kind in (Kind.RESULTS, Kind.TASKS) else value


def _descriptors(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    return [
        descriptor
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for (descriptor,) in struct.iter_unpack("=i", data[: len(data) // 4 * 4])
    ]
