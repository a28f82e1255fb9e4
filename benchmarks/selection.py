"""Compare selections and histograms with NumPy, as a table."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from timing import GIB, MIB, NUMPY, OURS, Call, Row, SetUp, print_table

Arguments = Callable[[int], tuple[Any, ...]]


def numbers(n: int) -> np.ndarray:
    """Return numbers in (-1, 1) that are the same for all contenders."""
    a: np.ndarray = sharedmem.empty(n)
    period = np.random.default_rng(0).uniform(-1, 1, min(n, MIB))
    for start in range(0, n, period.size):
        a[start : start + period.size] = period[: n - start]
    return np.asarray(a)


def integers(n: int, stop: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, stop, n)


def of(module: str, name: str, arguments: Arguments) -> SetUp:
    """Call a function of a module on arguments made for so many bytes of 8-byte elements."""

    def set_up(n_bytes: int) -> Call:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return functools.partial(function, *arguments(n_bytes // 8))

    return set_up


CUBES = np.linspace(-1, 1, 101) ** 3
# What is called, for how many bytes, on what, and the target.
CASES: dict[str, tuple[str, int, Arguments, str]] = {
    "histogram": ("histogram", GIB, lambda n: (numbers(n), 100, (-1, 1)), "0.14 of NumPy's time"),
    "histogram-edges": ("histogram", 128 * MIB, lambda n: (numbers(n), CUBES), ""),
    "histogram-weights": (
        "histogram",
        128 * MIB,
        lambda n: (numbers(n), 100, None, None, numbers(n)),
        "",
    ),
    "histogram-bins": ("histogram", 128 * MIB, lambda n: (numbers(n), 1_000_000), ""),
    "histogram2d": ("histogram2d", 128 * MIB, lambda n: (numbers(n), numbers(n), 100), ""),
    "bincount": ("bincount", 128 * MIB, lambda n: (integers(n, 1000),), "faster"),
    "bincount-weights": (
        "bincount",
        128 * MIB,
        lambda n: (integers(n, 1000), numbers(n)),
        "faster",
    ),
    "compress": ("compress", 128 * MIB, lambda n: (numbers(n) > 0, numbers(n)), "faster"),
    "nonzero": ("nonzero", 128 * MIB, lambda n: (numbers(n),), "faster"),
    "nonzero-mask": ("nonzero", 128 * MIB, lambda n: (numbers(n) > 0,), "faster"),
    "take": ("take", 128 * MIB, lambda n: (numbers(n), integers(n, n)), "faster"),
    "where": ("where", 128 * MIB, lambda n: (numbers(n) > 0, numbers(n), 0.0), ""),
    "clip": ("clip", 128 * MIB, lambda n: (numbers(n), -0.5, 0.5), ""),
}
ROWS = {
    key: Row(
        f"{key} of {{size}}",
        size,
        MIB // 8,
        {OURS: of("sharedmem", name, arguments), NUMPY: of("numpy", name, arguments)},
        target,
        warms_up=True,
    )
    for key, (name, size, arguments, target) in CASES.items()
}

if __name__ == "__main__":
    print_table(__doc__, ROWS)
