"""Histograms: counts of elements in bins, with the same edges as NumPy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import on_stack
from sharedmem.kernels.loops.layout import Array, as_numbers, has_kernel, read_only_view
from sharedmem.kernels.reduction import LineReduction, State, add_counts, only_part

# The lower and upper limit of bins of equal width: numbers of Python or NumPy, as given.
Ends = tuple[Any, Any]

# The number of elements that are binned in one loop, which is vectorized, and counted in another.
RUN = 512
# NumPy corrects the computed bin of an element by one at most.
_LARGEST_ERROR = 0.95
# Integers up to _WHOLE are exact in float64; those of _LONG bytes may be larger.
_WHOLE, _LONG = 2.0**53, 8


@part
def _find_even(
    x: Array, edges: Array, lower: Array, upper: Array, slack: float, bins: Array
) -> None:
    """Find the bin of each element between even edges, or `n_bins` for one outside.

    It is computed by a multiplication. If an element is within `slack` of an edge, it may belong
    to the next bin, and all elements are compared with the edges.
    """
    n_bins = len(edges) - 1
    lowest, highest = edges[0], edges[n_bins]
    scale = n_bins / (highest - lowest)
    is_close: Any = False
    for i in range(len(x)):
        value = np.float64(x[i])
        inside = (value >= lowest) & (value <= highest)
        at = min((value - lowest) * scale, n_bins - 0.5)
        at = at if inside else n_bins + 0.5
        bins[i] = np.int32(at)  # AVX2 converts to int32, but not to int64
        rest = at - np.float64(np.int32(at))
        is_close |= (rest < slack) | (rest > 1 - slack)
    if is_close:
        for i in range(len(x)):
            value = np.float64(x[i])
            at = bins[i]
            bins[i] = at - (value < lower[at]) + (value >= upper[at])


@part
def _find_uneven(x: Array, edges: Array, bins: Array) -> None:
    """Find the bin of each element by bisection, or `n_bins` for one outside."""
    n_bins = len(edges) - 1
    length = n_bins
    for i in range(len(x)):
        bins[i] = 0
    while length > 1:  # a step of all elements: they do not wait for each other
        half = length // 2
        for i in range(len(x)):
            bins[i] += half if edges[np.uintp(bins[i] + half)] <= x[i] else 0
        length -= half
    for i in range(len(x)):
        if not ((x[i] >= edges[0]) & (x[i] <= edges[n_bins])):
            bins[i] = n_bins


def slack_of(edges: Array) -> float:
    """Return the largest error of the multiplication that finds an edge, in widths of a bin.

    The multiplication is monotonic, so an element farther than that from all edges is in the right
    bin. The slack is infinite where there is no such bound.
    """
    numbers = edges.astype(np.float64)
    n_bins = len(edges) - 1
    with np.errstate(all="ignore"):
        places = (numbers - numbers[0]) * (n_bins / (numbers[-1] - numbers[0]))
        slack = float(np.abs(places - np.arange(n_bins + 1)).max()) + 2.0**-50
    return slack if slack < 0.25 and n_bins < 2**31 else np.inf


def limits(edges: Array, uniform: bool) -> tuple[Array, Array, float]:
    """Return the lower and upper limits of even bins, and their slack; for others it is infinite.

    NaN is not a limit: the last bin is closed, and the one after it takes what is outside.
    """
    slack = slack_of(edges) if uniform else np.inf
    inner = edges.astype(np.float64) if slack < np.inf else np.empty(0)
    return np.append(inner[:-1], np.nan), np.append(inner[1:-1], [np.nan, np.nan]), slack


@kernel
def find_bins(
    x: Array, edges: Array, lower: Array, upper: Array, slack: float, bins: Array
) -> None:
    """Write the bin of each element, or `n_bins` for one outside; the last bin is closed.

    Parameters
    ----------
    x : ndarray, shape (n,)
    edges : ndarray, shape (n_bins + 1,)
        In ascending order.
    lower, upper, slack
        The :func:`limits` of `edges`.
    bins : ndarray of int, shape (n,)
    """
    for first in range(0, len(x), RUN):
        part, found = x[first : first + RUN], bins[first : first + RUN]
        if slack < np.inf:
            _find_even(part, edges, lower, upper, slack, found)
        else:
            _find_uneven(part, edges, found)


@kernel
def join(cells: Array, n_cells: int, bins: Array, n_bins: int) -> None:
    """Combine `cells` with the `bins` of another axis; outside of one axis is outside of all."""
    for i in range(len(cells)):
        inside = (cells[i] < n_cells) & (bins[i] < n_bins)
        cells[i] = cells[i] * n_bins + bins[i] if inside else n_cells * n_bins


@kernel
def tally(bins: Array, counts: Array) -> None:
    """Add the number of occurrences of each bin to `counts`."""
    for i in range(len(bins)):
        counts[bins[i]] += 1


@kernel
def weigh(bins: Array, weights: Array, totals: Array) -> None:
    """Add the weights of the elements of each bin to `totals`, in order."""
    for i in range(len(bins)):
        totals[bins[i]] += weights[i]


_run = on_stack(RUN)


@kernel
def _count(
    x: Array, edges: Array, lower: Array, upper: Array, slack: float, tables: Array, counts: Array
) -> None:
    """Add the number of elements of each line in each bin to `counts`.

    There are four tables of counts, so that equal neighbors do not wait for each other.
    """
    n_lines, n = x.shape
    n_bins = counts.shape[1]
    bins = _run(np.int32)
    for line in range(n_lines):
        for table in range(4):
            for at in range(n_bins + 1):
                tables[table, at] = 0
        for first in range(0, n, RUN):
            part = x[line, first : first + RUN]
            if slack < np.inf:
                _find_even(part, edges, lower, upper, slack, bins)
            else:
                _find_uneven(part, edges, bins)
            for i in range(len(part)):
                tables[i & 3, bins[i]] += 1
        for at in range(n_bins):
            counts[line, at] += tables[0, at] + tables[1, at] + tables[2, at] + tables[3, at]


def search_type(
    dtype: np.dtype[Any], edges: Array, uniform: bool = False, ends: Ends | None = None
) -> np.dtype[Any] | None:
    """Return the dtype in which kernels compare elements with edges as NumPy does, or None.

    For bins of equal width, NumPy computes the bin of an element from their `ends`, and corrects
    it by one bin. Where the error may be larger, the result depends on that arithmetic.
    """
    common = np.result_type(dtype, edges.dtype)
    if not (has_kernel(dtype, "biuf") and has_kernel(edges.dtype, "biuf")) or common.kind == "b":
        return None
    if uniform and not _are_bins_exact(dtype, edges, ends):
        return None
    return np.dtype("i8" if common.kind == "i" else "u8" if common.kind == "u" else "f8")


def _are_bins_exact(dtype: np.dtype[Any], edges: Array, ends: Ends | None) -> bool:
    """Return whether NumPy puts each element into the bin of equal width that its edges give."""
    if edges.dtype.kind != "f" or slack_of(edges) == np.inf:
        return False
    if ends is None:
        return True
    first, last = ends if ends[0] != ends[1] else (ends[0] - 0.5, ends[1] + 0.5)
    if dtype.kind in "iu":  # NumPy compares them with the limits as integers
        exact = max(abs(float(first)), abs(float(last))) <= _WHOLE or dtype.itemsize < _LONG
        if not exact:
            return False
    n_bins = len(edges) - 1
    numbers = edges.astype(np.float64)
    with np.errstate(all="ignore"):
        places = (numbers - numbers[0]) * (n_bins / (float(last) - float(first)))
        error = np.abs(places - np.arange(n_bins + 1)).max()
    # The difference, the quotient and the product are rounded.
    return bool(error + 1.5 * n_bins * np.finfo(edges.dtype).eps < _LARGEST_ERROR)


def histogram(
    dtype: DTypeLike, edges: Array, uniform: bool, ends: Ends | None = None
) -> LineReduction:
    """Return the number of elements of each line in each bin; the last bin is closed.

    Parameters
    ----------
    dtype : dtype
    edges : ndarray
        In ascending order.
    uniform : bool
        Whether NumPy made them for bins of equal width.
    ends : (number, number), optional
        The limits that NumPy made them from; by default the outer edges.
    """
    searched = search_type(np.dtype(dtype), edges, uniform, ends)
    if searched is None:
        chunk = partial(_numpy_chunk, edges=edges, uniform=uniform, ends=ends)
    else:
        chunk = partial(_chunk, edges=edges.astype(searched), limits=limits(edges, uniform))
    return LineReduction(chunk, add_counts, only_part, identity=(0,))


def native(x: Array) -> Array:
    """Return numbers in the layout that kernels are compiled for."""
    return read_only_view(np.require(x, x.dtype.newbyteorder("="), ["C", "A"]).view(np.ndarray))


def _chunk(x: Array, edges: Array, limits: tuple[Array, Array, float]) -> State:
    numbers = native(as_numbers(x).transpose(0, 2, 1).reshape(-1, x.shape[1]))
    counts = np.zeros((len(numbers), len(edges) - 1), np.int64)
    tables = np.empty((4, len(edges)), np.int64)
    _count(numbers, edges, *limits, tables, counts)
    return (counts.reshape(x.shape[0], x.shape[2], -1),)


def _numpy_chunk(x: Array, edges: Array, uniform: bool, ends: Ends | None = None) -> State:
    n_bins = len(edges) - 1
    bins: Any = n_bins if uniform else edges
    limits = (ends or (edges[0], edges[-1])) if uniform else None
    counts = np.empty((x.shape[0], x.shape[2], n_bins), np.int64)
    for outer, inner in np.ndindex(counts.shape[:2]):
        counts[outer, inner], _ = np.histogram(x[outer, :, inner], bins, limits)
    return (counts,)
