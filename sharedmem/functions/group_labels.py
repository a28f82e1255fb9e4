"""Labels of groups: found, expected, or bins; and for each element, the number of its group."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.arrays.chunks import Chunk, bytes_a_chunk, chunks
from sharedmem.engine.groups import MISSING, Groups
from sharedmem.engine.long_lines import pieces_of
from sharedmem.engine.operands import common_shape, in_memory
from sharedmem.functions.distinct import distinct
from sharedmem.functions.searching import searchsorted
from sharedmem.functions.sorting import argsort
from sharedmem.kernels import histograms
from sharedmem.kernels.loops.layout import as_numbers
from sharedmem.machine.arguments import check_count
from sharedmem.machine.limits import NEGLIGIBLE_BYTES, available_memory
from sharedmem.pool.mapreduce import current_pool

Array = NDArray[Any]
Codes = NDArray[np.intp]

# Kinds of dtypes whose elements can be equal.
_COMPARABLE = ("biuf", "M", "m", "U", "S")


class _Bins(NamedTuple):
    """Bins in ascending order, and which of their edges they include: as intervals of pandas."""

    left: Array
    right: Array
    closed: str


class _Numbered(NamedTuple):
    """The group of each element, and the labels of the groups."""

    codes: Codes
    labels: Array


def group_labels(by: Sequence[Any], expected: Any, is_bin: Any, sort: bool) -> Groups:
    """Return numbers of groups, of elements that have equal labels.

    Parameters
    ----------
    by : sequence of array_like
        Labels, broadcast against each other: integers, bools, floats, strings, datetimes,
        timedeltas, objects with a hash, and what pandas has for them. NaN, NaT, None, and among
        integers -1 are missing labels.
    expected : tuple, or that of a single `by`
        For each `by`: the labels of the groups in their order, where all others are missing; an
        integer n for the labels 0 to n-1; the ascending edges of bins, or intervals of pandas; or
        None for the labels found.
    is_bin : bool or tuple of bool
        For each `by`, whether `expected` are edges. A bin includes its right edge and not its left
        one, as those of `pandas.cut`.
    sort : bool
        Whether labels that are found are sorted. Else they are in order of appearance.

    Returns
    -------
    Groups
        The codes may be an array of `by`. The labels of bins are their edges, of shape (n, 2).

    Raises
    ------
    TypeError, ValueError
        If something of `by` or `expected` does not fit, or a label is a negative integer other than
        -1, and labels are not given by `expected`.
    MemoryError
        If memory has no room for a number per group.
    """
    pairs = zip(
        _per_array("expected_groups", expected, len(by)),
        _per_array("isbin", is_bin, len(by)),
        strict=True,
    )
    wanted = [_wanted(*pair) for pair in pairs]
    _check_room([len(each) for each in wanted if isinstance(each, np.ndarray)])
    held = [_held(labels) for labels in by]
    shape = common_shape([labels.shape for labels in held])
    parts = [_numbered(*each, sort) for each in zip(held, wanted, strict=True)]
    lengths = tuple(len(part.labels) for part in parts)
    _check_room(lengths)
    codes = parts[0].codes if len(parts) == 1 else _joined(parts, shape)
    return Groups(codes, tuple(part.labels for part in parts), lengths)


def _per_array(name: str, value: Any, n: int) -> tuple[Any, ...]:
    """Return one value for each of `n` arrays of labels."""
    if not isinstance(value, tuple):
        if n > 1 and not (value is None or isinstance(value, bool)):
            raise TypeError(f"{name} must be a tuple, with a value for each of {n} arrays in by")
        return (value,) * n
    if len(value) != n:
        raise ValueError(f"{name} has {len(value)} values, but by has {n} arrays")
    return value


def _wanted(expected: Any, is_bin: bool) -> Array | _Bins | None:
    """Return the labels that are expected, bins, or None."""
    if all(hasattr(expected, name) for name in ("left", "right", "closed")):
        return _intervals(expected)
    if expected is None:
        if is_bin:
            raise TypeError("isbin needs the edges of bins: give expected_groups")
        return None
    if not is_bin and np.ndim(expected) == 0:
        return np.arange(check_count("expected_groups", expected, 1))
    labels = in_memory(expected)
    if labels.ndim != 1 or len(labels) < 1 + is_bin:
        what = "the edges of bins, at least two" if is_bin else "an integer, or labels"
        raise ValueError(f"expected_groups must be {what}, got an array of shape {labels.shape}")
    if is_bin:
        _check_ascending(labels, operator.lt)
        return _Bins(labels[:-1], labels[1:], "right")
    found, codes_of = distinct(labels, in_order=True)
    if len(found) < len(labels):
        counts = np.bincount(codes_of(np.arange(len(found))))
        label = found[counts.argmax()]
        raise ValueError(f"expected_groups has the label {label!r} {counts.max()} times")
    return labels


def _intervals(intervals: Any) -> _Bins:
    """Return intervals of pandas as bins."""
    left, right = np.asarray(intervals.left), np.asarray(intervals.right)
    edges = np.stack([left, right], axis=1).reshape(-1)
    _check_ascending(edges, operator.lt if intervals.closed == "both" else operator.le)
    return _Bins(left, right, intervals.closed)


def _check_ascending(edges: Array, precedes: Callable[[Array, Array], Array]) -> None:
    is_right = precedes(edges[:-1], edges[1:])
    if not is_right.all():
        at = int(is_right.argmin())
        raise ValueError(
            f"the edges of bins must be in ascending order, got {edges[at]} before {edges[at + 1]}"
        )


def _held(labels: Any) -> Any:
    """Return labels as an array, or as what holds them as indices of categories."""
    held = getattr(labels, "array", labels)  # of a Series or an Index of pandas
    if hasattr(held, "categories") and hasattr(held, "codes"):
        return held
    # Missing values, which arrays for other uses must not have, are left out here.
    may_miss = hasattr(labels, "isna") or hasattr(labels, "null_count")
    array = np.asarray(labels) if may_miss else in_memory(labels)
    if array.ndim == 0:
        raise TypeError(f"by must be arrays of labels, got {labels!r}")
    return array


def _numbered(held: Any, wanted: Array | _Bins | None, sort: bool) -> _Numbered:
    """Return the groups of the elements of one array."""
    if not isinstance(held, np.ndarray):
        if not isinstance(wanted, _Bins):
            return _in_categories(held, wanted, sort)
        held = np.asarray(held)
    line = held.reshape(-1)
    if isinstance(wanted, _Bins):
        edges = _as_labels(np.stack(wanted[:2], axis=1), line.dtype)
        return _Numbered(_in_bins(line, edges, wanted.closed).reshape(held.shape), edges)
    found, codes_of = distinct(line, in_order=not sort and wanted is None)
    if wanted is None:
        numbers, labels = _numbers(found, sort)
    else:
        labels = _as_labels(wanted, found.dtype)
        numbers = _places(found, labels)
    return _Numbered(codes_of(numbers).reshape(held.shape), labels)


def _in_categories(held: Any, wanted: Array | None, sort: bool) -> _Numbered:
    """Return the groups of elements that are indices of categories, or -1."""
    codes, categories = np.asarray(held.codes), np.asarray(held.categories)
    if wanted is None:
        found = _numbered(codes, None, sort)
        return found._replace(labels=categories[found.labels])
    labels = _as_labels(wanted, categories.dtype)
    places = _places(labels, categories)
    is_new = places == MISSING
    places[is_new] = len(categories) + np.arange(is_new.sum())
    return _numbered(codes, places, sort)._replace(labels=labels)


def _in_bins(line: Array, edges: Array, closed: str) -> Codes:
    """Return the bin of each element."""
    if line.dtype.kind in "mM":
        dtype = np.result_type(line, edges)
        line, edges = line.astype(dtype, copy=False).view(np.int64), edges.astype(dtype)
        edges = edges.view(np.int64)  # NaT is the smallest integer, in no bin
    searched = histograms.search_type(line.dtype, edges)
    if searched is None:
        raise TypeError(
            f"labels of dtype {line.dtype} cannot be put into bins with edges of dtype "
            f"{edges.dtype}: give numbers, or datetimes, for both"
        )
    starts = _starts(edges.astype(searched), closed)
    limits = histograms.limits(starts, False)
    bin_of = np.full(len(starts), MISSING)
    bin_of[: 2 * len(edges) : 2] = np.arange(len(edges))
    codes = np.empty(len(line), np.intp)

    def find(piece: slice) -> None:
        part = codes[piece]
        histograms.find_bins(histograms.native(as_numbers(line[piece])), starts, limits, part)
        np.take(bin_of, part, mode="clip", out=part)

    current_pool().runner.run(codes.nbytes)(find, pieces_of(len(line), codes.itemsize))
    return codes


def _starts(edges: Array, closed: str) -> Array:
    """Return where each bin and the gap after it start, and where the last gap ends."""
    is_float = edges.dtype.kind == "f"
    top = np.array(np.inf if is_float else np.iinfo(edges.dtype).max, edges.dtype)
    left, right = edges.T
    after_left, after_right = np.nextafter(edges.T, top) if is_float else edges.T + 1
    firsts = left if closed in ("left", "both") else after_left
    stops = right if closed in ("left", "neither") else after_right
    starts = np.stack([firsts, np.maximum(firsts, stops)], axis=1).reshape(-1)
    if closed in ("right", "both") and right[-1] == top:
        starts[-1] = top  # there is nothing after it
        return starts
    return np.append(starts, top)


def _numbers(found: Array, sort: bool) -> tuple[Codes, Array]:
    """Return the numbers of labels that are found, and those that are groups, in their order."""
    is_missing = _is_missing(found)
    if found.dtype.kind == "i" and found.min(initial=MISSING) < MISSING:
        raise ValueError(
            f"by has the negative label {found.min()}: -1 marks missing labels; give the labels "
            "as expected_groups if others are negative"
        )
    groups = np.flatnonzero(~is_missing)
    if sort:
        groups = groups[_order(found[groups])]
    numbers = np.full(len(found), MISSING)
    numbers[groups] = np.arange(len(groups))
    return numbers, found[groups]


def _is_missing(found: Array) -> NDArray[np.bool_]:
    if found.dtype.kind == "i":
        return np.equal(found, MISSING)
    if found.dtype.kind == "O":
        return np.fromiter(map(_is_nothing, found), bool, len(found))
    is_missing: NDArray[np.bool_] = found != found  # NaN and NaT differ from themselves
    return is_missing


def _is_nothing(label: Any) -> bool:
    # Comparisons of pandas.NA give that again, and it has no truth value.
    return label is None or type(label).__name__ == "NAType" or bool(label != label)


def _order(labels: Array) -> Codes:
    try:
        return argsort(labels)
    except TypeError as error:
        raise TypeError(f"labels cannot be sorted, give sort=False: {error}") from None


def _as_labels(wanted: Array, dtype: np.dtype[Any]) -> Array:
    """Return the expected labels, in a dtype whose elements can equal those of `dtype`."""
    if dtype.kind in "mM" and wanted.dtype.kind in "OU":
        return wanted.astype(f"{dtype.kind}8")  # in the unit that they are given in
    if "O" not in (dtype.kind, wanted.dtype.kind) and not any(
        dtype.kind in kinds and wanted.dtype.kind in kinds for kinds in _COMPARABLE
    ):
        raise TypeError(
            f"expected_groups of dtype {wanted.dtype} cannot be compared with labels of dtype "
            f"{dtype}"
        )
    return wanted


def _places(labels: Array, among: Array) -> Codes:
    """Return the place of each label among others, which are distinct, or -1."""
    if "O" in (labels.dtype.kind, among.dtype.kind):
        place_of = {label: place for place, label in enumerate(among.tolist())}
        places = (place_of.get(label, MISSING) for label in labels.tolist())
        return np.fromiter(places, np.intp, len(labels))
    order = argsort(among)
    line = among[order]
    places = searchsorted(line, labels).clip(max=len(line) - 1)
    return np.where(line[places] == labels, order[places], MISSING)


def _check_room(lengths: Sequence[int]) -> None:
    """Refuse more groups than memory has room for."""
    needed = math.prod(lengths) * np.dtype(np.intp).itemsize
    if needed > NEGLIGIBLE_BYTES and needed > (room := available_memory()):
        raise MemoryError(
            f"{' x '.join(map(str, lengths))} groups, with 8 bytes for each, take more than the "
            f"{room} bytes of available memory: give fewer expected_groups, or one array of labels "
            "that numbers the groups that exist"
        )


def _joined(parts: Sequence[_Numbered], shape: tuple[int, ...]) -> Codes:
    """Return the numbers of the cells of groups of several kinds."""
    codes = np.empty(shape, np.intp)
    kinds = [(np.broadcast_to(part.codes, shape), len(part.labels)) for part in parts]

    def join(chunk: Chunk) -> None:
        cells = codes[chunk]
        cells[...] = 0
        is_missing = np.zeros(cells.shape, bool)
        for numbers, n in kinds:
            cells *= n
            cells += numbers[chunk]
            is_missing |= numbers[chunk] < 0
        cells[is_missing] = MISSING

    grid = chunks(codes, nbytes=bytes_a_chunk(codes.nbytes))
    current_pool().runner.run(codes.nbytes)(join, grid)
    return codes
