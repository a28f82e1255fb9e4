"""Indices that sort a line: keys are packed with their positions, and sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine.byte_sorting import argsort_bytes
from sharedmem.engine.long_lines import as_plain, is_comparable, natural_runs, pieces_of
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import sort_line
from sharedmem.kernels import sorting
from sharedmem.kernels.sorting import FLOATING, SIGNED, TIME, UNSIGNED

Array = NDArray[Any]

# Bits of a packed key and its position.
WORD = 64
KINDS = {"b": UNSIGNED, "u": UNSIGNED, "i": SIGNED, "f": FLOATING, "m": TIME, "M": TIME}


def has_keys(dtype: np.dtype[Any]) -> bool:
    """Return whether there are unsigned integers in the order of the elements of a dtype."""
    return dtype.kind in KINDS and dtype.itemsize <= WORD // 8


def argsort_line(run: Run, a: Array, n_workers: int) -> Array:
    """Return the indices that sort a line; equal elements stay in their order.

    The bits in which keys differ are packed with the position into one word, and the words are
    sorted, since NumPy's sort of numbers is vectorized and its argsort is not. Where a word has no
    room for the whole key, the rare runs of equal words are ordered afterwards, or the lower part
    of the key is sorted by first.

    Parameters
    ----------
    run, n_workers
        As for :func:`sort_line`.
    a : ndarray, shape (n,), n > 0
        Of a dtype that `has_keys`, or else NumPy does it.

    Returns
    -------
    ndarray of intp, shape (n,)
    """
    if not has_keys(a.dtype):
        return np.argsort(a, kind="stable")
    if a.itemsize == 1:
        return argsort_bytes(run, a)
    a = as_plain(run, a)
    runs = natural_runs(run, a, limit=1) if is_comparable(a) else None
    pieces = pieces_of(len(a), WORD // 8)
    if runs is not None:
        return _positions_in_run(run, pieces, len(a), falls=runs.falls[0])
    keys, rules = read_only(a.view(f"u{a.itemsize}")), _rules_of(a.dtype)

    def differing(piece: slice) -> int:
        return int(sorting.varying_bits(keys[piece], keys[0], rules))

    varying = int(np.bitwise_or.reduce(np.array(run(differing, pieces), np.uint64)))
    lowest = max(0, (varying & -varying).bit_length() - 1)
    width = varying.bit_length() - lowest
    n_bits = max(1, (len(a) - 1).bit_length())
    upper = max(0, width - (WORD - n_bits))
    bits = np.uint64(n_bits)
    packed, order = np.empty(len(a), np.uint64), np.empty(0, np.intp)

    def sort_by(shift: int, n_key_bits: int) -> None:
        digit = np.uint64(shift), np.uint64((1 << n_key_bits) - 1), bits

        def pack(piece: slice) -> None:
            sorting.pack(keys, order, packed, piece.start, piece.stop, digit, rules)

        run(pack, pieces)
        sort_line(run, packed, packed, n_workers)

    def positions() -> Array:
        out = np.empty(len(a), np.intp)
        run(lambda piece: sorting.unpack(packed, order, piece.start, piece.stop, bits, out), pieces)
        return out

    def settle(piece: slice) -> bool:
        return sorting.settle(packed, keys, piece.start, piece.stop, bits, rules)

    sort_by(lowest + upper, width - upper)
    if upper and not all(run(settle, pieces)):
        sort_by(lowest, upper)
        order = positions()
        sort_by(lowest + upper, width - upper)
    return positions()


def _rules_of(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the rules of keys: the kind of elements, the bit of the sign, the bits of infinity."""
    infinity = np.array(np.inf, dtype).view(f"u{dtype.itemsize}") if dtype.kind == "f" else 0
    return KINDS[dtype.kind], np.uint64(1 << (8 * dtype.itemsize - 1)), np.uint64(infinity)


def _positions_in_run(run: Run, pieces: list[slice], n: int, falls: bool) -> Array:
    """Return the indices that sort a line of `n` elements which is a single natural run."""
    out = np.empty(n, np.intp)
    target = out[::-1] if falls else out

    def write(piece: slice) -> None:
        target[piece] = np.arange(piece.start, piece.stop)

    run(write, pieces)
    return out
