"""Counts of elements that are not zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.lines import index
from sharedmem.kernels.pieces import Share, reduce_lines
from sharedmem.kernels.reduction import Reduction
from sharedmem.kernels.vectors import Vector, tree_sum, vector_kernel

Array = NDArray[Any]


def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    counted = tree_sum([row.differs(row.full(0)).ones(row) for row in rows])
    return (state[0] + counted.widen(state[0]),)


def _counter(known: int) -> Callable[..., None]:
    """Make the kernel that counts elements of rows: see :func:`line_kernel`."""

    @part
    def add_rows(
        x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        width = known if known else width
        count = state[0, at:]
        for _ in range(n):
            for j in range(width):
                count[j] += x[index(p + j)] != 0
            p += stride

    return add_rows


@part
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        state[0, j] += state[0, j + half]


_count_lines = vector_kernel(_step, 1, _counter, _fold)


@lru_cache
def count_nonzero(dtype: DTypeLike) -> Reduction:
    """Return how many elements are not zero; NaN is not zero."""
    dtype = np.dtype(dtype)
    chunk = _chunk if has_kernel(dtype, "biuf") else _numpy_chunk
    return Reduction(chunk, _combine, _count, identity=(0,), lines=True, whole=is_whole(dtype))


def _chunk(x: Array, share: Share | None = None) -> tuple[Array, ...]:
    return reduce_lines(_count_lines, as_numbers(x), (0,), np.int64, share=share)


def _numpy_chunk(x: Array) -> tuple[Array, ...]:
    return (np.asarray(np.count_nonzero(x, axis=1)),)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (a[0] + b[0],)


def _count(state: tuple[Array, ...]) -> Array:
    return state[0]
