"""Uniform, integer, normal, and exponential random numbers from the words of a generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from sharedmem.kernels.compile import formula, part
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.random.generators import (
    HALF,
    LOW_HALF,
    ONE,
    WIDTH,
    Key,
    Word,
    filler,
    further_words,
    join,
    open_unit,
    pair_filler,
    unit,
)

# Scalars and tables.
Parameters = tuple[Any, ...]


@part
def _from_53_bits(
    values: Array, number: Word, high: Array, low: Array, key: Key, parameters: Parameters
) -> None:
    start, width, last = parameters
    for j in range(WIDTH):
        values[j] = min(start + width * unit(join(high[j], low[j])), last)


@part
def _from_24_bits(values: Array, words: Array, start: Any, width: Any, last: Any) -> None:
    for j in range(WIDTH):
        fraction = np.float32(np.int32(words[j] >> np.uint32(8))) * np.float32(2.0**-24)
        values[j] = min(start + width * fraction, last)


@part
def _uniform_group_of_float32(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    start, width, last = parameters
    for row in range(4):
        _from_24_bits(values[row * WIDTH : (row + 1) * WIDTH], words[row], start, width, last)


# The parameters are the lower bound, the width, and the largest number below the upper bound, which
# rounding could reach.
uniform = pair_filler(_from_53_bits)
uniform_of_float32 = filler(_uniform_group_of_float32, 4)


@part
def _product(a: Word, b: Word) -> tuple[Word, Word]:
    """Return the upper and the lower word of the product of two words of 64 bits."""
    a_low, b_low = a & LOW_HALF, b & LOW_HALF
    a_high, b_high = a >> HALF, b >> HALF
    middle = a_high * b_low + ((a_low * b_low) >> HALF)
    other = a_low * b_high + (middle & LOW_HALF)
    return a_high * b_high + (middle >> HALF) + (other >> HALF), a * b


@part
def _integer_again(element: Word, key: Key, n: Word, unfair: Word) -> Word:
    attempt = ONE
    while True:
        value, rest = _product(further_words(element, attempt, key)[0], n)
        if rest >= unfair:
            return value
        attempt += ONE


@part
def _integers_from_halves(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    """Make integers by Lemire's method from words of 32 bits.

    References
    ----------
    D. Lemire, Fast random integer generation in an interval, ACM Trans. Model. Comput. Simul.
    29, 3 (2019).
    """
    low, n, unfair, unfair_again = parameters
    smallest = LOW_HALF
    for j in range(WIDTH):
        product = np.uint64(words[j]) * n
        smallest = min(smallest, product & LOW_HALF)
        values[j] = low + (product >> HALF)
    if smallest < unfair:
        for j in range(WIDTH):
            if (np.uint64(words[j]) * n) & LOW_HALF < unfair:
                values[j] = low + _integer_again(number + np.uint64(j), key, n, unfair_again)


@part
def _integers_group(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    for row in range(4):
        first = row * WIDTH
        _integers_from_halves(
            values[first : first + WIDTH], number + np.uint64(first), words[row], key, parameters
        )


@part
def _integers_from_pairs(
    values: Array, number: Word, high: Array, low: Array, key: Key, parameters: Parameters
) -> None:
    lowest, n, unfair = parameters
    for j in range(WIDTH):
        word = join(high[j], low[j])
        value, rest = _product(word, n)
        if n == 0:  # stands for 2^64
            value = word
        elif rest < unfair:
            value = _integer_again(number + np.uint64(j), key, n, unfair)
        values[j] = lowest + value


# Up to this number of integers, words of 32 bits are used: at most 1 in 256 is drawn again.
_SHORT = 1 << 24

_integers = filler(_integers_group, 4)
_wide_integers = pair_filler(_integers_from_pairs)


def integers(low: int, n: int) -> tuple[Callable[..., None], Parameters]:
    """Return the kernel and the parameters for integers in [low, low + n), modulo 2^64."""
    lowest, unfair = np.uint64(low % 2**64), np.uint64(2**64 % n)
    if n <= _SHORT:
        return _integers, (lowest, np.uint64(n), np.uint64(2**32 % n), unfair)
    return _wide_integers, (lowest, np.uint64(n % 2**64), unfair)


# With fewer layers, more points have to be compared with the density; more edges fill the L1 cache.
_N_LAYERS = 1024
_LAYER_BITS = np.uint64(_N_LAYERS - 1)


def ziggurat(
    signed: bool, density: Callable[[Any], Any], tail: Callable[..., Any]
) -> Callable[..., None]:
    """Make the filler for a decreasing density, on one side of 0 or on both.

    The density is covered by layers of equal area. A random point of a layer is chosen; it is
    compared with the density only where the layer exceeds it, which is rare.

    References
    ----------
    G. Marsaglia, W. W. Tsang, The ziggurat method for generating random variables, J. Stat.
    Softw. 5, 8 (2000). The layer and the point have bits of their own, as in J. A. Doornik, An
    improved ziggurat method to generate normal random samples (2005).
    """
    shift, unit_of_point = (np.int64(11), 2.0**-52) if signed else (np.int64(0), 2.0**-53)
    drop = np.uint64(0) if signed else np.uint64(11)

    @part
    def draw(word: Word, edges: Array) -> tuple[Any, Any]:
        layer = np.int64(word & _LAYER_BITS)
        point = np.float64(np.int64(word >> drop) >> shift) * unit_of_point
        return layer, point * edges[layer]

    @part
    def settle(layer: Any, x: Any, element: Word, key: Key, edges: Array, heights: Array) -> Any:
        """Accept a point that may lie outside, or draw others until one is accepted."""
        attempt = ONE
        while layer > 0:
            a, b = further_words(element, attempt, key)
            height = heights[layer] + unit(a) * (heights[layer + 1] - heights[layer])
            if height < density(x):
                return x
            layer, x = draw(b, edges)
            if abs(x) < edges[layer + 1]:
                return x
            attempt += ONE
        return tail(x, edges[1], element, attempt, key)

    @part
    def fill_half(
        values: Array, number: Word, high: Array, low: Array, key: Key, parameters: Parameters
    ) -> None:
        loc, scale, edges, heights = parameters
        for j in range(WIDTH):
            layer, x = draw(join(high[j], low[j]), edges)
            if not abs(x) < edges[layer + 1]:
                x = settle(layer, x, number + np.uint64(j), key, edges, heights)
            values[j] = loc + scale * x

    return pair_filler(fill_half)


@part
def _normal_density(x: Any) -> Any:
    return math.exp(-0.5 * x * x)


@part
def _normal_tail(x: Any, edge: Any, element: Word, attempt: Word, key: Key) -> Any:
    """Return a normal number beyond `edge`, on the side of `x`, by Marsaglia's method (1964)."""
    while True:
        a, b = further_words(element, attempt, key)
        beyond = -math.log(open_unit(a)) / edge
        if -2 * math.log(open_unit(b)) > beyond * beyond:
            return math.copysign(edge + beyond, x)
        attempt += ONE


