"""Distributions of random numbers, each made of the words of a generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharedmem.kernels.compile import kernel
from sharedmem.kernels.generators import (
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
    unit,
)

Array = NDArray[Any]

# Scalars, and tables if there are any.
Parameters = tuple[Any, ...]


@kernel
def _from_53_bits(
    values: Array, high: Array, low: Array, start: Any, width: Any, last: Any
) -> None:
    for j in range(WIDTH):
        values[j] = min(start + width * unit(join(high[j], low[j])), last)


@kernel
def _uniform_group(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    start, width, last = parameters
    _from_53_bits(values[:WIDTH], words[0], words[1], start, width, last)
    _from_53_bits(values[WIDTH:], words[2], words[3], start, width, last)


@kernel
def _from_24_bits(values: Array, words: Array, start: Any, width: Any, last: Any) -> None:
    for j in range(WIDTH):
        fraction = np.float32(np.int32(words[j] >> np.uint32(8))) * np.float32(2.0**-24)
        values[j] = min(start + width * fraction, last)


@kernel
def _uniform_group_of_float32(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    start, width, last = parameters
    for row in range(4):
        _from_24_bits(values[row * WIDTH : (row + 1) * WIDTH], words[row], start, width, last)


# The parameters are the lower bound, the width, and the largest number below the upper bound, which
# rounding would reach.
uniform = filler(_uniform_group, 2)
uniform_of_float32 = filler(_uniform_group_of_float32, 4)


@kernel
def _product(a: Word, b: Word) -> tuple[Word, Word]:
    """Return the upper and the lower word of the product of two words of 64 bits."""
    a_low, b_low = a & LOW_HALF, b & LOW_HALF
    a_high, b_high = a >> HALF, b >> HALF
    middle = a_high * b_low + ((a_low * b_low) >> HALF)
    other = a_low * b_high + (middle & LOW_HALF)
    return a_high * b_high + (middle >> HALF) + (other >> HALF), a * b


@kernel
def _integer_again(element: Word, key: Key, n: Word, unfair: Word) -> Word:
    attempt = ONE
    while True:
        value, rest = _product(further_words(element, attempt, key)[0], n)
        if rest >= unfair:
            return value
        attempt += ONE


@kernel
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


@kernel
def _integers_group(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    for row in range(4):
        first = row * WIDTH
        _integers_from_halves(
            values[first : first + WIDTH], number + np.uint64(first), words[row], key, parameters
        )


@kernel
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


@kernel
def _wide_integers_group(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    _integers_from_pairs(values[:WIDTH], number, words[0], words[1], key, parameters)
    second = number + np.uint64(WIDTH)
    _integers_from_pairs(values[WIDTH:], second, words[2], words[3], key, parameters)


# Up to here 32 bits serve, of which 1 in 256 at most has to be drawn again.
_SHORT = 1 << 24

_integers = filler(_integers_group, 4)
_wide_integers = filler(_wide_integers_group, 2)


def integers(low: int, n: int) -> tuple[Callable[..., None], Parameters]:
    """Return the kernel, and its parameters, of `n` integers from `low` on, modulo 2^64."""
    lowest, unfair = np.uint64(low % 2**64), np.uint64(2**64 % n)
    if n <= _SHORT:
        return _integers, (lowest, np.uint64(n), np.uint64(2**32 % n), unfair)
    return _wide_integers, (lowest, np.uint64(n % 2**64), unfair)


def ziggurat(
    signed: bool, density: Callable[[Any], Any], tail: Callable[..., Any]
) -> Callable[..., None]:
    """Make the filler of a decreasing density, on one side of 0 or on both.

    Under the density lie 256 layers of equal area. A point of a layer is chosen; in 1.2% of cases
    (2.2% for one side) it may lie outside of the density, and is held against it.

    References
    ----------
    G. Marsaglia, W. W. Tsang, The ziggurat method for generating random variables, J. Stat.
    Softw. 5, 8 (2000). The layer and the point have bits of their own, as in J. A. Doornik, An
    improved ziggurat method to generate normal random samples (2005).
    """
    shift, unit_of_point = (np.int64(11), 2.0**-52) if signed else (np.int64(0), 2.0**-53)
    drop = np.uint64(0) if signed else np.uint64(11)

    @kernel
    def draw(word: Word, edges: Array) -> tuple[Any, Any]:
        layer = np.int64(word & np.uint64(255))
        point = np.float64(np.int64(word >> drop) >> shift) * unit_of_point
        return layer, point * edges[layer]

    @kernel
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

    @kernel
    def fill_half(
        values: Array, number: Word, high: Array, low: Array, key: Key, parameters: Parameters
    ) -> None:
        loc, scale, edges, heights = parameters
        for j in range(WIDTH):
            layer, x = draw(join(high[j], low[j]), edges)
            if not abs(x) < edges[layer + 1]:
                x = settle(layer, x, number + np.uint64(j), key, edges, heights)
            values[j] = loc + scale * x

    @kernel
    def fill_group(
        values: Array, number: Word, words: Array, key: Key, parameters: Parameters
    ) -> None:
        fill_half(values[:WIDTH], number, words[0], words[1], key, parameters)
        second = number + np.uint64(WIDTH)
        fill_half(values[WIDTH:], second, words[2], words[3], key, parameters)

    return filler(fill_group, 2)


@kernel
def _normal_density(x: Any) -> Any:
    return math.exp(-0.5 * x * x)


@kernel
def _normal_tail(x: Any, edge: Any, element: Word, attempt: Word, key: Key) -> Any:
    """Return a normal number beyond `edge`, on the side of `x`, by Marsaglia's method (1964)."""
    while True:
        a, b = further_words(element, attempt, key)
        beyond = -math.log(open_unit(a)) / edge
        if -2 * math.log(open_unit(b)) > beyond * beyond:
            return math.copysign(edge + beyond, x)
        attempt += ONE


