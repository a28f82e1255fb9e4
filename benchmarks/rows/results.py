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
    OLD,
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


def two_numbers(i: int) -> tuple[int, float]:
    return i, i / 2


def vector(i: int) -> np.ndarray:
    return np.full(4, i / 2)


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


def by_imap(n: int) -> Call:
    def call() -> int:
        with sharedmem.MapReduce(np=2) as pool:
            return taken(pool.imap(negative, itertools.count()), n)

    return call


def by_pool_imap(n: int) -> Call:
    """Give it the range of what is taken: it would go on with an endless one."""

    def call() -> int:
        with FORK.Pool(2) as pool:
            return taken(pool.imap(negative, range(n), 128), n)

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


def fast(func: Callable[[int], Any]) -> dict[str, SetUp]:
    """Return the contenders for 100,000 small results, without 0.3.8, which takes 10 s."""
    return {which: call for which, call in everyone(func, range, 2).items() if which != OLD}


ROWS = {
    "results": Row(
        "16 results of 8 MiB", MIB, MIB // 64, everyone(array_of, several, 2),
        "6 x faster than the others", warms_up=True,
    ),
    "results-tuples": Row(
        "a task that returns a tuple, 100,000 tasks", 100_000, 1000,
        fast(two_numbers), "no slower than the others", per_item,
    ),
    "results-vectors": Row(
        "a task that returns an array of 4, 100,000 tasks", 100_000, 1000,
        fast(vector), "no slower than the others", per_item,
    ),
    "results-shared": Row(
        "2 SharedArrays of 64 MiB from workers (reference: from the coordinator)",
        16 * MIB, MIB,
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
        {OURS: by_imap, POOL: by_pool_imap},
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
