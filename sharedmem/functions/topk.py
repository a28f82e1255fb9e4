"""Largest and smallest elements along an axis, on the pool in use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from sharedmem.engine.argsort_lines import argsort_line
from sharedmem.engine.long_lines import is_comparable, pieces_of
from sharedmem.engine.operands import in_memory
from sharedmem.engine.order_statistics import order_statistics
from sharedmem.engine.runners import Run, run_serially
from sharedmem.functions.sorting import along_lines, threads_for
from sharedmem.machine.tuning import tuning
from sharedmem.pool.watches import one_call

Array = NDArray[Any]


@one_call
def topk(a: ArrayLike, k: int, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    """Return the `k` largest elements along an axis, in descending order, and their indices.

    Parameters
    ----------
    a : array_like
        The array.
    k : int
        Number of elements, from 0 to the length of the axis.
    axis : int, optional
        Axis to search along, by default the last.
    largest : bool, optional
        Whether to return the largest elements. False returns the smallest, in ascending order.

    Returns
    -------
    values : ndarray
        The elements, with the shape of `a` but length `k` along `axis`. NaN counts as larger than
        all numbers. Of equal elements, those with smaller indices come first.
    indices : ndarray of intp
        Their indices along `axis`, with the same shape.

    Raises
    ------
    ValueError
        If `k` is negative or larger than the length of the axis.
    AxisError
        If `axis` is out of bounds.

    See Also
    --------
    sort : Sort all elements.
    partition : Partition at given ranks.
    argmax : Return the index of the largest element.

    Examples
    --------
    >>> import sharedmem
    >>> values, indices = sharedmem.topk([3.0, 9.0, 1.0, 7.0], 2)
    >>> values.tolist(), indices.tolist()
    ([9.0, 7.0], [1, 3])
    """
    a = in_memory(a)
    axis = normalize_axis_index(axis, a.ndim)
    if not 0 <= k <= a.shape[axis]:
        raise ValueError(f"k must be from 0 to the length {a.shape[axis]} of the axis, got {k}")
    indices = np.empty((*a.shape[:axis], k, *a.shape[axis + 1 :]), np.intp)
    run, n_workers = threads_for(a)

    def find(chunk: Array, found: Array) -> None:
        if chunk.shape[-1] >= tuning.topk_length:
            for at in np.ndindex(chunk.shape[:-1]):
                found[at] = _topk_of_line(run_serially, chunk[at], k, largest, 1)
        else:
            order = np.argsort(chunk[..., ::-1] if largest else chunk, -1, kind="stable")
            if largest:  # the last ones of the reversed lines
                order = chunk.shape[-1] - 1 - order[..., ::-1][..., :k]
            found[...] = order[..., :k]

    def find_long(line: Array, found: Array) -> None:
        found[...] = _topk_of_line(run, line, k, largest, n_workers)

    if k and a.ndim == 1 and a.nbytes >= tuning.sort_run_bytes:
        find_long(a, indices)
    elif k:
        along_lines(a, indices, axis, find, find_long)
    return np.take_along_axis(a, indices, axis), indices


def _topk_of_line(run: Run, line: Array, k: int, largest: bool, n_workers: int) -> Array:
    """Return the indices of the `k` largest or smallest elements of a line of at least one."""
    comparable = is_comparable(line)
    candidates = _candidates(run, line, k, largest) if comparable else np.arange(len(line))
    if largest:  # the smallest of the reversed line, so that equal elements come in order
        candidates = candidates[::-1]
    line = line[candidates]
    if line.nbytes < tuning.sort_run_bytes:
        order = np.argsort(line, kind="stable")
    else:
        order = argsort_line(run, line, n_workers)
    return candidates[(order[::-1] if largest else order)[:k]]


def _candidates(run: Run, line: Array, k: int, largest: bool) -> Array:
    """Return the indices of the top `k` elements, the first ones of those equal to the last.

    They are in ascending order.
    """
    at = len(line) - k if largest else k - 1
    if line.nbytes < tuning.topk_bytes:
        limit = np.partition(line, at)[at]
    else:
        (limit,) = order_statistics(run, line, [at])

    def find(part: slice) -> list[Any]:
        chunk = line[part]
        if limit != limit:
            is_last = np.isnan(chunk)
            is_before = np.zeros_like(is_last) if largest else ~is_last
        else:
            is_last = chunk == limit
            is_before = ~(chunk <= limit) if largest else chunk < limit
        return [part.start + np.flatnonzero(is_before), part.start + np.flatnonzero(is_last)[:k]]

    found = run(find, pieces_of(len(line), line.itemsize))
    before, last = map(np.concatenate, zip(*found, strict=True))
    return np.sort(np.concatenate([before, last[: k - len(before)]]))
