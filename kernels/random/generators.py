"""Random words from a counter (Philox4x32-10), and fillers that make arrays of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sharedmem.kernels.emitted import bits, call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import DOUBLE, WORD, Numbers, Table, kind_of
from sharedmem.kernels.loops.vectors import Vector

# The number of counters in a group, whose words stay in the L1 cache.
WIDTH = 256
# Counters whose words are computed side by side, and elements that are made of them so.
LANES = 8

_MULTIPLIERS, _WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
LOW_HALF, HALF = 0xFFFFFFFF, 32
SHORT = kind_of(np.dtype(np.uint32))

# The words of the block of a filler; its parameters follow.
OUT, N, FIRST, KEY, PARAMETERS = 0, 1, 2, 3, 6


class Key(NamedTuple):
    """The key of a stream: two words of a key of Philox, and a word of its counter."""

    k0: Int
    k1: Int
    stream: Int


def key_of(block: Block, word: int) -> Key:
    """Return the key that begins at a word of a block."""
    return Key(*(block.integer(at) for at in range(word, word + 3)))


def philox(counter: Sequence[Vector], key: Sequence[Vector]) -> list[Vector]:
    """Return the four words of 32 bits of a counter and a key, which are such words, too.

    All of them are in 64 bits.

    References
    ----------
    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, Parallel random numbers: as easy as 1, 2, 3,
    SC11 (2011), Philox4x32-10.
    """
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = (c * c.full(by) for c, by in zip((c0, c2), _MULTIPLIERS, strict=True))
        c0, c1 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW_HALF
        c2, c3 = (p0 >> HALF) ^ c3 ^ k1, p0 & LOW_HALF
        k0, k1 = ((k + k.full(by)) & LOW_HALF for k, by in zip((k0, k1), _WEYL, strict=True))
    return [c0, c1, c2, c3]


def write_words(code: Emitter, first: Int, k0: Int, k1: Int, stream: Int, words: Numbers) -> None:
    """Write four rows of WIDTH words, from the counters ``first, first + 1, ...``."""
    k0, k1, stream = (number & LOW_HALF for number in (k0, k1, stream))
    key = [number.as_vector().repeat(LANES) for number in (k0, k1)]
    with code.loop(0, WIDTH, LANES) as j:
        lanes = (first + j).as_vector().repeat(LANES)
        counter = lanes + lanes.places()
        last = stream.as_vector().repeat(LANES)
        found = philox([counter & LOW_HALF, counter >> HALF, lanes.full(0), last], key)
        for row, numbers in enumerate(found):
            words.store(numbers, j + row * WIDTH)


def further_words(code: Emitter, element: Int, attempt: Int, key: Key) -> tuple[Vector, Vector]:
    """Return two words of 64 bits that no other element and no other attempt gets."""
    words = code.on_stack(WORD, 2)
    code.call(_write_further_words, element, attempt, *key, words)
    a, b = (words.load(code.constant(at), 1) for at in (0, 1))
    return unsigned(a), unsigned(b)


def _write_further_words(
    code: Emitter, element: Int, attempt: Int, k0: Int, k1: Int, stream: Int, words: Numbers
) -> None:
    counter = [element & LOW_HALF, element >> HALF, attempt, stream]
    a, b, c, d = philox([each.as_vector() for each in counter], [k0.as_vector(), k1.as_vector()])
    words.store((a << HALF) | b, code.constant(0))
    words.store((c << HALF) | d, code.constant(1))


def unsigned(words: Vector) -> Vector:
    """Return words as unsigned ones."""
    return Vector(words.builder, words.value, is_signed=False)


def join(halves: Sequence[Numbers], at: Int, width: int) -> Vector:
    """Return words of 64 bits, joined of upper and lower halves."""
    first, second = (half.load(at, width).convert(WORD.type) for half in halves)
    return (first << HALF) | second


def unit(word: Vector) -> Vector:
    """Return a number in [0, 1) from the upper 53 bits of a word."""
    number = (word >> 11).signed().convert(DOUBLE.type)
    return number * number.full(2.0**-53)


def open_unit(word: Vector) -> Vector:
    """Return a number in (0, 1), whose logarithm is finite."""
    number = unit(word)
    return number + number.full(2.0**-54)


# ``make(out, number, words)`` makes WIDTH elements of rows of words of as many counters; `number`
# is that of the first element.
Make = Callable[[Numbers, Int, list[Numbers]], None]


@dataclass(frozen=True)
class Filler:
    """A kernel that fills part of an array; an element depends on its number alone.

    Elements are numbered in C order, and made in groups of ``n_values * WIDTH``: counter j of a
    group gives its elements j, WIDTH + j, and so on.

    Attributes
    ----------
    name : str
        Under which its machine code is kept: no other filler has it.
    n_values : int
        The number of elements made from one counter.
    emit : callable
        ``emit(code, block)`` reads the parameters from a block, and returns :data:`Make`.
    """

    name: str
    n_values: int
    emit: Callable[[Emitter, Block], Make]

    def __call__(self, out: Array, first: int, key: Any, parameters: Sequence[Any]) -> None:
        """Fill a contiguous line, whose first element is number `first` of its array."""
        words = [*map(int, key), *map(_word, parameters)]
        call(_emit_fill, (out.dtype, self), address_of(out), len(out), first, *words)

    def __str__(self) -> str:
        return self.name


def _word(parameter: Any) -> int:
    if isinstance(parameter, np.ndarray):
        return address_of(parameter)
    return bits(float(parameter)) if isinstance(parameter, (float, np.floating)) else int(parameter)


def _emit_fill(code: Emitter, block: Block, dtype: np.dtype[Any], filler: Filler) -> None:
    kind, key, make = kind_of(dtype), key_of(block, KEY), filler.emit(code, block)
    out, n, first = block.numbers(OUT, kind), block.integer(N), block.integer(FIRST)
    length, n_rows = filler.n_values * WIDTH, 4 // filler.n_values
    words, room = code.on_stack(SHORT, 4 * WIDTH), code.on_stack(kind, length)
    start = code.variable(code.constant(0) - first % length)
    with code.repeat() as groups:
        at = start.get()
        groups.leave_if(at >= n)
        number = first + at
        code.call(write_words, number // filler.n_values, *key, words)
        is_whole = (at >= 0) & (at + (length - 1) < n)
        target, other = (Table(each, n, 1) for each in (out.start(at), room))
        values = target.where(is_whole, other).numbers
        with code.loop(0, filler.n_values) as value:
            rows = [words.start((value * n_rows + row) * WIDTH) for row in range(n_rows)]
            make(values.start(value * WIDTH), number + value * WIDTH, rows)
        with code.unless(is_whole), code.loop(at.greatest(0), n.least(at + length)) as i:
            out.store(room.load(i - at, 1), i)
        start.set(at + length)
