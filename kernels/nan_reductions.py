"""Sums, products, means, variances, and extrema of the elements that are not NaN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sharedmem.kernels import extrema, products, sums, variances
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import vector_family
from sharedmem.kernels.loops.pieces import (
    KernelSpec,
    by_kernel,
    reduce_chunk,
    reduce_lines,
    spec_of,
)
from sharedmem.kernels.loops.vectors import Step, Vector, tree_sum
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.quiet import quiet, quietly
from sharedmem.kernels.reduction import LineReduction, State


def _or_zero(x: Vector) -> Vector:
    return x.is_nan(x).choose(x.full(0), x)


def _counter(add: sums.Addition) -> Step:
    """Return the formula that adds rows to a state: a sum, its error, and the count of numbers."""

    def step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
        total, lost, count = state
        zero, one = total.full(0), total.full(1)
        wide = [row.widen(total) for row in rows]
        counted = tree_sum([row.is_nan(row).choose(zero, one) for row in wide])
        return *add(total, lost, [_or_zero(row) for row in wide]), count + counted

    return step


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    return *sums.fold(a[:2], b[:2]), a[2] + b[2]


# By whether results are precise.
_counting = {
    is_precise: vector_family(f"nan-mean{'' if is_precise else '-roughly'}", step, 3, _fold)
    for is_precise, step in ((one, _counter(add)) for one, add in sums.ADDITIONS.items())
}
_adding = sums.sum_of("numbers-not-nan", _or_zero)
_extrema = [
    extrema.extrema_of(f"nan-{name}", skips_nan=True, place=place)
    for place, name in enumerate(("minimum", "maximum"))
]


@lru_cache
def add(dtype: np.dtype[Any], result: np.dtype[Any]) -> LineReduction:
    """Return the sum of the elements that are not NaN, as `result`."""
    plain = sums.add(dtype, result)
    if not _has_sums(dtype, result):
        return _filled(plain, 0)
    finishes = is_whole(result)
    arguments = sums.is_precise(result), result if finishes else None
    return by_kernel(_sum_spec, arguments, dtype, plain.combine, plain.finalize, finishes)


@lru_cache
def _sum_spec(is_precise: bool, result: np.dtype[Any] | None) -> KernelSpec:
    return KernelSpec(_adding[is_precise].sums, (0, 0), np.float64, result)


@lru_cache
def multiply(dtype: np.dtype[Any], result: np.dtype[Any]) -> LineReduction:
    """Return the product of the elements that are not NaN, as `result`."""
    return _filled(products.multiply(dtype, result), 1)


def _filled(plain: LineReduction, substitute: float) -> LineReduction:
    """Return a reduction of elements in which `substitute` stands for NaN."""
    chunk = partial(_filled_chunk, chunk=plain.chunk, substitute=substitute)
    return LineReduction(chunk, plain.combine, plain.finalize, plain.identity)


@lru_cache
def mean(dtype: np.dtype[Any], result: np.dtype[Any]) -> LineReduction:
    """Return the mean of the elements that are not NaN, as `result`, and their count."""
    total = sums.add(dtype, result)
    has_kernel = _has_sums(dtype, result)
    chunk: Callable[..., State]
    if has_kernel:
        chunk = partial(reduce_chunk, _count_spec, (sums.is_precise(result),))
    else:
        chunk = partial(_counted_numpy_chunk, plain=total.chunk)

    def combine(a: State, b: State) -> State:
        return (*total.combine(a[:2], b[:2]), a[2] + b[2])

    @quiet
    def finalize(state: State) -> State:
        means = np.true_divide(sums.compensated(*state[:2]), state[2])
        return means.astype(result), state[2]

    return LineReduction(chunk, combine, finalize, whole=has_kernel and is_whole(dtype))


@lru_cache
def variance(dtype: np.dtype[Any], ddof: float) -> LineReduction:
    """Return the variance of the elements that are not NaN, in float64, and their count."""
    squares = variances.variance(dtype, np.dtype(np.float64))
    return LineReduction(
        partial(_squares_chunk, chunk=squares.chunk),
        partial(_combine_squares, combine=squares.combine),
        partial(_variance, ddof=ddof),
    )


def _has_sums(dtype: np.dtype[Any], result: np.dtype[Any]) -> bool:
    return has_kernel(dtype, "f") and has_kernel(result, "f")


@lru_cache
def _count_spec(is_precise: bool) -> KernelSpec:
    return KernelSpec(_counting[is_precise], (0, 0, 0), np.float64)


def _counted_numpy_chunk(x: Array, plain: Callable[[Array], State]) -> State:
    count = np.asarray(x.shape[1] - np.count_nonzero(np.isnan(x), axis=1))
    return (*_filled_chunk(x, plain, 0), count)


def _filled_chunk(x: Array, chunk: Callable[[Array], State], substitute: float) -> State:
    filled = x.copy()
    np.copyto(filled, substitute, where=np.isnan(x))
    return chunk(filled)


def _squares_chunk(x: Array, chunk: Callable[[Array], State]) -> State:
    squares = chunk(x)
    if not np.isnan(squares[3]).any():  # neither NaN nor infinities
        return squares
    total, lost, count = reduce_lines(_count_spec(True), x)
    mean = quietly(np.true_divide, sums.compensated(total, lost), count)
    # An element equal to the mean adds nothing to the squares of deviations.
    filled = np.where(np.isnan(x), np.where(count, mean, 0)[:, None], x)
    squares_about_mean = chunk(filled)[3]
    # A sum of finite elements may overflow, also to NaN: where parts of it overflow to both sides.
    overflows = (count > 0) & ~np.isfinite(mean) & ~np.isinf(x).any(axis=1)
    if overflows.any():
        squares_about_mean = np.where(overflows, np.inf, squares_about_mean)
    return count, total, lost, squares_about_mean


def _combine_squares(a: State, b: State, combine: Callable[[State, State], State]) -> State:
    both = combine(a, b)
    return tuple(
        np.where(a[0] == 0, second, np.where(b[0] == 0, first, part))
        for first, second, part in zip(a, b, both, strict=True)
    )


@quiet
def _variance(state: State, ddof: float) -> State:
    count, _, _, squares = state
    return np.where(count > ddof, squares / (count - ddof), np.nan), count


@lru_cache
def minimum(dtype: np.dtype[Any]) -> LineReduction:
    """Return the smallest element that is not NaN, or NaN."""
    return _one_of(dtype, np.fmin, 0)


@lru_cache
def maximum(dtype: np.dtype[Any]) -> LineReduction:
    """Return the largest element that is not NaN, or NaN."""
    return _one_of(dtype, np.fmax, 1)


def _one_of(dtype: np.dtype[Any], ufunc: Any, place: int) -> LineReduction:
    both = _minmax(dtype)
    spec = partial(spec_of, _extremum_spec, (dtype, place)) if both.whole else None
    return extrema.one_of(both, ufunc, place, spec=spec)


@lru_cache
def _extremum_spec(dtype: np.dtype[Any], place: int) -> KernelSpec:
    kind = dtype.newbyteorder("=")
    return KernelSpec(_extrema[place], extrema.identity_of(kind), kind)


def _minmax(dtype: np.dtype[Any]) -> LineReduction:
    def chunk(x: Array, share: Share | None = None) -> State:
        if not has_kernel(dtype, "f"):
            return np.fmin.reduce(x, axis=1), np.fmax.reduce(x, axis=1)
        numbers = as_numbers(x)
        smallest, largest = reduce_lines(_extremum_spec(numbers.dtype, 0), numbers, share)
        is_nan = smallest > largest
        return tuple(
            np.where(is_nan, np.nan, part).astype(dtype.newbyteorder("="))
            for part in (smallest, largest)
        )

    whole = dtype.kind == "f" and is_whole(dtype)
    return LineReduction(chunk, _combine_extrema, whole=whole)


def _combine_extrema(a: State, b: State) -> State:
    return np.fmin(a[0], b[0]), np.fmax(a[1], b[1])
