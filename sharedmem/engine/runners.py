"""How the tasks of an array call are run by the caller itself: one by one, or in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sharedmem.machine import blas
from sharedmem.machine.freeing import exhaust
from sharedmem.machine.helper_threads import in_concert, in_threads

Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
Bar = Callable[[int], AbstractContextManager[Callable[[int], object]]]

# A sleeping thread wakes up in 0.06 ms, in which a core works on 1 to 2 MiB; `sharedmem info`
# measures that again. A sum of 4 MiB from memory takes one thread 0.35 ms and two 0.28, of 16 cores
# 0.30 and 0.21; from cache it takes one 0.13 and two 0.17.
THREAD_BYTES = 2 << 20


def run_serially(func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
    """Do the tasks one by one."""
    return [func(item) for item in sequence]


def run_in_threads(
    n_workers: int,
    nbytes: int | None,
    blas_threads: int | None,
    bar: Bar,
) -> Run:
    """Return what runs tasks that let go of the interpreter's lock in threads of the caller.

    Sleeping threads wake up in a fiftieth of the time that it takes to fork workers, which
    moreover fault in every page of the array again (a sum of 1 GiB by two workers: 46 ms against
    172). Nothing in them can be stale.

    Parameters
    ----------
    n_workers : int
        How many threads there may be, the caller's included.
    nbytes : int or None
        What the tasks read together; few bytes need few threads. None if they may do anything.
    blas_threads : int or None
        Threads of BLAS libraries in each of them.
    bar : callable
        Makes the block in which progress is told, from the number of tasks.
    """
    n_threads = _n_threads(n_workers, nbytes)

    def run(func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
        results: list[Any] = [None] * len(sequence)
        lock = threading.Lock()

        def work(index: int) -> None:
            results[index] = func(sequence[index])
            with lock:
                advance(1)

        limit = blas.Limit(blas_threads if n_threads > 1 else None)
        with bar(len(sequence)) as advance:
            try:
                limit.set()
                in_threads(work, range(len(sequence)), n_threads)
            finally:
                exhaust(limit.lifting)
        return results

    return run


def share_in_threads(n_workers: int, nbytes: int, bar: Bar) -> Callable[..., None]:
    """Return what calls a kernel in threads that share its work: see `kernels.pieces.Share`."""
    n_threads = _n_threads(n_workers, nbytes)

    def share(work: Callable[[bool], bool]) -> None:
        with bar(1) as advance:
            in_concert(work, n_threads)
            advance(1)

    return share


def _n_threads(n_workers: int, nbytes: int | None) -> int:
    if nbytes is not None:
        n_workers = min(n_workers, nbytes // THREAD_BYTES)
    return max(1, n_workers)
