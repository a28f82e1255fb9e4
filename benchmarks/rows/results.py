"""Rows of results of tasks, their memory, and imap."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import FORK, Items, by_ours, by_pool, everyone, negative
from harness.timing import (
    MIB,
    OURS,
    POOL,
    REFERENCE,
    Call,
    Measured,
    Row,
    SetUp,
    in_bytes,
    per_item,
)

# Results. A result is named by the number of float64 that it has.

N_RESULTS = 16


def array_of(n: int) -> np.ndarray:
    return np.full(n, 2.0)


def shared_array_of(n: int) -> np.ndarray:
    return sharedmem.full(n, 2.0)


def small_arrays(n: int) -> list[np.ndarray]:
    return [np.full(16, float(i)) for i in range(n)]


def two_numbers(i: int) -> tuple[int, float]:
    return i, i / 2


def vector(i: int) -> np.ndarray:
    return np.full(4, i / 2)


def mixed_arrays(n: int) -> dict[str, np.ndarray]:
    return {f"1/{part}": np.full(n // part, 2.0) for part in (1, 4, 16, 256, 4096, 65536)}


def several(n: int) -> list[int]:
    return [n] * N_RESULTS


def two(n: int) -> list[int]:
    return [n // 2] * 2


def by_nobody(func: Callable[[int], Any], items: Items) -> SetUp:
    """Compute the results in the coordinator."""
    return lambda size: lambda: [func(n) for n in items(size)]


def memory(key: str, path: str = "/proc/self/status") -> int:
    """Return an entry of a file in /proc, in bytes."""
    lines = Path(path).read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def peak_memory(call: Call) -> Call:
    """Measure the growth of the coordinator during a call."""

    def measured() -> Measured:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        before = memory("VmRSS")
        result = call()
        return Measured(memory("VmHWM") - before, result)

    return measured


def waiting_memory(call: Callable[[Call], Any]) -> Call:
    """Measure the growth of the machine's shared memory during a call."""

    def measured() -> Measured:
        before = memory("Shmem", "/proc/meminfo")
        peak = before

        def look() -> None:
            nonlocal peak
            peak = max(peak, memory("Shmem", "/proc/meminfo"))

        result = call(look)
        return Measured(peak - before, result)

    return measured


def reduce_slowly(n: int, look: Call = lambda: None) -> list[float]:
    def reduce(a: np.ndarray) -> float:
        time.sleep(0.05)
        look()
        return float(a[0])

    with sharedmem.MapReduce(np=2) as pool:
        return pool.map(array_of, [n] * 2 * N_RESULTS, reduce=reduce)


def reduce_slowly_by_pool(n: int) -> list[float]:
    found = []
    with FORK.Pool(2) as pool:
        for a in pool.imap(array_of, [n] * 2 * N_RESULTS):
            time.sleep(0.05)
            found.append(float(a[0]))
    return found


def window(n: int) -> Measured:
    """Return what the coordinator may hold: a window and one result per worker."""
    from sharedmem.workers.channel import WINDOW_BYTES

    return Measured(2 * (WINDOW_BYTES + 8 * n))


# imap.


def endless(n: int) -> Iterator[bytes]:
    return itertools.repeat(bytes(n))


def taken(results: Iterable[Any], n: int) -> int:
    return sum(1 for _ in itertools.islice(results, n))


def by_imap(n: int, *, in_order: bool) -> Call:
    def call() -> int:
        with sharedmem.MapReduce(np=2) as pool:
            imap = pool.imap if in_order else pool.imap_unordered
            return taken(imap(negative, itertools.count()), n)

    return call


def by_pool_imap(n: int, *, in_order: bool) -> Call:
    """Give it the range of what is taken: it would go on with an endless one."""

    def call() -> int:
        with FORK.Pool(2) as pool:
            imap = pool.imap if in_order else pool.imap_unordered
            return taken(imap(negative, range(n), 128), n)

    return call


def first_result(n: int) -> int:
    with sharedmem.MapReduce(np=2) as pool:
        return taken(pool.imap(negative, itertools.count()), n)


