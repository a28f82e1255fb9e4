"""Rows of start-up and tasks of pools."""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import Items, by_ours, by_pool, everyone, negative
from harness.timing import (
    GIB,
    MIB,
    OLD,
    OURS,
    POOL,
    REFERENCE,
    Call,
    Measured,
    Row,
    SetUp,
    per_item,
)

# Start-up.


def importing(module: str, set_up: SetUp) -> SetUp:
    def set_up_after(size: int) -> Call:
        importlib.import_module(module)
        return set_up(size)

    return set_up_after


def holding(make: Callable[[int], Any], set_up: SetUp) -> SetUp:
    """Time a map of two tasks in a process that holds memory."""

    def set_up_beside(size: int) -> Call:
        held, call = make(size), set_up(2)
        return lambda: call() if held is not None else None

    return set_up_beside


def shared_memory(n_bytes: int) -> np.ndarray:
    return sharedmem.full(n_bytes // 8, 1.0)


def private_memory(n_bytes: int) -> np.ndarray:
    return np.full(n_bytes // 8, 1.0)


# Tasks that burn the processor use the clock of their thread, so they take longer if another
# process takes time from them. With more workers than cores, tasks sleep.

TASK_SECONDS = 1e-3


def burn(seconds: float) -> int:
    stop = time.thread_time() + seconds
    while time.thread_time() < stop:
        pass
    return 0


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return 0


def equal_lengths(n: int) -> list[float]:
    return [TASK_SECONDS] * n


def uneven_lengths(n: int) -> list[float]:
    """Return lengths from 0.1 to 100 ms, in a random order."""
    lengths: list[float] = np.random.default_rng(1).permutation(np.geomspace(1e-4, 0.1, n)).tolist()
    return lengths


def no_schedule_is_shorter(task: Callable[[float], int], items: Items, workers: int) -> SetUp:
    """Measure each task alone, once, and return a lower bound of all schedules."""

    def set_up(size: int) -> Call:
        @functools.cache
        def call() -> Measured:
            lengths = []
            for item in items(size):
                start = time.perf_counter()
                task(item)
                lengths.append(time.perf_counter() - start)
            # A task can be interrupted even alone, so equal tasks get their median.
            if items is equal_lengths:
                lengths = [float(np.median(lengths))] * size
            return Measured(max(max(lengths), sum(lengths) / workers))

        return call

    return set_up


def contenders(task: Callable[[Any], Any], items: Items, workers: int) -> dict[str, SetUp]:
    """Return all contenders for two workers; for other numbers, the fast ones."""
    if workers == 2:
        return everyone(task, items, workers, numbers=True)
    return {OURS: by_ours(task, items, workers), POOL: by_pool(task, items, workers)}


def schedules(items: Items, workers: int) -> dict[str, SetUp]:
    task = burn if workers <= (os.cpu_count() or 1) else sleep
    return {
        **contenders(task, items, workers),
        REFERENCE: no_schedule_is_shorter(task, items, workers),
    }


# BLAS.

N_PRODUCTS = 40


def product(n: int) -> float:
    a = np.ones((n, n))
    return float((a @ a)[0, 0])


def products(n: int) -> list[int]:
    return [n] * N_PRODUCTS


SMALL = {n: contenders(negative, range, n) for n in (2, 64)}
FAST = {which: set_up for which, set_up in SMALL[2].items() if which != OLD}  # 0.3.8 takes 9 s
TRIVIAL = "0.25 us, and no slower than Pool"
ROWS = {
    "start-2": Row(
        "map of 2 tasks, np=2", 2, 2, SMALL[2], "4 ms, and faster than Pool", warms_up=True
    ),
    "start-64": Row(
        "map of 64 tasks, np=64", 64, 8, SMALL[64], "150 ms", warms_up=True
    ),
    "start-64-numba": Row(
        "map of 64 tasks, np=64, numba loaded", 64, 8,
        {w: importing("numba", SMALL[64][w]) for w in (OURS, POOL)}, "250 ms", warms_up=True,
    ),
    "start-shared": Row(
        "map of 2 tasks, beside {size} of SharedArrays (reference: none)", 8 * GIB, MIB,
        {OURS: holding(shared_memory, SMALL[2][OURS]), POOL: holding(shared_memory, SMALL[2][POOL]),
         REFERENCE: holding(bool, SMALL[2][OURS])},
        "2 ms more than with none", warms_up=True,
    ),
    "start-private": Row(
        "map of 2 tasks, beside {size} of private memory (reference: none)", 4 * GIB, MIB,
        {OURS: holding(private_memory, SMALL[2][OURS]),
         POOL: holding(private_memory, SMALL[2][POOL]),
         REFERENCE: holding(bool, SMALL[2][OURS])},
        "measured and explained", warms_up=True,
    ),
    **{
        f"tasks-{workers}": Row(
            f"a trivial task, 100,000 tasks, np={workers}", 100_000, 1000,
            small,
            TRIVIAL, per_item,
        )
        for workers, small in ((2, FAST), (64, SMALL[64]))
    },
    **{
        f"equal-{workers}": Row(
            f"1,000 tasks of 1 ms, np={workers} (reference: ideal)", 1000, 100,
            schedules(equal_lengths, workers), "0.98 x of the ideal",
        )
        for workers in (2, 64)
    },
    "uneven-2": Row(
        "100 tasks of 0.1 to 100 ms, np=2 (reference: ideal)", 100, 5,
        schedules(uneven_lengths, 2), "0.9 x of the ideal",
    ),
    "blas": Row(
        "40 A @ B of 500 x 500, 2 workers (reference: blas_threads=None)", 500, 50,
        {OURS: by_ours(product, products, 2), POOL: by_pool(product, products, 2),
         REFERENCE: by_ours(product, products, 2, blas_threads=None)},
        "faster than without the limit",
    ),
    "trace-equal": Row(
        "1,000 tasks of 1 ms, with a trace (reference: without)", 1000, 100,
        {OURS: by_ours(burn, equal_lengths, 2, trace=True),
         REFERENCE: by_ours(burn, equal_lengths, 2)},
        "2% more",
    ),
    "trace-trivial": Row(
        "a trivial task, 100,000 tasks, with a trace (reference: without)", 100_000, 1000,
        {OURS: by_ours(negative, range, 2, trace=True), REFERENCE: by_ours(negative, range, 2)},
        "2% more", per_item,
    ),
}  # fmt: skip
