"""Lines in which few elements are out of order: these are taken out, and put where they belong."""

from __future__ import annotations

from typing import Any

import numpy as np

from sharedmem.kernels.emitted import RESULT, call
from sharedmem.kernels.loops.emit import Block, Emitter, Variable
from sharedmem.kernels.loops.integers import Flag, Int
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.memory import WORD, Kind, Numbers, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector
from sharedmem.kernels.natural_runs import Neighbors, less

DType = np.dtype[Any]

# A line from which more than a quarter of the elements would be taken is not nearly sorted. So
# many are taken before that is judged.
SOME = 32
# Kept elements that are skipped by one comparison.
SKIP = 16


def keep_rising(x: Array, start: int, stop: int, firsts: Array, stops: Array, share: int) -> int:
    """Find runs of elements, from `start` to `stop`, that are sorted without the others.

    At most twice as many elements are left out as need to be.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    start, stop : int
        The bounds of the part.
    firsts, stops : ndarray of intp
        Filled with the bounds of the runs; there is room for one per two elements, and one more.
    share : int
        It is given up where more than one in `share` elements is left out.

    Returns
    -------
    int
        The number of runs, or -1.

    References
    ----------
    C. R. Cook, D. J. Kim, Best sorting algorithm for nearly sorted lists, Communications of the
    ACM 23(11), 1980, doi:10.1145/359024.359026
    """
    arrays = address_of(x), address_of(firsts), address_of(stops)
    return call(_emit_keep, (x.dtype,), 0, *arrays, start, stop, share)


def join_rising(x: Array, firsts: Array, stops: Array, counts: Array) -> int:
    """Join what `keep_rising` found in consecutive parts of a line.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    firsts, stops : ndarray of intp
        The bounds of all runs, which are replaced by those of the runs that are kept.
    counts : ndarray of int
        The number of runs in each part.

    Returns
    -------
    int
        The number of runs.
    """
    arrays = address_of(x), address_of(firsts), address_of(stops), address_of(counts)
    return call(_emit_join, (x.dtype,), len(counts), *arrays)


def put_back(
    x: Array,
    firsts: Array,
    stops: Array,
    values: Array,
    places: Array,
    part: tuple[int, int, int, int],
    out: Array,
    gives_places: bool,
) -> None:
    """Merge the kept elements of a part of a line with those that were taken out.

    Parameters
    ----------
    x : ndarray of numbers, shape (n,), C-contiguous
    firsts, stops : ndarray of intp
        The bounds of all runs of kept elements.
    values, places : ndarray
        The elements that were taken out, sorted, and where they were. If there are no places, they
        come after the equal ones that were kept.
    part : (start, stop, run, n_before)
        The bounds of the part, the first run that ends after its start, and the number of kept
        elements before it.
    out : ndarray, shape (n,)
    gives_places : bool
        Whether `out` gets the indices of the elements.
    """
    lines = address_of(x), address_of(firsts), address_of(stops)
    taken = address_of(values), address_of(places), address_of(out)
    lengths = len(x), len(firsts), len(values), len(places)
    call(_emit_put_back, (x.dtype, gives_places), 0, *lines, *taken, *lengths, *part)


class _Runs:
    """The runs that are kept."""

    def __init__(self, code: Emitter, block: Block, kind: Kind) -> None:
        self._code = code
        self.x = block.numbers(1, kind)
        self.firsts, self.stops = block.numbers(2, WORD), block.numbers(3, WORD)
        self.n = code.variable(code.constant(0))

    def get(self, numbers: Numbers, at: Int) -> Int:
        """Return an integer in memory."""
        return self._code.integer(numbers.load(at, 1))

    def add(self, first: Int, stop: Int) -> None:
        """Add a run."""
        n = self.n.get()
        self.firsts.store(first.as_vector(), n)
        self.stops.store(stop.as_vector(), n)
        self.n.set(n + 1)

    def keep(self, first: Variable, stop: Int) -> None:
        """Keep the elements from `first` to `stop`, which rise, beside the runs kept before.

        Where two neighbors are in the wrong order, either may be the displaced one: both are taken.
        `first` is moved to the first of the elements that is kept.
        """
        code, n = self._code, self.n
        with code.repeat() as pairs:
            at, last = first.get(), n.get() - 1
            pairs.leave_if(last < 0)
            pairs.leave_if(at >= stop)
            end = self.get(self.stops, last) - 1
            pairs.leave_if(~code.any(less(self.x.load(at, 1), self.x.load(end, 1))))
            first.set(at + 1)
            self.stops.store(end.as_vector(), last)
            n.set(self.get(self.firsts, last).equals(end).choose(last, n.get()))
        at = first.get()
        with code.when(at < stop):
            last = (n.get() - 1).greatest(0)
            goes_on = (n.get() > 0) & self.get(self.stops, last).equals(at)
            with code.when(goes_on):
                self.stops.store(stop.as_vector(), last)
            with code.unless(goes_on):
                self.add(at, stop)


def _emit_keep(code: Emitter, block: Block, dtype: DType) -> None:
    runs, line = _Runs(code, block, kind_of(dtype)), Neighbors(code, block, 1, dtype)
    start, stop, share = (block.integer(word) for word in range(4, 7))
    place, n_out = code.variable(start), code.variable(code.constant(0))
    with code.repeat() as parts:
        at = place.get()
        parts.leave_if(at >= stop)
        end = line.end(at, stop, line.rises)
        first = code.variable(at)
        runs.keep(first, end)
        n_out.set(n_out.get() + (first.get() - at) * 2)
        place.set(end)
        is_unsorted = n_out.get() > (at - start) // share + SOME
        runs.n.set(is_unsorted.choose(-1, runs.n.get()))
        parts.leave_if(is_unsorted)
    block.counter(RESULT).store(runs.n.get().as_vector(), code.constant(0))


