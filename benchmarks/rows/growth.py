"""Rows whose times are drawn over numbers of tasks, bytes, and workers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import sharedmem
from harness.contenders import by_ours, by_pool, negative
from harness.timing import GIB, KIB, MIB, NUMPY, OLD, OURS, POOL, Call, Row, SetUp, in_bytes

# A result is in the worker, in transit, and in the coordinator.
COPIES = 4


def by_as_many_workers(n: int) -> Call:
    return by_ours(negative, range, n)(n)


def by_as_many_pool_workers(n: int) -> Call:
    return by_pool(negative, range, n)(n)


def result_of(n: int) -> np.ndarray:
    return np.ones(n, "u1")


def one(n: int) -> list[int]:
    return [n]


def summed(n_bytes: int) -> Call:
    a = sharedmem.full(n_bytes // 8, 1.0)
    return lambda: sharedmem.sum(a)


def summed_by_numpy(n_bytes: int) -> Call:
    return np.full(n_bytes // 8, 1.0).sum


def sizes(first: int, factor: int, last: int) -> Iterator[int]:
    """Yield sizes in equal ratios, and the last size."""
    while first <= last / 2:
        yield first
        first *= factor
    yield last


ours, pool = by_ours(negative, range, 2), by_pool(negative, range, 2)
our_result, pool_result = by_ours(result_of, one, 2), by_pool(result_of, one, 2)
# The title, the sizes, the contenders, and the largest size for 0.3.8, which would take seconds.
CURVES: dict[str, tuple[str, Iterator[int], dict[str, SetUp], int]] = {
    "tasks": (
        "trivial tasks, np=2", sizes(100, 10, 10**6), {OURS: ours, POOL: pool, OLD: ours}, 10**4
    ),
    "bytes": (
        "bytes of one result, np=2", sizes(KIB, 64, 256 * MIB),
        {OURS: our_result, POOL: pool_result, OLD: our_result}, 4 * MIB,
    ),
    "workers": (
        "workers, one task each", sizes(1, 4, 64),
        {OURS: by_as_many_workers, POOL: by_as_many_pool_workers, OLD: by_as_many_workers}, 16,
    ),
    "sum": (
        "bytes of an array to sum", sizes(64 * KIB, 8, 2 * GIB),
        {OURS: summed, NUMPY: summed_by_numpy}, 2 * GIB,
    ),
}  # fmt: skip


def rows() -> Iterator[tuple[str, Row]]:
    for name, (title, points, contenders, last) in CURVES.items():
        for size in points:
            there = {w: c for w, c in contenders.items() if size <= last or w != OLD}
            text, needs, quick = f"{size:,}", 0, min(size, 64)
            if "bytes" in title:
                text, needs, quick = in_bytes(size), COPIES * size, min(size, 4 * KIB)
            row = Row(f"{title}: {text}", size, quick, there, needs=needs, warms_up=True)
            yield f"{name}-{size}", row


ROWS = dict(rows())
