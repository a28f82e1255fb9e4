"""Lines in which few elements are out of order: these are taken out, and put where they belong."""

from __future__ import annotations

from typing import Any

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.natural_runs import end_of_run, less

# A line from which more than a quarter of the elements would be taken is not nearly sorted. So
# many are taken before that is judged.
SOME = 32
# Kept elements that are skipped by one comparison.
SKIP = 16


@part
def _keep(x: Array, firsts: Array, stops: Array, n: int, first: int, stop: int) -> tuple[int, int]:
    """Keep the elements from `first` to `stop`, which rise, beside the `n` runs kept before.

    Where two neighbors are in the wrong order, either may be the displaced one: both are taken.

    Returns the number of runs, and the first of the elements that is kept.
    """
    while n > 0 and first < stop and less(x[first], x[stops[n - 1] - 1]):
        first += 1
        stops[n - 1] -= 1
        if firsts[n - 1] == stops[n - 1]:
            n -= 1
    if first < stop:
        if n > 0 and stops[n - 1] == first:
            stops[n - 1] = stop
        else:
            firsts[n], stops[n] = first, stop
            n += 1
    return n, first


@kernel
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
    n, at, n_out = 0, start, 0
    while at < stop:
        end = end_of_run(x, at, stop, False)
        n, first = _keep(x, firsts, stops, n, at, end)
        n_out += 2 * (first - at)
        at = end
        if n_out > SOME + (at - start) // share:
            return -1
    return n


@kernel
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
    n = k = 0
    for at in range(len(counts)):
        last = k + counts[at]
        is_sorted = False
        while k < last:
            first, stop = firsts[k], stops[k]
            k += 1
            if is_sorted:  # like the runs after it
                firsts[n], stops[n] = first, stop
                n += 1
            else:
                n, first = _keep(x, firsts, stops, n, first, stop)
                is_sorted = first < stop
    return n


@part
def _precedes(value: Any, place: int, other: Any, i: int) -> bool:
    """Return whether an element from `place` sorts before another one from `i`."""
    return bool(less(value, other) or (place < i and not less(other, value)))


@part
def _place(places: Array, k: int, x: Array) -> int:
    """Return where an element was; after all others, if there are no places."""
    return places[k] if len(places) > 0 else len(x)


@part
def _n_before(values: Array, places: Array, x: Array, i: int) -> int:
    """Return how many of the elements that were taken out sort before ``x[i]``."""
    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if _precedes(values[middle], _place(places, middle, x), x[i], i):
            low = middle + 1
        else:
            high = middle
    return low


@part
def _upto(x: Array, at: int, stop: int, value: Any, place: int) -> int:
    """Return where the first of some kept elements is that an element sorts before."""
    while at + SKIP <= stop and not _precedes(value, place, x[at + SKIP - 1], at + SKIP - 1):
        at += SKIP
    near = x[at : min(at + SKIP, stop)]
    n = 0
    for i in range(len(near)):  # without branches, which could not be predicted
        n += not _precedes(value, place, near[i], at + i)
    return at + n


@part
def _write(values: Array, places: Array, k: int, out: Array, to: int, gives_places: bool) -> None:
    if gives_places:
        out[to] = places[k]
    else:
        out[to] = values[k]


@kernel
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
    start, stop, run, n_before = part
    n = len(values)
    last = 0
    if run < len(firsts) and firsts[run] < start:
        last = start - 1
    elif run > 0:
        last = stops[run - 1] - 1
    # Those that belong before the last kept element of another part are put back there.
    k = _n_before(values, places, x, last) if n_before > 0 else 0
    to = n_before + k
    while run < len(firsts) and firsts[run] < stop:
        at, end = max(firsts[run], start), min(stops[run], stop)
        while at < end:
            upto = end
            if k < n:
                upto = _upto(x, at, end, values[k], _place(places, k, x))
            target = out[to : to + upto - at]
            if gives_places:
                for i in range(len(target)):
                    target[i] = at + i
            else:
                kept = x[at:upto]
                for i in range(len(target)):
                    target[i] = kept[i]
            to += upto - at
            at = upto
            if at < end:
                _write(values, places, k, out, to, gives_places)
                to, k = to + 1, k + 1
        run += 1
    if stop == len(x):
        for i in range(k, n):
            _write(values, places, i, out, to + i - k, gives_places)
