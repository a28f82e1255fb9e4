"""How each contender maps a function over items."""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import sharedmem
from timing import OLD, OURS, POOL, Call, SetUp

MPIRE, REFERENCE = "mpire", "reference"
FORK = multiprocessing.get_context("fork")
Items = Callable[[int], Sequence[Any]]


def negative(i: int) -> int:
    """Be a trivial task."""
    return -i


def by_ours(func: Callable[..., Any], items: Items, workers: int, **options: Any) -> SetUp:
    def set_up(size: int) -> Call:
        sequence = items(size)

        def call() -> Any:
            with sharedmem.MapReduce(np=workers, **options) as pool:
                return pool.map(func, sequence)

        return call

    return set_up


def by_pool(
    func: Callable[..., Any], items: Items, workers: int, chunksize: int | None = None
) -> SetUp:
    def set_up(size: int) -> Call:
        sequence = items(size)

        def call() -> Any:
            with FORK.Pool(workers) as pool:
                return pool.map(func, sequence, chunksize)

        return call

    return set_up


def by_mpire(func: Callable[..., Any], items: Items, workers: int) -> SetUp:
    def set_up(size: int) -> Call:
        from mpire.pool import WorkerPool

        sequence = items(size)

        def call() -> Any:
            with WorkerPool(workers, start_method="fork") as pool:
                return pool.map(func, sequence, concatenate_numpy_output=False)

        return call

    return set_up


def everyone(func: Callable[..., Any], items: Items, workers: int) -> dict[str, SetUp]:
    """Return all contenders that are installed."""
    contenders = {
        OURS: by_ours(func, items, workers),
        POOL: by_pool(func, items, workers),
        OLD: by_ours(func, items, workers),
    }
    if importlib.util.find_spec("mpire"):
        contenders[MPIRE] = by_mpire(func, items, workers)
    return contenders


def but(left_out: Iterable[str], contenders: Mapping[str, SetUp]) -> dict[str, SetUp]:
    return {which: set_up for which, set_up in contenders.items() if which not in left_out}