def first_result_by_pool(n: int) -> Measured:
    start = time.perf_counter()
    with FORK.Pool(2) as pool:
        found = taken(pool.imap(negative, itertools.count()), n)
        return Measured(time.perf_counter() - start, found)


def unread(results: Iterable[Any]) -> int:
    """Take one result, then let nobody read for a while."""
    found = taken(results, 1)
    time.sleep(0.5)
    return found


def unread_imap(n: int) -> int:
    with sharedmem.MapReduce(np=2) as pool:
        return unread(pool.imap(len, endless(n)))


def unread_imap_by_pool(n: int) -> int:
    with FORK.Pool(2) as pool:
        return unread(pool.imap(len, endless(n)))


ROWS = {
    "results": Row(
        "16 results of 32 MiB", 4 * MIB, MIB // 64, everyone(array_of, several, 2),
        "6 x faster than the others", warms_up=True,
    ),
    "results-small": Row(
        "16 lists of 10,000 small arrays", 10_000, 100, everyone(small_arrays, several, 2),
        "no slower than the others", warms_up=True,
    ),
    "results-tuples": Row(
        "a task that returns a tuple, 100,000 tasks", 100_000, 1000,
        everyone(two_numbers, range, 2), "no slower than the others", per_item,
    ),
    "results-vectors": Row(
        "a task that returns an array of 4, 100,000 tasks", 100_000, 1000,
        everyone(vector, range, 2), "no slower than the others", per_item,
    ),
    "results-mixed": Row(
        "16 dicts of arrays of 512 B to 32 MiB", 4 * MIB, MIB // 8,
        everyone(mixed_arrays, several, 2), "no slower than the others", warms_up=True,
    ),
    "results-shared": Row(
        "2 SharedArrays of 256 MiB from workers (reference: from the coordinator)",
        64 * MIB, MIB,
        {OURS: by_ours(shared_array_of, two, 2), POOL: by_pool(array_of, two, 2),
         REFERENCE: by_nobody(shared_array_of, two)},
        "no copy", warms_up=True,
    ),
    "memory-reduce": Row(
        "growth of the coordinator, 32 results of 8 MiB, slow reduce (reference: the window)",
        MIB, MIB // 8,
        {OURS: lambda n: peak_memory(lambda: reduce_slowly(n)),
         POOL: lambda n: peak_memory(lambda: reduce_slowly_by_pool(n)),
         REFERENCE: lambda n: lambda: window(n)},
        "the window", in_bytes,
    ),
    "memory-shared": Row(
        "growth of all shared memory during that call (reference: the window)", MIB, MIB // 8,
        {OURS: lambda n: waiting_memory(lambda look: reduce_slowly(n, look)),
         REFERENCE: lambda n: lambda: window(n)},
        "the window", in_bytes,
    ),
    "imap": Row(
        "an item of imap, endless", 100_000, 1000,
        {OURS: lambda n: by_imap(n, in_order=True), POOL: lambda n: by_pool_imap(n, in_order=True)},
        "no slower than Pool with chunks", per_item,
    ),
    "imap-unordered": Row(
        "an item of imap_unordered, endless", 100_000, 1000,
        {OURS: lambda n: by_imap(n, in_order=False),
         POOL: lambda n: by_pool_imap(n, in_order=False)},
        "no slower than Pool with chunks", per_item,
    ),
    "imap-first": Row(
        "first result of imap, endless", 1, 1,
        {OURS: lambda n: lambda: first_result(n), POOL: lambda n: lambda: first_result_by_pool(n)},
        "no slower than Pool",
    ),
    "imap-memory": Row(
        "growth of the coordinator, endless items of 10 KiB, half a second unread", 10_240, 10_240,
        {OURS: lambda n: peak_memory(lambda: unread_imap(n)),
         POOL: lambda n: peak_memory(lambda: unread_imap_by_pool(n))},
        "constant", in_bytes,
    ),
}  # fmt: skip
