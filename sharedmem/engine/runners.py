"""Who runs the tasks of an array call: the caller one by one, or threads of the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sharedmem.engine.operands import as_tuple, check_stored, check_writable, is_store, reads_dask
from sharedmem.machine import blas
from sharedmem.machine.freeing import exhaust
from sharedmem.machine.helper_threads import in_concert, in_threads
from sharedmem.machine.tuning import tuning

if TYPE_CHECKING:  # which would import numba
    from sharedmem.kernels.loops.pieces import Share

# ``run(func, sequence)`` returns the list of ``func(item)``.
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
# ``stream(func, sequence)`` yields ``func(item)``, in order and not far ahead of the reader.
Stream = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
Bar = Callable[[int], AbstractContextManager[Callable[[int], object]]]


class ArrayRunner(Protocol):
    """Runs the tasks of array functions: the only way in which these use a pool.

    A pool has one, ``pool.runner``, for the call that is about to start.

    Attributes
    ----------
    n_workers : int
        Number of workers; 0 for a serial pool.
    """

    @property
    def n_workers(self) -> int:
        """Number of workers."""
        ...

    def run(self, nbytes: int | None) -> Run:
        """Return a function that runs tasks in threads of the caller.

        Parameters
        ----------
        nbytes : int or None
            Bytes that the tasks read together, which limit the number of threads; None sets no
            limit. The tasks release the GIL.
        """
        ...

    def share(self, nbytes: int) -> Share:
        """Return a function that calls a kernel in threads of the caller, which share its work."""
        ...

    def sees(self, *arrays: Any) -> bool:
        """Return whether workers elsewhere open one of the arrays themselves.

        If so, its tasks are those of `stored`, also if the array is a memory-mapped file.

        Raises
        ------
        TypeError
            If no worker can read one of the arrays.
        """
        ...

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run.

        Parameters
        ----------
        a : array
            The array that the tasks read: in a file, or one that `sees` is true of.
        out : array, optional
            The array that the results go to.
        gives_array : bool
            Whether the tasks write an array: to `out`, or to a new one in shared memory.

        Returns
        -------
        stream : callable
            ``stream(func, sequence)`` yields the results in order, not far ahead of the reader.
        run : callable
            ``run(func, sequence)`` returns the results.
        a, out : array
            The arrays as the tasks have to use them.
        """
        ...


@dataclass(slots=True)
class LocalRunner:
    """Runs array functions in threads of the caller; see :class:`ArrayRunner`.

    Parameters
    ----------
    n_workers : int
        Number of threads, the caller included.
    bar : callable
        Makes the block in which progress is shown, from the number of tasks.
    """

    n_workers: int
    bar: Bar

    def run(self, nbytes: int | None) -> Run:
        """Return a function that runs tasks in threads."""
        return run_in_threads(self.n_workers, nbytes, None, self.bar)

    def share(self, nbytes: int) -> Share:
        """Return a function that calls a kernel in threads."""
        return share_in_threads(self.n_workers, nbytes, self.bar)

    def sees(self, *arrays: Any) -> bool:
        """Return False: threads of the caller have its arrays."""
        if any(reads_dask(a) for a in arrays if not isinstance(a, np.ndarray)):
            raise TypeError(
                "a dask array is read by the workers of a cluster: give it to a pool on one, "
                "MapReduce(DaskBackend(client)), or give a.compute() or an array in a file"
            )
        return False

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run."""
        self.sees(a, *as_tuple(out))
        for target in as_tuple(out):
            (check_stored if is_store(target) else check_writable)(target, "out", True)
        run = self.run(a.nbytes)
        return in_batches(run, self.n_workers), run, a, out


def in_batches(run: Run, n_workers: int) -> Stream:
    """Return a stream of what `run` returns for some chunks a worker at a time."""
    step = tuning.chunks_per_worker * max(n_workers, 1)

    def stream(func: Callable[[Any], Any], sequence: Sequence[Any]) -> Iterable[Any]:
        for start in range(0, len(sequence), step):
            yield from run(func, sequence[start : start + step])

    return stream


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


def share_in_threads(n_workers: int, nbytes: int, bar: Bar) -> Share:
    """Return what calls a kernel in threads that share its work: see `kernels.pieces.Share`."""
    n_threads = _n_threads(n_workers, nbytes)

    def share(work: Callable[[bool], bool]) -> None:
        with bar(1) as advance:
            in_concert(work, n_threads)
            advance(1)

    return share


def _n_threads(n_workers: int, nbytes: int | None) -> int:
    if nbytes is not None:
        n_workers = min(n_workers, nbytes // tuning.thread_bytes)
    return max(1, n_workers)
