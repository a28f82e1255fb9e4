"""Rows of arrays in files: NumPy, numexpr, and Dask."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import DASK, NUMEXPR, present
from harness.timing import GIB, MIB, NUMPY, OURS, Call, Measured, Row, SetUp, in_bytes, scratch
from rows.results import memory

EXPRESSION = "sqrt(a) * 2 + 1"
ZARR_CHUNK = MIB  # elements; 8 MiB
PEAK_SECONDS = 0.002

Open = Callable[[int], Any]


def path_of(name: str, n_bytes: int) -> Path:
    return scratch() / f"{name}-{n_bytes}"


def numbers(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, n)


def values(n_bytes: int) -> np.ndarray:
    """Map a file of numbers; the first contender writes it."""
    path = path_of("values", n_bytes)
    if not path.exists():
        a = np.memmap(path, "f8", "w+", shape=n_bytes // 8)
        part = numbers(min(MIB, a.size))
        for chunk in sharedmem.chunks(a, size=part.size):
            a[chunk] = part[: chunk.stop - chunk.start]
        a.flush()
    return np.memmap(path, "f8", "r")


def zeros(n_bytes: int) -> np.ndarray:
    """Map a sparse file of zeros."""
    path = path_of("zeros", n_bytes)
    if not path.exists():
        path.touch()
        os.truncate(path, n_bytes)
    return np.memmap(path, "f8", "r")


def stored(n_bytes: int) -> Any:
    """Open a zarr array with uncompressed chunks."""
    import zarr

    path = path_of("zarr", n_bytes)
    if not path.exists():
        shape = (n_bytes // 8,)
        z = zarr.create_array(path, shape=shape, chunks=(ZARR_CHUNK,), dtype="f8", compressors=None)
        part = numbers(min(ZARR_CHUNK, n_bytes // 8))
        for chunk in sharedmem.chunks(z, size=ZARR_CHUNK):
            z[tuple(chunk)] = part[: chunk.stop - chunk.start]
    return zarr.open_array(path, mode="r")


def rounded(result: Any) -> np.float32:
    """Round a result to float32; contenders add in different orders."""
    return np.float32(result)


def call(function: Callable[[Any], Any], open_array: Open) -> SetUp:
    return lambda n_bytes: lambda: rounded(function(open_array(n_bytes)))


class Unread:
    """An array in a file, for Dask, which would copy a NumPy array into memory."""

    def __init__(self, array: Any) -> None:
        self.array, self.shape, self.ndim, self.dtype = array, array.shape, array.ndim, array.dtype

    def __getitem__(self, region: Any) -> Any:
        return self.array[region]


def by_dask(name: str, open_array: Open) -> SetUp:
    def set_up(n_bytes: int) -> Call:
        dask_array = importlib.import_module("dask.array")
        lazy = dask_array.from_array(Unread(open_array(n_bytes)), chunks=ZARR_CHUNK)
        return lambda: rounded(getattr(lazy, name)().compute(scheduler="threads"))

    return set_up


def into_file(evaluate: Callable[[Any, Any], Any]) -> SetUp:
    def set_up(n_bytes: int) -> Call:
        a = values(n_bytes)
        out = np.memmap(path_of(f"out-{os.getpid()}", n_bytes), "f8", "w+", shape=a.shape)

        def fill() -> Any:
            evaluate(a, out)
            return out

        return fill

    return set_up


def by_numexpr(a: Any, out: Any) -> None:
    import numexpr

    numexpr.set_num_threads(sharedmem.cpu_count())
    numexpr.evaluate(EXPRESSION, {"a": a}, out=out)


def by_numpy(a: Any, out: Any) -> None:
    np.add(np.sqrt(a) * 2, 1, out=out)


def by_ours(a: Any, out: Any) -> None:
    sharedmem.evaluate(EXPRESSION, a=a, out=out)


def growth(set_up: SetUp) -> SetUp:
    """Measure the peak growth of private memory during a call."""

    def measured_set_up(n_bytes: int) -> Call:
        call, peak = set_up(n_bytes), 0

        def measured() -> Measured:
            nonlocal peak
            before = peak = memory("RssAnon")
            is_done = threading.Event()

            def look() -> None:
                nonlocal peak
                while not is_done.wait(PEAK_SECONDS):
                    peak = max(peak, memory("RssAnon"))

            watcher = threading.Thread(target=look)
            watcher.start()
            call()
            is_done.set()
            watcher.join()
            return Measured(peak - before)

        return measured

    return measured_set_up


def reductions(name: str, open_array: Open) -> dict[str, SetUp]:
    return present({
        OURS: call(getattr(sharedmem, name), open_array),
        NUMPY: call(lambda a: getattr(np, name)(a[...]), open_array),
        DASK: by_dask(name, open_array),
    })  # fmt: skip


expressions = present({
    OURS: into_file(by_ours), NUMPY: into_file(by_numpy), NUMEXPR: into_file(by_numexpr),
})  # fmt: skip

SIZE, SMALL = GIB, 64 * MIB
ROWS = {
    "sum": Row(
        "sum of a 1 GiB file", SIZE, SMALL, reductions("sum", values), "no peer faster"
    ),
    "var": Row(
        "var of a 1 GiB file", SIZE, SMALL, reductions("var", values), "no peer faster"
    ),
    "var-memory": Row(
        "growth of private memory, var of a 1 GiB file", SIZE, SMALL,
        {which: growth(set_up) for which, set_up in reductions("var", values).items()},
        "bounded", in_bytes,
    ),
    "expression": Row(
        f"{EXPRESSION}, from one 1 GiB file to another", SIZE, SMALL, expressions, "no peer faster"
    ),
    "zarr": Row(
        "sum of a 1 GiB zarr array", SIZE, SMALL, reductions("sum", stored), "no peer faster"
    ),
    "zarr-memory": Row(
        "growth of private memory, sum of a 1 GiB zarr array", SIZE, SMALL,
        {which: growth(set_up) for which, set_up in reductions("sum", stored).items()},
        "bounded", in_bytes,
    ),
}  # fmt: skip
