"""Rows of several reductions of several arrays: NumPy, numexpr, numba's prange, and Dask."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import DASK, FLOX, NUMEXPR, PRANGE, present
from harness.limits import loop
from harness.timing import GIB, MIB, NUMPY, OURS, Call, Row, SetUp, in_bytes
from rows.files import growth, path_of

MEANS = {"uv": "mean(u*v)", "uu": "mean(u*u)", "vv": "mean(v*v)"}
CORRELATION = "sum(u*v) / sqrt(sum(u*u) * sum(v*v))"
SPREAD = {"mean": "mean(u - v)", "std": "std(u - v)", "top": "max(abs(u - v))"}
OVER_TIME = {"u": "mean(u, axis=0)", "v": "mean(v, axis=0)", "uv": "mean(u*v, axis=0)"}
# Plain sums of so many numbers are not more precise.
DIGITS = 8


# With fast-math, as such loops are written by hand: their sums are not compensated.
@loop()  # type: ignore[untyped-decorator, unused-ignore]
def sums_of_products(u: Any, v: Any) -> Any:
    uv = uu = vv = 0.0
    for i in numba.prange(u.size):
        uv += u[i] * v[i]
        uu += u[i] * u[i]
        vv += v[i] * v[i]
    return uv, uu, vv


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def sums_of_differences(u: Any, v: Any) -> Any:
    first = u[0] - v[0]
    total = squares = 0.0
    largest = 0.0
    for i in numba.prange(u.size):
        difference = u[i] - v[i]
        total += difference - first
        squares += (difference - first) ** 2
        largest = max(largest, abs(difference))
    return first, total, squares, largest


def means_by_loop(u: Any, v: Any) -> Any:
    return [total / u.size for total in sums_of_products(u, v)]


def correlation_by_loop(u: Any, v: Any) -> Any:
    uv, uu, vv = sums_of_products(u, v)
    return [uv / np.sqrt(uu * vv)]


def spread_by_loop(u: Any, v: Any) -> Any:
    first, total, squares, largest = sums_of_differences(u, v)
    mean = total / u.size
    return [first + mean, np.sqrt(squares / u.size - mean**2), largest]


def means_by_numpy(u: Any, v: Any) -> Any:
    return [np.mean(u * v), np.mean(u * u), np.mean(v * v)]


def correlation_by_numpy(u: Any, v: Any) -> Any:
    return [np.sum(u * v) / np.sqrt(np.sum(u * u) * np.sum(v * v))]


def spread_by_numpy(u: Any, v: Any) -> Any:
    difference = u - v
    return [difference.mean(), difference.std(), np.abs(difference).max()]


def total(expression: str, u: Any, v: Any) -> Any:
    import numexpr

    numexpr.set_num_threads(sharedmem.cpu_count())
    return numexpr.evaluate(expression, {"u": u, "v": v})


def means_by_numexpr(u: Any, v: Any) -> Any:
    return [total(f"sum({term})", u, v) / u.size for term in ("u*v", "u*u", "v*v")]


def correlation_by_numexpr(u: Any, v: Any) -> Any:
    uv, uu, vv = (total(f"sum({term})", u, v) for term in ("u*v", "u*u", "v*v"))
    return [uv / np.sqrt(uu * vv)]


def spread_by_numexpr(u: Any, v: Any) -> Any:
    mean = float(total("sum(u - v)", u, v)) / u.size
    squares = total(f"sum((u - v - {mean!r})**2)", u, v) / u.size
    return [mean, np.sqrt(squares), total("max(abs(u - v))", u, v)]


def in_one_pass(expressions: Any) -> Callable[[Any, Any], Any]:
    def evaluate(u: Any, v: Any) -> Any:
        result = sharedmem.evaluate(expressions, u=u, v=v)
        return [*result.values()] if isinstance(result, dict) else [result]

    return evaluate


def of_two(function: Callable[[Any, Any], Any], empty: Callable[..., Any] = np.empty) -> SetUp:
    def set_up(n: int) -> Call:
        u, v = empty(n), empty(n)
        for k, a in enumerate((u, v)):
            a[:] = np.resize(np.random.default_rng(k).uniform(1, 2, 4099), n)
        return lambda: np.round(function(u, v), DIGITS)

    return set_up


def contenders(ours: Any, loop: Any, numpy: Any, numexpr: Any) -> dict[str, SetUp]:
    return present({
        OURS: of_two(in_one_pass(ours), sharedmem.empty),
        PRANGE: of_two(loop),
        NUMPY: of_two(numpy),
        NUMEXPR: of_two(numexpr),
    })  # fmt: skip


# Steps in time, and the grid of a chunk.
N_STEPS, SIDE = 64, 128


def opened(name: str, n_bytes: int) -> Any:
    """Open a zarr array of (time, y, x), in chunks of all times."""
    import zarr

    path = path_of(f"one-pass-{name}", n_bytes)
    width = max(SIDE, n_bytes // (8 * N_STEPS * SIDE))
    if not path.exists():
        shape, chunks = (N_STEPS, SIDE, width), (N_STEPS // 4, SIDE, SIDE)
        z = zarr.create_array(path, shape=shape, chunks=chunks, dtype="f8", compressors=None)
        part = np.random.default_rng(len(name)).uniform(1, 2, (*shape[:2], SIDE))
        for chunk in sharedmem.chunks(z, axis=2, size=SIDE):
            z[tuple(chunk)] = part[:, :, : chunk[2].stop - chunk[2].start]
    return zarr.open_array(path, mode="r")


def over_time(mean: Callable[[Any, Any], Any]) -> SetUp:
    def set_up(n_bytes: int) -> Call:
        return lambda: np.round(mean(opened("u", n_bytes), opened("vv", n_bytes)), DIGITS)

    return set_up


def by_dask(u: Any, v: Any) -> Any:
    dask, array = importlib.import_module("dask"), importlib.import_module("dask.array")
    x, y = (array.from_array(a, chunks=a.chunks) for a in (u, v))
    means = [part.mean(axis=0) for part in (x, y, x * y)]
    return [*dask.compute(*means, scheduler="threads")]


def by_flox(u: Any, v: Any) -> Any:
    """Reduce all steps as one group, which lies along the last axis for flox."""
    dask, array = importlib.import_module("dask"), importlib.import_module("dask.array")
    flox = importlib.import_module("flox")
    x, y = (array.moveaxis(array.from_array(a, chunks=a.chunks), 0, -1) for a in (u, v))
    steps = np.zeros(N_STEPS, np.intp)
    means = [
        flox.groupby_reduce(part, steps, func="mean", expected_groups=[0])[0][..., 0]
        for part in (x, y, x * y)
    ]
    return [*dask.compute(*means, scheduler="threads")]


def by_numpy(u: Any, v: Any) -> Any:
    x, y = u[...], v[...]
    return [x.mean(axis=0), y.mean(axis=0), (x * y).mean(axis=0)]


climate = present({
    OURS: over_time(in_one_pass(OVER_TIME)), DASK: over_time(by_dask), FLOX: over_time(by_flox),
    NUMPY: over_time(by_numpy),
})  # fmt: skip

BOUND = "1.3 x the prange loop, 3 x faster than numexpr"
LENGTH, SHORT = 32 * MIB, MIB // 8
ROWS = {
    "means": Row(
        "mean(u*v), mean(u*u), mean(v*v) of 2 x 256 MiB", LENGTH, SHORT,
        contenders(MEANS, means_by_loop, means_by_numpy, means_by_numexpr), BOUND,
        warms_up=True,
    ),
    "correlation": Row(
        f"{CORRELATION} of 2 x 256 MiB", LENGTH, SHORT,
        contenders(
            CORRELATION, correlation_by_loop, correlation_by_numpy, correlation_by_numexpr
        ), BOUND, warms_up=True,
    ),
    "spread": Row(
        "mean, std, and largest magnitude of u - v of 2 x 256 MiB", LENGTH, SHORT,
        contenders(SPREAD, spread_by_loop, spread_by_numpy, spread_by_numexpr),
        "no peer faster but the loop", warms_up=True,
    ),
    "zarr": Row(
        "mean of u, v, and u*v over time, two zarr arrays of 1 GiB", GIB, 64 * MIB, climate,
        "no peer faster",
    ),
    "zarr-memory": Row(
        "growth of private memory, mean of u, v, and u*v over time, two zarr arrays of 1 GiB",
        GIB, 64 * MIB, {which: growth(set_up) for which, set_up in climate.items()},
        "bounded", in_bytes,
    ),
}  # fmt: skip
