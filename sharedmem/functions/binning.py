"""Elements and points counted in bins, or their weights summed, on the pool in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.arrays.labels import check_aligned
from sharedmem.engine.operands import in_memory
from sharedmem.functions.extrema import minmax
from sharedmem.kernels import histograms
from sharedmem.kernels.loops.layout import as_numbers
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


@one_call
def bincount(x: ArrayLike, /, weights: ArrayLike | None = None, minlength: int = 0) -> Array:
    """Count the number of occurrences of each non-negative integer; see `numpy.bincount`.

    Parameters
    ----------
    x : array_like of int, shape (n,)
        Non-negative integers.
    weights : array_like, shape (n,), optional
        Weight of each element. Weights are added in order within each piece of the array, and the
        pieces do not depend on the number of workers.
    minlength : int, optional
        Minimum length of the result.

    Returns
    -------
    ndarray of int, or of float with weights
        The counts or sums of weights, of length ``max(x) + 1`` or `minlength`. The bits do not
        depend on the number of workers.

    Raises
    ------
    TypeError, ValueError
        If elements are not integers or are negative, or `weights` or `minlength` does not fit.

    See Also
    --------
    histogram : Count real numbers in bins.
    unique : Find the distinct elements, and count them.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.bincount([0, 1, 1, 3]).tolist()
    [1, 2, 0, 1]
    """
    check_aligned(x, weights=weights)
    x = in_memory(x)
    values = None if weights is None else in_memory(weights)
    if (
        x.ndim != 1
        or x.nbytes <= tuning.chunk_bytes
        or x.dtype.kind not in "iu"
        or not np.can_cast(x.dtype, np.intp)
        or not can_weigh(values, x.shape, "biuf")
    ):
        return np.bincount(x, weights, minlength)
    lowest, highest = minmax(x)
    if lowest < 0:
        raise ValueError(f"x must not contain negative integers, got {lowest}")
    np.bincount(x[:0], minlength=minlength)  # raises if it is not a length

    def add(piece: slice, table: Array) -> None:
        _count(histograms.native(x[piece]), values, piece, table)

    dtype = np.intp if values is None else float
    return _sum_of_tables(len(x), max(int(highest) + 1, minlength), dtype, add)


def can_weigh(weights: Array | None, shape: tuple[int, ...], kinds: str) -> bool:
    """Return whether kernels take these weights, of one of `kinds` of dtype, or there are none."""
    return weights is None or (
        weights.shape == shape and weights.dtype.kind in kinds and weights.dtype.char not in "gG"
    )


def in_cells(
    columns: list[Array], edges: Sequence[Array], even: list[bool], weights: Array | None = None
) -> Array:
    """Return the number of points in each cell, or the sum of their weights, in C order.

    Along each axis there are coordinates of the points, edges, and whether these are evenly spaced.
    """
    n_cells = math.prod(len(side) - 1 for side in edges)
    dtype = float if weights is not None and weights.dtype.kind == "f" else np.int64
    axes = [
        (x, side.astype(histograms.search_type(x.dtype, side)), histograms.limits(side, is_even))
        for x, side, is_even in zip(columns, edges, even, strict=True)
    ]
    step = tuning.histogram_run_length

    def add(piece: slice, table: Array) -> None:
        for first in range(piece.start, piece.stop, step):
            part = slice(first, min(first + step, piece.stop))
            cells, n = np.zeros(part.stop - part.start, np.int64), 1
            for column, side, limits in axes:
                bins = np.empty_like(cells)
                numbers = histograms.native(as_numbers(column[part]))
                histograms.find_bins(numbers, side, limits, bins)
                histograms.join(cells, n, bins, len(side) - 1)
                n *= len(side) - 1
            _count(cells, weights, part, table)

    return _sum_of_tables(len(columns[0]), n_cells + 1, dtype, add)[:-1]


def _count(bins: Array, weights: Array | None, part: slice, table: Array) -> None:
    """Add one to `table` for each of the bins, or the weights of this part."""
    if weights is None:
        histograms.tally(bins, table)
    else:
        numbers = histograms.native(weights[part].astype(table.dtype, copy=False))
        histograms.weigh(bins, numbers, table)


def _sum_of_tables(
    n: int, n_bins: int, dtype: DTypeLike, add: Callable[[slice, Array], None]
) -> Array:
    """Fill a table for each piece of `n` elements, and sum the tables in order."""
    length = max(tuning.chunk_bytes // 8, tuning.histogram_elements_per_bin * n_bins)
    pieces = chunks(n, n=max(1, min(tuning.histogram_pieces, n // length)))

    def fill(piece: Chunk) -> Array:
        table = np.zeros(n_bins, dtype)
        add(piece[0], table)
        return table

    total, *others = current_pool().runner.run(8 * n)(fill, pieces)
    for table in others:
        total += table
    return total  # type: ignore[no-any-return]
