"""Binary files, pipes, and devices that `fromfile` reads."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import IO, Any

# So much of a pipe is read at a time.
_STREAM_BYTES = 1 << 20


def check_binary(file: Any) -> None:
    """Refuse what is no open file of the system, or whose bytes are not those of one."""
    raw = file
    while not isinstance(raw, io.FileIO):
        inner = [getattr(raw, name) for name in ("buffer", "raw", "file") if hasattr(raw, name)]
        if not (inner and isinstance(inner[0], io.IOBase)):
            break
        raw = inner[0]  # of a text file, of a buffer, or of one of tempfile's
    if isinstance(raw, io.FileIO):
        if not raw.readable():
            raise io.UnsupportedOperation("the file is not open for reading")
        return
    if isinstance(file, io.IOBase):
        file.fileno()  # may have an error of its own
    raise TypeError(
        f"file must be a path or a file that open() has given, not {type(file).__name__}, whose "
        "bytes may be others than those on the disk: np.frombuffer(file.read(), dtype) takes them"
    )


def has_size(file: IO[Any]) -> bool:
    """Return whether a file says how much it holds: pipes, devices and /proc do not."""
    status = os.fstat(file.fileno())
    return stat.S_ISBLK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size > 0)


def read_stream(file: Any, offset: int, n_bytes: int) -> bytes:
    """Read what a file gives after `offset` bytes: up to so many, or all of it if negative.

    Raises
    ------
    ValueError
        If `offset` is negative, or all of a device is asked for that is not empty.
    """
    file = getattr(file, "buffer", file)  # of a text file
    is_device = stat.S_ISCHR(os.fstat(file.fileno()).st_mode)
    if offset < 0:
        raise ValueError(f"offset={offset} points to what has been read of a pipe or device")
    _read_up_to(file, offset)
    if n_bytes < 0 and is_device and file.read(1):
        raise ValueError("a device may have no end: give count=")
    return _read_up_to(file, n_bytes if n_bytes >= 0 else sys.maxsize)


def _read_up_to(file: IO[bytes], n_bytes: int) -> bytes:
    parts = []
    while n_bytes > 0 and (part := file.read(min(n_bytes, _STREAM_BYTES))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)
