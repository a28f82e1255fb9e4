"""Poisson random numbers from the words of a generator."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from sharedmem.kernels.loops.emit import Block, Emitter
from sharedmem.kernels.loops.integers import Int
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.loops.memory import DOUBLE, WORD, Numbers
from sharedmem.kernels.loops.vectors import Vector
from sharedmem.kernels.random.generators import (
    KEY,
    PARAMETERS,
    WIDTH,
    Filler,
    Make,
    further_words,
    join,
    key_of,
    open_unit,
    unit,
)

Parameters = tuple[Any, ...]


def _emit_search(code: Emitter, block: Block) -> Make:
    """Invert the cumulative distribution by indexed search.

    References
    ----------
    H. C. Chen, Y. Asau, On generating random variates from an empirical distribution, AIIE
    Transactions 6 (1974).
    """
    cumulative, guide = block.numbers(PARAMETERS, DOUBLE), block.numbers(PARAMETERS + 1, WORD)
    n_starts = block.number(PARAMETERS + 2)

    def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
        with code.loop(0, WIDTH) as j:
            u = unit(join(words, j, 1))
            k = code.variable(code.integer(guide.load(code.integer(u * n_starts), 1)))
            with code.repeat() as steps:
                steps.leave_if(code.any(u < cumulative.load(k.get(), 1)))
                k.set(k.get() + 1)
            out.store(k.get().as_vector(), j)

    return make


def log_poisson(code: Emitter, k: Vector, lam: Vector) -> Vector:
    """Return the logarithm of the probability of `k`, where `k` and `lam` are large.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities (2000): large terms cancel
    in the formula, and not after rounding.
    """
    d, square, one = (k - lam) / lam, k * k, k.full(1)
    inner = k.full(1 / 360) - k.full(1 / 1260) / square
    correction = (k.full(1 / 12) - inner / square) / k
    deviance = (one + d) * code.of_c("log1p", d) - d
    scale = k.full(0.5) * code.of_c("log", k.full(2 * math.pi) * k)
    return -lam * deviance - scale - correction


def _emit_rejection(code: Emitter, block: Block) -> Make:
    """Reject from a transformed uniform distribution (PTRS).

    References
    ----------
    W. Hoermann, The transformed rejection method for generating Poisson random variables,
    Insurance: Mathematics and Economics 12 (1993).
    """
    lam, a, b, log_inverse_alpha, v_r = (block.number(PARAMETERS + at) for at in range(5))
    key = key_of(block, KEY)

    def make(out: Numbers, number: Int, words: list[Numbers]) -> None:
        with code.loop(0, WIDTH) as j:
            pairs = [join(words[row : row + 2], j, 1) for row in (0, 2)]
            first, second = map(code.variable, pairs)
            attempt, found = code.variable(code.constant(1)), code.variable(code.constant(0))
            is_accepted = code.variable(code.flag(holds=False))
            with code.repeat() as attempts:
                u, v = open_unit(first.get()) - lam.full(0.5), open_unit(second.get())
                inside = lam.full(0.5) - abs(u)
                place = (lam.full(2) * a / inside + b) * u + lam + lam.full(0.43)
                whole = place.apply("floor").convert(WORD.type)
                found.set(code.integer(whole))
                is_accepted.set(code.any((inside >= lam.full(0.07)) & (v <= v_r)))
                attempts.leave_if(is_accepted.get())
                may_be = code.any((inside >= lam.full(0.013)) | (v <= inside))
                with code.when((found.get() > 0) & may_be):
                    ratio = a / (inside * inside) + b
                    bound = code.of_c("log", v) + log_inverse_alpha - code.of_c("log", ratio)
                    is_below = bound <= log_poisson(code, whole.convert(DOUBLE.type), lam)
                    is_accepted.set(code.any(is_below))
                attempts.leave_if(is_accepted.get())
                others = further_words(code, number + j, attempt.get(), key)
                for word, other in zip((first, second), others, strict=True):
                    word.set(other)
                attempt.set(attempt.get() + 1)
            out.store(found.get().as_vector(), j)

    return make


_search = Filler("poisson-search", 2, _emit_search)
_rejection = Filler("poisson-rejection", 1, _emit_rejection)

# Up to this mean, the table of probabilities stays in the L1 cache.
_SEARCH = 256.0


def poisson(lam: float) -> tuple[Filler, Parameters]:
    """Return the kernel and the parameters for the Poisson distribution of mean `lam`."""
    if lam > _SEARCH:
        return _rejection, _rejection_parameters(lam)
    return _search, _poisson_tables(lam)


def _rejection_parameters(lam: float) -> Parameters:
    b = 0.931 + 2.53 * math.sqrt(lam)
    a = -0.059 + 0.02483 * b
    return lam, a, b, math.log(1.1239 + 1.1328 / (b - 3.4)), 0.9277 - 3.6224 / (b - 2)


@lru_cache
def _poisson_tables(lam: float) -> tuple[Array, Array, float]:
    """Return the cumulative distribution, indices where searches begin, and their number."""
    n = int(lam + 12 * math.sqrt(lam)) + 32  # the rest is less than 2^-53
    log_lam = math.log(lam) if lam > 0 else -math.inf
    logs = [k * log_lam - lam - math.lgamma(k + 1) if k else -lam for k in range(n)]
    cumulative = np.cumsum(np.exp(logs))
    cumulative[-1] = 1.0
    n_starts = 1 << n.bit_length()  # a power of two: products with it are exact
    guide = np.searchsorted(cumulative, np.arange(n_starts) / n_starts, side="right")
    return cumulative, guide, float(n_starts)
