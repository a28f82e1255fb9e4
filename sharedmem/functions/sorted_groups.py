"""Groups as runs of elements that are sorted by group: for quantiles and for users' reductions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.runners import Run
from sharedmem.functions.binning import bincount
from sharedmem.functions.sorting import argsort
from sharedmem.kernels.quiet import quiet
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

# Elements of groups that are at least as long as this, on average, are sorted group by group.
_LONG = 64


class SortedGroups:
    """Elements of lines, sorted by group, and within a group in the order of the line.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    x : ndarray, shape (n_outer, n, n_inner)
    codes : ndarray of intp, shape (n,)
    n_groups : int
    """

    def __init__(self, run: Run, x: Array, codes: NDArray[np.intp], n_groups: int) -> None:
        self._run, self._x, self._n_groups = run, x, n_groups
        # Where the run of each group starts, and where the last one ends.
        self._bounds = np.cumsum(bincount(codes + 1, minlength=n_groups + 1))
        self._order = argsort(codes, stable=True)[self._bounds[0] :]

    def _values(self, outer: int, inner: int) -> Array:
        """Return the elements of a line, sorted by group."""
        return np.asarray(self._x[outer, :, inner][self._order])

    def each(self, func: Callable[[Array], Any], n_least: int) -> tuple[Array, Array]:
        """Call a function in this thread for the elements of each group, in their order.

        Parameters
        ----------
        func : callable
        n_least : int
            The number of elements of a group that it is called for.

        Returns
        -------
        results, is_missing : ndarray, shape (n_outer, n_groups, n_inner)
        """
        bounds = (self._bounds - self._bounds[0]).tolist()
        runs = [slice(*pair) for pair in itertools.pairwise(bounds)]
        n_outer, _, n_inner = self._x.shape
        shape = n_outer, n_inner, self._n_groups
        is_missing = np.broadcast_to(np.diff(self._bounds) < n_least, shape)
        found = [
            None if part.stop - part.start < n_least else func(values[part])
            for values in itertools.starmap(self._values, np.ndindex(n_outer, n_inner))
            for part in runs
        ]
        some = next((each for each in found if each is not None), np.nan)
        results = np.array([some if each is None else each for each in found]).reshape(shape)
        return results.swapaxes(1, 2), is_missing.swapaxes(1, 2)

    def quantiles(
        self, qs: Array, dtype: np.dtype[Any], skips_nan: bool, is_median: bool
    ) -> tuple[Array, Array]:
        """Return quantiles of each group, by linear interpolation as NumPy does it.

        Parameters
        ----------
        qs : ndarray of float64, shape (n_q,)
        dtype : dtype
            Of the result.
        skips_nan : bool
            Whether NaN is left out. Else it is the result where an element is NaN.
        is_median : bool
            Whether the result is the mean of the two elements in the middle.

        Returns
        -------
        quantiles : ndarray, shape (n_q, n_outer, n_groups, n_inner)
        counts : ndarray of intp, shape (n_outer, n_groups, n_inner)
            The number of elements, or of those that are not NaN.
        """
        n_outer, _, n_inner = self._x.shape
        shape = n_outer, self._n_groups, n_inner
        out, counts = np.empty((len(qs), *shape), dtype), np.empty(shape, np.intp)
        bounds = self._bounds - self._bounds[0]
        cuts = np.arange(0, bounds[-1] + 1, tuning.chunk_bytes // 8)
        inner_firsts = np.searchsorted(bounds, cuts[1:], "right") - 1
        firsts = np.unique([0, *inner_firsts, self._n_groups])

        for outer, inner in np.ndindex(n_outer, n_inner):
            values = self._values(outer, inner)

            def find(part: int, line: Any = (outer, inner), values: Array = values) -> None:
                groups = slice(firsts[part], firsts[part + 1])
                edges = bounds[groups.start : groups.stop + 1]
                some = _sorted_within(values[edges[0] : edges[-1]], edges - edges[0])
                found, n = _quantiles_of(some, edges - edges[0], qs, skips_nan, is_median)
                out[:, line[0], groups, line[1]], counts[line[0], groups, line[1]] = found, n

            self._run(find, range(len(firsts) - 1))
        return out, counts


def _sorted_within(values: Array, bounds: Array) -> Array:
    """Sort the elements of each run."""
    lengths = np.diff(bounds)
    if len(values) >= _LONG * len(lengths):
        for start, stop in itertools.pairwise(bounds):
            values[start:stop].sort()
        return values
    return values[np.lexsort((values, np.repeat(np.arange(len(lengths)), lengths)))]


@quiet
def _quantiles_of(
    values: Array, bounds: Array, qs: Array, skips_nan: bool, is_median: bool
) -> tuple[Array, Array]:
    starts, lengths = bounds[:-1], np.diff(bounds)
    is_nan = values != values
    n_nan = np.diff(np.append(0, np.cumsum(is_nan))[bounds])
    counts = lengths - n_nan
    if not len(values):
        return np.full((len(qs), len(starts)), np.nan), counts
    found = []
    for q in qs:
        place = np.maximum(counts - 1, 0) * q
        left = np.floor(place).astype(np.intp)
        right = np.minimum(left + 1, np.maximum(counts - 1, 0))
        a, b = (values[np.minimum(starts + at, len(values) - 1)] for at in (left, right))
        weight = place - left
        if is_median:
            middle = np.where(weight > 0, (a + b) / 2, a)
        else:
            rise = b - a
            middle = np.where(weight < 0.5, a + rise * weight, b - rise * (1 - weight))
        has_none = counts == 0 if skips_nan else n_nan > 0
        found.append(np.where(has_none, np.nan, middle))
    return np.array(found), counts if skips_nan else lengths
