"""Minimum and maximum in one pass; NaN is the result where an element is NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.lanes import LANES
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import Family, vector_family
from sharedmem.kernels.loops.pieces import (
    KernelSpec,
    finish_lines,
    reduce_lines,
    spec_of,
)
from sharedmem.kernels.loops.vectors import Vector, tree_sum
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.reduction import LineReduction, State, only_part


# A NaN in `a` is kept, and one in `b` fails the first comparison.
def smaller(a: Vector, b: Vector) -> Vector:
    """Return the smaller of two numbers, or NaN if one of them is NaN."""
    return ((a <= b) | a.differs(a)).choose(a, b)


def larger(a: Vector, b: Vector) -> Vector:
    """Return the larger of two numbers, or NaN if one of them is NaN."""
    return ((a >= b) | a.differs(a)).choose(a, b)


# These take half as many instructions.
def lesser(a: Vector, b: Vector) -> Vector:
    """Return the smaller of two numbers, or `b` if one of them is NaN."""
    return (a < b).choose(a, b)


def greater(a: Vector, b: Vector) -> Vector:
    """Return the larger of two numbers, or `b` if one of them is NaN."""
    return (a > b).choose(a, b)


def extrema_of(name: str, skips_nan: bool = False, place: int = 0) -> Family:
    """Return the family that finds both extrema of lines; the result is the one at `place`.

    If it skips NaN, the result is NaN where there is nothing else.
    """

    def step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
        smallest, largest = state
        for row in rows:
            smallest, largest = lesser(row, smallest), greater(row, largest)
        if not skips_nan and smallest.is_float:
            pairs = zip(rows[::2], rows[-1::-2], strict=True)
            # Counted, because the compiler would pack truth values to combine them.
            n_nan = tree_sum([a.is_nan(b).ones(a) for a, b in pairs])
            has_nan, nan = n_nan.differs(n_nan.full(0)), smallest.full(math.nan)
            return has_nan.choose(nan, smallest), has_nan.choose(nan, largest)
        return smallest, largest

    def finish(state: Sequence[Vector], setting: Vector) -> Vector:
        if not skips_nan:
            return state[place]
        smallest, largest = state
        return (smallest > largest).choose(largest.full(math.nan), state[place])

    return vector_family(name, step, 2, _fold, finish)


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    return smaller(a[0], b[0]), larger(a[1], b[1])


_FAMILIES = extrema_of("minimum", place=0), extrema_of("maximum", place=1)


@lru_cache
def minimum(dtype: DTypeLike) -> LineReduction:
    """Return the smallest element."""
    return _one_of(np.dtype(dtype), np.minimum, 0)


@lru_cache
def maximum(dtype: DTypeLike) -> LineReduction:
    """Return the largest element."""
    return _one_of(np.dtype(dtype), np.maximum, 1)


@lru_cache
def minmax(dtype: DTypeLike) -> LineReduction:
    """Return the smallest and the largest element."""
    dtype = np.dtype(dtype)
    chunk = partial(_chunk, dtype=dtype) if has_kernel(dtype, "biuf") else _numpy_chunk
    return LineReduction(chunk, _combine, whole=is_whole(dtype))


def _one_of(dtype: np.dtype[Any], ufunc: Any, place: int) -> LineReduction:
    both = minmax(dtype)
    direct = partial(_direct, dtype=dtype, place=place) if both.whole else None
    spec = partial(spec_of, _spec, (dtype, place)) if both.whole else None
    return one_of(both, ufunc, place, direct, spec)


def one_of(
    both: LineReduction,
    ufunc: Any,
    place: int,
    direct: Callable[..., Array] | None = None,
    spec: Callable[[int], KernelSpec] | None = None,
) -> LineReduction:
    """Return the reduction by `ufunc`, by `both` where that is faster."""

    def chunk(x: Array, share: Share | None = None) -> State:
        n_outer, n, n_inner = x.shape
        if share is not None or (both.whole and n_outer == n_inner == 1):
            return (both.chunk(x, share)[place],)
        if x.dtype.char == "e" or max(n_inner, n if n_inner == 1 else 1) < LANES:
            return (both.chunk(x)[place],)
        # NumPy's loops are vectorized here, and find one extremum only.
        if n_inner == 1:
            return (ufunc.reduce(x[:, :, 0], axis=1)[:, None],)
        return (ufunc.reduce(x, axis=1),)

    def combine(a: State, b: State) -> State:
        return (ufunc(a[0], b[0]),)

    return LineReduction(chunk, combine, only_part, whole=both.whole, direct=direct, spec=spec)


def _chunk(x: Array, share: Share | None = None, *, dtype: np.dtype[Any]) -> State:
    numbers = as_numbers(x)
    parts = reduce_lines(_spec(numbers.dtype, 0), numbers, share)
    return tuple(part.astype(dtype.newbyteorder("="), copy=False) for part in parts)


def _direct(x: Array, share: Share | None = None, *, dtype: np.dtype[Any], place: int) -> Array:
    return finish_lines(_spec(dtype, place), x, share)


@lru_cache
def _spec(dtype: np.dtype[Any], place: int) -> KernelSpec:
    result = dtype.newbyteorder("=")
    number = np.dtype(np.uint8) if dtype.kind == "b" else result
    return KernelSpec(_FAMILIES[place], identity_of(number), number, result)


def identity_of(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the largest and the smallest number of a type."""
    if dtype.kind == "f":
        return np.inf, -np.inf
    return int(np.iinfo(dtype).max), int(np.iinfo(dtype).min)


def _numpy_chunk(x: Array) -> State:
    return np.minimum.reduce(x, axis=1), np.maximum.reduce(x, axis=1)


def _combine(a: State, b: State) -> State:
    return np.minimum(a[0], b[0]), np.maximum(a[1], b[1])
