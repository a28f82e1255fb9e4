"""Plain parallel loops over memory, which bound what this machine can read, copy, and write."""

from __future__ import annotations

import functools
import time
from typing import Any

import numba
import numpy as np

from harness.timing import BYTES_A_TURN, MIB, Call, Measured

# Much larger than all caches; times of more bytes are extrapolated from it.
LARGEST = 256 * MIB

loop = functools.partial(numba.njit, parallel=True, fastmath=True, cache=True)


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def read(a: Any) -> float:
    total = 0.0
    for i in numba.prange(a.size):
        total += a[i]
    return total


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def read_two(a: Any, b: Any) -> float:
    total = 0.0
    for i in numba.prange(a.size):
        total += a[i] + b[i]
    return total


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def write(a: Any) -> None:
    for i in numba.prange(a.size):
        a[i] = 1.0


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def change(a: Any) -> None:
    for i in numba.prange(a.size):
        a[i] = -a[i]


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def copy(a: Any, out: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i]


@loop()  # type: ignore[untyped-decorator, unused-ignore]
def add(a: Any, b: Any, out: Any) -> None:
    for i in numba.prange(a.size):
        out[i] = a[i] + b[i]


# The loop of each limit, and its number of arrays.
LOOPS: dict[str, tuple[Any, int]] = {
    "read": (read, 1),
    "read of two": (read_two, 2),
    "write": (write, 1),
    "change": (change, 1),
    "copy": (copy, 2),
    "add": (add, 3),
}


def timed(limit: str, n_bytes: int) -> Call:
    """Return a call that measures the loop on arrays of `n_bytes` each."""
    work, n_arrays = LOOPS[limit]
    arrays = [np.ones(max(1, min(n_bytes, LARGEST) // 8)) for _ in range(n_arrays)]
    n_calls = min(64, max(1, BYTES_A_TURN // n_bytes))
    scale = n_bytes / arrays[0].nbytes / n_calls
    work(*arrays)

    def turn() -> Measured:
        start = time.perf_counter()
        for _ in range(n_calls):
            work(*arrays)
        return Measured((time.perf_counter() - start) * scale)

    return turn
