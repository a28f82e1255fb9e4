"""Sums of magnitudes and of their powers, and extrema of magnitudes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sharedmem.kernels import extrema, sums
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel
from sharedmem.kernels.loops.pieces import KernelSpec, reduce_lines
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction, State


def _square(x: Vector) -> Vector:
    return x * x


_adding_magnitudes = sums.sum_of("magnitudes", abs)
_adding_squares = sums.sum_of("squares", _square)


@lru_cache
def sum_of_magnitudes(dtype: np.dtype[Any]) -> LineReduction:
    """Return the sum of the magnitudes of elements, which are not integers."""
    if has_kernel(dtype, "f"):
        return _sum(_chunk, real_type(dtype))
    return after(np.abs, sums.add(real_type(dtype), real_type(dtype)))


@lru_cache
def sum_of_squares(dtype: np.dtype[Any], scale: float = 1) -> LineReduction:
    """Return the sum of squared magnitudes of elements times `scale`, in float64 if possible."""
    if has_kernel(dtype, "fc"):
        return _sum(partial(_chunk, squares=True, scale=scale), np.dtype(np.float64))
    return after(_squares, sums.add(real_type(dtype), real_type(dtype)))


@lru_cache
def sum_of_powers(dtype: np.dtype[Any], order: float) -> LineReduction:
    """Return the sum of powers of magnitudes, of at least single precision."""
    wide = np.promote_types(real_type(dtype), np.float32)
    return after(partial(_powers, order=order, dtype=wide), sums.add(wide, wide))


@lru_cache
def smallest_magnitude(dtype: np.dtype[Any]) -> LineReduction:
    """Return the smallest magnitude of an element."""
    return after(np.abs, extrema.minimum(real_type(dtype)))


@lru_cache
def largest_magnitude(dtype: np.dtype[Any]) -> LineReduction:
    """Return the largest magnitude of an element."""
    if dtype.kind != "c":
        reduction = extrema.minmax(dtype)
        return LineReduction(reduction.chunk, reduction.combine, _largest)
    return after(np.abs, extrema.maximum(real_type(dtype)))


def after(function: Callable[[Array], Array], reduction: LineReduction) -> LineReduction:
    """Return the reduction of ``function(x)``, which is computed chunk by chunk, in cache."""
    chunk = partial(_chunk_after, function=function, chunk=reduction.chunk)
    return LineReduction(chunk, reduction.combine, reduction.finalize, reduction.identity)


@quiet
def _chunk_after(
    x: Array, function: Callable[[Array], Array], chunk: Callable[[Array], State]
) -> State:
    return chunk(function(x))


def _sum(chunk: Callable[[Array], State], result: np.dtype[Any]) -> LineReduction:
    return LineReduction(chunk, sums.combine, partial(_total, result=result), (0, 0))


def _chunk(
    x: Array, share: Share | None = None, *, squares: bool = False, scale: float = 1
) -> State:
    numbers = as_numbers(x) if scale == 1 else as_numbers(x) * scale
    families = (_adding_squares if squares else _adding_magnitudes)[sums.is_precise(x.dtype)]
    parts = reduce_lines(KernelSpec(families.sums, (0, 0), np.float64), numbers, share)
    if x.dtype.kind == "c":  # the real and the imaginary part side by side
        return sums.combine(
            tuple(part[:, 0::2] for part in parts), tuple(part[:, 1::2] for part in parts)
        )
    return parts


@quiet
def _total(state: State, result: np.dtype[Any]) -> Array:
    return sums.compensated(*state).astype(result)


def _largest(state: State) -> Array:
    return np.maximum(np.abs(state[0]), np.abs(state[1]))


def _squares(x: Array) -> Array:
    squares: Array = (x.conj() * x).real
    return squares


def _powers(x: Array, order: float, dtype: np.dtype[Any]) -> Array:
    powers: Array = np.abs(x).astype(dtype, copy=False)
    powers **= order
    return powers


def real_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of magnitudes of elements."""
    return np.zeros(0, dtype).real.dtype.newbyteorder("=")
