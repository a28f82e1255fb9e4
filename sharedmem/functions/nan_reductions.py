"""NumPy's reductions that ignore NaN, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules
from sharedmem.functions.numpy_rules import apply, degrees_lost

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
    return apply(numpy_rules.NANSUM, a, axis, dtype, out, keepdims, initial, where)


def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
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
    return apply(numpy_rules.NANPROD, a, axis, dtype, out, keepdims, initial, where)


def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
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
    return apply(numpy_rules.NANMEAN, a, axis, dtype, out, keepdims, where=where)


def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
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
    return apply(numpy_rules.NANMIN, a, axis, None, out, keepdims, initial, where)


def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
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
    return apply(numpy_rules.NANMAX, a, axis, None, out, keepdims, initial, where)


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
    """Return the variance over given axes, ignoring NaN, as `numpy.nanvar` does.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where, mean, correction
        As for :func:`var`.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements
        that are not NaN. By default 0.

    Returns
    -------
    scalar or ndarray
        The variance, or `out` if it is given. Computed in one pass.

    Warns
    -----
    RuntimeWarning
        If no more than `ddof` elements are not NaN. The result is NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanvar([1.0, float("nan"), 5.0]))
    4.0
    """
    return apply(
        numpy_rules.NANVAR, a, axis, dtype, out, keepdims,
        where=where, ddof=degrees_lost(ddof, correction), mean=mean,
    )  # fmt: skip


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
    """Return the standard deviation over given axes, ignoring NaN, as `numpy.nanstd` does.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, where, mean, correction
        As for :func:`var`.
    ddof : float, optional
        Delta degrees of freedom. The divisor is ``n - ddof``, where n is the number of elements
        that are not NaN. By default 0.

    Returns
    -------
    scalar or ndarray
        The standard deviation, or `out` if it is given. Computed in one pass.

    Warns
    -----
    RuntimeWarning
        If no more than `ddof` elements are not NaN. The result is NaN.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanstd([1.0, float("nan"), 5.0]))
    2.0
    """
    return apply(
        numpy_rules.NANSTD, a, axis, dtype, out, keepdims,
        where=where, ddof=degrees_lost(ddof, correction), mean=mean,
    )  # fmt: skip


def nanargmin(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
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
    return apply(numpy_rules.NANARGMIN, a, axis, None, out, keepdims)


def nanargmax(
    a: ArrayLike, axis: int | None = None, out: Array | None = None, *, keepdims: bool = False
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
    return apply(numpy_rules.NANARGMAX, a, axis, None, out, keepdims)
