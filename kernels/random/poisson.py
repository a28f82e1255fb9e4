"""Poisson random numbers from the words of a generator."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from sharedmem.kernels.compile import kernel, part
from sharedmem.kernels.loops.layout import Array
from sharedmem.kernels.random.generators import (
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

Parameters = tuple[Any, ...]


@part
def _search(u: Any, cumulative: Array, guide: Array) -> Any:
    k = guide[np.int64(u * len(guide))]
    while u >= cumulative[k]:
        k += 1
    return k


@part
def _poisson_by_search(
    values: Array, number: Word, high: Array, low: Array, key: Key, parameters: Parameters
) -> None:
    """Invert the cumulative distribution by indexed search.

    References
    ----------
    H. C. Chen, Y. Asau, On generating random variates from an empirical distribution, AIIE
    Transactions 6 (1974).
    """
    cumulative, guide = parameters
    for j in range(WIDTH):
        values[j] = _search(unit(join(high[j], low[j])), cumulative, guide)


@kernel
def log_poisson(k: Any, lam: Any) -> Any:
    """Return the logarithm of the probability of `k`, where `k` and `lam` are large.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities (2000): large terms cancel
    in the formula, and not after rounding.
    """
    d = (k - lam) / lam
    correction = (1 / 12 - (1 / 360 - 1 / 1260 / (k * k)) / (k * k)) / k
    return -lam * ((1 + d) * math.log1p(d) - d) - 0.5 * math.log(2 * math.pi * k) - correction


@part
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


_poisson_search = pair_filler(_poisson_by_search)
_poisson_rejection = filler(_poisson_by_rejection, 1)

# Up to this mean, the table of probabilities stays in the L1 cache.
_SEARCH = 256.0


def poisson(lam: float) -> tuple[Callable[..., None], Parameters]:
    """Return the kernel and the parameters for the Poisson distribution of mean `lam`."""
    if lam > _SEARCH:
        return _poisson_rejection, (np.float64(lam),)
    return _poisson_search, _poisson_tables(lam)


@lru_cache
def _poisson_tables(lam: float) -> tuple[Array, Array]:
    """Return the cumulative distribution, and the indices at which searches in it begin."""
    n = int(lam + 12 * math.sqrt(lam)) + 32  # the rest is less than 2^-53
    log_lam = math.log(lam) if lam > 0 else -math.inf
    logs = [k * log_lam - lam - math.lgamma(k + 1) if k else -lam for k in range(n)]
    cumulative = np.cumsum(np.exp(logs))
    cumulative[-1] = 1.0
    n_starts = 1 << n.bit_length()  # a power of two: products with it are exact
    guide = np.searchsorted(cumulative, np.arange(n_starts) / n_starts, side="right")
    return cumulative, guide
