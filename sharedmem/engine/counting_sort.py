"""Sorts of elements of one or two bytes, by counting."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.long_lines import as_plain, pieces_of
from sharedmem.engine.runners import Run
from sharedmem.kernels import counting

Array = NDArray[Any]


def sort_small_keys(run: Run, a: Array, out: Array) -> None:
    """Sort a line of bools, or of integers of one or two bytes, into `out`, or in place.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,)
    out : ndarray, shape (n,)
        Contiguous; `a` itself, or memory apart from it.
    """
    bits, sign = _keys(run, a)
    pieces = pieces_of(len(a), a.itemsize)
    counts, lock = np.zeros(counting.n_keys(bits.dtype), np.intp), Lock()

    def count(piece: slice) -> None:
        found = counting.count_keys(bits[piece], sign)
        with lock:
            counts[:] += found

    run(count, pieces)
    ends, target = counts.cumsum(), out.view(bits.dtype)
    run(lambda piece: counting.write_keys(ends, sign, piece.start, piece.stop, target), pieces)


def argsort_bytes(run: Run, a: Array) -> Array:
    """Return the indices that sort a line of one-byte elements stably; see `sort_small_keys`."""
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


def _keys(run: Run, a: Array) -> tuple[Array, int]:
    """Return elements as unsigned integers, and the bit of their sign, which is turned in keys."""
    bits = as_plain(run, a).view(f"u{a.itemsize}")
    return bits, 1 << (8 * a.itemsize - 1) if a.dtype.kind == "i" else 0
