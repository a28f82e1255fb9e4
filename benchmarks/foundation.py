"""Compare arrays in shared memory with NumPy and sharedmem 0.3.8, as a table."""

from __future__ import annotations

import math

import numpy as np

import sharedmem
from timing import GIB, MIB, NUMPY, OLD, OURS, Call, Row, print_table

CHUNK = 1 << 19  # elements; what a program for 0.3.8 takes for a task

# What is timed. A set-up gets the size and returns the call. Those of 0.3.8 run under that
# version, in its own environment, and need nothing that it does not have.


def full(n: int) -> Call:
    return lambda: sharedmem.full(n, 2.0)


def full_by_numpy(n: int) -> Call:
    return lambda: np.full(n, 2.0)


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


ROWS = {
    "full": Row(
        "full, 1 GiB", GIB // 8, MIB, {OURS: full, NUMPY: full_by_numpy, OLD: full},
        "0.8 of NumPy's time; 0.35 of 0.3.8's", warms_up=True,
    ),
    "copy": Row(
        "copy, 1 GiB", GIB // 8, MIB, {OURS: copy, NUMPY: copy_by_numpy, OLD: copy},
        warms_up=True,
    ),
    "sum": Row(
        "sum, 1 GiB", GIB // 8, MIB, {OURS: add, NUMPY: add_by_numpy, OLD: add_by_old},
        "0.9 of the read limit, and no peer faster",
    ),
    "sqrt": Row(
        "sqrt in place, 1 GiB", GIB // 8, MIB,
        {OURS: root, NUMPY: root_by_numpy, OLD: root_by_old}, "1.8 x faster than NumPy",
    ),
}  # fmt: skip

if __name__ == "__main__":
    print_table(__doc__, ROWS)
