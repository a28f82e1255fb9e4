"""Rows of sorting and order statistics: NumPy and bottleneck."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import BOTTLENECK, present
from harness.timing import MIB, NUMPY, OURS, SIZES, Call, Row, SetUp, in_bytes

STABLE = "NumPy, kind=stable"


def by(function: Callable[..., Any], *args: Any) -> SetUp:
    """Return a set-up that calls a function on random numbers."""

    def set_up(n: int) -> Call:
        a = np.random.default_rng(0).normal(size=n)
        return lambda: function(a, *args)

    return set_up


def into_out(n: int) -> Call:
    a = np.random.default_rng(0).normal(size=n)
    out = np.empty_like(a)
    return lambda: sharedmem.sort(a, out=out)


def searched(function: Callable[..., Any]) -> SetUp:
    """Return a set-up that searches random numbers in a sorted array."""

    def set_up(n: int) -> Call:
        rng = np.random.default_rng(0)
        a, v = np.sort(rng.normal(size=MIB)), rng.normal(size=n)
        return lambda: function(a, v)

    return set_up


def columns(function: Callable[..., Any]) -> SetUp:
    def set_up(n: int) -> Call:
        a = np.random.default_rng(0).normal(size=(n // 64, 64))
        return lambda: function(a, axis=0)

    return set_up


def by_numpy(n: int) -> Call:
    """Compute `sharedmem.topk(a, 100)` with NumPy."""
    a = np.random.default_rng(0).normal(size=n)

    def call() -> Any:
        found = np.argpartition(a, n - 100)[n - 100 :]
        order = found[np.argsort(-a[found])]
        return a[order], order

    return call


CALLS = {
    "sort-out": ("sort, out=", into_out, by(np.sort), "0.65 of NumPy's time"),
    "sort": ("sort", by(sharedmem.sort), by(np.sort), "0.75 of NumPy's time"),
    "argsort": ("argsort", by(sharedmem.argsort), by(np.argsort), "0.25 of NumPy's time"),
    "columns": ("sort of 64 columns", columns(sharedmem.sort), columns(np.sort), ""),
    "median": ("median", by(sharedmem.median), by(np.median), ""),
    "quantile": (
        "three quantiles",
        by(sharedmem.quantile, [0.25, 0.5, 0.75]),
        by(np.quantile, [0.25, 0.5, 0.75]),
        "",
    ),
    "unique": ("unique", by(sharedmem.unique), by(np.unique), ""),
    "search": ("searchsorted", searched(sharedmem.searchsorted), searched(np.searchsorted), ""),
    "topk": ("topk of 100", by(sharedmem.topk, 100), by_numpy, ""),
}


def by_bottleneck(n: int) -> Call:
    return by(importlib.import_module("bottleneck").median)(n)


OTHERS: dict[str, dict[str, SetUp]] = {"median": present({BOTTLENECK: by_bottleneck})}
# Small arrays where fixed costs matter to a choice of the engine; 128 MiB of all others.
SIZES_OF = {
    "sort": ("1MiB", "8MiB", "128MiB"),
    "argsort": ("8MiB", "128MiB"),
    "median": ("8MiB", "128MiB"),
    "search": ("8MiB",),  # NumPy takes seconds for more
    "topk": ("1MiB", "8MiB"),
}


def random_rows() -> dict[str, Row]:
    return {
        f"{name}-{size}": Row(
            f"{title}, {in_bytes(SIZES[size])}", SIZES[size] // 8, 1 << 14,
            {OURS: ours, NUMPY: numpys, **OTHERS.get(name, {})}, target, warms_up=True,
        )
        for name, (title, ours, numpys, target) in CALLS.items()
        for size in SIZES_OF.get(name, ("128MiB",))
    }  # fmt: skip


# Data that is not random. NumPy's default sort is not stable.


def ascending(n: int) -> np.ndarray:
    return np.arange(float(n))


def descending(n: int) -> np.ndarray:
    return ascending(n)[::-1].copy()


def nearly_ascending(n: int) -> np.ndarray:
    """Return ascending numbers, of which one in a hundred has been exchanged with another."""
    a, rng = ascending(n), np.random.default_rng(0)
    moved = rng.permutation(n)[: n // 100]
    a[moved] = a[rng.permutation(moved)]
    return a


def runs(n: int) -> np.ndarray:
    """Return random numbers in eight sorted runs."""
    return np.sort(np.random.default_rng(0).normal(size=(8, n // 8))).reshape(-1)


def organ_pipe(n: int) -> np.ndarray:
    """Return numbers that rise in the first half, and fall in the second."""
    a = ascending(n)
    return np.concatenate([a[::2], a[-1::-2]])


def with_random_end(n: int) -> np.ndarray:
    """Return ascending numbers and, after them, one in a hundred in random order."""
    a = ascending(n)
    np.random.default_rng(0).shuffle(a)
    return np.concatenate([np.sort(a[n // 100 :]), a[: n // 100]])


def constant(n: int) -> np.ndarray:
    return np.ones(n)


DATA = {
    "sorted": ascending,
    "reversed": descending,
    "nearly sorted": nearly_ascending,
    "organ-pipe": organ_pipe,
    "few-run": runs,
    "random-end": with_random_end,
    "constant": constant,
}


def sorts(data: Callable[[int], np.ndarray], sort: Callable[[Any], Any]) -> SetUp:
    def set_up(n: int) -> Call:
        a = data(n)
        return lambda: sort(a)

    return set_up


def argsorts(data: Callable[[int], np.ndarray], argsort: Callable[[Any], Any]) -> SetUp:
    """Compare the elements at both ends: equal elements can have any order."""

    def set_up(n: int) -> Call:
        a = data(n)
        return lambda: a[argsort(a)[[0, -1]]]

    return set_up


def rows_of_data() -> dict[str, Row]:
    found = {}
    for name, data in DATA.items():
        for which, make in (("sort", sorts), ("argsort", argsorts)):
            ours, numpys = getattr(sharedmem, which), getattr(np, which)
            found[f"{which}-{name.replace(' ', '-')}"] = Row(
                f"{which} of {name} data, 128 MiB", 16 * MIB, 1 << 14,
                {
                    OURS: make(data, ours),
                    NUMPY: make(data, numpys),
                    STABLE: make(data, functools.partial(numpys, kind="stable")),
                },
                "no peer faster", warms_up=True,
            )  # fmt: skip
    return found


ROWS = {**random_rows(), **rows_of_data()}
