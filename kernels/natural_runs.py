"""Natural runs: the parts of a line that are already sorted."""

from __future__ import annotations

from typing import Any

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array

# Neighbors that are compared in one loop, which is vectorized.
STEP = 32


@part
def less(a: Any, b: Any) -> bool:
    """Return whether `a` sorts before `b`; NaN is the largest."""
    return bool(a < b or (a == a and b != b))


@part
def _n_falls(x: Array, first: int, stop: int) -> int:
    """Return how many elements from `first` to `stop` are less than the one before."""
    elements, before = x[first:stop], x[first - 1 : stop - 1]
    n = 0
    for i in range(len(elements)):
        n += less(elements[i], before[i])
    return n


@part
def end_of_run(x: Array, at: int, stop: int, falls: bool) -> int:
    """Return where a run from `at` ends, at most at `stop`."""
    n, end = STEP if falls else 0, at + 1
    while end + STEP <= stop and _n_falls(x, end, end + STEP) == n:
        end += STEP
    while end < stop and less(x[end], x[end - 1]) == falls:
        end += 1
    return end


@kernel
def find_runs(x: Array, start: int, stop: int, starts: Array, falls: Array) -> int:
    """Find the natural runs of a part of a line: nondecreasing or strictly decreasing ones.

    A strictly falling run has no equal elements, so reversing it keeps a sort stable.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    start, stop : int
        The bounds of the part, which is not empty.
    starts : ndarray of intp, shape (m,)
        Filled with the first index of each run.
    falls : ndarray of bool, shape (m,)
        Filled with whether each run is decreasing.

    Returns
    -------
    int
        The number of runs, or m + 1 if there are more than m.

    References
    ----------
    T. Peters, listsort.txt, in CPython's Objects folder, 2002.
    """
    n, at = 0, start
    while at < stop:
        if n == len(starts):
            return n + 1
        starts[n], falls[n] = at, at + 1 < stop and less(x[at + 1], x[at])
        at = end_of_run(x, at, stop, falls[n])
        n += 1
    return n
