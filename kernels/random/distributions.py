"""Uniform, integer, normal, and exponential random numbers from the words of a generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.memory import DOUBLE, WORD, Kind, Numbers, kind_of
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.random.generators import (
    HALF,
    KEY,
    LANES,
    LOW_HALF,
    PARAMETERS,
    WIDTH,
    Filler,
    Key,
    Make,
    further_words,
    join,
    key_of,
    open_unit,
    unit,
    unsigned,
)

# Scalars and tables.
Parameters = tuple[Any, ...]


def _emit_uniform(code: Emitter, block: Block, kind: Kind) -> Make:
    scalars = [block.number(PARAMETERS + at).convert(kind.type) for at in range(3)]

    def fraction(words: list[Numbers], j: Int) -> Vector:
        if kind == DOUBLE:
            return unit(join(words, j, LANES))
        number = (words[0].load(j, LANES) >> 8).signed().convert(kind.type)
        return number * number.full(2.0**-24)

    def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
        with code.loop(0, WIDTH, LANES) as j:
            start, width, last = (scalar.repeat(LANES) for scalar in scalars)
            value = start + width * fraction(words, j)
            out.store((last < value).choose(last, value), j)

    return make


# The parameters are the lower bound, the width, and the largest number below the upper bound, which
# rounding could reach.
uniform = Filler("uniform", 2, partial(_emit_uniform, kind=DOUBLE))
uniform_of_float32 = Filler(
    "uniform-float32", 4, partial(_emit_uniform, kind=kind_of(np.dtype(np.float32)))
)


def _product(a: Vector, b: Vector) -> tuple[Vector, Vector]:
    """Return the upper and the lower word of the product of two words of 64 bits."""
    a_low, b_low = a & LOW_HALF, b & LOW_HALF
    a_high, b_high = a >> HALF, b >> HALF
    middle = a_high * b_low + ((a_low * b_low) >> HALF)
    other = a_low * b_high + (middle & LOW_HALF)
    return a_high * b_high + (middle >> HALF) + (other >> HALF), a * b


def _write_again(
    code: Emitter, out: Numbers, j: Int, element: Int, low: Int, n: Int, unfair: Int, *key: Int
) -> None:
    """Draw another integer for an element, until it is a fair one."""
    count, limit = (unsigned(number.as_vector()) for number in (n, unfair))
    attempt = code.variable(code.constant(1))
    value = code.variable(count)
    with code.repeat() as attempts:
        word, _ = further_words(code, element, attempt.get(), Key(*key))
        upper, rest = _product(word, count)
        value.set(upper)
        attempts.leave_if(code.any(rest >= limit))
        attempt.set(attempt.get() + 1)
    out.store(low.as_vector() + value.get().signed(), j)


def _emit_integers(code: Emitter, block: Block) -> Make:
    """Make integers by Lemire's method from words of 32 bits.

    References
    ----------
    D. Lemire, Fast random integer generation in an interval, ACM Trans. Model. Comput. Simul.
    29, 3 (2019).
    """
    low, n, unfair, unfair_again = (block.integer(PARAMETERS + at) for at in range(4))
    key = key_of(block, KEY)

    def products(words: Numbers, j: Int, width: int) -> tuple[Vector, Vector]:
        """Return products of words with `n`, and where integers from them are not fair."""
        product = words.load(j, width).convert(WORD.type).signed() * n.as_vector().repeat(width)
        return product, (product & LOW_HALF) < unfair.as_vector().repeat(width)

    def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
        with code.loop(0, WIDTH, LANES) as j:
            product, are_unfair = products(words[0], j, LANES)
            out.store(low.as_vector().repeat(LANES) + (product >> HALF), j)
            with code.when(code.any(are_unfair)), code.loop(j, j + LANES) as i:
                _, is_unfair = products(words[0], i, 1)
                with code.when(code.any(is_unfair)):
                    code.call(_write_again, out, i, number + i, low, n, unfair_again, *key)

    return make


def _emit_wide_integers(code: Emitter, block: Block) -> Make:
    low, n, unfair = (block.integer(PARAMETERS + at) for at in range(3))
    key = key_of(block, KEY)

    def draw(words: list[Numbers], j: Int, width: int) -> tuple[Vector, Vector]:
        """Return integers, and where they are not fair."""
        word = join(words, j, width)
        count, limit = (unsigned(each.as_vector().repeat(width)) for each in (n, unfair))
        value, rest = _product(word, count)
        return count.equals(count.full(0)).choose(word, value), rest < limit  # 0 stands for 2^64

    def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
        with code.loop(0, WIDTH, LANES) as j:
            value, are_unfair = draw(words, j, LANES)
            out.store(low.as_vector().repeat(LANES) + value, j)
            with code.when(code.any(are_unfair)), code.loop(j, j + LANES) as i:
                _, is_unfair = draw(words, i, 1)
                with code.when(code.any(is_unfair)):
                    code.call(_write_again, out, i, number + i, low, n, unfair, *key)

    return make


# Up to this number of integers, words of 32 bits are used: at most 1 in 256 is drawn again.
_SHORT = 1 << 24

_integers = Filler("integers", 4, _emit_integers)
_wide_integers = Filler("wide-integers", 2, _emit_wide_integers)


def integers(low: int, n: int) -> tuple[Filler, Parameters]:
    """Return the kernel and the parameters for integers in [low, low + n), modulo 2^64."""
    lowest, unfair = low % 2**64, 2**64 % n
    if n <= _SHORT:
        return _integers, (lowest, n, 2**32 % n, unfair)
    return _wide_integers, (lowest, n % 2**64, unfair)


# With fewer layers, more points have to be compared with the density; more edges fill the L1 cache.
_N_LAYERS = 1024


def ziggurat(
    name: str,
    signed: bool,
    density: Callable[[Emitter, Vector], Vector],
    tail: Callable[[Emitter, Vector, Vector, Int, Int, Key], Vector],
) -> Filler:
    """Make the filler for a decreasing density, on one side of 0 or on both.

    The density is covered by layers of equal area. A random point of a layer is chosen; it is
    compared with the density only where the layer exceeds it, which is rare.

    References
    ----------
    G. Marsaglia, W. W. Tsang, The ziggurat method for generating random variables, J. Stat.
    Softw. 5, 8 (2000). The layer and the point have bits of their own, as in J. A. Doornik, An
    improved ziggurat method to generate normal random samples (2005).
    """

    def draw(code: Emitter, word: Vector, edges: Numbers) -> tuple[list[Int], Vector, Vector]:
        """Return layers, points in them, and where these may lie outside."""
        layers = [code.integer((word & (_N_LAYERS - 1)).lane(at)) for at in range(word.width)]
        number = word.shift_signed(11) if signed else (word >> 11).signed()
        point = number.convert(DOUBLE.type)
        x = point * point.full(2.0**-52 if signed else 2.0**-53) * edges.gather(layers)
        return layers, x, edges.gather([layer + 1 for layer in layers]) <= abs(x)

    def settle(
        code: Emitter, out: Numbers, j: Int, number: Int, high: Numbers, low: Numbers,
        loc: Vector, scale: Vector, edges: Numbers, heights: Numbers, *key: Int,
    ) -> None:  # fmt: skip
        """Make an element again: where it may lie outside, draw others until one is accepted."""
        element, attempt = number + j, code.variable(code.constant(1))
        (first,), point, is_outside = draw(code, join([high, low], j, 1), edges)
        layer, x = code.variable(first), code.variable(point)
        is_settled = code.variable(~code.any(is_outside))
        with code.repeat() as attempts:
            at = layer.get()
            attempts.leave_if(is_settled.get() | (at < 1))
            a, b = further_words(code, element, attempt.get(), Key(*key))
            height = heights.load(at, 1)
            height = height + unit(a) * (heights.load(at + 1, 1) - height)
            is_settled.set(code.any(height < density(code, x.get())))
            with code.unless(is_settled.get()):
                (other,), point, is_outside = draw(code, b, edges)
                layer.set(other)
                x.set(point)
                is_settled.set(~code.any(is_outside))
                attempt.set(attempt.get() + 1)
        with code.unless(is_settled.get()):
            edge = edges.load(code.constant(1), 1)
            x.set(tail(code, x.get(), edge, element, attempt.get(), Key(*key)))
        out.store(loc + scale * x.get(), j)

    def emit(code: Emitter, block: Block) -> Make:
        loc, scale = (block.number(PARAMETERS + at) for at in (0, 1))
        edges, heights = (block.numbers(PARAMETERS + at, DOUBLE) for at in (2, 3))
        key = key_of(block, KEY)

        def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
            with code.loop(0, WIDTH, LANES) as j:
                _, x, are_outside = draw(code, join(words, j, LANES), edges)
                out.store(loc.repeat(LANES) + scale.repeat(LANES) * x, j)
                with code.when(code.any(are_outside)), code.loop(j, j + LANES) as i:
                    code.call(settle, out, i, number, *words, loc, scale, edges, heights, *key)

        return make

    return Filler(name, 2, emit)


def _normal_density(code: Emitter, x: Vector) -> Vector:
    return code.of_c("exp", x.full(-0.5) * x * x)


def _normal_tail(
    code: Emitter, x: Vector, edge: Vector, element: Int, attempt: Int, key: Key
) -> Vector:
    """Return a normal number beyond `edge`, on the side of `x`, by Marsaglia's method (1964)."""
    number, found = code.variable(attempt), code.variable(x)
    with code.repeat() as attempts:
        a, b = further_words(code, element, number.get(), key)
        beyond = -code.of_c("log", open_unit(a)) / edge
        found.set((edge + beyond).apply("copysign", x))
        attempts.leave_if(code.any(x.full(-2.0) * code.of_c("log", open_unit(b)) > beyond * beyond))
        number.set(number.get() + 1)
    result: Vector = found.get()
    return result


