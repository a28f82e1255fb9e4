"""The index of the first of the smallest or largest elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import numpy as np

from sharedmem.kernels.emitted import call
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array, address_of, has_kernel
from sharedmem.kernels.loops.memory import WORD, kind_of
from sharedmem.kernels.loops.vectors import VECTOR, Vector
from sharedmem.kernels.reduction import LineReduction, State

# Columns are searched in panels of this width, so that their states stay in the L1 cache.
PANEL = 1024
# Lines shorter than this are searched side by side.
SHORT = 16


# Widths of the vectors of columns.
WIDTHS = (VECTOR, 4, 1)
# Rows that are compared with elements that stay in registers.
GROUP = 8


def _is_better(a: Vector, b: Vector, finds_least: bool) -> Vector:
    """Return where `a` is smaller, or larger, than `b`, or the first NaN."""
    if not a.is_float:
        return a < b if finds_least else a > b
    is_number = b.equals(b)
    is_no_better = a >= b if finds_least else a <= b
    return is_no_better.choose(is_number.full(0), is_number)


def _emit_locate(code: Emitter, block: Block, dtype: np.dtype[Any], finds_least: bool) -> None:
    """Find the element of each column that is better than all before it, and its index."""
    n_outer, n, n_inner = (block.integer(word) for word in range(3))
    x, values = (block.numbers(word, kind_of(dtype)) for word in (3, 4))
    places, one = block.numbers(5, WORD), code.constant(1)
    with code.loop(0, n_outer) as outer, code.loop(0, n_inner, PANEL) as first:
        at, width = outer * n_inner + first, (n_inner - first).least(PANEL)
        rows = x.start(outer * n * n_inner + first)
        value, place = values.start(at), places.start(at)

        def start(j: Int, some: int) -> None:
            value.store(rows.load(j, some), j)
            place.store(place.full(0, some), j)

        def compare(i: Int, n_rows: int) -> None:
            def compare_some(j: Int, some: int) -> None:
                best, where = value.load(j, some), place.load(j, some)
                for row in range(1, n_rows + 1):
                    element = rows.load((i + row) * n_inner + j, some)
                    is_better = _is_better(element, best, finds_least)
                    best = is_better.choose(element, best)
                    where = is_better.choose((i + row).as_vector().repeat(some), where)
                value.store(best, j)
                place.store(where, j)

            code.in_vectors(width, compare_some, WIDTHS)

        code.in_vectors(width, start, WIDTHS)
        code.in_vectors(n - one, compare, (GROUP, 1))


@lru_cache
def argmin(dtype: np.dtype[Any]) -> LineReduction:
    """Return the index of the first of the smallest elements, or of the first NaN."""
    return _reduction(dtype, np.argmin)


@lru_cache
def argmax(dtype: np.dtype[Any]) -> LineReduction:
    """Return the index of the first of the largest elements, or of the first NaN."""
    return _reduction(dtype, np.argmax)


@lru_cache
def nanargmin(dtype: np.dtype[Any]) -> LineReduction:
    """Return the index of the smallest, with NaN as infinity, and whether all are NaN."""
    return _nan_reduction(argmin(dtype), dtype, np.inf)


@lru_cache
def nanargmax(dtype: np.dtype[Any]) -> LineReduction:
    """Return the index of the largest, with NaN as -infinity, and whether all are NaN."""
    return _nan_reduction(argmax(dtype), dtype, -np.inf)


def _reduction(dtype: np.dtype[Any], find: Callable[..., Any]) -> LineReduction:
    has_locator = has_kernel(dtype, "iuf") and dtype.char != "e"
    chunk = partial(_chunk, find=find, has_locator=has_locator)
    return LineReduction(chunk, partial(_combine, find=find), itemgetter(1))


def _chunk(x: Array, find: Callable[..., Any], has_locator: bool) -> State:
    n_outer, n, n_inner = x.shape
    if not has_locator or (n_inner == 1 and n >= SHORT):  # NumPy is fast where lines are contiguous
        places = np.asarray(find(x[:, :, 0], axis=1))[:, None] if n_inner == 1 else find(x, axis=1)
        values = np.take_along_axis(x, places[:, None], axis=1)[:, 0]
    else:
        turned = x.transpose(2, 1, 0) if n_inner == 1 else x  # short lines side by side
        turned = np.ascontiguousarray(turned, x.dtype.newbyteorder("="))
        values = np.empty((turned.shape[0], turned.shape[2]), turned.dtype)
        places = np.empty(values.shape, np.intp)
        arrays = (address_of(each) for each in (turned, values, places))
        call(_emit_locate, (turned.dtype, find is np.argmin), *turned.shape, *arrays)
        values, places = (part.reshape(n_outer, n_inner) for part in (values, places))
    return values, places, np.full(places.shape, n, np.intp)


def _combine(a: State, b: State, find: Callable[..., Any]) -> State:
    is_later = find(np.stack([a[0], b[0]]), axis=0) == 1
    places = np.where(is_later, b[1] + a[2], a[1])
    return np.where(is_later, b[0], a[0]), places, a[2] + b[2]


# Elements of chunks in any order, with their numbers.
NUMBERED = "value", "number"


@lru_cache
def by_number(plain: LineReduction) -> LineReduction:
    """Return the number of the element that `plain` finds, of structured elements with numbers.

    Of equal ones it is that with the least number.
    """

    def chunk(x: Array) -> State:
        values, places, _, *is_nan = plain.chunk(x[NUMBERED[0]])
        numbers = np.take_along_axis(x[NUMBERED[1]], places[:, None], axis=1)[:, 0]
        return values, numbers, np.ones(places.shape, np.intp), *is_nan

    def combine(a: State, b: State) -> State:
        # Places of elements are those in the pair: 0, and 1.
        zeros = np.zeros(a[1].shape, np.intp)
        first, second = ((one[0], zeros, *one[2:]) for one in (a, b))
        _, is_later, _, *is_nan = plain.combine(first, second)
        _, is_no_earlier, *_ = plain.combine(second, first)
        is_tie = (is_later == 0) & (is_no_earlier == 0)
        numbers = np.where(is_tie, np.minimum(a[1], b[1]), np.where(is_later == 1, b[1], a[1]))
        return np.where(is_later == 1, b[0], a[0]), numbers, a[2], *is_nan

    return LineReduction(chunk, combine, plain.finalize)


def _nan_reduction(plain: LineReduction, dtype: np.dtype[Any], worst: float) -> LineReduction:
    """Return the reduction of the elements that are not NaN; its state has where all are NaN."""
    substitute = complex(worst, worst) if dtype.kind == "c" else worst

    def chunk(x: Array) -> State:
        is_nan = np.isnan(x)
        numbers = x.copy()
        np.copyto(numbers, substitute, where=is_nan)
        values, places, lengths = plain.chunk(numbers)
        finds_nan = np.take_along_axis(is_nan, places[:, None], axis=1)[:, 0]
        if finds_nan.any():  # no number is better than the substitute
            places = np.where(finds_nan, np.argmin(is_nan, axis=1), places)
        return values, places, lengths, np.asarray(is_nan.all(axis=1))

    def combine(a: State, b: State) -> State:
        values, places, lengths = plain.combine(a[:3], b[:3])
        is_later = a[3] & ~b[3]  # also where the numbers are no better than the substitute
        places = np.where(is_later, b[1] + a[2], places)
        return values, places, lengths, np.asarray(a[3] & b[3])

    return LineReduction(chunk, combine, itemgetter(1, 3))
