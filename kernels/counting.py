"""Counting sort of elements of one or two bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Table, kind_of

# Neighbors are often equal, and a count just written takes long to read again: several tables, but
# for keys of two bytes, whose table is as large as a cache. By the size of a key.
_N_TABLES = {1: 8, 2: 1}
# Positions that are placed in one step of a loop.
_STEP = 8


def n_keys(dtype: np.dtype[Any]) -> int:
    """Return the number of keys of a dtype."""
    return 1 << 8 * dtype.itemsize


def count_keys(bits: Array, sign: int) -> Array:
    """Return the number of occurrences of each key.

    Parameters
    ----------
    bits : ndarray of uint8 or uint16, shape (n,), C-contiguous
    sign : int
        The sign bit of signed integers, and 0 for unsigned ones: keys are ``bits ^ sign``.

    Returns
    -------
    ndarray of intp, shape (n_keys,)
    """
    counts = np.zeros((_N_TABLES[bits.itemsize], n_keys(bits.dtype)), np.intp)
    call(_emit_count, (bits.dtype,), address_of(bits), sign, len(bits), address_of(counts))
    return counts.sum(axis=0)  # type: ignore[no-any-return]


def write_keys(ends: Array, sign: int, start: int, stop: int, out: Array) -> None:
    """Write a part of the sorted elements.

    Parameters
    ----------
    ends : ndarray of intp, shape (n_keys,)
        Where the elements of each key end.
    sign
        As for :func:`count_keys`.
    start, stop : int
        The bounds of the part.
    out : ndarray of uint8 or uint16, shape (n,), C-contiguous
    """
    call(_emit_write, (out.dtype,), address_of(out), sign, start, stop, address_of(ends))


def place_positions(
    bits: Array, sign: int, start: int, stop: int, offsets: Array, out: Array
) -> None:
    """Write the positions `start` to `stop` where a stable sort by their keys puts them.

    Parameters
    ----------
    bits, sign
        As for :func:`count_keys`.
    offsets : ndarray of intp, shape (n_keys,)
        The index in `out` of the next position with each key, which is advanced.
    out : ndarray of intp, shape (n,)
    """
    arrays = address_of(offsets), address_of(out)
    call(_emit_place, (bits.dtype,), address_of(bits), sign, start, stop, *arrays)


def _keys(code: Emitter, block: Block, dtype: np.dtype[Any]) -> Callable[[Int], Int]:
    """Return the function that gives the key of an element."""
    bits, sign = block.numbers(0, kind_of(dtype)), block.integer(1)
    return lambda at: code.integer(bits.load(at, 1)) ^ sign


def _emit_count(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    n_tables = _N_TABLES[dtype.itemsize]
    tables = Table(block.numbers(3, WORD), code.constant(n_keys(dtype)), n_tables)
    key = _keys(code, block, dtype)

    def count(at: Int, width: int) -> None:
        for lane in range(width):
            add_one(code, tables.row(lane), key(at + lane))

    code.in_vectors(block.integer(2), count, (n_tables, 1))


def _emit_write(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    out, ends = block.numbers(0, kind_of(dtype)), block.numbers(4, WORD)
    sign, start, stop = (block.integer(word) for word in (1, 2, 3))

    def end(key: Int) -> Int:
        return code.integer(ends.load(key, 1))

    first = code.search(
        code.constant(0), code.constant(n_keys(dtype)), lambda key: end(key) > start
    )
    key, place = code.variable(first), code.variable(start)
    with code.repeat() as keys:
        at = place.get()
        keys.leave_if(at >= stop)
        last, value = end(key.get()).least(stop), (key.get() ^ sign).as_vector()
        with code.loop(at, last) as i:
            out.store(value, i)
        place.set(last)
        key.set(key.get() + 1)


def _emit_place(code: Emitter, block: Block, dtype: np.dtype[Any]) -> None:
    offsets, out = (block.numbers(word, WORD) for word in (4, 5))
    key = _keys(code, block, dtype)
    start, stop = block.integer(2), block.integer(3)

    def place(at: Int, width: int) -> None:
        for lane in range(width):
            position = start + at + lane
            out.store(position.as_vector(), add_one(code, offsets, key(position)))

    code.in_vectors(stop - start, place, (_STEP, 1))
