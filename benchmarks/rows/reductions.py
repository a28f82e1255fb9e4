"""Rows of reductions: NumPy, numba, bottleneck, numexpr, blosc2, and Dask."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import BLOSC2, BOTTLENECK, DASK, NUMEXPR, PRANGE, present
from harness.limits import loop, read
from harness.timing import MIB, NUMPY, OURS, SIZES, Call, SetUp, of_sizes

DASK_CHUNK = MIB  # elements; 8 MiB
DIGITS = 4  # contenders agree in these; they add in different orders

Function = Callable[[Any], Any]


# Each reduction with prange, as a user writes it.


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def largest(a: Any) -> float:
    found = -np.inf
    for i in numba.prange(a.size):
        found = max(found, a[i])
    return found


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def extremes(a: Any) -> Any:
    low, high = np.inf, -np.inf
    for i in numba.prange(a.size):
        low = min(low, a[i])
        high = max(high, a[i])
    return low, high


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def variance(a: Any) -> Any:
    total = 0.0
    for i in numba.prange(a.size):
        total += a[i]
    mean, squares = total / a.size, 0.0
    for i in numba.prange(a.size):
        squares += (a[i] - mean) ** 2
    return squares / a.size


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def counted(a: Any) -> Any:
    n = 0
    for i in numba.prange(a.size):
        n += a[i] != 0
    return n


@loop(fastmath={"reassoc"})  # type: ignore[untyped-decorator, unused-ignore]
def sum_of_numbers(a: Any) -> float:
    total = 0.0
    for i in numba.prange(a.size):
        total += 0.0 if np.isnan(a[i]) else a[i]
    return total


# A mean takes as long as a sum, a standard deviation as a variance, and a minimum as a maximum.
PRANGES: dict[str, Function] = {
    "sum": read,
    "max": largest,
    "minmax": extremes,
    "var": variance,
    "count_nonzero": counted,
    "nansum": sum_of_numbers,
}


def values(n: int) -> np.ndarray:
    """Return the same numbers in (-1, 1) for all contenders."""
    a: np.ndarray = sharedmem.empty(n)
    period = np.random.default_rng(0).uniform(-1, 1, min(MIB, n))
    for start in range(0, n, period.size):
        a[start : start + period.size] = period[: n - start]
    return a


def call(function: Function, see: Function = np.asarray) -> SetUp:
    """Call a function on the array as a contender wants it: ours is a subclass to others."""

    def set_up(n: int) -> Call:
        a = see(values(n))
        return lambda: np.round(function(a), DIGITS)

    return set_up


def of(module: str, name: str) -> Function:
    return lambda a: getattr(importlib.import_module(module), name)(a)


def by_numexpr(name: str) -> Function:
    return lambda a: importlib.import_module("numexpr").evaluate(f"{name}(a)", {"a": a})


def for_dask(a: Any) -> Any:
    return importlib.import_module("dask.array").from_array(np.asarray(a), chunks=DASK_CHUNK)


def by_dask(name: str) -> Function:
    lazy = of("dask.array", name)
    return lambda a: lazy(a).compute(scheduler="threads")


def for_blosc2(a: Any) -> Any:
    return importlib.import_module("blosc2").asarray(np.asarray(a), cparams={"clevel": 0})


def contenders(name: str) -> dict[str, SetUp]:
    """Return the contenders that have the reduction; bottleneck's functions ignore NaN."""
    found = {
        OURS: call(of("sharedmem", name), lambda a: a),
        NUMPY: call(of("numpy", name)),
        PRANGE: call(PRANGES[name]),
    }
    if name == "minmax":
        found[NUMPY] = call(lambda a: (np.min(a), np.max(a)))
        return found
    found[DASK] = call(by_dask(name), for_dask)
    if name in ("sum", "max"):
        found[NUMEXPR] = call(by_numexpr(name))
    if name != "count_nonzero":
        found[BOTTLENECK] = call(of("bottleneck", f"nan{name.removeprefix('nan')}"))
    if name in ("sum", "max", "var"):
        found[BLOSC2] = call(of("blosc2", name), for_blosc2)
    return present(found)


# The cheapest reduction and one of two passes show what small arrays cost; the others are large.
ALL_SIZES = ("sum", "var")
ROWS = {
    key: row
    for name in PRANGES
    for key, row in of_sizes(
        name, name, contenders(name), "0.9 of a plain read, no peer faster",
        only=SIZES if name in ALL_SIZES else ("128MiB",),
    ).items()
}  # fmt: skip
