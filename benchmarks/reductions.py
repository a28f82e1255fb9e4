"""Compare the reductions with NumPy, numba, bottleneck and Dask, as a table."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from timing import GIB, MIB, NUMPY, OURS, Call, Measured, Row, SetUp, print_table

NUMBA, BOTTLENECK, DASK = "numba prange", "bottleneck", "Dask"
READ = "a plain read"
SIZES = {"1 MiB": MIB, "8 MiB": 8 * MIB, "128 MiB": 128 * MIB, "1 GiB": GIB}
# Short calls are repeated until so many bytes have been worked on.
BYTES_A_TURN = 64 * MIB
DASK_CHUNK = MIB  # elements; 8 MiB

Function = Callable[..., Any]
Prepare = Callable[[np.ndarray], Call]


def values(n_bytes: int) -> np.ndarray:
    """Return numbers that are the same for all contenders, in (-1, 1)."""
    a: np.ndarray = sharedmem.empty(n_bytes // 8)
    n_period = min(MIB, a.size)
    period = np.random.default_rng(0).uniform(-1, 1, n_period)
    for start in range(0, a.size, n_period):
        a[start : start + n_period] = period[: a.size - start]
    return a


def repeated(prepare: Prepare) -> SetUp:
    """Time as many calls as a turn needs, and return the seconds of one."""

    def set_up(n_bytes: int) -> Call:
        call = prepare(values(n_bytes))
        n_calls = max(1, BYTES_A_TURN // n_bytes)

        def turn() -> Measured:
            start = time.perf_counter()
            for _ in range(n_calls):
                call()
            return Measured((time.perf_counter() - start) / n_calls)

        return turn

    return set_up


def function(name: str, module: str = "sharedmem") -> Prepare:
    """Call a function of a module on the array, in its own type: ours is a subclass to others."""

    def prepare(a: np.ndarray) -> Call:
        call = getattr(importlib.import_module(module), name)
        return functools.partial(call, a if module == "sharedmem" else np.asarray(a))

    return prepare


def by_dask(name: str) -> Prepare:
    def prepare(a: np.ndarray) -> Call:
        dask_array = importlib.import_module("dask.array")
        chunked = dask_array.from_array(np.asarray(a), chunks=DASK_CHUNK)
        return lambda: getattr(chunked, name)().compute(scheduler="threads")

    return prepare


def by_numba(make: Callable[[Any], Function]) -> Prepare:
    """Compile a loop over `prange`, as a user writes it."""

    def prepare(a: np.ndarray) -> Call:
        import numba

        compiled = numba.njit(parallel=True, fastmath=True, nogil=True)(make(numba))
        plain = np.asarray(a)
        compiled(plain)
        return functools.partial(compiled, plain)

    return prepare


def summing(numba: Any) -> Function:
    def add(x: np.ndarray) -> float:
        total = 0.0
        for i in numba.prange(x.size):
            total += x[i]
        return total

    return add


def smallest(numba: Any) -> Function:
    def find(x: np.ndarray) -> float:
        found = np.inf
        for i in numba.prange(x.size):
            found = min(found, x[i])
        return found

    return find


def largest(numba: Any) -> Function:
    def find(x: np.ndarray) -> float:
        found = -np.inf
        for i in numba.prange(x.size):
            found = max(found, x[i])
        return found

    return find


def variance(numba: Any) -> Function:
    def find(x: np.ndarray) -> float:
        total = 0.0
        for i in numba.prange(x.size):
            total += x[i]
        mean, squares = total / x.size, 0.0
        for i in numba.prange(x.size):
            squares += (x[i] - mean) ** 2
        return squares / x.size

    return find


def reductions() -> dict[str, dict[str, Prepare]]:
    """Return the contenders of each reduction by their names."""
    found: dict[str, dict[str, Prepare]] = {}
    loops = {"sum": summing, "mean": summing, "min": smallest, "max": largest, "var": variance}
    for name in ("sum", "mean", "min", "max", "var", "std", "count_nonzero", "nansum"):
        found[name] = {OURS: function(name), NUMPY: function(name, "numpy")}
        if name in loops:
            found[name][NUMBA] = by_numba(loops[name])
        if name.startswith("nan"):
            found[name][BOTTLENECK] = function(name, "bottleneck")
        elif name != "count_nonzero":
            found[name][DASK] = by_dask(name)
    found["minmax"] = {
        OURS: function("minmax"),
        NUMPY: lambda a: lambda: (np.min(a), np.max(a)),
    }
    return found


def rows() -> dict[str, Row]:
    found = {}
    for name, contenders in reductions().items():
        present = {
            which: repeated(prepare)
            for which, prepare in {**contenders, READ: by_numba(summing)}.items()
            if which in (OURS, NUMPY) or importlib.util.find_spec(PACKAGES[which])
        }
        for size_name, size in SIZES.items():
            found[f"{name}-{size_name.replace(' ', '')}"] = Row(
                f"{name} of {{size}}", size, MIB // 8, present,
                "0.9 of a plain read, and no peer faster", warms_up=True,
            )  # fmt: skip
    return found


PACKAGES = {NUMBA: "numba", BOTTLENECK: "bottleneck", DASK: "dask", READ: "numba"}
ROWS = rows()

if __name__ == "__main__":
    print_table(__doc__, ROWS)
