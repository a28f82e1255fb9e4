"""Arrays in the dtypes and layouts that kernels are compiled for."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# An array object begins with what every object has, and the address of its first element: NumPy's
# binary interface for C. To read it there takes a quarter of the time of ``array.ctypes.data``.
_ADDRESS = object.__basicsize__


def address_of(array: Array) -> int:
    """Return the address of the first element of an array."""
    return ctypes.c_size_t.from_address(id(array) + _ADDRESS).value


def has_kernel(dtype: np.dtype[Any], kinds: str) -> bool:
    """Return whether `dtype` is of one of the kinds, and kernels support it once converted."""
    return dtype.kind in kinds and dtype.char not in "gG"


def is_whole(dtype: np.dtype[Any]) -> bool:
    """Return whether kernels take elements of `dtype` as they are, without a copy."""
    return dtype.char in "?bhilqBHILQfd" and dtype.isnative


def as_numbers(x: Array) -> Array:
    """Return `x` as real numbers of a dtype that kernels take; a complex one is two neighbors."""
    if x.dtype.kind == "b":
        return x.view(np.uint8)
    if x.dtype.char == "e":
        return x.astype(np.float32)
    if x.dtype.kind == "c":
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
        return x.reshape(-1).view(x.real.dtype).reshape(*x.shape[:2], 2 * x.shape[2])
    return x


def strided(x: Array) -> tuple[Array, int, int]:
    """Return an array that kernels can read, and its two outer strides in elements.

    Where the innermost axis of `x` is not contiguous, it is a copy.
    """
    itemsize = x.itemsize
    innermost = 2 if x.shape[2] > 1 else 1
    is_plain = x.flags.aligned and x.dtype.isnative
    if not (is_plain and x.flags.c_contiguous) and (
        not is_plain
        or (x.strides[innermost] != itemsize and x.shape[innermost] > 1)
        or any(stride % itemsize for stride in x.strides)
    ):
        x = np.ascontiguousarray(x, x.dtype.newbyteorder("="))
    if x.flags.c_contiguous:
        return x, x.shape[1] * x.shape[2], x.shape[2]
    return x, x.strides[0] // itemsize, x.strides[1] // itemsize
