"""Long lines, cut into pieces for threads, and the runs of a line that are sorted already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.operands import is_plain
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
    if is_plain(a):
        return a
    plain = np.empty(len(a), a.dtype.newbyteorder("=")) if out is None else out
    run(lambda piece: np.copyto(plain[piece], a[piece]), pieces_of(len(a), a.itemsize))
    return plain


@dataclass(frozen=True)
class NaturalRuns:
    """Runs that are ascending, or descending.

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

        self._each(run, a, copy_part)

    def indices(self, run: Run, a: Array, out: Array) -> None:
        """Write the indices of the elements, with falling runs reversed, but not their ties."""

        def write_part(start: int, stop: int, part: slice, falls: bool) -> None:
            if falls:
                kernels.turn_run(a, (start, stop), (part.start, part.stop), out)
            else:
                out[part] = np.arange(part.start, part.stop)

        self._each(run, out, write_part)

    def _each(self, run: Run, line: Array, func: Callable[[int, int, slice, bool], None]) -> None:
        """Call a function on the bounds of each run, the part of it in a piece, and its fall."""

        def do(piece: slice) -> None:
            for start, stop, falls in zip(self.bounds, self.bounds[1:], self.falls, strict=False):
                first, last = max(start, piece.start), min(stop, piece.stop)
                if first < last:
                    func(start, stop, slice(first, last), falls)

        run(do, pieces_of(len(line), line.itemsize))


def look_at_pieces(
    run: Run, look: Callable[[slice], tuple[int, Any]], pieces: list[slice], most: int
) -> list[Any] | None:
    """Look at each piece of a line, unless there is too much to see.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    look : callable
        Returns a count, and what is found in a piece.
    pieces : list of slice
    most : int

    Returns
    -------
    list or None
        What is found in each piece, or None if the counts add up to more than `most`.
    """
    counts: list[int] = []

    def look_and_count(piece: slice) -> Any:
        if sum(counts) > most:
            return None
        count, found = look(piece)
        counts.append(count)
        return found

    # Where the first piece is unsorted, which is usual, no thread is woken.
    found = [look_and_count(pieces[0])]
    if counts[0] <= most:
        found += run(look_and_count, pieces[1:])
    return found if sum(counts) <= most else None


def natural_runs(run: Run, a: Array, limit: int, ties: bool) -> NaturalRuns | None:
    """Find the natural runs of a line.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,), n > 0
        Plain, and of a type that `is_comparable`.
    limit : int
        Most runs that are looked for.
    ties : bool
        Whether falling runs may have neighbors with the same bits.

    Returns
    -------
    NaturalRuns or None
        None if there are more than `limit`.
    """
    pieces = pieces_of(len(a), a.itemsize)

    def look(piece: slice) -> tuple[int, list[tuple[int, int]]]:
        starts, ways = np.empty(limit, np.intp), np.empty(limit, np.uint8)
        n = kernels.find_runs(a, piece.start, piece.stop, starts, ways, ties)
        runs = list(zip(starts[:n].tolist(), ways[:n].tolist(), strict=True))
        return n - 1, runs  # the first one may go on from before

    found = look_at_pieces(run, look, pieces, limit - 1)
    if found is None:
        return None
    line = found[0]
    for piece, runs in zip(pieces[1:], found[1:], strict=True):
        _, [(_, across)] = look(slice(piece.start - 1, piece.start + 1))
        start, way = line[-1]
        directions = {way, across, runs[0][1]} - {kernels.FLAT}
        if len(directions) <= 1:
            line[-1] = start, max(directions, default=kernels.FLAT)
            del runs[0]
        line += runs
    if len(line) > limit:
        return None
    starts, ways = zip(*line, strict=True)
    return NaturalRuns([*starts, len(a)], [way == kernels.FALLS for way in ways])


def is_sorted(run: Run, a: Array) -> bool:
    """Return whether a line, of at least one element, is sorted; False where kernels cannot tell.

    `run` is that of :func:`natural_runs`.
    """
    if not is_plain(a) or a[0] != a[0]:  # NaT is the smallest integer
        return False
    numbers = a.view(np.int64) if a.dtype.kind in "mM" else a
    if not is_comparable(numbers):
        return False
    runs = natural_runs(run, numbers, limit=1, ties=False)
    return runs is not None and not runs.falls[0]
