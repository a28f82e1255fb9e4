"""Sorted and partitioned arrays, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import Chunk, chunks
from sharedmem.engine.argsort_lines import argsort_line
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import sort_line
from sharedmem.machine.tuning import tuning
from sharedmem.pool.mapreduce import current_pool
from sharedmem.pool.watches import one_call

Array = NDArray[Any]

# Kinds of dtypes that NumPy compares without holding the GIL, so that threads can share the work.
PARALLEL = "biufcmMSU"


def sort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    out: Array | None = None,
) -> Array:
    """Return a sorted copy of an array, or sort into `out`; see `numpy.sort`.

    Parameters
    ----------
    a : array_like
        The array.
    axis : int or None, optional
        Axis to sort along, by default the last. None flattens the array.
    kind : {'quicksort', 'mergesort', 'heapsort', 'stable'}, optional
        Sorting algorithm for short lines. The sort of long lines is always stable.
    order : str or list of str, optional
        Fields of a structured array to compare by. NumPy sorts these, serially.
    stable : bool, optional
        Whether equal elements keep their order.
    out : ndarray, optional
        Array for the result, with the shape and dtype of `a`. It may be `a` itself. Sorting into
        `out` saves the time that fresh memory takes.

    Returns
    -------
    ndarray
        The sorted array, or `out`. NaN and NaT are last. The bits do not depend on the number of
        workers.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    TypeError
        If `out` has another dtype.
    ValueError
        If `out` has another shape, or both `kind` and `stable` are given.

    See Also
    --------
    argsort : Return the indices that would sort the array.
    partition : Partition without sorting all elements.
    topk : Return the largest elements only.
    searchsorted : Find elements in a sorted array.

    Notes
    -----
    Each worker sorts a part of a long line, and then all workers merge the parts. Of short lines a
    worker sorts many at a time.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.sort([3, 1, 2]).tolist()
    [1, 2, 3]
    """
    a, axis = _with_axis(a, axis)
    options = {"kind": kind, "order": order, "stable": stable}
    np.sort(np.empty((0,) * a.ndim, a.dtype), axis, **options)  # raises what NumPy raises
    result, a = (np.empty_like(a, order="K"), a) if out is None else _check_out(out, a)

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

    if order is not None or is_numpys(a):
        np.copyto(result, a)
        result.sort(axis, **options)
    else:
        run, n_workers = threads_for(a)
        along_lines(a, result, axis, sort_short, sort_long)
    return result if out is None else out


def argsort(
    a: ArrayLike,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
) -> Array:
    """Return the indices that would sort an array; see `numpy.argsort`.

    Parameters
    ----------
    a : array_like
        The array.
    axis : int or None, optional
        Axis to sort along, by default the last. None flattens the array.
    kind : {'quicksort', 'mergesort', 'heapsort', 'stable'}, optional
        Sorting algorithm for short lines. The sort of long lines is always stable.
    order : str or list of str, optional
        Fields of a structured array to compare by. NumPy sorts these, serially.
    stable : bool, optional
        Whether equal elements keep their order.

    Returns
    -------
    ndarray of intp
        The indices. In long lines equal elements keep their order, whatever `kind` is.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If both `kind` and `stable` are given, or `order` is given and the array has no fields.

    See Also
    --------
    sort : Return the sorted elements.
    topk : Return the indices of the largest elements only.

    Examples
    --------
    >>> import sharedmem
    >>> sharedmem.argsort([3, 1, 2]).tolist()
    [1, 2, 0]
    """
    a, axis = _with_axis(a, axis)
    options = {"kind": kind, "order": order, "stable": stable}
    if order is not None or is_numpys(a):
        return np.argsort(a, axis, **options)
    np.argsort(np.empty((0,) * a.ndim, a.dtype), axis, **options)  # raises what NumPy raises

    def argsort_short(lines: Array, indices: Array) -> None:
        indices[...] = np.argsort(lines, -1, **options)

    def argsort_long(line: Array, indices: Array) -> None:
        indices[...] = argsort_line(run, line, n_workers)

    run, n_workers = threads_for(a)
    if a.ndim == 1:
        return one_call(argsort_line)(run, a, n_workers)
    result = np.empty_like(a, np.intp, order="K")
    along_lines(a, result, axis, argsort_short, argsort_long)
    return result


def partition(
    a: ArrayLike, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: Any = None
) -> Array:
    """Return a partitioned copy of an array; see `numpy.partition`.

    Parameters
    ----------
    a : array_like
        The array.
    kth : int or sequence of int
        Indices of the elements that are where sorting would put them. Smaller elements come before
        these, equal or larger ones after them.
    axis : int or None, optional
        Axis to partition along, by default the last. None flattens the array.
    kind : {'introselect'}, optional
        Selection algorithm.
    order : str or list of str, optional
        Fields of a structured array to compare by. NumPy partitions these, serially.

    Returns
    -------
    ndarray
        The partitioned array. Lines are partitioned in parallel, each by NumPy.

    Raises
    ------
    AxisError
        If `axis` is out of bounds.
    ValueError
        If an index in `kth` is out of bounds, or `kind` is unknown.

    See Also
    --------
    sort : Sort all elements.
    topk : Return the largest elements in order.
    quantile : Interpolate between order statistics.

    Examples
    --------
    >>> import sharedmem
    >>> int(sharedmem.partition([5, 3, 1, 4], 1)[1])
    3
    """
    a, axis = _with_axis(a, axis)
    if a.ndim < 2 or order is not None or is_numpys(a):
        return np.partition(a, kth, axis, kind, order)

    def partition_lines(lines: Array, parted: Array) -> None:
        np.copyto(parted, lines)
        parted.partition(kth, -1, kind)

    result = np.empty_like(a, order="K")
    along_lines(a, result, axis, partition_lines, partition_lines)
    return result


def is_numpys(a: Array, kinds: str = PARALLEL) -> bool:
    """Return whether the whole array is left to NumPy: it is small, or not of one of the kinds."""
    return a.ndim == 0 or a.nbytes < tuning.sort_bytes or a.dtype.kind not in kinds


def threads_for(a: Array) -> tuple[Run, int]:
    """Return a function that runs tasks of a sort of `a`, and the number of workers."""
    runner = current_pool().runner
    run = runner.run(tuning.sort_reads * a.nbytes, moved=2 * a.nbytes)
    return run, runner.n_workers


def _with_axis(a: ArrayLike, axis: int | None) -> tuple[Array, int]:
    """Return an array, flattened if `axis` is None, and the axis."""
    array = in_memory(a)
    return (array.reshape(-1), -1) if axis is None else (array, axis)


def _check_out(out: Array, a: Array) -> tuple[Array, Array]:
    """Return the array to sort into, and the array to sort, which is a copy if they overlap."""
    check_target(out, "out", a.shape)
    if out.dtype != a.dtype:
        raise TypeError(f"out has dtype {out.dtype}, but the result has {a.dtype}")
    result = np.asarray(out)
    is_same = a.__array_interface__ == result.__array_interface__
    return result, a.copy() if np.may_share_memory(a, result) and not is_same else a


@one_call
def along_lines(
    a: Array,
    results: Array,
    axis: int,
    by_chunk: Callable[[Array, Array], object],
    by_line: Callable[[Array, Array], object],
) -> None:
    """Call a function on the lines along an axis, and where their results go.

    Parameters
    ----------
    a, results : ndarray
        Arrays of the same shape, except along the axis.
    axis : int
        The axis.
    by_chunk : callable
        Called in threads, on many lines along the last axis, and contiguous memory for the results.
    by_line : callable
        Called on each long line; it shares the work among threads itself.
    """
    lines, results = np.moveaxis(a, axis, -1), np.moveaxis(results, axis, -1)
    kept = lines.shape[:-1]
    if a.nbytes < tuning.sort_bytes:
        by_chunk(lines, results)
        return
    if not kept or lines.shape[-1] * a.itemsize >= tuning.sort_line_bytes:
        for at in np.ndindex(kept):
            by_line(lines[at], results[at])
        return

    def do(chunk: Chunk) -> None:
        part, out = lines[chunk], results[chunk]
        if out.flags.c_contiguous:
            by_chunk(part, out)
        else:
            buffer = np.empty(out.shape, out.dtype)
            by_chunk(part, buffer)
            out[...] = buffer

    run, _ = threads_for(a)
    run(do, chunks(lines, range(len(kept)), nbytes=tuning.sort_piece_bytes))
