"""Sums, products, means, counts, and truth values by NumPy's names, on the pool in use."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from sharedmem.arrays.labels import REDUCTION, Dims, with_labels
from sharedmem.engine.reduce import Axis
from sharedmem.functions import numpy_rules as rules
from sharedmem.functions.outputs import Out
from sharedmem.functions.reduction_rules import Options


@with_labels(REDUCTION, "a")
def sum(
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
    """Return the sum of array elements over given axes, as `numpy.sum` does but compensated.

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
        The sum, or `out` if it is given. Floating-point sums are within one unit in the last place
        of the exact sum if the elements do not cancel. Results have the same bits for any number of
        workers.

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
    nansum : Ignore NaN.
    mean : Return the mean.
    cumsum : Return the cumulative sum.
    dot : Sum the products of two arrays.

    Notes
    -----
    The error of a sum of n numbers is at most ``u |sum| + n**2 v**2 sum(|a|)``, where u is the
    rounding unit of the result, and v that of float64. For a result of float32, it is at most
    ``3 v sum(|a|)`` more. Half precision is also summed in float64. NumPy sums longdouble.

    Elements are added in memory order. The same numbers in another layout (transposed, reversed,
    strided, unaligned, or in the other byte order) may have a sum with other last bits.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.sum([0.1] * 10))
    1.0
    """
    return rules.SUM.apply(a, Options(axis, dtype, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def prod(
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
    """Return the product of array elements over given axes, as `numpy.prod` does.

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
        The product, or `out` if it is given. Products of integers wrap around. Floating-point
        products are within one unit in the last place of the exact product, and overflow or
        underflow only if that does, not if a product of some elements does. Complex products
        accumulate the rounding error of each multiplication. Results have the same bits for any
        number of workers.

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
    nanprod : Ignore NaN.
    cumprod : Return the cumulative product.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.prod([2, 3, 7]))
    42
    """
    return rules.PROD.apply(a, Options(axis, dtype, out, keepdims, where, initial))


@with_labels(REDUCTION, "a")
def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Out = None,
    keepdims: bool = False,
    *,
    where: Any = True,
    dim: Dims = None,
) -> Any:
    """Return the mean of array elements over given axes, as `numpy.mean` does but compensated.

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
        If a mean is of no elements. It is NaN.

    See Also
    --------
    nanmean : Ignore NaN.
    average : Return the weighted average.
    moments : Return higher moments, too, in the same pass.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.mean([[1, 2], [3, 5]], axis=0).tolist()
    [2.0, 3.5]
    """
    return rules.MEAN.apply(a, Options(axis, dtype, out, keepdims, where))


@with_labels(REDUCTION, "a")
def count_nonzero(
    a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, dim: Dims = None
) -> Any:
    """Count the elements that are not zero, as `numpy.count_nonzero` does.

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
    int or ndarray of int
        The count. NaN is not zero.

    Raises
    ------
    AxisError
        If an axis is out of bounds.

    See Also
    --------
    nonzero : Return the indices of these elements.
    any : Test whether there is one.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.count_nonzero([0, 1, 7]))
    2
    """
    return rules.COUNT_NONZERO.reduce(a, axis, keepdims)


@with_labels(REDUCTION, "a")
def any(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    *,
    where: Any = True,
    dim: Dims = None,
) -> Any:
    """Test whether any array element over given axes is true, as `numpy.any` does.

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
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    bool or ndarray of bool
        The truth value, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    ValueError
        If `out` has another shape.

    See Also
    --------
    all : Test whether all elements are true.
    count_nonzero : Count the elements that are true.

    Notes
    -----
    Over all axes, workers stop at the first chunk with a true element.

    Examples
    --------
    >>> import sharedmem
    >>> bool(sharedmem.any([0, 0, 2]))
    True
    """
    return rules.ANY.apply(a, Options(axis, None, out, keepdims, where))


@with_labels(REDUCTION, "a")
def all(
    a: ArrayLike,
    axis: Axis = None,
    out: Out = None,
    keepdims: bool = False,
    *,
    where: Any = True,
    dim: Dims = None,
) -> Any:
    """Test whether all array elements over given axes are true, as `numpy.all` does.

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
    where : array_like of bool, optional
        The elements to include, broadcast to the shape of `a`. By default, all elements.
    dim : hashable or sequence of them, optional
        The names of the axes of an array of xarray, instead of `axis`.

    Returns
    -------
    bool or ndarray of bool
        The truth value, or `out` if it is given.

    Raises
    ------
    AxisError
        If an axis is out of bounds.
    ValueError
        If `out` has another shape.

    See Also
    --------
    any : Test whether any element is true.
    count_nonzero : Count the elements that are true.

    Notes
    -----
    Over all axes, workers stop at the first chunk with an element that is not true.

    Examples
    --------
    >>> import sharedmem
    >>> bool(sharedmem.all([1, 0, 2]))
    False
    """
    return rules.ALL.apply(a, Options(axis, None, out, keepdims, where))
