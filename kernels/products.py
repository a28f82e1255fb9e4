"""Products: of floats, a state is a mantissa, its rounding error, and an exponent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sharedmem.kernels import factors
from sharedmem.kernels.loops.layout import Array, has_kernel, is_whole
from sharedmem.kernels.loops.lines import vector_family
from sharedmem.kernels.loops.pieces import KernelSpec, by_kernel, combine_states
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.quiet import quiet
from sharedmem.kernels.reduction import LineReduction, State, only_part

# Beyond this exponent, all mantissas give infinity; below the negative one, zero.
_LARGEST_EXPONENT = 40_000


# Products of integers are exact, or those of the lowest bits.
def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    return (math.prod((row.widen(state[0]) for row in rows), start=state[0]),)


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    return (a[0] * b[0],)


_integers = vector_family("product-of-integers", _step, 1, _fold)


@lru_cache
def multiply(dtype: DTypeLike, result: DTypeLike) -> LineReduction:
    """Return the product of elements of `dtype`, as `result`."""
    dtype, result = np.dtype(dtype), np.dtype(result)
    if result.kind == "c":
        has_loop = has_kernel(dtype, "biufc") and has_kernel(result, "c")
        return _scaled(_complex_chunk if has_loop else _scaled_chunk, result)
    if result.kind == "f":
        if not (has_kernel(dtype, "biuf") and has_kernel(result, "f")):
            return _scaled(_scaled_chunk, result)
        finalize = partial(_finalize, result=result)
        finishes = is_whole(result)
        arguments = (result if finishes else None,)
        return by_kernel(_float_spec, arguments, dtype, _combine, finalize, finishes)
    one = np.ones((), result)[()] if result.kind in "biu" else 1
    if result.char in "lLqQ" and dtype.kind in "biu":
        return by_kernel(_integer_spec, (result,), dtype, _combine_numbers, only_part)
    return LineReduction(partial(_numpy_chunk, dtype=result), _combine_numbers, only_part, (one,))


@lru_cache
def _float_spec(result: np.dtype[Any] | None) -> KernelSpec:
    return KernelSpec(factors.FLOATS, factors.IDENTITY, np.float64, result)


@lru_cache
def _integer_spec(result: np.dtype[Any]) -> KernelSpec:
    return KernelSpec(_integers, (1,), result)


def starting_from(initial: Any, reduction: LineReduction, result: np.dtype[Any]) -> LineReduction:
    """Return the product of floats times a number, which counts as a first factor."""
    first, nothing = np.full((1, 1), initial, result), np.zeros((1, 1))
    if reduction.identity == factors.IDENTITY:
        mantissa, power = np.frexp(first.astype(np.float64))
        begin: State = (mantissa, nothing, power)
    else:
        begin = (first, nothing)

    def finalize(state: State) -> Any:
        start = tuple(
            np.broadcast_to(one, part.shape) for one, part in zip(begin, state, strict=True)
        )
        return reduction.finalize(reduction.combine(start, state))

    return replace(reduction, finalize=finalize, direct=None)


def _combine(a: State, b: State) -> State:
    return combine_states(_float_spec(None), a, b)


@quiet
def _finalize(state: State, result: np.dtype[Any]) -> Array:
    product, lost, exponent = state
    best = np.where((product == 0) | ~np.isfinite(lost), product, product + lost)
    return _times_power(best, exponent).astype(result)


def _numpy_chunk(x: Array, dtype: np.dtype[Any]) -> State:
    return (np.multiply.reduce(x, axis=1, dtype=dtype),)


def _combine_numbers(a: State, b: State) -> State:
    return (a[0] * b[0],)


def _scaled(chunk: Callable[..., State], result: np.dtype[Any]) -> LineReduction:
    """Return the product as a reduction whose states are a number and an exponent."""

    @quiet
    def combine(a: State, b: State) -> State:
        (x, p), (y, q) = _rescaled(*a), _rescaled(*b)
        return x * y, p + q

    @quiet
    def finalize(state: State) -> Array:
        return _times_power(*state).astype(result)

    one = np.ones((), result)[()]
    return LineReduction(partial(chunk, result=result), combine, finalize, (one, 0))


def _complex_chunk(x: Array, result: np.dtype[Any]) -> State:
    x = np.ascontiguousarray(x, np.complex128)
    product = np.ones((x.shape[0], x.shape[2]), np.complex128)
    exponent = np.zeros(product.shape)
    factors.multiply_complex(x, product, exponent)
    return product, exponent


@quiet
def _scaled_chunk(x: Array, result: np.dtype[Any]) -> State:
    """Multiply the halves of lines until one element is left."""
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
    """Scale numbers so large or small that their product might overflow or underflow."""
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
