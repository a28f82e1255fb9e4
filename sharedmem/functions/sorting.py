"""NumPy's sorts and searches by their names, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.engine import sort_lines
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.engine.order_statistics import is_selectable, order_statistics
from sharedmem.engine.runners import Run, run_serially
from sharedmem.engine.sort_lines import argsort_line, lines_a_chunk, pieces_of, sort_line
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]

# Of these, long lines are cut: NumPy compares the others while it holds the interpreter's lock.
PARALLEL = "biufcmMSU"

# Of lines as long as this, top elements are chosen by a limit, and only these are sorted: of 16,384
# in 0.1 ms, and not in 1.4. NumPy finds the limit of up to so many bytes, the workers that of more.
_CHOSEN, _PARTITIONED = 1024, 2 << 20


def sort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    out: Array | None = None,
) -> Array:
    """Return a sorted copy of an array, as `numpy.sort` does, or sort into `out`.

    Parameters
    ----------
    a : array_like
    axis : int or None, optional
        Axis to sort along, by default the last; None sorts all elements as one line.
    kind : {'quicksort', 'mergesort', 'heapsort', 'stable'}, optional
        Long lines are always sorted stably.
    order : str or list of str, optional
        The fields to compare by, for structured arrays. NumPy sorts these, serially.
    stable : bool, optional
        Whether elements that are equal (zeros of either sign) stay in their order.
    out : ndarray, optional
        Where the result goes, of the shape and dtype of `a`; it may be `a` itself. That saves the
        time that fresh memory takes.

    Returns
    -------
    ndarray
        NaN and NaT are last. The same bits for any number of workers.

    Raises
    ------
    ValueError
        If `out` has another shape, or `kind` and `stable` are both given.
    TypeError
        If `out` has another dtype.

    Notes
    -----
    Each worker sorts a part of a long line, and then all of them merge the parts. Short lines are
    sorted many at a time.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.sort([3, 1, 2]).tolist()
    [1, 2, 3]
    """
    a = in_memory(a)
    options = {"kind": kind, "order": order, "stable": stable}
    if axis is None:
        a, axis = a.reshape(-1), -1
    np.sort(np.empty((0,) * a.ndim, a.dtype), axis, **options)  # refuses what NumPy refuses
    if out is None:
        result = np.empty_like(a, order="K")
    else:
        result, a = _check_out(out, a)
    if order is not None or _is_numpys(a):
        np.copyto(result, a)
        result.sort(axis, **options)
        return result if out is None else out

    def sort_short(lines: Array, sorted_lines: Array) -> None:
        np.copyto(sorted_lines, lines)
        sorted_lines.sort(-1, **options)

    def sort_long(line: Array, sorted_line: Array) -> None:
        is_plain = sorted_line.flags.c_contiguous and sorted_line.flags.aligned
        if is_plain and sorted_line.dtype.isnative:
            sort_line(run, line, sorted_line, n_workers)
        else:
            numbers = line.astype(line.dtype.newbyteorder("="))
            sort_line(run, numbers, numbers, n_workers)
            np.copyto(sorted_line, numbers)

    n_workers = current_pool()._n_workers()
    run = current_pool()._run_in_threads(sort_lines.READS * a.nbytes)
    _along_lines(np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1), sort_short, sort_long)
    return result if out is None else out


def argsort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Array:
    """Return the indices that would sort an array, as `numpy.argsort` does.

    Parameters
    ----------
    a, axis, kind, order, stable
        As for :func:`sort`.

    Returns
    -------
    ndarray of intp
        In long lines, equal elements are in their order whatever `kind` is.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.argsort([3, 1, 2]).tolist()
    [1, 2, 0]
    """
    a = in_memory(a)
    options = {"kind": kind, "order": order, "stable": stable}
    if axis is None:
        a, axis = a.reshape(-1), -1
    if order is not None or _is_numpys(a):
        return np.argsort(a, axis, **options)
    np.argsort(np.empty((0,) * a.ndim, a.dtype), axis, **options)  # refuses what NumPy refuses

    def argsort_short(lines: Array, indices: Array) -> None:
        indices[...] = np.argsort(lines, -1, **options)

    def argsort_long(line: Array, indices: Array) -> None:
        indices[...] = argsort_line(run, line, n_workers)

    n_workers = current_pool()._n_workers()
    run = current_pool()._run_in_threads(sort_lines.READS * a.nbytes)
    if a.ndim == 1:
        return argsort_line(run, a, n_workers)
    result = np.empty_like(a, np.intp, order="K")
    lines = np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1)
    _along_lines(*lines, argsort_short, argsort_long)
    return result


def partition(
    a: ArrayLike, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None
) -> Array:
    """Return a copy whose `kth` elements are where sorting puts them, as `numpy.partition` does.

    Parameters
    ----------
    a : array_like
    kth : int or sequence of int
        Smaller elements come before these, and larger ones behind them.
    axis : int or None, optional
        Axis to partition along, by default the last; None takes all elements as one line.
    kind : {'introselect'}, optional
    order : str or list of str, optional
        The fields to compare by, for structured arrays. NumPy partitions these, serially.

    Returns
    -------
    ndarray
        Lines are partitioned in parallel, each by NumPy.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.partition([5, 3, 1, 4], 1)[1])
    3
    """
    a = in_memory(a)
    if axis is None:
        a, axis = a.reshape(-1), -1
    if a.ndim < 2 or order is not None or _is_numpys(a):
        return np.partition(a, kth, axis, kind, order)

    def partition_lines(lines: Array, parted: Array) -> None:
        np.copyto(parted, lines)
        parted.partition(kth, -1, kind)

    result = np.empty_like(a, order="K")
    lines = np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1)
    _along_lines(*lines, partition_lines, partition_lines)
    return result


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
    """Return the sorted distinct elements of an array, as `numpy.unique` does.

    Parameters
    ----------
    ar : array_like
    return_index, return_inverse, return_counts : bool, optional
        Whether to return also the first index of each element, the indices that make the array
        again, and how often each element occurs.
    axis : int, optional
        Compare slices along this axis; NumPy does that, serially.
    equal_nan : bool, optional
        Whether all NaNs are one element.
    sorted : bool, optional
        Accepted for NumPy's sake: the elements are always sorted.

    Returns
    -------
    ndarray, or tuple of ndarray

    Examples
    --------
    >>> import sharedmem
    >>> values, counts = sharedmem.unique([3, 1, 3], return_counts=True)
    >>> values.tolist(), counts.tolist()
    ([1, 3], [1, 2])
    """
    a = in_memory(ar)
    if axis is not None or a.dtype.kind in "cSU" or _is_numpys(a):
        find: Any = np.unique
        return find(a, return_index, return_inverse, return_counts, axis, equal_nan=equal_nan)
    flat = a.reshape(-1)
    run = current_pool()._run_in_threads(sort_lines.READS * a.nbytes)
    perm = argsort(flat, stable=True) if return_index or return_inverse else None
    line = sort(flat) if perm is None else _take(run, flat, perm)
    starts = _starts_of_values(run, line, equal_nan)
    counts = np.diff(starts, append=len(line))
    results = [line[starts]]
    if return_index and perm is not None:
        results.append(perm[starts])
    if return_inverse and perm is not None:
        inverse = np.empty(len(line), np.intp)
        ranks = np.repeat(np.arange(len(starts)), counts)

        def scatter(part: slice) -> None:
            inverse[perm[part]] = ranks[part]

        run(scatter, pieces_of(len(line), inverse.itemsize))
        results.append(inverse.reshape(a.shape))
    if return_counts:
        results.append(counts)
    return results[0] if len(results) == 1 else tuple(results)


def topk(a: ArrayLike, k: int, axis: int = -1, largest: bool = True) -> tuple[Array, Array]:
    """Return the largest elements along an axis, the largest first, and where they are.

    Parameters
    ----------
    a : array_like
    k : int
        How many, from 0 to the length of the axis.
    axis : int, optional
        By default the last.
    largest : bool, optional
        False gives the smallest elements, the smallest first.

    Returns
    -------
    values, indices : ndarray
        Shaped as `a`, but of length `k` along `axis`. NaN counts as larger than all numbers; of
        equal elements those with the smaller indices come first.

    Raises
    ------
    ValueError
        If `k` is negative or larger than the length of the axis.
    AxisError
        If there is no such axis.

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
    lines = np.moveaxis(a, axis, -1)
    indices = np.empty((*lines.shape[:-1], k), np.intp)

    def find(chunk: Array, found: Array) -> None:
        if chunk.shape[-1] >= _CHOSEN:
            for at in np.ndindex(chunk.shape[:-1]):
                found[at] = _topk_of_line(run_serially, chunk[at], k, largest, 1)
        elif largest:
            backwards = np.argsort(chunk[..., ::-1], -1, kind="stable")
            found[...] = chunk.shape[-1] - 1 - backwards[..., ::-1][..., :k]
        else:
            found[...] = np.argsort(chunk, -1, kind="stable")[..., :k]

    def find_long(line: Array, found: Array) -> None:
        found[...] = _topk_of_line(run, line, k, largest, n_workers)

    n_workers = current_pool()._n_workers()
    run = current_pool()._run_in_threads(sort_lines.READS * a.nbytes)
    if k and lines.ndim == 1 and lines.nbytes >= sort_lines.RUN_BYTES:
        find_long(lines, indices)
    elif k:
        _along_lines(lines, indices, find, find_long)
    values = np.take_along_axis(lines, indices, -1)
    return np.moveaxis(values, -1, axis), np.moveaxis(indices, -1, axis)


