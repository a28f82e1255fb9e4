"""Rows of selection and histograms: NumPy; histogram also with numba and Dask."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from harness.contenders import DASK, PRANGE, present
from harness.limits import loop
from harness.timing import MIB, NUMPY, OURS, Call, Row, SetUp, of_sizes
from rows.reductions import values

Arguments = Callable[[int], tuple[Any, ...]]


def numbers(n: int) -> np.ndarray:
    return np.asarray(values(n))


def integers(n: int, stop: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, stop, n)


def weights(n: int) -> np.ndarray:
    """Return small integers: their sums do not depend on the order."""
    return integers(n, 100).astype("f8")


def of(module: str, name: str, arguments: Arguments) -> SetUp:
    """Return a set-up that calls a function of a module on arguments of n elements."""

    def set_up(n: int) -> Call:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return functools.partial(function, *arguments(n))

    return set_up


@loop(fastmath=False)  # type: ignore[untyped-decorator, unused-ignore]
def counts_of(a: Any, n_bins: int, n_parts: int) -> Any:
    """Count numbers in (-1, 1) per thread, with rounded edges."""
    counts = np.zeros((n_parts, n_bins), np.int64)
    for p in numba.prange(n_parts):
        for i in range(p * a.size // n_parts, (p + 1) * a.size // n_parts):
            counts[p, min(n_bins - 1, int((a[i] + 1) * (n_bins / 2)))] += 1
    return counts.sum(axis=0)


def by_prange(n: int) -> Call:
    a = numbers(n)
    return lambda: (counts_of(a, 100, numba.get_num_threads()), np.linspace(-1, 1, 101))


def by_dask(n: int) -> Call:
    dask_array = importlib.import_module("dask.array")
    counts, edges = dask_array.histogram(
        dask_array.from_array(numbers(n), chunks=MIB), 100, (-1, 1)
    )
    return lambda: (counts.compute(scheduler="threads"), edges)


def uniform_bins(n: int) -> tuple[Any, ...]:
    return numbers(n), 100, (-1, 1)


HISTOGRAMS = present({
    OURS: of("sharedmem", "histogram", uniform_bins),
    NUMPY: of("numpy", "histogram", uniform_bins),
    PRANGE: by_prange,
    DASK: by_dask,
})  # fmt: skip
CUBES = np.linspace(-1, 1, 101) ** 3
# The function, its arguments, and the target.
CASES: dict[str, tuple[str, Arguments, str]] = {
    "histogram-edges": ("histogram", lambda n: (numbers(n), CUBES), ""),
    "histogram-bins": ("histogram", lambda n: (numbers(n), 1_000_000), ""),
    "histogram2d": ("histogram2d", lambda n: (numbers(n), numbers(n), 100), ""),
    "bincount": ("bincount", lambda n: (integers(n, 1000),), "faster"),
    "bincount-weights": ("bincount", lambda n: (integers(n, 1000), weights(n)), "faster"),
    "compress": ("compress", lambda n: (numbers(n) > 0, numbers(n)), "faster"),
    "nonzero": ("nonzero", lambda n: (numbers(n),), "faster"),
    "take": ("take", lambda n: (numbers(n), integers(n, n)), "faster"),
    "where": ("where", lambda n: (numbers(n) > 0, numbers(n), 0.0), ""),
    "clip": ("clip", lambda n: (numbers(n), -0.5, 0.5), ""),
}
ROWS = {
    **of_sizes(
        "histogram", "histogram of 100 bins", HISTOGRAMS, "0.14 of NumPy's time",
        only=("1MiB", "8MiB", "128MiB"),
    ),
    **{
        key: Row(
            f"{key} of 128 MiB", 16 * MIB, MIB // 64,
            {OURS: of("sharedmem", name, arguments), NUMPY: of("numpy", name, arguments)},
            target, warms_up=True,
        )
        for key, (name, arguments, target) in CASES.items()
    },
}  # fmt: skip
