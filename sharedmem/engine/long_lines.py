"""Long lines, cut into pieces for threads, and the runs of a line that are sorted already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.conversion import read_only
from sharedmem.engine.runners import Run
from sharedmem.kernels import natural_runs as kernels
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]


def pieces_of(n: int, itemsize: int) -> list[slice]:
    """Cut a line into pieces, which depend on nothing but its size in bytes."""
    step = max(1, tuning.sort_piece_bytes // max(itemsize, 1))
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def is_comparable(a: Any) -> bool:
    """Return whether kernels compare the elements of an array as NumPy sorts them."""
    return a.dtype.kind in "iu" or a.dtype.char in "fd"


def as_plain(run: Run, a: Array, out: Array | None = None) -> Array:
    """Return a line that is contiguous, aligned, and in native byte order: `a`, or a copy in `out`.

    Threads make the copy.
    """
    if a.flags.c_contiguous and a.flags.aligned and a.dtype.isnative:
        return a
    plain = np.empty(len(a), a.dtype.newbyteorder("=")) if out is None else out
    run(lambda piece: np.copyto(plain[piece], a[piece]), pieces_of(len(a), a.itemsize))
    return plain


@dataclass(frozen=True)
class NaturalRuns:
    """Runs that are ascending, or strictly descending.

    Attributes
    ----------
    bounds : list of int
        Where each run starts, and where the last one ends.
    falls : sequence of bool
        Whether each run falls.
    """

    bounds: list[int]
    falls: Sequence[bool]

    @property
    def n_levels(self) -> int:
        """How often the runs are merged in pairs, until one is left."""
        return (len(self.falls) - 1).bit_length()

    def copy(self, run: Run, a: Array, out: Array) -> None:
        """Copy a line with its falling runs reversed; `out` may lie in the memory of `a`."""
        if np.may_share_memory(a, out):
            if not any(self.falls):
                return
            a = a.copy()

        def copy_part(start: int, stop: int, part: slice, falls: bool) -> None:
            rising = a[start:stop][::-1] if falls else a[start:stop]
            out[part] = rising[part.start - start : part.stop - start]

        self._each(run, pieces_of(len(a), a.itemsize), copy_part)

    def indices(self, run: Run, out: Array) -> None:
        """Write the indices of the elements, with falling runs reversed."""

        def write_part(start: int, stop: int, part: slice, falls: bool) -> None:
            first, step = (start + stop - 1 - part.start, -1) if falls else (part.start, 1)
            out[part] = np.arange(first, first + step * (part.stop - part.start), step)

        self._each(run, pieces_of(len(out), out.itemsize), write_part)

    def _each(
        self, run: Run, pieces: list[slice], func: Callable[[int, int, slice, bool], None]
    ) -> None:
        """Call a function on the bounds of each run, the part of it in a piece, and its fall."""

        def do(piece: slice) -> None:
            for start, stop, falls in zip(self.bounds, self.bounds[1:], self.falls, strict=False):
                first, last = max(start, piece.start), min(stop, piece.stop)
                if first < last:
                    func(start, stop, slice(first, last), falls)

        run(do, pieces)


def natural_runs(run: Run, a: Array, limit: int) -> NaturalRuns | None:
    """Find the natural runs of a line.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,), n > 0
        Plain, and of a type that `is_comparable`.
    limit : int
        Most runs that are looked for.

    Returns
    -------
    NaturalRuns or None
        None if there are more than `limit`.
    """
    x, pieces = read_only(a), pieces_of(len(a), a.itemsize)
    more: list[int] = []  # runs of a piece after its first one, which may go on from before

    def look(piece: slice) -> list[tuple[int, bool]]:
        if sum(more) > limit:
            return []
        starts, falls = np.empty(limit, np.intp), np.empty(limit, bool)
        n = kernels.find_runs(x, piece.start, piece.stop, starts, falls)
        more.append(n - 1 if n <= limit else limit + 1)
        return list(zip(starts[:n].tolist(), falls[:n].tolist(), strict=True))

    # Where the first piece is unsorted, which is usual, no thread is woken.
    found = look(pieces[0])
    others = run(look, pieces[1:]) if sum(more) <= limit else []
    if sum(more) > limit:
        return None
    for piece, runs in zip(pieces[1:], others, strict=True):
        across = look(slice(piece.start - 1, piece.start + 1))
        if found[-1][1] == across[0][1] == runs[0][1]:
            del runs[0]
        found += runs
    if len(found) > limit:
        return None
    starts, falls = zip(*found, strict=True)
    return NaturalRuns([*starts, len(a)], falls)
