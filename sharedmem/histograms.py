"""Counts of elements in bins, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.chunks import chunks
from sharedmem.chunkwise import reduce
from sharedmem.kernels import histograms
from sharedmem.mapreduce import current_pool
from sharedmem.reductions import minmax


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

    parts = current_pool().map(chunk_histogram, chunks(a))
    hist: NDArray[Any] = np.add.reduce(parts, axis=0)
    return hist
