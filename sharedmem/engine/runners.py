"""Runners of the tasks of array calls: in the caller one by one, or in threads of the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from sharedmem.engine.operands import as_tuple, check_stored, check_writable, is_store, reads_dask
from sharedmem.engine.user_kernels import releases_gil, warn_of_gil
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


class KernelCall(NamedTuple):
    """The way in which a user's kernel runs on arrays.

    Attributes
    ----------
    run : callable
        Runs its tasks.
    inputs, outs : tuple of array
        The arrays as the tasks have to use them.
    private_ok : bool
        Whether what the tasks write to private memory is seen by the caller.
    """

    run: Run
    inputs: tuple[Any, ...]
    outs: tuple[Any, ...]
    private_ok: bool


class UfuncCall(NamedTuple):
    """The way in which a ufunc runs on arrays.

    Attributes
    ----------
    together : callable or None
        ``together(share, inputs, out)`` computes all of `out` by one kernel, and returns whether it
        was possible.
    run : callable
        ``run(nbytes)`` returns what runs tasks that read so many bytes together.
    share : callable
        ``share(nbytes)`` returns what calls a kernel in threads that share its work.
    inputs, outs : tuple of array
        The arrays as the tasks have to use them.
    """

    together: Callable[[Share, Sequence[Any], Any], bool] | None
    run: Callable[[int], Run]
    share: Callable[[int], Share]
    inputs: tuple[Any, ...]
    outs: tuple[Any, ...]


class ArrayRunner(Protocol):
    """A runner of the tasks of array functions, which use a pool only through it.

    A pool has one, ``pool.runner``, for the call that is about to start.
    """

    @property
    def n_workers(self) -> int:
        """Number of workers; 0 for a serial pool."""
        ...

    @property
    def map(self) -> Run:
        """The function that runs tasks on the workers of the pool."""
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
        self, a: Any, out: Any = None, *, gives_array: bool = False, holds_gil: bool = False
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
        holds_gil : bool
            Whether the tasks run Python code, which the workers of the pool do.

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

    def kernel_call(
        self, kernel: Any, inputs: tuple[Any, ...], outs: tuple[Any, ...], role: str = "out"
    ) -> KernelCall:
        """Return how a user's kernel runs.

        Parameters
        ----------
        kernel : callable
            The kernel.
        inputs, outs : tuple of array
            The arrays that it reads, and those that it writes; without outputs, the first input.
        role : str
            Name of what is written, for errors.
        """
        ...

    def ufunc_call(self, ufunc: Any, inputs: tuple[Any, ...], outs: tuple[Any, ...]) -> UfuncCall:
        """Return how a ufunc runs, which writes `outs`, or new arrays in shared memory."""
        ...


@dataclass(slots=True)
class LocalRunner:
    """A runner of array functions on this machine; see :class:`ArrayRunner`.

    Kernels that release the GIL run in threads of the caller, all others on the pool.

    Parameters
    ----------
    n_workers : int
        Number of workers, or threads, the caller included.
    bar : callable
        Makes the block in which progress is shown, from the number of tasks.
    map, imap : callable
        Run tasks on the pool, as its methods do.
    shares_memory : bool
        Whether the workers of the pool share all memory with the caller.
    blas_threads : int or None
        Threads of BLAS libraries in each thread that runs ufuncs.
    together_of : callable
        Returns the `together` of a ufunc; see :class:`UfuncCall`.
    """

    n_workers: int
    bar: Bar
    map: Run
    imap: Stream
    shares_memory: bool
    blas_threads: int | None
    together_of: Callable[[Any], Any]

    def run(self, nbytes: int | None) -> Run:
        """Return a function that runs tasks in threads."""
        return run_in_threads(self.n_workers, nbytes, None, self.bar)

    def share(self, nbytes: int) -> Share:
        """Return a function that calls a kernel in threads."""
        return share_in_threads(self.n_workers, nbytes, self.bar)

    def sees(self, *arrays: Any) -> bool:
        """Return False: threads of the caller have its arrays."""
        for a in arrays:  # a loop, since this is on the way of each small sum
            if not isinstance(a, np.ndarray) and reads_dask(a):
                raise TypeError(
                    "a dask array is read by the workers of a cluster: give it to a pool on one, "
                    "MapReduce(DaskBackend(client)), or give a.compute() or an array in a file"
                )
        return False

    def stored(
        self, a: Any, out: Any = None, *, gives_array: bool = False, holds_gil: bool = False
    ) -> tuple[Stream, Run, Any, Any]:
        """Return how tasks that read an array in a file run."""
        self.sees(a, *as_tuple(out))
        for target in as_tuple(out):
            (check_stored if is_store(target) else check_writable)(target, "out", True)
        run = self.map if holds_gil else self.run(a.nbytes)
        return in_batches(run, self.n_workers), run, a, out

    def kernel_call(
        self, kernel: Any, inputs: tuple[Any, ...], outs: tuple[Any, ...], role: str = "out"
    ) -> KernelCall:
        """Return how a user's kernel runs."""
        self.sees(*inputs, *outs)
        if releases_gil(kernel):
            return KernelCall(self.run(None), inputs, outs, True)
        if self.shares_memory and self.n_workers > 1:
            warn_of_gil(kernel)
        return KernelCall(self.map, inputs, outs, self.shares_memory)

    def ufunc_call(self, ufunc: Any, inputs: tuple[Any, ...], outs: tuple[Any, ...]) -> UfuncCall:
        """Return how a ufunc runs."""
        self.sees(*inputs, *outs)

        def run(nbytes: int) -> Run:
            return run_in_threads(self.n_workers, nbytes, self.blas_threads, self.bar)

        return UfuncCall(self.together_of(ufunc), run, self.share, inputs, outs)


def in_batches(run: Run, n_workers: int) -> Stream:
    """Return a stream of what `run` returns for some chunks per worker at a time."""
    step = tuning.chunks_per_worker * max(n_workers, 1)

    def stream(func: Callable[[Any], Any], sequence: Sequence[Any]) -> Iterable[Any]:
        for start in range(0, len(sequence), step):
            yield from run(func, sequence[start : start + step])

    return stream


def run_serially(func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
    """Run the tasks one after the other."""
    return [func(item) for item in sequence]


def run_in_threads(
    n_workers: int,
    nbytes: int | None,
    blas_threads: int | None,
    bar: Bar,
) -> Run:
    """Return a function that runs tasks, which release the GIL, in threads of the caller.

    Sleeping threads wake up in a fraction of the time that forking workers takes, and need not
    fault in the pages of the array again.

    Parameters
    ----------
    n_workers : int
        Maximum number of threads, the caller included.
    nbytes : int or None
        Bytes that the tasks read together; few bytes need few threads. None sets no limit.
    blas_threads : int or None
        Threads of BLAS libraries in each thread.
    bar : callable
        Makes the block in which progress is shown, from the number of tasks.
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
    """Return a function that calls a kernel in threads, which share its work."""
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
