"""Mean, deviation and extrema of a file of numbers."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

import sharedmem
from harness.timing import MIB, scratch

DASK_CHUNK = 4 * MIB


def prepare(n: int) -> Path:
    """Write the file, unless it is there."""
    path = scratch() / f"numbers-{n}.npy"
    if not path.exists():
        a = np.lib.format.open_memmap(path, "w+", "f8", (n,))
        period = np.random.default_rng(0).normal(size=min(n, MIB))
        for start in range(0, n, MIB):
            a[start : start + MIB] = period[: n - start]
        a.flush()
    return path


def rounded(*numbers: float) -> list[float]:
    return [round(float(number), 6) for number in numbers]


def ours(path: Path) -> list[float]:
    a = np.load(path, mmap_mode="r")
    mean, variance, *_ = sharedmem.moments(a)
    return rounded(mean, variance**0.5, *sharedmem.minmax(a))


def plain(path: Path) -> list[float]:
    a = np.load(path, mmap_mode="r")
    return rounded(a.mean(), a.std(), a.min(), a.max())


def peer(path: Path) -> list[float]:
    dask, dask_array = (importlib.import_module(name) for name in ("dask", "dask.array"))
    a = dask_array.from_array(np.load(path, mmap_mode="r"), chunks=DASK_CHUNK)
    return rounded(*dask.compute(a.mean(), a.std(), a.min(), a.max()))
