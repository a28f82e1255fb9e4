"""Counts of NaN and infinities, extrema, and four moments of an array, in one pass."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.pieces import KernelSpec, Share, combine_states, reduce_lines
from sharedmem.kernels.power_sums import (
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
)
from sharedmem.kernels.reduction import LineReduction, State
from sharedmem.kernels.sums import compensated

_summarizing = KernelSpec(add_lines, IDENTITY, np.float64, N_SCRATCH)


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
    """Counts of the elements of an array, and extrema and moments of the finite ones.

    Attributes
    ----------
    count, n_nan, n_inf : int or ndarray
        Number of elements, of NaN, and of infinities.
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


class Extended(NamedTuple):
    """The :class:`Moments`, and the difference between the extrema."""

    mean: Any
    var: Any
    skew: Any
    kurtosis: Any
    extent: Any


# Where the extent of a line, the difference between its extrema, is between the first two numbers,
# fourth powers of deviations overflow or underflow. Those of elements times 2**(the third) do not.
SCALES = (
    (2.0**240, 2.0**650, -450),
    (2.0**650, np.inf, -850),
    (2.0**-650, 2.0**-240, 450),
    (5e-324, 2.0**-650, 860),
)


@lru_cache
def moments(dtype: DTypeLike) -> LineReduction:
    """Return the :class:`Moments`; they are NaN where an element is NaN."""
    return _reduction(np.dtype(dtype), _moments)


@lru_cache
def extended(dtype: DTypeLike, power: int = 0) -> LineReduction:
    """Return the :class:`Extended` moments, computed from elements times ``2**power``."""
    return _reduction(np.dtype(dtype), _extended, power)


@lru_cache
def summary(dtype: DTypeLike, power: int = 0) -> LineReduction:
    """Return the :class:`Summary`, computed from elements times ``2**power``."""
    return _reduction(np.dtype(dtype), _summary, power)


def _reduction(dtype: np.dtype[Any], finalize: Any, power: int = 0) -> LineReduction:
    if dtype.kind not in "biuf":
        raise TypeError(f"moments are defined for real numbers, got an array of dtype {dtype}")
    if not power:
        return LineReduction(_chunk, _combine, finalize, IDENTITY, whole=is_whole(dtype))
    chunk, finalize = partial(_chunk, power=power), partial(finalize, power=power)
    return LineReduction(chunk, _combine, finalize, IDENTITY)


def _chunk(x: Array, share: Share | None = None, *, power: int = 0) -> State:
    numbers = x if has_kernel(x.dtype, "biuf") else x.astype(np.float64)
    if power:
        with np.errstate(all="ignore"):
            numbers = np.ldexp(as_numbers(numbers), power)
    return reduce_lines(_summarizing, numbers, share)


def _combine(a: State, b: State) -> State:
    return combine_states(add_lines, a, b)


def _mean(state: State) -> Array:
    return compensated(state[TOTAL], state[LOST]) / state[COUNT]


def _finite_moments(state: State) -> Moments:
    count, mean = state[COUNT], _mean(state)
    var = state[M2] / count
    # As in SciPy: deviations no larger than the rounding error of the mean have no shape.
    spread = np.where(var <= (np.finfo(np.float64).resolution * mean) ** 2, np.nan, var)
    skew = state[M3] / count / spread**1.5
    kurtosis = state[M4] / count / spread**2 - 3
    return Moments(mean, var, skew, kurtosis)


def _moments(state: State) -> Moments:
    return Moments(*_extended(state)[:4])


def _extended(state: State, power: int = 0) -> Extended:
    with np.errstate(all="ignore"):
        # The mean is NaN with a NaN or infinities of both signs, and infinite with one sign alone.
        special = np.where(state[N_NAN] > 0, np.nan, 0.0)
        special = np.where(state[N_PLUS] > 0, special + np.inf, special)
        special = np.where(state[N_MINUS] > 0, special - np.inf, special)
        mean, *others = _finite_moments(state)
        mean = np.where(special == 0, np.ldexp(mean, -power), special)
        var, skew, kurtosis = (np.where(special == 0, other, np.nan) for other in others)
        return Extended(mean, np.ldexp(var, -2 * power), skew, kurtosis, state[MAX] - state[MIN])


def _summary(state: State, power: int = 0) -> Summary:
    with np.errstate(all="ignore"):
        mean, var, skew, kurtosis = _finite_moments(state)
        n_nan = state[N_NAN].astype(np.int64)
        n_inf = (state[N_PLUS] + state[N_MINUS]).astype(np.int64)
        smallest, largest = (
            np.where(state[COUNT] > 0, np.ldexp(state[s], -power), np.nan) for s in (MIN, MAX)
        )
        return Summary(
            state[COUNT].astype(np.int64) + n_nan + n_inf,
            n_nan,
            n_inf,
            smallest,
            largest,
            np.ldexp(mean, -power),
            np.ldexp(np.sqrt(var), -power),
            skew,
            kurtosis,
        )
