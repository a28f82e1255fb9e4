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


@part
def _itself(values: Array, element: Any) -> Any:
    return element


@part
def _at(values: Array, element: Any) -> Any:
    return values[element]


def _merger(value: Callable[..., Any]) -> Callable[..., None]:
    """Return a kernel that merges elements, which are ordered by the value of each."""

    @part
    def n_numbers(x: Array, run: Array) -> int:
        """Return the number of elements of a sorted run before the first NaN."""
        low, high = 0, len(run)
        while low < high:
            middle = (low + high) // 2
            number = value(x, run[middle])
            if number == number:
                low = middle + 1
            else:
                high = middle
        return low

    @part
    def from_left(x: Array, left: Array, right: Array, n: int) -> int:
        """Return how many of the first `n` elements of the merged runs come from the left one."""
        low, high = max(0, n - len(right)), min(n, len(left))
        while low < high:
            middle = (low + high) // 2
            if value(x, right[n - middle - 1]) < value(x, left[middle]):
                high = middle
            else:
                low = middle + 1
        return low

    @part
    def merge_one(
        x: Array, left: Array, right: Array, out: Array, i: int, j: int, at: int
    ) -> tuple[int, int]:
        """Write the next element of two merged runs, ``left[i]`` or ``right[j]``, to ``out[at]``.

        Returns the indices of the elements after it.
        """
        a, b = left[i], right[j]
        takes_right = value(x, b) < value(x, a)
        out[at] = b if takes_right else a
        return i + 1 - takes_right, j + takes_right

    @part
    def merge_rest(
        x: Array, left: Array, right: Array, out: Array, i: int, at: int, stop: int
    ) -> None:
        """Merge from `left[i]` on to `out[at:stop]`."""
        j = at - i
        while i < len(left) and j < len(right) and at < stop:
            i, j = merge_one(x, left, right, out, i, j, at)
            at += 1
        if j == len(right):
            for k in range(at, stop):
                out[k] = left[i + k - at]
        else:
            for k in range(at, stop):
                out[k] = right[j + k - at]

    @kernel
    def merge(x: Array, left: Array, right: Array, out: Array, start: int, stop: int) -> None:
        """Write elements `start` to `stop` of two merged runs.

        Equal elements of the left run come first. The runs are cut where the outputs are of equal
        length (the merge path). Four merges advance side by side, because each step of one waits
        for the comparison before it.

        References
        ----------
        O. Green, R. McColl, D. A. Bader, GPU merge path, ICS 2012, doi:10.1145/2304576.2304621
        """
        n_left, n_right = n_numbers(x, left), n_numbers(x, right)
        n = n_left + n_right
        for k in range(max(start, n), stop):
            out[k] = left[k - n_right] if k - n_right < len(left) else right[k - len(left)]
        left, right = left[:n_left], right[:n_right]
        stop = min(stop, n)
        if start >= stop:
            return
        length = (stop - start) // 4
        at0, at1, at2, at3 = start, start + length, start + 2 * length, start + 3 * length
        i0, i1 = from_left(x, left, right, at0), from_left(x, left, right, at1)
        i2, i3 = from_left(x, left, right, at2), from_left(x, left, right, at3)
        j0, j1, j2, j3 = at0 - i0, at1 - i1, at2 - i2, at3 - i3
        done, steps = 0, length
        while steps > 0:
            steps = min(len(left) - max(i0, i1, i2, i3), len(right) - max(j0, j1, j2, j3))
            steps = min(steps, length - done)
            for k in range(done, done + steps):
                i0, j0 = merge_one(x, left, right, out, i0, j0, at0 + k)
                i1, j1 = merge_one(x, left, right, out, i1, j1, at1 + k)
                i2, j2 = merge_one(x, left, right, out, i2, j2, at2 + k)
                i3, j3 = merge_one(x, left, right, out, i3, j3, at3 + k)
            done += steps
        merge_rest(x, left, right, out, i0, at0 + done, at1)
        merge_rest(x, left, right, out, i1, at1 + done, at2)
        merge_rest(x, left, right, out, i2, at2 + done, at3)
        merge_rest(x, left, right, out, i3, at3 + done, stop)

    return merge


# Merges of values, whose first argument is not used, and of indices of values.
merge_values = _merger(_itself)
merge_indices = _merger(_at)


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
