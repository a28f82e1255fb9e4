"""The distinct elements of an array, numbered in order of appearance, by a hash table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Numbers

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


class _Elements:
    """Elements of an array, which are words or rows of words."""

    def __init__(self, code: Emitter, x: Numbers, n_words: Int, is_wide: bool) -> None:
        self._code, self._x, self._n_words, self._is_wide = code, x, n_words, is_wide

    def key(self, place: Int) -> Int:
        """Return the word at a place, or the hash of the row."""
        if not self._is_wide:
            return self._word(place)
        mixed = self._code.variable(self._code.constant(0))
        with self._code.loop(0, self._n_words) as word:
            mixed.set(_mix(mixed.get() ^ self._word(place * self._n_words + word)))
        key: Int = mixed.get()
        return key

    def are_equal(self, have_equal_keys: Flag, place: Int, other: Callable[[], Int]) -> Flag:
        """Return whether two elements are equal, one of them at a place that is then looked up."""
        if not self._is_wide:
            return have_equal_keys
        are_equal = self._code.variable(have_equal_keys)
        with self._code.when(have_equal_keys):
            starts = [row * self._n_words for row in (place, other())]
            with self._code.loop(0, self._n_words) as word:
                left, right = (self._word(start + word) for start in starts)
                are_equal.set(are_equal.get() & left.equals(right))
        flag: Flag = are_equal.get()
        return flag

    def _word(self, place: Int) -> Int:
        return self._code.integer(self._x.load(place, 1))


def _emit_number(code: Emitter, block: Block, is_wide: bool) -> None:
    """Write numbers until the table is full, first of what a smaller table had room for."""
    n, n_words, n_slots, shift = (block.integer(word) for word in (0, 6, 7, 8))
    x, codes, slots, places, counts = (block.numbers(word, WORD) for word in range(1, 6))

    def load(numbers: Numbers, place: Int | int) -> Int:
        return code.integer(numbers.load(code.constant(0) + place, 1))

    elements = _Elements(code, x, n_words, is_wide)
    done, n_before = load(counts, 0), load(counts, 1)
    at, n_found = code.variable(done - n_before), code.variable(code.constant(0))
    with code.repeat() as steps:
        steps.leave_if((at.get() >= n) | (n_found.get() >= n_slots // 2))
        current = code.variable(at.get())
        with code.when(at.get() < done):
            current.set(load(places, at.get() - done + n_before))
        place = current.get()
        key = elements.key(place)
        slot = code.variable(_mix(key) >> shift)
        with code.repeat() as probes:
            words = slot.get() * 2
            number = load(slots, words + _NUMBER)
            has_key = load(slots, words + _KEY).equals(key) & (number > 0)
            is_here = elements.are_equal(has_key, place, partial(load, places, number - 1))
            probes.leave_if(is_here | number.equals(0))
            slot.set((slot.get() + 1) & (n_slots - 1))
        words = slot.get() * 2
        with code.when(load(slots, words + _NUMBER).equals(0)):
            number = n_found.get()
            places.store(place.as_vector(), number)
            slots.store(key.as_vector(), words + _KEY)
            slots.store((number + 1).as_vector(), words + _NUMBER)
            n_found.set(number + 1)
        codes.store((load(slots, words + _NUMBER) - 1).as_vector(), place)
        at.set(at.get() + 1)
    for word, variable in enumerate((at, n_found)):
        counts.store(variable.get().as_vector(), code.constant(word))


def _mix(key: Int) -> Int:
    """Return a hash, whose high bits depend on all bits of a key."""
    mixed = key * _GOLDEN
    return (mixed ^ (mixed >> 32)) * _GOLDEN
