"""How each contender maps a function over items, and which of them are installed."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sharedmem
from harness.timing import OLD, OURS, POOL, Call, SetUp

MPIRE, JOBLIB, PYMP, FUTURES = "mpire", "joblib", "pymp", "concurrent.futures"
DASK, NUMEXPR, SKLEARN = "Dask", "numexpr", "scikit-learn"
BOTTLENECK, BLOSC2, PRANGE = "bottleneck", "blosc2", "numba prange"
FLOX, PANDAS, POLARS, EMCEE = "flox", "pandas", "polars", "emcee"
SCIPY, RAY = "scipy", "Ray"
PACKAGES = {
    MPIRE: "mpire", JOBLIB: "joblib", PYMP: "pymp", DASK: "dask", NUMEXPR: "numexpr",
    SKLEARN: "sklearn", BOTTLENECK: "bottleneck", BLOSC2: "blosc2",
    FLOX: "flox", PANDAS: "pandas", POLARS: "polars", EMCEE: "emcee", SCIPY: "scipy", RAY: "ray",
}  # fmt: skip
FORK = multiprocessing.get_context("fork")
Items = Callable[[int], Sequence[Any]]
Function = Callable[..., Any]


def negative(i: int) -> int:
    """Be a trivial task."""
    return -i


def by_ours(func: Function, items: Items, workers: int, **options: Any) -> SetUp:
    def set_up(size: int) -> Call:
        sequence = items(size)

        def call() -> Any:
            with sharedmem.MapReduce(np=workers, **options) as pool:
                return pool.map(func, sequence)

        return call

    return set_up


def by_pool(func: Function, items: Items, workers: int, chunksize: int | None = None) -> SetUp:
    def set_up(size: int) -> Call:
        sequence = items(size)

        def call() -> Any:
            with FORK.Pool(workers) as pool:
                return pool.map(func, sequence, chunksize)

        return call

    return set_up


def by_futures(func: Function, items: Items, workers: int) -> SetUp:
    """Hand out as many items at once as multiprocessing.Pool does by itself."""

    def set_up(size: int) -> Call:
        sequence = items(size)
        chunksize = max(1, len(sequence) // (4 * workers))

        def call() -> Any:
            with concurrent.futures.ProcessPoolExecutor(workers, FORK) as pool:
                return list(pool.map(func, sequence, chunksize=chunksize))

        return call

    return set_up


def by_mpire(func: Function, items: Items, workers: int) -> SetUp:
    def set_up(size: int) -> Call:
        from mpire.pool import WorkerPool

        sequence = items(size)

        def call() -> Any:
            with WorkerPool(workers, start_method="fork") as pool:
                return pool.map(func, sequence, concatenate_numpy_output=False)

        return call

    return set_up


def by_joblib(func: Function, items: Items, workers: int) -> SetUp:
    """Use its default backend, whose workers stay from call to call."""

    def set_up(size: int) -> Call:
        import joblib

        sequence, task = items(size), joblib.delayed(func)
        return lambda: joblib.Parallel(n_jobs=workers)(task(item) for item in sequence)

    return set_up


def by_pymp(func: Function, items: Items, workers: int) -> SetUp:
    """Give each worker an equal share; what a task returns is a number."""

    def set_up(size: int) -> Call:
        import pymp

        sequence = items(size)

        def call() -> Any:
            results = pymp.shared.array(len(sequence))
            with pymp.Parallel(workers) as team:
                for k in team.range(len(sequence)):
                    results[k] = func(sequence[k])
            return results

        return call

    return set_up


def is_there(which: str) -> bool:
    """Return whether a contender's package is installed."""
    return which not in PACKAGES or importlib.util.find_spec(PACKAGES[which]) is not None


def present(contenders: Mapping[str, SetUp]) -> dict[str, SetUp]:
    """Leave out the peers that are not installed."""
    return {which: set_up for which, set_up in contenders.items() if is_there(which)}


def everyone(
    func: Function, items: Items, workers: int, *, numbers: bool = False
) -> dict[str, SetUp]:
    """Return all contenders that are installed; pymp only where tasks return numbers."""
    contenders = {
        OURS: by_ours(func, items, workers),
        POOL: by_pool(func, items, workers),
        OLD: by_ours(func, items, workers),
        FUTURES: by_futures(func, items, workers),
        MPIRE: by_mpire(func, items, workers),
        JOBLIB: by_joblib(func, items, workers),
    }
    if numbers:
        contenders[PYMP] = by_pymp(func, items, workers)
    return present(contenders)
