"""Variance and standard deviation in one pass, from squares about the means of parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.centers import SPAN, SQUARES, SUM, in_spans, sum_about_centers
from sharedmem.kernels.loops.emit import Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.lanes import LANES, WIDTHS
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import Family
from sharedmem.kernels.loops.memory import Numbers, Table
from sharedmem.kernels.loops.pieces import (
    KernelSpec,
    combine_states,
    finish_lines,
    reduce_lines,
)
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.loops.walks import Walk
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction, State
from sharedmem.kernels.sums import two_sum


def exact_product(n: Vector, x: Vector) -> tuple[Vector, Vector]:
    """Return the rounded product of a count and a number, and its rounding error."""
    product = n * x
    return product, n.fma(x, -product)


def mean_difference(
    n_a: Vector, total_a: Vector, lost_a: Vector, n_b: Vector, total_b: Vector, lost_b: Vector
) -> Vector:
    """Return the mean of set b minus that of set a, without cancellation.

    The rounding error of a mean would be an error of first order in the difference, and so in the
    variance: the remainders of the divisions are included.
    """
    mean_a = (total_a + lost_a) / n_a
    mean_b = (total_b + lost_b) / n_b
    rest_a = (-n_a).fma(mean_a, total_a) + lost_a
    rest_b = (-n_b).fma(mean_b, total_b) + lost_b
    return (mean_b - mean_a) + (rest_b / n_b - rest_a / n_a)


def merge_squares(n_a: Vector, m2_a: Vector, n_b: Vector, m2_b: Vector, delta: Vector) -> Vector:
    """Return the sum of squares about the mean of two sets together, whose means differ by `delta`.

    It is infinite where the means overflow, and NaN only where elements are NaN or infinite.

    References
    ----------
    T. F. Chan, G. H. Golub and R. J. LeVeque, Updating formulae and a pairwise algorithm for
    computing sample variances, COMPSTAT 1982, eq. 2.1b.
    """
    between = delta * delta * (n_a * (n_b / (n_a + n_b)))
    return m2_a + m2_b + between.or_infinity()


# A state: the center, the sum of deviations from it, and the sum of their squares.
def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    center, part, part_squares = state
    for row in rows:
        deviation = row.widen(center) - center
        part, part_squares = part + deviation, deviation.fma(deviation, part_squares)
    return center, part, part_squares


def _step_narrow(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    center, part, part_squares = state
    (row,) = rows
    deviation = row.widen(center) - center
    return center, part + deviation, part_squares + deviation * deviation


_walk = Walk(_step, _step_narrow)


def _add_squares(
    code: Emitter, x: Numbers, n: Int, stride: Int, width: Int, scratch: Table
) -> None:
    """Add deviations of rows from the center of each lane, and their squares."""

    def clear(at: Int, width: int) -> None:
        zero = scratch.numbers.full(0, width)
        for row in (SUM, SQUARES):
            scratch.row(row).store(zero, at)

    code.in_vectors(width, clear, WIDTHS)
    _walk(code, x, n, stride, scratch.first(3), code.constant(0), width)


def _tell_apart(
    code: Emitter, x: Numbers, n: Int, stride: Int, width: Int, squares: Numbers
) -> None:
    """Make sums of squares NaN where an element is not finite, and infinite where they overflow."""

    def tell(at: Int, width: int) -> None:
        sums = squares.load(at, width)
        special = code.variable(sums.full(math.inf))
        with code.loop(0, n) as i:
            a = x.load(i * stride + at, width).widen(sums)
            special.set(special.get() + (a - a))
        squares.store((sums - sums).equals(sums.full(0)).choose(sums, special.get()), at)

    code.in_vectors(width, tell, WIDTHS)


# A state: count, sum, rounding error of the sum, sum of squares about the mean.
def _add_span(
    code: Emitter, x: Numbers, n: Int, stride: Int, state: Table, width: Int, scratch: Table
) -> None:
    squares, any_is_odd = scratch.row(SQUARES), code.variable(code.flag(False))
    rows = n.as_float()

    def about_mean(j: Int, width: int) -> None:
        center, part, part_squares = scratch.first(3).load(j, width)
        found = part_squares - part * (part / rows.repeat(width))
        total, error = exact_product(rows.repeat(width), center)
        zero = found.full(0)
        scratch.store([total, part + error, (found < zero).choose(zero, found)], j)
        any_is_odd.set(any_is_odd.get() | code.any((found - found).differs(zero)))

    sum_about_centers(code, _add_squares, x, n, stride, width, scratch, WIDTHS)
    code.in_vectors(width, about_mean, WIDTHS)
    with code.when(any_is_odd.get()):
        code.call(_tell_apart, x, n, stride, width, squares)

    before = state.row(0).load(code.constant(0), 1)
    is_first = code.any(before <= before.full(0))

    def merge(j: Int, width: int) -> None:
        count, total, lost, m2 = state.load(j, width)
        more, rest, more_m2 = scratch.first(3).load(j, width)
        n_more = rows.repeat(width)
        delta = mean_difference(count, total, lost, n_more, more, rest)
        squares.store(merge_squares(count, m2, n_more, more_m2, delta), j)

    def add(j: Int, width: int) -> None:
        count, total, lost, _ = state.load(j, width)
        more, rest, m2 = scratch.first(3).load(j, width)
        total, error = two_sum(total, more)
        state.store([count + rows.repeat(width), total, lost + (rest + error), m2], j)

    with code.unless(is_first):
        code.in_vectors(width, merge, WIDTHS)
    code.in_vectors(width, add, WIDTHS)


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    delta = mean_difference(*a[:3], *b[:3])
    squares = merge_squares(a[0], a[3], b[0], b[3], delta)
    total, error = two_sum(a[1], b[1])
    return a[0] + b[0], total, a[2] + (b[2] + error), squares


def _finish(state: Sequence[Vector], degrees: Vector) -> Vector:
    return state[3] / degrees


def _finish_root(state: Sequence[Vector], degrees: Vector) -> Vector:
    return _finish(state, degrees).apply("sqrt")


_variance = Family(
    "variance", 4, in_spans(_add_span), _fold, _finish, n_scratch=3, n_rows=SPAN, n_lanes=LANES
)
_deviation = replace(_variance, name="deviation", finish=_finish_root)
_STATES = KernelSpec(_variance, (0, 0, 0, 0), np.float64)


@lru_cache
def variance(dtype: DTypeLike, result: DTypeLike, ddof: float = 0) -> LineReduction:
    """Return the variance of elements of `dtype`, as `result`."""
    return _reduction(np.dtype(dtype), np.dtype(result), ddof, takes_root=False)


@lru_cache
def deviation(dtype: DTypeLike, result: DTypeLike, ddof: float = 0) -> LineReduction:
    """Return the standard deviation of elements of `dtype`, as `result`."""
    return _reduction(np.dtype(dtype), np.dtype(result), ddof, takes_root=True)


def _reduction(
    dtype: np.dtype[Any], result: np.dtype[Any], ddof: float, takes_root: bool
) -> LineReduction:
    how: dict[str, Any] = {"result": result, "ddof": ddof, "takes_root": takes_root}
    finalize, identity = partial(_finalize, **how), (0, 0, 0, 0)
    if not (has_kernel(dtype, "biufc") and has_kernel(result, "f")):
        chunk = partial(_chunk, reduce_numbers=partial(_numpy_chunk, result=result))
        return LineReduction(chunk, _combine_numpys, finalize, identity)
    whole = is_whole(dtype)
    finishes = whole and is_whole(result)
    direct, spec = partial(_direct, **how), partial(_spec, **how)
    return LineReduction(
        _chunk, _combine, finalize, identity, whole=whole,
        direct=direct if finishes else None, spec=spec if finishes else None,
    )  # fmt: skip


@lru_cache
def _spec(n: int, result: np.dtype[Any], ddof: float, takes_root: bool) -> KernelSpec:
    family, degrees = _deviation if takes_root else _variance, max(n - ddof, 0)
    return KernelSpec(family, (0, 0, 0, 0), np.float64, result, float(degrees))


def _chunk(
    x: Array, share: Share | None = None, *, reduce_numbers: Callable[..., State] | None = None
) -> State:
    numbers = as_numbers(x)
    if reduce_numbers is None:
        parts = reduce_lines(_STATES, numbers, share)
    else:
        parts = reduce_numbers(numbers)
    if x.dtype.kind == "c":  # the real and the imaginary part side by side
        return tuple(part.reshape(len(part), -1, 2) for part in parts)
    return parts


def _direct(x: Array, share: Share | None = None, **how: Any) -> Array:
    return finish_lines(_spec(x.shape[1], **how), x, share)


def _numpy_chunk(x: Array, result: np.dtype[Any]) -> State:
    total = np.add.reduce(x, axis=1, dtype=result)
    count = np.full(total.shape, x.shape[1], result)
    return count, total, np.zeros_like(total), np.var(x, axis=1, dtype=result) * count


def _combine(a: State, b: State) -> State:
    return combine_states(_STATES, a, b)


@quiet
def _combine_numpys(a: State, b: State) -> State:
    delta = b[1] / b[0] - a[1] / a[0]
    squares = a[3] + b[3] + delta * delta * (a[0] * (b[0] / (a[0] + b[0])))
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], squares


@quiet
def _finalize(state: State, result: np.dtype[Any], ddof: float, takes_root: bool) -> Array:
    count, _, _, squares = state
    if squares.ndim > 2:
        count, squares = count[..., 0], squares.sum(axis=-1)
    variance = squares / np.maximum(count - ddof, 0)
    return np.asarray(np.sqrt(variance) if takes_root else variance).astype(result, copy=False)
