"""NumPy's reductions by their names, on the pool in use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.engine.derived_arrays import as_mask, masked
from sharedmem.engine.operands import as_array, as_operand
from sharedmem.engine.reduce import Axis
from sharedmem.functions.chunkwise import any_chunk, reduce
from sharedmem.functions.nonfinite import told
from sharedmem.functions.numpy_rules import (
    by_numpy,
    check_out,
    is_covered,
    kept_shape,
    line_length,
    native,
    reduce_from,
    result_dtype,
    store,
)
from sharedmem.kernels import counts, extrema, products, sums

Array = NDArray[Any]


def sum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the sum of array elements, as `numpy.sum` does but compensated.

    Parameters
    ----------
    a : array_like
    axis : int or tuple of int, optional
        Axes to reduce; by default all.
    dtype : dtype, optional
        Type of the result, by default that of `a`, with small integers widened.
    out : ndarray, optional
        Where the result goes, of its shape. An `out` of another type is left to NumPy, serially.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.
    initial : scalar, optional
        What the reduction starts from.
    where : array_like of bool, optional
        Which elements take part, broadcast to the shape of `a`.

    Returns
    -------
    scalar or ndarray
        Floating-point sums are within one unit in the last place of the exact one where the
        elements do not cancel, and have the same bits for any number of workers.

    Notes
    -----
    The error of a sum of n numbers is at most ``u |sum| + n**2 v**2 sum(|a|)``, with the rounding
    unit u of the result, and v of float64; where a float32 is asked for, ``3 v sum(|a|)`` comes on
    top. Half precision is added in float64, too; longdouble by NumPy.

    Elements are added in the order of memory: the same numbers in another layout (transposed,
    reversed, strided, unaligned, or in the other byte order) may have other last bits.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.sum([0.1] * 10))
    1.0
    """
    a = as_operand(a)
    result = result_dtype(np.add.reduce, a.dtype, dtype)
    if result.kind == "b" or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.sum,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            keepdims=keepdims,
            where=where,
            initial=initial,
        )
    a = masked(a, where, 0)
    reduction = sums.add(a.dtype, result)
    return store(reduce_from(np.add, initial, reduction, a, axis, keepdims), out)


def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the product of array elements, as `numpy.prod` does.

    Parameters
    ----------
    a, axis, dtype, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray
        Products of floats are within one unit in the last place of the exact one, and overflow or
        vanish only where that does, whatever their parts do; of complex numbers each factor adds
        the rounding of one multiplication. Those of integers wrap around. The same bits for any
        number of workers.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.prod([2, 3, 7]))
    42
    """
    a = as_operand(a)
    result = result_dtype(np.multiply.reduce, a.dtype, dtype)
    if result.kind == "b" or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(
            np.prod,
            a,
            axis=axis,
            dtype=dtype,
            out=out,
            keepdims=keepdims,
            where=where,
            initial=initial,
        )
    a = masked(a, where, 1)
    reduction = products.multiply(a.dtype, result)
    excused = initial is not None and not np.isfinite(initial)
    if initial is not None and result.kind in "fc":
        reduction, initial = products.starting_from(initial, reduction, result), None
    value = reduce_from(np.multiply, initial, reduction, a, axis, keepdims)
    return store(told(value, "reduce", a, axis=axis, excused=excused), out)


def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    out: Array | None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return the mean of array elements, as `numpy.mean` does but compensated.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As for :func:`sum`.
    dtype : dtype, optional
        Type of the result, by default that of `a`, or float64 for integers.

    Returns
    -------
    scalar or ndarray
        NaN, with a RuntimeWarning, where there are no elements.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.mean([[1, 2], [3, 5]], axis=0).tolist()
    [2.0, 3.5]
    """
    a = as_operand(a)
    result = result_dtype(np.mean, a.dtype, dtype)
    if result.kind in "biu" or not is_covered(a, result, axis, out, keepdims, where):
        return by_numpy(np.mean, a, axis=axis, dtype=dtype, out=out, keepdims=keepdims, where=where)
    if where is not True:
        count = n_taking_part(a.shape, axis, keepdims, where)
        if np.any(count == 0):
            warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=2)
        means = masked_mean(a, axis, result, keepdims, where, count)
        part = masked(a, where, 0)
        return store(told(means, "reduce", part, axis=axis, excused=count == 0), out)
    mean = sums.mean(a.dtype, result, line_length(a, axis))
    return store(told(reduce(mean, a, axis, keepdims=keepdims), "reduce", a, axis=axis), out)


def min(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the smallest element, or NaN if there is one, as `numpy.min` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.min([3, 1, 2]))
    1
    """
    a = as_operand(a)
    is_defined = where is True or initial is not None
    if not is_defined or not is_covered(a, native(a.dtype), axis, out, keepdims, where):
        return by_numpy(
            np.min, a, axis=axis, out=out, keepdims=keepdims, where=where, initial=initial
        )
    if a.dtype.kind == "b" and where is True and initial is None:
        return all(a, axis, out, keepdims)  # which stops early
    a = masked(a, where, initial)
    reduction = extrema.minimum(a.dtype)
    return store(reduce_from(np.minimum, initial, reduction, a, axis, keepdims), out)


def max(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Return the largest element, or NaN if there is one, as `numpy.max` does.

    Parameters
    ----------
    a, axis, out, keepdims, initial, where
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.max([3, 1, 2]))
    3
    """
    a = as_operand(a)
    is_defined = where is True or initial is not None
    if not is_defined or not is_covered(a, native(a.dtype), axis, out, keepdims, where):
        return by_numpy(
            np.max, a, axis=axis, out=out, keepdims=keepdims, where=where, initial=initial
        )
    if a.dtype.kind == "b" and where is True and initial is None:
        return any(a, axis, out, keepdims)  # which stops early
    a = masked(a, where, initial)
    reduction = extrema.maximum(a.dtype)
    return store(reduce_from(np.maximum, initial, reduction, a, axis, keepdims), out)