@part
def _exponential_density(x: Any) -> Any:
    return math.exp(-x)


@part
def _exponential_tail(x: Any, edge: Any, element: Word, attempt: Word, key: Key) -> Any:
    return edge - math.log(open_unit(further_words(element, attempt, key)[0]))


# Location, scale, and the tables are the parameters.
normal = ziggurat(True, _normal_density, _normal_tail)
exponential = ziggurat(False, _exponential_density, _exponential_tail)

# The edges at which the tail begins: with these, the layers end at the mode.
_NORMAL_EDGE = 4.038849846109504
_EXPONENTIAL_EDGE = 9.256164544265543


@lru_cache
def normal_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x^2/2), and the density there."""
    tail = math.sqrt(math.pi / 2) * math.erfc(_NORMAL_EDGE / math.sqrt(2))
    density = formula(_normal_density)
    edges = _edges(_NORMAL_EDGE, tail, density, lambda y: math.sqrt(-2 * math.log(y)))
    return edges, np.exp(-0.5 * edges**2)


@lru_cache
def exponential_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x), and the density there."""
    tail = math.exp(-_EXPONENTIAL_EDGE)
    density = formula(_exponential_density)
    edges = _edges(_EXPONENTIAL_EDGE, tail, density, lambda y: -math.log(y))
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
