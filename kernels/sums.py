"""Compensated sums and means: a state is a sum and its accumulated rounding error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.layout import Array, has_kernel, is_whole
from sharedmem.kernels.loops.lines import Family, vector_family
from sharedmem.kernels.loops.pieces import KernelSpec, by_kernel, reduce_lines
from sharedmem.kernels.loops.vectors import Vector, tree_sum
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.quiet import quiet, quietly
from sharedmem.kernels.reduction import LineReduction, State


def two_sum(a: Any, b: Any) -> Any:
    """Return the rounded sum of `a` and `b`, and its rounding error, which is exact.

    References
    ----------
    D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def itself(x: Vector) -> Vector:
    """Return a number itself."""
    return x


# Adds terms, in pairs of neighbors, to a sum, and the rounding errors to its accumulated error.
Addition = Callable[[Vector, Vector, Sequence[Vector]], tuple[Vector, Vector]]


def add_exactly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add terms to a sum, and all rounding errors to its error."""
    errors = []
    while len(terms) > 1:
        pairs = [two_sum(*terms[at : at + 2]) for at in range(0, len(terms), 2)]
        terms = [pair for pair, _ in pairs]
        errors += [error for _, error in pairs]
    total, error = two_sum(total, terms[0])
    return total, lost + tree_sum([*errors, error])


def add_roughly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add the rounded sum of terms to a sum, for results of half its precision."""
    total, error = two_sum(total, tree_sum(terms))
    return total, lost + error


# By whether results are precise.
ADDITIONS: dict[bool, Addition] = {True: add_exactly, False: add_roughly}


def is_precise(result: np.dtype[Any]) -> bool:
    """Return whether a result of this type needs all rounding errors."""
    return result.itemsize > (8 if result.kind == "c" else 4) and result.kind in "fc"


def fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    """Add the sums of lanes."""
    total, error = two_sum(a[0], b[0])
    return total, a[1] + (b[1] + error)


def _settled(total: Vector, lost: Vector) -> Vector:
    """Return a sum plus its error, or the sum alone where the error is not finite."""
    if not total.is_float:
        return total
    return (lost - lost).equals(lost.full(0)).choose(total + lost, total)


def _finish_sum(state: Sequence[Vector], setting: Vector) -> Vector:
    return _settled(*state)


def _finish_mean(state: Sequence[Vector], count: Vector) -> Vector:
    return _settled(*state).widen(count) / count


class SumFamilies(NamedTuple):
    """The families that sum a term of each element of a line."""

    sums: Family
    means: Family


def sum_of(name: str, term: Callable[[Vector], Vector]) -> dict[bool, SumFamilies]:
    """Return the families that sum a term of each element, by whether they are precise."""
    return {
        is_precise: _sum_of(f"{name}{'' if is_precise else '-roughly'}", term, add)
        for is_precise, add in ADDITIONS.items()
    }


def _sum_of(name: str, term: Callable[[Vector], Vector], add: Addition) -> SumFamilies:
    def step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
        total, lost = state
        return add(total, lost, [term(row.widen(total)) for row in rows])

    return SumFamilies(
        vector_family(f"sum-of-{name}", step, 2, fold, _finish_sum),
        vector_family(f"mean-of-{name}", step, 2, fold, _finish_mean),
    )


_families = sum_of("numbers", itself)


@lru_cache
def add(dtype: DTypeLike, result: DTypeLike) -> LineReduction:
    """Return the sum of elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    return _reduction(dtype, result, result, 1, partial(_total, result=result))


@lru_cache
def mean(dtype: DTypeLike, result: DTypeLike, count: int) -> LineReduction:
    """Return the mean of `count` elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    # Small integers have an exact sum in int64, which is also faster.
    exact = dtype.kind in "biu" and dtype.itemsize <= 4 and count < 2**31
    summed = np.dtype(np.int64) if exact else result
    return _reduction(dtype, summed, result, count, partial(_mean, result=result, count=count))


def _reduction(
    dtype: np.dtype[Any],
    summed: np.dtype[Any],
    result: np.dtype[Any],
    count: int,
    finalize: Callable[[State], Any],
) -> LineReduction:
    if not _has_kernel(dtype, summed):
        zero = np.zeros((), summed)[()]
        return LineReduction(partial(_numpy_chunk, summed=summed), combine, finalize, (zero, zero))
    if dtype.kind == "c":
        return LineReduction(partial(_complex_chunk, summed=summed), combine, finalize, (0, 0))
    finishes = is_whole(dtype) and is_whole(result)
    arguments = summed, result if finishes else None, count
    return by_kernel(_spec, arguments, dtype, combine, finalize, finishes)


def _has_kernel(dtype: np.dtype[Any], summed: np.dtype[Any]) -> bool:
    if summed.kind in "fc":
        return (
            has_kernel(dtype, "biufc")
            and has_kernel(summed, "fc")
            and (dtype.kind != "c" or summed.kind == "c")
        )
    # NumPy adds signed numbers as unsigned ones.
    return (summed == np.int64 and np.can_cast(dtype, np.int64)) or (
        summed == np.uint64 and dtype.kind == "u"
    )


def _complex_chunk(x: Array, share: Share | None = None, *, summed: np.dtype[Any]) -> State:
    parts = reduce_lines(_spec(summed, None, 1), x, share)
    return tuple(part.view(np.complex128) for part in parts)


@lru_cache
def _spec(summed: np.dtype[Any], result: np.dtype[Any] | None, count: int) -> KernelSpec:
    families = _families[is_precise(summed)]
    family = families.means if result is not None and count != 1 else families.sums
    dtype = np.dtype(np.float64) if summed.kind in "fc" else summed
    return KernelSpec(family, (0, 0), dtype, result, float(count))


def _numpy_chunk(x: Array, summed: np.dtype[Any]) -> State:
    total = np.add.reduce(x, axis=1, dtype=summed.type)  # which has no unit of time
    return total, np.zeros_like(total)


@quiet
def combine(a: State, b: State) -> State:
    """Combine the states of two sums."""
    total, error = two_sum(a[0], b[0])
    return total, a[1] + b[1] + error


def compensated(total: Array, lost: Array) -> Array:
    """Return a sum plus its error, or the sum alone where the error is not finite.

    The error of an infinite sum is NaN, but the sum follows the rules of IEEE arithmetic.
    """
    if total.dtype.kind == "c":
        parts = compensated(_real_parts(total), _real_parts(lost))
        return parts.view(total.dtype)[..., 0]
    if total.dtype.kind in "iu":
        return total
    if total.size == 1 and total.dtype == np.float64:  # numbers of Python are quiet, and fast
        plain, rest = total.item(), lost.item()
        best = np.asarray(plain + rest if math.isfinite(rest) else plain)
        return best.reshape(total.shape)
    return _settled_floats(total, lost)


@quiet
def _settled_floats(total: Array, lost: Array) -> Array:
    best = total + lost
    if not np.isfinite(best.sum()):
        best = np.where(np.isfinite(lost), best, total)
    return best


def _real_parts(x: Array) -> Array:
    return np.ascontiguousarray(x)[..., None].view(x.real.dtype)


def _total(state: State, result: np.dtype[Any]) -> Array:
    return _as_type(compensated(*state), result)


def _mean(state: State, result: np.dtype[Any], count: int) -> Array:
    return _as_type(np.true_divide(compensated(*state), count), result)


def _as_type(values: Array, result: np.dtype[Any]) -> Array:
    if values.dtype == result:
        return values
    return quietly(values.astype, result)
