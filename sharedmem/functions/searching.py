"""NumPy's searches of sorted arrays by their names, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sharedmem.arrays.chunks import chunks
from sharedmem.engine import sort_lines
from sharedmem.engine.operands import in_memory
from sharedmem.engine.runners import run_serially
from sharedmem.engine.sort_lines import argsort_line
from sharedmem.functions.sorting import PARALLEL
from sharedmem.pool.mapreduce import current_pool

# Elements to look up in a table as long as this are sorted first: neighbouring searches then read
# the same cache lines (benchmarks/rows/orders.py, search).
LONG_TABLE = 1 << 14


def searchsorted(a: ArrayLike, v: ArrayLike, side: Any = "left", sorter: Any = None) -> Any:
    """Return where elements would be inserted to keep order, as `numpy.searchsorted` does.

    Parameters
    ----------
    a : array_like, shape (n,)
        Sorted, or else with the indices that sort it in `sorter`.
    v : array_like
        What to insert.
    side : {'left', 'right'}, optional
        Whether equal elements come behind an inserted one, or before it.
    sorter : array_like of int, shape (n,), optional

    Returns
    -------
    int or ndarray of int, shaped as `v`

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.searchsorted([1, 2, 4], [2, 3, 9]).tolist()
    [1, 2, 3]
    """
    a, v = in_memory(a), in_memory(v)
    kinds = {a.dtype.kind, v.dtype.kind}
    if v.ndim == 0 or v.nbytes < sort_lines.RUN_BYTES or not kinds <= {*PARALLEL}:
        return np.searchsorted(a, v, side, sorter)
    a = np.asarray(a, np.result_type(a, v))  # else NumPy would convert it for every chunk
    np.searchsorted(a, v.reshape(-1)[:0], side, sorter)  # refuses what NumPy refuses
    wanted, found = v.reshape(-1), np.empty(v.size, np.intp)

    def search(part: slice) -> None:
        found[part] = np.searchsorted(a, wanted[part], side, sorter)

    def search_in_order(part: slice) -> None:
        order = argsort_line(run_serially, wanted[part], 1)
        found[part][order] = np.searchsorted(a, wanted[part][order], side, sorter)

    run = current_pool().runner.run(sort_lines.READS * v.nbytes)
    if len(a) >= LONG_TABLE and sort_lines.Keys.of(wanted[:0]) is not None:
        nbytes = max(sort_lines.RUN_BYTES, min(sort_lines.LONG_BYTES, v.nbytes // 4))
        run(search_in_order, [part[0] for part in chunks(v.size, nbytes=nbytes)])
    else:
        run(search, [part[0] for part in chunks(v.size, nbytes=sort_lines.RUN_BYTES)])
    return found.reshape(v.shape)


def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Any:
    """Return in which bin each element is, as `numpy.digitize` does.

    Parameters
    ----------
    x : array_like
        Real numbers.
    bins : array_like, shape (n,)
        Edges that rise or fall, not strictly.
    right : bool, optional
        Whether an element that is an edge is in the bin below it, and not in the one above.

    Returns
    -------
    int or ndarray of int, shaped as `x`
        0 in front of the first edge, and n behind the last one.

    Raises
    ------
    ValueError
        If the edges neither rise nor fall.
    TypeError
        If `x` is complex.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.digitize([0.2, 6.4, 3.0], [0.0, 1.0, 3.0, 10.0]).tolist()
    [1, 3, 3]
    """
    x, bins = in_memory(x), in_memory(bins)
    np.digitize(x.reshape(-1)[:0], bins, right)  # refuses what NumPy refuses
    if np.isnan(bins).any():
        return np.digitize(x, bins, right)
    falls = len(bins) > 0 and bins[0] > bins[-1]
    found = searchsorted(bins[::-1] if falls else bins, x, "left" if right else "right")
    return len(bins) - found if falls else found
