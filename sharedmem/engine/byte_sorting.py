"""Sorts of one-byte elements, by counting."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.long_lines import as_plain, pieces_of
from sharedmem.engine.runners import Run
from sharedmem.kernels import counting

Array = NDArray[Any]


def sort_bytes(run: Run, a: Array, out: Array) -> None:
    """Sort a line of one-byte elements into `out`, or in place.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray of bool, int8 or uint8, shape (n,)
    out : ndarray, shape (n,)
        Contiguous; `a` itself, or memory apart from it.
    """
    bits, sign = _keys(run, a)
    pieces = pieces_of(len(a), 1)
    counts = run(lambda piece: counting.count_keys(bits[piece], sign), pieces)
    ends = np.cumsum(np.sum(counts, axis=0))
    target, values = out.view(np.uint8), np.arange(counting.N_KEYS, dtype=np.uint8) ^ sign

    def fill(piece: slice) -> None:
        at = piece.start
        first, last = np.searchsorted(ends, [at, piece.stop - 1], "right")
        for key in range(first, last + 1):
            stop = min(int(ends[key]), piece.stop)
            target[at:stop] = values[key]
            at = stop

    run(fill, pieces)


def argsort_bytes(run: Run, a: Array) -> Array:
    """Return the indices that sort a line of one-byte elements stably; see :func:`sort_bytes`."""
    bits, sign = _keys(run, a)
    pieces = pieces_of(len(a), np.dtype(np.intp).itemsize)
    counts = np.array(run(lambda piece: counting.count_keys(bits[piece], sign), pieces))
    # Keys in order, and of one key the pieces in order.
    offsets = np.cumsum(counts.T).reshape(counts.T.shape).T - counts
    out = np.empty(len(a), np.intp)

    def place(index: int) -> None:
        piece = pieces[index]
        counting.place_positions(bits, sign, piece.start, piece.stop, offsets[index].copy(), out)

    run(place, range(len(pieces)))
    return out


def _keys(run: Run, a: Array) -> tuple[Array, np.uint8]:
    """Return elements as unsigned bytes, and the bit of their sign, by which they are ordered."""
    return as_plain(run, a).view(np.uint8), np.uint8(0x80 if a.dtype.kind == "i" else 0)
