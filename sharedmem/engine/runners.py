"""Runners of the tasks of array calls: in the caller one by one, or in threads of the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from sharedmem.engine.operands import as_tuple, check_outs
from sharedmem.engine.regions import reads_dask
from sharedmem.engine.user_kernels import releases_gil, warn_of_gil
from sharedmem.kernels.machine_code import Code, Share
from sharedmem.machine import blas, native_threads
from sharedmem.machine.freeing import exhaust
from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.tuning import tuning

# ``run(func, sequence)`` returns the list of ``func(item)``.
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
# ``stream(func, sequence)`` yields ``func(item)``, in order and not far ahead of the reader.
Stream = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
Arrays = tuple[Any, ...]
# The words of a kernel's block that have the number of tasks that are claimed, and of all.
Words = tuple[int, int]


class Watch(Protocol):
    """Runs tasks in threads of the caller, and shows or records what they do."""

    def call(self) -> AbstractContextManager[None]:
        """Return the block in which all that is run is one call."""
        ...

    def expect(self, n_tasks: int) -> None:
        """Count tasks that will come, in one run or several."""
        ...

    def run(self, work: Callable[[int], object], n_tasks: int, n_threads: int, nbytes: int) -> None:
        """Call `work` with each number, by threads that read and write so many bytes."""
        ...

    def share(self, code: Code, block: int, n_threads: int, counter: Words, nbytes: int) -> None:
        """Call a kernel, by threads that share its work and read and write so many bytes."""
        ...


class Form(Protocol):
    """A ufunc, or an expression, for inputs of certain types: worked out once."""

    dtype: np.dtype[Any]

    def is_small(self, out: Any) -> bool:
        """Return whether NumPy computes `out` in less time than threads."""
        ...

    def by_numpy(self, inputs: Sequence[Any], out: Any) -> None:
        """Compute all of `out` by NumPy."""
        ...

    def together(self, share: Share, inputs: Sequence[Any], out: Any) -> bool:
        """Compute all of `out` by a kernel, if there is one for this; return whether it did."""
        ...


def _words_of_lines() -> Words:
    # Not at the top: LLVM takes longer to load than all else that a map needs.
    from sharedmem.kernels.loops import lines

    return lines.NEXT, lines.N_TASKS


@dataclass(slots=True)
class ArrayRunner:
    """A runner of the tasks of array functions, which use a pool only through it.

    A pool has one, ``pool.runner``, for the call that is about to start. Kernels that release the
    GIL run in threads of the caller, all others on the pool.

    Parameters
    ----------
    n_workers : int
        Number of workers, or threads, the caller included; 0 for a serial pool.
    watch : Watch or None
        Runs tasks in threads of the caller, if that is shown or recorded.
    map, imap : callable
        Run tasks on the workers of the pool, as its methods do.
    shares_memory : bool
        Whether the workers of the pool share all memory with the caller.
    blas_threads : int or None
        Threads of BLAS libraries in each thread that runs ufuncs.
    form_of : callable
        ``form_of(ufunc, inputs)`` returns the `Form` of a ufunc, or None.
    """

    n_workers: int
    watch: Watch | None
    map: Run
    imap: Stream
    shares_memory: bool
    blas_threads: int | None
    form_of: Callable[[Any, Sequence[Any]], Form | None]

    def run(
        self, nbytes: int | None, blas_threads: int | None = None, *, moved: int | None = None
    ) -> Run:
        """Return a function that runs tasks, which release the GIL, in threads of the caller.

        Sleeping threads wake up in a fraction of the time that forking workers takes, and need not
        fault in the pages of the array again.

        Parameters
        ----------
        nbytes : int or None
            Bytes that the tasks read together; few bytes need few threads. None sets no limit.
        blas_threads : int, optional
            Threads of BLAS libraries in each of several threads; by default no limit.
        moved : int, optional
            Bytes that the tasks read and write, if these are others.
        """
        n_threads, watch = self.n_threads(nbytes), self.watch
        moved = (nbytes or 0) if moved is None else moved

        def run(func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
            results: list[Any] = [None] * len(sequence)

            def work(index: int) -> None:
                results[index] = func(sequence[index])

            limit = blas.Limit(blas_threads if n_threads > 1 else None)
            try:
                limit.set()
                if watch is None:
                    in_threads(work, range(len(sequence)), n_threads)
                else:
                    watch.run(work, len(sequence), n_threads, moved)
            finally:
                exhaust(limit.lifting)
            return results

        return run

    def share(
        self,
        nbytes: int,
        counter: Words | None = None,
        *,
        moved: int | None = None,
    ) -> Share:
        """Return a function that calls a kernel in threads of the caller, which share its work.

        Parameters
        ----------
        nbytes : int
            Bytes that the kernel reads and writes.
        counter : tuple of int, optional
            The words of its block that have the number of tasks that are claimed, and of all; by
            default those of kernels of lines.
        moved : int, optional
            Bytes that a call of the kernel reads and writes, if these are others.
        """
        n_threads, watch = self.n_threads(nbytes), self.watch
        moved = nbytes if moved is None else moved

        def share(code: Code, block: int) -> None:
            if watch is None:
                native_threads.run(code, block, n_threads)
            else:
                watch.share(code, block, n_threads, counter or _words_of_lines(), moved)

        return share

    def one_call(self) -> AbstractContextManager[None]:
        """Return the block of a call whose tasks run in several phases."""
        return nullcontext() if self.watch is None else self.watch.call()

    def n_threads(self, nbytes: int | None) -> int:
        """Return in how many threads of the caller tasks run that read so many bytes together."""
        n_threads = self.n_workers
        if nbytes is not None:
            n_threads = min(n_threads, nbytes // tuning.thread_bytes)
        return max(1, n_threads)

    def sees(self, *arrays: Any) -> bool:
        """Return whether workers elsewhere open one of the arrays themselves.

        If so, its tasks are those of `stored`, also if the array is a memory-mapped file.

        Raises
        ------
        TypeError
            If no worker can read one of the arrays.
        """
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
        """Return how tasks that read an array in a file run.

        Parameters
        ----------
        a : array or tuple of array
            What the tasks read: at least one array in a file, or one that `sees` is true of.
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
        arrays = as_tuple(a)
        self.sees(*arrays, *as_tuple(out))
        check_outs(as_tuple(out), "out", private_ok=True)
        nbytes = sum(part.nbytes for part in arrays)
        step = tuning.chunks_per_worker * max(self.n_workers, 1)

        def run_of(moved: int) -> Run:
            return self.map if holds_gil else self.run(nbytes, moved=moved)

        def stream(func: Callable[[Any], Any], sequence: Sequence[Any]) -> Iterable[Any]:
            if self.watch is not None:
                self.watch.expect(len(sequence))
            for start in range(0, len(sequence), step):
                some = sequence[start : start + step]
                yield from run_of(nbytes * len(some) // len(sequence))(func, some)

        return stream, run_of(nbytes), a, out

    def kernel_call(
        self, kernel: Any, inputs: Arrays, outs: Arrays, role: str = "out"
    ) -> tuple[Run, Arrays, Arrays, bool]:
        """Check the arrays that a user's kernel writes, and return how it runs.

        Parameters
        ----------
        kernel : callable
            The kernel.
        inputs, outs : tuple of array
            The arrays that it reads, and those that it writes; without outputs, the first input.
        role : str
            Name of what is written, for errors.

        Returns
        -------
        run : callable
            Runs its tasks.
        inputs, outs : tuple of array
            The arrays as the tasks have to use them.
        private_ok : bool
            Whether what the tasks write to private memory is seen by the caller.
        """
        self.sees(*inputs, *outs)
        is_free = releases_gil(kernel)
        if not is_free and self.shares_memory and self.n_workers > 1:
            warn_of_gil(kernel)
        private_ok = is_free or self.shares_memory
        check_outs(outs or inputs[:1], role, private_ok)
        moved = sum(int(getattr(a, "nbytes", 0)) for a in (*inputs, *outs))
        return self.run(None, moved=moved) if is_free else self.map, inputs, outs, private_ok

    def ufunc_call(
        self, inputs: Arrays, outs: Arrays
    ) -> tuple[bool, Callable[[int], Run], Arrays, Arrays]:
        """Check the arrays that a ufunc writes, if they are given, and return how it runs.

        Returns
        -------
        is_local : bool
            Whether threads of the caller may compute all of an output together.
        run : callable
            ``run(nbytes)`` returns what runs tasks that read so many bytes together.
        inputs, outs : tuple of array
            The arrays as the tasks have to use them.
        """
        self.sees(*inputs, *outs)
        check_outs(outs, "out", private_ok=True)
        run = partial(self.run, blas_threads=self.blas_threads)
        return True, run, inputs, outs


def run_serially(func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
    """Run the tasks one after the other."""
    return [func(item) for item in sequence]
