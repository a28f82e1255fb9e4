"""Counts of nonzero elements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels.loops.layout import Array, has_kernel
from sharedmem.kernels.loops.lines import vector_family
from sharedmem.kernels.loops.pieces import KernelSpec, by_kernel
from sharedmem.kernels.loops.vectors import Vector, tree_sum
from sharedmem.kernels.reduction import LineReduction, State, add_counts, only_part


def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    counted = tree_sum([row.differs(row.full(0)).ones(row) for row in rows])
    return (state[0] + counted.widen(state[0]),)


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    return (a[0] + b[0],)


_family = vector_family("count-nonzero", _step, 1, _fold)


@lru_cache
def count_nonzero(dtype: DTypeLike) -> LineReduction:
    """Return the number of elements that are not zero; NaN is not zero."""
    dtype = np.dtype(dtype)
    if has_kernel(dtype, "biuf"):
        return by_kernel(_spec, (), dtype, add_counts, only_part)
    return LineReduction(_numpy_chunk, add_counts, only_part, (0,))


@lru_cache
def _spec() -> KernelSpec:
    return KernelSpec(_family, (0,), np.int64)


def _numpy_chunk(x: Array) -> State:
    return (np.asarray(np.count_nonzero(x, axis=1)),)
