"""NumPy's reductions that leave out NaN, on the pool in use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.engine.derived_arrays import masked
from sharedmem.engine.operands import as_operand
from sharedmem.engine.reduce import Axis
from sharedmem.functions import reductions, variance
from sharedmem.functions.arg_extrema import argmax, argmin, has_positions, reduce_positions
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.nonfinite import told
from sharedmem.functions.numpy_rules import (
    by_numpy,
    degrees_lost,
    is_covered,
    native,
    reduce_from,
    result_dtype,
    store,
)
from sharedmem.kernels import Reduction, arg_extrema, nan_reductions, products
from sharedmem.kernels.loops.layout import has_kernel

Array = NDArray[Any]


def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the sum of the elements that are not NaN, as `numpy.nansum` does but compensated.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nansum([1.0, float("nan"), 4.0]))
    5.0
    """
    a = as_operand(a)
    if a.dtype.kind not in "fcO":
        return reductions.sum(a, axis, dtype, out, keepdims, initial, where)
    result = result_dtype(np.add.reduce, a.dtype, dtype)
    if not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.nansum,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            keepdims=keepdims,
            where=where,
            initial=initial,
        )
    a = masked(a, where, 0)
    reduction = nan_reductions.add(a.dtype, result)
    return store(reduce_from(np.add, initial, reduction, a, axis, keepdims, True), out)


def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the product of the elements that are not NaN, as `numpy.nanprod` does.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanprod([1.0, float("nan"), 4.0]))
    4.0
    """
    a = as_operand(a)
    if a.dtype.kind not in "fcO":
        return reductions.prod(a, axis, dtype, out, keepdims, initial, where)
    result = result_dtype(np.multiply.reduce, a.dtype, dtype)
    if not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.nanprod,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            keepdims=keepdims,
            where=where,
            initial=initial,
        )
    a = masked(a, where, 1)
    reduction = nan_reductions.multiply(a.dtype, result)
    excused = initial is not None and not np.isfinite(initial)
    if initial is not None:
        reduction, initial = products.starting_from(initial, reduction, result), None
    value = reduce_from(np.multiply, initial, reduction, a, axis, keepdims)
    return store(told(value, "reduce", a, axis=axis, skips_nan=True, excused=excused), out)


def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return the mean of the elements that are not NaN, as `numpy.nanmean` does but compensated.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where all elements are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmean([1.0, float("nan"), 4.0]))
    2.5
    """
    a = as_operand(a)
    if a.dtype.kind not in "fcO":
        return reductions.mean(a, axis, dtype, out, keepdims, where=where)
    result = result_dtype(np.add.reduce, a.dtype, dtype)
    if result.kind not in "fc" or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.nanmean, a, axis=axis, dtype=dtype, out=out, keepdims=keepdims, where=where
        )
    a = masked(a, where, np.nan)
    means, counts = reduce(nan_reductions.mean(a.dtype, result), a, axis, keepdims=keepdims)
    if np.any(counts == 0):
        warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=2)
    return store(told(means, "reduce", a, axis=axis, skips_nan=True, excused=counts == 0), out)


def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the smallest element that is not NaN, as `numpy.nanmin` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where all elements are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmin([3.0, float("nan"), 1.0]))
    1.0
    """
    a = as_operand(a)
    if a.dtype.kind in "biu":
        return reductions.min(a, axis, out, keepdims, initial, where)
    result = native(a.dtype)
    if result.kind not in "fc" or not is_covered(a, result, axis, out, keepdims, where, initial):
        return by_numpy(
            np.nanmin, a, axis=axis, out=out, keepdims=keepdims, where=where, initial=initial
        )
    a = masked(a, where, np.nan)
    extremum = reduce_from(np.fmin, initial, nan_reductions.minimum(a.dtype), a, axis, keepdims)
    if np.any(np.isnan(extremum)):
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=2)
    return store(extremum, out)


def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the largest element that is not NaN, as `numpy.nanmax` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where all elements are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmax([3.0, float("nan"), 1.0]))
    3.0
    """
    a = as_operand(a)
    if a.dtype.kind in "biu":
        return reductions.max(a, axis, out, keepdims, initial, where)
    result = native(a.dtype)
    if result.kind not in "fc" or not is_covered(a, result, axis, out, keepdims, where, initial):
        return by_numpy(
            np.nanmax, a, axis=axis, out=out, keepdims=keepdims, where=where, initial=initial
        )
    a = masked(a, where, np.nan)
    extremum = reduce_from(np.fmax, initial, nan_reductions.maximum(a.dtype), a, axis, keepdims)
    if np.any(np.isnan(extremum)):
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=2)
    return store(extremum, out)


