"""Natural runs: the parts of a line that are already sorted."""

from __future__ import annotations

from typing import Any

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array


@part
def _less(a: Any, b: Any) -> bool:
    """Return whether `a` sorts before `b`; NaN is the largest."""
    return bool(a < b or (a == a and b != b))


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
        end = at + 1
        fall = end < stop and _less(x[end], x[at])
        if fall:
            while end < stop and _less(x[end], x[end - 1]):
                end += 1
        else:
            while end < stop and not _less(x[end], x[end - 1]):
                end += 1
        starts[n], falls[n] = at, fall
        n, at = n + 1, end
    return n
