"""Medians, percentiles and quantiles of the elements that are not NaN, on the pool in use."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import check_plain
from sharedmem.engine.operands import in_memory
from sharedmem.engine.reduce import Axis
from sharedmem.functions.numpy_rules import store
from sharedmem.functions.quantiles import check_out_of, is_numpys, of_lines, weighted

Array = NDArray[Any]
Function = Callable[..., Any]


def nanmedian(
    a: Any,
    axis: Axis = None,
    out: Array | None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    """Return the median of the elements that are not NaN, as `numpy.nanmedian` does.

    Parameters
    ----------
    a, axis, out, overwrite_input, keepdims
        As for :func:`median`.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where there is nothing else.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> float(sharedmem.nanmedian([3, np.nan, 2]))
    2.5
    """
    return _of_numbers(np.nanmedian, np.median, a, axis, out, keepdims, {})


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
) -> Any:
    """Return quantiles of the elements that are not NaN, as `numpy.nanquantile` does.

    Parameters
    ----------
    a, q, axis, out, overwrite_input, method, keepdims, weights
        As for :func:`quantile`.

    Returns
    -------
    scalar or ndarray
        The axes of `q`, and then those of `a` that are kept; NaN, with a RuntimeWarning, where
        there is nothing else.

    Raises
    ------
    ValueError
        If a quantile is not in the range, or there is no such method.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> sharedmem.nanquantile([[1.0, 2.0, 3.0], [4.0, np.nan, 8.0]], 0.5, axis=1).tolist()
    [2.0, 6.0]
    """
    options = {"q": q, "method": method}
    if weights is not None:
        return weighted(np.nanquantile, a, q, axis, out, method, keepdims, weights)
    return _of_numbers(np.nanquantile, np.quantile, a, axis, out, keepdims, options)


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
) -> Any:
    """Return percentiles of the elements that are not NaN, as `numpy.nanpercentile` does.

    Parameters
    ----------
    a, axis, out, overwrite_input, method, keepdims, weights
        As for :func:`quantile`.
    q : array_like of float
        From 0 to 100.

    Returns
    -------
    scalar or ndarray
        As :func:`nanquantile` returns.

    Examples
    --------
    >>> import numpy as np
    >>> import sharedmem
    >>> float(sharedmem.nanpercentile([1.0, np.nan, 3.0], 50))
    2.0
    """
    options = {"q": q, "method": method}
    if weights is not None:
        return weighted(np.nanpercentile, a, q, axis, out, method, keepdims, weights)
    return _of_numbers(np.nanpercentile, np.percentile, a, axis, out, keepdims, options)


def _of_numbers(
    by_numpy: Function,
    function: Function,
    a: Any,
    axis: Axis,
    out: Array | None,
    keepdims: bool,
    options: dict[str, Any],
) -> Any:
    """Apply a function of lines without NaN, or what NumPy has for lines with it."""
    a = in_memory(a)
    check_plain(options.get("q"))
    check_out_of(function, a, axis, out, keepdims, options)
    if a.dtype.kind not in "f" or is_numpys(a, options):
        return by_numpy(a, axis=axis, out=out, keepdims=keepdims, **options)
    have_no_numbers: list[bool] = []

    def of_numbers(x: Array, axis: int = -1, overwrite_input: bool = True, **options: Any) -> Any:
        n_nan = np.isnan(x).sum(axis=axis)
        if x.ndim == 1:
            have_no_numbers.append(n_nan == len(x))
            numbers = x[~np.isnan(x)] if 0 < n_nan < len(x) else x
            return function(numbers, overwrite_input=True, **options)
        found = np.asarray(function(x[:, :1], axis=axis, **options)).copy()
        for n in np.unique(n_nan):  # lines with as many numbers are done together
            lines = x[n_nan == n]
            have_no_numbers.append(n == x.shape[axis])
            if 0 < n < x.shape[axis]:
                lines.sort(axis=axis)  # puts NaN last
                lines = lines[:, :-n]
            found[..., n_nan == n] = function(lines, axis=axis, overwrite_input=True, **options)
        return found

    found = of_lines(of_numbers, a, axis, None, keepdims, options)
    if any(have_no_numbers):
        warnings.warn("All-NaN slice encountered", RuntimeWarning, stacklevel=3)
    return store(found, out)
