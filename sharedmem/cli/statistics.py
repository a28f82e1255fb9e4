"""What `sharedmem stats` computes: moments, extrema and a histogram of arrays on disk."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.cli.inputs import Source
from sharedmem.kernels import Reduction, extrema, histograms, moments
from sharedmem.kernels.moments import Summary
from sharedmem.pool.mapreduce import MapReduce

Array = NDArray[Any]
State = tuple[Any, ...]


class Statistics(NamedTuple):
    """What one array holds.

    Attributes
    ----------
    source : Source
        The array.
    axis : int or None
        The axis that was reduced.
    summary : Summary
        Numbers, or with an axis arrays with one element a line.
    counts : ndarray of int64, shape (n_bins,), or None
        The histogram; None with an axis, or where there is none.
    edges : ndarray of float64, shape (n_bins + 1,), or None
        Its bins.
    remark : str
        Why there is no histogram, or no moments; empty where there is nothing to say.
    passes : int
        How often the array was read.
    seconds : float
        How long that took.
    """

    source: Source
    axis: int | None
    summary: Summary
    counts: Array | None
    edges: Array | None
    remark: str
    passes: int
    seconds: float

    @property
    def nbytes(self) -> int:
        """How many bytes the array has."""
        return math.prod(self.source.shape) * self.source.dtype.itemsize

    @property
    def n_outside(self) -> int:
        """How many finite elements are in no bin of the histogram."""
        counted = 0 if self.counts is None else int(self.counts.sum())
        return int(self.summary.count - self.summary.n_nan - self.summary.n_inf) - counted


def statistics(
    pool: MapReduce,
    source: Source,
    axis: int | None = None,
    bins: int = 20,
    limits: tuple[float, float] | None = None,
) -> Statistics:
    """Read an array and say what it holds.

    Parameters
    ----------
    pool : MapReduce
        Who does the work.
    source : Source
        The array.
    axis : int, optional
        The axis to reduce; by default all, and only then there is a histogram.
    bins : int
        How many bins of equal width.
    limits : (float, float), optional
        Lower and upper end of the bins. Without them the extrema have to be known first, and the
        array is read once more for the histogram.
    """
    histogram = partial(histograms.histogram, source.dtype, uniform=True)
    parts = [moments.summary(source.dtype)]
    if source.dtype.kind in "biu" and 0 not in source.shape:
        parts.append(extrema.minmax(source.dtype))  # a summary has them in float64
    edges = None
    if axis is None and limits is not None:
        edges = np.histogram_bin_edges([], bins, limits)
        parts.append(histogram(edges=edges))
    # What this compiles, on a machine that has not seen these kernels, is not counted as reading.
    one = np.zeros((1, 1, 1), source.dtype)
    histogram(edges=np.array([0.0, 1.0])).chunk(one)
    reduction = _together(parts, [len(part.chunk(one)) for part in parts])
    start = time.perf_counter()
    array = source.load()
    results = list(pool.reduce(reduction, array, axis=axis))
    counts = None if edges is None else results.pop()
    n_fields = len(Summary._fields)
    summary = Summary(*results[:n_fields])
    if results[n_fields:]:
        smallest, largest = results[n_fields:]
        summary = summary._replace(min=smallest, max=largest)
    passes, remark = 1, ""
    if axis is None and edges is None:
        edges, remark = _edges_of(summary, bins)
        if edges is not None:
            counts = pool.reduce(histogram(edges=edges), array)
            passes = 2
    seconds = time.perf_counter() - start
    return Statistics(source, axis, summary, counts, edges, remark, passes, seconds)


def _edges_of(summary: Summary, bins: int) -> tuple[Array | None, str]:
    """Return bins from the least to the largest element, or why there are none."""
    if summary.count == summary.n_nan + summary.n_inf:
        return None, "no element is finite" if summary.count else "there are no elements"
    low, high = float(summary.min), float(summary.max)
    if not math.isfinite(high - low):
        return None, "no histogram: the range overflows float64"
    try:
        return np.histogram_bin_edges(np.array([low, high]), bins), ""
    except ValueError:
        text = (
            f"no histogram: float64 does not tell {bins} bins from {low:.17g} to {high:.17g} apart"
        )
        return None, text


def _together(parts: Sequence[Reduction], widths: Sequence[int]) -> Reduction:
    """Return the reduction that does several in one pass, chunk by chunk while it is in cache.

    Their states, of `widths` arrays each, and their results are put into one tuple.
    """
    stops = list(itertools.accumulate(widths))
    places = [slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)]
    flat = itertools.chain.from_iterable

    def chunk(x: Array) -> State:
        return tuple(flat(part.chunk(x) for part in parts))

    def combine(a: State, b: State) -> State:
        pairs = zip(parts, places, strict=True)
        return tuple(flat(part.combine(a[place], b[place]) for part, place in pairs))

    def finalize(state: State) -> State:
        pairs = zip(parts, places, strict=True)
        results = (part.finalize(state[place]) for part, place in pairs)
        return tuple(flat(r if isinstance(r, tuple) else (r,) for r in results))

    identities = [part.identity for part in parts]
    identity = None if None in identities else tuple(flat(identities))
    return Reduction(chunk, combine, finalize, identity, lines=True)
