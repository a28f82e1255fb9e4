"""Print how long calls on small arrays take beside NumPy and a loop of numba's prange.

``python benchmarks/tables/small_calls.py [FUNCTION...]`` prints microseconds of float64 arrays of
1,000 elements, 1 MiB, and 8 MiB, for calls that follow each other closely, and for calls after a
pause of 20 ms, in which caches get cold and threads fall asleep: medians of contenders in turns.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

import sharedmem

SIZES = {"1,000": 1000, "1 MiB": 1 << 17, "8 MiB": 1 << 20}
PAUSES = {"": 0.0, " after 20 ms": 0.02}
ROUNDS = 25
# Until the threads of the contender before have fallen asleep.
SETTLING = 0.01
BINS: Any = {"bins": 100, "range": (0.5, 1.5)}
loop: Any = numba.njit(parallel=True, nogil=True)


@loop  # type: ignore[untyped-decorator, unused-ignore]
def sum_of(a: Any) -> float:
    total = 0.0
    for i in numba.prange(a.size):
        total += a[i]
    return total


@loop  # type: ignore[untyped-decorator, unused-ignore]
def largest(a: Any) -> float:
    found = -np.inf
    for i in numba.prange(a.size):
        found = max(found, a[i])
    return found


@loop  # type: ignore[untyped-decorator, unused-ignore]
def add_one(a: Any) -> Any:
    out = np.empty_like(a)
    for i in numba.prange(a.size):
        out[i] = a[i] + 1
    return out


@loop  # type: ignore[untyped-decorator, unused-ignore]
def take_roots(a: Any) -> None:
    for i in numba.prange(a.size):
        a[i] = np.sqrt(a[i])


class Row(NamedTuple):
    """A call of this package, of NumPy, and of a loop."""

    ours: Callable[[Any], Any]
    numpy: Callable[[Any], Any]
    prange: Callable[[Any], Any] | None = None


ROWS = {
    "sum": Row(sharedmem.sum, np.sum, sum_of),
    "mean": Row(sharedmem.mean, np.mean, sum_of),
    "min": Row(sharedmem.min, np.min, largest),
    "max": Row(sharedmem.max, np.max, largest),
    "var": Row(sharedmem.var, np.var),
    "count_nonzero": Row(sharedmem.count_nonzero, np.count_nonzero),
    "nansum": Row(sharedmem.nansum, np.nansum),
    "a + 1": Row(lambda a: sharedmem.evaluate("a + 1", a=a), lambda a: a + 1, add_one),
    "sqrt in place": Row(
        lambda a: sharedmem.apply_ufunc(np.sqrt, a, out=a),
        lambda a: np.sqrt(a, out=a),
        take_roots,
    ),
    "histogram": Row(
        lambda a: sharedmem.histogram(a, **BINS), lambda a: np.histogram(a, **BINS)
    ),
    "cumsum": Row(sharedmem.cumsum, np.cumsum),
}  # fmt: skip


def timed(row: Row, n: int, pause: float) -> list[float]:
    """Return the median of each contender, in microseconds."""
    calls = [call for call in row if call]
    a = np.random.default_rng(1).random(n) + 0.5
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            time.sleep(SETTLING)
            for _ in range(3):
                call(a)
            time.sleep(pause)
            start = time.perf_counter()
            call(a)
            taken.append(1e6 * (time.perf_counter() - start))
    return [statistics.median(taken) for taken in times]


def main() -> None:
    """Time all."""
    print("| call | elements | us | NumPy's | prange's | of NumPy's | of prange's |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in sys.argv[1:] or ROWS:
        for size, n in SIZES.items():
            for when, pause in PAUSES.items():
                ours, *others = timed(ROWS[name], n, pause)
                cells = [*(f"{x:.0f}" for x in others), *(f"{ours / x:.2f}" for x in others)]
                if len(others) == 1:
                    cells = [cells[0], "", cells[1], ""]
                print(f"| {name}{when} | {size} | {ours:.1f} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
