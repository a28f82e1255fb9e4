"""Variances, moments, and summaries, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.labels import REDUCTION, Dims, with_labels
from sharedmem.engine.operands import as_array
from sharedmem.engine.reduce import Axis
from sharedmem.errors import warn_caller
from sharedmem.functions import numpy_rules as rules
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import warn_nonfinite
from sharedmem.functions.outputs import Out
from sharedmem.functions.reduction_rules import Options
from sharedmem.kernels import Reduction, moments as four_moments
from sharedmem.kernels.moments import Moments, Summary
from sharedmem.kernels.quiet import quietly


@with_labels(REDUCTION, "a")
def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
    dim: Dims = None,
) -> Any:
    """Return the variance over given axes, as `numpy.var` does but in one pass.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, float64 for integers, and otherwise the dtype of `a`.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements.
        By default 0.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    mean : array_like, optional
        The mean, in the shape that ``keepdims=True`` gives it. NumPy then computes the result,
        serially.
    correction : float, optional
        Another name of `ddof`.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The variance, or `out` if it is given. With `where`, it is computed in two passes.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, or both `ddof` and `correction` are given.

    Warns
    -----
    RuntimeWarning
        If a variance is of no more than `ddof` elements.

    See Also
    --------
    std : Return the square root.
    nanvar : Ignore NaN.
    moments : Return mean, variance, skew, and kurtosis in one pass.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.var([1, 2, 3, 4], ddof=1))
    1.6666666666666667
    """
    ddof = _degrees_lost(ddof, correction)
    return rules.VAR.apply(a, Options(axis, dtype, out, keepdims, where, None, ddof, mean))


@with_labels(REDUCTION, "a")
def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
    dim: Dims = None,
) -> Any:
    """Return the standard deviation over given axes, as `numpy.std` does but in one pass.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, float64 for integers, and otherwise the dtype of `a`.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements.
        By default 0.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    mean : array_like, optional
        The mean, in the shape that ``keepdims=True`` gives it. NumPy then computes the result,
        serially.
    correction : float, optional
        Another name of `ddof`.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The square root of the variance, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, or both `ddof` and `correction` are given.

    Warns
    -----
    RuntimeWarning
        If a standard deviation is of no more than `ddof` elements.

    See Also
    --------
    var : Return the square.
    nanstd : Ignore NaN.
    moments : Return mean, variance, skew, and kurtosis in one pass.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.std([1, 1, 3, 3]))
    1.0
    """
    ddof = _degrees_lost(ddof, correction)
    return rules.STD.apply(a, Options(axis, dtype, out, keepdims, where, None, ddof, mean))


@with_labels(REDUCTION, "a")
def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
    dim: Dims = None,
) -> Any:
    """Return the variance over given axes, ignoring NaN, as `numpy.nanvar` does.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, float64 for integers, and otherwise the dtype of `a`.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements
        that are not NaN. By default 0.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    mean : array_like, optional
        The mean, in the shape that ``keepdims=True`` gives it. NumPy then computes the result,
        serially.
    correction : float, optional
        Another name of `ddof`.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The variance, or `out` if it is given. Computed in one pass.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, or both `ddof` and `correction` are given.

    Warns
    -----
    RuntimeWarning
        If no more than `ddof` elements are not NaN. The result is NaN.

    See Also
    --------
    var : Return NaN if an element is NaN.
    nanstd : Return the square root.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanvar([1.0, float("nan"), 5.0]))
    4.0
    """
    ddof = _degrees_lost(ddof, correction)
    return rules.NANVAR.apply(a, Options(axis, dtype, out, keepdims, where, None, ddof, mean))


@with_labels(REDUCTION, "a")
def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
    dim: Dims = None,
) -> Any:
    """Return the standard deviation over given axes, ignoring NaN, as `numpy.nanstd` does.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, float64 for integers, and otherwise the dtype of `a`.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements
        that are not NaN. By default 0.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    mean : array_like, optional
        The mean, in the shape that ``keepdims=True`` gives it. NumPy then computes the result,
        serially.
    correction : float, optional
        Another name of `ddof`.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The standard deviation, or `out` if it is given. Computed in one pass.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, or both `ddof` and `correction` are given.

    Warns
    -----
    RuntimeWarning
        If no more than `ddof` elements are not NaN. The result is NaN.

    See Also
    --------
    std : Return NaN if an element is NaN.
    nanvar : Return the square.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanstd([1.0, float("nan"), 5.0]))
    2.0
    """
    ddof = _degrees_lost(ddof, correction)
    return rules.NANSTD.apply(a, Options(axis, dtype, out, keepdims, where, None, ddof, mean))


def _degrees_lost(ddof: float, correction: float | None) -> float:
    """Return `ddof`, or `correction`, which is its other name."""
    if correction is None:
        return ddof
    if ddof != 0:
        raise ValueError(f"ddof={ddof} and correction={correction} are one option: give one")
    return correction


@with_labels(REDUCTION, "a")
def moments(a: Any, axis: Axis = None, *, keepdims: bool = False, dim: Dims = None) -> Moments:
    """Return the mean, variance, skew, and kurtosis over given axes, in one pass.

    Parameters
    ----------
    a : array_like of real numbers
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    Moments
        A named tuple ``(mean, var, skew, kurtosis)`` of float64, as defined by the defaults of
        `scipy.stats`: biased, and with a kurtosis of zero for a normal distribution. Skew and
        kurtosis do not depend on the scale of the elements.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the elements are not real numbers.

    Warns
    -----
    RuntimeWarning
        If moments are of no elements. They are NaN.

    See Also
    --------
    mean : Return the mean.
    var : Return the variance.

    Examples
    --------
    >>> import sharedmem
    >>> result = sharedmem.moments([1, 2, 3, 4])
    >>> float(result.mean), float(result.kurtosis)
    (2.5, -1.36)
    """
    a = as_array(a)
    result = reduce(four_moments.extended(a.dtype), a, axis, keepdims=keepdims)
    result = _rescaled(result, result.extent, four_moments.extended, a, axis, keepdims)
    if a.size:
        warn_nonfinite(result.var, "reduce", a, axis=axis)
    elif np.size(result.var):
        warn_caller("moments of no elements are NaN")
    return Moments(*result[:4])


def summary(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Summary:
    """Return counts, extrema, and moments of array elements over given axes, in one pass.

    Parameters
    ----------
    a : array_like of real numbers
        The elements.
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Summary
        A named tuple ``(count, n_nan, n_inf, min, max, mean, std, skew, kurtosis)``. `min` and
        the fields after it are of the finite elements only, in float64.

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
    extent = quietly(np.subtract, result.max, result.min)
    return _rescaled(result, extent, four_moments.summary, a, axis, keepdims)  # type: ignore[no-any-return]


def _rescaled(
    result: Any, extent: Any, make: Callable[..., Reduction], a: Any, axis: Axis, keepdims: bool
) -> Any:
    """Compute moments again, of scaled elements, where powers of deviations over- or underflow."""
    for least, most, power in four_moments.SCALES:
        is_beyond = (extent >= least) & (extent <= most)
        if a.dtype.kind == "f" and np.any(is_beyond):
            scaled = reduce(make(a.dtype, power), a, axis, keepdims=keepdims)
            better = {
                name: np.where(is_beyond, part, getattr(result, name))[()]
                for name, part in scaled._asdict().items()
                if name in ("var", "std", "skew", "kurtosis")
            }
            result = result._replace(**better)
    return result
