"""Sorting long lines in pieces, by threads of the caller."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine.byte_sorting import sort_bytes
from sharedmem.engine.long_lines import as_plain, is_comparable, natural_runs, pieces_of
from sharedmem.engine.nearly_sorted_lines import find_displaced
from sharedmem.engine.runners import Run
from sharedmem.kernels import sorting
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
Merge = Callable[[Array, Array, Array, int, int], None]


def sort_line(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort a line into `out`, or in place, stably.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,)
    out : ndarray, shape (n,)
        Contiguous and in native byte order; `a` itself, or memory apart from it.
    n_workers : int
        Each sorts one run; the runs are then merged in pairs. The result is the same for any
        number of them.
    """
    if out.itemsize == 1 and out.dtype.kind in "biu":
        sort_bytes(run, a, out)
    elif out.dtype.kind in "mM":
        _sort_numbers(run, a.view(np.int64), out.view(np.int64), n_workers)
        _move_nat(out)
    elif is_comparable(out):
        _sort_numbers(run, a, out, n_workers)
    else:
        _sort_runs(run, a, out, n_workers, "stable", _merge_by_numpy)


def _sort_numbers(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort numbers; equal ones have the same bits, except for zeros and NaNs."""
    a = as_plain(run, a, out)
    runs = natural_runs(run, a, tuning.natural_runs)
    if runs is not None:
        source = None if any(runs.falls) or np.may_share_memory(a, out) else a
        merge_runs(run, out, runs.bounds, partial(runs.copy, run, a), source=source)
        return
    moved = find_displaced(run, a)
    values = None if moved is None else a[moved.places]
    twins = _twins(run, a, values) if out.dtype.kind == "f" else None
    if moved is None or values is None:
        sort_unordered(run, a, out, n_workers)
    else:
        sort_line(run, values, values, n_workers)
        a = a.copy() if np.may_share_memory(a, out) else a
        moved.put_back(run, a, values, np.empty(0, np.intp), out, gives_places=False)
    if twins:
        zeros, nans = twins
        first = np.searchsorted(out, 0)
        out[first : first + len(zeros)] = zeros
        out[len(out) - len(nans) :] = nans


def sort_unordered(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort numbers, which have no order, as :func:`sort_line` does, but zeros and NaNs unstably."""
    _sort_runs(run, a, out, n_workers, None, _merge_values)


def _merge_values(left: Array, right: Array, out: Array, start: int, stop: int) -> None:
    sorting.merge_values(left, left, right, out, start, stop)


def _sort_runs(run: Run, a: Array, out: Array, n_workers: int, kind: Any, merge: Merge) -> None:
    """Sort as many runs as there are workers, and merge them."""
    n = len(out)
    n_runs = max(1, min(n_workers, out.nbytes // tuning.sort_run_bytes))
    bounds = [n * at // n_runs for at in range(n_runs + 1)]

    def sort_runs(target: Array) -> None:
        def sort_run(part: slice) -> None:
            if target is not a:
                target[part] = a[part]
            target[part].sort(kind=kind)

        run(sort_run, list(map(slice, bounds, bounds[1:])))

    merge_runs(run, out, bounds, sort_runs, merge)


def merge_runs(
    run: Run,
    out: Array,
    bounds: list[int],
    fill: Callable[[Array], None],
    merge: Merge = _merge_values,
    source: Array | None = None,
) -> None:
    """Merge neighboring runs in pairs until one is left.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    out : ndarray, shape (n,)
        Where the merged runs go.
    bounds : list of int
        Where each run starts, and where the last one ends.
    fill : callable
        ``fill(target)`` writes the runs to an array, which may be `out`.
    merge : callable
        ``merge(left, right, target, start, stop)`` merges a part of two runs.
    source : ndarray, shape (n,), optional
        The runs, if they are in memory apart from `out` already; it is only read.
    """
    n_levels = (len(bounds) - 2).bit_length()
    # The arrays that are written in turn: the last one is `out`.
    n_written = n_levels + (source is None or not n_levels)
    scratch = np.empty_like(out) if n_written > 1 else out
    target = out if n_written % 2 else scratch
    if source is None or not n_levels:
        fill(target)
        source, target = target, scratch if target is out else out

    def merge_piece(task: tuple[Array, Array, int, int, int, slice]) -> None:
        source, target, first, middle, last, cut = task
        merge(source[first:middle], source[middle:last], target[first:last], cut.start, cut.stop)

    while len(bounds) > 2:
        ends = [*bounds, len(out)]  # where their number is odd, the last run is merged with nothing
        pairs = [ends[at : at + 3] for at in range(0, len(bounds) - 1, 2)]
        run(
            merge_piece,
            [
                (source, target, *pair, cut)
                for pair in pairs
                for cut in pieces_of(pair[2] - pair[0], out.itemsize)
            ],
        )
        source, target = target, scratch if target is out else out
        bounds = [*bounds[:-1:2], len(out)]


def _merge_by_numpy(left: Array, right: Array, out: Array, start: int, stop: int) -> None:
    """Merge like `kernels.sorting.merge_values`, for any dtype."""
    i, k = _from_left(left, right, start), _from_left(left, right, stop)
    out[start : start + k - i] = left[i:k]
    out[start + k - i : stop] = right[start - i : stop - k]
    out[start:stop].sort(kind="stable")  # which finds the two runs, and merges them


def _from_left(left: Array, right: Array, n: int) -> int:
    """Return how many of the first `n` elements of the merged runs come from the left one."""

    def is_enough(i: int) -> bool:
        return bool(np.searchsorted(right[n - i - 1 : n - i], left[i]))  # NumPy's order: NaN last

    candidates = range(max(0, n - len(right)), min(n, len(left)))
    return candidates.start + bisect_left(candidates, True, key=is_enough)


def _twins(run: Run, a: Array, values: Array | None) -> list[Array] | None:
    """Return the zeros and the NaNs of a line, in its order: equal elements of different bits.

    NumPy's vectorized sorts do not keep these bits: they may make two zeros of one sign. None if
    only some `values` are sorted, and none of them is a zero or NaN.
    """
    if values is not None and not sorting.n_twins(read_only(values)):
        return None

    def find(piece: slice) -> tuple[Array, Array]:
        chunk = read_only(a[piece])
        if not sorting.n_twins(chunk):
            chunk = chunk[:0]
        return chunk[chunk == 0], chunk[np.isnan(chunk)]

    found = run(find, pieces_of(len(a), a.itemsize))
    return [np.concatenate(part) for part in zip(*found, strict=True)]


def _move_nat(out: Array) -> None:
    """Move NaT, the smallest integer, to the end."""
    numbers = out.view(np.int64)
    n_nat = int(np.searchsorted(numbers, np.iinfo(np.int64).min, "right"))
    if n_nat:
        numbers[: len(out) - n_nat] = numbers[n_nat:].copy()
        out[len(out) - n_nat :] = np.array("NaT", out.dtype)
