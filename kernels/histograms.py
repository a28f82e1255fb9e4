"""Counts of elements in bins, with NumPy's exact edges."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel
from sharedmem.kernels.lines import as_numbers, has_kernel
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


@kernel
def _count(x: Array, edges: Array, counts: Array) -> None:
    """Add to `counts` how many elements of each line are in each bin between even `edges`.

    The bin is found by a multiplication, which may be off by one, and then held against the edges.
    """
    n_outer, n, n_inner = x.shape
    last = counts.shape[2] - 1
    lowest, highest = edges[0], edges[last + 1]
    scale = (last + 1) / (highest - lowest)
    for outer in range(n_outer):
        for i in range(n):
            for inner in range(n_inner):
                value = np.float64(x[outer, i, inner])
                if (value >= lowest) & (value <= highest):
                    at = min(int((value - lowest) * scale), last)
                    at -= value < edges[at]
                    at += (value >= edges[at + 1]) & (at < last)
                    counts[outer, inner, at] += 1


def histogram(dtype: DTypeLike, edges: Array, uniform: bool) -> Reduction:
    """Return how many elements of each line are in each bin; the last one is closed.

    `uniform` says that the edges are those that NumPy makes for bins of equal width.
    """
    if uniform and has_kernel(np.dtype(dtype), "biuf") and has_kernel(edges.dtype, "f"):
        chunk = partial(_chunk, edges=edges.astype(np.float64))
    else:
        chunk = partial(_numpy_chunk, edges=edges, uniform=uniform)
    return Reduction(chunk, _combine, _counts, identity=(0,), lines=True)


def _chunk(x: Array, edges: Array) -> tuple[Array, ...]:
    numbers = as_numbers(x)
    numbers = np.require(numbers, numbers.dtype.newbyteorder("="), ["C", "A"]).view()
    numbers.flags.writeable = False
    counts = np.zeros((x.shape[0], x.shape[2], len(edges) - 1), np.int64)
    _count(numbers, edges, counts)
    return (counts,)


def _numpy_chunk(x: Array, edges: Array, uniform: bool) -> tuple[Array, ...]:
    n_bins = len(edges) - 1
    bins: Any = n_bins if uniform else edges
    limits = (edges[0], edges[-1]) if uniform else None
    counts = np.empty((x.shape[0], x.shape[2], n_bins), np.int64)
    for outer, inner in np.ndindex(counts.shape[:2]):
        counts[outer, inner], _ = np.histogram(x[outer, :, inner], bins, limits)
    return (counts,)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (a[0] + b[0],)


def _counts(state: tuple[Array, ...]) -> Array:
    return state[0]
