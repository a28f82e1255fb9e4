"""Counts of elements in bins, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.chunks import DEFAULT_CHUNK_BYTES, Chunk, chunks
from sharedmem.arrays.conversion import as_ndarray, check_plain
from sharedmem.engine.operands import as_array, in_memory
from sharedmem.functions.chunkwise import reduce
from sharedmem.functions.reductions import minmax
from sharedmem.kernels import histograms
from sharedmem.kernels.loops.layout import as_numbers
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]

# A piece of an array has a table of its own; together they are no longer than a quarter of it.
_MAX_PIECES = 64
_ELEMENTS_A_BIN = 4
# So many elements are put into bins before they are counted, and stay in the cache.
_RUN = 1 << 15
# Tables of more bins than that, one a chunk, would take more than reading.
_MANY_BINS = 1 << 12
# With fewer there is nothing to count.
_EDGES_OF_A_BIN = 2


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
    a = as_array(a) if weights is None else in_memory(a)
    bins = bins if np.isscalar(bins) else in_memory(bins)
    uniform = np.ndim(bins) == 0
    weights = None if weights is None else in_memory(weights)
    if (
        a.size == 0
        or a.dtype.kind not in "iuf"
        or np.shape(bins) == (0,)
        or (weights is not None and (isinstance(bins, str) or not _can_weigh(weights, a.shape)))
    ):
        return np.histogram(in_memory(a), bins, range, density, weights)
    a = in_memory(a) if isinstance(bins, str) else a
    ends = tuple(minmax(a) if range is None else range) if uniform else None
    known = (
        a if isinstance(bins, str) else np.array(ends if range is None and uniform else (), a.dtype)
    )
    edges = np.histogram_bin_edges(known, bins, range)
    if len(edges) < _EDGES_OF_A_BIN:
        rest = None if weights is None else weights.reshape(-1)[:0]
        return np.histogram(known[:0], edges, None, density, rest)
    searched = histograms.search_type(a.dtype, edges, uniform, ends)
    if searched is None and weights is not None:
        return np.histogram(a, bins, range, density, weights)
    if weights is not None:
        hist = _weighted_histogram(a, edges, uniform, weights)
    elif searched is None or len(edges) <= _MANY_BINS:
        hist = reduce(histograms.histogram(a.dtype, edges, uniform, ends), a)
    else:
        hist = _in_cells([in_memory(a).reshape(-1)], [edges], [uniform])
    if density:
        return hist / np.diff(edges).astype(float) / hist.sum(), edges
    return hist, edges


def _can_weigh(weights: Array, shape: tuple[int, ...]) -> bool:
    return (
        weights.shape == shape and weights.dtype.kind in "iufc" and weights.dtype.char not in "gG"
    )


def _weighted_histogram(a: Array, edges: Array, uniform: bool, weights: Array) -> Array:
    parts = [weights.real, weights.imag] if weights.dtype.kind == "c" else [weights]
    sums = [_in_cells([a.reshape(-1)], [edges], [uniform], w.reshape(-1)) for w in parts]
    total = sums[0] if len(sums) == 1 else sums[0] + 1j * sums[1]
    return total.astype(weights.dtype)  # type: ignore[no-any-return, unused-ignore]


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Return how many points are in each cell of a plane, as `numpy.histogram2d` does.

    Parameters
    ----------
    x, y : array_like, shape (n,)
    bins : int, sequence, or one of either for each axis, optional
        How many bins of equal width, or all of their edges.
    range : ((float, float), (float, float)), optional
        Lower and upper limits; by default the extrema.
    density, weights
        As for :func:`histogram`.

    Returns
    -------
    hist : ndarray of float, shape (n_x, n_y)
    x_edges : ndarray, shape (n_x + 1,)
    y_edges : ndarray, shape (n_y + 1,)

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.histogram2d([0, 1, 1], [0, 1, 1], bins=2)[0].tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    x, y = in_memory(x), in_memory(y)
    if len(x) != len(y):
        raise ValueError(f"x and y must have the same length, got {len(x)} and {len(y)}")
    if hasattr(bins, "__len__") and len(bins) not in (1, 2):
        bins = [in_memory(bins)] * 2
    hist, edges = histogramdd([x, y], bins, range, density, weights)
    return hist, edges[0], edges[1]


def histogramdd(
    sample: Any,
    bins: Any = 10,
    range: Any = None,
    density: bool | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Array, tuple[Array, ...]]:
    """Return how many points are in each cell of a space, as `numpy.histogramdd` does.

    Parameters
    ----------
    sample : ndarray, shape (n, n_axes), or sequence of n_axes array_like of shape (n,)
    bins : int, or sequence of int or of sequences, optional
        How many bins of equal width, or all of their edges, for all axes or for each.
    range : sequence of (float, float) or None, optional
        Lower and upper limits along each axis; by default the extrema.
    density, weights
        As for :func:`histogram`.

    Returns
    -------
    hist : ndarray of float, of n_axes dimensions
    edges : tuple of ndarray

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
        or n_axes * len(columns[0]) * dtype.itemsize <= DEFAULT_CHUNK_BYTES
        or histograms.search_type(dtype, np.empty(0)) is None
        or (values is not None and not (_can_weigh(values, columns[0].shape)))
        or (values is not None and values.dtype.kind == "c")
    ):
        return np.histogramdd(sample, bins, range, density, weights)
    even = [np.ndim(b) == 0 for b in each]
    extrema = [
        minmax(column) if is_even and limit is None else (0, 0)
        for column, is_even, limit in zip(columns, even, limits, strict=True)
    ]
    _, edges = np.histogramdd(np.array(extrema, dtype).T, bins, range)
    if any(
        len(part) < _EDGES_OF_A_BIN or histograms.search_type(dtype, part) is None for part in edges
    ):
        return np.histogramdd(sample, bins, range, density, weights)
    values = None if values is None else values.astype(float)
    hist = _in_cells(columns, edges, even, values).astype(float)
    hist = hist.reshape([len(part) - 1 for part in edges])
    if density:
        total = hist.sum()
        for axis, part in enumerate(edges):
            shape = [1] * n_axes
            shape[axis] = -1
            hist = hist / np.diff(part).reshape(shape)
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


