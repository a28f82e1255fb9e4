"""Rows of arrays in shared memory: NumPy and sharedmem 0.3.8."""

from __future__ import annotations

import math

import numpy as np

import sharedmem
from harness.timing import GIB, MIB, NUMPY, OLD, OURS, Call, Row, SetUp, of_sizes

CHUNK = 1 << 19  # elements per task of a program for 0.3.8

# Set-ups of 0.3.8 run under that version, in its own environment, and use only what it has.


def full(n: int) -> Call:
    return lambda: sharedmem.full(n, 2.0)


def full_by_numpy(n: int) -> Call:
    return lambda: np.full(n, 2.0)


def zeros(n: int) -> Call:
    return lambda: sharedmem.zeros(n)


def zeros_by_full(n: int) -> Call:
    return lambda: np.full(n, 0.0)


def zeros_by_old(n: int) -> Call:
    return lambda: sharedmem.full(n, 0.0)


def copy(n: int) -> Call:
    a = np.full(n, 2.0)
    return lambda: sharedmem.copy(a)


def copy_by_numpy(n: int) -> Call:
    return np.full(n, 2.0).copy


def add(n: int) -> Call:
    a = sharedmem.full(n, 2.0)
    return lambda: sharedmem.sum(a)


def add_by_numpy(n: int) -> Call:
    return np.full(n, 2.0).sum


def add_by_old(n: int) -> Call:
    a = np.asarray(sharedmem.full(n, 2.0))

    def call() -> float:
        with sharedmem.MapReduce() as pool:
            return math.fsum(pool.map(lambda i: a[i : i + CHUNK].sum(), range(0, n, CHUNK)))

    return call


def root(n: int) -> Call:
    a = sharedmem.full(n, 2.0)
    return lambda: sharedmem.apply_ufunc(np.sqrt, a, out=a)


def root_by_numpy(n: int) -> Call:
    a = np.full(n, 2.0)
    return lambda: np.sqrt(a, out=a)


def root_by_old(n: int) -> Call:
    a = np.asarray(sharedmem.full(n, 2.0))

    def call() -> np.ndarray:
        with sharedmem.MapReduce() as pool:
            pool.map(
                lambda i: np.sqrt(a[i : i + CHUNK], out=a[i : i + CHUNK]).size, range(0, n, CHUNK)
            )
        return a

    return call


MADE: dict[str, dict[str, SetUp]] = {
    "full": {OURS: full, NUMPY: full_by_numpy, OLD: full},
    "zeros": {OURS: zeros, NUMPY: zeros_by_full, OLD: zeros_by_old},
    "copy": {OURS: copy, NUMPY: copy_by_numpy, OLD: copy},
}
FILLING = "0.8 of np.full's time; 0.35 of 0.3.8's"


ROWS = {
    **of_sizes("full", "full", MADE["full"], FILLING),
    **of_sizes("zeros", "zeros (others: full)", MADE["zeros"], FILLING, only=("1GiB",)),
    **of_sizes("copy", "copy", MADE["copy"], "", 2, only=("1MiB", "128MiB")),
    "sum": Row(
        "sum, 1 GiB", GIB // 8, MIB, {OURS: add, NUMPY: add_by_numpy, OLD: add_by_old},
        "0.9 of a plain read, no peer faster",
    ),
    "sqrt": Row(
        "sqrt in place, 1 GiB", GIB // 8, MIB,
        {OURS: root, NUMPY: root_by_numpy, OLD: root_by_old}, "1.8 x faster than NumPy",
    ),
}  # fmt: skip
