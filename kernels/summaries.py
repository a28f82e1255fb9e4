"""What an array holds, in one pass: counts of NaN and infinities, extrema, and four moments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import formula, kernel
from sharedmem.kernels.lines import as_numbers, has_kernel, line_kernel, reduce_lines
from sharedmem.kernels.moments import SPAN, exact_product, mean_difference
from sharedmem.kernels.reduction import Reduction
from sharedmem.kernels.sums import add_rows, compensated, two_sum

Array = NDArray[Any]
State = tuple[Array, ...]


class Moments(NamedTuple):
    """The first four moments, as `scipy.stats` defines them.

    Attributes
    ----------
    mean : float or ndarray
    var : float or ndarray
        The mean squared deviation from the mean.
    skew : float or ndarray
        The mean cubed deviation, in units of the standard deviation.
    kurtosis : float or ndarray
        The mean deviation to the power of four in units of the variance squared, less the 3
        of a normal distribution.
    """

    mean: Any
    var: Any
    skew: Any
    kurtosis: Any


class Summary(NamedTuple):
    """What an array holds; extrema and moments are those of its finite elements.

    Attributes
    ----------
    count, n_nan, n_inf : int or ndarray
        Number of elements, of NaN among them, and of infinities.
    min, max : float or ndarray
    mean, std, skew, kurtosis : float or ndarray
    """

    count: Any
    n_nan: Any
    n_inf: Any
    min: Any
    max: Any
    mean: Any
    std: Any
    skew: Any
    kurtosis: Any


@kernel
def merge_powers(
    n_a: Any, m2_a: Any, m3_a: Any, m4_a: Any,
    n_b: Any, m2_b: Any, m3_b: Any, m4_b: Any, delta: Any,
) -> Any:  # fmt: skip
    """Return the sums of the powers 2, 3, 4 of deviations from the mean of two sets together.

    Their means are `delta` apart.

    References
    ----------
    P. Pebay, Formulas for robust, one-pass parallel computation of covariances and
    arbitrary-order statistical moments, Sandia report SAND2008-6212, 2008, eqs. 1.5 to 1.7.
    """
    n = n_a + n_b
    a = n_a / n
    b = n_b / n
    square = delta * delta
    product = n_a * b
    m2 = m2_a + m2_b + square * product
    m3 = m3_a + m3_b + delta * (square * product * (a - b) + 3 * (a * m2_b - b * m2_a))
    m4 = (
        m4_a + m4_b + square * (square * product * (a * a - a * b + b * b))
        + 6 * square * (a * a * m2_b + b * b * m2_a) + 4 * delta * (a * m3_b - b * m3_a)
    )  # fmt: skip
    return m2, m3, m4


# The rows of a state.
TOTAL, LOST, COUNT, M2, M3, M4, MIN, MAX, N_NAN, N_PLUS, N_MINUS = range(11)
_IDENTITY = (0, 0, 0, 0, 0, 0, np.inf, -np.inf, 0, 0, 0)


@kernel
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
    state[M2, j], state[M3, j], state[M4, j] = merge_powers(
        n_a, state[M2, j], state[M3, j], state[M4, j],
        n_b, part[M2, k], part[M3, k], part[M4, k], delta,
    )  # fmt: skip
    state[COUNT, j] = n_a + n_b
    state[TOTAL, j], error = two_sum(state[TOTAL, j], part[TOTAL, k])
    state[LOST, j] += part[LOST, k] + error


@kernel
def _sum_finite(row: Array, state: Array, at: int, part: Array) -> None:
    """Do what the loops over a row do, where some elements are not finite."""
    for j in range(len(row)):
        x = np.float64(row[j])
        if np.isnan(x):
            state[N_NAN, at + j] += 1
        elif x == np.inf:
            state[N_PLUS, at + j] += 1
        elif x == -np.inf:
            state[N_MINUS, at + j] += 1
        else:
            part[COUNT, j] += 1
            part[TOTAL, j], error = two_sum(part[TOTAL, j], x)
            part[LOST, j] += error


# Several short loops over a row that is in cache: in one loop over so many arrays, the compiler
# gives up proving that they do not overlap, and does not vectorize.
@kernel
def _add_rows(
    x: Array, start: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    smallest = state[MIN, at : at + width]
    largest = state[MAX, at : at + width]
    total = scratch[TOTAL, :width]
    lost = scratch[LOST, :width]
    m2 = scratch[M2, :width]
    m3 = scratch[M3, :width]
    m4 = scratch[M4, :width]
    mean = scratch[M4 + 1, :width]
    deviations = scratch[M4 + 2, :width]
    step = max(1, SPAN // width)
    for first in range(0, n, step):
        rows = min(step, n - first)
        scratch[:, :width] = 0
        scratch[COUNT, :width] = rows
        add_rows(x, start + first * stride, rows, stride, scratch, 0, width, scratch)
        finite = True
        for j in range(width):
            finite &= np.isfinite(lost[j])
        if not finite:
            scratch[:, :width] = 0
            for i in range(first, first + rows):
                p = start + i * stride
                _sum_finite(x[p : p + width], state, at, scratch)
        for j in range(width):
            mean[j] = (total[j] + lost[j]) / max(scratch[COUNT, j], 1.0)
        for i in range(first, first + rows):
            row = x[start + i * stride : start + i * stride + width]
            for j in range(width):
                value = np.float64(row[j])
                is_finite = value - value == 0
                smallest[j] = value if is_finite & (value < smallest[j]) else smallest[j]
                largest[j] = value if is_finite & (value > largest[j]) else largest[j]
            for j in range(width):
                deviation = row[j] - mean[j]
                deviation = deviation if deviation - deviation == 0 else 0.0
                square = deviation * deviation
                m2[j] += square
                m4[j] += square * square
            for j in range(width):
                deviation = row[j] - mean[j]
                deviation = deviation if deviation - deviation == 0 else 0.0
                deviations[j] += deviation
                m3[j] += deviation * deviation * deviation
        for j in range(width):
            total[j], error = exact_product(scratch[COUNT, j], mean[j])
            lost[j] = error + deviations[j]
            _merge_lane(state, at + j, scratch, j)


@kernel
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        k = j + half
        _merge_lane(state, j, state, k)
        state[MIN, j] = min(state[MIN, j], state[MIN, k])
        state[MAX, j] = max(state[MAX, j], state[MAX, k])
        for s in range(N_NAN, N_MINUS + 1):
            state[s, j] += state[s, k]


_add_lines = line_kernel(_add_rows, _fold)


@lru_cache
def moments(dtype: DTypeLike) -> Reduction:
    """Return the :class:`Moments`; they are NaN where an element is."""
    return _reduction(np.dtype(dtype), _moments)


@lru_cache
def summary(dtype: DTypeLike) -> Reduction:
    """Return the :class:`Summary`."""
    return _reduction(np.dtype(dtype), _summary)


def _reduction(dtype: np.dtype[Any], finalize: Any) -> Reduction:
    if dtype.kind not in "biuf":
        raise TypeError(f"moments are of real numbers, got an array of dtype {dtype}")
    return Reduction(_chunk, _combine, finalize, identity=_IDENTITY, lines=True)


def _chunk(x: Array) -> State:
    numbers = as_numbers(x) if has_kernel(x.dtype, "biuf") else x.astype(np.float64)
    return reduce_lines(_add_lines, numbers, _IDENTITY, np.float64, n_scratch=M4 + 3)


def _combine(a: State, b: State) -> State:
    with np.errstate(all="ignore"):
        delta = formula(mean_difference)(a[COUNT], a[TOTAL], a[LOST], b[COUNT], b[TOTAL], b[LOST])
        powers = formula(merge_powers)(
            a[COUNT], a[M2], a[M3], a[M4], b[COUNT], b[M2], b[M3], b[M4], delta
        )
        # Where one side has no finite elements, the other one stands for both.
        powers = tuple(
            np.where(b[COUNT] == 0, a[s], np.where(a[COUNT] == 0, b[s], power))
            for s, power in zip((M2, M3, M4), powers, strict=True)
        )
        total, error = formula(two_sum)(a[TOTAL], b[TOTAL])
        return (
            total,
            a[LOST] + b[LOST] + error,
            a[COUNT] + b[COUNT],
            *powers,
            np.minimum(a[MIN], b[MIN]),
            np.maximum(a[MAX], b[MAX]),
            *(a[s] + b[s] for s in (N_NAN, N_PLUS, N_MINUS)),
        )


def _mean(state: State) -> Array:
    return compensated(state[TOTAL], state[LOST]) / state[COUNT]


def _finite_moments(state: State) -> Moments:
    count, mean = state[COUNT], _mean(state)
    var = np.where(np.isfinite(mean), state[M2] / count, np.nan)
    # As in SciPy: deviations no larger than the rounding of the mean have no shape.
    spread = np.where(var <= (np.finfo(np.float64).resolution * mean) ** 2, np.nan, var)
    skew = state[M3] / count / spread**1.5
    kurtosis = state[M4] / count / spread**2 - 3
    return Moments(mean, var, skew, kurtosis)


def _moments(state: State) -> Moments:
    with np.errstate(all="ignore"):
        # A NaN, or infinities of both signs, make a NaN, and one infinity makes itself.
        special = np.where(state[N_NAN] > 0, np.nan, 0.0)
        special = np.where(state[N_PLUS] > 0, special + np.inf, special)
        special = np.where(state[N_MINUS] > 0, special - np.inf, special)
        mean, *others = _finite_moments(state)
        mean = np.where(special == 0, mean, special)
        return Moments(mean, *(np.where(special == 0, other, np.nan) for other in others))


def _summary(state: State) -> Summary:
    with np.errstate(all="ignore"):
        mean, var, skew, kurtosis = _finite_moments(state)
        n_nan = state[N_NAN].astype(np.int64)
        n_inf = (state[N_PLUS] + state[N_MINUS]).astype(np.int64)
        some = state[COUNT] > 0
        return Summary(
            state[COUNT].astype(np.int64) + n_nan + n_inf,
            n_nan,
            n_inf,
            np.where(some, state[MIN], np.nan),
            np.where(some, state[MAX], np.nan),
            mean,
            np.sqrt(var),
            skew,
            kurtosis,
        )
