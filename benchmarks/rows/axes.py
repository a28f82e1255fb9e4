"""Rows of reductions along one axis: NumPy, numba, bottleneck, and Dask."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import BOTTLENECK, DASK, PRANGE, present
from harness.limits import loop
from harness.timing import MIB, NUMPY, OURS, Call, Row, SetUp

DIGITS = 3  # contenders agree in these; they add in different orders
DASK_CHUNK = "8 MiB"

Function = Callable[[Any, int], Any]
# The shape of n elements, the axis, and the number of elements.
LAYOUTS: dict[str, tuple[Callable[[int], tuple[int, ...]], int, int]] = {
    "rows": (lambda n: (4096, n // 4096), 1, 16 * MIB),
    "columns": (lambda n: (4096, n // 4096), 0, 16 * MIB),
    "middle": (lambda n: (256, n // 256**2, 256), 1, 16 * MIB),
    "tall-long": (lambda n: (n // 3, 3), 0, 30_000_000),
    "tall-short": (lambda n: (n // 3, 3), 1, 30_000_000),
    "wide-long": (lambda n: (3, n // 3), 1, 30_000_000),
    "wide-short": (lambda n: (3, n // 3), 0, 30_000_000),
}


def over_axis(step: Any, start: float) -> Any:
    """Compile a reduction of the middle of three axes; parts of the axis run in parallel."""
    one: Any = numba.njit(step)

    @loop(cache=False)  # type: ignore[untyped-decorator, unused-ignore]
    def reduce(a: Any, centers: Any, parts: int) -> Any:
        outer, n, inner = a.shape
        found = np.full((outer, parts, inner), start)
        for job in numba.prange(outer * parts):
            o, p = job // parts, job % parts
            first, stop = p * n // parts, (p + 1) * n // parts
            if inner == 1:
                total = start
                for k in range(first, stop):
                    total = one(total, a[o, k, 0], centers[o, 0])
                found[o, p, 0] = total
            else:
                for k in range(first, stop):
                    for i in range(inner):
                        found[o, p, i] = one(found[o, p, i], a[o, k, i], centers[o, i])
        return found

    return reduce


summed = over_axis(lambda found, x, _: found + x, 0.0)
largest = over_axis(lambda found, x, _: max(found, x), -np.inf)
squared = over_axis(lambda found, x, center: found + (x - center) ** 2, 0.0)


def by_prange(name: str) -> Function:
    """Split the axis if the axes before it have fewer elements than there are threads."""

    def call(a: np.ndarray, axis: int) -> Any:
        shape = a.shape
        outer, n, inner = int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :]))
        a = a.reshape(outer, n, inner)
        parts = 1 if outer >= numba.get_num_threads() else numba.get_num_threads()
        centers = np.zeros((outer, inner))
        if name == "max":
            return largest(a, centers, parts).max(axis=1)
        found = summed(a, centers, parts).sum(axis=1)
        return found if name == "sum" else squared(a, found / n, parts).sum(axis=1) / n

    return call


def of(module: str, name: str) -> Function:
    return lambda a, axis: getattr(importlib.import_module(module), name)(a, axis=axis)


def by_dask(name: str) -> Function:
    return lambda a, axis: getattr(a, name)(axis=axis).compute(scheduler="threads")


def for_dask(a: np.ndarray) -> Any:
    return importlib.import_module("dask.array").from_array(np.asarray(a), chunks=DASK_CHUNK)


def call(layout: str, function: Function, see: Callable[[Any], Any] = np.asarray) -> SetUp:
    shape, axis, _ = LAYOUTS[layout]

    def set_up(n: int) -> Call:
        a: np.ndarray = sharedmem.empty(shape(n))
        np.copyto(a.reshape(-1), np.resize(np.arange(-50.0, 51.0), a.size))
        seen = see(a)

        def reduce() -> Any:
            return np.round(np.ravel(function(seen, axis))[[0, -1]], DIGITS)

        return reduce

    return set_up


def row(layout: str, name: str) -> Row:
    shape, axis, size = LAYOUTS[layout]
    contenders = {
        OURS: call(layout, of("sharedmem", name), lambda a: a),
        NUMPY: call(layout, of("numpy", name)),
        PRANGE: call(layout, by_prange(name)),
        BOTTLENECK: call(layout, of("bottleneck", f"nan{name}")),
        DASK: call(layout, by_dask(name), for_dask),
    }
    reads_only = not layout.endswith("short")
    target = "no peer faster" + (", 0.8 of a plain read if large" if reads_only else "")
    lengths = " x ".join(f"{length:,}" for length in shape(size))
    return Row(
        f"{name} of {lengths} along axis {axis}", size, 256**2 * 2, present(contenders),
        target, warms_up=True,
        needs=8 * size * (len(contenders) + 1),
    )  # fmt: skip


# Each layout with the cheapest reduction; those that NumPy reads badly also with others.
NAMES = {"columns": ("sum", "max", "var"), "tall-long": ("sum", "max", "var")}
ROWS = {
    f"{name}-{layout}": row(layout, name)
    for layout in LAYOUTS
    for name in NAMES.get(layout, ("sum",))
}
