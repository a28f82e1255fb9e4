"""Variance, moments and summaries, on the pool in use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.engine.derived_arrays import Squares, masked
from sharedmem.engine.operands import as_array, as_operand
from sharedmem.engine.reduce import Axis
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import told
from sharedmem.functions.numpy_rules import (
    by_numpy,
    degrees_lost,
    is_covered,
    kept_shape,
    line_length,
    result_dtype,
    store,
)
from sharedmem.functions.reductions import masked_mean, n_taking_part
from sharedmem.kernels import Reduction, moments as four_moments, sums, variances
from sharedmem.kernels.moments import Moments, Summary


def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
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
    mean : array_like, optional
        The mean, where it is known, shaped as with ``keepdims=True``. NumPy does these, serially.
    correction : float, optional
        Another name of `ddof`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.var([1, 2, 3, 4], ddof=1))
    1.6666666666666667
    """
    a, ddof = as_operand(a), degrees_lost(ddof, correction)
    result = result_dtype(np.var, a.dtype, dtype)
    is_plain = mean is None and result.kind not in "biu"
    if not is_plain or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.var,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            ddof=ddof,
            keepdims=keepdims,
            where=where,
            mean=mean,
        )
    return store(_spread(variances.variance, a, axis, result, ddof, keepdims, where), out)


def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: NDArray[Any] | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the standard deviation, the square root of :func:`var`.

    Parameters
    ----------
    a, axis, dtype, out, ddof, keepdims, where, mean, correction
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
    a, ddof = as_operand(a), degrees_lost(ddof, correction)
    result = result_dtype(np.var, a.dtype, dtype)
    is_plain = mean is None and result.kind not in "biu"
    if not is_plain or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.std,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            ddof=ddof,
            keepdims=keepdims,
            where=where,
            mean=mean,
        )
    return store(_spread(variances.deviation, a, axis, result, ddof, keepdims, where), out)


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
        Skew and kurtosis do not depend on the scale of the elements.

    Examples
    --------
    >>> import sharedmem
    >>> result = sharedmem.moments([1, 2, 3, 4])
    >>> float(result.mean), float(result.kurtosis)
    (2.5, -1.36)
    """
    a = as_array(a)
    result = reduce(four_moments.extended(a.dtype), a, axis, keepdims=keepdims)
    moments = Moments(
        *_with_room(result, result.extent, four_moments.extended, a, axis, keepdims)[:4]
    )
    told(moments.var, "reduce", a, axis=axis)
    return moments


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
    >>> from sharedmem.functions.variance import summary
    >>> result = summary([1.0, 3.0, np.nan])
    >>> int(result.n_nan), float(result.mean)
    (1, 2.0)
    """
    a = as_array(a)
    result: Summary = reduce(four_moments.summary(a.dtype), a, axis, keepdims=keepdims)
    with np.errstate(over="ignore"):
        extent = result.max - result.min
    return _with_room(result, extent, four_moments.summary, a, axis, keepdims)  # type: ignore[no-any-return]


def _with_room(
    result: Any, extent: Any, make: Callable[..., Reduction], a: Any, axis: Axis, keepdims: bool
) -> Any:
    """Work deviations and their powers out once more where they are too large or too small."""
    for least, most, power in four_moments.SCALES:
        beyond = (extent >= least) & (extent <= most)
        if a.dtype.kind == "f" and np.any(beyond):
            scaled = reduce(make(a.dtype, power), a, axis, keepdims=keepdims)
            better = {
                name: np.where(beyond, part, getattr(result, name))[()]
                for name, part in scaled._asdict().items()
                if name in ("var", "std", "skew", "kurtosis")
            }
            result = result._replace(**better)
    return result


def _spread(
    spread: Callable[..., Reduction],
    a: Any,
    axis: Axis,
    result: np.dtype[Any],
    ddof: float,
    keepdims: bool,
    where: Any,
) -> Any:
    """Return variances, or deviations; those of masked elements from two passes."""
    is_masked = where is not True
    count = n_taking_part(a.shape, axis, keepdims, where) if is_masked else line_length(a, axis)
    if np.any(count <= ddof):
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
    if not is_masked:
        value = reduce(spread(a.dtype, result, ddof), a, axis, keepdims=keepdims)
        return told(value, "reduce", a, axis=axis, excused=count <= ddof)
    wide = np.promote_types(result, np.float64)
    n_each = np.reshape(count, kept_shape(a, axis, keepdims=True))
    mean = masked_mean(a, axis, np.promote_types(wide, a.dtype), True, where, n_each)
    distances: Any = Squares(a, np.broadcast_to(mean, a.shape))
    squares = masked(distances, where, 0)
    with np.errstate(all="ignore"):
        total = reduce(sums.add(squares.dtype, wide), squares, axis, keepdims=keepdims)
        variance = np.true_divide(total, np.maximum(count - ddof, 0))
        if spread is variances.deviation:
            variance = np.sqrt(variance)
        variance = variance.astype(result)[()]
    return told(variance, "reduce", masked(a, where, 0), axis=axis, excused=count <= ddof)
