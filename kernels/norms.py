"""Sums of magnitudes, of their squares and of other powers, and extrema of magnitudes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels import extrema, sums
from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.layout import as_numbers, has_kernel
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.pieces import LineReduction, Share, reduce_lines
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


@part
def magnitude(x: Any) -> Any:
    """Return the magnitude of a real number."""
    return abs(x)


@part
def square(x: Any) -> Any:
    """Return the square of a number."""
    return x * x


_add_magnitudes = sums.sum_of(magnitude)
_add_squares = sums.sum_of(square)


@lru_cache
def sum_of_magnitudes(dtype: np.dtype[Any]) -> Reduction:
    """Return the sum of the magnitudes of elements, which are not integers."""
    if has_kernel(dtype, "f"):
        return _sum(partial(_chunk, add_lines=_add_magnitudes), real_type(dtype))
    return after(np.abs, sums.add(real_type(dtype), real_type(dtype)))


@lru_cache
def sum_of_squares(dtype: np.dtype[Any], scale: float = 1) -> Reduction:
    """Return the sum of squared magnitudes of elements times `scale`, not rounded to `dtype`."""
    if has_kernel(dtype, "fc"):
        chunk = partial(_chunk, add_lines=_add_squares, scale=scale)
        return _sum(chunk, np.dtype(np.float64))
    return after(_squares, sums.add(real_type(dtype), real_type(dtype)))


@lru_cache
def sum_of_powers(dtype: np.dtype[Any], order: float) -> Reduction:
    """Return the sum of powers of the magnitudes of elements, those of halves as float32."""
    wide = np.promote_types(real_type(dtype), np.float32)
    return after(partial(_powers, order=order, dtype=wide), sums.add(wide, wide))


@lru_cache
def smallest_magnitude(dtype: np.dtype[Any]) -> Reduction:
    """Return the smallest magnitude of an element."""
    return after(np.abs, extrema.minimum(real_type(dtype)))


@lru_cache
def largest_magnitude(dtype: np.dtype[Any]) -> Reduction:
    """Return the largest magnitude of an element."""
    if dtype.kind != "c":
        reduction = extrema.minmax(dtype)
        return Reduction(reduction.chunk, reduction.combine, _largest, lines=True)
    return after(np.abs, extrema.maximum(real_type(dtype)))


def after(function: Callable[[Array], Array], reduction: Reduction) -> Reduction:
    """Return a reduction of what `function` gives for a chunk, which stays in cache meanwhile."""
    chunk = partial(_chunk_after, function=function, chunk=reduction.chunk)
    return Reduction(chunk, reduction.combine, reduction.finalize, reduction.identity, lines=True)


def _chunk_after(
    x: Array, function: Callable[[Array], Array], chunk: Callable[[Array], tuple[Array, ...]]
) -> tuple[Array, ...]:
    with np.errstate(all="ignore"):
        return chunk(function(x))


def _sum(chunk: Callable[[Array], tuple[Array, ...]], result: np.dtype[Any]) -> Reduction:
    return Reduction(chunk, sums.combine, partial(_total, result=result), (0, 0), lines=True)


def _chunk(
    x: Array, share: Share | None = None, *, add_lines: dict[bool, LineKernel], scale: float = 1
) -> tuple[Array, ...]:
    numbers = as_numbers(x) if scale == 1 else as_numbers(x) * scale
    kernel = add_lines[sums.is_precise(x.dtype)]
    reduction = LineReduction(kernel, (0, 0), np.float64, setting=1.0)
    parts = reduce_lines(reduction, numbers, share)
    if x.dtype.kind == "c":  # the real and the imaginary part side by side
        return sums.combine(
            tuple(part[:, 0::2] for part in parts), tuple(part[:, 1::2] for part in parts)
        )
    return parts


def _total(state: tuple[Array, ...], result: np.dtype[Any]) -> Array:
    with np.errstate(all="ignore"):
        return sums.compensated(*state).astype(result)


def _largest(state: tuple[Array, ...]) -> Array:
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
