"""Histograms of one, two, and more dimensions, on the pool in use."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.conversion import as_ndarray, check_plain
from sharedmem.arrays.labels import check_aligned
from sharedmem.engine.operands import PLAIN, as_array, in_memory, is_store
from sharedmem.functions.binning import can_weigh, in_cells
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.extrema import minmax
from sharedmem.kernels import histograms
from sharedmem.kernels.reduction import LineReduction
from sharedmem.machine.tuning import tuning
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


@one_call
def histogram(
    a: Any,
    bins: Any = 10,
    range: tuple[float, float] | None = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the histogram of a dataset; see `numpy.histogram`.

    Parameters
    ----------
    a : array_like, or array in a file of zarr or h5py
        The data. With weights, or bins by a rule, it must be in memory.
    bins : int, sequence or str, optional
        Number of equal-width bins, their edges, or a rule of :func:`numpy.histogram_bin_edges`.
    range : (float, float), optional
        Lower and upper end of equal-width bins. By default the extrema, which take another pass.
    density : bool, optional
        Whether to return the probability density instead of counts.
    weights : array_like, optional
        Weight of each element, with the shape of `a`.

    Returns
    -------
    hist : ndarray, shape (n_bins,)
        The counts, sums of weights, or densities.
    bin_edges : ndarray, shape (n_bins + 1,)
        The edges.

    Raises
    ------
    TypeError, ValueError
        If `bins`, `range`, or the shape of `weights` does not fit.

    See Also
    --------
    histogram2d : Count pairs of numbers.
    histogramdd : Count points of any dimension.
    bincount : Count non-negative integers.
    digitize : Return the bin of each element.

    Examples
    --------
    >>> import sharedmem
    >>> hist, edges = sharedmem.histogram([1, 2, 2, 4], bins=3)
    >>> hist.tolist(), edges.tolist()
    ([1, 2, 1], [1.0, 2.0, 3.0, 4.0])
    """
    if type(bins) is int and weights is None and not density and type(a) in PLAIN:
        ends: Any = range
        found = _even_bins(a.dtype, bins, *ends) if _are_numbers(ends) else None
        if found is not None and a.size:
            return reduce(found[1], a), found[0].copy()
    by_rule = isinstance(bins, str)
    check_aligned(a, weights=weights)
    a = as_array(a) if weights is None and not by_rule else in_memory(a)
    bins = bins if np.isscalar(bins) else in_memory(bins)
    uniform = np.ndim(bins) == 0
    weights = None if weights is None else in_memory(weights)
    if (
        a.size == 0
        or a.dtype.kind not in "iuf"
        or np.shape(bins) == (0,)
        or not can_weigh(weights, a.shape, "iufc")
        or (weights is not None and by_rule)
    ):
        return np.histogram(in_memory(a), bins, range, density, weights)
    ends = tuple(minmax(a) if range is None else range) if uniform else None
    known = a if by_rule else np.array(ends if range is None and uniform else (), a.dtype)
    edges = np.histogram_bin_edges(known, bins, range)
    if len(edges) < 2:
        rest = None if weights is None else weights.reshape(-1)[:0]
        return np.histogram(known[:0], edges, None, density, rest)
    searched = histograms.search_type(a.dtype, edges, uniform, ends)
    if searched is None and weights is not None:
        return np.histogram(a, bins, range, density, weights)
    if weights is not None:
        parts = [weights.real, weights.imag] if weights.dtype.kind == "c" else [weights]
        sums = [in_cells([a.reshape(-1)], [edges], [uniform], w.reshape(-1)) for w in parts]
        hist = (sums[0] if len(sums) == 1 else sums[0] + 1j * sums[1]).astype(weights.dtype)
    elif searched is None or is_store(a) or len(edges) <= tuning.histogram_bins:
        hist = reduce(histograms.histogram(a.dtype, edges, uniform, ends), a)
    else:
        hist = in_cells([a.reshape(-1)], [edges], [uniform])
    if density:
        return hist / np.diff(edges).astype(float) / hist.sum(), edges
    return hist, edges


def _are_numbers(ends: Any) -> bool:
    return type(ends) is tuple and len(ends) == 2 and {*map(type, ends)} <= {int, float}


@functools.lru_cache(64, typed=True)
def _even_bins(
    dtype: np.dtype[Any], bins: int, first: float, last: float
) -> tuple[Array, LineReduction] | None:
    """Return edges of bins of equal width, and the reduction that counts elements in them.

    None if NumPy has to count, or there are so many bins that elements are counted otherwise.
    """
    if dtype.kind not in "iuf" or not 0 < bins < tuning.histogram_bins:
        return None
    edges = np.histogram_bin_edges(np.empty(0, dtype), bins, (first, last))
    if histograms.search_type(dtype, edges, True, (first, last)) is None:
        return None
    return edges, histograms.histogram(dtype, edges, True, (first, last))


