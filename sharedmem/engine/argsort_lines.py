"""Indices that sort a line: keys are packed with their positions, and sorted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine import natural_runs
from sharedmem.engine.byte_sorting import argsort_bytes
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import pieces_of, sort_line
from sharedmem.kernels import sorting

Array = NDArray[Any]

# Bits of a packed key and its position.
WORD = 64


@dataclass(frozen=True)
class Keys:
    """A line of elements of fixed width as unsigned integers of the same order.

    Attributes
    ----------
    bits : ndarray of unsigned int
    rules : tuple
        The kind of the elements, the bit of their sign and the bits of infinity.
    """

    bits: Array
    rules: tuple[Any, ...]

    @classmethod
    def of(cls, a: Array) -> Keys | None:
        """Return the keys of a line, or None where there are none."""
        kinds = {
            "b": sorting.UNSIGNED,
            "u": sorting.UNSIGNED,
            "i": sorting.SIGNED,
            "m": sorting.TIME,
            "M": sorting.TIME,
            "f": sorting.FLOATING,
        }
        if a.dtype.kind not in kinds or a.itemsize > 8:
            return None
        a = np.ascontiguousarray(a, a.dtype.newbyteorder("="))
        bits = read_only(a.view(f"u{a.itemsize}"))
        infinity = np.array(np.inf, a.dtype).view(bits.dtype) if a.dtype.kind == "f" else 0
        sign = np.uint64(1 << (8 * a.itemsize - 1))
        return cls(bits, (kinds[a.dtype.kind], sign, np.uint64(infinity)))

    def varying(self, run: Run) -> int:
        """Return the bits in which keys differ."""

        def look(part: slice) -> int:
            return int(sorting.varying_bits(self.bits[part], self.bits[0], self.rules))

        masks = run(look, pieces_of(len(self.bits), self.bits.itemsize))
        return int(np.bitwise_or.reduce(np.array(masks, np.uint64)))


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
        Of a type that `Keys` has keys for, or else NumPy does it.

    Returns
    -------
    ndarray of intp, shape (n,)
    """
    keys = Keys.of(a)
    if keys is None:
        return np.argsort(a, kind="stable")
    if a.itemsize == 1:
        return argsort_bytes(run, a, pieces_of(len(a), WORD // 8))
    sorted_already = _positions_of_run(run, a)
    if sorted_already is not None:
        return sorted_already
    n_bits = max(1, (len(a) - 1).bit_length())
    varying = keys.varying(run)
    lowest = (varying & -varying).bit_length() - 1 if varying else 0
    width = max(0, varying.bit_length() - lowest)
    upper = max(0, width - (WORD - n_bits))
    packed, order = np.empty(len(a), np.uint64), np.empty(0, np.intp)

    def sort_by(shift: int, n_key_bits: int) -> None:
        mask = np.uint64((1 << n_key_bits) - 1)
        digit, rules = (np.uint64(shift), mask, np.uint64(n_bits)), keys.rules

        def pack(part: slice) -> None:
            sorting.pack(keys.bits, order, packed, part.start, part.stop, digit, rules)

        run(pack, pieces)
        sort_line(run, packed, packed, n_workers)

    def positions() -> Array:
        out = np.empty(len(a), np.intp)
        run(lambda part: sorting.unpack(packed, order, part.start, part.stop, bits, out), pieces)
        return out

    def settle(part: slice) -> bool:
        return sorting.settle(packed, keys.bits, part.start, part.stop, bits, keys.rules)

    pieces, bits = pieces_of(len(a), WORD // 8), np.uint64(n_bits)
    sort_by(lowest + upper, width - upper)
    if upper and not all(run(settle, pieces)):
        sort_by(lowest, upper)
        order = positions()
        sort_by(lowest + upper, width - upper)
    return positions()


def _positions_of_run(run: Run, a: Array) -> Array | None:
    """Return the indices that sort a line of a single natural run, or None if it has several."""
    is_plain = a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative
    if not is_plain or not (a.dtype.kind in "iu" or a.dtype.char in "fd"):
        return None
    pieces = pieces_of(len(a), WORD // 8)
    runs = natural_runs.find(run, a, pieces, limit=1)
    if runs is None:
        return None
    out, last = np.empty(len(a), np.intp), len(a) - 1

    def write(piece: slice) -> None:
        positions = np.arange(piece.start, piece.stop)
        out[piece] = last - positions if runs.falls[0] else positions

    run(write, pieces)
    return out
