"""NumPy's reductions that ignore NaN, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules as rules
from sharedmem.functions.outputs import Out
from sharedmem.functions.reduction_rules import Options


def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the sum over given axes, ignoring NaN, as `numpy.nansum` does but compensated.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        As :func:`sum` returns it for elements in which zeros replace NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nansum([1.0, float("nan"), 4.0]))
    5.0
    """
    return rules.NANSUM.apply(a, Options(axis, dtype, out, keepdims, where, initial))


def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the product over given axes, ignoring NaN, as `numpy.nanprod` does.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        As :func:`prod` returns it for elements in which ones replace NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanprod([1.0, float("nan"), 4.0]))
    4.0
    """
    return rules.NANPROD.apply(a, Options(axis, dtype, out, keepdims, where, initial))


def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return the mean over given axes, ignoring NaN, as `numpy.nanmean` does but compensated.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where
        As for :func:`mean`.

    Returns
    -------
    scalar or ndarray
        The mean, or `out` if it is given.

    Warns
    -----
    RuntimeWarning
        If all elements of a mean are NaN. The result is NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmean([1.0, float("nan"), 4.0]))
    2.5
    """
    return rules.NANMEAN.apply(a, Options(axis, dtype, out, keepdims, where))


def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the minimum over given axes, ignoring NaN, as `numpy.nanmin` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`min`.

    Returns
    -------
    scalar or ndarray
        The minimum, or `out` if it is given.

    Raises
    ------
    ValueError
        If there are no elements, or `where` is given without `initial`.

    Warns
    -----
    RuntimeWarning
        If all elements of a minimum are NaN. The result is NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmin([3.0, float("nan"), 1.0]))
    1.0
    """
    return rules.NANMIN.apply(a, Options(axis, None, out, keepdims, where, initial))


def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the maximum over given axes, ignoring NaN, as `numpy.nanmax` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`max`.

    Returns
    -------
    scalar or ndarray
        The maximum, or `out` if it is given.

    Raises
    ------
    ValueError
        If there are no elements, or `where` is given without `initial`.

    Warns
    -----
    RuntimeWarning
        If all elements of a maximum are NaN. The result is NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmax([3.0, float("nan"), 1.0]))
    3.0
    """
    return rules.NANMAX.apply(a, Options(axis, None, out, keepdims, where, initial))


def nanargmin(
    a: ArrayLike, axis: int | None = None, out: Out = None, *, keepdims: bool = False
) -> Any:
    """Return the indices of the minimum values, ignoring NaN, as `numpy.nanargmin` does.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`argmin`.

    Returns
    -------
    int or ndarray of int
        The first index, if the minimum occurs more than once. It is never the index of a NaN;
        NumPy's may be if the minimum is infinite.

    Raises
    ------
    ValueError
        If there are no elements, or all elements along the axis are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmin([3.0, float("nan"), 1.0]))
    2
    """
    return rules.NANARGMIN.apply(a, Options(axis, None, out, keepdims))


def nanargmax(
    a: ArrayLike, axis: int | None = None, out: Out = None, *, keepdims: bool = False
) -> Any:
    """Return the indices of the maximum values, ignoring NaN, as `numpy.nanargmax` does.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`argmax`.

    Returns
    -------
    int or ndarray of int
        The first index, if the maximum occurs more than once. It is never the index of a NaN;
        NumPy's may be if the maximum is infinite.

    Raises
    ------
    ValueError
        If there are no elements, or all elements along the axis are NaN.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmax([3.0, float("nan"), 1.0]))
    0
    """
    return rules.NANARGMAX.apply(a, Options(axis, None, out, keepdims))
