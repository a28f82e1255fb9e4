"""Shared arrays read from iterables and files, with NumPy's names: fromiter, fromfile."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from typing import IO, Any, cast

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.arrays.binary_files import check_binary, has_size, read_stream
from sharedmem.arrays.constructors import copy, empty
from sharedmem.arrays.shared_array import SharedArray, check_dtype, describe
from sharedmem.memory import fill


def fromiter(iterable: Iterable[Any], dtype: DTypeLike | None, count: int = -1) -> SharedArray:
    """Create a 1-D shared array from an iterable; see `numpy.fromiter`.

    Parameters
    ----------
    iterable : iterable
        The items, which are collected in private memory first.
    dtype : dtype
        Any type without Python objects.
    count : int, optional
        Number of items to read, by default all.

    Returns
    -------
    SharedArray
        The array.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.fromiter((i * i for i in range(4)), dtype="i8")
    SharedArray([0, 1, 4, 9])
    """
    return copy(np.fromiter(iterable, check_dtype(dtype), count))


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
        check_binary(file)
    elif not sep:
        with open(file, "rb") as named:
            return fromfile(named, checked, count, offset=offset)
    if checked.itemsize == 0 and count < 0:
        raise ValueError(f"elements of dtype {checked!r} have no size: give count=")
    if sep or checked.itemsize == 0:
        return copy(np.fromfile(file, checked, count, sep, offset))
    opened = cast(IO[Any], file)
    if not has_size(opened):
        content = read_stream(opened, offset, count * checked.itemsize)
        return copy(np.frombuffer(content, checked, len(content) // checked.itemsize))
    start = opened.tell() + offset
    n_left = os.fstat(opened.fileno()).st_size - start
    if start < 0:
        raise ValueError(f"offset={offset} points before the beginning of the file")
    if n_left <= -checked.itemsize and count < 0:  # NumPy ignores part of an element
        raise ValueError(f"offset={offset} points {-n_left} bytes past the end of the file")
    length = max(n_left, 0) // checked.itemsize
    array = empty(length if count < 0 else min(count, length), checked)
    fill.read(describe(array)[0], opened.fileno(), start)
    opened.seek(start + array.nbytes)
    return array
