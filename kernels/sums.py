"""Sums and means, compensated: a state is a sum and what it lost to rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import formula, part
from sharedmem.kernels.loops.lanes import index
from sharedmem.kernels.loops.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import LineKernel
from sharedmem.kernels.loops.pieces import LineReduction, Share, finish_lines, reduce_lines
from sharedmem.kernels.loops.vectors import Vector, tree_sum, vector_kernel
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


@part
def two_sum(a: Any, b: Any) -> Any:
    """Return the rounded sum of `a` and `b`, and its exact rounding error.

    References
    ----------
    D. E. Knuth, The Art of Computer Programming, vol. 2, section 4.2.2, theorem B.
    """
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@part
def itself(x: Any) -> Any:
    """Return a number."""
    return x


# Adds terms, neighbours first, to a sum, and to what that has lost what additions lose.
Addition = Callable[[Vector, Vector, Sequence[Vector]], tuple[Vector, Vector]]


def add_exactly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add terms to a sum, and all that is lost."""
    errors = []
    while len(terms) > 1:
        pairs = [formula(two_sum)(*terms[at : at + 2]) for at in range(0, len(terms), 2)]
        terms = [pair for pair, _ in pairs]
        errors += [error for _, error in pairs]
    total, error = formula(two_sum)(total, terms[0])
    return total, lost + tree_sum([*errors, error])


def add_roughly(total: Vector, lost: Vector, terms: Sequence[Vector]) -> tuple[Vector, Vector]:
    """Add the rounded sum of terms to a sum: for results that have half of its digits."""
    total, error = formula(two_sum)(total, tree_sum(terms))
    return total, lost + error


# By whether results are precise.
ADDITIONS: dict[bool, Addition] = {True: add_exactly, False: add_roughly}


def is_precise(result: np.dtype[Any]) -> bool:
    """Return whether sums have to be added exactly to be rounded to a type."""
    return result.itemsize > (8 if result.kind == "c" else 4) and result.kind in "fc"


def sum_of(
    term: Callable[[Any], Any], of_vector: Callable[[Vector], Vector] | None = None
) -> dict[bool, LineKernel]:
    """Return the kernels that sum a term of each element of a line, for precise results or not.

    The terms of vectors are those of a formula of its own, or else of `term`.
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


# For integers the compiler finds that nothing is ever lost, and drops the compensation.
def few_adder(term: Callable[[Any], Any]) -> Callable[..., None]:
    """Make the kernel that adds a term of each element of rows to a few lanes of sums."""

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
    """Add each lane from `half` on to the lane that is `half` before it."""
    for j in range(half):
        state[0, j], error = two_sum(state[0, j], state[0, j + half])
        state[1, j] += state[1, j + half] + error


@part
def _settle(total: Any, lost: Any) -> Any:
    """Return a sum with what it lost, or alone where that is not finite: neither is it then."""
    return total + lost if lost - lost == 0 else total


@part
def finish(state: Array, n: int, out: Array, count: Any) -> None:
    """Write sums, or means of `count` elements: see `LineKernel`."""
    total, lost = state[0], state[1]
    if count is None or count == 1:
        for j in range(n):
            out[j] = _settle(total[j], lost[j])
    else:
        for j in range(n):
            out[j] = _settle(total[j], lost[j]) / count


_add_lines = sum_of(itself)


@lru_cache
def add(dtype: DTypeLike, result: DTypeLike) -> Reduction:
    """Return the sum of elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    return _reduction(dtype, result, result, 1, partial(_total, result=result))


@lru_cache
def mean(dtype: DTypeLike, result: DTypeLike, count: int) -> Reduction:
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
    finalize: Callable[[Any], Any],
) -> Reduction:
    zero = np.zeros((), summed)[()]
    if not _has_kernel(dtype, summed):
        chunk = partial(_numpy_chunk, summed=summed)
        return Reduction(chunk, combine, finalize, (zero, zero), lines=True)
    whole = is_whole(dtype)
    has_direct = whole and is_whole(result)
    how: dict[str, Any]
    how = {"summed": summed, "result": result if has_direct else None, "count": count}
    chunk, direct = partial(_chunk, **how), partial(_direct, **how) if has_direct else None
    return Reduction(chunk, combine, finalize, (zero, zero), lines=True, whole=whole, direct=direct)


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


def _chunk(x: Array, share: Share | None = None, **how: Any) -> tuple[Array, ...]:
    parts = reduce_lines(_summation(**how), as_numbers(x), share)
    if x.dtype.kind == "c":
        return tuple(part.view(np.complex128) for part in parts)
    return parts


def _direct(x: Array, share: Share | None = None, **how: Any) -> Array:
    return finish_lines(_summation(**how), as_numbers(x), share)


@lru_cache
def _summation(summed: np.dtype[Any], result: np.dtype[Any] | None, count: int) -> LineReduction:
    kernel = _add_lines[is_precise(summed)]
    if summed.kind in "fc":
        return LineReduction(kernel, (0, 0), np.float64, 0, result, float(count))
    is_sum = result is None or result.kind != "f"
    return LineReduction(kernel, (0, 0), summed, 0, result, None if is_sum else float(count))


def _numpy_chunk(x: Array, summed: np.dtype[Any]) -> tuple[Array, ...]:
    total = np.add.reduce(x, axis=1, dtype=summed.type)  # has no unit of time
    return total, np.zeros_like(total)


def combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the state of the elements of two states together."""
    with np.errstate(all="ignore"):
        total, error = formula(two_sum)(a[0], b[0])
        return total, a[1] + b[1] + error


def compensated(total: Array, lost: Array) -> Array:
    """Return the best value of a sum, or the plain sum where it is not finite.

    What was lost to an infinity is NaN, but the plain sum follows the rules of IEEE arithmetic.
    """
    if total.dtype.kind == "c":
        parts = compensated(_real_parts(total), _real_parts(lost))
        return parts.view(total.dtype)[..., 0]
    if total.dtype.kind in "iu":
        return total
    if total.size == 1 and total.dtype == np.float64:  # NumPy's error state costs 5 us
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


def _total(state: tuple[Array, ...], result: np.dtype[Any]) -> Array:
    return _as_type(compensated(*state), result)


def _mean(state: tuple[Array, ...], result: np.dtype[Any], count: int) -> Array:
    return _as_type(np.true_divide(compensated(*state), count), result)


def _as_type(values: Array, result: np.dtype[Any]) -> Array:
    if values.dtype == result:
        return values
    with np.errstate(all="ignore"):
        return values.astype(result)