def _is_numpys(a: Array) -> bool:
    """Say whether NumPy does an array at once."""
    return a.ndim == 0 or a.nbytes < sort_lines.SMALL_BYTES or a.dtype.kind not in PARALLEL


def _topk_of_line(run: Run, line: Array, k: int, largest: bool, n_workers: int) -> Array:
    """Return where the `k` largest or smallest elements of a long line are.

    A limit first saves most of the sort.
    """
    candidates = None
    if is_selectable(line):
        at = len(line) - k if largest else k - 1
        if line.nbytes < _PARTITIONED:
            limit = np.partition(line, at)[at]
        else:
            (limit,) = order_statistics(run, line, [at])

        def find(part: slice) -> Any:
            chunk = line[part]
            if limit != limit:
                return part.start + np.flatnonzero(np.isnan(chunk) | (not largest))
            return part.start + np.flatnonzero(~(chunk < limit) if largest else chunk <= limit)

        candidates = np.concatenate(run(find, pieces_of(len(line), line.itemsize)))
        line = line[candidates]
    if largest:  # the smallest of the line read backwards, so that equals come in their order
        line = line[::-1]
    if line.nbytes < sort_lines.RUN_BYTES:
        order = np.argsort(line, kind="stable")
    else:
        order = argsort_line(run, line, n_workers)
    order = len(line) - 1 - order[::-1][:k] if largest else order[:k]
    return order if candidates is None else candidates[order]


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


