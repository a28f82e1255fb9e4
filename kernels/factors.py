"""Products of floats whose exponent is kept apart: they overflow at the end or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.intrinsics import fma
from sharedmem.kernels.loops.lanes import index
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.vector_kernels import vector_kernel
from sharedmem.kernels.loops.vectors import Vector

# The bits of a float64.
_SIGN, _EXPONENT, _ONE, _BIAS = 1 << 63, 0x7FF << 52, 0x3FF << 52, 1023
# The bits of 2**52, whose lower bits count integers.
_INTEGER = 0x433 << 52
# The range of products: the product of two of them, and its rounding error, are finite and normal.
_LARGE, _SMALL = 2.0**250, 2.0**-250
# The same range for products without a rounding error.
LARGEST, SMALLEST = 2.0**500, 2.0**-500


def _split(x: Vector) -> tuple[Vector, Vector]:
    """Return mantissas and exponents; zeros, infinities, and NaN are their own mantissas.

    Other mantissas are in [1, 2), or for subnormal numbers in [2**-52, 1).
    """
    bits = x.bits()
    field = (bits >> 52) & 0x7FF
    sign = bits & _SIGN
    one = (sign | _ONE).floats()
    mantissa = ((bits & ~_EXPONENT) | _ONE).floats()
    is_normal = field.differs(field.full(0))
    below_one = ((mantissa - one).bits() | sign).floats()  # keeps -0.0
    mantissa = is_normal.choose(mantissa, below_one)
    is_finite = field.differs(field.full(0x7FF))
    mantissa = is_finite.choose(mantissa, x)
    exponent = (is_normal.choose(field, field.full(1)) | _INTEGER).floats()
    return mantissa, exponent - exponent.full(2.0**52 + _BIAS)


# A state: a product, its rounding error, and the exponent of both.
def _step(state: Sequence[Vector], rows: Sequence[Vector]) -> Sequence[Vector]:
    product, lost, exponent = state
    for row in rows:  # GROUP of them change a product by a factor between 2**-416 and 2**8
        mantissa, more = _split(row.widen(product))
        rounded = product * mantissa
        error = product.fma(mantissa, rounded.full(0) - rounded)
        lost = lost.fma(mantissa, error)
        product, exponent = rounded, exponent + more
    mantissa, more = _split(product)
    field = (product.bits() >> 52) & 0x7FF
    scale = ((field.full(2 * _BIAS) - field) << 52).floats()
    return mantissa, lost * scale, exponent + more


@part
def _scaled(product: float, lost: float, exponent: float) -> tuple[float, float, float]:
    """Bring a product back into the range of its factors."""
    size = abs(product)
    scale = _SMALL if size > _LARGE else _LARGE if size < _SMALL else 1.0
    more = 250.0 if size > _LARGE else -250.0 if size < _SMALL else 0.0
    return product * scale, lost * scale, exponent + more


@part
def _multiply_few(
    x: Array, p: int, n: int, stride: int, state: Array, at: int, width: int, scratch: Array
) -> None:
    product, lost, exponent = state[0, at:], state[1, at:], state[2, at:]
    for _ in range(n):
        for j in range(width):
            factor: Any = np.float64(x[index(p + j)])
            if not (_SMALL <= abs(factor) <= _LARGE):
                factor, more = math.frexp(factor)
                exponent[j] += more
            before = product[j]
            rounded = before * factor
            rest = fma(lost[j], factor, fma(before, factor, -rounded))
            product[j], lost[j], exponent[j] = _scaled(rounded, rest, exponent[j])
        p += stride


@part
def _fold(state: Array, half: int) -> None:
    for j in range(half):
        k = j + half
        a, b = state[0, j], state[0, k]
        rounded = a * b
        rest = fma(a, b, -rounded) + (a * state[1, k] + b * state[1, j])
        state[0, j], state[1, j], state[2, j] = _scaled(rounded, rest, state[2, j] + state[2, k])


@part
def _finish(state: Array, n: int, out: Array, setting: Any) -> None:
    for j in range(n):
        product, lost = state[0, j], state[1, j]
        best = product if product == 0 or lost - lost != 0 else product + lost
        out[j] = math.ldexp(best, int(max(-10_000.0, min(state[2, j], 10_000.0))))


multiply_lines = vector_kernel(_step, 3, _multiply_few, _fold, _finish)
IDENTITY = (1, 0, 0)


@kernel
def multiply_complex(x: Array, product: Array, exponent: Array) -> None:
    """Multiply states by complex numbers, of shape (n_outer, n, n_inner).

    Both are scaled only where the product would be too large or too small, so that parts of very
    different size stay as they are.
    """
    n_outer, n, n_inner = x.shape
    for outer in range(n_outer):
        for i in range(n):
            for j in range(n_inner):
                a, b = product[outer, j], x[outer, i, j]
                c = a * b
                size = max(abs(c.real), abs(c.imag))
                if not (SMALLEST <= size < np.inf):
                    _, p = math.frexp(max(abs(a.real), abs(a.imag)))
                    _, q = math.frexp(max(abs(b.real), abs(b.imag)))
                    a = complex(math.ldexp(a.real, -p), math.ldexp(a.imag, -p))
                    b = complex(math.ldexp(b.real, -q), math.ldexp(b.imag, -q))
                    c = a * b
                    exponent[outer, j] += p + q
                product[outer, j] = c
