"""Order statistics of long lines, without sorting them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine import natural_runs
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import pieces_of
from sharedmem.kernels import sorting
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def is_selectable(a: Array) -> bool:
    """Return whether there is a kernel for the dtype of a line."""
    return a.dtype.kind in "iu" or a.dtype.char in "fd"


def order_statistics(run: Run, a: Array, ranks: Sequence[int]) -> Array:
    """Return the elements that would stand at `ranks` if a line were sorted.

    A sample gives two limits that almost surely enclose the element. One pass counts the elements
    below them, and copies those in between.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,), n > 0
        Of a type that `is_selectable`.
    ranks : sequence of int
        From 0 to n - 1.

    Returns
    -------
    ndarray, shape (len(ranks),)
        NaNs stand at the end.

    References
    ----------
    R. W. Floyd, R. L. Rivest, Expected time bounds for selection, Communications of the ACM 18(3),
    1975, doi:10.1145/360680.360691
    """
    a = read_only(np.ascontiguousarray(a, a.dtype.newbyteorder("=")))
    runs = natural_runs.find(run, a, pieces_of(len(a), a.itemsize), limit=1)
    if runs is not None:
        return a[::-1][ranks] if runs.falls[0] else a[ranks]
    sample = np.sort(a[:: len(a) // tuning.sample_size | 1])
    wanted = sorted({*ranks})
    found = {rank: _at_end(run, a, rank) for rank in wanted if rank in (0, len(a) - 1)}
    for rank in wanted:
        if rank not in found:  # its neighbor comes from the same pass
            group = [at for at in (rank, rank + 1) if at in wanted and at not in found]
            values = _select(run, a, group, *limits(sample, rank / len(a)))
            found |= dict(zip(group, values, strict=True))
    return np.array([found[rank] for rank in ranks], a.dtype)


def _at_end(run: Run, a: Array, rank: int) -> Any:
    """Return the first or the last element of a sorted line."""
    extremum = np.fmin if rank == 0 else np.maximum
    found = run(lambda part: extremum.reduce(a[part]), pieces_of(len(a), a.itemsize))
    return extremum.reduce(np.array(found, a.dtype))


def limits(sample: Array, quantile: float) -> tuple[Any, Any]:
    """Return limits that an element is between, with a margin of five standard deviations."""
    margin = 2.5 * math.sqrt(len(sample))
    first = math.floor(quantile * len(sample) - margin)
    last = math.ceil(quantile * len(sample) + margin)
    if sample.dtype.kind == "f":
        low, high = sample.dtype.type(-np.inf), sample.dtype.type(np.inf)
    else:
        extent = np.iinfo(sample.dtype)
        low, high = sample.dtype.type(extent.min), sample.dtype.type(extent.max)
    if first >= 0 and not np.isnan(sample[first]):
        low = sample[first]
    if last < len(sample) and not np.isnan(sample[last]):
        high = sample[last]
    return low, high


def _select(run: Run, a: Array, ranks: Sequence[int], low: Any, high: Any) -> Array:
    """Return the elements at `ranks`, which are likely to be between the limits."""

    def count(part: slice) -> tuple[tuple[int, ...], Array]:
        inside = np.empty(part.stop - part.start, a.dtype)
        counts = sorting.select_between(a[part], low, high, inside)
        return counts, inside[: counts[2]].copy()

    counts, insides = zip(*run(count, pieces_of(len(a), a.itemsize)), strict=True)
    n_less, n_low, n_inside, n_high, n_nan = map(sum, zip(*counts, strict=True))
    inside = np.concatenate(insides)
    first = n_less + n_low
    here = [rank - first for rank in ranks if 0 <= rank - first < n_inside]
    inside.partition(np.array(here, np.intp))

    def value(rank: int) -> Any:
        if rank >= len(a) - n_nan:
            return np.nan
        if n_less <= rank < first:
            return low
        if 0 <= rank - first < n_inside:
            return inside[rank - first]
        if 0 <= rank - first - n_inside < n_high:
            return high
        return np.partition(a, rank)[rank]  # the sample was not like the line

    return np.array([value(rank) for rank in ranks], a.dtype)