@kernel
def _exponential_density(x: Any) -> Any:
    return math.exp(-x)


@kernel
def _exponential_tail(x: Any, edge: Any, element: Word, attempt: Word, key: Key) -> Any:
    return edge - math.log(open_unit(further_words(element, attempt, key)[0]))


# Location, scale, and the tables are the parameters.
normal = ziggurat(True, _normal_density, _normal_tail)
exponential = ziggurat(False, _exponential_density, _exponential_tail)

# Where the tail begins, if 256 layers are to end at the mode.
_NORMAL_EDGE = 3.6541528853610088
_EXPONENTIAL_EDGE = 7.69711747013104972


@lru_cache
def normal_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x^2/2), and the density there."""
    tail = math.sqrt(math.pi / 2) * math.erfc(_NORMAL_EDGE / math.sqrt(2))
    edges = _edges(_NORMAL_EDGE, tail, _normal_density, lambda y: math.sqrt(-2 * math.log(y)))
    return edges, np.exp(-0.5 * edges**2)


@lru_cache
def exponential_tables() -> tuple[Array, Array]:
    """Return the edges of the layers under exp(-x), and the density there."""
    tail = math.exp(-_EXPONENTIAL_EDGE)
    edges = _edges(_EXPONENTIAL_EDGE, tail, _exponential_density, lambda y: -math.log(y))
    return edges, np.exp(-edges)


def _edges(
    last: float,
    tail: float,
    density: Callable[[float], float],
    inverse: Callable[[float], float],
) -> Array:
    """Return the widths of 256 layers, the lowest one as if its tail were part of a rectangle."""
    area = last * density(last) + tail
    edges = [area / density(last), last]
    while len(edges) < 256:
        edges.append(inverse(density(edges[-1]) + area / edges[-1]))
    return np.array([*edges, 0.0])


@kernel
def _search(u: Any, cumulative: Array, guide: Array) -> Any:
    k = guide[np.int64(u * len(guide))]
    while u >= cumulative[k]:
        k += 1
    return k


@kernel
def _poisson_by_search(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    """Invert the cumulative distribution by indexed search.

    References
    ----------
    H. C. Chen, Y. Asau, On generating random variates from an empirical distribution, AIIE
    Transactions 6 (1974).
    """
    cumulative, guide = parameters
    for j in range(WIDTH):
        values[j] = _search(unit(join(words[0, j], words[1, j])), cumulative, guide)
    for j in range(WIDTH):
        values[WIDTH + j] = _search(unit(join(words[2, j], words[3, j])), cumulative, guide)


@kernel
def log_poisson(k: Any, lam: Any) -> Any:
    """Return the logarithm of the probability of `k`, where `k` and `lam` are large.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities (2000): what is large
    cancels in the formula, and not in its rounded terms.
    """
    d = (k - lam) / lam
    correction = (1 / 12 - (1 / 360 - 1 / 1260 / (k * k)) / (k * k)) / k
    return -lam * ((1 + d) * math.log1p(d) - d) - 0.5 * math.log(2 * math.pi * k) - correction


@kernel
def _poisson_by_rejection(
    values: Array, number: Word, words: Array, key: Key, parameters: Parameters
) -> None:
    """Reject from a transformed uniform distribution (PTRS).

    References
    ----------
    W. Hoermann, The transformed rejection method for generating Poisson random variables,
    Insurance: Mathematics and Economics 12 (1993).
    """
    (lam,) = parameters
    b = 0.931 + 2.53 * math.sqrt(lam)
    a = -0.059 + 0.02483 * b
    log_inverse_alpha = math.log(1.1239 + 1.1328 / (b - 3.4))
    v_r = 0.9277 - 3.6224 / (b - 2)
    for j in range(WIDTH):
        first, second = join(words[0, j], words[1, j]), join(words[2, j], words[3, j])
        attempt = ONE
        while True:
            u, v = open_unit(first) - 0.5, open_unit(second)
            inside = 0.5 - abs(u)
            k = math.floor((2 * a / inside + b) * u + lam + 0.43)
            if inside >= 0.07 and v <= v_r:
                break
            if k >= 1 and (inside >= 0.013 or v <= inside):
                bound = math.log(v) + log_inverse_alpha - math.log(a / (inside * inside) + b)
                if bound <= log_poisson(k, lam):
                    break
            first, second = further_words(number + np.uint64(j), attempt, key)
            attempt += ONE
        values[j] = np.int64(k)


_poisson_search = filler(_poisson_by_search, 2)
_poisson_rejection = filler(_poisson_by_rejection, 1)

# Up to here the table of probabilities stays in the first cache.
_SEARCH = 256.0


def poisson(lam: float) -> tuple[Callable[..., None], Parameters]:
    """Return the kernel, and its parameters, of the Poisson distribution of mean `lam`."""
    if lam > _SEARCH:
        return _poisson_rejection, (np.float64(lam),)
    return _poisson_search, _poisson_tables(lam)


@lru_cache
def _poisson_tables(lam: float) -> tuple[Array, Array]:
    """Return the probability of at most 0, 1, 2 ..., and where to begin to search in it."""
    n = int(lam + 12 * math.sqrt(lam)) + 32  # what lies beyond is less than 2^-53
    log_lam = math.log(lam) if lam > 0 else -math.inf
    logs = [k * log_lam - lam - math.lgamma(k + 1) if k else -lam for k in range(n)]
    cumulative = np.cumsum(np.exp(logs))
    cumulative[-1] = 1.0
    n_starts = 1 << n.bit_length()  # a power of two: no product with it is rounded
    guide = np.searchsorted(cumulative, np.arange(n_starts) / n_starts, side="right")
    return cumulative, guide
