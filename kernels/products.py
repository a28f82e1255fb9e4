"""Products of elements; those of floats are a mantissa, what it has lost, and an exponent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sharedmem.kernels import factors
from sharedmem.kernels.compile import part
from sharedmem.kernels.loops.lanes import index
from sharedmem.kernels.loops.layout import as_numbers, has_kernel, is_whole
from sharedmem.kernels.loops.lines import line_kernel
from sharedmem.kernels.loops.pieces import (
    LineReduction,
    Share,
    combine_states,
    finish_lines,
    reduce_lines,
)
from sharedmem.kernels.reduction import Reduction

Array = NDArray[Any]
State = tuple[Array, ...]

# Exponents beyond this make infinity of all mantissas, and below the negative one zero.
_LARGEST_EXPONENT = 40_000


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
_multiplying = LineReduction(factors.multiply_lines, factors.IDENTITY, np.float64)


@lru_cache
def multiply(dtype: DTypeLike, result: DTypeLike) -> Reduction:
    """Return the product of elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    if result.kind == "c":
        has_loop = has_kernel(dtype, "biufc") and has_kernel(result, "c")
        return _scaled(_complex_chunk if has_loop else _scaled_chunk, result)
    if result.kind == "f" and not (has_kernel(dtype, "biuf") and has_kernel(result, "f")):
        return _scaled(_scaled_chunk, result)
    if result.kind != "f" and not (result.char in "lLqQ" and dtype.kind in "biu"):
        chunk = partial(_numpy_chunk, dtype=result)
        one = np.ones((), result)[()] if result.kind in "biu" else 1
        return Reduction(chunk, _combine_numbers, _number, (one,), lines=True)
    return _by_kernel(dtype, result)


def _by_kernel(dtype: np.dtype[Any], result: np.dtype[Any]) -> Reduction:
    finalize: Callable[[State], Array]
    if result.kind == "f":
        how, combine, finalize = _multiplying, _combine, partial(_finalize, result=result)
    else:
        one: Any = np.ones((), result)[()]
        how, combine, finalize = _integers(one, result), _combine_numbers, _number
    whole = is_whole(dtype)
    is_direct = whole and is_whole(result)
    direct = partial(_direct, how=how._replace(result=result)) if is_direct else None
    return Reduction(
        partial(_chunk, how=how), combine, finalize, how.identity,
        lines=True, whole=whole, direct=direct,
    )  # fmt: skip


def _integers(one: Any, result: np.dtype[Any]) -> LineReduction:
    return LineReduction(_multiply_lines, (one,), result)


def starting_from(initial: Any, reduction: Reduction, result: np.dtype[Any]) -> Reduction:
    """Return the product of floats that starts from a number, which is a factor like others."""
    first, nothing = np.full((1, 1), initial, result), np.zeros((1, 1))
    if reduction.identity == factors.IDENTITY:
        mantissa, power = np.frexp(first.astype(np.float64))
        begin: State = (mantissa, nothing, power)
    else:
        begin = (first, nothing)

    def finalize(state: State) -> Array:
        start = tuple(
            np.broadcast_to(one, part.shape) for one, part in zip(begin, state, strict=True)
        )
        return reduction.finalize(reduction.combine(start, state))  # type: ignore[no-any-return]

    return replace(reduction, finalize=finalize, direct=None)


def _chunk(x: Array, share: Share | None = None, *, how: LineReduction) -> State:
    return reduce_lines(how, as_numbers(x), share)


def _direct(x: Array, share: Share | None = None, *, how: LineReduction) -> Array:
    return finish_lines(how, as_numbers(x), share)


def _combine(a: State, b: State) -> State:
    return combine_states(factors.multiply_lines, a, b)


def _finalize(state: State, result: np.dtype[Any]) -> Array:
    product, lost, exponent = state
    with np.errstate(all="ignore"):
        best = np.where((product == 0) | ~np.isfinite(lost), product, product + lost)
        return _times_power(best, exponent).astype(result)


def _numpy_chunk(x: Array, dtype: np.dtype[Any]) -> State:
    return (np.multiply.reduce(x, axis=1, dtype=dtype),)


def _combine_numbers(a: State, b: State) -> State:
    return (a[0] * b[0],)


def _number(state: State) -> Array:
    return state[0]


def _scaled(chunk: Callable[..., State], result: np.dtype[Any]) -> Reduction:
    """Return the product as a reduction to states of a number and an exponent."""

    def combine(a: State, b: State) -> State:
        with np.errstate(all="ignore"):
            (x, p), (y, q) = _rescaled(*a), _rescaled(*b)
            return x * y, p + q

    def finalize(state: State) -> Array:
        with np.errstate(all="ignore"):
            return _times_power(*state).astype(result)

    one = np.ones((), result)[()]
    return Reduction(partial(chunk, result=result), combine, finalize, (one, 0), lines=True)


def _complex_chunk(x: Array, result: np.dtype[Any]) -> State:
    x = np.ascontiguousarray(x, np.complex128).view()
    x.flags.writeable = False
    product = np.ones((x.shape[0], x.shape[2]), np.complex128)
    exponent = np.zeros(product.shape)
    factors.multiply_complex(x, product, exponent)
    return product, exponent


def _scaled_chunk(x: Array, result: np.dtype[Any]) -> State:
    """Multiply the halves of lines until one element is left."""
    with np.errstate(all="ignore"):
        product, exponent = _rescaled(x.astype(result), np.zeros(x.shape))
        while product.shape[1] > 1:
            half = product.shape[1] // 2
            parts = product[:, :half] * product[:, half : 2 * half]
            powers = exponent[:, :half] + exponent[:, half : 2 * half]
            parts, powers = _rescaled(parts, powers)
            product = np.concatenate([parts, product[:, 2 * half :]], axis=1)
            exponent = np.concatenate([powers, exponent[:, 2 * half :]], axis=1)
    return product[:, 0], exponent[:, 0]


def _rescaled(x: Array, exponent: Array) -> State:
    """Scale what is so large or small that a product with it might not have room."""
    size = np.maximum(np.abs(x.real), np.abs(x.imag)) if x.dtype.kind == "c" else np.abs(x)
    has_room = (size >= factors.SMALLEST) & (size <= factors.LARGEST)
    more = np.where(has_room, 0, np.frexp(size)[1])
    return _times_power(x, -more), exponent + more


def _times_power(x: Array, exponent: Array) -> Array:
    """Return numbers times a power of two."""
    power = np.clip(exponent, -_LARGEST_EXPONENT, _LARGEST_EXPONENT).astype(np.intc)
    if x.dtype.kind != "c":
        return np.asarray(np.ldexp(x, power))
    scaled = np.empty_like(x)
    scaled.real, scaled.imag = np.ldexp(x.real, power), np.ldexp(x.imag, power)
    return scaled
