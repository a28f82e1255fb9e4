"""Statistics that `sharedmem stats` computes: moments, extrema, and a histogram."""

from __future__ import annotations

import itertools
import math
import time
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.cli.inputs import StoredArray
from sharedmem.engine.computed import Computed
from sharedmem.engine.reduce import Request
from sharedmem.engine.reduce_computed import reduce_computed
from sharedmem.kernels import extrema, histograms, moments
from sharedmem.kernels.moments import Summary
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction, Reduction, State
from sharedmem.pool.mapreduce import MapReduce

Array = NDArray[Any]


class Statistics(NamedTuple):
    """The statistics of one array.

    Attributes
    ----------
    array : StoredArray
        The array.
    axis : int or None
        The axis that was reduced.
    summary : Summary
        Numbers, or with an axis arrays with one element per line.
    counts : ndarray of int64, shape (n_bins,), or None
        The histogram; None with an axis, or if there is none.
    edges : ndarray of float64, shape (n_bins + 1,), or None
        The bin edges.
    remark : str
        Why there is no histogram of all axes; else empty.
    passes : int
        How often the array was read.
    seconds : float
        How long that took.
    """

    array: StoredArray
    axis: int | None
    summary: Summary
    counts: Any
    edges: Any
    remark: str
    passes: int
    seconds: float

    def nbytes_read(self, passes: int) -> int:
        """Return the bytes that are read in so many passes over the array."""
        first, each = self.array.reads or (0, self.array.nbytes)
        return first + passes * each

    @property
    def n_outside(self) -> int:
        """Number of finite elements outside of the histogram."""
        counted = 0 if self.counts is None else int(self.counts.sum())
        return int(self.summary.count - self.summary.n_nan - self.summary.n_inf) - counted


@quiet
def statistics(pool: MapReduce, array: StoredArray, options: Namespace) -> Statistics:
    """Read an array and compute its statistics.

    Parameters
    ----------
    pool : MapReduce
        The pool to use.
    array : StoredArray
        The array.
    options : Namespace
        Those of ``stats``: `axis` is reduced, or else all axes, and only then there is a histogram
        of `bins` in the `range`. Without it the array is read twice: extrema must be known first.
    """
    axis, bins, limits = options.axis, options.bins, options.range
    n_axes = len(array.shape)
    if axis is not None and not -n_axes <= axis < n_axes:
        raise ValueError(f"axis {axis} is out of bounds for an array of dimension {n_axes}")
    histogram = partial(histograms.histogram, array.dtype, uniform=True)
    parts = [moments.summary(array.dtype)]
    is_empty = 0 in array.shape
    if array.dtype.kind in "biu" and not is_empty:
        parts.append(extrema.minmax(array.dtype))  # exact, where a summary has float64
    edges = None
    # A kernel is compiled with its first call, which is not to be counted as reading.
    one = np.zeros((1, 1, 1), array.dtype)
    if axis is None and limits is not None and not is_empty:
        edges = np.histogram_bin_edges([], bins, limits)
        parts.append(histogram(edges=edges))
    elif axis is None:
        histogram(edges=np.array([0.0, 1.0])).chunk(one)
    reduction = _together(parts, [len(part.chunk(one)) for part in parts])
    start = time.perf_counter()
    data = array.load()
    results = list(_reduce(pool, reduction, data, axis))
    counts = None if edges is None else results.pop()
    n_fields = len(Summary._fields)
    summary = Summary(*results[:n_fields])
    if results[n_fields:]:
        summary = summary._replace(min=results[-2], max=results[-1])
    passes, remark = 1, ""
    if axis is None and edges is None:
        edges, remark = _edges_of(summary, bins)
        if edges is not None:
            counts = _reduce(pool, histogram(edges=edges), data)
            passes = 2
    seconds = time.perf_counter() - start
    return Statistics(array, axis, summary, counts, edges, remark, passes, seconds)


def _reduce(pool: MapReduce, reduction: LineReduction, data: Any, axis: int | None = None) -> Any:
    if isinstance(data, Computed):
        (result,) = reduce_computed(pool.runner, [Request(reduction, data, axis)])
        return result
    return pool.reduce(reduction, data, axis=axis)


def _edges_of(summary: Summary, bins: int) -> tuple[Array | None, str]:
    """Return bins from the minimum to the maximum, or why there are none."""
    if summary.count == summary.n_nan + summary.n_inf:
        return None, "no element is finite" if summary.count else "the array is empty"
    low, high = float(summary.min), float(summary.max)
    if not math.isfinite(high - low):
        return None, "no histogram: the range of the values overflows float64"
    try:
        return np.histogram_bin_edges(np.array([low, high]), bins), ""
    except ValueError:
        reason = f"float64 cannot resolve {bins} bins between {low:.17g} and {high:.17g}"
        return None, f"no histogram: {reason}"


def _together(parts: Sequence[Reduction], widths: Sequence[int]) -> LineReduction:
    """Return one reduction that computes several, chunk by chunk while it is in cache.

    Their states, of `widths` arrays each, and their results are concatenated.
    """
    flat = itertools.chain.from_iterable

    def split(state: State) -> list[State]:
        arrays = iter(state)
        return [tuple(itertools.islice(arrays, width)) for width in widths]

    def chunk(x: Array) -> State:
        return tuple(flat(part.chunk(x) for part in parts))

    def combine(a: State, b: State) -> State:
        pairs = zip(parts, split(a), split(b), strict=True)
        return tuple(flat(part.combine(x, y) for part, x, y in pairs))

    def finalize(state: State) -> State:
        results = (part.finalize(x) for part, x in zip(parts, split(state), strict=True))
        return tuple(flat(r if isinstance(r, tuple) else (r,) for r in results))

    identities = [part.identity for part in parts]
    identity = None if None in identities else tuple(flat(identities))
    return LineReduction(chunk, combine, finalize, identity)