def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the variance of the elements that are not NaN, from one pass.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where
        As for :func:`sum`.
    ddof : float, optional
        The sum of squares is divided by the number of elements that are not NaN, less `ddof`.
    mean, correction
        As for :func:`var`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where no more than `ddof` elements are not NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanvar([1.0, float("nan"), 5.0]))
    4.0
    """
    a, ddof = as_operand(a), degrees_lost(ddof, correction)
    if a.dtype.kind not in "fcO":
        return variance.var(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean)
    result = result_dtype(np.var, a.dtype, dtype)
    is_plain = mean is None and _has_variance(a, result)
    if not is_plain or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.nanvar,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            ddof=ddof,
            keepdims=keepdims,
            where=where,
            mean=mean,
        )
    value = _variance(masked(a, where, np.nan), axis, ddof, keepdims)
    return store(value.astype(result)[()], out)


def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Return the standard deviation of the elements that are not NaN, from one pass.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where
        As for :func:`sum`.
    ddof : float, optional
        The sum of squares is divided by the number of elements that are not NaN, less `ddof`.
    mean, correction
        As for :func:`var`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where no more than `ddof` elements are not NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanstd([1.0, float("nan"), 5.0]))
    2.0
    """
    a, ddof = as_operand(a), degrees_lost(ddof, correction)
    if a.dtype.kind not in "fcO":
        return variance.std(a, axis, dtype, out, ddof, keepdims, where=where, mean=mean)
    result = result_dtype(np.var, a.dtype, dtype)
    is_plain = mean is None and _has_variance(a, result)
    if not is_plain or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.nanstd,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            ddof=ddof,
            keepdims=keepdims,
            where=where,
            mean=mean,
        )
    value = np.sqrt(_variance(masked(a, where, np.nan), axis, ddof, keepdims))
    return store(value.astype(result)[()], out)


def nanargmin(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the index of the first smallest element that is not NaN, as `numpy.nanargmin` does.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`argmin`.

    Returns
    -------
    int or ndarray of int
        That of a number also where all numbers are infinite, for which NumPy may give a NaN's.

    Raises
    ------
    ValueError
        If there are no elements, or all along the axis are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmin([3.0, float("nan"), 1.0]))
    2
    """
    a = as_operand(a)
    if a.dtype.kind not in "fcO":
        return argmin(a, axis, out, keepdims=keepdims)
    if not has_positions(a, axis, out, keepdims):
        return by_numpy(np.nanargmin, a, axis=axis, out=out, keepdims=keepdims)
    return store(_places(arg_extrema.nanargmin(a.dtype), a, axis, keepdims), out)


def nanargmax(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
) -> Any:
    """Return the index of the first largest element that is not NaN, as `numpy.nanargmax` does.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`argmax`.

    Returns
    -------
    int or ndarray of int
        That of a number also where all numbers are infinite, for which NumPy may give a NaN's.

    Raises
    ------
    ValueError
        If there are no elements, or all along the axis are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmax([3.0, float("nan"), 1.0]))
    0
    """
    a = as_operand(a)
    if a.dtype.kind not in "fcO":
        return argmax(a, axis, out, keepdims=keepdims)
    if not has_positions(a, axis, out, keepdims):
        return by_numpy(np.nanargmax, a, axis=axis, out=out, keepdims=keepdims)
    return store(_places(arg_extrema.nanargmax(a.dtype), a, axis, keepdims), out)


def _has_variance(a: Array, result: np.dtype[Any]) -> bool:
    return has_kernel(a.dtype, "f") and has_kernel(result, "f")


def _variance(a: Array, axis: Axis, ddof: float, keepdims: bool) -> Array:
    value, counts = reduce(nan_reductions.variance(a.dtype, ddof), a, axis, keepdims=keepdims)
    if np.any(counts <= ddof):
        warnings.warn("Degrees of freedom <= 0 for slice.", RuntimeWarning, stacklevel=3)
    return np.asarray(told(value, "reduce", a, axis=axis, skips_nan=True, excused=counts <= ddof))


def _places(reduction: Reduction, a: Array, axis: int | None, keepdims: bool) -> Any:
    places, is_nan = reduce_positions(reduction, a, axis, keepdims)
    if np.any(is_nan):
        raise ValueError("All-NaN slice encountered")
    return places
