"""Random permutations: items are scattered into random buckets, which are shuffled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, kind_of
from sharedmem.kernels.random.generators import (
    HALF,
    LOW_HALF,
    SHORT,
    WIDTH,
    Key,
    further_words,
    key_of,
    write_words,
)

# The words of the block of each of these kernels; others follow.
_KEY, _FIRST, _N, _MORE = 0, 3, 4, 5


def count(counts: Array, first: int, n: int, shift: int, key: Any) -> None:
    """Count the items of each bucket among `n` items, from the number `first`.

    Item i goes to the bucket named by the upper bits of a word of its own.
    """
    counts[:] = 0
    call(_emit_count, (), *map(int, key), first, n, shift, address_of(counts))


def scatter(items: Array, first: int, shift: int, key: Any, places: Array, out: Array) -> None:
    """Write items, numbered from `first`, to the places of their buckets, and advance these."""
    arrays = (address_of(each) for each in (places, items, out))
    call(_emit_scatter, (out.dtype,), *map(int, key), first, len(items), shift, *arrays)


def shuffle(items: Array, first: int, key: Any) -> None:
    """Shuffle a bucket of less than 2^32 items, of which the first one has the number `first`.

    References
    ----------
    R. Durstenfeld, Algorithm 235: Random permutation, Commun. ACM 7 (1964); D. Lemire, Fast random
    integer generation in an interval (2019).
    """
    call(_emit_shuffle, (items.dtype,), *map(int, key), first, len(items), address_of(items))


def _each(code: Emitter, block: Block, key: Key, body: Callable[[Int, Int], None]) -> None:
    """Emit ``body(place, word)`` for each item: its place among these, and its word."""
    first, n = block.integer(_FIRST), block.integer(_N)
    words = code.on_stack(SHORT, 4 * WIDTH)
    start = code.variable(code.constant(0) - first % (4 * WIDTH))
    with code.repeat() as groups:
        at = start.get()
        groups.leave_if(at >= n)
        code.call(write_words, (first + at) // 4, *key, words)
        with code.loop(at.greatest(0), n.least(at + 4 * WIDTH)) as i:
            body(i, code.integer(words.load(i - at, 1)))
        start.set(at + 4 * WIDTH)


def _emit_count(code: Emitter, block: Block) -> None:
    shift, counts = block.integer(_MORE), block.numbers(_MORE + 1, WORD)

    def add(i: Int, word: Int) -> None:
        add_one(code, counts, word >> shift)

    _each(code, block, key_of(block, _KEY), add)


def _emit_scatter(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    shift, places = block.integer(_MORE), block.numbers(_MORE + 1, WORD)
    items, out = (block.numbers(_MORE + at, kind_of(dtype)) for at in (2, 3))

    def move(i: Int, word: Int) -> None:
        out.store(items.load(i, 1), add_one(code, places, word >> shift))

    _each(code, block, key_of(block, _KEY), move)


def _emit_shuffle(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    items, first = block.numbers(_MORE, kind_of(dtype)), block.integer(_FIRST)
    key = key_of(block, _KEY)

    def swap(i: Int, word: Int) -> None:
        n = i + 1
        product = code.variable(word * n)
        with code.when((product.get() & LOW_HALF) < n):
            unfair, attempt = code.constant(1 << HALF) % n, code.variable(code.constant(1))
            with code.repeat() as attempts:
                attempts.leave_if((product.get() & LOW_HALF) >= unfair)
                other, _ = further_words(code, first + i, attempt.get(), key)
                product.set((code.integer(other) >> HALF) * n)
                attempt.set(attempt.get() + 1)
        place = product.get() >> HALF
        mine, other = items.load(i, 1), items.load(place, 1)
        items.store(other, i)
        items.store(mine, place)

    _each(code, block, key, swap)
