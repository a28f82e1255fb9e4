"""Shared arrays read from files, pipes, and devices, with NumPy's name: fromfile."""

from __future__ import annotations

import io
import operator
import os
import stat
import sys
from typing import IO, Any, cast

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.arrays.constructors import empty
from sharedmem.arrays.from_data import copy
from sharedmem.arrays.shared_array import SharedArray, check_dtype, segment_of
from sharedmem.machine.tuning import tuning
from sharedmem.memory import fill
from sharedmem.memory.memory_files import read_into

# Bytes of a pipe that are read at a time.
_STREAM_BYTES = 1 << 20


def fromfile(
    file: str | bytes | os.PathLike[Any] | IO[Any],
    dtype: DTypeLike | None = "f8",
    count: int = -1,
    sep: str = "",
    offset: int = 0,
) -> SharedArray:
    """Create a 1-D shared array from the contents of a file; see `numpy.fromfile`.

    Parameters
    ----------
    file : path or open file
        A binary file is read in parallel. Unlike in NumPy, it may be a pipe or device, which is
        read serially. An open file is read from its current position, which is advanced.
    dtype : dtype, optional
        Any type without Python objects, by default float64.
    count : int, optional
        Maximum number of elements to read, by default all.
    sep : str, optional
        Separator between the numbers of a text file. By default the file is binary.
    offset : int, optional
        Number of bytes to skip in a binary file.

    Returns
    -------
    SharedArray
        The array.

    Raises
    ------
    TypeError
        If `file` is neither a path nor an open file of the system. The bytes of a compressed file
        are not those that it returns.
    ValueError
        If `offset` points before the beginning of the file; or, without `count`, if elements have
        no size, the file ends before `offset`, or a device may have no end.

    See Also
    --------
    array : Take a sequence.
    fromiter : Take an iterable.

    Examples
    --------
    >>> import numpy as np, sharedmem, tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     np.arange(5).tofile(file)
    ...     _ = file.seek(0)
    ...     sharedmem.fromfile(file, dtype="i8", offset=16)
    SharedArray([2, 3, 4])
    """
    checked, count, offset = check_dtype(dtype), operator.index(count), operator.index(offset)
    if not isinstance(file, str | bytes | os.PathLike):
        _check_binary(file)
    elif not sep:
        with open(file, "rb") as named:
            return fromfile(named, checked, count, offset=offset)
    if checked.itemsize == 0 and count < 0:
        raise ValueError(f"elements of dtype {checked!r} have no size: give count=")
    if sep or checked.itemsize == 0:
        return copy(np.fromfile(file, checked, count, sep, offset))
    opened = cast(IO[Any], file)
    if not _has_size(opened):
        content = _read_stream(opened, offset, count * checked.itemsize)
        return copy(np.frombuffer(content, checked, len(content) // checked.itemsize))
    start = opened.tell() + offset
    n_left = os.fstat(opened.fileno()).st_size - start
    if start < 0:
        raise ValueError(f"offset={offset} points before the beginning of the file")
    if n_left <= -checked.itemsize and count < 0:  # NumPy ignores part of an element
        raise ValueError(f"offset={offset} points {-n_left} bytes past the end of the file")
    length = max(n_left, 0) // checked.itemsize
    array = empty(length if count < 0 else min(count, length), checked)
    if array.nbytes <= tuning.arena_bytes:
        read_into(opened.fileno(), np.asarray(array).view("u1").data, start)
    else:
        fill.read(segment_of(array), opened.fileno(), start)
    opened.seek(start + array.nbytes)
    return array


def _check_binary(file: Any) -> None:
    """Raise TypeError unless a file object reads the unchanged bytes of a file of the system."""
    raw = file
    while raw is file or isinstance(raw, io.IOBase):
        if isinstance(raw, io.FileIO):
            if raw.readable():
                return
            raise io.UnsupportedOperation("the file is not open for reading")
        # Of a text file, a buffered file, or a temporary file.
        inner = (getattr(raw, name) for name in ("buffer", "raw", "file") if hasattr(raw, name))
        raw = next(inner, None)
    if isinstance(file, io.IOBase):
        file.fileno()  # may raise a better error
    raise TypeError(
        f"file must be a path or a file object of open(), not {type(file).__name__}, whose bytes "
        "may differ from those on the disk: use np.frombuffer(file.read(), dtype)"
    )


def _has_size(file: IO[Any]) -> bool:
    """Return whether a file has a size; pipes, character devices, and files in /proc do not."""
    status = os.fstat(file.fileno())
    return stat.S_ISBLK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size > 0)


def _read_stream(file: Any, offset: int, n_bytes: int) -> bytes:
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
