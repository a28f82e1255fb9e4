"""Variance and standard deviation in one pass, from squares about the means of parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.intrinsics import fma
from sharedmem.kernels.loops.lanes import index, number
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import line_kernel
from sharedmem.kernels.loops.pieces import (
    KernelSpec,
    Share,
    combine_states,
    finish_lines,
    reduce_lines,
)
from sharedmem.kernels.loops.vector_kernels import WIDTH, walker
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.reduction import LineReduction, State
from sharedmem.kernels.sums import two_sum

# The number of rows whose deviations are taken from one number near the mean of each lane.
SPAN = 256


@part
def exact_product(n: Any, x: Any) -> Any:
    """Return the rounded product of a count and a number, and its rounding error."""
    product = n * x
    return product, fma(n, x, -product)


@part
def mean_difference(
    n_a: Any, total_a: Any, lost_a: Any, n_b: Any, total_b: Any, lost_b: Any
) -> Any:
    """Return the mean of set b minus that of set a, without cancellation.

    The rounding error of a mean would be an error of first order in the difference, and so in the
    variance: the remainders of the divisions are included.
    """
    mean_a = (total_a + lost_a) / n_a
    mean_b = (total_b + lost_b) / n_b
    rest_a = fma(-n_a, mean_a, total_a) + lost_a
    rest_b = fma(-n_b, mean_b, total_b) + lost_b
    return (mean_b - mean_a) + (rest_b / n_b - rest_a / n_a)


@part
def merge_squares(n_a: Any, m2_a: Any, n_b: Any, m2_b: Any, delta: Any) -> Any:
    """Return the sum of squares about the mean of two sets together, whose means differ by `delta`.

    It is infinite where the means overflow, and NaN only where elements are NaN or infinite.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances, COMPSTAT 1982, eq. 2.1b.
    """
    between = delta * delta * (n_a * (n_b / (n_a + n_b)))
    return m2_a + m2_b + (between if between == between else np.inf)


@part
def mean_of_four(x: Array, p: int, n: int, stride: int) -> float:
    """Return the mean of four elements of a lane of `n` rows, as far apart as possible."""
    third, last = n // 3 * stride, (n - 1) * stride
    a, b = np.float64(x[index(p)]), np.float64(x[index(p + third)])
    c, d = np.float64(x[index(p + last - third)]), np.float64(x[index(p + last)])
    return (0.25 * a + 0.25 * d) + (0.25 * b + 0.25 * c)


# A state: the center, the sum of deviations from it, and the sum of their squares.
def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    center, part, part_squares = state
    for row in rows:
        deviation = row.widen(center) - center
        part, part_squares = part + deviation, deviation.fma(deviation, part_squares)
    return center, part, part_squares


_walk = walker(_step, 3)


@part
def _add_squares(x: Array, p: int, n: int, stride: int, width: int, scratch: Array) -> None:
    """Add deviations of rows from the center of each lane, and their squares."""
    center, part, part_squares = scratch[0], scratch[1], scratch[2]
    for j in range(width):
        part[j] = 0
        part_squares[j] = 0
    in_vectors = _walk(x, p, n, stride, scratch, number(0), width)
    for i in range(n if in_vectors < width else 0):
        for j in range(in_vectors, width):
            a = x[index(p + i * stride + j)] - center[j]
            part[j] += a
            part_squares[j] += a * a


@part
def _tell_apart(
    x: Array, p: int, n: int, stride: int, width: int, squares: Array, room: Array
) -> None:
    """Make sums of squares NaN where an element is not finite, and infinite where they overflow."""
    room[:width] = np.inf
    for i in range(n):
        for j in range(width):
            a = np.float64(x[index(p + i * stride + j)])
            room[j] += a - a
    for j in range(width):
        squares[j] = squares[j] if squares[j] - squares[j] == 0 else room[j]


# A state: count, sum, rounding error of the sum, sum of squares about the mean.
@part
def _add_rows(
    x: Array, start: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    """Add the squares of rows to lanes: see :func:`line_kernel`.

    Squares are summed about the mean of four elements of a lane. Where that is so far from the
    mean of the lane that more than two bits would be lost, they are summed again, about the latter.
    """
    count, total, lost, squares = state[0, at:], state[1, at:], state[2, at:], state[3, at:]
    center, part, part_squares, delta = scratch[0], scratch[1], scratch[2], scratch[3]
    for first in range(0, n, SPAN):
        rows = min(SPAN, n - first)
        p = start + first * stride
        for j in range(width):
            center[j] = mean_of_four(x, p + j, rows, stride)
        for attempt in range(2):
            _add_squares(x, p, rows, stride, width, scratch)
            if attempt:
                break
            n_far = 0
            for j in range(width):
                mean = part[j] / rows
                is_far = part_squares[j] > 4 * (part_squares[j] - part[j] * mean)
                center[j] += mean if is_far else 0.0  # no lane depends on another
                n_far += is_far
            if not n_far:
                break
        # The compiler vectorizes only loops over few arrays.
        n_odd = 0
        for j in range(width):
            about_mean = part_squares[j] - part[j] * (part[j] / rows)
            part_squares[j] = 0.0 if about_mean < 0 else about_mean
            n_odd += about_mean - about_mean != 0
            center[j], error = exact_product(np.float64(rows), center[j])
            part[j] += error
        if n_odd:
            _tell_apart(x, p, rows, stride, width, part_squares, delta)
        before = count[0]
        if before > 0:
            for j in range(width):
                delta[j] = mean_difference(
                    before, total[j], lost[j], np.float64(rows), center[j], part[j]
                )
            for j in range(width):
                squares[j] = merge_squares(before, squares[j], rows, part_squares[j], delta[j])
        else:
            for j in range(width):  # numba compiles for seconds what assigns a slice
                squares[j] = part_squares[j]
        for j in range(width):
            total[j], error = two_sum(total[j], center[j])
            lost[j] += part[j] + error
        count[:width] = before + rows


@part
def _fold(state: Array, half: int) -> None:
    count, total, lost, squares = state[0], state[1], state[2], state[3]
    for j in range(half):
        k = j + half
        delta = mean_difference(count[j], total[j], lost[j], count[k], total[k], lost[k])
        squares[j] = merge_squares(count[j], squares[j], count[k], squares[k], delta)
        count[j] += count[k]
        total[j], error = two_sum(total[j], total[k])
        lost[j] += lost[k] + error


@part
def _finish(state: Array, n: int, out: Array, degrees: float) -> None:
    for j in range(n):
        out[j] = state[3, j] / degrees


_add_lines = line_kernel(lambda _: _add_rows, _fold, _finish, n_rows=SPAN, width=WIDTH)


@lru_cache
def variance(dtype: DTypeLike, result: DTypeLike, ddof: float = 0) -> LineReduction:
    """Return the variance of elements of `dtype`, as `result`."""
    return _reduction(np.dtype(dtype), np.dtype(result), ddof, _itself)


@lru_cache
def deviation(dtype: DTypeLike, result: DTypeLike, ddof: float = 0) -> LineReduction:
    """Return the standard deviation of elements of `dtype`, as `result`."""
    return _reduction(np.dtype(dtype), np.dtype(result), ddof, np.sqrt)


def _itself(variance: Array) -> Array:
    return variance


def _reduction(
    dtype: np.dtype[Any], result: np.dtype[Any], ddof: float, of_variance: Callable[[Array], Array]
) -> LineReduction:
    how: dict[str, Any] = {"result": result, "ddof": ddof, "of_variance": of_variance}
    finalize, identity = partial(_finalize, **how), (0, 0, 0, 0)
    if not (has_kernel(dtype, "biufc") and has_kernel(result, "f")):
        chunk = partial(_chunk, reduce_numbers=partial(_numpy_chunk, result=result))
        return LineReduction(chunk, _combine_numpys, finalize, identity)
    whole = is_whole(dtype)
    direct = partial(_direct, **how) if whole else None
    return LineReduction(_chunk, _combine, finalize, identity, whole=whole, direct=direct)


def _chunk(
    x: Array, share: Share | None = None, *, reduce_numbers: Callable[..., State] | None = None
) -> State:
    numbers = as_numbers(x)
    if reduce_numbers is None:
        parts = reduce_lines(_squares(1), numbers, share)
    else:
        parts = reduce_numbers(numbers)
    if x.dtype.kind == "c":  # the real and the imaginary part side by side
        return tuple(part.reshape(len(part), -1, 2) for part in parts)
    return parts


def _direct(x: Array, share: Share | None = None, *, ddof: float, **how: Any) -> Array:
    degrees = max(x.shape[1] - ddof, 0)
    variance = finish_lines(_squares(degrees), x, share)
    with np.errstate(all="ignore"):
        return _as_result(variance, **how)


@lru_cache
def _squares(degrees: float) -> KernelSpec:
    return KernelSpec(_add_lines, (0, 0, 0, 0), np.float64, 4, setting=float(degrees))


def _numpy_chunk(x: Array, result: np.dtype[Any]) -> State:
    total = np.add.reduce(x, axis=1, dtype=result)
    count = np.full(total.shape, x.shape[1], result)
    return count, total, np.zeros_like(total), np.var(x, axis=1, dtype=result) * count


def _combine(a: State, b: State) -> State:
    return combine_states(_add_lines, a, b)


def _combine_numpys(a: State, b: State) -> State:
    with np.errstate(all="ignore"):
        delta = b[1] / b[0] - a[1] / a[0]
        squares = a[3] + b[3] + delta * delta * (a[0] * (b[0] / (a[0] + b[0])))
        return a[0] + b[0], a[1] + b[1], a[2] + b[2], squares


def _finalize(state: State, ddof: float, **how: Any) -> Array:
    count, _, _, squares = state
    if squares.ndim > 2:
        count, squares = count[..., 0], squares.sum(axis=-1)
    with np.errstate(all="ignore"):
        return _as_result(squares / np.maximum(count - ddof, 0), **how)


def _as_result(
    variance: Array, result: np.dtype[Any], of_variance: Callable[[Array], Array]
) -> Array:
    return of_variance(variance).astype(result, copy=False)
