"""Sorting long lines in pieces, by threads of the caller."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.counting_sort import sort_small_keys
from sharedmem.engine.long_lines import (
    NaturalRuns,
    as_plain,
    is_comparable,
    look_at_pieces,
    natural_runs,
    pieces_of,
)
from sharedmem.engine.nearly_sorted_lines import find_displaced
from sharedmem.engine.runners import Run
from sharedmem.kernels import merging, sorting
from sharedmem.kernels.merging import Rising
from sharedmem.kernels.quiet import quietly
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
# ``merge(source, left, right, target, start, stop)`` writes a part of two merged runs of a source.
Merge = Callable[[Array, Rising, Rising, Array, int, int], None]


def _merging(kernel: Callable[..., None]) -> Merge:
    """Return a function that merges values by a kernel."""

    def merge(source: Array, *task: Any) -> None:
        kernel(source, source, *task)

    return merge


_merge_values = _merging(merging.merge_values)
_merge_falling = _merging(merging.merge_falling_values)


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
        sort_small_keys(run, a, out)
    elif out.dtype.kind in "mM":
        _sort_numbers(run, a.view(np.int64), out.view(np.int64), n_workers)
        _move_nat(out)
    elif is_comparable(out):
        _sort_numbers(run, a, out, n_workers)
    else:
        runs = _one_run(run, a)
        if runs is not None:
            runs.copy(run, a, out)
        else:
            _sort_runs(run, a, out, n_workers, "stable", _merge_by_numpy)


def _one_run(run: Run, a: Array) -> NaturalRuns | None:
    """Return a line of any dtype as one run, or None if it is not; one with NaN is not."""
    for falls, compare in ((False, np.less_equal), (True, np.greater)):

        def look(piece: slice, compare: np.ufunc = compare) -> tuple[int, None]:
            x = a[max(piece.start - 1, 0) : piece.stop]
            return int(not quietly(compare, x[:-1], x[1:]).all()), None  # also of NaN

        if look_at_pieces(run, look, pieces_of(len(a), a.itemsize), 0) is not None:
            return NaturalRuns([0, len(a)], [falls])
    return None


def _sort_numbers(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort numbers; equal ones have the same bits, except for zeros and NaNs."""
    a = as_plain(run, a, out)
    runs = natural_runs(run, a, tuning.natural_runs, ties=True)
    if runs is not None:
        _merge_natural(run, a, out, runs)
    elif out.itemsize == 2:
        sort_small_keys(run, a, out)
    else:
        _sort_displaced(run, a, out, n_workers)


def _sort_displaced(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort numbers of which few or many are out of order."""
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


def _merge_natural(run: Run, a: Array, out: Array, runs: NaturalRuns) -> None:
    """Merge the natural runs of a line into `out`, which may be in the memory of `a`."""
    is_same = np.may_share_memory(a, out)
    if runs.n_levels == 0:
        runs.copy(run, a, out)
        return
    scratch = np.empty_like(out) if is_same or runs.n_levels > 1 else out
    if is_same and runs.n_levels % 2:  # the first merges write to `out`
        np.copyto(scratch, a)
        a = scratch
    first_merge = _merge_falling if any(runs.falls) else _merge_values
    merge_runs(run, runs, a, out, scratch, _merge_values, first_merge)


def _sort_runs(run: Run, a: Array, out: Array, n_workers: int, kind: Any, merge: Merge) -> None:
    """Sort as many runs as there are workers, and merge them."""
    n = len(out)
    n_runs = max(1, min(n_workers, out.nbytes // tuning.sort_run_bytes))
    runs = NaturalRuns([n * at // n_runs for at in range(n_runs + 1)], [False] * n_runs)
    scratch = np.empty_like(out) if runs.n_levels else out
    source = scratch if runs.n_levels % 2 else out

    def sort_run(part: slice) -> None:
        if source is not a:
            source[part] = a[part]
        source[part].sort(kind=kind)

    run(sort_run, list(map(slice, runs.bounds, runs.bounds[1:])))
    merge_runs(run, runs, source, out, scratch, merge, merge)


def merge_runs(
    run: Run,
    runs: NaturalRuns,
    source: Array,
    out: Array,
    scratch: Array,
    merge: Merge,
    first_merge: Merge,
) -> None:
    """Merge neighboring runs in pairs until one is left, in `out`.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    runs : NaturalRuns
        The runs of the source.
    source : ndarray, shape (n,)
        Another array than the one that the first merges write to.
    out, scratch : ndarray, shape (n,)
        The arrays that are written in turn, the last time `out`. It is the only one if there are no
        more than two runs.
    merge, first_merge : callable
        Merges two runs of the source. The first merges are of runs that may fall.
    """
    bounds, falls = runs.bounds, runs.falls
    merge_now = first_merge
    target = out if runs.n_levels % 2 else scratch

    def merge_piece(task: tuple[Rising, Rising, Array, slice]) -> None:
        left, right, merged, cut = task
        merge_now(source, left, right, merged, cut.start, cut.stop)

    while len(bounds) > 2:
        ends = [*bounds, len(out)]  # where their number is odd, the last run is merged with nothing
        rising = [
            (stop, -1, stop - start) if fall else (start, 0, stop - start)
            for start, stop, fall in zip(ends[:-1], ends[1:], [*falls, False], strict=True)
        ]
        run(
            merge_piece,
            [
                (*rising[at : at + 2], target[ends[at] : ends[at + 2]], cut)
                for at in range(0, len(bounds) - 1, 2)
                for cut in pieces_of(ends[at + 2] - ends[at], out.itemsize)
            ],
        )
        source, target = target, scratch if target is out else out
        bounds = [*bounds[:-1:2], len(out)]
        falls, merge_now = [False] * (len(bounds) - 1), merge


def _merge_by_numpy(
    source: Array, left: Rising, right: Rising, target: Array, start: int, stop: int
) -> None:
    """Merge like `kernels.merging.merge_values`, for any dtype."""
    a, b = (source[first : first + n] for first, _, n in (left, right))
    i, k = _from_left(a, b, start), _from_left(a, b, stop)
    target[start : start + k - i] = a[i:k]
    target[start + k - i : stop] = b[start - i : stop - k]
    if start + k - i not in (start, stop):
        target[start:stop].sort(kind="stable")  # which finds the two runs, and merges them


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
    if values is not None and not sorting.has_twins(values):
        return None

    def find(piece: slice) -> tuple[Array, Array]:
        chunk = a[piece]
        if not sorting.has_twins(chunk):
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
