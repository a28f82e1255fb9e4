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
        numbers = np.empty(len(line))
        _in_pieces(run, numbers, lambda piece, part: np.add(line[piece], 0.0, out=part))
        found = _of_integers(run, numbers.view(_WORD), in_order)
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

    def mark(piece: slice) -> None:
        nonlocal are_all
        if not are_all:
            part = a[piece].astype(np.intp, copy=False)
            is_present[part - lowest if lowest else part] = True
            are_all = bool(is_present.all())

    def codes(numbers: Codes) -> Codes:
        if np.array_equal(numbers, labels):
            return _as(run, a, np.dtype(np.intp))
        start = 0 if 0 <= lowest <= _SHORT_RANGE else lowest
        table = np.full(highest - start + 1, -1)
        table[labels - start] = numbers

        def look_up(piece: slice, part: Codes) -> None:
            places = a[piece]
            if start or a.dtype != np.intp:  # where the result goes: other memory takes longer
                np.copyto(part, places)
                part -= start
                places = part
            np.take(table, places, mode="clip", out=part)

        found = np.empty(len(a), np.intp)
        _in_pieces(run, found, look_up)
        return found

    run(mark, pieces_of(len(a), _WORD.itemsize))
    labels = np.flatnonzero(is_present) + lowest
    return Distinct(labels, codes)


def _by_hash(run: Run, a: Array) -> Distinct:
    """Find integers, or rows of words, by a hash table per worker; labels are in order."""
    words = _as(run, a, _WORD)
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
            table = numbers[own]
            if not np.array_equal(table, np.arange(len(table))):
                _in_pieces(run, codes[part], partial(_look_up, table))
        return codes

    return Distinct(labels, codes_of)


def _look_up(table: Codes, _: slice, part: Codes) -> None:
    """Replace numbers by those of a table."""
    np.take(table, part, mode="clip", out=part)


def _of_strings(run: Run, a: Array) -> Distinct:
    """Find strings as rows of words."""
    char = np.dtype(f"{a.dtype.kind}1").itemsize
    n_words = max(1, math.ceil(a.itemsize / _WORD.itemsize))
    dtype = np.dtype(f"{a.dtype.kind}{n_words * _WORD.itemsize // char}")
    found = _by_hash(run, _as(run, a, dtype).view(_WORD).reshape(len(a), n_words))
    return found._replace(labels=found.labels.view(dtype)[:, 0].astype(a.dtype))


def _of_objects(a: Array) -> Distinct:
    numbers: dict[Any, int] = {}
    try:
        places = [numbers.setdefault(element, len(numbers)) for element in a.tolist()]
    except TypeError as error:
        raise TypeError(f"labels must have a hash and be equal or not: {error}") from None
    labels = np.fromiter(numbers, object, len(numbers))
    return Distinct(labels, lambda numbers: numbers[places] if places else np.empty(0, np.intp))


def _as(run: Run, a: Array, dtype: np.dtype[Any]) -> Array:
    """Return a line in another dtype, or the line itself."""
    if a.dtype == dtype:
        return a
    out = np.empty(len(a), dtype)
    _in_pieces(run, out, lambda piece, part: np.copyto(part, a[piece]))
    return out


def _in_pieces(run: Run, out: Array, put: Callable[[slice, Array], object]) -> None:
    """Call a function on pieces, and their parts of `out`, in threads."""
    run(lambda piece: put(piece, out[piece]), pieces_of(len(out), _WORD.itemsize))
