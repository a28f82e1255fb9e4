"""Constructors of shared arrays, by NumPy's names: empty, zeros, full, copy, fromfile ..."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Sequence
from typing import IO, Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.binary_files import check_binary, has_size, read_stream
from sharedmem.arrays.conversion import as_ndarray, check_plain
from sharedmem.arrays.shared_array import SharedArray, allocate, check_dtype, describe, memory_order
from sharedmem.memory import fill


def empty(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new array whose pages come into being when they are first touched.

    Parameters
    ----------
    shape : int or sequence of ints
        Shape of the array; ``()`` for a scalar.
    dtype : dtype, optional
        Any type without Python objects.
    order : {'C', 'F'}, optional
        Order in memory.

    Returns
    -------
    SharedArray
        It holds zeros, which is not a promise.

    Raises
    ------
    ValueError
        A size is negative.
    TypeError
        The type holds Python objects, which mean nothing in another process.
    MemoryError
        The machine, or the control group of this process, has less memory.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.empty((2, 3), dtype="i4").shape
    (2, 3)
    >>> sharedmem.empty(3, dtype=object)
    Traceback (most recent call last):
        ...
    TypeError: an array of type object holds pointers to Python objects, ...
    """
    return SharedArray(shape, dtype, order)


def empty_like(
    array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new array with the shape and type of another one, as :func:`empty` does.

    Parameters
    ----------
    array : array_like
        The prototype.
    dtype : dtype, optional
        Another type.
    order : {'K', 'A', 'C', 'F'}, optional
        Order in memory; ``'K'`` keeps that of the prototype, as in NumPy.

    Returns
    -------
    SharedArray
        It holds zeros, which is not a promise.
    """
    check_plain(array)
    given: Any = array
    if hasattr(given, "shape") and not isinstance(given, np.ndarray):  # in a file: not to be read
        given = np.broadcast_to(np.empty((), given.dtype), given.shape)
    prototype = as_ndarray(given)
    dtype = prototype.dtype if dtype is None else dtype
    return allocate(prototype.shape, dtype, memory_order(prototype, order))


def zeros(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new array of zeros whose pages are all present; parameters as in :func:`empty`."""
    return _clear(empty(shape, dtype, order=order))


def zeros_like(
    array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new array of zeros; parameters as in :func:`empty_like`."""
    return _clear(empty_like(array, dtype, order=order))


def ones(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new array of ones; parameters as in :func:`empty`."""
    return full(shape, 1, dtype, order=order)


def ones_like(array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K") -> SharedArray:
    """Return a new array of ones; parameters as in :func:`empty_like`."""
    return full_like(array, 1, dtype, order=order)


def full(
    shape: int | Sequence[int],
    value: ArrayLike,
    dtype: DTypeLike | None = "f8",
    *,
    order: str = "C",
) -> SharedArray:
    """Return a new array filled with `value`, in parallel threads.

    Parameters
    ----------
    shape : int or sequence of ints
        Shape of the array.
    value : scalar or array_like
        What to fill it with, broadcast to `shape`.
    dtype : dtype, optional
        Any type without Python objects. Unlike in NumPy it is float64 unless given.
    order : {'C', 'F'}, optional
        Order in memory.

    Returns
    -------
    SharedArray
        Its memory lies on huge pages where the system has them.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.full((2, 2), 7, dtype="i4")
    SharedArray([[7, 7],
                 [7, 7]], dtype=int32)
    """
    return _fill(empty(shape, dtype, order=order), value)


def full_like(
    array: ArrayLike, value: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new array filled with `value`; the other parameters as in :func:`empty_like`."""
    return _fill(empty_like(array, dtype, order=order), value)


def copy(a: ArrayLike, *, order: str = "K") -> SharedArray:
    """Return a copy of an array in shared memory, made in parallel threads.

    Parameters
    ----------
    a : array_like
        Any array without Python objects; a view, or a :class:`numpy.memmap`, too.
    order : {'K', 'A', 'C', 'F'}, optional
        Order in memory; ``'K'`` keeps that of `a`, as in NumPy.

    Returns
    -------
    SharedArray
        Of the same shape and type.

    Notes
    -----
    Workers are forked, so that they can read every array as it is. A copy is worth its time for
    arrays that they write to, or that go from process to process.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.copy([[1, 2], [3, 4]])
    SharedArray([[1, 2],
                 [3, 4]])
    """
    values = as_ndarray(a)
    return _fill(empty_like(values, order=order), values)


def array(obj: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K") -> SharedArray:
    """Return a new array with the elements of `obj`, as :func:`numpy.array` does.

    Parameters
    ----------
    obj : array_like
        An array, a scalar, or nested sequences.
    dtype : dtype, optional
        Type of the array; that of `obj` unless given.
    order : {'K', 'A', 'C', 'F'}, optional
        Order in memory.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.array([1, 2, 3], dtype="f4")
    SharedArray([1., 2., 3.], dtype=float32)
    """
    values = as_ndarray(obj, None if isinstance(obj, np.ndarray) else dtype)
    return _fill(empty_like(values, dtype, order=order), values)


def fromiter(iterable: Iterable[Any], dtype: DTypeLike | None, count: int = -1) -> SharedArray:
    """Return a new 1-D array of the items of an iterable, as :func:`numpy.fromiter` does.

    Parameters
    ----------
    iterable : iterable
        The items; they are collected in private memory first.
    dtype : dtype
        Any type without Python objects.
    count : int, optional
        How many items to take; all of them unless given.

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
    """Return a new 1-D array of what a file holds, as :func:`numpy.fromfile` does.

    Parameters
    ----------
    file : path or open file
        A binary file is read in parallel threads; a pipe or a device, unlike in NumPy, as it
        comes. An open file is read from where it stands, and then stands behind what was read.
    dtype : dtype, optional
        Any type without Python objects.
    count : int, optional
        Largest number of elements to read; all of them unless given.
    sep : str, optional
        What stands between the numbers of a text file; empty for a binary file.
    offset : int, optional
        How many bytes of a binary file to skip.

    Raises
    ------
    TypeError
        If `file` is neither a path nor a file of the system: one that is compressed has other
        bytes than those that it gives.
    ValueError
        Without `count`: if elements have no size, the file ends before `offset`, or a device has
        no end.

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
        raise ValueError(f"offset={offset} points to before the beginning of the file")
    if n_left <= -checked.itemsize and count < 0:  # with a part of an element NumPy is content
        raise ValueError(f"offset={offset} points to {-n_left} bytes behind the end of the file")
    length = max(n_left, 0) // checked.itemsize
    array = empty(length if count < 0 else min(count, length), checked)
    fill.read(describe(array)[0], opened.fileno(), start)
    opened.seek(start + array.nbytes)
    return array


def _clear(array: SharedArray) -> SharedArray:
    fill.clear(describe(array)[0])
    return array


def _fill(array: SharedArray, value: Any) -> SharedArray:
    """Copy values, broadcast, into a fresh array."""
    check_plain(value)
    if array.dtype.names is not None:  # a tuple is one element of a structured type
        value = np.asarray(value) if isinstance(value, np.ndarray) else np.array(value, array.dtype)
    segment, _ = describe(array)
    axes = memory_order(array, "K")
    target = array.view(np.ndarray).transpose(axes)
    if np.ndim(value) == 0:
        fill.fill_value(segment, target, value)
    else:
        source = np.broadcast_to(as_ndarray(value), array.shape).transpose(axes)
        fill.fill(segment, target, source)
    return array
