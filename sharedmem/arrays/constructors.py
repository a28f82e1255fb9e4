"""Constructors of shared arrays, with NumPy's names: empty, zeros, ones, full, and *_like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.conversion import as_ndarray, check_plain
from sharedmem.arrays.shared_array import SharedArray, allocate, make, segment_of
from sharedmem.arrays.small_arrays import ready
from sharedmem.arrays.strides import memory_order
from sharedmem.machine.tuning import tuning
from sharedmem.memory import fill


def empty(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new shared array, without initializing its elements.

    Memory pages are allocated when they are first touched.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the array.
    dtype : dtype, optional
        Any type without Python objects, by default float64.
    order : {'C', 'F'}, optional
        Memory order.

    Returns
    -------
    SharedArray
        The array. Its contents are undefined, and may be those of an earlier array.

    Raises
    ------
    ValueError
        If a size is negative, or `order` is unknown.
    TypeError
        If `dtype` contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    zeros : Fill with zeros.
    full : Fill with a value.
    empty_like : Take the shape and dtype of an array.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.empty((2, 3), dtype="i4").shape
    (2, 3)
    >>> sharedmem.empty(3, dtype=object)
    Traceback (most recent call last):
        ...
    TypeError: dtype object contains pointers to Python objects, ...
    """
    # Also in `zeros` and `ones`: a function for it would add 8 % to the time of a small array.
    if type(shape) is int and order == "C":
        try:
            made: SharedArray = ready[None, shape, dtype].pop()
            return made
        except (LookupError, TypeError):  # nothing is ready, or `dtype` is not hashable
            pass
    return make(shape, dtype, order)


