"""Minimum and maximum, in one pass and with NumPy's rule that NaN wins."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel
from sharedmem.kernels.lines import as_numbers, has_kernel, line_kernel, reduce_lines
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


# A NaN in `a` stays, and one in `b` fails the first comparison: both are compared, never branched
# on, so that the loops are vectorized.
@kernel
def smaller(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, or NaN if one of them is."""
    return a if (a <= b) | (a != a) else b


@kernel
def larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or NaN if one of them is."""
    return a if (a >= b) | (a != a) else b


@kernel
def _add_rows(
    x: Array, start: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    smallest = state[0, at : at + width]
    largest = state[1, at : at + width]
    for first in range(0, n - 1, 2):  # two rows at once, for fewer stores: see sums.py
        p = start + first * stride
        a = x[p : p + width]
        b = x[p + stride : p + stride + width]
        for j in range(width):
            smallest[j] = smaller(smaller(smallest[j], a[j]), b[j])
            largest[j] = larger(larger(largest[j], a[j]), b[j])
    if n % 2:
        p = start + (n - 1) * stride
        row = x[p : p + width]
        for j in range(width):
            smallest[j] = smaller(smallest[j], row[j])
            largest[j] = larger(largest[j], row[j])


@kernel
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        state[0, j] = smaller(state[0, j], state[0, j + half])
        state[1, j] = larger(state[1, j], state[1, j + half])


_extrema = line_kernel(_add_rows, _fold)


@lru_cache
def minimum(dtype: DTypeLike) -> Reduction:
    """Return the smallest element."""
    return _reduction(np.dtype(dtype), _first)


@lru_cache
def maximum(dtype: DTypeLike) -> Reduction:
    """Return the largest element."""
    return _reduction(np.dtype(dtype), _second)


@lru_cache
def minmax(dtype: DTypeLike) -> Reduction:
    """Return the smallest and the largest element."""
    return _reduction(np.dtype(dtype), tuple)


def _reduction(dtype: np.dtype[Any], finalize: Any) -> Reduction:
    # Reading memory takes as long as both comparisons: one kernel serves all three.
    chunk = partial(_chunk, dtype=dtype) if has_kernel(dtype, "biuf") else _numpy_chunk
    return Reduction(chunk, _combine, finalize, lines=True)


def _chunk(x: Array, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    numbers = as_numbers(x)
    kind = numbers.dtype.newbyteorder("=")
    if kind.kind == "f":
        identity: tuple[Any, Any] = (np.inf, -np.inf)
    else:
        identity = (np.iinfo(kind).max, np.iinfo(kind).min)
    native = dtype.newbyteorder("=")
    parts = reduce_lines(_extrema, numbers, identity, kind)
    return tuple(part.astype(native) for part in parts)


def _numpy_chunk(x: Array) -> tuple[Array, ...]:
    return np.minimum.reduce(x, axis=1), np.maximum.reduce(x, axis=1)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])


def _first(state: tuple[Array, ...]) -> Array:
    return state[0]


def _second(state: tuple[Array, ...]) -> Array:
    return state[1]
