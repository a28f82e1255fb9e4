"""Keys of segments: how a process finds a segment of another one, and never a wrong one."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

from sharedmem.memory.segments import Segment, find_identity, identify


class SegmentKey(NamedTuple):
    """Where a segment can be found, and what tells it from all others.

    Numbers of processes and descriptors are used again, so that the start time, device and
    inode stand beside them. No address is in it.
    """

    boot: str
    pid_namespace: str
    pid: int
    started: int | None
    fd: int
    identity: tuple[int, int]
    nbytes: int


def key_of(segment: Segment) -> SegmentKey:
    """Return the key that :func:`open_segment` takes, good while this process has the segment."""
    pid = os.getpid()
    return SegmentKey(
        boot(),
        _pid_namespace(),
        pid,
        _start_time(pid),
        segment.fd,
        segment.identity,
        segment.nbytes,
    )


def open_segment(key: SegmentKey) -> Segment:
    """Return the segment of this key: the inherited one, or else attached from its process.

    Raises
    ------
    ReferenceError
        The segment is gone, or on another machine.
    PermissionError
        The system forbids access to the descriptors of the process that has it.
    TypeError
        The key is damaged.
    """
    key = SegmentKey(*key)
    if not all(type(entry) is int for entry in (key.pid, key.fd, key.nbytes)):
        raise TypeError(f"the key of a shared array is damaged: {key}")
    what = f"the shared array that process {key.pid} pickled ({key.nbytes} bytes)"
    instead = "send a copy instead: array.copy()"
    if key.boot != boot():
        raise ReferenceError(f"{what} was on another machine, or before a restart; {instead}")
    segment = find_identity(key.identity)
    if segment is not None:
        return segment
    if key.pid_namespace != _pid_namespace():
        raise ReferenceError(f"{what} is in another container; {instead}")
    if key.fd < 0:
        raise ReferenceError(
            f"{what} has no descriptor, since the system has no memfd, or none was left when it "
            "was made (see `ulimit -n`): only processes forked after that have it; "
            f"drop shared arrays, or {instead}"
        )
    if key.started != _start_time(key.pid):
        raise ReferenceError(
            f"{what} is gone, since the process has ended; keep it alive, or {instead}"
        )
    path = Path(f"/proc/{key.pid}/fd/{key.fd}")
    try:
        # Looked at before it is opened: the number may be a terminal's or a pipe's by now.
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC) if _is(key, path.stat()) else -1
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"this process may not attach {what}: the process belongs to another user, or the "
            f"system restricts access to it (ptrace); {instead}",
        ) from error
    except FileNotFoundError:
        fd = -1
    if fd >= 0 and not _is(key, os.fstat(fd)):
        os.close(fd)
        fd = -1
    if fd < 0:
        raise ReferenceError(f"{what} has been freed there; keep a reference, or {instead}")
    return Segment.attach(fd, key.nbytes)


def _is(key: SegmentKey, status: os.stat_result) -> bool:
    return identify(status) == key.identity


@functools.cache
def boot() -> str:
    """Return what tells this machine, and its last start, from all others; empty if unknown."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None if it does not run."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name before it, in parentheses, may itself hold parentheses and spaces.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] == b"Z" else int(fields[19])
