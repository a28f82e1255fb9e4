"""Products of floats whose exponent is kept apart: they overflow at the end or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sharedmem.kernels.emitted import call
from sharedmem.kernels.extrema import greater, lesser
from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.layout import Array, address_of
from sharedmem.kernels.loops.lines import vector_family
from sharedmem.kernels.loops.memory import DOUBLE
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


def _scaled(product: Vector, lost: Vector, exponent: Vector) -> Sequence[Vector]:
    """Bring a product back into the range of its factors."""
    size = abs(product)
    is_large, is_small = size > size.full(_LARGE), size < size.full(_SMALL)
    one, zero = size.full(1), size.full(0)
    scale = is_large.choose(size.full(_SMALL), is_small.choose(size.full(_LARGE), one))
    more = is_large.choose(size.full(250), is_small.choose(size.full(-250), zero))
    return product * scale, lost * scale, exponent + more


def _fold(a: Sequence[Vector], b: Sequence[Vector]) -> Sequence[Vector]:
    rounded = a[0] * b[0]
    rest = a[0].fma(b[0], -rounded) + (a[0] * b[1] + b[0] * a[1])
    return _scaled(rounded, rest, a[2] + b[2])


def _power(exponent: Vector) -> Vector:
    """Return powers of two, of exponents from -1022 to 1023."""
    return ((exponent + exponent.full(2.0**52 + _BIAS)).bits() << 52).floats()


def _times_power(x: Vector, exponent: Vector) -> Vector:
    """Return numbers times powers of two, rounded once."""
    lowest, highest = exponent.full(-1022), exponent.full(1023)
    normal = lesser(greater(exponent, lowest), highest)
    rest = lesser(greater(exponent - normal, lowest), highest)
    return x * _power(rest) * _power(normal)  # only the last one rounds


def _finish(state: Sequence[Vector], setting: Vector) -> Vector:
    product, lost, exponent = state
    zero = product.full(0)
    is_alone = product.equals(zero) | (lost - lost).differs(zero)
    return _times_power(is_alone.choose(product, product + lost), exponent)


FLOATS = vector_family("product-of-floats", _step, 3, _fold, _finish, in_order=True)
IDENTITY = (1, 0, 0)


def multiply_complex(x: Array, product: Array, exponent: Array) -> None:
    """Multiply states by complex numbers, of shape (n_outer, n, n_inner).

    Both are scaled only where the product would be too large or too small, so that parts of very
    different size stay as they are.
    """
    call(_emit_complex, (), *map(address_of, (x, product, exponent)), *x.shape)


def _emit_complex(code: Emitter, block: Block) -> None:
    x, product, exponent = (block.numbers(place, DOUBLE) for place in range(3))
    n_outer, n, n_inner = (block.integer(place) for place in range(3, 6))
    with code.loop(0, n_outer) as outer, code.loop(0, n) as i, code.loop(0, n_inner) as j:
        at = outer * n_inner + j
        a = [product.load(at * 2 + part, 1) for part in range(2)]
        b = [x.load(((outer * n + i) * n_inner + j) * 2 + part, 1) for part in range(2)]
        parts = [code.variable(part) for part in _times(a, b)]
        size = _size([part.get() for part in parts])
        has_room = (size >= size.full(SMALLEST)) & (size < size.full(math.inf))
        with code.when(code.any(has_room.equals(has_room.full(0)))):
            p, q = _exponent(_size(a)), _exponent(_size(b))
            a = [_times_power(part, -p) for part in a]
            b = [_times_power(part, -q) for part in b]
            for part, value in zip(parts, _times(a, b), strict=True):
                part.set(value)
            exponent.store(exponent.load(at, 1) + (p + q), at)
        for place, part in enumerate(parts):
            product.store(part.get(), at * 2 + place)


def _times(a: Sequence[Vector], b: Sequence[Vector]) -> tuple[Vector, Vector]:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _size(number: Sequence[Vector]) -> Vector:
    return greater(abs(number[1]), abs(number[0]))


def _exponent(size: Vector) -> Vector:
    """Return the exponents of mantissas in [0.5, 1); of zero, infinity, and NaN, zero."""
    zero, far = size.full(0), size.full(100)
    is_tiny = size < size.full(2.0**-900)
    _, exponent = _split(is_tiny.choose(size * size.full(2.0**100), size))
    exponent = exponent + is_tiny.choose(size.full(1) - far, size.full(1))
    return ((size - size).equals(zero) & size.differs(zero)).choose(exponent, zero)