def _exponential_density(code: Emitter, x: Vector) -> Vector:
    return code.of_c("exp", -x)


def _exponential_tail(
    code: Emitter, x: Vector, edge: Vector, element: Int, attempt: Int, key: Key
) -> Vector:
    word, _ = further_words(code, element, attempt, key)
    return edge - code.of_c("log", open_unit(word))


# Location, scale, and the tables are the parameters.
normal = ziggurat("normal", True, _normal_density, _normal_tail)
exponential = ziggurat("exponential", False, _exponential_density, _exponential_tail)

# The edges at which the tail begins: with these, the layers end at the mode.
_NORMAL_EDGE = 4.038849846109504
_EXPONENTIAL_EDGE = 9.256164544265543


@lru_cache
def normal_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x^2/2), and the density there."""
    tail = math.sqrt(math.pi / 2) * math.erfc(_NORMAL_EDGE / math.sqrt(2))
    edges = _edges(
        _NORMAL_EDGE, tail, lambda x: math.exp(-0.5 * x * x), lambda y: math.sqrt(-2 * math.log(y))
    )
    return edges, np.exp(-0.5 * edges**2)


@lru_cache
def exponential_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x), and the density there."""
    tail = math.exp(-_EXPONENTIAL_EDGE)
    edges = _edges(_EXPONENTIAL_EDGE, tail, lambda x: math.exp(-x), lambda y: -math.log(y))
    return edges, np.exp(-edges)


def _edges(
    last: float,
    tail: float,
    density: Callable[[float], float],
    inverse: Callable[[float], float],
) -> Array:
    """Return the widths of the layers; the lowest one includes the area of the tail."""
    area = last * density(last) + tail
    edges = [area / density(last), last]
    while len(edges) < _N_LAYERS:
        edges.append(inverse(density(edges[-1]) + area / edges[-1]))
    return np.array([*edges, 0.0])
