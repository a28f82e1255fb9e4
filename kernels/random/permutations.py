"""Random permutations: items are scattered into random buckets, which are shuffled."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.random.generators import (
    HALF,
    LOW_HALF,
    ONE,
    WIDTH,
    Key,
    counter_words,
    fill_words,
    further_words,
)


@kernel
def count(counts: Array, first: int, n: int, shift: int, key: Key) -> None:
    """Count the items of each bucket among `n` items, from the number `first`.

    Item i goes to the bucket named by the upper bits of a word of its own.
    """
    words = counter_words(np.uint32)
    for bucket in range(len(counts)):
        counts[bucket] = 0
    start = first - first % (4 * WIDTH)
    while start < first + n:
        fill_words(np.uint64(start // 4), key, words)
        for i in range(max(start, first), min(start + 4 * WIDTH, first + n)):
            counts[_word(words, i - start) >> shift] += 1
        start += 4 * WIDTH


@kernel
def scatter(items: Array, first: int, shift: int, key: Key, places: Array, out: Array) -> None:
    """Write items, numbered from `first`, to the places of their buckets, and advance these."""
    words = counter_words(np.uint32)
    start = first - first % (4 * WIDTH)
    while start < first + len(items):
        fill_words(np.uint64(start // 4), key, words)
        for i in range(max(start, first), min(start + 4 * WIDTH, first + len(items))):
            bucket = _word(words, i - start) >> shift
            out[places[bucket]] = items[i - first]
            places[bucket] += 1
        start += 4 * WIDTH


@part
def _word(words: Array, at: int) -> Any:
    return np.int64(words[at // WIDTH, at % WIDTH])


@kernel
def shuffle(items: Array, first: int, key: Key) -> None:
    """Shuffle a bucket of less than 2^32 items, of which the first one has the number `first`.

    References
    ----------
    R. Durstenfeld, Algorithm 235: Random permutation, Commun. ACM 7 (1964); D. Lemire, Fast random
    integer generation in an interval (2019).
    """
    words = counter_words(np.uint32)
    start = first - first % (4 * WIDTH)
    while start < first + len(items):
        fill_words(np.uint64(start // 4), key, words)
        for i in range(max(start, first), min(start + 4 * WIDTH, first + len(items))):
            n = np.uint64(i - first + 1)
            product = np.uint64(_word(words, i - start)) * n
            attempt = ONE
            while product & LOW_HALF < n and product & LOW_HALF < (ONE << HALF) % n:
                product = (further_words(np.uint64(i), attempt, key)[0] >> HALF) * n
                attempt += ONE
            other = np.int64(product >> HALF)
            items[i - first], items[other] = items[other], items[i - first]
        start += 4 * WIDTH