def empty_like(
    array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new shared array with the shape and type of another array, without initializing it.

    Parameters
    ----------
    array : array_like
        The prototype.
    dtype : dtype, optional
        Type of the array, by default that of the prototype.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches the prototype as closely as possible.

    Returns
    -------
    SharedArray
        The array. Its contents are undefined.

    Raises
    ------
    ValueError
        If `order` is unknown.
    TypeError
        If the dtype contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    empty : Take a shape.
    copy : Copy the elements, too.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.empty_like([[1, 2], [3, 4]], dtype="f4").shape
    (2, 2)
    """
    return _like(array, dtype, order)


def zeros(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new shared array, filled with zeros in parallel.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the array.
    dtype : dtype, optional
        Any type without Python objects, by default float64.
    order : {'C', 'F'}, optional
        Memory order.

    Returns
    -------
    SharedArray
        The array. All of its memory pages are allocated.

    Raises
    ------
    ValueError
        If a size is negative, or `order` is unknown.
    TypeError
        If `dtype` contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    empty : Do not initialize the elements.
    ones : Fill with ones.
    zeros_like : Take the shape and dtype of an array.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.zeros(3)
    SharedArray([0., 0., 0.])
    """
    if type(shape) is int and order == "C":
        try:
            made: SharedArray = ready[0, shape, dtype].pop()
            return made
        except (LookupError, TypeError):
            pass
    return make(shape, dtype, order, 0)


def zeros_like(
    array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new shared array of zeros with the shape and type of another array.

    Parameters
    ----------
    array : array_like
        The prototype.
    dtype : dtype, optional
        Type of the array, by default that of the prototype.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches the prototype as closely as possible.

    Returns
    -------
    SharedArray
        The array.

    Raises
    ------
    ValueError
        If `order` is unknown.
    TypeError
        If the dtype contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    zeros : Take a shape.
    empty_like : Do not initialize the elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.zeros_like([1, 2])
    SharedArray([0, 0])
    """
    return _like(array, dtype, order, zeros=True)


def ones(
    shape: int | Sequence[int], dtype: DTypeLike | None = "f8", *, order: str = "C"
) -> SharedArray:
    """Return a new shared array, filled with ones in parallel.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the array.
    dtype : dtype, optional
        Any type without Python objects, by default float64.
    order : {'C', 'F'}, optional
        Memory order.

    Returns
    -------
    SharedArray
        The array.

    Raises
    ------
    ValueError
        If a size is negative, or `order` is unknown.
    TypeError
        If `dtype` contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    zeros : Fill with zeros.
    full : Fill with a value.
    ones_like : Take the shape and dtype of an array.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.ones(3)
    SharedArray([1., 1., 1.])
    """
    if type(shape) is int and order == "C":
        try:
            made: SharedArray = ready[1, shape, dtype].pop()
            return made
        except (LookupError, TypeError):
            pass
    return filled(make(shape, dtype, order, 1), 1)


def ones_like(array: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K") -> SharedArray:
    """Return a new shared array of ones with the shape and type of another array.

    Parameters
    ----------
    array : array_like
        The prototype.
    dtype : dtype, optional
        Type of the array, by default that of the prototype.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches the prototype as closely as possible.

    Returns
    -------
    SharedArray
        The array.

    Raises
    ------
    ValueError
        If `order` is unknown.
    TypeError
        If the dtype contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    ones : Take a shape.
    empty_like : Do not initialize the elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.ones_like([5, 6])
    SharedArray([1, 1])
    """
    return full_like(array, 1, dtype, order=order)


def full(
    shape: int | Sequence[int],
    value: ArrayLike,
    dtype: DTypeLike | None = "f8",
    *,
    order: str = "C",
) -> SharedArray:
    """Return a new shared array, filled with `value` in parallel.

    Parameters
    ----------
    shape : int or sequence of int
        Shape of the array.
    value : scalar or array_like
        Fill value, broadcast to `shape`.
    dtype : dtype, optional
        Any type without Python objects. Unlike in NumPy, the default is float64, not the type of
        `value`.
    order : {'C', 'F'}, optional
        Memory order.

    Returns
    -------
    SharedArray
        The array. Its memory is on huge pages if the system has them.

    Raises
    ------
    ValueError
        If a size is negative, `order` is unknown, or `value` cannot be broadcast to `shape`.
    TypeError
        If `dtype` contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    zeros : Fill with zeros.
    empty : Do not initialize the elements.
    full_like : Take the shape and dtype of an array.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.full((2, 2), 7, dtype="i4")
    SharedArray([[7, 7],
                 [7, 7]], dtype=int32)
    """
    return filled(empty(shape, dtype, order=order), value)


def full_like(
    array: ArrayLike, value: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K"
) -> SharedArray:
    """Return a new shared array with the shape and type of another array, filled with `value`.

    Parameters
    ----------
    array : array_like
        The prototype.
    value : scalar or array_like
        Fill value, broadcast to the shape.
    dtype : dtype, optional
        Type of the array, by default that of the prototype.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches the prototype as closely as possible.

    Returns
    -------
    SharedArray
        The array.

    Raises
    ------
    ValueError
        If `order` is unknown, or `value` cannot be broadcast to the shape.
    TypeError
        If the dtype contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    full : Take a shape.
    empty_like : Do not initialize the elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.full_like([1, 2], 7)
    SharedArray([7, 7])
    """
    return filled(empty_like(array, dtype, order=order), value)


def _like(
    array: ArrayLike, dtype: DTypeLike | None, order: str, *, zeros: bool = False
) -> SharedArray:
    check_plain(array)
    given: Any = array
    if hasattr(given, "shape") and not isinstance(given, np.ndarray):  # in a file: must not be read
        given = np.broadcast_to(np.empty((), given.dtype), given.shape)
    prototype = as_ndarray(given)
    dtype = prototype.dtype if dtype is None else dtype
    return allocate(prototype.shape, dtype, memory_order(prototype, order), zeros=zeros)


def filled(array: SharedArray, value: Any) -> SharedArray:
    """Copy values, broadcast, to a new array, and return it."""
    if array.dtype.names is not None and not isinstance(value, np.ndarray):
        check_plain(value)
        value = np.array(value, array.dtype)  # a tuple is one element of a structured type
    source, target = as_ndarray(value), np.asarray(array)
    if source.ndim and source.shape != target.shape:
        source = np.broadcast_to(source, target.shape)
    if array.nbytes <= tuning.arena_bytes:
        np.copyto(target, source if source.ndim else value, casting="unsafe")
        return array
    if not target.flags.c_contiguous:
        axes = memory_order(target, "K")
        target, source = target.transpose(axes), source.transpose(axes) if source.ndim else source
    if source.ndim:
        fill.fill(segment_of(array), target, source)
    else:  # given as it is: NumPy refuses a Python integer that does not fit
        fill.fill_value(segment_of(array), target, value)
    return array