def _take(run: Run, line: Array, indices: Array) -> Array:
    taken = np.empty(len(indices), line.dtype)

    def take(part: slice) -> None:
        np.take(line, indices[part], out=taken[part], mode="clip")  # which needs no buffer

    run(take, pieces_of(len(indices), indices.itemsize))
    return taken


def _check_out(out: Array, a: Array) -> tuple[Array, Array]:
    """Return where to sort to, and what, which is apart from it or the same."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an ndarray, got {type(out).__name__}")
    if out.dtype != a.dtype:
        raise TypeError(f"out has dtype {out.dtype}, but the array has {a.dtype}")
    if out.shape != a.shape:
        raise ValueError(f"out has shape {out.shape}, but the sorted array has {a.shape}")
    check_target(out, "out")
    result = np.asarray(out)
    is_same = a.__array_interface__ == result.__array_interface__
    return result, a.copy() if np.may_share_memory(a, result) and not is_same else a


def _along_lines(
    lines: Array,
    results: Array,
    by_chunk: Callable[[Array, Array], object],
    by_line: Callable[[Array, Array], object],
) -> None:
    """Give lines along the last axis to a function: long ones one by one, others many at once.

    The first function gets contiguous lines, and where the results go; it runs in threads.
    """
    n = lines.shape[-1]
    kept = lines.shape[:-1]
    if lines.nbytes < sort_lines.SMALL_BYTES:
        by_chunk(lines, results)
        return
    if not kept or n * lines.itemsize >= sort_lines.LONG_BYTES:
        for at in np.ndindex(kept):
            by_line(lines[at], results[at])
        return
    grid = chunks(kept, range(len(kept)), size=lines_a_chunk(kept, n * lines.itemsize))

    def do(chunk: tuple[slice, ...]) -> None:
        part, out = lines[chunk], results[chunk]
        if out.flags.c_contiguous:
            by_chunk(part, out)
        else:
            buffer = np.empty(out.shape, out.dtype)
            by_chunk(part, buffer)
            out[...] = buffer

    current_pool()._run_in_threads(sort_lines.READS * lines.nbytes)(do, grid)
