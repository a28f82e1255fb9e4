"""Long lines in which few elements are out of order, and their sorts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.long_lines import (
    as_plain,
    is_comparable,
    look_at_pieces,
    natural_runs,
    pieces_of,
)
from sharedmem.engine.runners import Run
from sharedmem.kernels import displaced as kernels
from sharedmem.machine.tuning import tuning

Array = NDArray[Any]

# A line of which more than one element in eight is out of order is not nearly sorted: to sort these
# and to put them back takes as long as sorting all. The first piece is judged as it is read.
SHARE, FIRST_SHARE = 8, 4


@dataclass(frozen=True)
class Displaced:
    """The elements of a line that are out of order, and the others.

    Attributes
    ----------
    places : ndarray of intp
        Where these elements are, in ascending order.
    firsts, stops : ndarray of intp
        The bounds of the runs of all others, which are sorted without them.
    """

    places: Array
    firsts: Array
    stops: Array

    def put_back(
        self, run: Run, a: Array, values: Array, places: Array, out: Array, gives_places: bool
    ) -> None:
        """Write the sorted line to `out`, or the indices that sort it.

        Parameters
        ----------
        run : callable
            ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
        a : ndarray, shape (n,)
            The line.
        values, places : ndarray
            The elements that are out of order, sorted, and where they are; or no places, and equal
            elements come in any order.
        out : ndarray, shape (n,)
            Memory apart from that of `a`.
        gives_places : bool
            Whether the results are indices.
        """
        line = self.firsts, self.stops, values, places
        n_kept = np.concatenate([[0], np.cumsum(self.stops - self.firsts)])

        def put_back(piece: slice) -> None:
            first = int(np.searchsorted(self.stops, piece.start, "right"))
            n_before = int(n_kept[first])
            if first < len(self.firsts):
                n_before += max(0, piece.start - int(self.firsts[first]))
            part = piece.start, piece.stop, first, n_before
            kernels.put_back(a, *line, part, out, gives_places)

        run(put_back, pieces_of(len(a), a.itemsize))


def find_displaced(run: Run, a: Array) -> Displaced | None:
    """Find the elements that are out of order in a line of numbers, if they are few.

    Parameters
    ----------
    run : callable
        ``run(func, sequence)`` gives the list of ``func(item)``, from threads.
    a : ndarray, shape (n,), n > 0
        Plain, and of a type that `is_comparable`.
    """
    pieces = pieces_of(len(a), a.itemsize)
    most = kernels.SOME + len(a) // SHARE

    def look(piece: slice) -> tuple[int, tuple[Array, Array]]:
        length, share = piece.stop - piece.start, 1 if piece.start else FIRST_SHARE
        firsts, stops = np.empty((2, length // 2 + 1), np.intp)
        n = kernels.keep_rising(a, piece.start, piece.stop, firsts, stops, share)
        firsts, stops = firsts[: max(n, 0)].copy(), stops[: max(n, 0)].copy()
        return length - int((stops - firsts).sum()) if n >= 0 else len(a), (firsts, stops)

    found = look_at_pieces(run, look, pieces, most)
    if found is None:
        return None
    firsts, stops = map(np.concatenate, zip(*found, strict=True))
    n = kernels.join_rising(a, firsts, stops, np.array([len(part) for part, _ in found]))
    firsts, stops = firsts[:n], stops[:n]
    gaps = np.append(firsts, len(a)) - np.insert(stops, 0, 0)
    n_places = int(gaps.sum())
    if n_places > most or not n:
        return None
    # Each place is its rank, and the number of kept elements before it.
    n_kept = np.concatenate([[0], np.cumsum(stops - firsts)])
    return Displaced(np.arange(n_places) + np.repeat(n_kept, gaps), firsts, stops)


def is_nearly_sorted(run: Run, a: Array) -> bool:
    """Return whether a line consists of a few runs, or few elements are out of order.

    False where kernels cannot tell. `run` is that of :func:`find_displaced`.
    """
    if not is_comparable(a):
        return False
    a = as_plain(run, a)
    runs = natural_runs(run, a, tuning.natural_runs, ties=True)
    return runs is not None or find_displaced(run, a) is not None
