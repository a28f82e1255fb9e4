"""NumPy's reductions that ignore NaN, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.labels import REDUCTION, Dims, with_labels
from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules as rules
from sharedmem.functions.outputs import Out
from sharedmem.functions.reduction_rules import Options


@with_labels(REDUCTION, "a")
def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the sum over given axes, ignoring NaN, as `numpy.nansum` does but compensated.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, the dtype of `a`, with small integers widened.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    initial : scalar, optional
        The value to start from.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        As :func:`sum` returns it for elements in which zeros replace NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape.

    See Also
    --------
    sum : Return NaN if an element is NaN.
    nanmean : Return the mean.
    nancumsum : Return the cumulative sum.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nansum([1.0, float("nan"), 4.0]))
    5.0
    """
    return rules.NANSUM.apply(a, Options(axis, dtype, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the product over given axes, ignoring NaN, as `numpy.nanprod` does.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    dtype : dtype, optional
        The type of the result. By default, the dtype of `a`, with small integers widened.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    initial : scalar, optional
        The value to start from.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        As :func:`prod` returns it for elements in which ones replace NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape.

    See Also
    --------
    prod : Return NaN if an element is NaN.
    nancumprod : Return the cumulative product.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanprod([1.0, float("nan"), 4.0]))
    4.0
    """
    return rules.NANPROD.apply(a, Options(axis, dtype, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    *,
    where: Any = True,
    dim: Dims = None,
) -> Any:
    """Return the mean over given axes, ignoring NaN, as `numpy.nanmean` does but compensated.

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
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The mean, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape.

    Warns
    -----
    RuntimeWarning
        If all elements of a mean are NaN. The result is NaN.

    See Also
    --------
    mean : Return NaN if an element is NaN.
    nanmedian : Return the median.
    nanstd : Return the standard deviation.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmean([1.0, float("nan"), 4.0]))
    2.5
    """
    return rules.NANMEAN.apply(a, Options(axis, dtype, out, keepdims, where))


@with_labels(REDUCTION, "a")
def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the minimum over given axes, ignoring NaN, as `numpy.nanmin` does.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    initial : scalar, optional
        The largest value that the result can have. Required with `where`.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The minimum, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, there are no elements, or `where` is given without `initial`.

    Warns
    -----
    RuntimeWarning
        If all elements of a minimum are NaN. The result is NaN.

    See Also
    --------
    min : Return NaN if an element is NaN.
    nanmax : Return the maximum.
    nanargmin : Return the index of the minimum.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmin([3.0, float("nan"), 1.0]))
    1.0
    """
    return rules.NANMIN.apply(a, Options(axis, None, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the maximum over given axes, ignoring NaN, as `numpy.nanmax` does.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    initial : scalar, optional
        The smallest value that the result can have. Required with `where`.
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The maximum, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, there are no elements, or `where` is given without `initial`.

    Warns
    -----
    RuntimeWarning
        If all elements of a maximum are NaN. The result is NaN.

    See Also
    --------
    max : Return NaN if an element is NaN.
    nanmin : Return the minimum.
    nanargmax : Return the index of the maximum.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.nanmax([3.0, float("nan"), 1.0]))
    3.0
    """
    return rules.NANMAX.apply(a, Options(axis, None, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def nanargmin(
    a: ArrayLike,
    axis: int | None = None,
    out: Out = None,
    *,
    keepdims: bool = False,
    dim: Dims = None,
) -> Any:
    """Return the indices of the minimum values, ignoring NaN, as `numpy.nanargmin` does.

    Parameters
    ----------
    a : array_like
        The elements. An array in a file is refused: load it by ``a[...]``.
    axis : int, optional
        The axis to search along. By default, the index is into the array flattened in C order.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    int or ndarray of int
        The first index, if the minimum occurs more than once. It is never the index of a NaN;
        NumPy's may be if the minimum is infinite.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If `out` has another shape, there are no elements, or all elements along the axis are NaN.

    See Also
    --------
    argmin : Return the index of the first NaN if there is one.
    nanmin : Return the minimum.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmin([3.0, float("nan"), 1.0]))
    2
    """
    return rules.NANARGMIN.apply(a, Options(axis, None, out, keepdims))


@with_labels(REDUCTION, "a")
def nanargmax(
    a: ArrayLike,
    axis: int | None = None,
    out: Out = None,
    *,
    keepdims: bool = False,
    dim: Dims = None,
) -> Any:
    """Return the indices of the maximum values, ignoring NaN, as `numpy.nanargmax` does.

    Parameters
    ----------
    a : array_like
        The elements. An array in a file is refused: load it by ``a[...]``.
    axis : int, optional
        The axis to search along. By default, the index is into the array flattened in C order.
    out : ndarray, optional
        An array of the shape of the result, to store it in. If its dtype is not that of the
        result, NumPy computes the result, serially.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    dim : hashable, optional
        The name of the axis of an array of xarray, instead of `axis`.

    Returns
    -------
    int or ndarray of int
        The first index, if the maximum occurs more than once. It is never the index of a NaN;
        NumPy's may be if the maximum is infinite.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If `out` has another shape, there are no elements, or all elements along the axis are NaN.

    See Also
    --------
    argmax : Return the index of the first NaN if there is one.
    nanmax : Return the maximum.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.nanargmax([3.0, float("nan"), 1.0]))
    0
    """
    return rules.NANARGMAX.apply(a, Options(axis, None, out, keepdims))
