"""Minimum and maximum, in one pass and with NumPy's rule that NaN wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.lanes import LANES, index
from sharedmem.kernels.loops.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.pieces import LineReduction, Share, finish_lines, reduce_lines
from sharedmem.kernels.loops.vectors import Vector, tree_sum, vector_kernel
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


# A NaN in `a` stays, and one in `b` fails the first comparison: both are compared, never branched
# on, so that loops are vectorized.
@part
def smaller(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, or NaN if one of them is."""
    return a if (a <= b) | (a != a) else b


@part
def larger(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or NaN if one of them is."""
    return a if (a >= b) | (a != a) else b


# Comparing like this takes half of the instructions; it keeps `b` whatever is NaN.
@part
def lesser(a: Any, b: Any) -> Any:
    """Return the smaller of two numbers, or `b`."""
    return a if a < b else b


@part
def greater(a: Any, b: Any) -> Any:
    """Return the larger of two numbers, or `b`."""
    return a if a > b else b


def extrema_of(skips_nan: bool) -> LineKernel:
    """Return the kernels that find the extrema of lines."""

    def step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
        smallest, largest = state
        for row in rows:
            smallest = (row < smallest).choose(row, smallest)
            largest = (row > largest).choose(row, largest)
        if not skips_nan and smallest.is_float:
            pairs = zip(rows[::2], rows[-1::-2], strict=True)
            # Counted, as the compiler would pack the truth values to combine them.
            n_nan = tree_sum([a.is_nan(b).ones(a) for a, b in pairs])
            has_nan, nan = n_nan.differs(n_nan.full(0)), smallest.full(math.nan)
            return has_nan.choose(nan, smallest), has_nan.choose(nan, largest)
        return smallest, largest

    return vector_kernel(step, 2, _widener(skips_nan), fold, _finish)


def _widener(skips_nan: bool) -> Callable[..., None]:
    """Make the kernel that widens the extrema of a few lanes by rows."""

    @part
    def add_few(
        x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        smallest = state[0, at:]
        largest = state[1, at:]
        for _ in range(n):
            for j in range(width):
                a = x[index(p + j)]
                if skips_nan:
                    smallest[j] = lesser(a, smallest[j])
                    largest[j] = greater(a, largest[j])
                else:
                    smallest[j] = smaller(smallest[j], a)
                    largest[j] = larger(largest[j], a)
            p += stride

    return add_few


@part
def _finish(state: Array, n: int, out: Array, place: int) -> None:
    extrema = state[place]
    for j in range(n):
        out[j] = extrema[j]


@part
def fold(state: Array, half: int) -> None:
    """Take the lanes from `half` on to the lanes that are `half` before them."""
    for j in range(half):
        state[0, j] = smaller(state[0, j], state[0, j + half])
        state[1, j] = larger(state[1, j], state[1, j + half])


_extrema = extrema_of(skips_nan=False)


@lru_cache
def minimum(dtype: DTypeLike) -> Reduction:
    """Return the smallest element."""
    return _one_of(np.dtype(dtype), np.minimum, 0)


@lru_cache
def maximum(dtype: DTypeLike) -> Reduction:
    """Return the largest element."""
    return _one_of(np.dtype(dtype), np.maximum, 1)


@lru_cache
def minmax(dtype: DTypeLike) -> Reduction:
    """Return the smallest and the largest element."""
    dtype = np.dtype(dtype)
    chunk = partial(_chunk, dtype=dtype) if has_kernel(dtype, "biuf") else _numpy_chunk
    return Reduction(chunk, _combine, lines=True, whole=is_whole(dtype))


def _one_of(dtype: np.dtype[Any], ufunc: Any, place: int) -> Reduction:
    both = minmax(dtype)
    direct = partial(_direct, dtype=dtype, place=place) if both.whole else None
    return one_of(both, ufunc, place, direct)


def one_of(
    both: Reduction, ufunc: Any, place: int, direct: Callable[..., Array] | None = None
) -> Reduction:
    """Return a reduction by `ufunc`, or the one at `place` of `both` where that is faster."""

    def chunk(x: Array, share: Share | None = None) -> tuple[Array, ...]:
        n_outer, n, n_inner = x.shape
        if share is not None or (both.whole and n_outer == n_inner == 1):
            return (both.chunk(x, share)[place],)
        if x.dtype.char == "e" or max(n_inner, n if n_inner == 1 else 1) < LANES:
            return (both.chunk(x)[place],)
        # NumPy's loops are vectorized here, and do half as much.
        if n_inner == 1:
            return (ufunc.reduce(x[:, :, 0], axis=1)[:, None],)
        return (ufunc.reduce(x, axis=1),)

    def combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
        return (ufunc(a[0], b[0]),)

    return Reduction(chunk, combine, _only, lines=True, whole=both.whole, direct=direct)


def _only(state: tuple[Array, ...]) -> Array:
    return state[0]


def _chunk(x: Array, share: Share | None = None, *, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    numbers = as_numbers(x)
    parts = reduce_lines(_reduction(numbers.dtype, 0), numbers, share)
    return tuple(part.astype(dtype.newbyteorder("="), copy=False) for part in parts)


def _direct(x: Array, share: Share | None = None, *, dtype: np.dtype[Any], place: int) -> Array:
    numbers = as_numbers(x)
    found = finish_lines(_reduction(numbers.dtype, place), numbers, share)
    return found.astype(dtype, copy=False)


@lru_cache
def _reduction(dtype: np.dtype[Any], place: int) -> LineReduction:
    kind = dtype.newbyteorder("=")
    if kind.kind == "f":
        identity: tuple[Any, Any] = (np.inf, -np.inf)
    else:
        identity = (np.iinfo(kind).max, np.iinfo(kind).min)
    return LineReduction(_extrema, identity, kind, setting=place)


def _numpy_chunk(x: Array) -> tuple[Array, ...]:
    return np.minimum.reduce(x, axis=1), np.maximum.reduce(x, axis=1)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])