def bincount(x: ArrayLike, /, weights: ArrayLike | None = None, minlength: int = 0) -> Array:
    """Return how often each integer from 0 occurs, as `numpy.bincount` does.

    Parameters
    ----------
    x : array_like of int, shape (n,)
        None of them negative.
    weights : array_like, shape (n,), optional
        What each element counts. They are added in the order of the elements, in at most 64
        pieces, so that the result has the same bits for any number of workers.
    minlength : int, optional
        The least length of the result.

    Returns
    -------
    ndarray of int, or with weights of float

    Raises
    ------
    TypeError, ValueError
        If elements are no integers, or negative, or weights do not fit.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.bincount([0, 1, 1, 3]).tolist()
    [1, 2, 0, 1]
    """
    x = in_memory(x)
    values = None if weights is None else in_memory(weights)
    if (
        x.ndim != 1
        or x.nbytes <= DEFAULT_CHUNK_BYTES
        or x.dtype.kind not in "iu"
        or not np.can_cast(x.dtype, np.intp)
        or (values is not None and (values.shape != x.shape or values.dtype.kind not in "biuf"))
        or (values is not None and not np.can_cast(values.dtype, float))
    ):
        return np.bincount(x, weights, minlength)
    lowest, highest = minmax(x)
    if lowest < 0:
        raise ValueError(f"x must have no negative elements, got {lowest}")
    np.bincount(x[:0], minlength=minlength)  # refuses what is no length
    dtype = np.intp if values is None else float

    def add(piece: slice, table: Array) -> None:
        bins = histograms.native(x[piece])
        if values is None:
            histograms.tally(bins, table)
        else:
            histograms.weigh(
                bins, histograms.native(values[piece].astype(float, copy=False)), table
            )

    return _sum_of_tables(len(x), max(int(highest) + 1, minlength), dtype, add)


def _in_cells(
    columns: Sequence[Array],
    edges: Sequence[Array],
    even: Sequence[bool],
    weights: Array | None = None,
) -> Array:
    """Return how many points, or what weight, is in each cell, in C order."""
    n_cells = math.prod(len(part) - 1 for part in edges)
    dtype = float if weights is not None and weights.dtype.kind == "f" else np.int64
    axes = [
        (
            column,
            part.astype(histograms.search_type(column.dtype, part)),
            histograms.limits(part, uniform),
        )
        for column, part, uniform in zip(columns, edges, even, strict=True)
    ]

    def add(piece: slice, table: Array) -> None:
        for first in range(piece.start, piece.stop, _RUN):
            run = slice(first, min(first + _RUN, piece.stop))
            cells, n = np.zeros(run.stop - run.start, np.int64), 1
            for column, part, limits in axes:
                bins = np.empty_like(cells)
                numbers = histograms.native(as_numbers(column[run]))
                histograms.find_bins(numbers, part, *limits, bins)
                histograms.join(cells, n, bins, len(part) - 1)
                n *= len(part) - 1
            if weights is None:
                histograms.tally(cells, table)
            else:
                histograms.weigh(
                    cells, histograms.native(weights[run].astype(dtype, copy=False)), table
                )

    return _sum_of_tables(len(columns[0]), n_cells + 1, dtype, add)[:-1]


def _sum_of_tables(
    n: int, n_bins: int, dtype: DTypeLike, add: Callable[[slice, Array], None]
) -> Array:
    """Fill a table for each piece of `n` elements, and sum them in order."""
    length = max(DEFAULT_CHUNK_BYTES // 8, _ELEMENTS_A_BIN * n_bins)
    pieces = chunks(n, n=max(1, min(_MAX_PIECES, n // length)))

    def fill(piece: Chunk) -> Array:
        table = np.zeros(n_bins, dtype)
        add(piece[0], table)
        return table

    total, *others = current_pool().runner.run(8 * n)(fill, pieces)
    for table in others:
        total += table
    return total  # type: ignore[no-any-return]
