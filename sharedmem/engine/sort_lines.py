"""Sorting long lines in pieces, by threads of the caller."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine import natural_runs
from sharedmem.engine.byte_sorting import sort_bytes
from sharedmem.engine.runners import Run
from sharedmem.kernels import sorting
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]
Merge = Callable[[Array, Array, Array, int, int], None]


def pieces_of(n: int, itemsize: int) -> list[slice]:
    """Cut a line into pieces, which depend on nothing but its size in bytes."""
    step = max(1, tuning.sort_piece_bytes // max(itemsize, 1))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


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
    kind = out.dtype.kind
    if kind in "mM":
        _sort_numbers(run, a.view(np.int64), out.view(np.int64), n_workers)
        _move_nat(out)
    elif kind in "biu" or out.dtype.char in "fd":
        _sort_numbers(run, a, out, n_workers)
    else:
        _sort_runs(run, a, out, n_workers, "stable", _merge_by_numpy)


def _sort_numbers(run: Run, a: Array, out: Array, n_workers: int) -> None:
    """Sort numbers; equal ones have the same bits, except for zeros and NaNs."""
    pieces = pieces_of(len(out), out.itemsize)
    if out.itemsize == 1:
        sort_bytes(run, a, out, pieces)
        return
    if not (a.flags.c_contiguous and a.flags.aligned):
        run(lambda piece: np.copyto(out[piece], a[piece]), pieces)
        a = out
    runs = natural_runs.find(run, a, pieces, tuning.natural_runs)
    if runs is not None:
        _merge_runs(
            run, out, runs.bounds, lambda target: runs.copy(run, a, target, pieces), sorting.merge
        )
        return
    twins = _Twins.of(run, a) if out.dtype.kind == "f" else None
    _sort_runs(run, a, out, n_workers, None, sorting.merge)
    if twins is not None:
        twins.write(out)


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

    _merge_runs(run, out, bounds, sort_runs, merge)


def _merge_runs(
    run: Run, out: Array, bounds: list[int], fill: Callable[[Array], None], merge: Merge
) -> None:
    """Merge neighboring runs in pairs until one is left; `fill` writes the runs to an array."""
    n_levels = (len(bounds) - 2).bit_length()
    source, target = (out, np.empty_like(out)) if n_levels else (out, out)
    if n_levels % 2:
        source, target = target, source

    def merge_piece(task: tuple[slice, slice, slice, int, int]) -> None:
        left, right, both, start, stop = task
        merge(source[left], source[right], target[both], start, stop)

    fill(source)
    while len(bounds) > 2:
        run(merge_piece, _merge_tasks(bounds, out.itemsize))
        source, target = target, source
        bounds = [*bounds[:-1:2], len(out)]


def _merge_tasks(
    bounds: Sequence[int], itemsize: int
) -> list[tuple[slice, slice, slice, int, int]]:
    """Pair neighboring runs, and cut the merged runs into pieces of equal length."""
    tasks = []
    for at in range(0, len(bounds) - 1, 2):
        first, middle, last = (bounds[min(at + k, len(bounds) - 1)] for k in range(3))
        runs = slice(first, middle), slice(middle, last), slice(first, last)
        tasks += [(*runs, cut.start, cut.stop) for cut in pieces_of(last - first, itemsize)]
    return tasks


def _merge_by_numpy(left: Array, right: Array, out: Array, start: int, stop: int) -> None:
    """Merge like `kernels.sorting.merge`, for any dtype."""
    i, k = _from_left(left, right, start), _from_left(left, right, stop)
    out[start : start + k - i] = left[i:k]
    out[start + k - i : stop] = right[start - i : stop - k]
    out[start:stop].sort(kind="stable")  # which finds the two runs, and merges them


def _from_left(left: Array, right: Array, n: int) -> int:
    """Return how many of the first `n` elements of the merged runs come from the left one."""
    low, high = max(0, n - len(right)), min(n, len(left))
    while low < high:
        middle = (low + high) // 2
        at = n - middle - 1
        if np.searchsorted(right[at : at + 1], left[middle]):  # NumPy's order: NaN last
            high = middle
        else:
            low = middle + 1
    return low


@dataclass(frozen=True)
class _Twins:
    """The zeros and NaNs of a line, which compare as equal but differ in their bits.

    NumPy's vectorized sorts do not keep these bits: they may make two zeros of one sign.
    """

    zeros: Array
    nans: Array

    @classmethod
    def of(cls, run: Run, a: Array) -> _Twins:
        """Find the zeros and NaNs of a line, in its order."""

        def find(part: slice) -> tuple[Array, Array]:
            chunk = a[part]
            if not sorting.n_twins(chunk):
                chunk = chunk[:0]
            return chunk[chunk == 0], chunk[np.isnan(chunk)]

        found = run(find, pieces_of(len(a), a.itemsize))
        zeros, nans = (np.concatenate(part) for part in zip(*found, strict=True))
        return cls(zeros, nans)

    def write(self, out: Array) -> None:
        """Write them to their places in the sorted line."""
        first = np.searchsorted(out, 0)
        out[first : first + len(self.zeros)] = self.zeros
        out[len(out) - len(self.nans) :] = self.nans


def _move_nat(out: Array) -> None:
    """Move NaT, the smallest integer, to the end."""
    numbers = out.view(np.int64)
    n_nat = int(np.searchsorted(numbers, np.iinfo(np.int64).min, "right"))
    if n_nat:
        numbers[: len(out) - n_nat] = numbers[n_nat:].copy()
        out[len(out) - n_nat :] = np.array("NaT", out.dtype)


def lines_a_chunk(kept: Sequence[int], line_bytes: int) -> list[int]:
    """Return the number of lines per task along each axis that is kept."""
    wanted = tuning.sort_piece_bytes // max(line_bytes, 1)
    inner = [math.prod(kept[at + 1 :]) for at in range(len(kept))]
    return [max(1, min(length, wanted // n)) for length, n in zip(kept, inner, strict=True)]
