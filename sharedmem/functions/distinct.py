"""The distinct elements of a line, and for each element the number of the one that it equals."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.engine.long_lines import as_plain, pieces_of
from sharedmem.engine.runners import Run
from sharedmem.functions.extrema import minmax
from sharedmem.kernels.numbering import number_distinct
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]
Codes = NDArray[np.intp]

_WORD, _DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
_VIEWS: dict[str, np.dtype[Any]] = {"b": np.dtype(np.uint8), "m": _WORD, "M": _WORD}
# Integers in a range longer than this, and than their number, are found by hash tables.
_SHORT_RANGE = 4096
# Of others, one of so many elements is looked at first: are there many that are distinct?
_SAMPLE = 16


class Distinct(NamedTuple):
    """The distinct elements of a line.

    Attributes
    ----------
    labels : ndarray
        Each distinct element once. All NaNs of different bits are distinct.
    codes : callable
        ``codes(numbers)`` returns the number of each element of the line, given that of each label.
        It may return the line itself, and is called once.
    """

    labels: Array
    codes: Callable[[Codes], Codes]


def distinct(a: Array, in_order: bool) -> Distinct:
    """Find the distinct elements of a line.

    Parameters
    ----------
    a : ndarray, shape (n,)
        Of integers, bools, floats, times, strings, or objects.
    in_order : bool
        Whether the labels must be in order of appearance, which takes longer for small integers.

    Raises
    ------
    TypeError
        If the elements are of another type, or are objects without a hash.
    """
    kind = a.dtype.kind
    if kind in "OT":
        return _of_objects(a)
    if kind not in "biufmMSU" or a.dtype.char == "g":
        raise TypeError(
            f"labels must be integers, bools, strings, datetimes, timedeltas, or floats of at most "
            f"8 bytes, got an array of dtype {a.dtype}"
        )
    run = current_pool().runner.run(2 * a.nbytes)
    line = as_plain(run, a)
    if kind in "SU":
        return _of_strings(run, line)
    if kind == "f":  # 0.0 is added since -0.0 equals it
        words = _in_pieces(run, len(line), lambda piece: line[piece] + 0.0, _DOUBLE).view(_WORD)
        found = _of_integers(run, words, in_order)
        return found._replace(labels=found.labels.view(_DOUBLE).astype(line.dtype))
    found = _of_integers(run, line.view(_VIEWS.get(kind, line.dtype)), in_order)
    return found._replace(labels=found.labels.astype(line.dtype))


def _of_integers(run: Run, a: Array, in_order: bool) -> Distinct:
    if not in_order and len(a):
        lowest, highest = map(int, minmax(a))
        is_short = highest - lowest < max(_SHORT_RANGE, len(a))
        if is_short and highest <= np.iinfo(_WORD).max:
            return _of_range(run, a, lowest, highest)
    return _by_hash(run, a)


def _of_range(run: Run, a: Array, lowest: int, highest: int) -> Distinct:
    """Find integers by a table of their range."""
    is_present, are_all = np.zeros(highest - lowest + 1, bool), False

    def places(piece: slice) -> Codes:
        part = a[piece].astype(np.intp, copy=False)
        return part - lowest if lowest else part

    def mark(piece: slice) -> None:
        nonlocal are_all
        if not are_all:
            is_present[places(piece)] = True
            are_all = bool(is_present.all())

    def codes(numbers: Codes) -> Codes:
        if np.array_equal(numbers, labels):
            return a if a.dtype == np.intp else _in_pieces(run, len(a), lambda piece: a[piece])
        table = np.full(len(is_present), -1)
        table[present] = numbers
        return _in_pieces(run, len(a), lambda piece: table.take(places(piece), mode="clip"))

    run(mark, pieces_of(len(a), _WORD.itemsize))
    present = np.flatnonzero(is_present)
    labels = present + lowest
    return Distinct(labels, codes)


def _by_hash(run: Run, a: Array) -> Distinct:
    """Find integers, or rows of words, by a hash table per worker; labels are in order."""
    words = a if a.dtype == _WORD else _in_pieces(run, len(a), lambda piece: a[piece])
    codes = np.empty(len(a), np.intp)

    def number(part: slice) -> Array:
        return words[part][number_distinct(words[part], codes[part])]

    sample = slice(len(a) // _SAMPLE)
    n_parts = max(1, current_pool().runner.n_workers)
    if 2 * len(number(sample)) >= sample.stop:  # tables would be joined for longer than made
        n_parts = 1
    stops = [len(a) * part // n_parts for part in range(n_parts + 1)]
    parts = [slice(*pair) for pair in pairwise(stops)]
    of_parts = run(number, parts)
    every = np.concatenate(of_parts)
    joined = np.empty(len(every), np.intp)
    labels = every[number_distinct(every, joined)]

    def codes_of(numbers: Codes) -> Codes:
        ends = np.cumsum([len(each) for each in of_parts])
        for part, own in zip(parts, np.split(joined, ends[:-1]), strict=True):
            line, table = codes[part], numbers[own]
            if not np.array_equal(table, np.arange(len(table))):
                _in_pieces(run, len(line), partial(_taken, table, line), out=line)
        return codes

    return Distinct(labels, codes_of)


def _taken(table: Codes, line: Codes, piece: slice) -> Codes:
    return table.take(line[piece], mode="clip")


def _of_strings(run: Run, a: Array) -> Distinct:
    """Find strings as rows of words."""
    char = np.dtype(f"{a.dtype.kind}1").itemsize
    n_words = max(1, math.ceil(a.itemsize / _WORD.itemsize))
    dtype = np.dtype(f"{a.dtype.kind}{n_words * _WORD.itemsize // char}")
    wide = a if a.dtype == dtype else _in_pieces(run, len(a), lambda piece: a[piece], dtype)
    found = _by_hash(run, wide.view(_WORD).reshape(len(a), n_words))
    return found._replace(labels=found.labels.view(dtype)[:, 0].astype(a.dtype))


def _of_objects(a: Array) -> Distinct:
    numbers: dict[Any, int] = {}
    try:
        places = [numbers.setdefault(element, len(numbers)) for element in a.tolist()]
    except TypeError as error:
        raise TypeError(f"labels must have a hash and be equal or not: {error}") from None
    labels = np.fromiter(numbers, object, len(numbers))
    return Distinct(labels, lambda numbers: numbers[places] if places else np.empty(0, np.intp))


def _in_pieces(
    run: Run,
    n: int,
    compute: Callable[[slice], Array],
    dtype: np.dtype[Any] = _WORD,
    out: Array | None = None,
) -> Array:
    """Return an array of `n` elements, of which threads compute pieces; they are put into `out`."""
    target = np.empty(n, dtype) if out is None else out

    def put(piece: slice) -> None:
        target[piece] = compute(piece)

    run(put, pieces_of(n, _WORD.itemsize))
    return target
