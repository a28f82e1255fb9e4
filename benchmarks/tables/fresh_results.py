"""Print how long it takes to make arrays, beside NumPy.

``python benchmarks/tables/fresh_results.py [CALL...]`` prints microseconds of float64 arrays of
8 KiB to 128 MiB: medians of both contenders in turns. Arrays are dropped immediately, so that their
memory serves the next ones ("again"); or it is given back to the system before each call ("nothing
kept"); or the call is the first one of a new process.
"""

from __future__ import annotations

import ctypes
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import sharedmem
from sharedmem.memory import spare_memory

SIZES = {"8 KiB": 1 << 10} | {f"{mib} MiB": mib << 17 for mib in (1, 8, 32, 128)}
# Enough for medians; fewer of large arrays.
MOST_ROUNDS, FEWEST_ROUNDS, ALL_BYTES = 200, 9, 1 << 30
PAGE_LENGTH = 512


def touched(a: Any) -> Any:
    """Write to each page."""
    np.asarray(a)[::PAGE_LENGTH] = 1
    return a


class Row(NamedTuple):
    """A call of this package and of NumPy, on an array of the size of the result."""

    ours: Callable[[Any], Any]
    numpy: Callable[[Any], Any]


ROWS = {
    "empty": Row(lambda a: sharedmem.empty(a.size), lambda a: np.empty(a.size)),
    "full": Row(lambda a: sharedmem.full(a.size, 1.5), lambda a: np.full(a.size, 1.5)),
    "zeros and touch": Row(
        lambda a: touched(sharedmem.zeros(a.size)), lambda a: touched(np.zeros(a.size))
    ),
    "copy": Row(sharedmem.copy, np.copy),
    "ones_like": Row(sharedmem.ones_like, np.ones_like),
    "add": Row(lambda a: sharedmem.apply_ufunc(np.add, a, a), lambda a: a + a),
}


def forget() -> None:
    """Give memory that was freed back to the system: this package's, and that of the C library."""
    spare_memory.release()
    ctypes.CDLL(None).malloc_trim(0)


def timed(row: Row, n: int, before: Callable[[], None]) -> list[float]:
    """Return the median of both contenders, in microseconds."""
    a = np.random.default_rng(1).random(n)
    times: list[list[float]] = [[], []]
    for _ in range(min(MOST_ROUNDS, max(FEWEST_ROUNDS, ALL_BYTES // a.nbytes))):
        for call, taken in zip(row, times, strict=True):
            call(a)
            before()
            start = time.perf_counter()
            call(a)
            taken.append(1e6 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def first(name: str, n: int) -> list[float]:
    """Return how long the first calls take in new processes, in microseconds."""
    times: list[list[float]] = [[], []]
    for _ in range(5):
        for contender, taken in enumerate(times):
            command = [sys.executable, __file__, "--first", name, str(n), str(contender)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            taken.append(float(done.stdout))
    return [statistics.median(taken) for taken in times]


def print_first(name: str, n: str, contender: str) -> None:
    """Print how long a call takes in this process."""
    a = np.random.default_rng(1).random(int(n))
    start = time.perf_counter()
    ROWS[name][int(contender)](a)
    print(1e6 * (time.perf_counter() - start))


def main() -> None:
    """Time all."""
    print("| call | when | size | us | NumPy's | ratio |")
    print("| --- | --- | --- | ---: | ---: | ---: |")
    for name in sys.argv[1:] or ROWS:
        for size, n in SIZES.items():
            cells = {
                "again": timed(ROWS[name], n, lambda: None),
                "nothing kept": timed(ROWS[name], n, forget),
                "new process": first(name, n),
            }
            for when, (ours, theirs) in cells.items():
                print(f"| {name} | {when} | {size} | {ours:.1f} | {theirs:.1f} |", end=" ")
                print(f"{ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first"]:
        print_first(*sys.argv[2:])
    else:
        main()
