"""Distinct elements of an array, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.engine.long_lines import is_sorted, pieces_of
from sharedmem.engine.operands import in_memory
from sharedmem.engine.runners import Run
from sharedmem.functions.selection import take
from sharedmem.functions.sorting import argsort, is_numpys, sort, threads_for
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


@one_call
def unique(
    ar: ArrayLike,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """Find the unique elements of an array; see `numpy.unique`.

    Parameters
    ----------
    ar : array_like
        The array. It is flattened if `axis` is None.
    return_index : bool, optional
        Whether to return the index of the first occurrence of each unique element.
    return_inverse : bool, optional
        Whether to return the indices of the unique elements that reconstruct the array.
    return_counts : bool, optional
        Whether to return how often each unique element occurs.
    axis : int, optional
        Axis whose slices are compared. NumPy does that, serially.
    equal_nan : bool, optional
        Whether all NaNs count as one element.
    sorted : bool, optional
        Accepted for compatibility with NumPy. The elements are always sorted.

    Returns
    -------
    unique : ndarray
        The sorted unique elements.
    index : ndarray of intp
        The indices of their first occurrences. Only if `return_index` is True.
    inverse : ndarray of intp
        The indices of the unique elements that reconstruct the array. Only if `return_inverse` is
        True.
    counts : ndarray of intp
        How often each of them occurs. Only if `return_counts` is True.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.

    See Also
    --------
    sort : Sort an array.
    bincount : Count non-negative integers.

    Examples
    --------
    >>> import sharedmem
    >>> values, counts = sharedmem.unique([3, 1, 3], return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    a = in_memory(ar)
    if axis is not None or is_numpys(a, "biufmM"):
        find: Any = np.unique
        return find(a, return_index, return_inverse, return_counts, axis, equal_nan=equal_nan)
    flat = a.reshape(-1)
    run, _ = threads_for(a)
    perm = None
    if is_sorted(run, flat):
        line = flat
    elif return_index or return_inverse:
        perm = argsort(flat, stable=True)
        line = take(flat, perm, mode="clip")
    else:
        line = sort(flat)
    starts = _starts_of_values(run, line, equal_nan)
    counts = np.diff(starts, append=len(line))
    results = [line[starts]]
    if return_index:
        results.append(starts if perm is None else perm[starts])
    if return_inverse:
        ranks = np.repeat(np.arange(len(starts)), counts)
        inverse = ranks if perm is None else _scattered(run, ranks, perm)
        results.append(inverse.reshape(a.shape))
    if return_counts:
        results.append(counts)
    return results[0] if len(results) == 1 else tuple(results)


def _scattered(run: Run, numbers: Array, places: Array) -> Array:
    """Return numbers put to their places, which are all different."""
    out = np.empty_like(numbers)

    def scatter(part: slice) -> None:
        out[places[part]] = numbers[part]

    run(scatter, pieces_of(len(out), out.itemsize))
    return out


def _starts_of_values(run: Run, line: Array, equal_nan: bool) -> Array:
    """Return where each distinct element of a sorted line begins."""

    def find(part: slice) -> Any:
        first = max(part.start, 1)
        is_new = line[first : part.stop] != line[first - 1 : part.stop - 1]
        return first + np.flatnonzero(is_new)

    starts = np.concatenate([[0], *run(find, pieces_of(len(line), line.itemsize))])
    if equal_nan and line[-1] != line[-1]:
        first_nan = np.searchsorted(line, line[-1])
        starts = starts[: np.searchsorted(starts, first_nan, "right")]
    return starts
