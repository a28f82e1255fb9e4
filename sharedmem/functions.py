"""NumPy's reductions by their names, and kernels over chunks, on the pool in use."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.chunks import Grid, chunks as make_chunks
from sharedmem.kernels import (
    Reduction,
    counts,
    extrema,
    histograms,
    moments as variances,
    summaries,
    sums,
)
from sharedmem.kernels.summaries import Moments, Summary
from sharedmem.mapreduce import current_pool

Axis = int | tuple[int, ...] | None


def map_chunks(
    kernel: Callable[..., Any],
    *arrays: Any,
    args: tuple[Any, ...] = (),
    axis: int = 0,
    chunks: Grid | None = None,
    out: Any = None,
) -> Any:
    """Call a kernel on each chunk of arrays that are split together, in parallel.

    Parameters
    ----------
    kernel : callable
        ``kernel(chunk_a, chunk_b, ..., *args)`` changes its chunks in place, and with `out`
        ``kernel(chunk_a, chunk_b, ..., chunk_out, *args)`` writes to the chunk of `out`. Usually a
        function compiled with ``@numba.njit(nogil=True)``. What it returns is dropped.
    *arrays : array_like
        At least one; all as long as each other along `axis`.
    args : tuple
        Further arguments, given whole to every call.
    axis : int, optional
        The axis along which the arrays are split.
    chunks : Grid, optional
        Chunks made by :func:`sharedmem.chunks`, in place of the default ones: about 4 MiB of the
        first array along `axis`. An array of a single chunk is done by the caller.
    out : SharedArray or tuple of SharedArray, optional
        Where the kernel writes to. Without it, it works on the first array in place.

    Returns
    -------
    ndarray, or tuple of ndarray
        `out`, or the first array.

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or if `out` (without it, the first array) is read-only
        or in private memory, where the writes of worker processes are lost. Errors of the
        compiler come as they are, before any work is done.

    Notes
    -----
    Other arrays in private memory are read-only for the kernel: no write is ever lost unseen.

    Examples
    --------
    >>> import numba, numpy as np, sharedmem
    >>> @numba.njit(nogil=True)
    ... def scale(x, y, result, factor):
    ...     result[:] = factor * x + y
    >>> a = sharedmem.ones(5)
    >>> result = sharedmem.empty_like(a)
    >>> sharedmem.map_chunks(scale, a, np.arange(5.0), args=(10,), out=result).tolist()
    [10.0, 11.0, 12.0, 13.0, 14.0]
    """
    pool = current_pool()
    return pool.map_chunks(kernel, *arrays, args=args, axis=axis, chunks=chunks, out=out)


def apply_ufunc(ufunc: Any, *inputs: Any, out: Any = None, **options: Any) -> Any:
    """Apply a ufunc or gufunc of NumPy, SciPy or numba, in parallel over its loop.

    Parameters
    ----------
    ufunc : ufunc
        For example ``np.exp``, ``scipy.special.erf``, ``np.matmul`` or a function compiled with
        ``@numba.vectorize``.
    *inputs : array_like
        Broadcast against each other.
    out : SharedArray or tuple of SharedArray, optional
        Where the results go; by default to new shared arrays. It may be one of the inputs.
    **options
        ``dtype``, ``casting`` and ``order``, as NumPy has them.

    Returns
    -------
    SharedArray, scalar, or tuple of them

    Raises
    ------
    TypeError, ValueError
        If the arguments do not fit together, or `out` cannot be written to by workers.

    Examples
    --------
    >>> import numpy as np, sharedmem
    >>> a = sharedmem.full((2, 3), 9.0)
    >>> sharedmem.apply_ufunc(np.sqrt, a, out=a).tolist()
    [[3.0, 3.0, 3.0], [3.0, 3.0, 3.0]]
    >>> sharedmem.apply_ufunc(np.add, a, np.arange(3)).tolist()
    [[3.0, 4.0, 5.0], [3.0, 4.0, 5.0]]
    """
    return current_pool().apply_ufunc(ufunc, *inputs, out=out, **options)


def reduce(reduction: Reduction, a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Reduce an array over some of its axes by a reduction of your own.

    Parameters
    ----------
    reduction : Reduction
        See :class:`sharedmem.Reduction`. It sees the elements in the order of memory.
    a : array_like
    axis : int or tuple of int, optional
        Axes to reduce; by default all. With an axis, a reduction that is not made of lines is
        called for each line in turn, at the speed of Python.
    keepdims : bool, optional
        Whether reduced axes stay, with length one.

    Returns
    -------
    object
        What the reduction gives; an array of that, for lines.

    Raises
    ------
    ValueError
        If there is nothing to reduce and no identity.

    Notes
    -----
    The result depends on the array and on its strides, and not on the number of workers.

    Examples
    --------
    >>> import numba, operator, sharedmem
    >>> @numba.njit(nogil=True)
    ... def count_negative(x):
    ...     return (x < 0).sum()
    >>> negative = sharedmem.Reduction(count_negative, operator.add, identity=0)
    >>> int(sharedmem.reduce(negative, [3.0, -1.0, -2.0]))
    2
    """
    return current_pool().reduce(reduction, a, axis=axis, keepdims=keepdims)


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
    count = _line_length(a, axis)
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


