"""The distinct elements of an array, numbered in order of appearance, by a hash table."""

from __future__ import annotations

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD

# 2**64 divided by the golden ratio, as a signed odd number. The high bits of multiples of it differ
# for elements in a row, but not for all steps between them: so it multiplies twice.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
# The table has so few slots to begin with that it stays in a core's cache.
_FEWEST_BITS = 11
_KEY, _NUMBER = 0, 1  # the words of a slot; a number is one more than that of the element, or 0


def number_distinct(x: Array, codes: Array) -> Array:
    """Write the number of each element; return the places where distinct ones appear first.

    Parameters
    ----------
    x : ndarray of int64, shape (n,) or (n, n_words), C-contiguous
        Rows of words are elements as well.
    codes : ndarray of int64, shape (n,)

    Returns
    -------
    ndarray of int64
        In ascending order.
    """
    is_wide, n_words = x.ndim > 1, x.shape[1] if x.ndim > 1 else 1
    bits, done, n_found, before = _FEWEST_BITS, 0, 0, np.empty(0, np.int64)
    while True:
        slots = np.zeros((1 << bits, 2), np.int64)
        places = np.empty(len(slots) // 2, np.int64)
        places[:n_found] = before
        counts = np.array([done, n_found])
        arrays = [address_of(each) for each in (x, codes, slots, places, counts)]
        call(_emit_number, (is_wide,), len(x), *arrays, n_words, len(slots), 64 - bits)
        done, n_found = counts.tolist()
        before = places[:n_found]
        if done == len(x):
            return before.copy()
        bits += 1


def _emit_number(code: Emitter, block: Block, is_wide: bool) -> None:
    """Write numbers until the table is full, first of what a smaller table had room for."""
    n, n_words, n_slots, shift = (block.integer(word) for word in (0, 6, 7, 8))
    x, codes, slots, places, counts = (block.numbers(word, WORD) for word in range(1, 6))
    done, n_before = (code.integer(counts.load(code.constant(word), 1)) for word in (0, 1))
    at, n_found = code.variable(done - n_before), code.variable(code.constant(0))

    def key_of(place: Int) -> Int:
        """Return the element, or the hash of the row."""
        if not is_wide:
            return code.integer(x.load(place, 1))
        mixed = code.variable(code.constant(0))
        with code.loop(0, n_words) as word:
            mixed.set(_mix(mixed.get() ^ code.integer(x.load(place * n_words + word, 1))))
        key: Int = mixed.get()
        return key

    def is_in(words: Int, number: Int, key: Int, place: Int) -> Flag:
        """Return whether an element is that of a slot."""
        has_key = code.integer(slots.load(words + _KEY, 1)).equals(key) & (number > 0)
        if not is_wide:
            return has_key
        is_same = code.variable(has_key)
        with code.when(has_key):
            other = code.integer(places.load(number - 1, 1))
            with code.loop(0, n_words) as word:
                pair = [code.integer(x.load(row * n_words + word, 1)) for row in (place, other)]
                is_same.set(is_same.get() & pair[0].equals(pair[1]))
        flag: Flag = is_same.get()
        return flag

    with code.repeat() as elements:
        elements.leave_if((at.get() >= n) | (n_found.get() >= n_slots // 2))
        current = code.variable(at.get())
        with code.when(at.get() < done):
            current.set(code.integer(places.load(at.get() - done + n_before, 1)))
        place = current.get()
        key = key_of(place)
        slot = code.variable(_mix(key) >> shift)
        with code.repeat() as probes:
            words = slot.get() * 2
            number = code.integer(slots.load(words + _NUMBER, 1))
            probes.leave_if(is_in(words, number, key, place) | number.equals(0))
            slot.set((slot.get() + 1) & (n_slots - 1))
        words = slot.get() * 2
        with code.when(code.integer(slots.load(words + _NUMBER, 1)).equals(0)):
            number = n_found.get()
            places.store(place.as_vector(), number)
            slots.store(key.as_vector(), words + _KEY)
            slots.store((number + 1).as_vector(), words + _NUMBER)
            n_found.set(number + 1)
        codes.store(slots.load(words + _NUMBER, 1) - codes.full(1, 1), place)
        at.set(at.get() + 1)
    for word, number in enumerate((at.get(), n_found.get())):
        counts.store(number.as_vector(), code.constant(word))


def _mix(key: Int) -> Int:
    """Return a hash, whose high bits depend on all bits of a key."""
    mixed = key * _GOLDEN
    return (mixed ^ (mixed >> 32)) * _GOLDEN
