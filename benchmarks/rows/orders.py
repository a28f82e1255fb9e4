"""Rows of sorting and order statistics: NumPy and bottleneck."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import BOTTLENECK, present
from harness.timing import GIB, MIB, NUMPY, OURS, SIZES, Call, Row, SetUp, in_bytes


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
ROWS = {
    f"{name}-{size}": Row(
        f"{title}, {in_bytes(n_bytes)}", n_bytes // 8, 1 << 14,
        {OURS: ours, NUMPY: numpys, **OTHERS.get(name, {})}, target, warms_up=n_bytes < GIB,
    )
    for name, (title, ours, numpys, target) in CALLS.items()
    for size, n_bytes in SIZES.items()
    if n_bytes < GIB or name in ("sort-out", "argsort")
}  # fmt: skip
