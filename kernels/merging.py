"""Merges of sorted runs: of values, and of their indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array

Function = Callable[..., Any]

# A run of a source: its first index or, if it falls, its stop; 0 or -1; and its length. The element
# of a rank is at ``first + (rank ^ falls)``: no multiplication delays the next comparison. Of an
# unsigned index numba does not ask whether it is negative.
Rising = tuple[int, int, int]


@part
def _rising(source: Array, run: Rising, rank: int) -> Any:
    return source[np.uint64(run[0] + rank)]


@part
def _rising_or_falling(source: Array, run: Rising, rank: int) -> Any:
    return source[np.uint64(run[0] + (rank ^ run[1]))]


@part
def _index(source: Array, run: Rising, rank: int) -> Any:
    return run[0] + (rank ^ run[1])


@part
def _itself(values: Array, element: Any) -> Any:
    return element


@part
def _at(values: Array, element: Any) -> Any:
    return values[element]


def _number_counter(get: Function, value: Function) -> Function:
    @part
    def n_numbers(x: Array, source: Array, run: Rising) -> int:
        """Return the number of elements of a run before the first NaN."""
        low, high = 0, run[2]
        while low < high:
            middle = (low + high) // 2
            number = value(x, get(source, run, middle))
            if number == number:
                low = middle + 1
            else:
                high = middle
        return low

    return n_numbers


def _cutter(get: Function, value: Function) -> Function:
    @part
    def from_left(x: Array, source: Array, left: Rising, right: Rising, n: int) -> int:
        """Return how many of the first `n` elements of the merged runs come from the left one."""
        low, high = max(0, n - right[2]), min(n, left[2])
        while low < high:
            middle = (low + high) // 2
            a, b = get(source, left, middle), get(source, right, n - middle - 1)
            if value(x, b) < value(x, a):
                high = middle
            else:
                low = middle + 1
        return low

    return from_left


def _stepper(get: Function, value: Function) -> Function:
    @part
    def merge_one(
        x: Array, source: Array, left: Rising, right: Rising, out: Array, i: int, j: int, at: int
    ) -> tuple[int, int]:
        """Write the next element of two merged runs, of rank `i` or `j`, to ``out[at]``.

        Returns the ranks of the elements after it.
        """
        a, b = get(source, left, i), get(source, right, j)
        takes_right = value(x, b) < value(x, a)
        out[at] = b if takes_right else a
        return i + 1 - takes_right, j + takes_right

    return merge_one


def _finisher(get: Function, merge_one: Function) -> Function:
    @part
    def merge_rest(
        x: Array, source: Array, left: Rising, right: Rising, out: Array, i: int, at: int, stop: int
    ) -> None:
        """Merge from rank `i` of the left run on to ``out[at:stop]``."""
        j = at - i
        while i < left[2] and j < right[2] and at < stop:
            i, j = merge_one(x, source, left, right, out, i, j, at)
            at += 1
        for k in range(stop - at):
            if i < left[2]:
                out[at + k] = get(source, left, i + k)
            else:
                out[at + k] = get(source, right, j + k)

    return merge_rest


def _merger(get: Function, value: Function) -> Function:
    """Return a kernel that merges the elements of a source, ordered by the value of each."""
    n_numbers, from_left = _number_counter(get, value), _cutter(get, value)
    merge_one = _stepper(get, value)
    merge_rest = _finisher(get, merge_one)

    @kernel
    def merge(
        x: Array, source: Array, left: Rising, right: Rising, out: Array, start: int, stop: int
    ) -> None:
        """Write elements `start` to `stop` of two merged runs.

        Equal elements of the left run come first. The runs are cut where the outputs are of equal
        length (the merge path). Four merges advance side by side, because each step of one waits
        for the comparison before it.

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

        References
        ----------
        O. Green, R. McColl, D. A. Bader, GPU merge path, ICS 2012, doi:10.1145/2304576.2304621
        """
        n_left, n_right = n_numbers(x, source, left), n_numbers(x, source, right)
        for k in range(max(start, n_left + n_right), stop):
            if k - n_right < left[2]:
                out[k] = get(source, left, k - n_right)
            else:
                out[k] = get(source, right, k - left[2])
        left, right = (left[0], left[1], n_left), (right[0], right[1], n_right)
        stop = min(stop, n_left + n_right)
        if start >= stop:
            return
        length = (stop - start) // 4
        at0, at1, at2, at3 = start, start + length, start + 2 * length, start + 3 * length
        i0 = from_left(x, source, left, right, at0)
        i1 = from_left(x, source, left, right, at1)
        i2 = from_left(x, source, left, right, at2)
        i3 = from_left(x, source, left, right, at3)
        j0, j1, j2, j3 = at0 - i0, at1 - i1, at2 - i2, at3 - i3
        done, steps = 0, length
        while steps > 0:
            steps = min(n_left - max(i0, i1, i2, i3), n_right - max(j0, j1, j2, j3))
            steps = min(steps, length - done)
            for k in range(done, done + steps):
                i0, j0 = merge_one(x, source, left, right, out, i0, j0, at0 + k)
                i1, j1 = merge_one(x, source, left, right, out, i1, j1, at1 + k)
                i2, j2 = merge_one(x, source, left, right, out, i2, j2, at2 + k)
                i3, j3 = merge_one(x, source, left, right, out, i3, j3, at3 + k)
            done += steps
        ranks, starts, stops = (i0, i1, i2, i3), (at0, at1, at2, at3), (at1, at2, at3, stop)
        for quarter in range(4):
            i, at = ranks[quarter], starts[quarter] + done
            merge_rest(x, source, left, right, out, i, at, stops[quarter])

    return merge


# Each is compiled when it is first called, for a second: falling runs are rare, and there are
# indices to merge only where some have been merged before.
merge_values = _merger(_rising, _itself)
merge_falling_values = _merger(_rising_or_falling, _itself)
merge_positions = _merger(_index, _at)
merge_indices = _merger(_rising, _at)
