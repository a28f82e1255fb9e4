"""Counts of elements that are not zero."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.lanes import index
from sharedmem.kernels.loops.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.pieces import LineReduction, Share, finish_lines, reduce_lines
from sharedmem.kernels.loops.vectors import Vector, tree_sum, vector_kernel
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    counted = tree_sum([row.differs(row.full(0)).ones(row) for row in rows])
    return (state[0] + counted.widen(state[0]),)


@part
def _add_few(
    x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    count = state[0, at:]
    for _ in range(n):
        for j in range(width):
            count[j] += x[index(p + j)] != 0
        p += stride


@part
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        state[0, j] += state[0, j + half]


_counting = LineReduction(vector_kernel(_step, 1, _add_few, _fold), (0,), np.int64)


@lru_cache
def count_nonzero(dtype: DTypeLike) -> Reduction:
    """Return how many elements are not zero; NaN is not zero."""
    dtype = np.dtype(dtype)
    chunk = _chunk if has_kernel(dtype, "biuf") else _numpy_chunk
    whole = is_whole(dtype)
    direct = _direct if whole else None
    return Reduction(chunk, _combine, _count, (0,), lines=True, whole=whole, direct=direct)


def _chunk(x: Array, share: Share | None = None) -> tuple[Array, ...]:
    return reduce_lines(_counting, as_numbers(x), share)


def _direct(x: Array, share: Share | None = None) -> Array:
    return finish_lines(_counting, as_numbers(x), share)


def _numpy_chunk(x: Array) -> tuple[Array, ...]:
    return (np.asarray(np.count_nonzero(x, axis=1)),)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (a[0] + b[0],)


def _count(state: tuple[Array, ...]) -> Array:
    return state[0]
