"""Variance, moments and summaries, on the pool in use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.chunkwise import reduce
from sharedmem.kernels import moments as variances, summaries
from sharedmem.kernels.summaries import Moments, Summary
from sharedmem.operands import as_array, in_memory
from sharedmem.reducing import Axis
from sharedmem.reductions import is_covered, line_length, store

# NumPy's own do what no kernel does; their types do not say that all of it may be passed on.
_numpy: Any = np


def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return the variance, as `numpy.var` does but from one pass over the array.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As for :func:`sum`.
    dtype : dtype, optional
        Type of the result, by default that of `a`, or float64 for integers.
    ddof : float, optional
        The sum of squares is divided by the number of elements less `ddof`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.var([1, 2, 3, 4], ddof=1))
    1.6666666666666667
    """
    a = as_array(a)
    result = np.asarray(np.var(np.zeros(1, a.dtype), dtype=dtype)).dtype
    if a.size and not is_covered(a, result, axis, out, keepdims, where):
        return _numpy.var(in_memory(a), axis, dtype, out, ddof, keepdims, where=where)
    _check_freedom(a, axis, ddof)
    return store(reduce(variances.variance(a.dtype, result, ddof), a, axis, keepdims=keepdims), out)


def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return the standard deviation, the square root of :func:`var`.

    Parameters
    ----------
    a, axis, dtype, out, ddof, keepdims, where
        As for :func:`var`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.std([1, 1, 3, 3]))
    1.0
    """
    a = as_array(a)
    result = np.asarray(np.var(np.zeros(1, a.dtype), dtype=dtype)).dtype
    if a.size and not is_covered(a, result, axis, out, keepdims, where):
        return _numpy.std(in_memory(a), axis, dtype, out, ddof, keepdims, where=where)
    _check_freedom(a, axis, ddof)
    return store(
        reduce(variances.deviation(a.dtype, result, ddof), a, axis, keepdims=keepdims), out
    )


def moments(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Moments:
    """Return mean, variance, skew and kurtosis, from one pass over the array.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Moments
        ``(mean, var, skew, kurtosis)`` in float64, with the definitions (and the defaults) of
        `scipy.stats`: biased, and a kurtosis of zero for normal distributions.

    Examples
    --------
    >>> import sharedmem
    >>> result = sharedmem.moments([1, 2, 3, 4])
    >>> float(result.mean), float(result.kurtosis)
    (2.5, -1.36)
    """
    a = as_array(a)
    result: Moments = reduce(summaries.moments(a.dtype), a, axis, keepdims=keepdims)
    return result


def summary(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Summary:
    """Return what an array holds, from one pass over it.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Summary
        ``(count, n_nan, n_inf, min, max, mean, std, skew, kurtosis)``; from `min` on of the finite
        elements alone, in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from sharedmem.statistics import summary
    >>> result = summary([1.0, 3.0, np.nan])
    >>> int(result.n_nan), float(result.mean)
    (1, 2.0)
    """
    a = as_array(a)
    result: Summary = reduce(summaries.summary(a.dtype), a, axis, keepdims=keepdims)
    return result


def _check_freedom(a: NDArray[Any], axis: Axis, ddof: float) -> None:
    if line_length(a, axis) <= ddof:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
