"""Products of elements."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels.compile import part
from sharedmem.kernels.lanes import LANES, index
from sharedmem.kernels.layout import as_numbers, has_kernel
from sharedmem.kernels.lines import line_kernel
from sharedmem.kernels.pieces import LineReduction, reduce_lines
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]


def _multiplier(known: int) -> Callable[..., None]:
    """Make the kernel that multiplies lanes by rows: see :func:`line_kernel`."""

    @part
    def multiply_rows(
        x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
    ) -> None:
        width = known if known else width
        number = state.dtype.type
        product = state[0, at:]
        for _ in range(n):
            for j in range(width):
                product[j] *= number(x[index(p + j)])
            p += stride

    return multiply_rows


@part
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        state[0, j] *= state[0, j + half]


_multiply_lines = line_kernel(_multiplier, _fold)


@lru_cache
def multiply(dtype: DTypeLike, result: DTypeLike) -> Reduction:
    """Return the product of elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    if result.kind == "f":
        covered = has_kernel(dtype, "biuf") and has_kernel(result, "f")
        accumulator: np.dtype[Any] = np.dtype(np.float64)
    else:
        covered = result.char in "lLqQ" and dtype.kind in "biu"
        accumulator = result
    chunk = _chunk if covered and np.can_cast(dtype, accumulator, "same_kind") else _numpy_chunk
    widest = accumulator if chunk is _chunk else result
    one = np.ones((), widest)[()] if widest.kind in "biufc" else 1
    finalize = partial(_finalize, result=result)
    return Reduction(partial(chunk, dtype=widest), _combine, finalize, (one,), lines=True)


def _chunk(x: Array, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    if x.dtype == dtype and x.shape[2] >= LANES:  # NumPy's loops are vectorized, too
        return _numpy_chunk(x, dtype)
    (product,) = reduce_lines(LineReduction(_multiply_lines, (1,), dtype), as_numbers(x))
    if dtype.kind == "f":
        # Of large and small numbers in turns, each lane may have those of one kind and overflow
        # where the product in sequence does not.
        with np.errstate(invalid="ignore"):
            size = np.abs(product)
            beyond = ~((size >= np.finfo(dtype).tiny) & (size < np.inf))
        if beyond.any():
            return _numpy_chunk(x, dtype)
    return (product,)


def _numpy_chunk(x: Array, dtype: np.dtype[Any]) -> tuple[Array, ...]:
    return (np.multiply.reduce(x, axis=1, dtype=dtype),)


def _combine(a: tuple[Array, ...], b: tuple[Array, ...]) -> tuple[Array, ...]:
    return (a[0] * b[0],)


def _finalize(state: tuple[Array, ...], result: np.dtype[Any]) -> Array:
    return state[0].astype(result)
