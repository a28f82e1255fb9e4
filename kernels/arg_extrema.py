"""The index of the first of the smallest or largest elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array, has_kernel, read_only_view
from sharedmem.kernels.reduction import LineReduction, State

# Columns are searched in panels of this width, so that their states stay in the L1 cache.
PANEL = 1024
# Lines shorter than this are searched side by side.
SHORT = 16


@part
def _precedes(a: Any, b: Any) -> Any:
    """Return whether `a` is smaller than `b`, or the first NaN."""
    return (a < b) | ((a != a) & (b == b))


@part
def _follows(a: Any, b: Any) -> Any:
    """Return whether `a` is larger than `b`, or the first NaN."""
    return (a > b) | ((a != a) & (b == b))


# A state: the element, its index, and the number of elements.
def _locator(is_better: Callable[[Any, Any], Any]) -> Callable[..., None]:
    @kernel
    def locate(x: Array, values: Array, places: Array) -> None:
        n_outer, n, n_inner = x.shape
        for outer in range(n_outer):
            for column in range(0, n_inner, PANEL):
                stop = min(n_inner, column + PANEL)
                value = values[outer, column:stop]
                place = places[outer, column:stop]
                for j in range(len(value)):
                    value[j] = x[outer, 0, column + j]
                    place[j] = 0
                for i in range(1, n):
                    row = x[outer, i, column:stop]
                    for j in range(len(value)):
                        better = is_better(row[j], value[j])
                        place[j] = i if better else place[j]
                        value[j] = row[j] if better else value[j]

    return locate


_LOCATORS = {np.argmin: _locator(_precedes), np.argmax: _locator(_follows)}


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
        turned = read_only_view(np.ascontiguousarray(turned, x.dtype.newbyteorder("=")))
        values = np.empty((turned.shape[0], turned.shape[2]), turned.dtype)
        places = np.empty(values.shape, np.intp)
        _LOCATORS[find](turned, values, places)
        values, places = (part.reshape(n_outer, n_inner) for part in (values, places))
    return values, places, np.full(places.shape, n, np.intp)


def _combine(a: State, b: State, find: Callable[..., Any]) -> State:
    is_later = find(np.stack([a[0], b[0]]), axis=0) == 1
    places = np.where(is_later, b[1] + a[2], a[1])
    return np.where(is_later, b[0], a[0]), places, a[2] + b[2]


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
