"""Counts of NaN and infinities, extrema, and four moments of an array, in one pass."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.pieces import KernelSpec, combine_states, reduce_lines
from sharedmem.kernels.machine_code import Share
from sharedmem.kernels.power_sums import IDENTITY, SUMMARY
from sharedmem.kernels.quiet import quiet, quietly
from sharedmem.kernels.reduction import LineReduction, State
from sharedmem.kernels.sums import compensated

_summarizing = KernelSpec(SUMMARY, IDENTITY, np.float64)


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

    See Also
    --------
    sharedmem.moments : Compute the moments of an array.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.moments([1.0, 2.0, 6.0]).mean)
    3.0
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
    chunk, finalize = partial(_chunk, power=power), partial(finalize, power=power)
    whole = not power and is_whole(dtype)
    return LineReduction(chunk, _combine, finalize, IDENTITY, whole=whole)


def _chunk(x: Array, share: Share | None = None, *, power: int = 0) -> Any:
    numbers = x if has_kernel(x.dtype, "biuf") else x.astype(np.float64)
    if power:
        numbers = quietly(np.ldexp, as_numbers(numbers), power)
    return reduce_lines(_summarizing, numbers, share)


def _combine(a: State, b: State) -> State:
    return combine_states(_summarizing, a, b)


def _finite_moments(state: State) -> tuple[Array, ...]:
    """Return the :class:`Moments` of the elements that are finite."""
    total, lost, count, m2, m3, m4, *_ = state
    mean, var = compensated(total, lost) / count, m2 / count
    # As in SciPy: deviations no larger than the rounding error of the mean have no shape.
    spread = np.where(var <= (np.finfo(np.float64).resolution * mean) ** 2, np.nan, var)
    return mean, var, m3 / count / spread**1.5, m4 / count / spread**2 - 3


@quiet
def _extended(state: State, power: int = 0) -> Extended:
    *_, low, high, n_nan, n_plus, n_minus = state
    # The mean is NaN with a NaN or infinities of both signs, and infinite with one sign alone.
    special = np.where(n_nan > 0, np.nan, 0.0)
    special = np.where(n_plus > 0, special + np.inf, special)
    special = np.where(n_minus > 0, special - np.inf, special)
    mean, *others = _finite_moments(state)
    mean = np.where(special == 0, np.ldexp(mean, -power), special)
    var, skew, kurtosis = (np.where(special == 0, other, np.nan) for other in others)
    return Extended(mean, np.ldexp(var, -2 * power), skew, kurtosis, high - low)


@quiet
def _summary(state: State, power: int = 0) -> Summary:
    _, _, count, _, _, _, low, high, n_nan, n_plus, n_minus = state
    mean, var, skew, kurtosis = _finite_moments(state)
    mean, std = np.ldexp(mean, -power), np.ldexp(np.sqrt(var), -power)
    low, high = (np.where(count > 0, np.ldexp(end, -power), np.nan) for end in (low, high))
    n_finite, n_nan, n_inf = (n.astype(np.int64) for n in (count, n_nan, n_plus + n_minus))
    n = n_finite + n_nan + n_inf
    return Summary(n, n_nan, n_inf, low, high, mean, std, skew, kurtosis)
