"""Shared arrays from existing data, with NumPy's names: array, copy, fromiter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.constructors import empty, filled
from sharedmem.arrays.conversion import as_ndarray
from sharedmem.arrays.shared_array import SharedArray, allocate, check_dtype
from sharedmem.arrays.strides import memory_order
from sharedmem.machine.tuning import tuning

_NUMBERS = np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"
_dtypes = {char: np.dtype(char) for char in _NUMBERS}


def copy(a: ArrayLike, *, order: str = "K") -> SharedArray:
    """Return a copy of an array in shared memory, made in parallel.

    Parameters
    ----------
    a : array_like
        Any array without Python objects.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches `a` as closely as possible.

    Returns
    -------
    SharedArray
        The copy, with the shape and type of `a`.

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
    array : Convert to another dtype.
    empty_like : Do not copy the elements.

    Notes
    -----
    Worker processes are forked, so they can read any array without a copy. Copy arrays that they
    write to, or that are sent between processes.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.copy([[1, 2], [3, 4]])
    SharedArray([[1, 2],
                 [3, 4]])
    """
    values = as_ndarray(a)
    axes, dtype = memory_order(values, order), values.dtype
    is_small = values.ndim == 1 and values.nbytes <= tuning.arena_bytes
    if is_small and dtype is _dtypes.get(dtype.char):
        made = empty(len(values), dtype.char)  # which is made ahead if it is short
        made[...] = values
        return made
    return filled(allocate(values.shape, dtype, axes), values)


def array(obj: ArrayLike, dtype: DTypeLike | None = None, *, order: str = "K") -> SharedArray:
    """Create a shared array; see `numpy.array`.

    Parameters
    ----------
    obj : array_like
        An array, a scalar, or nested sequences.
    dtype : dtype, optional
        Type of the array, by default that of `obj`.
    order : {'K', 'A', 'C', 'F'}, optional
        Memory order. ``'K'`` matches `obj` as closely as possible.

    Returns
    -------
    SharedArray
        The array, which is always a copy.

    Raises
    ------
    ValueError
        If `order` is unknown, or an element cannot be converted to `dtype`.
    TypeError
        If the dtype contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    copy : Copy an array with its dtype, in parallel.
    fromiter : Take the elements from an iterable.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.array([1, 2, 3], dtype="f4")
    SharedArray([1., 2., 3.], dtype=float32)
    """
    values = as_ndarray(obj, None if isinstance(obj, np.ndarray) else dtype)
    dtype = values.dtype if dtype is None else dtype
    return filled(allocate(values.shape, dtype, memory_order(values, order)), values)


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

    Raises
    ------
    ValueError
        If there are fewer than `count` items, or one cannot be converted to `dtype`.
    TypeError
        If `dtype` contains Python objects, whose addresses are invalid in other processes.
    MemoryError
        If the machine, or the control group of this process, has less memory.

    See Also
    --------
    array : Take a sequence.
    fromfile : Read a file.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.fromiter((i * i for i in range(4)), dtype="i8")
    SharedArray([0, 1, 4, 9])
    """
    return copy(np.fromiter(iterable, check_dtype(dtype), count))
