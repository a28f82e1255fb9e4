"""Minima and maxima, and their indices, by NumPy's names, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from sharedmem.arrays.labels import REDUCTION, Dims, with_labels
from sharedmem.engine.operands import as_array
from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules as rules
from sharedmem.functions.outputs import Out
from sharedmem.functions.reduction_rules import Options


@with_labels(REDUCTION, "a")
def min(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the minimum of array elements over given axes, as `numpy.min` does.

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
        The minimum, or `out` if it is given. It is NaN if one of the elements is NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, there are no elements, or `where` is given without `initial`.

    See Also
    --------
    minmax : Return the minimum and the maximum in one pass.
    nanmin : Ignore NaN.
    argmin : Return the index of the minimum.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.min([3, 1, 2]))
    1
    """
    return rules.MIN.apply(a, Options(axis, None, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def max(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
    *,
    dim: Dims = None,
) -> Any:
    """Return the maximum of array elements over given axes, as `numpy.max` does.

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
        The maximum, or `out` if it is given. It is NaN if one of the elements is NaN.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, there are no elements, or `where` is given without `initial`.

    See Also
    --------
    minmax : Return the minimum and the maximum in one pass.
    nanmax : Ignore NaN.
    argmax : Return the index of the maximum.
    topk : Return several of the largest elements.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.max([3, 1, 2]))
    3
    """
    return rules.MAX.apply(a, Options(axis, None, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def minmax(
    a: Any, axis: Axis = None, *, keepdims: bool = False, dim: Dims = None
) -> tuple[Any, Any]:
    """Return the minimum and the maximum of array elements, in one pass.

    Parameters
    ----------
    a : array_like
        The elements.
    axis : int or tuple of int, optional
        The axes to reduce. By default, all axes.
    keepdims : bool, optional
        If True, the reduced axes are left in the result with length one. By default False.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    tuple of two scalars or ndarrays
        As :func:`min` and :func:`max` return them.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If there are no elements.

    See Also
    --------
    min : Return the minimum.
    max : Return the maximum.
    ptp : Return their difference.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.minmax([[3, 1], [2, 5]], axis=1)
    (array([1, 2]), array([3, 5]))
    """
    smallest, largest = rules.MINMAX.reduce(a, axis, keepdims)
    return smallest, largest


@with_labels(REDUCTION, "a")
def ptp(
    a: ArrayLike, axis: Axis = None, out: Out = None, keepdims: bool = False, *, dim: Dims = None
) -> Any:
    """Return the range of values (maximum - minimum), as `numpy.ptp` does but in one pass.

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
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    scalar or ndarray
        The range, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    TypeError
        If the dtype does not support the operation.
    ValueError
        If `out` has another shape, or there are no elements.

    See Also
    --------
    minmax : Return the minimum and the maximum.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.ptp([3, 1, 7]))
    6
    """
    return rules.PTP.apply(as_array(a), Options(axis, None, out, keepdims))


@with_labels(REDUCTION, "a")
def argmin(
    a: ArrayLike,
    axis: int | None = None,
    out: Out = None,
    *,
    keepdims: bool = False,
    dim: Dims = None,
) -> Any:
    """Return the indices of the minimum values along an axis, as `numpy.argmin` does.

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
        The first index, if the minimum occurs more than once. NaN counts as the minimum.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If `out` has another shape, or there are no elements.

    See Also
    --------
    min : Return the minimum.
    nanargmin : Ignore NaN.
    topk : Return the indices of several of the smallest elements.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.argmin([3, 1, 7]))
    1
    """
    return rules.ARGMIN.apply(a, Options(axis, None, out, keepdims))


@with_labels(REDUCTION, "a")
def argmax(
    a: ArrayLike,
    axis: int | None = None,
    out: Out = None,
    *,
    keepdims: bool = False,
    dim: Dims = None,
) -> Any:
    """Return the indices of the maximum values along an axis, as `numpy.argmax` does.

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
        The first index, if the maximum occurs more than once. NaN counts as the maximum.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If `out` has another shape, or there are no elements.

    See Also
    --------
    max : Return the maximum.
    nanargmax : Ignore NaN.
    topk : Return the indices of several of the largest elements.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.argmax([3, 1, 7]))
    2
    """
    return rules.ARGMAX.apply(a, Options(axis, None, out, keepdims))
