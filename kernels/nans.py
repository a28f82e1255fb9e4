"""Sums, extrema and squares of the elements that are not NaN."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels import moments, products, sums
from sharedmem.kernels.compile import kernel
from sharedmem.kernels.lines import as_numbers, has_kernel, line_kernel, reduce_lines
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]
State = tuple[Array, ...]


@kernel
def _or_zero(x: Any) -> Any:
    """Return a number, or zero for NaN."""
    return x if x == x else type(x)(0)


@kernel
def _count_rows(
    x: Array, start: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    count = state[0, at : at + width]
    for i in range(n):
        row = x[start + i * stride : start + i * stride + width]
        for j in range(width):
            count[j] += row[j] == row[j]


@kernel
def _fold_counts(state: Array, half: int) -> None:
    for j in range(half):
        state[0, j] += state[0, j + half]


_add_lines = line_kernel(sums.adder(_or_zero), sums.fold)
_count_lines = line_kernel(_count_rows, _fold_counts)


@lru_cache
def add(dtype: np.dtype[Any], result: np.dtype[Any]) -> Reduction:
    """Return the sum of the elements that are not NaN, as `result`."""
    plain = sums.add(dtype, result)
    chunk = partial(_sum_chunk, plain=plain.chunk, has_kernel=_sums(dtype, result))
    return Reduction(chunk, plain.combine, plain.finalize, plain.identity, lines=True)


@lru_cache
def multiply(dtype: np.dtype[Any], result: np.dtype[Any]) -> Reduction:
    """Return the product of the elements that are not NaN, as `result`."""
    plain = products.multiply(dtype, result)
    chunk = partial(_filled_chunk, chunk=plain.chunk, substitute=1)
    return Reduction(chunk, plain.combine, plain.finalize, plain.identity, lines=True)


@lru_cache
def mean(dtype: np.dtype[Any], result: np.dtype[Any]) -> Reduction:
    """Return the mean of the elements that are not NaN, as `result`, and how many they are."""
    total = add(dtype, result)

    def chunk(x: Array) -> State:
        return (*total.chunk(x), _count(x))

    def combine(a: State, b: State) -> State:
        return (*total.combine(a[:2], b[:2]), a[2] + b[2])

    def finalize(state: State) -> State:
        with np.errstate(all="ignore"):
            means = np.true_divide(sums.compensated(*state[:2]), state[2])
            return means.astype(result), state[2]

    return Reduction(chunk, combine, finalize, lines=True)


@lru_cache
def variance(dtype: np.dtype[Any], ddof: float) -> Reduction:
    """Return the variance of the elements that are not NaN, in float64, and how many they are."""
    squares = moments.variance(dtype, np.dtype(np.float64))
    return Reduction(
        partial(_squares_chunk, chunk=squares.chunk),
        partial(_combine_squares, combine=squares.combine),
        partial(_variance, ddof=ddof),
        lines=True,
    )


def _sums(dtype: np.dtype[Any], result: np.dtype[Any]) -> bool:
    return has_kernel(dtype, "f") and has_kernel(result, "f")


def _sum_chunk(x: Array, plain: Callable[[Array], State], has_kernel: bool) -> State:
    if has_kernel:
        return reduce_lines(_add_lines, as_numbers(x), (0, 0), np.float64)
    return _filled_chunk(x, plain, 0)


def _filled_chunk(x: Array, chunk: Callable[[Array], State], substitute: float) -> State:
    filled = x.copy()
    np.copyto(filled, substitute, where=np.isnan(x))
    return chunk(filled)


def _count(x: Array) -> Array:
    if has_kernel(x.dtype, "f"):
        return reduce_lines(_count_lines, as_numbers(x), (0,), np.int64)[0]
    return np.asarray(x.shape[1] - np.count_nonzero(np.isnan(x), axis=1))


def _squares_chunk(x: Array, chunk: Callable[[Array], State]) -> State:
    total, lost = reduce_lines(_add_lines, as_numbers(x), (0, 0), np.float64)
    count = _count(x).astype(np.float64)
    if (count == x.shape[1]).all():
        return chunk(x)
    with np.errstate(all="ignore"):
        mean = sums.compensated(total, lost) / count
    # An element that is the mean adds nothing to the squares about it.
    filled = np.where(np.isnan(x), np.where(count, mean, 0)[:, None], x)
    return count, total, lost, chunk(filled)[3]


def _combine_squares(a: State, b: State, combine: Callable[[State, State], State]) -> State:
    both = combine(a, b)
    return tuple(
        np.where(a[0] == 0, second, np.where(b[0] == 0, first, part))
        for first, second, part in zip(a, b, both, strict=True)
    )


def _variance(state: State, ddof: float) -> State:
    count, _, _, squares = state
    with np.errstate(all="ignore"):
        return np.where(count > ddof, squares / (count - ddof), np.nan), count


def _extremum(ufunc: Any) -> Reduction:
    # NumPy's loops are vectorized, and as fast as memory in several threads.
    def chunk(x: Array) -> State:
        return (
            ufunc.reduce(x[:, :, 0], axis=1)[:, None] if x.shape[2] == 1 else ufunc.reduce(x, 1),
        )

    def combine(a: State, b: State) -> State:
        return (ufunc(a[0], b[0]),)

    return Reduction(chunk, combine, lambda state: state[0], lines=True)


minimum = _extremum(np.fmin)
maximum = _extremum(np.fmax)
