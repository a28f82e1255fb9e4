"""Rows of the same work with more and more workers, also more than cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np

import sharedmem
from harness.contenders import (
    JOBLIB,
    NUMEXPR,
    PRANGE,
    by_joblib,
    by_ours,
    by_pool,
    present,
)
from harness.timing import GIB, MIB, NUMPY, OURS, POOL, Call, Row, SetUp
from rows.elementwise import EXPONENTIAL, contenders as expressions, exponential
from rows.orders import into_out
from rows.pool import burn, equal_lengths
from rows.reductions import contenders as reductions

WORKERS = (1, 2, 4, 8, 16, 64)
N_TASKS = 400
N_CORES = numba.get_num_threads()


def in_pool(n: int, set_up: SetUp) -> SetUp:
    def set_up_for(size: int) -> Call:
        call = set_up(size)

        def limited() -> Any:
            with sharedmem.MapReduce(np=n):
                return call()

        return limited

    return set_up_for


def with_threads(n: int, set_up: SetUp) -> SetUp:
    """Limit numba to n threads, and numexpr, whose contender asks `cpu_count`."""

    def set_up_for(size: int) -> Call:
        call = set_up(size)

        def limited() -> Any:
            os.environ["OMP_NUM_THREADS"] = str(n)
            numba.set_num_threads(n)
            return call()

        return limited

    return set_up_for


def sort_by_numpy(n: int) -> Call:
    a = np.random.default_rng(0).normal(size=n)
    return lambda: np.sort(a)


def of_array(everyone: dict[str, SetUp], *peers: str) -> Callable[[int], dict[str, SetUp]]:
    """Return sharedmem, NumPy with one thread, and peers with at most one thread per core."""

    def contenders(n: int) -> dict[str, SetUp]:
        there = [which for which in peers if which in everyone and n <= N_CORES]
        return {
            OURS: in_pool(n, everyone[OURS]),
            NUMPY: everyone[NUMPY],
            **{which: with_threads(n, everyone[which]) for which in there},
        }

    return contenders


def of_tasks(n: int) -> dict[str, SetUp]:
    return present({
        OURS: by_ours(burn, equal_lengths, n),
        POOL: by_pool(burn, equal_lengths, n),
        JOBLIB: by_joblib(burn, equal_lengths, n),
    })  # fmt: skip


# The title, the size, a small size, the contenders for n workers, and the bytes that they need.
CURVES: dict[str, tuple[str, int, int, Callable[[int], dict[str, SetUp]], int]] = {
    "sum": (
        "sum of 1 GiB", GIB // 8, MIB // 64, of_array(reductions("sum"), PRANGE), 3 * GIB,
    ),
    "exp": (
        f"{EXPONENTIAL}, 128 MiB", 16 * MIB, MIB // 64,
        of_array(expressions(EXPONENTIAL, exponential, "f8"), PRANGE, NUMEXPR), 2 * GIB,
    ),
    "sort": (
        "sort of 32 MiB", 4 * MIB, MIB // 64,
        of_array({OURS: into_out, NUMPY: sort_by_numpy}), GIB,
    ),
    "tasks": (f"{N_TASKS:,} tasks of 1 ms", N_TASKS, 64, of_tasks, GIB),
}  # fmt: skip


def rows() -> Iterator[tuple[str, Row]]:
    for name, (title, size, quick_size, contenders, needs) in CURVES.items():
        for n in WORKERS:
            row = Row(
                f"workers, {title}: {n}", size, quick_size, contenders(n), needs=needs,
                warms_up=contenders is not of_tasks,
            )  # fmt: skip
            yield f"{name}-{n}", row


ROWS = dict(rows())
