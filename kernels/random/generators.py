"""Random words from a counter (Philox4x32-10), and fillers that make arrays of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import on_stack
from sharedmem.kernels.loops.layout import Array

Word = Any  # an unsigned number of 64 bits
Key = tuple[Word, Word, Word]

# The number of counters in a group, whose words stay in the L1 cache.
WIDTH = 256

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW_HALF, HALF, ONE = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(1)
_NOT_IN_53_BITS = np.uint64(11)

# The words of a group of counters.
counter_words = on_stack(4, WIDTH)


@kernel
def philox(c0: Word, c1: Word, c2: Word, c3: Word, k0: Word, k1: Word) -> tuple[Word, ...]:
    """Return the four words of 32 bits of a counter and a key, which are such words, too.

    References
    ----------
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as 1, 2, 3,
    SC11 (2011), Philox4x32-10.
    """
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIER_0, c2 * _MULTIPLIER_1
        c0, c1, c2, c3 = (
            (p1 >> HALF) ^ c1 ^ k0, p1 & LOW_HALF, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW_HALF
        )  # fmt: skip
        k0, k1 = (k0 + _WEYL_0) & LOW_HALF, (k1 + _WEYL_1) & LOW_HALF
    return c0, c1, c2, c3


@kernel
def fill_words(first: Word, key: Key, words: Array) -> None:
    """Fill `words`, of shape (4, WIDTH), from the counters ``first, first + 1, ...``."""
    k0, k1, stream = key
    for j in range(WIDTH):
        counter = first + np.uint64(j)
        words[0, j], words[1, j], words[2, j], words[3, j] = philox(
            counter & LOW_HALF, counter >> HALF, np.uint64(0), stream, k0, k1
        )


@kernel
def further_words(element: Word, attempt: Word, key: Key) -> tuple[Word, Word]:
    """Return two words of 64 bits that no other element and no other attempt gets."""
    k0, k1, stream = key
    a, b, c, d = philox(element & LOW_HALF, element >> HALF, attempt, stream, k0, k1)
    return (a << HALF) | b, (c << HALF) | d


@part
def join(high: Any, low: Any) -> Word:
    """Join two words of 32 bits to one of 64."""
    return (np.uint64(high) << HALF) | np.uint64(low)


@part
def unit(word: Word) -> Any:
    """Return a number in [0, 1) from the upper 53 bits of a word."""
    return np.float64(np.int64(word >> _NOT_IN_53_BITS)) * 2.0**-53


@part
def open_unit(word: Word) -> Any:
    """Return a number in (0, 1), whose logarithm is finite."""
    return unit(word) + 2.0**-54


def filler(fill_group: Callable[..., None], n_values: int) -> Callable[..., None]:
    """Make the kernel that fills part of an array; an element depends on its number alone.

    Elements are numbered in C order, and made in groups of ``n_values * WIDTH``: counter j of a
    group gives its elements j, WIDTH + j, and so on.

    Parameters
    ----------
    fill_group : callable
        ``fill_group(values, first, words, key, parameters)`` makes one group, from the words of
        its counters and the number of its first element.
    n_values : int
        The number of elements made from one counter.

    Returns
    -------
    callable
        ``fill(out, first, key, parameters)``.
    """
    length = n_values * WIDTH
    group = on_stack(length)

    @kernel
    def fill(out: Array, first: int, key: Key, parameters: Any) -> None:
        words, values = counter_words(np.uint32), group(out)
        start = -(first % length)
        while start < len(out):
            number = np.uint64(first + start)
            fill_words(number // np.uint64(n_values), key, words)
            if start >= 0 and start + length <= len(out):
                fill_group(out[start : start + length], number, words, key, parameters)
            else:
                fill_group(values, number, words, key, parameters)
                for at in range(max(start, 0), min(start + length, len(out))):
                    out[at] = values[at - start]
            start += length

    return fill


def pair_filler(fill_half: Callable[..., None]) -> Callable[..., None]:
    """Make the filler whose elements are made from two words each.

    Parameters
    ----------
    fill_half : callable
        ``fill_half(values, first, high, low, key, parameters)`` makes WIDTH elements.
    """

    @part
    def fill_group(values: Array, first: Word, words: Array, key: Key, parameters: Any) -> None:
        fill_half(values[:WIDTH], first, words[0], words[1], key, parameters)
        second = first + np.uint64(WIDTH)
        fill_half(values[WIDTH:], second, words[2], words[3], key, parameters)

    return filler(fill_group, 2)
