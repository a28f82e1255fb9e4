"""The distinct elements of an array, numbered in order of appearance, by a hash table."""

from __future__ import annotations

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD

# 2**64 divided by the golden ratio, as a signed odd number. The high bits of multiples of it differ
# for elements in a row, but not for all steps between them: so it multiplies twice.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
# The table has as many slots, to begin with, as a cache of a core takes.
_FEWEST_BITS = 11
_KEY, _NUMBER = 0, 1  # the words of a slot; a number is one more than that of the element, or 0


def number_distinct(x: Array, codes: Array) -> Array:
    """Write the number of each element; return the distinct elements in order of appearance.

    Parameters
    ----------
    x : ndarray of int64, shape (n,), C-contiguous
    codes : ndarray of int64, shape (n,)

    Returns
    -------
    ndarray of int64
    """
    bits, found, done = _FEWEST_BITS, np.empty(0, np.int64), 0
    while True:
        slots = np.zeros((1 << bits, 2), np.int64)
        before, found = found, np.empty(len(slots) // 2, np.int64)
        _number(before, np.empty_like(before), slots, found, 0)
        part = slice(done, None)
        n, n_found = _number(x[part], codes[part], slots, found, len(before))
        done += n
        if done == len(x):
            return found[:n_found].copy()
        bits += 2


def _number(x: Array, codes: Array, slots: Array, found: Array, n_found: int) -> tuple[int, int]:
    """Return how many elements are numbered until the table is half full, and how many differ."""
    counts = np.array([0, n_found])
    arrays = [address_of(each) for each in (x, codes, slots, found, counts)]
    shift = 65 - len(slots).bit_length()
    call(_emit_number, (), len(x), *arrays, len(slots) - 1, shift, len(found))
    n, n_found = counts.tolist()
    return n, n_found


def _emit_number(code: Emitter, block: Block) -> None:
    n, mask, shift, limit = (block.integer(word) for word in (0, 6, 7, 8))
    x, codes, slots, found, counts = (block.numbers(word, WORD) for word in range(1, 6))
    at = code.variable(code.constant(0))
    n_found = code.variable(code.integer(counts.load(code.constant(1), 1)))
    with code.repeat() as elements:
        place = at.get()
        elements.leave_if((place >= n) | (n_found.get() >= limit))
        element = x.load(place, 1)
        key = code.integer(element)
        mixed = key * _GOLDEN
        slot = code.variable(((mixed ^ (mixed >> 32)) * _GOLDEN) >> shift)
        with code.repeat() as probes:
            words = slot.get() * 2
            number = code.integer(slots.load(words + _NUMBER, 1))
            is_here = code.integer(slots.load(words + _KEY, 1)).equals(key)
            probes.leave_if(is_here | number.equals(0))
            slot.set((slot.get() + 1) & mask)
        words = slot.get() * 2
        with code.when(code.integer(slots.load(words + _NUMBER, 1)).equals(0)):
            number = n_found.get()
            found.store(element, number)
            slots.store(element, words + _KEY)
            n_found.set(number + 1)
            slots.store((number + 1).as_vector(), words + _NUMBER)
        codes.store(slots.load(words + _NUMBER, 1) - codes.full(1, 1), place)
        at.set(place + 1)
    counts.store(at.get().as_vector(), code.constant(0))
    counts.store(n_found.get().as_vector(), code.constant(1))
