"""Natural runs: the parts of a line that are already sorted."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import BYTE, WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector

# Neighbors that are compared at once.
STEP = 32


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
    arrays = address_of(x), address_of(starts), address_of(falls)
    return call(_emit_runs, (x.dtype,), len(starts), *arrays, start, stop)


def less(a: Vector, b: Vector) -> Vector:
    """Return where `a` sorts before `b`; NaN is the largest."""
    is_number = a.equals(a)
    return (b <= a).choose(is_number.full(0), is_number)


def end_of_run(code: Emitter, x: Numbers, at: Int, stop: Int, falls: Flag) -> Int:
    """Return where a run from `at` ends, at most at `stop`."""

    def goes_on(end: Int, width: int) -> Flag:
        fall = less(x.load(end, width), x.load(end - 1, width))
        return code.lanes(fall).equals(falls.choose((1 << width) - 1, 0))

    end = code.variable(at + 1)
    for width in (STEP, 1):
        with code.repeat() as steps:
            steps.leave_if(end.get() + width > stop)
            steps.leave_if(~goes_on(end.get(), width))
            end.set(end.get() + width)
    found: Int = end.get()
    return found


def _emit_runs(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    limit, start, stop = (block.integer(word) for word in (0, 4, 5))
    x, starts, falls = (
        block.numbers(word, kind) for word, kind in ((1, kind_of(dtype)), (2, WORD), (3, BYTE))
    )
    n, at = code.variable(code.constant(0)), code.variable(start)
    with code.repeat() as runs:
        first, count = at.get(), n.get()
        runs.leave_if(first >= stop)
        n.set(count + 1)
        runs.leave_if(count >= limit)
        second = (first + 1).least(stop - 1)  # no element falls from itself
        fall = less(x.load(second, 1), x.load(first, 1))
        starts.store(first.as_vector(), count)
        falls.store(fall.ones(falls.full(0, 1)), count)
        at.set(end_of_run(code, x, first, stop, code.any(fall)))
    block.counter(RESULT).store(n.get().as_vector(), code.constant(0))
