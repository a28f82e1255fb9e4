"""Keys packed with positions, and selection between limits."""

from __future__ import annotations

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
