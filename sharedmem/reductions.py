"""NumPy's reductions by their names, on the pool in use."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.chunkwise import reduce
from sharedmem.kernels import counts, extrema, sums
from sharedmem.reducing import Axis


def sum(
    a: ArrayLike, axis: Axis = None, dtype: DTypeLike | None = None, *, keepdims: bool = False
) -> Any:
    """Return the sum of array elements, as `numpy.sum` does but compensated.

    Parameters
    ----------
    a : array_like
    axis : int or tuple of int, optional
        Axes to reduce; by default all.
    dtype : dtype, optional
        Type of the result, by default that of `a`, with small integers widened.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.

    Returns
    -------
    scalar or ndarray
        Floating-point sums are within one unit in the last place of the exact one where the
        elements do not cancel, and have the same bits for any number of workers.

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.sum([0.1] * 10))
    1.0
    """
    a = np.asarray(a)
    result = np.add.reduce(np.zeros(1, a.dtype), dtype=dtype).dtype
    return reduce(sums.add(a.dtype, result), a, axis, keepdims=keepdims)


def mean(
    a: ArrayLike, axis: Axis = None, dtype: DTypeLike | None = None, *, keepdims: bool = False
) -> Any:
    """Return the mean of array elements, as `numpy.mean` does but compensated.

    Parameters
    ----------
    a, axis, keepdims
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
    a = np.asarray(a)
    count = line_length(a, axis)
    if count == 0:
        warnings.warn("Mean of empty slice", RuntimeWarning, stacklevel=2)
    result = np.asarray(np.mean(np.zeros(1, a.dtype), dtype=dtype)).dtype
    return reduce(sums.mean(a.dtype, result, count), a, axis, keepdims=keepdims)


def min(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return the smallest element, or NaN if there is one, as `numpy.min` does.

    Parameters
    ----------
    a, axis, keepdims
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
    a = np.asarray(a)
    return reduce(extrema.minimum(a.dtype), a, axis, keepdims=keepdims)


def max(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return the largest element, or NaN if there is one, as `numpy.max` does.

    Parameters
    ----------
    a, axis, keepdims
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
    a = np.asarray(a)
    return reduce(extrema.maximum(a.dtype), a, axis, keepdims=keepdims)


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
    a = np.asarray(a)
    smallest, largest = reduce(extrema.minmax(a.dtype), a, axis, keepdims=keepdims)
    return smallest, largest


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
    a = np.asarray(a)
    return reduce(counts.count_nonzero(a.dtype), a, axis, keepdims=keepdims)


def line_length(a: NDArray[Any], axis: Axis) -> int:
    """Return how many elements each result is reduced from."""
    axes = tuple(np.arange(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    return math.prod(a.shape[at] for at in axes)