def _emit_join(code: Emitter, block: Block, dtype: DType) -> None:
    runs = _Runs(code, block, kind_of(dtype))
    n_parts, counts = block.integer(0), block.numbers(4, WORD)
    place = code.variable(code.constant(0))
    with code.loop(0, n_parts) as part:
        last = place.get() + runs.get(counts, part)
        is_sorted = code.variable(code.flag(holds=False))
        with code.repeat() as those:
            at = place.get()
            those.leave_if(at >= last)
            start, stop = runs.get(runs.firsts, at), runs.get(runs.stops, at)
            place.set(at + 1)
            with code.when(is_sorted.get()):
                runs.add(start, stop)
            with code.unless(is_sorted.get()):
                first = code.variable(start)
                runs.keep(first, stop)
                is_sorted.set(first.get() < stop)  # so are the runs after it
    block.counter(RESULT).store(runs.n.get().as_vector(), code.constant(0))


class _Taken:
    """The elements that were taken out."""

    def __init__(self, code: Emitter, block: Block, kind: Kind) -> None:
        self._code = code
        self._values, self._places = block.numbers(4, kind), block.numbers(5, WORD)
        self._length, self.n, self._n_places = (block.integer(word) for word in (7, 9, 10))

    def value(self, k: Int) -> Vector:
        """Return an element."""
        return self._values.load(k, 1)

    def place(self, k: Int) -> Int:
        """Return where an element was; after all others, if there are no places."""
        place = self._code.variable(self._length)
        with self._code.when(self._n_places > 0):
            place.set(self._code.integer(self._places.load(k, 1)))
        found: Int = place.get()
        return found

    def precedes(self, value: Vector, place: Int, other: Vector, i: Int) -> Flag:
        """Return whether an element from `place` sorts before another one from `i`."""
        is_less = self._code.any(less(value, other))
        return is_less | ((place < i) & ~self._code.any(less(other, value)))

    def n_before(self, other: Vector, i: Int) -> Int:
        """Return how many of these elements sort before one from `i`."""
        return self._code.search(
            self._code.constant(0),
            self.n,
            lambda k: ~self.precedes(self.value(k), self.place(k), other, i),
        )

    def upto(self, x: Numbers, start: Int, stop: Int, k: Int) -> Int:
        """Return where the first of some kept elements is that an element sorts before."""
        code, value, place = self._code, self.value(k), self.place(k)

        def is_after(at: Int) -> Flag:
            return self.precedes(value, place, x.load(at, 1), at)

        first = code.variable(start)
        with code.repeat() as skips:
            at = first.get()
            skips.leave_if(at + SKIP > stop)
            skips.leave_if(is_after(at + (SKIP - 1)))
            first.set(at + SKIP)
        return code.search(first.get(), stop.least(first.get() + SKIP), is_after)


def _emit_put_back(code: Emitter, block: Block, dtype: DType, gives_places: bool) -> None:
    runs, taken = _Runs(code, block, kind_of(dtype)), _Taken(code, block, kind_of(dtype))
    x, out = runs.x, block.numbers(6, WORD if gives_places else kind_of(dtype))
    length, n_runs = block.integer(7), block.integer(8)
    start, stop, first_run, n_before = (block.integer(word) for word in range(11, 15))
    run, last = code.variable(first_run), code.variable(code.constant(0))
    with code.when(first_run > 0):
        last.set(runs.get(runs.stops, first_run - 1) - 1)
    with code.when(first_run < n_runs), code.when(runs.get(runs.firsts, first_run) < start):
        last.set(start - 1)
    next_one = code.variable(code.constant(0))
    # Those that belong before the last kept element of another part are put back there.
    with code.when(n_before > 0):
        next_one.set(taken.n_before(x.load(last.get(), 1), last.get()))
    target = code.variable(n_before + next_one.get())

    def write(k: Int, to: Int) -> None:
        out.store(taken.place(k).as_vector() if gives_places else taken.value(k), to)

    def copy(at: Int, to: Int, n: Int) -> None:
        def copy_some(i: Int, width: int) -> None:
            first = (at + i).as_vector().repeat(width)
            kept = first + first.places() if gives_places else x.load(at + i, width)
            out.store(kept, to + i)

        code.in_vectors(n, copy_some, (VECTOR, 4, 1))

    with code.repeat() as those:
        those.leave_if(run.get() >= n_runs)
        first = runs.get(runs.firsts, run.get())
        those.leave_if(first >= stop)
        place = code.variable(first.greatest(start))
        end = runs.get(runs.stops, run.get()).least(stop)
        with code.repeat() as parts:
            at, to, k = place.get(), target.get(), next_one.get()
            parts.leave_if(at >= end)
            upto = code.variable(end)
            with code.when(k < taken.n):
                upto.set(taken.upto(x, at, end, k))
            n = upto.get() - at
            copy(at, to, n)
            place.set(upto.get())
            target.set(to + n)
            with code.when(upto.get() < end):
                write(k, to + n)
                target.set(to + n + 1)
                next_one.set(k + 1)
        run.set(run.get() + 1)
    with code.when(stop.equals(length)), code.loop(next_one.get(), taken.n) as i:
        write(i, target.get() + (i - next_one.get()))
