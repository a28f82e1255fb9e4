"""Counting sort of one-byte elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter, add_one
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import BYTE, WORD, Table

N_KEYS = 256
# Neighbors are often equal, and a count just written takes long to read again.
_N_TABLES = 8


def count_keys(bits: Array, sign: Any) -> Array:
    """Return the number of occurrences of each key.

    Parameters
    ----------
    bits : ndarray of uint8, shape (n,)
    sign : uint8
        The sign bit of signed integers, and 0 for unsigned ones: keys are ``bits ^ sign``.

    Returns
    -------
    ndarray of intp, shape (256,)
    """
    counts = np.zeros((_N_TABLES, N_KEYS), np.intp)
    call(_emit_count, (), address_of(bits), int(sign), len(bits), address_of(counts))
    return counts.sum(axis=0)  # type: ignore[no-any-return]


def place_positions(
    bits: Array, sign: Any, start: int, stop: int, offsets: Array, out: Array
) -> None:
    """Write the positions `start` to `stop` where a stable sort by their keys puts them.

    Parameters
    ----------
    bits, sign
        As for :func:`count_keys`.
    offsets : ndarray of intp, shape (256,)
        The index in `out` of the next position with each key, which is advanced.
    out : ndarray of intp, shape (n,)
    """
    arrays = address_of(offsets), address_of(out)
    call(_emit_place, (), address_of(bits), int(sign), start, stop, *arrays)


def _keys(code: Emitter, block: Block) -> Callable[[Int], Int]:
    """Return the function that gives the key of an element."""
    bits, sign = block.numbers(0, BYTE), block.integer(1)
    return lambda at: code.integer(bits.load(at, 1)) ^ sign


def _emit_count(code: Emitter, block: Block) -> None:
    tables = Table(block.numbers(3, WORD), code.constant(N_KEYS), _N_TABLES)
    key = _keys(code, block)

    def count(at: Int, width: int) -> None:
        for lane in range(width):
            add_one(code, tables.row(lane), key(at + lane))

    code.in_vectors(block.integer(2), count, (_N_TABLES, 1))


def _emit_place(code: Emitter, block: Block) -> None:
    offsets, out = (block.numbers(word, WORD) for word in (4, 5))
    key = _keys(code, block)
    start, stop = block.integer(2), block.integer(3)

    def place(at: Int, width: int) -> None:
        for lane in range(width):
            position = start + at + lane
            out.store(position.as_vector(), add_one(code, offsets, key(position)))

    code.in_vectors(stop - start, place, (_N_TABLES, 1))
