"""Rows of large inputs of tasks: captured by a closure, or passed as items."""

from __future__ import annotations

import concurrent.futures
import functools
from typing import Any

import numpy as np

import sharedmem
from harness.contenders import FORK, FUTURES, JOBLIB, MPIRE, PYMP, everyone, present
from harness.timing import GIB, MIB, OLD, OURS, POOL, Call, Row

TASKS = range(2)
N_ITEMS = 16


def element(a: np.ndarray, k: int) -> float:
    """Read one element; the row measures how the array reaches the task."""
    return float(a[k])


def values(n_bytes: int) -> np.ndarray:
    return np.arange(n_bytes // 8, dtype="f8")


def captured(n_bytes: int) -> Call:
    a = values(n_bytes)

    def call() -> list[float]:
        with sharedmem.MapReduce(np=2) as pool:
            return pool.map(lambda k: element(a, k), TASKS)

    return call


def captured_by_pool(n_bytes: int) -> Call:
    task = functools.partial(element, values(n_bytes))

    def call() -> list[float]:
        with FORK.Pool(2) as pool:
            return pool.map(task, TASKS, chunksize=1)

    return call


def captured_by_futures(n_bytes: int) -> Call:
    task = functools.partial(element, values(n_bytes))

    def call() -> list[float]:
        with concurrent.futures.ProcessPoolExecutor(2, FORK) as pool:
            return list(pool.map(task, TASKS))

    return call


def shared_by_mpire(n_bytes: int) -> Call:
    """Pass the array as `shared_objects`, which the workers of mpire inherit."""
    from mpire.pool import WorkerPool

    a = values(n_bytes)

    def call() -> Any:
        with WorkerPool(2, shared_objects=a, start_method="fork") as pool:
            return pool.map(element, TASKS)

    return call


def mapped_by_joblib(n_bytes: int) -> Call:
    """Pass the array as an argument; joblib writes it to a file, which its workers map."""
    import joblib

    a, task = values(n_bytes), joblib.delayed(element)
    return lambda: joblib.Parallel(n_jobs=2)(task(a, k) for k in TASKS)


def captured_by_pymp(n_bytes: int) -> Call:
    import pymp

    a = values(n_bytes)

    def call() -> np.ndarray:
        results = pymp.shared.array(len(TASKS))
        with pymp.Parallel(2) as team:
            for k in team.range(len(TASKS)):
                results[k] = element(a, k)
        return np.asarray(results)

    return call


def ends(a: np.ndarray) -> float:
    return float(a[0] + a[-1])


def items(n_bytes: int) -> list[np.ndarray]:
    return [values(n_bytes // N_ITEMS) + k for k in range(N_ITEMS)]


ROWS = {
    "captured": Row(
        "map of 2 tasks, a closure over {size}", 256 * MIB, MIB,
        present({
            OURS: captured, POOL: captured_by_pool, OLD: captured, FUTURES: captured_by_futures,
            MPIRE: shared_by_mpire, JOBLIB: mapped_by_joblib, PYMP: captured_by_pymp,
        }),
        "no copy", needs=4 * GIB,
    ),
    "items": Row(
        "16 arrays of 8 MiB as items", 128 * MIB, MIB, everyone(ends, items, 2, numbers=True),
        "no copy", needs=2 * GIB,
    ),
}  # fmt: skip
