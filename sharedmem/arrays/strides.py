"""The order of axes in memory, and the bytes that an array of given strides covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def root_of(array: NDArray[Any]) -> Any:
    """Return the array that an array is a view of, at last, or the array itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def byte_bounds(shape: Sequence[int], strides: Sequence[int], itemsize: int) -> tuple[int, int]:
    """Return where the bytes of an array start and stop, relative to its first element."""
    if 0 in shape:
        return 0, 0
    low = high = 0
    for size, stride in zip(shape, strides, strict=True):
        span = (size - 1) * stride
        low += min(span, 0)
        high += max(span, 0)
    return low, high + itemsize


def memory_order(array: NDArray[Any], order: str) -> Sequence[int]:
    """Return the axes of an array from slowest to fastest, for NumPy's argument `order`."""
    if order not in ("C", "F", "A", "K"):
        raise ValueError(f"order must be one of 'C', 'F', 'A', or 'K', got {order!r}")
    axes = range(array.ndim)
    if order == "F" or (order in "AK" and array.flags.fnc):
        return axes[::-1]
    if order == "K" and not array.flags.c_contiguous:
        return sorted(axes, key=lambda axis: -abs(array.strides[axis]))
    return axes
