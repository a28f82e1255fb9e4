"""What an array holds, in one pass: counts of NaN and infinities, extrema, and four moments."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import formula
from sharedmem.kernels.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.moments import mean_difference
from sharedmem.kernels.pieces import LineReduction, Share, reduce_lines
from sharedmem.kernels.powers import (
    COUNT,
    IDENTITY,
    LOST,
    M2,
    M3,
    M4,
    MAX,
    MIN,
    N_MINUS,
    N_NAN,
    N_PLUS,
    N_SCRATCH,
    TOTAL,
    add_lines,
    merge_powers,
)
from sharedmem.kernels.reduction import Reduction
from sharedmem.kernels.sums import compensated, two_sum

Array = NDArray[Any]
State = tuple[Array, ...]

_summarizing = LineReduction(add_lines, IDENTITY, np.float64, N_SCRATCH)


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
    return Reduction(_chunk, _combine, finalize, IDENTITY, lines=True, whole=is_whole(dtype))


def _chunk(x: Array, share: Share | None = None) -> State:
    numbers = as_numbers(x) if has_kernel(x.dtype, "biuf") else x.astype(np.float64)
    return reduce_lines(_summarizing, numbers, share)


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