@one_call
def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Compute the two-dimensional histogram of two datasets; see `numpy.histogram2d`.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Coordinates of the points.
    bins : int or array_like, or sequence of two of them, optional
        Number of equal-width bins, or their edges, for both axes or for each.
    range : ((float, float), (float, float)), optional
        Lower and upper end along each axis. By default the extrema.
    density : bool, optional
        Whether to return the probability density instead of counts.
    weights : array_like, shape (n,), optional
        Weight of each point.

    Returns
    -------
    hist : ndarray of float, shape (n_x, n_y)
        The counts, sums of weights, or densities.
    x_edges : ndarray, shape (n_x + 1,)
        The edges along the first axis.
    y_edges : ndarray, shape (n_y + 1,)
        The edges along the second axis.

    Raises
    ------
    ValueError
        If `bins`, `range`, or `weights` does not fit, or `x` and `y` differ in length.

    See Also
    --------
    histogram : Count numbers in bins.
    histogramdd : Count points of any dimension.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.histogram2d([0, 1, 1], [0, 1, 1], bins=2)[0].tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    check_aligned(x, y=y, weights=weights)
    x, y = in_memory(x), in_memory(y)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same length, got {len(x)} and {len(y)}")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [in_memory(bins)] * 2
    hist, edges = histogramdd([x, y], bins, range, density, weights)
    return hist, edges[0], edges[1]


@one_call
def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Compute the multidimensional histogram of some data; see `numpy.histogramdd`.

    Parameters
    ----------
    sample : ndarray, shape (n, n_axes), or sequence of n_axes array_like of shape (n,)
        Coordinates of the points.
    bins : int, or sequence of int or array_like, optional
        Number of equal-width bins for all axes, or for each, or the edges along each.
    range : sequence of (float, float) or None, optional
        Lower and upper end along each axis. By default, or where None, the extrema.
    density : bool, optional
        Whether to return the probability density instead of counts.
    weights : array_like, shape (n,), optional
        Weight of each point.

    Returns
    -------
    hist : ndarray of float, of n_axes dimensions
        The counts, sums of weights, or densities.
    edges : tuple of ndarray
        The edges along each axis.

    Raises
    ------
    ValueError
        If `bins`, `range`, or `weights` does not fit.

    See Also
    --------
    histogram : Count numbers in bins.
    histogram2d : Count pairs of numbers.

    Examples
    --------
    >>> import sharedmem
    >>> hist, edges = sharedmem.histogramdd([[0, 1, 1], [0, 1, 1], [2, 2, 2]], bins=(2, 1, 1))
    >>> hist.ravel().tolist(), edges[0].tolist()
    ([1.0, 2.0], [0.0, 0.5, 1.0])
    """
    columns = _columns(sample)
    dtype = columns[0].dtype if columns else np.dtype(object)
    n_axes = len(columns)
    check_plain(bins)
    each = list(bins) if np.iterable(bins) else [bins] * n_axes
    limits = [None] * n_axes if range is None else list(range)
    values = None if weights is None else in_memory(weights)
    if (
        not len(each) == len(limits) == n_axes
        or n_axes * len(columns[0]) * dtype.itemsize <= tuning.chunk_bytes
        or histograms.search_type(dtype, np.empty(0)) is None
        or not can_weigh(values, columns[0].shape, "iuf")
    ):
        return np.histogramdd(sample, bins, range, density, weights)
    even = [np.ndim(b) == 0 for b in each]
    extrema = [
        minmax(column) if is_even and limit is None else (0, 0)
        for column, is_even, limit in zip(columns, even, limits, strict=True)
    ]
    _, edges = np.histogramdd(np.array(extrema, dtype).T, bins, range)
    if any(len(part) < 2 or histograms.search_type(dtype, part) is None for part in edges):
        return np.histogramdd(sample, bins, range, density, weights)
    values = None if values is None else values.astype(float)
    hist = in_cells(columns, edges, even, values).astype(float)
    hist = hist.reshape([len(part) - 1 for part in edges])
    if density:
        total = hist.sum()
        for widths in np.ix_(*map(np.diff, edges)):
            hist = hist / widths
        hist /= total
    return hist, edges


def _columns(sample: Any) -> list[Array]:
    """Return the coordinates of points along each axis, of one dtype."""
    if isinstance(sample, np.ndarray) and sample.ndim == 2:
        return list(as_ndarray(sample).T)
    if isinstance(sample, list | tuple):
        columns = [in_memory(column) for column in sample]
        if len({(column.shape, column.dtype) for column in columns}) == 1 and columns[0].ndim == 1:
            return columns
    return list(np.atleast_2d(in_memory(sample)))
