"""Merges of sorted runs, keys packed with positions, and selection between limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array

# Kinds of elements. Their keys are unsigned integers in the same order, and depend on the rules of
# the keys: a tuple of the kind, the bit of the sign, and the bits of infinity.
UNSIGNED, SIGNED, FLOATING, TIME = range(4)

# The number of elements that are counted in one loop, which is vectorized, and copied in another.
RUN = 512
ZERO, ONE = np.uint64(0), np.uint64(1)


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


def _merger(get: Callable[..., Any], value: Callable[..., Any]) -> Callable[..., None]:
    """Return a kernel that merges the elements of a source, ordered by the value of each."""

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
        n = n_left + n_right
        for k in range(max(start, n), stop):
            if k - n_right < left[2]:
                out[k] = get(source, left, k - n_right)
            else:
                out[k] = get(source, right, k - left[2])
        left, right = (left[0], left[1], n_left), (right[0], right[1], n_right)
        stop = min(stop, n)
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
            i, at, end = ranks[quarter], starts[quarter] + done, stops[quarter]
            j = at - i
            while i < n_left and j < n_right and at < end:
                i, j = merge_one(x, source, left, right, out, i, j, at)
                at += 1
            for k in range(end - at):
                if i < n_left:
                    out[at + k] = get(source, left, i + k)
                else:
                    out[at + k] = get(source, right, j + k)

    return merge


# Kernels are compiled when they are first called, each for a second: falling runs are rare, and
# there are indices to merge only where some have been merged before.
merge_values = _merger(_rising, _itself)
merge_falling_values = _merger(_rising_or_falling, _itself)
merge_positions = _merger(_index, _at)
merge_indices = _merger(_rising, _at)


@kernel
def n_twins(x: Array) -> int:
    """Return the number of zeros and NaNs, whose bits may differ though they are equal."""
    n = 0
    for i in range(len(x)):
        n += (x[i] == 0) | (x[i] != x[i])
    return n


@part
def _key(element: Any, rules: Any) -> Any:
    """Return a key in the order of NumPy's sorts: NaN and NaT last, -0.0 equal to 0.0."""
    kind, sign, infinity = rules
    bits = np.uint64(element)
    if kind == UNSIGNED:
        return bits
    if kind == SIGNED:
        return bits ^ sign
    if kind == TIME:
        return (bits ^ sign) - ONE
    if (bits & ~sign) > infinity:
        return sign | (sign - ONE)
    return sign - (bits ^ sign) if bits & sign else bits | sign


@kernel
def varying_bits(x: Array, first: Any, rules: Any) -> Any:
    """Return the bits in which the keys of `x` differ from that of `first`."""
    reference = _key(first, rules)
    varying = ZERO
    for i in range(len(x)):
        varying |= _key(x[i], rules) ^ reference
    return varying


@kernel
def pack(x: Array, order: Array, out: Array, start: int, stop: int, digit: Any, rules: Any) -> None:
    """Pack a digit of each key, in the upper bits, with its position.

    Parameters
    ----------
    x, order : ndarray
        The keys are those of ``x[order]``, or, if `order` is empty, of `x`.
    out : ndarray of uint64
    start, stop : int
        The positions to pack.
    digit : (shift, mask, n_bits)
        The digit is ``(key >> shift) & mask``, and positions have `n_bits` bits.
    rules : tuple
        The rules of the keys.
    """
    shift, mask, n_bits = digit
    for i in range(start, stop):
        element = x[order[i]] if len(order) else x[i]
        part = (_key(element, rules) >> shift) & mask
        out[i] = (part << n_bits) | np.uint64(i)


@kernel
def unpack(packed: Array, order: Array, start: int, stop: int, n_bits: Any, out: Array) -> None:
    """Write the packed positions, or, if `order` is not empty, ``order[positions]``."""
    mask = (ONE << n_bits) - ONE
    for i in range(start, stop):
        position = np.int64(packed[i] & mask)
        out[i] = order[position] if len(order) else position


@kernel
def settle(packed: Array, x: Array, start: int, stop: int, n_bits: Any, rules: Any) -> bool:
    """Sort runs of equal digits by their whole keys; return False if that takes too many moves.

    The runs are those that begin between `start` and `stop`.
    """
    mask = (ONE << n_bits) - ONE
    moves_left = 4 * (stop - start)
    first = start
    while 0 < first < stop and packed[first] >> n_bits == packed[first - 1] >> n_bits:
        first += 1
    part = packed[first] >> n_bits if first < stop else ZERO
    i = first + 1
    while first < stop and i < len(packed):
        entry = packed[i]
        if entry >> n_bits == part:
            key = _key(x[entry & mask], rules)
            j = i
            while j > first and _key(x[packed[j - 1] & mask], rules) > key:
                packed[j] = packed[j - 1]
                j -= 1
            packed[j] = entry
            moves_left -= i - j
            if moves_left < 0:
                return False
        else:
            first, part = i, entry >> n_bits
        i += 1
    return True


@kernel
def select_between(x: Array, low: Any, high: Any, inside: Array) -> tuple[int, int, int, int, int]:
    """Copy the elements between two limits to `inside`.

    Returns
    -------
    tuple of int
        The numbers of elements less than `low`, equal to it, between, equal to `high`, and NaN.
    """
    n_less = n_low = n_inside = n_high = n_nan = 0
    for first in range(0, len(x), RUN):
        part = x[first : first + RUN]
        for i in range(len(part)):  # which is vectorized
            n_less += part[i] < low
            n_low += part[i] == low
            n_high += part[i] == high
            n_nan += part[i] != part[i]
        for i in range(len(part)):
            inside[n_inside] = part[i]
            n_inside += (part[i] > low) & (part[i] < high)
    if low == high:
        n_high = 0
    return n_less, n_low, n_inside, n_high, n_nan
