"""Sorts of one-byte elements, by counting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine.runners import Run
from sharedmem.kernels import counting

Array = NDArray[Any]


def sort_bytes(run: Run, a: Array, out: Array, pieces: Sequence[slice]) -> None:
    """Sort a line of one-byte elements into `out`, or in place.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray of bool, int8 or uint8, shape (n,)
    out : ndarray, shape (n,)
        Contiguous; `a` itself, or memory apart from it.
    pieces : sequence of slice
        The part of the line for each task.
    """
    bits, sign = _bits(a)
    ends = np.cumsum(np.sum(_counts(run, bits, sign, pieces), axis=0))
    target, values = out.view(np.uint8), np.arange(counting.N_KEYS, dtype=np.uint8) ^ sign

    def fill(piece: slice) -> None:
        at = piece.start
        for key in range(int(np.searchsorted(ends, at, "right")), counting.N_KEYS):
            if at >= piece.stop:
                break
            stop = min(int(ends[key]), piece.stop)
            target[at:stop] = values[key]
            at = stop

    run(fill, pieces)


def argsort_bytes(run: Run, a: Array, pieces: Sequence[slice]) -> Array:
    """Return the indices that sort a line of one-byte elements stably.

    Parameters
    ----------
    run, a, pieces
        As for :func:`sort_bytes`.

    Returns
    -------
    ndarray of intp, shape (n,)
    """
    bits, sign = _bits(a)
    counts = np.array(_counts(run, bits, sign, pieces))
    # Keys in order, and of one key the pieces in order.
    offsets = np.cumsum(counts.T).reshape(counts.T.shape).T - counts
    out = np.empty(len(a), np.intp)

    def place(index: int) -> None:
        piece = pieces[index]
        counting.place_positions(bits, sign, piece.start, piece.stop, offsets[index].copy(), out)

    run(place, range(len(pieces)))
    return out


def _bits(a: Array) -> tuple[Array, np.uint8]:
    bits = read_only(np.ascontiguousarray(a).view(np.uint8))
    return bits, np.uint8(0x80 if a.dtype.kind == "i" else 0)


def _counts(run: Run, bits: Array, sign: np.uint8, pieces: Sequence[slice]) -> list[Array]:
    return run(lambda piece: counting.count_keys(bits[piece], sign), pieces)
