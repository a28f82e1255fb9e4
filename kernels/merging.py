"""Merges of sorted runs: of values, and of their indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter, Variable
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector

# A run of a source: its first index or, if it falls, its stop; 0 or -1; and its length.
Rising = tuple[int, int, int]

# The words of the block that a kernel gets: the arguments of `Merge`.
X, SOURCE, LEFT, RIGHT, OUT, START, STOP = 0, 1, 2, 5, 8, 9, 10

# Merges advance side by side, because each step of one waits for the comparison before it.
_N_MERGES = 4


@dataclass(frozen=True)
class Merge:
    """A kernel that merges the elements of a source, ordered by the value of each.

    Equal elements of the left run come first. The runs are cut where the outputs are of equal
    length (the merge path).

    Attributes
    ----------
    elements : str
        What is merged: ``"values"``, ``"indices"`` of values in the source, or ``"positions"``,
        the indices themselves, without a source.
    may_fall : bool
        Whether runs may fall.

    References
    ----------
    O. Green, R. McColl, D. A. Bader, GPU merge path, ICS 2012, doi:10.1145/2304576.2304621
    """

    elements: str
    may_fall: bool

    def __call__(
        self,
        x: Array,
        source: Array,
        left: Rising,
        right: Rising,
        out: Array,
        start: int,
        stop: int,
    ) -> None:
        """Write elements `start` to `stop` of two merged runs.

        Parameters
        ----------
        x : ndarray
            The values of the elements, if these are indices.
        source : ndarray
            The elements, if these are not the indices of `x` themselves.
        left, right : tuple of int
            The runs.
        out : ndarray
            Room for both.
        start, stop : int
            The part of `out` to write.
        """
        inputs = address_of(x), address_of(source), *left, *right
        call(_emit_merge, (x.dtype, self), *inputs, address_of(out), start, stop)


merge_values = Merge("values", may_fall=False)
merge_falling_values = Merge("values", may_fall=True)
merge_positions = Merge("positions", may_fall=True)
merge_indices = Merge("indices", may_fall=False)


class _Run(NamedTuple):
    """A run, as the kernel sees it."""

    first: Int
    falls: Int
    length: Int

    def or_other(self, flag: Flag, other: _Run) -> _Run:
        """Return this run if `flag` holds, and else another one."""
        return _Run(*(flag.choose(a, b) for a, b in zip(self, other, strict=True)))


class _Source:
    """The elements that are merged."""

    def __init__(self, code: Emitter, block: Block, merge: Merge, dtype: np.dtype[Any]) -> None:
        kind = kind_of(dtype)
        self._code, self._merge = code, merge
        self.kind = kind if merge.elements == "values" else WORD
        self._x, self._elements = block.numbers(X, kind), block.numbers(SOURCE, self.kind)

    def element(self, run: _Run, rank: Int) -> Vector:
        """Return the element of a rank in a run."""
        # No multiplication delays the next comparison.
        place = run.first + (rank ^ run.falls if self._merge.may_fall else rank)
        is_place = self._merge.elements == "positions"
        return place.as_vector() if is_place else self._elements.load(place, 1)

    def value(self, element: Vector) -> Vector:
        """Return the value that an element is ordered by."""
        if self._merge.elements == "values":
            return element
        return self._x.load(self._code.integer(element), 1)

    def n_numbers(self, run: _Run) -> Int:
        """Return the number of elements of a run before the first NaN."""

        def is_nan(rank: Int) -> Flag:
            value = self.value(self.element(run, rank))
            return self._code.any(value.differs(value))

        return self._code.search(self._code.constant(0), run.length, is_nan)

    def from_left(self, left: _Run, right: _Run, n: Int) -> Int:
        """Return how many of the first `n` elements of the merged runs come from the left one."""

        def is_after(rank: Int) -> Flag:
            a, b = self.element(left, rank), self.element(right, n - rank - 1)
            return self._code.any(self.value(b) < self.value(a))

        low, high = (n - right.length).greatest(0), n.least(left.length)
        return self._code.search(low, high, is_after)


class _Ranks(NamedTuple):
    """The ranks of the elements that a merge goes on with."""

    left: Variable
    right: Variable


def _emit_merge(code: Emitter, block: Block, dtype: np.dtype[Any], merge: Merge) -> None:
    source = _Source(code, block, merge, dtype)
    out = block.numbers(OUT, source.kind)
    left, right = (_Run(*map(block.integer, range(at, at + 3))) for at in (LEFT, RIGHT))
    start, stop = block.integer(START), block.integer(STOP)
    n_left, n_right = source.n_numbers(left), source.n_numbers(right)
    with code.loop(start.greatest(n_left + n_right), stop) as at:  # NaN
        is_left = at - n_right < left.length
        rank = is_left.choose(at - n_right, at - left.length)
        out.store(source.element(left.or_other(is_left, right), rank), at)
    left, right = left._replace(length=n_left), right._replace(length=n_right)
    stop = stop.least(n_left + n_right).greatest(start)
    length = (stop - start) // _N_MERGES
    starts = [start + length * k for k in range(_N_MERGES)]
    all_ranks = []
    for at in starts:
        i = source.from_left(left, right, at)
        all_ranks.append(_Ranks(code.variable(i), code.variable(at - i)))
    done = code.variable(code.constant(0))
    with code.repeat() as rounds:
        steps = length - done.get()
        for ranks in all_ranks:  # no run ends before
            steps = steps.least(n_left - ranks.left.get()).least(n_right - ranks.right.get())
        rounds.leave_if(steps < 1)
        upto = done.get() + steps
        with code.loop(done.get(), upto) as k:
            for at, ranks in zip(starts, all_ranks, strict=True):
                _merge_one(code, source, left, right, out, ranks, at + k)
        done.set(upto)
    for at, end, ranks in zip(starts, [*starts[1:], stop], all_ranks, strict=True):
        _merge_rest(code, source, left, right, out, ranks, at + done.get(), end)


def _merge_one(
    code: Emitter, source: _Source, left: _Run, right: _Run, out: Numbers, ranks: _Ranks, at: Int
) -> None:
    """Write the next element of two merged runs."""
    i, j = ranks.left.get(), ranks.right.get()
    a, b = source.element(left, i), source.element(right, j)
    is_right = source.value(b) < source.value(a)
    out.store(is_right.choose(b, a), at)
    takes_right = code.any(is_right).choose(1, 0)
    ranks.left.set(i + 1 - takes_right)
    ranks.right.set(j + takes_right)


def _merge_rest(
    code: Emitter,
    source: _Source,
    left: _Run,
    right: _Run,
    out: Numbers,
    ranks: _Ranks,
    start: Int,
    stop: Int,
) -> None:
    """Write the elements of two merged runs from `start` to `stop`."""
    next_one = code.variable(start)
    with code.repeat() as rest:
        at = next_one.get()
        rest.leave_if(at >= stop)
        rest.leave_if(ranks.left.get() >= left.length)
        rest.leave_if(ranks.right.get() >= right.length)
        _merge_one(code, source, left, right, out, ranks, at)
        next_one.set(at + 1)
    is_left = ranks.left.get() < left.length
    run, rank = left.or_other(is_left, right), is_left.choose(ranks.left.get(), ranks.right.get())
    first = next_one.get()
    with code.loop(first, stop) as at:
        out.store(source.element(run, rank + (at - first)), at)
