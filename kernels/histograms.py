"""Counts of elements in bins, with NumPy's exact edges."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import as_numbers, has_kernel
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]
# Lower and upper limit of bins of equal width: numbers of Python or NumPy, as they were given.
Ends = tuple[Any, Any]

# So many elements are looked at in one loop, which is vectorized, and counted in another.
RUN = 512
# NumPy may put an element into the bin next to its own, and then corrects that.
_LARGEST_ERROR = 0.95
# Integers up to this one are the same in float64.
_WHOLE, _LONG = 2.0**53, 8


@part
def _find_even(
    x: Array, edges: Array, lower: Array, upper: Array, slack: float, bins: Array
) -> None:
    """Find the bin of each element between even edges, or `n_bins` for one that is in none.

    It is found by a multiplication, and where an element is within `slack` of an edge, so that it
    may belong to the next bin, all are held against the edges.
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
        bins[i] = np.int32(at)  # which AVX2 has, unlike int64
        rest = at - np.float64(np.int32(at))
        is_close |= (rest < slack) | (rest > 1 - slack)
    if is_close:
        for i in range(len(x)):
            value = np.float64(x[i])
            at = bins[i]
            bins[i] = at - (value < lower[at]) + (value >= upper[at])


@part
def _find_uneven(x: Array, edges: Array, bins: Array) -> None:
    """Find the bin of each element by bisection, or `n_bins` for one that is in none."""
    n_bins = len(edges) - 1
    length = n_bins
    for i in range(len(x)):
        bins[i] = 0
    while length > 1:  # all elements make a step at once, for they do not wait for each other
        half = length // 2
        for i in range(len(x)):
            bins[i] += half if edges[np.uintp(bins[i] + half)] <= x[i] else 0
        length -= half
    for i in range(len(x)):
        if not ((x[i] >= edges[0]) & (x[i] <= edges[n_bins])):
            bins[i] = n_bins


def slack_of(edges: Array) -> float:
    """Return how far from an edge a multiplication can put that edge, in widths of a bin.

    The multiplication keeps the order of its arguments, so that whatever it puts farther away than
    that from all edges is in the right bin. It is infinite where that can be said of nothing.
    """
    numbers = edges.astype(np.float64)
    n_bins = len(edges) - 1
    with np.errstate(all="ignore"):
        places = (numbers - numbers[0]) * (n_bins / (numbers[-1] - numbers[0]))
        slack = float(np.abs(places - np.arange(n_bins + 1)).max()) + 2.0**-50
    return slack if slack < 0.25 and n_bins < 2**31 else np.inf


def limits(edges: Array, uniform: bool) -> tuple[Array, Array, float]:
    """Return what is below each of even bins, and above, and their slack, infinite for others.

    Nothing exceeds NaN, which is no limit: the last bin is closed, and the one behind it takes the
    rest.
    """
    slack = slack_of(edges) if uniform else np.inf
    inner = edges.astype(np.float64) if slack < np.inf else np.empty(0)
    return np.append(inner[:-1], np.nan), np.append(inner[1:-1], [np.nan, np.nan]), slack


