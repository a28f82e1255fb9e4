"""Compensated sums and means: a state is a sum and its accumulated rounding error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.compile import formula, part
from sharedmem.kernels.loops.lanes import index
from sharedmem.kernels.loops.layout import Array, has_kernel, is_whole
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.pieces import KernelSpec, Share, by_kernel, reduce_lines
from sharedmem.kernels.loops.vector_kernels import vector_kernel
from sharedmem.kernels.loops.vectors import Vector, tree_sum
from sharedmem.kernels.reduction import LineReduction, State


@part
def two_sum(a: Any, b: Any) -> Any:
    """Return the rounded sum of `a` and `b`, and its rounding error, which is exact.

    References
    ----------
    D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@part
def itself(x: Any) -> Any:
    """Return a number itself."""
    return x


# Adds terms, in pairs of neighbors, to a sum, and the rounding errors to its accumulated error.
Addition = Callable[[Vector, Vector, Sequence[Vector]], tuple[Vector, Vector]]


def add_exactly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add terms to a sum, and all rounding errors to its error."""
    errors = []
    while len(terms) > 1:
        pairs = [formula(two_sum)(*terms[at : at + 2]) for at in range(0, len(terms), 2)]
        terms = [pair for pair, _ in pairs]
        errors += [error for _, error in pairs]
    total, error = formula(two_sum)(total, terms[0])
    return total, lost + tree_sum([*errors, error])


def add_roughly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add the rounded sum of terms to a sum, for results of half its precision."""
    total, error = formula(two_sum)(total, tree_sum(terms))
    return total, lost + error


# By whether results are precise.
ADDITIONS: dict[bool, Addition] = {True: add_exactly, False: add_roughly}


def is_precise(result: np.dtype[Any]) -> bool:
    """Return whether a result of this type needs all rounding errors."""
    return result.itemsize > (8 if result.kind == "c" else 4) and result.kind in "fc"


def sum_of(
    term: Callable[[Any], Any], of_vector: Callable[[Vector], Vector] | None = None
) -> dict[bool, LineKernel]:
    """Return the kernels that sum a term of each element of a line, by whether they are precise.

    `of_vector` is the term of a vector, by default `term` itself.
    """
    return {
        is_precise: _sum_of(term, of_vector or formula(term), add)
        for is_precise, add in ADDITIONS.items()
    }


def _sum_of(
    term: Callable[[Any], Any], of_vector: Callable[[Vector], Vector], add: Addition
) -> LineKernel:
    def step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
        total, lost = state
        return add(total, lost, [of_vector(row.widen(total)) for row in rows])

    return vector_kernel(step, 2, few_adder(term), fold, finish)


# For integers, the compiler finds that the rounding errors are zero, and removes them.
def few_adder(term: Callable[[Any], Any]) -> Callable[..., None]:
    """Make the part that adds a term of each element of rows to a few lanes of sums."""

    @part
    def add_few(
        x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        number = state.dtype.type
        total, lost = state[0, at:], state[1, at:]
        for _ in range(n):
            for j in range(width):
                total[j], error = two_sum(total[j], term(number(x[index(p + j)])))
                lost[j] += error
            p += stride

    return add_few


@part
def fold(state: Array, half: int) -> None:
    """Add each of the lanes from `half` to the lane `half` before it."""
    for j in range(half):
        state[0, j], error = two_sum(state[0, j], state[0, j + half])
        state[1, j] += state[1, j + half] + error


@part
def _settle(total: Any, lost: Any) -> Any:
    """Return a sum plus its error, or the sum alone where the error is not finite."""
    return total + lost if lost - lost == 0 else total


@part
def finish(state: Array, n: int, out: Array, count: Any) -> None:
    """Write sums, or means of `count` elements: see :class:`LineKernel`."""
    total, lost = state[0], state[1]
    if count is None or count == 1:
        for j in range(n):
            out[j] = _settle(total[j], lost[j])
    else:
        for j in range(n):
            out[j] = _settle(total[j], lost[j]) / count


_add_lines = sum_of(itself)


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
    # numba would add int64 to uint64 in float64.
    return (summed == np.int64 and np.can_cast(dtype, np.int64)) or (
        summed == np.uint64 and dtype.kind == "u"
    )


def _complex_chunk(x: Array, share: Share | None = None, *, summed: np.dtype[Any]) -> State:
    parts = reduce_lines(_spec(summed, None, 1), x, share)
    return tuple(part.view(np.complex128) for part in parts)


@lru_cache
def _spec(summed: np.dtype[Any], result: np.dtype[Any] | None, count: int) -> KernelSpec:
    kernel = _add_lines[is_precise(summed)]
    if summed.kind in "fc":
        return KernelSpec(kernel, (0, 0), np.float64, 0, result, float(count))
    is_sum = result is None or result.kind != "f"
    return KernelSpec(kernel, (0, 0), summed, 0, result, None if is_sum else float(count))


def _numpy_chunk(x: Array, summed: np.dtype[Any]) -> State:
    total = np.add.reduce(x, axis=1, dtype=summed.type)  # which has no unit of time
    return total, np.zeros_like(total)


def combine(a: State, b: State) -> State:
    """Combine the states of two sums."""
    with np.errstate(all="ignore"):
        total, error = formula(two_sum)(a[0], b[0])
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
    if total.size == 1 and total.dtype == np.float64:  # without np.errstate, which takes long
        plain, rest = total.item(), lost.item()
        best = np.asarray(plain + rest if math.isfinite(rest) else plain)
        return best.reshape(total.shape)
    with np.errstate(all="ignore"):
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
    with np.errstate(all="ignore"):
        return values.astype(result)
