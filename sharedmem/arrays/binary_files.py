"""Binary files, pipes, and devices that `fromfile` reads."""

from __future__ import annotations

import io
import os
import stat
import sys
from typing import IO, Any

# Bytes of a pipe that are read at a time.
_STREAM_BYTES = 1 << 20


def check_binary(file: Any) -> None:
    """Raise TypeError unless a file object reads the unchanged bytes of a file of the system."""
    raw = file
    while not isinstance(raw, io.FileIO):
        inner = [getattr(raw, name) for name in ("buffer", "raw", "file") if hasattr(raw, name)]
        if not (inner and isinstance(inner[0], io.IOBase)):
            break
        raw = inner[0]  # of a text file, a buffered file, or a temporary file
    if isinstance(raw, io.FileIO):
        if not raw.readable():
            raise io.UnsupportedOperation("the file is not open for reading")
        return
    if isinstance(file, io.IOBase):
        file.fileno()  # may raise a better error
    raise TypeError(
        f"file must be a path or a file object of open(), not {type(file).__name__}, whose bytes "
        "may differ from those on the disk: use np.frombuffer(file.read(), dtype)"
    )


def has_size(file: IO[Any]) -> bool:
    """Return whether a file has a size; pipes, character devices, and files in /proc do not."""
    status = os.fstat(file.fileno())
    return stat.S_ISBLK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size > 0)


def read_stream(file: Any, offset: int, n_bytes: int) -> bytes:
    """Read up to `n_bytes` bytes of a stream after `offset` bytes; all bytes if negative.

    Raises
    ------
    ValueError
        If `offset` is negative, or `n_bytes` is negative for a device that is not empty.
    """
    file = getattr(file, "buffer", file)  # of a text file
    is_device = stat.S_ISCHR(os.fstat(file.fileno()).st_mode)
    if offset < 0:
        raise ValueError(f"offset={offset} is negative, but a pipe or device cannot be read again")
    _read_up_to(file, offset)
    if n_bytes < 0 and is_device and file.read(1):
        raise ValueError("count=-1 reads to the end, which a device may not have: pass count=")
    return _read_up_to(file, n_bytes if n_bytes >= 0 else sys.maxsize)


def _read_up_to(file: IO[bytes], n_bytes: int) -> bytes:
    parts = []
    while n_bytes > 0 and (part := file.read(min(n_bytes, _STREAM_BYTES))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)
