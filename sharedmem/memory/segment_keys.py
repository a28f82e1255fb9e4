"""Keys by which a process finds a segment of another process, and never a wrong one."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

from sharedmem.machine.proc import lines, stat_fields
from sharedmem.memory.memory_files import identify
from sharedmem.memory.segments import Segment, find_identity


class SegmentKey(NamedTuple):
    """The place and the identity of a segment.

    The system reuses process and descriptor numbers, so the start time of the process and device
    and inode of the file are stored with them. The key contains no address.
    """

    boot: str
    pid_namespace: str
    pid: int
    started: int | None
    fd: int
    identity: tuple[int, int]
    nbytes: int


def key_of(segment: Segment) -> SegmentKey:
    """Return the key for :func:`open_segment`, valid while this process has the segment."""
    return _key(*_this_process(os.getpid()), segment.fd, segment.identity, segment.nbytes)


# The same key for all arrays of a segment: a pickle contains it once.
@functools.lru_cache(64)
def _key(*entries: Any) -> SegmentKey:
    return SegmentKey(boot(), *entries)


@functools.lru_cache(1)
def _this_process(pid: int) -> tuple[str, int, int | None]:
    return _pid_namespace(), pid, _start_time(pid)


os.register_at_fork(after_in_child=_this_process.cache_clear)


def open_segment(key: SegmentKey) -> Segment:
    """Return the segment of a key: one that this process has, or else attach it from its process.

    Raises
    ------
    ReferenceError
        If the segment is gone, or on another machine.
    PermissionError
        If the system forbids access to the descriptors of the process that has it.
    TypeError
        If the key is damaged.
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
            f"delete shared arrays, or {instead}"
        )
    if key.started != _start_time(key.pid):
        raise ReferenceError(
            f"{what} is gone, since the process has ended; keep the process alive, or {instead}"
        )
    path = Path(f"/proc/{key.pid}/fd/{key.fd}")
    fd = -1
    try:
        # Tested before it is opened: the number may be that of a terminal or a pipe now.
        if identify(path.stat()) == key.identity:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"this process may not attach {what}: the process belongs to another user, or the "
            f"system restricts access to it (ptrace); {instead}",
        ) from error
    except FileNotFoundError:
        pass
    if fd >= 0:
        if identify(os.fstat(fd)) == key.identity:
            return Segment.attach(fd, key.nbytes)
        os.close(fd)
    raise ReferenceError(f"{what} has been freed there; keep a reference, or {instead}")


@functools.cache
def boot() -> str:
    """Return an identifier of this machine and its last start; empty if unknown."""
    return "".join(lines("/proc/sys/kernel/random/boot_id"))


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    """Return the start time of a process, in clock ticks since boot; None if it has ended."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields and fields[0] != b"Z" else None
