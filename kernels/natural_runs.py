"""Natural runs: the parts of a line that are already sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import BYTE, WORD, kind_of
from sharedmem.kernels.loops.vectors import Vector

# Neighbors that are compared at once.
STEP = 32
# The ways of runs. Flat ones, which go on as rising and as falling ones, are those of one element
# and, if falling runs may have ties, of elements with the same bits.
FLAT, RISES, FALLS = range(3)


def find_runs(x: Array, start: int, stop: int, starts: Array, ways: Array, ties: bool) -> int:
    """Find the natural runs of a part of a line: nondecreasing ones, and decreasing ones.

    A strictly decreasing run has no equal elements, so reversing it keeps a sort stable. Where
    equal elements have the same bits, a sort of values does not show that they were reversed.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    start, stop : int
        The bounds of the part, which is not empty.
    starts : ndarray of intp, shape (m,)
        Filled with the first index of each run.
    ways : ndarray of uint8, shape (m,)
        Filled with the way of each run.
    ties : bool
        Whether falling runs may have neighbors with the same bits.

    Returns
    -------
    int
        The number of runs, or m + 1 if there are more than m.

    References
    ----------
    T. Peters, listsort.txt, in CPython's Objects folder, 2002.
    """
    arrays = address_of(x), address_of(starts), address_of(ways)
    return call(_emit_runs, (x.dtype, ties), len(starts), *arrays, start, stop)


def turn_run(x: Array, run: tuple[int, int], part: tuple[int, int], out: Array) -> None:
    """Write the indices that sort a falling run stably, for the ties that begin in a part of it.

    Each tie, of neighbors with the same bits, keeps its order.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    run, part : (start, stop)
        The bounds of the run, and of the part.
    out : ndarray of intp, shape (n,)
        The indices come to the places of the run.
    """
    call(_emit_turn, (x.dtype,), address_of(x), *run, *part, address_of(out))


def less(a: Vector, b: Vector) -> Vector:
    """Return where `a` sorts before `b`; NaN is the largest."""
    is_number = a.equals(a)
    return (b <= a).choose(is_number.full(0), is_number)


class Neighbors:
    """Elements of a line, compared with the ones before them."""

    def __init__(self, code: Emitter, block: Block, word: int, dtype: np.dtype[Any]) -> None:
        self._code, self._lanes = code, code.lanes
        self.x = block.numbers(word, kind_of(dtype))
        self._bits = block.numbers(word, kind_of(np.dtype(f"u{dtype.itemsize}")))

    def rises(self, at: Int, width: int) -> Int:
        """Return the lanes of elements that do not sort before the one before them."""
        return self._lanes(self._less(at, width)) ^ ((1 << width) - 1)

    def falls(self, at: Int, width: int) -> Int:
        """Return the lanes of elements that sort before the one before them."""
        return self._lanes(self._less(at, width))

    def sinks(self, at: Int, width: int) -> Int:
        """Return the lanes of elements that sort before the one before them, or have its bits."""
        return self._lanes(self._less(at, width) | self._same(at, width))

    def stays(self, at: Int, width: int) -> Int:
        """Return the lanes of elements that have the same bits as the one before them."""
        return self._lanes(self._same(at, width))

    def end(
        self,
        at: Int,
        stop: Int,
        goes_on: Callable[[Int, int], Int],
        widths: Sequence[int] = (STEP, 1),
    ) -> Int:
        """Return the first place after `at` where a run does not go on, or `stop`.

        So many neighbors as `widths` are compared at once.
        """
        end = self._code.variable(at + 1)
        for width in widths:
            with self._code.repeat() as steps:
                steps.leave_if(end.get() + width > stop)
                steps.leave_if(~goes_on(end.get(), width).equals((1 << width) - 1))
                end.set(end.get() + width)
            with self._code.when(~(end.get() + width > stop)):
                end.set(end.get() + goes_on(end.get(), width).count_ones())
        found: Int = end.get()
        return found

    def _less(self, at: Int, width: int) -> Vector:
        return less(self.x.load(at, width), self.x.load(at - 1, width))

    def _same(self, at: Int, width: int) -> Vector:
        return self._bits.load(at, width).equals(self._bits.load(at - 1, width))


def _emit_runs(code: Emitter, block: Block, dtype: np.dtype[Any], ties: bool) -> None:
    limit, start, stop = (block.integer(word) for word in (0, 4, 5))
    line = Neighbors(code, block, 1, dtype)
    starts, ways = block.numbers(2, WORD), block.numbers(3, BYTE)
    n, at = code.variable(code.constant(0)), code.variable(start)
    with code.repeat() as runs:
        first, count = at.get(), n.get()
        runs.leave_if(first >= stop)
        n.set(count + 1)
        runs.leave_if(count >= limit)
        second = line.end(first, stop, line.stays) if ties else first + 1
        last = second.least(stop - 1)  # no element falls from itself
        falls = code.any(less(line.x.load(last, 1), line.x.load(first, 1)))
        starts.store(first.as_vector(), count)
        way = falls.choose(FALLS, (second >= stop).choose(FLAT, RISES))
        ways.store(way.as_vector(), count)
        with code.when(falls):
            at.set(line.end(last, stop, line.sinks if ties else line.falls))
        with code.unless(falls):
            at.set(line.end(last, stop, line.rises))
    block.counter(RESULT).store(n.get().as_vector(), code.constant(0))


def _emit_turn(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    line, out = Neighbors(code, block, 0, dtype), block.numbers(5, WORD)
    start, stop, first, last = (block.integer(word) for word in range(1, 5))
    place = code.variable(first)
    with code.when(first > start):
        place.set(line.end(first - 1, stop, line.stays, (1,)))
    with code.repeat() as ties:
        at = place.get()
        ties.leave_if(at >= last)
        end = line.end(at, stop, line.stays, (1,))
        with code.loop(at, end) as i:
            out.store(i.as_vector(), start + stop - end + (i - at))
        place.set(end)
