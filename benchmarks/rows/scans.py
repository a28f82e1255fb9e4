"""Rows of cumulative sums, products, and extrema: NumPy, numba, and Dask."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import DASK, present
from harness.limits import loop
from harness.timing import MIB, NUMPY, OURS, Call, Row, SetUp, of_sizes

TWO_PASSES = "numba prange, two passes"
SIZE = 16 * MIB  # elements; 128 MiB
DASK_CHUNK = MIB  # elements; 8 MiB

Shape = Callable[[int], tuple[int, ...]]


@loop(fastmath=False)  # type: ignore[untyped-decorator, unused-ignore]
def cumsum_of_parts(a: Any, out: Any, n_parts: int) -> None:
    """Sum each part, then accumulate each part from the total of the parts before it."""
    size = -(-a.size // n_parts)
    sums = np.zeros(n_parts + 1)
    for k in numba.prange(n_parts):
        total = 0.0
        for i in range(k * size, min(a.size, (k + 1) * size)):
            total += a[i]
        sums[k + 1] = total
    starts = np.cumsum(sums)
    for k in numba.prange(n_parts):
        total = starts[k]
        for i in range(k * size, min(a.size, (k + 1) * size)):
            total += a[i]
            out[i] = total


def cumsum_in_two_passes(a: Any, out: Any) -> None:
    cumsum_of_parts(a, out, numba.get_num_threads())


# Small integers: their sums do not depend on the order.
def numbers(shape: tuple[int, ...]) -> Any:
    a = sharedmem.empty(shape)
    a[...] = np.resize(np.arange(-50.0, 51.0), shape[-1])
    return a


def line(n: int) -> tuple[int, ...]:
    return (n,)


def of_numpy(a: Any) -> Any:
    return np.asarray(a)


def call(function: Callable[..., Any], shape: Shape, see: Callable[[Any], Any]) -> SetUp:
    """Return a set-up that calls a function on an array and on an output array."""

    def set_up(n: int) -> Call:
        a, out = see(numbers(shape(n))), see(sharedmem.zeros(shape(n)))

        def scan() -> Any:
            function(a, out)
            return out

        return scan

    return set_up


def by_dask(n: int) -> Call:
    dask_array = importlib.import_module("dask.array")
    chunked = dask_array.from_array(np.asarray(numbers(line(n))), chunks=DASK_CHUNK)
    return lambda: chunked.cumsum(axis=0).compute(scheduler="threads")


def row(
    title: str,
    ours: Callable[..., Any],
    numpys: Callable[..., Any],
    target: str,
    shape: Shape = line,
) -> Row:
    contenders = {OURS: call(ours, shape, lambda a: a), NUMPY: call(numpys, shape, of_numpy)}
    return Row(f"{title}, 128 MiB", SIZE, MIB // 64, contenders, target, warms_up=True)


def along(axis: int, shape: Shape) -> Row:
    return row(
        f"cumsum along axis {axis} of {shape(SIZE)}",
        lambda a, out: sharedmem.cumsum(a, axis, out=out),
        lambda a, out: np.cumsum(a, axis, out=out),
        "no slower than NumPy",
        shape,
    )


cumsums = present({
    OURS: call(lambda a, out: sharedmem.cumsum(a, out=out), line, lambda a: a),
    NUMPY: call(lambda a, out: np.cumsum(a, out=out), line, of_numpy),
    TWO_PASSES: call(cumsum_in_two_passes, line, of_numpy),
    DASK: by_dask,
})  # fmt: skip

ROWS = {
    **of_sizes("cumsum", "cumsum", cumsums, "half the time of NumPy", 2),
    "rows": along(1, lambda n: (n // 4096, 4096)),
    "columns": along(0, lambda n: (n // 4096, 4096)),
    "few": along(0, lambda n: (n // 4, 4)),
    "nancumsum": row(
        "nancumsum", lambda a, out: sharedmem.nancumsum(a, out=out),
        lambda a, out: np.nancumsum(a, out=out), "no slower than NumPy",
    ),
    "maximum": row(
        "maximum.accumulate", lambda a, out: sharedmem.accumulate(np.maximum, a, out=out),
        lambda a, out: np.maximum.accumulate(a, out=out), "no slower than NumPy",
    ),
    "cumprod": row(
        "cumprod", lambda a, out: sharedmem.cumprod(a, out=out),
        lambda a, out: np.cumprod(a, out=out), "no slower than NumPy",
    ),
    "diff": row(
        "diff", lambda a, out: sharedmem.diff(a), lambda a, out: np.diff(a),
        "no slower than NumPy",
    ),
}  # fmt: skip
