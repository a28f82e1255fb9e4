"""NumPy's sorts and searches by their names, on the pool in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharedmem.arrays.chunks import chunks
from sharedmem.engine import sort_lines
from sharedmem.engine.operands import check_target, in_memory
from sharedmem.engine.sort_lines import argsort_line, lines_a_chunk, sort_line
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]

# Of these, long lines are cut: NumPy compares the others while it holds the interpreter's lock.
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
    if order is not None or is_numpys(a):
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

    runner = current_pool().runner
    n_workers, run = runner.n_workers, runner.run(sort_lines.READS * a.nbytes)
    along_lines(np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1), sort_short, sort_long)
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
    if order is not None or is_numpys(a):
        return np.argsort(a, axis, **options)
    np.argsort(np.empty((0,) * a.ndim, a.dtype), axis, **options)  # refuses what NumPy refuses

    def argsort_short(lines: Array, indices: Array) -> None:
        indices[...] = np.argsort(lines, -1, **options)

    def argsort_long(line: Array, indices: Array) -> None:
        indices[...] = argsort_line(run, line, n_workers)

    runner = current_pool().runner
    n_workers, run = runner.n_workers, runner.run(sort_lines.READS * a.nbytes)
    if a.ndim == 1:
        return argsort_line(run, a, n_workers)
    result = np.empty_like(a, np.intp, order="K")
    lines = np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1)
    along_lines(*lines, argsort_short, argsort_long)
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
    if a.ndim < 2 or order is not None or is_numpys(a):
        return np.partition(a, kth, axis, kind, order)

    def partition_lines(lines: Array, parted: Array) -> None:
        np.copyto(parted, lines)
        parted.partition(kth, -1, kind)

    result = np.empty_like(a, order="K")
    lines = np.moveaxis(a, axis, -1), np.moveaxis(result, axis, -1)
    along_lines(*lines, partition_lines, partition_lines)
    return result


def is_numpys(a: Array) -> bool:
    """Say whether NumPy does an array at once."""
    return a.ndim == 0 or a.nbytes < sort_lines.SMALL_BYTES or a.dtype.kind not in PARALLEL


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


def along_lines(
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

    current_pool().runner.run(sort_lines.READS * lines.nbytes)(do, grid)
