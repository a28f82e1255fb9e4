"""Sums of powers of deviations from the mean, with counts and extrema, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.compile import part
from sharedmem.kernels.extrema import greater, lesser
from sharedmem.kernels.loops.lanes import LANES, index
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.lines import line_kernel
from sharedmem.kernels.sums import two_sum
from sharedmem.kernels.variances import SPAN, exact_product, mean_difference, mean_of_four


@part
def merge_powers(a: Any, b: Any, delta: Any) -> Any:
    """Return the sums of the powers 2, 3, 4 of deviations from the mean of two sets together.

    Each set is a count and these sums about its own mean. The means differ by `delta`.

    References
    ----------
    P. Pebay, Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments, Sandia report SAND2008-6212, 2008, eqs. 1.5 to 1.7.
    """
    n_a, m2_a, m3_a, m4_a = a
    n_b, m2_b, m3_b, m4_b = b
    n = n_a + n_b
    p = n_a / n
    q = n_b / n
    square = delta * delta
    product = n_a * q
    between = square * product  # NaN where the means overflow
    m2 = m2_a + m2_b + (between if between == between else np.inf)
    m3 = m3_a + m3_b + delta * (square * product * (p - q) + 3 * (p * m2_b - q * m2_a))
    m4 = (
        m4_a + m4_b + square * (square * product * (p * p - p * q + q * q))
        + 6 * square * (p * p * m2_b + q * q * m2_a) + 4 * delta * (p * m3_b - q * m3_a)
    )  # fmt: skip
    return m2, m3, m4


# The rows of a state.
TOTAL, LOST, COUNT, M2, M3, M4, MIN, MAX, N_NAN, N_PLUS, N_MINUS = range(11)
# The number of rows of scratch space: a state, and the sums of a span, from _CENTER.
N_SCRATCH = 18
IDENTITY = (0, 0, 0, 0, 0, 0, np.inf, -np.inf, 0, 0, 0)


@part
def _merge_lane(state: Array, j: int, part: Array, k: int) -> None:
    """Add the moments in lane `k` of `part` to those in lane `j` of `state`."""
    n_a = state[COUNT, j]
    n_b = part[COUNT, k]
    if n_b == 0:
        return
    if n_a == 0:
        for s in range(M4 + 1):
            state[s, j] = part[s, k]
        return
    delta = mean_difference(
        n_a, state[TOTAL, j], state[LOST, j], n_b, part[TOTAL, k], part[LOST, k]
    )
    a = n_a, state[M2, j], state[M3, j], state[M4, j]
    b = n_b, part[M2, k], part[M3, k], part[M4, k]
    state[M2, j], state[M3, j], state[M4, j] = merge_powers(a, b, delta)
    state[COUNT, j] = n_a + n_b
    state[TOTAL, j], error = two_sum(state[TOTAL, j], part[TOTAL, k])
    state[LOST, j] += part[LOST, k] + error


# Where a span keeps its powers of deviations, their center, and its extrema: in one array, because
# the compiler does not vectorize loops over so many arrays that might overlap.
_CENTER, _P1, _P2, _P3, _P4, _LOW, _HIGH = (LANES * row for row in range(M4 + 1, M4 + 8))


def _power_adder(known: int) -> Callable[..., None]:
    """Make the part that sums powers of deviations of a few rows from a center."""

    @part
    def add_powers(x: Array, p: int, n: int, stride: int, width: int, lanes: Array) -> None:
        width = known if known else width
        for j in range(width):
            lanes[index(_P1 + j)] = 0
            lanes[index(_P2 + j)] = 0
            lanes[index(_P3 + j)] = 0
            lanes[index(_P4 + j)] = 0
            lanes[index(_LOW + j)] = np.inf
            lanes[index(_HIGH + j)] = -np.inf
        for _ in range(n // 2):
            for j in range(width):
                a = np.float64(x[index(p + j)])
                b = np.float64(x[index(p + stride + j)])
                low, high = (a, b) if a < b else (b, a)
                lanes[index(_LOW + j)] = lesser(low, lanes[index(_LOW + j)])
                lanes[index(_HIGH + j)] = greater(high, lanes[index(_HIGH + j)])
                a -= lanes[index(_CENTER + j)]
                b -= lanes[index(_CENTER + j)]
                a2 = a * a
                b2 = b * b
                lanes[index(_P1 + j)] += a + b
                lanes[index(_P2 + j)] += a2 + b2
                lanes[index(_P3 + j)] += a2 * a + b2 * b
                lanes[index(_P4 + j)] += a2 * a2 + b2 * b2
            p += 2 * stride
        for j in range(width if n % 2 else 0):
            a = np.float64(x[index(p + j)])
            lanes[index(_LOW + j)] = lesser(a, lanes[index(_LOW + j)])
            lanes[index(_HIGH + j)] = greater(a, lanes[index(_HIGH + j)])
            a -= lanes[index(_CENTER + j)]
            lanes[index(_P1 + j)] += a
            lanes[index(_P2 + j)] += a * a
            lanes[index(_P3 + j)] += a * a * a
            lanes[index(_P4 + j)] += (a * a) * (a * a)

    return add_powers


def _summarizer(known: int) -> Callable[..., None]:
    """Make the kernel that adds rows to the summaries of lanes: see :func:`line_kernel`.

    Powers are summed about a center as in :mod:`sharedmem.kernels.moments`.
    """
    add_powers = _power_adder(known)

    @part
    def add_rows(
        x: Array, start: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        width = known if known else width
        lanes = scratch[0]  # and the rows after it, which follow in memory
        for first in range(0, n, SPAN):
            rows = min(SPAN, n - first)
            p = start + first * stride
            for j in range(width):
                lanes[index(_CENTER + j)] = mean_of_four(x, p + j, rows, stride)
            for attempt in range(2):
                add_powers(x, p, rows, stride, width, lanes)
                if attempt:
                    break
                any_is_far = False
                for j in range(width):
                    total, square = lanes[index(_P1 + j)], lanes[index(_P2 + j)]
                    mean = total / rows
                    is_far = square > 4 * (square - total * mean)
                    lanes[index(_CENTER + j)] += mean if is_far else 0.0
                    any_is_far |= is_far
                if not any_is_far:
                    break
            for j in range(width):
                rows_here = rows
                if lanes[index(_P1 + j)] - lanes[index(_P1 + j)] != 0:  # some are not finite
                    _sum_finite(x, p + j, rows, stride, state, at + j, lanes, j)
                    rows_here = scratch[COUNT, j]
                _center_lane(lanes, j, scratch, rows_here)
                _merge_lane(state, at + j, scratch, j)
                state[MIN, at + j] = lesser(lanes[index(_LOW + j)], state[MIN, at + j])
                state[MAX, at + j] = greater(lanes[index(_HIGH + j)], state[MAX, at + j])

    return add_rows


@part
def _sum_finite(
    x: Array, p: int, n: int, stride: int, state: Array, at: int, lanes: Array, j: int
) -> None:
    """Sum the powers of a lane some of whose elements are not finite."""
    total, lost, count = 0.0, 0.0, 0
    low, high = np.inf, -np.inf
    for i in range(n):
        value = np.float64(x[p + i * stride])
        if value - value == 0:
            count += 1
            total, error = two_sum(total, value / SPAN)
            lost += error
            low, high = min(low, value), max(high, value)
        else:
            state[N_NAN, at] += value != value
            state[N_PLUS, at] += value == np.inf
            state[N_MINUS, at] += value == -np.inf
    mean = (total + lost) / max(count, 1) * SPAN
    p1, p2, p3, p4 = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        value = np.float64(x[p + i * stride])
        d = value - mean
        if value - value == 0:
            p1 += d
            p2 += d * d
            p3 += d * d * d
            p4 += (d * d) * (d * d)
    lanes[COUNT * LANES + j] = count
    lanes[_CENTER + j] = mean
    p1 = p1 if p1 - p1 == 0 else 0.0  # a deviation overflows; the center is the mean
    lanes[_P1 + j], lanes[_P2 + j], lanes[_P3 + j], lanes[_P4 + j] = p1, p2, p3, p4
    lanes[_LOW + j], lanes[_HIGH + j] = low, high


@part
def _center_lane(lanes: Array, j: int, part: Array, n: float) -> None:
    """Turn the powers of a lane about its center into those about its mean."""
    p1, p2, p3, p4 = lanes[_P1 + j], lanes[_P2 + j], lanes[_P3 + j], lanes[_P4 + j]
    d = p1 / max(n, 1.0)
    part[COUNT, j] = n
    part[TOTAL, j], error = exact_product(np.float64(n), lanes[_CENTER + j])
    part[LOST, j] = error + p1
    about_mean = p2 - d * p1
    part[M2, j] = max(about_mean, 0.0) if about_mean == about_mean else np.inf
    part[M3, j] = p3 - 3 * d * p2 + 2 * d * d * p1
    part[M4, j] = p4 - 4 * d * p3 + 6 * d * d * p2 - 3 * d * d * d * p1


@part
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        k = j + half
        _merge_lane(state, j, state, k)
        state[MIN, j] = min(state[MIN, j], state[MIN, k])
        state[MAX, j] = max(state[MAX, j], state[MAX, k])
        for s in range(N_NAN, N_MINUS + 1):
            state[s, j] += state[s, k]


add_lines = line_kernel(_summarizer, _fold, n_rows=SPAN)
