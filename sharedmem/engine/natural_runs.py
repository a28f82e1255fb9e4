"""Natural runs: the parts of a line that are sorted already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine.runners import Run
from sharedmem.kernels import natural_runs as kernels

Array = NDArray[Any]


@dataclass(frozen=True)
class NaturalRuns:
    """Runs that are ascending, or strictly descending.

    Attributes
    ----------
    starts : list of int
        Where each run starts.
    falls : list of bool
        Whether each run falls.
    length : int
        Length of the line.
    """

    starts: list[int]
    falls: list[bool]
    length: int

    @property
    def bounds(self) -> list[int]:
        """The start of each run, and the end of the last one."""
        return [*self.starts, self.length]

    def copy(self, run: Run, a: Array, out: Array, pieces: Sequence[slice]) -> None:
        """Copy a line with its falling runs reversed; `out` may lie in the memory of `a`."""
        if np.may_share_memory(a, out):
            if not any(self.falls):
                return
            a = a.copy()

        def copy_piece(piece: slice) -> None:
            for start, stop, falls in zip(self.starts, self.bounds[1:], self.falls, strict=True):
                first, last = max(start, piece.start), min(stop, piece.stop)
                if first < last:
                    mirrored = slice(start + stop - last, start + stop - first)
                    out[first:last] = a[mirrored][::-1] if falls else a[first:last]

        run(copy_piece, pieces)


def find(run: Run, a: Array, pieces: Sequence[slice], limit: int) -> NaturalRuns | None:
    """Find the natural runs of a line.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray of numbers, shape (n,), n > 0
        C-contiguous, in native byte order.
    pieces : sequence of slice
        Parts of the line to look at in parallel.
    limit : int
        Most runs that are looked for.

    Returns
    -------
    NaturalRuns or None
        None if there are more than `limit`.
    """
    x = read_only(a)
    too_many: list[slice] = []

    def look(piece: slice) -> list[tuple[int, bool]]:
        if too_many:
            return []
        starts, falls = np.empty(limit, np.intp), np.empty(limit, bool)
        n = kernels.find_runs(x, piece.start, piece.stop, starts, falls)
        if n > limit:
            too_many.append(piece)
        return list(zip(starts[:n].tolist(), falls[:n].tolist(), strict=True))

    # Where the first piece is unsorted, which is usual, no thread is woken.
    found = look(pieces[0])
    for piece, runs in zip(pieces[1:], [] if too_many else run(look, pieces[1:]), strict=False):
        if too_many:
            break
        if found[-1][1] == runs[0][1] and _continues(a, piece.start, falls=runs[0][1]):
            runs = runs[1:]
        found += runs
    if too_many or len(found) > limit:
        return None
    starts, falls = zip(*found, strict=True)
    return NaturalRuns([*starts], [*falls], len(a))


def _continues(a: Array, at: int, falls: bool) -> bool:
    """Return whether an element continues the run before it."""
    starts, fall = np.empty(2, np.intp), np.empty(2, bool)
    n = kernels.find_runs(a, at - 1, at + 1, starts, fall)
    return n == 1 and bool(fall[0]) == falls