def minmax(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> tuple[Any, Any]:
    """Return the smallest and the largest element, from one pass over the array.

    Parameters
    ----------
    a, axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    tuple of two scalars or ndarrays

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.minmax([[3, 1], [2, 5]], axis=1)
    (array([1, 2]), array([3, 5]))
    """
    a = as_array(a)
    if not is_covered(a, native(a.dtype), axis, None, keepdims):
        return min(a, axis, keepdims=keepdims), max(a, axis, keepdims=keepdims)
    smallest, largest = reduce(extrema.minmax(a.dtype), a, axis, keepdims=keepdims)
    return smallest, largest


def ptp(a: ArrayLike, axis: Axis = None, out: Array | None = None, keepdims: bool = False) -> Any:
    """Return the largest element less the smallest, as `numpy.ptp` does, from one pass.

    Parameters
    ----------
    a, axis, out, keepdims
        As for :func:`sum`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.ptp([3, 1, 7]))
    6
    """
    a = as_array(a)
    if a.dtype.kind == "b":
        return by_numpy(np.ptp, a, axis=axis, out=out, keepdims=keepdims)  # which refuses it
    result = np.subtract(*np.zeros((2, 1), a.dtype)).dtype
    if not is_covered(a, result, axis, out, keepdims):
        return by_numpy(np.ptp, a, axis=axis, out=out, keepdims=keepdims)
    smallest, largest = minmax(a, axis, keepdims=keepdims)
    return store(np.subtract(largest, smallest), out)


def count_nonzero(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return the number of elements that are not zero, as `numpy.count_nonzero` does.

    Parameters
    ----------
    a, axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    int or ndarray of int

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.count_nonzero([0, 1, 7]))
    2
    """
    a = as_array(a)
    if a.ndim == 0 or a.dtype.kind not in "biufcmM":
        return by_numpy(np.count_nonzero, a, axis=axis, keepdims=keepdims)
    return reduce(counts.count_nonzero(a.dtype), a, axis, keepdims=keepdims)


def any(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return whether any element is true, as `numpy.any` does.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As for :func:`sum`.

    Returns
    -------
    bool or ndarray of bool
        Over all axes, the search ends with the first chunk that has one.

    Examples
    --------
    >>> import sharedmem
    >>> bool(sharedmem.any([0, 0, 2]))
    True
    """
    a = as_operand(a)
    if a.dtype.kind in "mM" or not is_covered(a, np.dtype(bool), axis, out, keepdims, where):
        return _truth_by_numpy(np.any, a, axis, out, keepdims, where)
    a = masked(a, where, False)
    if isinstance(a, np.ndarray) and line_length(a, axis) == a.size:
        result = np.reshape(any_chunk(a, np.any), kept_shape(a, axis, keepdims))[()]
        return store(result, out)
    count = count_nonzero(a, axis, keepdims=keepdims)
    return store(count > 0, out)


def all(
    a: ArrayLike,
    axis: Axis = None,
    out: Array | None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    """Return whether all elements are true, as `numpy.all` does.

    Parameters
    ----------
    a, axis, out, keepdims, where
        As for :func:`sum`.

    Returns
    -------
    bool or ndarray of bool
        Over all axes, the search ends with the first chunk that lacks one.

    Examples
    --------
    >>> import sharedmem
    >>> bool(sharedmem.all([1, 0, 2]))
    False
    """
    a = as_operand(a)
    if a.dtype.kind in "mM" or not is_covered(a, np.dtype(bool), axis, out, keepdims, where):
        return _truth_by_numpy(np.all, a, axis, out, keepdims, where)
    a = masked(a, where, True)
    if isinstance(a, np.ndarray) and line_length(a, axis) == a.size:
        result = np.reshape(not any_chunk(a, _lacks), kept_shape(a, axis, keepdims))[()]
        return store(result, out)
    count = count_nonzero(a, axis, keepdims=keepdims)
    return store(count == line_length(a, axis), out)


def _truth_by_numpy(func: Any, a: Any, axis: Axis, out: Any, keepdims: bool, where: Any) -> Any:
    if not (isinstance(out, np.ndarray) and out.dtype == object):
        return by_numpy(func, a, axis=axis, out=out, keepdims=keepdims, where=where)
    # NumPy 2.4 crashes where it writes to an `out` of objects itself.
    result = by_numpy(func, a, axis=axis, keepdims=keepdims, where=where)
    check_out(out, np.shape(result), np.dtype(bool))
    return store(result, out)


def n_taking_part(shape: tuple[int, ...], axis: Axis, keepdims: bool, where: Any) -> Any:
    """Return how many elements of each line a mask lets take part."""
    return count_nonzero(as_mask(where, shape), axis, keepdims=keepdims)


def masked_mean(
    a: Array, axis: Axis, result: np.dtype[Any], keepdims: bool, where: Any, count: Any
) -> Any:
    """Return the mean of the `count` elements of each line that take part."""
    wide = np.promote_types(result, np.float64)
    total = reduce(sums.add(a.dtype, wide), masked(a, where, 0), axis, keepdims=keepdims)
    with np.errstate(invalid="ignore"):
        return np.true_divide(total, count).astype(result)[()]


def _lacks(chunk: Array) -> bool:
    return not np.all(chunk)
