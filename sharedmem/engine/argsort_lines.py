"""Indices that sort a line: keys are packed with their positions, and sorted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.counting_sort import argsort_bytes
from sharedmem.engine.long_lines import (
    NaturalRuns,
    as_plain,
    is_comparable,
    natural_runs,
    pieces_of,
)
from sharedmem.engine.nearly_sorted_lines import Displaced, find_displaced
from sharedmem.engine.runners import Run
from sharedmem.engine.sort_lines import merge_runs, sort_unordered
from sharedmem.kernels import merging, packing
from sharedmem.kernels.packing import FLOATING, SIGNED, TIME, UNSIGNED
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

# Bits of a packed key and its position.
WORD = 64
NAT = np.iinfo(np.int64).min
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
    indices = _argsort_ordered(run, a, n_workers)
    if indices is not None:
        return indices
    pieces = pieces_of(len(a), WORD // 8)
    keys, kind = a.view(f"u{a.itemsize}"), KINDS[a.dtype.kind]

    def differing(piece: slice) -> int:
        return packing.varying_bits(keys[piece], keys[0], kind)

    varying = int(np.bitwise_or.reduce(np.array(run(differing, pieces), np.uint64)))
    lowest = max(0, (varying & -varying).bit_length() - 1)
    width = varying.bit_length() - lowest
    n_bits = max(1, (len(a) - 1).bit_length())
    upper = max(0, width - (WORD - n_bits))
    packed, order = np.empty(len(a), np.uint64), np.empty(0, np.intp)

    def sort_by(shift: int, n_key_bits: int) -> None:
        digit = shift, (1 << n_key_bits) - 1, n_bits

        def pack(piece: slice) -> None:
            packing.pack(keys, order, packed, piece.start, piece.stop, digit, kind)

        run(pack, pieces)
        sort_unordered(run, packed, packed, n_workers)

    def positions() -> Array:
        out = np.empty(len(a), np.intp)
        run(
            lambda piece: packing.unpack(packed, order, piece.start, piece.stop, n_bits, out),
            pieces,
        )
        return out

    def settle(piece: slice) -> bool:
        return packing.settle(packed, keys, piece.start, piece.stop, n_bits, kind)

    sort_by(lowest + upper, width - upper)
    if upper and not all(run(settle, pieces)):
        sort_by(lowest, upper)
        order = positions()
        sort_by(lowest + upper, width - upper)
    return positions()


def _argsort_ordered(run: Run, a: Array, n_workers: int) -> Array | None:
    """Return the indices that sort a plain line, or None if it is far from sorted."""
    numbers = a.view(np.int64) if a.dtype.kind in "mM" else a
    if not is_comparable(numbers):
        return None
    for ties in (False, True):
        runs = natural_runs(run, numbers, tuning.natural_runs, ties)
        if runs is not None:
            out = _merge_natural(run, numbers, runs, ties)
            break
    else:
        moved = find_displaced(run, numbers)
        if moved is None:
            return None
        out = _put_back(run, numbers, moved, n_workers)
    if a.dtype.kind in "mM":  # NaT is the smallest number, and comes last
        n_nat = int(np.searchsorted(numbers, NAT, "right", sorter=out))
        out = np.roll(out, -n_nat) if n_nat else out
    return out


def _merge_natural(run: Run, a: Array, runs: NaturalRuns, ties: bool) -> Array:
    """Return the indices that sort a line, from its natural runs, whose falls may have ties."""
    if runs.n_levels == 0 and not ties:  # it is merged with an empty run
        runs = NaturalRuns([*runs.bounds, len(a)], [*runs.falls, False])
    out = np.empty(len(a), np.intp)
    scratch = np.empty_like(out) if runs.n_levels + ties > 1 else out

    def merge_positions(_: Array, *task: Any) -> None:
        merging.merge_positions(a, a, *task)

    def merge_indices(source: Array, *task: Any) -> None:
        merging.merge_indices(a, source, *task)

    if ties:
        source = scratch if runs.n_levels % 2 else out
        runs.indices(run, a, source)
        runs = NaturalRuns(runs.bounds, [False] * len(runs.falls))
        merge_runs(run, runs, source, out, scratch, merge_indices, merge_indices)
    else:
        merge_runs(run, runs, a, out, scratch, merge_indices, merge_positions)
    return out


def _put_back(run: Run, a: Array, moved: Displaced, n_workers: int) -> Array:
    """Return the indices that sort a line, from the elements that are out of order."""
    values, out = a[moved.places], np.empty(len(a), np.intp)
    if values.nbytes < tuning.sort_run_bytes:
        order = np.argsort(values, kind="stable")
    else:
        order = argsort_line(run, values, n_workers)
    moved.put_back(run, a, values[order], moved.places[order], out, gives_places=True)
    return out