@kernel
def find_bins(
    x: Array, edges: Array, lower: Array, upper: Array, slack: float, bins: Array
) -> None:
    """Write the bin of each element, from 0, or `n_bins` for one in none; the last is closed.

    Parameters
    ----------
    x : ndarray, shape (n,)
    edges : ndarray, shape (n_bins + 1,)
        In ascending order.
    lower, upper, slack
        Its :func:`limits`.
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
    """Make `cells` those of a further axis with `bins`; what is outside of any is so of all."""
    for i in range(len(cells)):
        inside = (cells[i] < n_cells) & (bins[i] < n_bins)
        cells[i] = cells[i] * n_bins + bins[i] if inside else n_cells * n_bins


@kernel
def tally(bins: Array, counts: Array) -> None:
    """Add to `counts` how often each bin occurs."""
    for i in range(len(bins)):
        counts[bins[i]] += 1


@kernel
def weigh(bins: Array, weights: Array, totals: Array) -> None:
    """Add to `totals` the weights of what is in each bin, in order."""
    for i in range(len(bins)):
        totals[bins[i]] += weights[i]


@kernel
def _count(x: Array, edges: Array, lower: Array, upper: Array, slack: float, counts: Array) -> None:
    """Add to `counts` how many elements of each line are in each bin.

    Four tables of counts keep equal neighbours from waiting for each other (together 1.3 ns an
    element, where one plain loop takes 3.8, and NumPy 10).
    """
    n_lines, n = x.shape
    n_bins = counts.shape[1]
    bins = np.empty(RUN, np.int32)
    for line in range(n_lines):
        tables = np.zeros((4, n_bins + 1), np.int64)
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
    """Return the type in which kernels compare elements with edges as NumPy does, if there is.

    Of bins of equal width, NumPy computes the place of an element from their `ends`, and corrects
    it by one bin: where it may be farther off, edges say less than that arithmetic.
    """
    common = np.result_type(dtype, edges.dtype)
    if not (has_kernel(dtype, "biuf") and has_kernel(edges.dtype, "biuf")) or common.kind == "b":
        return None
    if uniform and not _are_bins_exact(dtype, edges, ends):
        return None
    return np.dtype("i8" if common.kind == "i" else "u8" if common.kind == "u" else "f8")


def _are_bins_exact(dtype: np.dtype[Any], edges: Array, ends: Ends | None) -> bool:
    """Return whether NumPy puts all elements into the bins of equal width that edges say."""
    if edges.dtype.kind != "f" or slack_of(edges) == np.inf:
        return False
    if ends is None:
        return True
    first, last = ends if ends[0] != ends[1] else (ends[0] - 0.5, ends[1] + 0.5)
    if dtype.kind in "iu":  # whose limits NumPy compares with elements as integers
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


def histogram(dtype: DTypeLike, edges: Array, uniform: bool, ends: Ends | None = None) -> Reduction:
    """Return how many elements of each line are in each bin; the last one is closed.

    Parameters
    ----------
    dtype : dtype
    edges : ndarray
        In ascending order.
    uniform : bool
        Whether they are those that NumPy makes for bins of equal width.
    ends : (number, number), optional
        From which it makes them; by default the outer edges.
    """
    searched = search_type(np.dtype(dtype), edges, uniform, ends)
    if searched is None:
        chunk = partial(_numpy_chunk, edges=edges, uniform=uniform, ends=ends)
    else:
        chunk = partial(_chunk, edges=edges.astype(searched), limits=limits(edges, uniform))
    return Reduction(chunk, _combine, _counts, identity=(0,), lines=True)


def native(x: Array) -> Array:
    """Return numbers in the one layout that kernels are compiled for."""
    x = np.require(x, x.dtype.newbyteorder("="), ["C", "A"]).view(np.ndarray)
    x.flags.writeable = False
    return x


def _chunk(x: Array, edges: Array, limits: tuple[Array, Array, float]) -> tuple[Array, ...]:
    numbers = native(as_numbers(x).transpose(0, 2, 1).reshape(-1, x.shape[1]))
    counts = np.zeros((len(numbers), len(edges) - 1), np.int64)
    _count(numbers, edges, *limits, counts)
    return (counts.reshape(x.shape[0], x.shape[2], -1),)


def _numpy_chunk(
    x: Array, edges: Array, uniform: bool, ends: Ends | None = None
) -> tuple[Array, ...]:
    n_bins = len(edges) - 1
    bins: Any = n_bins if uniform else edges
    limits = (ends or (edges[0], edges[-1])) if uniform else None
    counts = np.empty((x.shape[0], x.shape[2], n_bins), np.int64)
    for outer, inner in np.ndindex(counts.shape[:2]):
        counts[outer, inner], _ = np.histogram(x[outer, :, inner], bins, limits)
    return (counts,)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (a[0] + b[0],)


def _counts(state: tuple[Array, ...]) -> Array:
    return state[0]