def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
) -> Any:
    """Return the variance, as `numpy.var` does but from one pass over the array.

    Parameters
    ----------
    a, axis, keepdims
        As for :func:`sum`.
    dtype : dtype, optional
        Type of the result, by default that of `a`, or float64 for integers.
    ddof : float, optional
        The sum of squares is divided by the number of elements less `ddof`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.var([1, 2, 3, 4], ddof=1))
    1.6666666666666667
    """
    a = np.asarray(a)
    result = _deviation_dtype(a, axis, dtype, ddof)
    return reduce(variances.variance(a.dtype, result, ddof), a, axis, keepdims=keepdims)


def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
) -> Any:
    """Return the standard deviation, the square root of :func:`var`.

    Parameters
    ----------
    a, axis, dtype, ddof, keepdims
        As for :func:`var`.

    Returns
    -------
    scalar or ndarray

    Examples
    --------
    >>> import sharedmem
    >>> float(sharedmem.std([1, 1, 3, 3]))
    1.0
    """
    a = np.asarray(a)
    result = _deviation_dtype(a, axis, dtype, ddof)
    return reduce(variances.deviation(a.dtype, result, ddof), a, axis, keepdims=keepdims)


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


def moments(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Moments:
    """Return mean, variance, skew and kurtosis, from one pass over the array.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Moments
        ``(mean, var, skew, kurtosis)`` in float64, with the definitions (and the defaults) of
        `scipy.stats`: biased, and a kurtosis of zero for normal distributions.

    Examples
    --------
    >>> import sharedmem
    >>> result = sharedmem.moments([1, 2, 3, 4])
    >>> float(result.mean), float(result.kurtosis)
    (2.5, -1.36)
    """
    a = np.asarray(a)
    result: Moments = reduce(summaries.moments(a.dtype), a, axis, keepdims=keepdims)
    return result


def summary(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Summary:
    """Return what an array holds, from one pass over it.

    Parameters
    ----------
    a : array_like of real numbers
    axis, keepdims
        As for :func:`sum`.

    Returns
    -------
    Summary
        ``(count, n_nan, n_inf, min, max, mean, std, skew, kurtosis)``; from `min` on of the finite
        elements alone, in float64.

    Examples
    --------
    >>> import numpy as np
    >>> from sharedmem.functions import summary
    >>> result = summary([1.0, 3.0, np.nan])
    >>> int(result.n_nan), float(result.mean)
    (1, 2.0)
    """
    a = np.asarray(a)
    result: Summary = reduce(summaries.summary(a.dtype), a, axis, keepdims=keepdims)
    return result


def histogram(
    a: ArrayLike,
    bins: Any = 10,
    range: tuple[float, float] | None = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return how many elements are in each bin, as `numpy.histogram` does, and the edges.

    Parameters
    ----------
    a : array_like
    bins : int, sequence or str, optional
        How many bins of equal width, or all of their edges, or the name of a rule that
        :func:`numpy.histogram_bin_edges` knows.
    range : (float, float), optional
        Lower and upper limit of bins of equal width; by default the extrema, from another pass.
    density : bool, optional
        Whether to divide by the number of elements and the widths of the bins.
    weights : array_like, optional
        What each element counts.

    Returns
    -------
    hist : ndarray, shape (n_bins,)
    bin_edges : ndarray, shape (n_bins + 1,)

    Examples
    --------
    >>> import sharedmem
    >>> hist, edges = sharedmem.histogram([1, 2, 2, 4], bins=3)
    >>> hist.tolist(), edges.tolist()
    ([1, 2, 1], [1.0, 2.0, 3.0, 4.0])
    """
    a = np.asarray(a)
    uniform = np.ndim(bins) == 0
    if a.size == 0 or a.dtype.kind not in "iuf" or (isinstance(bins, str) and weights is not None):
        return np.histogram(a, bins, range, density, weights)
    if isinstance(bins, str):
        edges = np.histogram_bin_edges(a, bins, range)
    else:
        extent = minmax(a) if uniform and range is None else ()
        edges = np.histogram_bin_edges(np.array(extent, a.dtype), bins, range)
    if weights is None:
        hist = reduce(histograms.histogram(a.dtype, edges, uniform), a)
    else:
        hist = _weighted_histogram(a, edges, uniform, np.asarray(weights))
    if density:
        return hist / np.diff(edges).astype(float) / hist.sum(), edges
    return hist, edges


def _weighted_histogram(
    a: NDArray[Any], edges: NDArray[Any], uniform: bool, weights: NDArray[Any]
) -> NDArray[Any]:
    if weights.shape != a.shape:
        raise ValueError(f"weights of shape {weights.shape} do not fit an array of {a.shape}")
    bins, limits = (len(edges) - 1, (edges[0], edges[-1])) if uniform else (edges, None)
    a, weights = a.ravel(), weights.ravel()

    def chunk_histogram(chunk: tuple[slice, ...]) -> NDArray[Any]:
        return np.histogram(a[chunk], bins, limits, weights=weights[chunk])[0]

    parts = current_pool().map(chunk_histogram, make_chunks(a))
    hist: NDArray[Any] = np.add.reduce(parts, axis=0)
    return hist


def _line_length(a: NDArray[Any], axis: Axis) -> int:
    axes = tuple(np.arange(a.ndim)) if axis is None else normalize_axis_tuple(axis, a.ndim, "axis")
    return math.prod(a.shape[at] for at in axes)


def _deviation_dtype(
    a: NDArray[Any], axis: Axis, dtype: DTypeLike | None, ddof: float
) -> np.dtype[Any]:
    if _line_length(a, axis) <= ddof:
        warnings.warn("Degrees of freedom <= 0 for slice", RuntimeWarning, stacklevel=3)
    return np.asarray(np.var(np.zeros(1, a.dtype), dtype=dtype)).dtype
