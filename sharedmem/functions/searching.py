"""Searches of sorted arrays, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sharedmem.arrays.chunks import chunks
from sharedmem.arrays.labels import ELEMENTWISE, with_labels
from sharedmem.engine.argsort_lines import argsort_line, has_keys
from sharedmem.engine.nearly_sorted_lines import is_nearly_sorted
from sharedmem.engine.operands import in_memory
from sharedmem.engine.runners import run_serially
from sharedmem.functions.sorting import PARALLEL, threads_for
from sharedmem.machine.tuning import tuning


@with_labels(ELEMENTWISE, "v")
def searchsorted(a: ArrayLike, v: ArrayLike, side: Any = "left", sorter: Any = None) -> Any:
    """Find indices where elements should be inserted to maintain order; see `numpy.searchsorted`.

    Parameters
    ----------
    a : array_like, shape (n,)
        The array, in ascending order unless `sorter` is given.
    v : array_like
        Values to insert.
    side : {'left', 'right'}, optional
        Whether a value is inserted before or after equal elements.
    sorter : array_like of int, shape (n,), optional
        Indices that sort `a`.

    Returns
    -------
    int or ndarray of int
        The insertion points, with the shape of `v`.

    Raises
    ------
    TypeError, ValueError
        If `a` is not one-dimensional, or `side` or `sorter` does not fit.

    See Also
    --------
    sort : Sort an array.
    digitize : Return the bin of each element.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.searchsorted([1, 2, 4], [2, 3, 9]).tolist()
    [1, 2, 3]
    """
    a, v = in_memory(a), in_memory(v)
    kinds = {a.dtype.kind, v.dtype.kind}
    if v.ndim == 0 or v.nbytes < tuning.sort_run_bytes or not kinds <= {*PARALLEL}:
        return np.searchsorted(a, v, side, sorter)
    a = np.asarray(a, np.result_type(a, v))  # or NumPy would convert it for every chunk
    np.searchsorted(a, v.reshape(-1)[:0], side, sorter)  # raises what NumPy raises
    wanted, found = v.reshape(-1), np.empty(v.size, np.intp)

    in_order = len(a) >= tuning.sorted_search_length and has_keys(v.dtype)
    nbytes = tuning.sort_run_bytes
    if in_order:
        nbytes = max(nbytes, min(tuning.sort_line_bytes, v.nbytes // 4))

    def search(part: slice) -> None:
        values: Any = wanted[part]
        order: Any = slice(None)
        if in_order and not is_nearly_sorted(run_serially, values):
            order = argsort_line(run_serially, values, 1)
        found[part][order] = np.searchsorted(a, values[order], side, sorter)

    run, _ = threads_for(v)
    run(search, [part[0] for part in chunks(v.size, nbytes=nbytes)])
    return found.reshape(v.shape)


@with_labels(ELEMENTWISE, "x")
def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Any:
    """Return the indices of the bins to which each value belongs; see `numpy.digitize`.

    Parameters
    ----------
    x : array_like
        Real numbers.
    bins : array_like, shape (n,)
        Edges of the bins, which increase or decrease monotonically.
    right : bool, optional
        Whether the bins include the right edge instead of the left one.

    Returns
    -------
    int or ndarray of int
        The indices, with the shape of `x`: 0 before the first edge, and n after the last one.

    Raises
    ------
    ValueError
        If the edges are not monotonic.
    TypeError
        If `x` is complex.

    See Also
    --------
    searchsorted : Find insertion points in a sorted array.
    histogram : Count the elements in each bin.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.digitize([0.2, 6.4, 3.0], [0.0, 1.0, 3.0, 10.0]).tolist()
    [1, 3, 3]
    """
    x, bins = in_memory(x), in_memory(bins)
    np.digitize(x.reshape(-1)[:0], bins, right)  # raises what NumPy raises
    if np.isnan(bins).any():
        return np.digitize(x, bins, right)
    falls = len(bins) > 0 and bins[0] > bins[-1]
    found = searchsorted(bins[::-1] if falls else bins, x, "left" if right else "right")
    return len(bins) - found if falls else found
