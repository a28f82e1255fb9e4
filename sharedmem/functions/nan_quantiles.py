"""Medians, percentiles, and quantiles that ignore NaN, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.labels import QUANTILES, REDUCTION, Dims, with_labels
from sharedmem.engine.operands import in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.errors import warn_caller
from sharedmem.functions.outputs import store
from sharedmem.functions.quantiles import Function, Options, by_lines, check, is_numpys, options_of
from sharedmem.functions.sorting import threads_for
from sharedmem.pool.watches import one_call

Array = NDArray[Any]

FOR_ALL = {np.nanmedian: np.median, np.nanquantile: np.quantile, np.nanpercentile: np.percentile}


@with_labels(REDUCTION, "a")
@one_call
def nanmedian(
    a: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
    *,
    dim: Dims = None,
) -> Any:
    """Compute the median along axes, ignoring NaN; see `numpy.nanmedian`.

    Parameters
    ----------
    a : array_like
        The array, in memory.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The medians, or `out`. NaN if all elements are NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If `out` does not fit, or the elements have no median.

    Warns
    -----
    RuntimeWarning
        If all elements along the axes are NaN.

    See Also
    --------
    median : Return NaN if an element is NaN.
    nanquantile : Compute any quantile.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> float(sharedmem.nanmedian([3, np.nan, 2]))
    2.5
    """
    return _along_axes(np.nanmedian, a, axis, out, keepdims, {})


@with_labels(QUANTILES, "a")
@one_call
def nanquantile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    method: Any = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    dim: Dims = None,
) -> Any:
    """Compute the q-th quantile along axes, ignoring NaN; see `numpy.nanquantile`.

    Parameters
    ----------
    a : array_like
        The array, in memory.
    q : array_like of float
        Quantiles to compute, from 0 to 1.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    method : str, optional
        Any method of NumPy.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    weights : array_like, optional
        Weight of each element. Weighted quantiles are left to NumPy, which is serial.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The quantiles, as :func:`quantile` returns them. NaN if all elements are NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If a quantile is out of range, there is no such method, or `out` or `weights` does not fit.

    Warns
    -----
    RuntimeWarning
        If all elements along the axes are NaN.

    See Also
    --------
    quantile : Return NaN if an element is NaN.
    nanpercentile : Take percentages instead of fractions.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> sharedmem.nanquantile([[1.0, 2.0, 3.0], [4.0, np.nan, 8.0]], 0.5, axis=1).tolist()
    [2.0, 6.0]
    """
    options = options_of(q, method, weights)
    return _along_axes(np.nanquantile, a, axis, out, keepdims, options)


@with_labels(QUANTILES, "a")
@one_call
def nanpercentile(
    a: Any,
    q: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    method: Any = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
    dim: Dims = None,
) -> Any:
    """Compute the q-th percentile along axes, ignoring NaN; see `numpy.nanpercentile`.

    Parameters
    ----------
    a : array_like
        The array, in memory.
    q : array_like of float
        Percentiles to compute, from 0 to 100.
    axis : int or tuple of int, optional
        Axes to reduce, by default all.
    out : ndarray, optional
        Array for the result, with its shape.
    overwrite_input : bool, optional
        Accepted for compatibility with NumPy. The array is never changed.
    method : str, optional
        Any method of NumPy.
    keepdims : bool, optional
        Whether the reduced axes stay, with length one.
    weights : array_like, optional
        Weight of each element. Weighted quantiles are left to NumPy, which is serial.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The percentiles, as :func:`nanquantile` returns quantiles.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError, ValueError
        If a percentile is out of range, there is no such method, or `out` or `weights` does not
        fit.

    See Also
    --------
    percentile : Return NaN if an element is NaN.
    nanquantile : Take fractions instead of percentages.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> float(sharedmem.nanpercentile([1.0, np.nan, 3.0], 50))
    2.0
    """
    options = options_of(q, method, weights)
    return _along_axes(np.nanpercentile, a, axis, out, keepdims, options)


def _along_axes(
    by_numpy: Function, a: Any, axis: Axis, out: Array | None, keepdims: bool, options: Options
) -> Any:
    """Apply a NumPy function along axes: its form for all elements to those that are not NaN."""
    func: Any = FOR_ALL[by_numpy]
    a = in_memory(a)
    check(func, a, axis, out, keepdims, options)
    if a.dtype.kind != "f" or is_numpys(a, options):
        return by_numpy(a, axis=axis, out=out, keepdims=keepdims, **options)
    have_no_numbers: list[bool] = []

    def of_numbers(x: Array, axis: int = -1, overwrite_input: bool = True, **options: Any) -> Any:
        n_nan = np.isnan(getattr(x, "source", x)).sum(axis=axis)
        if x.ndim == 1:
            have_no_numbers.append(n_nan == len(x))
            numbers = x if have_no_numbers[-1] else x[: len(x) - n_nan]  # sorts put NaN last
            return func(numbers, overwrite_input=True, **options)
        found = np.asarray(func(x[:, :1], axis=axis, **options)).copy()
        for n in np.unique(n_nan):  # lines with equally many numbers go together
            lines = x[n_nan == n]
            have_no_numbers.append(n == x.shape[axis])
            if 0 < n < x.shape[axis]:
                lines.sort(axis=axis)  # puts NaN last
                lines = lines[:, :-n]
            found[..., n_nan == n] = func(lines, axis=axis, overwrite_input=True, **options)
        return found

    run, _ = threads_for(a)
    found = by_lines(run, of_numbers, a, axis, keepdims, options)
    if any(have_no_numbers):
        warn_caller("All-NaN slice encountered")
    return store(found, out)
