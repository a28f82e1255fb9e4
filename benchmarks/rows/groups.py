"""Rows of reductions by groups of equal labels: flox, pandas, polars, and a loop in numba."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import FLOX, PANDAS, POLARS, PRANGE, present
from harness.limits import loop
from harness.timing import OURS, Call, Row, SetUp

# Makes the labels of n elements.
Labels = Callable[[int], Any]
SIZE, SMALL_SIZE, FLOAT64 = 100_000_000, 10_000, 8
# Bytes per element in the process of a contender, which numbers the labels, and sorts some.
NEEDS = 3 * FLOAT64


def values(n: int) -> Any:
    """Return small integers as floats: their sums do not depend on the order."""
    return np.random.default_rng(0).integers(0, 1000, n).astype(float)


def of(n_labels: int) -> Labels:
    """Return what makes random labels, each of which occurs."""

    def labels(n: int) -> Any:
        found = np.random.default_rng(1).integers(0, n_labels, n)
        found[:n_labels] = np.arange(n_labels)[:n]
        return found

    return labels


def months(n: int) -> Any:
    """Return the months of 100 years of n samples."""
    return np.arange(n) * 1200 // n % 12


def sparse(n: int) -> Any:
    """Return labels that are far from each other."""
    return of(1000)(n) * 1_000_003


@loop(fastmath=False)  # type: ignore[untyped-decorator, unused-ignore]
def means_of(a: Any, labels: Any, n_groups: int, n_parts: int) -> Any:
    """Return plain means of groups, whose labels are their numbers; a table for each thread."""
    sums, counts = np.zeros((n_parts, n_groups)), np.zeros((n_parts, n_groups), np.int64)
    for p in numba.prange(n_parts):
        for i in range(p * a.size // n_parts, (p + 1) * a.size // n_parts):
            sums[p, labels[i]] += a[i]
            counts[p, labels[i]] += 1
    return sums.sum(axis=0) / counts.sum(axis=0)


def by_ours(labels: Labels, *funcs: str) -> SetUp:
    def set_up(n: int) -> Call:
        a, by = values(n), labels(n)
        return lambda: sharedmem.group_reduce(a, by, func=funcs)[0]

    return set_up


def by_flox(labels: Labels, *funcs: str) -> SetUp:
    def set_up(n: int) -> Call:
        reduce: Any = importlib.import_module("flox").groupby_reduce
        a, by = values(n), labels(n)
        engine = "flox" if "median" in funcs else "numba"  # which has no medians
        return lambda: [reduce(a, by, func=func, engine=engine)[0] for func in funcs]

    return set_up


def by_pandas(labels: Labels, *funcs: str) -> SetUp:
    def set_up(n: int) -> Call:
        pandas: Any = importlib.import_module("pandas")
        table = pandas.DataFrame({"label": labels(n), "value": values(n)})

        def call() -> Any:
            groups = table.groupby("label")["value"]
            return [getattr(groups, func)().to_numpy() for func in funcs]

        return call

    return set_up


def by_polars(labels: Labels, *funcs: str) -> SetUp:
    def set_up(n: int) -> Call:
        polars: Any = importlib.import_module("polars")
        table = polars.DataFrame({"label": labels(n), "value": values(n)})

        def call() -> Any:
            columns = [getattr(polars.col("value"), func)().alias(func) for func in funcs]
            found = table.group_by("label").agg(columns).sort("label")
            return [found[func].to_numpy() for func in funcs]

        return call

    return set_up


def by_prange(labels: Labels) -> SetUp:
    def set_up(n: int) -> Call:
        a, by = values(n), labels(n)
        n_groups = int(by.max()) + 1
        return lambda: [means_of(a, by, n_groups, numba.get_num_threads())]

    return set_up


def row(
    title: str, labels: Labels, *funcs: str, size: int = SIZE, others: Mapping[str, SetUp] = {}
) -> Row:
    peers = {OURS: by_ours, FLOX: by_flox, PANDAS: by_pandas, POLARS: by_polars}
    contenders = present({which: by(labels, *funcs) for which, by in peers.items()} | {**others})
    needs = NEEDS * size * len(contenders)
    return Row(title, size, SMALL_SIZE, contenders, "", warms_up=True, needs=needs)


ROWS = {
    f"mean-{name}": row(f"means of 1e8 float64, {title}", labels, "mean", others=by_hand)
    for name, title, labels, by_hand in [
        ("1000", "1000 random labels", of(1000), {PRANGE: by_prange(of(1000))}),
        ("1000000", "1e6 random labels", of(10**6), {PRANGE: by_prange(of(10**6))}),
        ("months", "12 labels in runs", months, {PRANGE: by_prange(months)}),
        ("sparse", "1000 random labels far apart", sparse, {}),
    ]
} | {
    "several": row(
        "sum, min, max, and mean of 1e8 float64, 1000 random labels", of(1000),
        "sum", "min", "max", "mean",
    ),
    "median": row(
        "medians of 1e7 float64, 1000 random labels", of(1000), "median", size=10_000_000
    ),
}  # fmt: skip
