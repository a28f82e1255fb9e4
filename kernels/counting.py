"""Counting sort of one-byte elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel
from sharedmem.kernels.loops.layout import Array

N_KEYS = 256


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
    counts = np.zeros((4, N_KEYS), np.intp)
    _count_keys(bits, sign, counts)
    return counts.sum(axis=0)  # type: ignore[no-any-return]


@kernel
def _count_keys(bits: Array, sign: Any, counts: Array) -> None:
    # Neighbors are often equal, and a count just written takes long to read again: four tables.
    whole = len(bits) // 4 * 4
    for i in range(0, whole, 4):
        for lane in range(4):
            counts[lane, bits[i + lane] ^ sign] += 1
    for i in range(whole, len(bits)):
        counts[0, bits[i] ^ sign] += 1


@kernel
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
    for i in range(start, stop):
        key = bits[i] ^ sign
        out[offsets[key]] = i
        offsets[key] += 1
