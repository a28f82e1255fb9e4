"""Steps of random programs that use a pool, each checked against a model."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import sharedmem
from sharedmem import MapReduce, StopProcessGroup, WorkerException
from sharedmem.errors import DeadWorkerError


class Program:
    """A program with a pool, arrays, outstanding results, and background calls.

    Each method does one step, and asserts that its outcome is that of the model: NumPy arrays for
    shared arrays, and lists for results.

    Parameters
    ----------
    backend : Backend
        The backend of the pool.
    n_workers : int
        The number of workers.
    """

    def __init__(self, backend: Any, n_workers: int) -> None:
        self.pool = MapReduce(backend, np=n_workers)
        self.short = MapReduce(backend, np=n_workers, timeout=0.05)
        self.has_processes = backend.uses_processes
        self.arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self.outstanding: list[tuple[Iterator[int], Iterator[int]]] = []
        self.calls: list[tuple[sharedmem.background, object]] = []

    def map(self, n_tasks: int, chunksize: int | None, n_bytes: int) -> None:
        """Call `map` with tasks that return `n_bytes` bytes."""
        results = self.pool.map(lambda i: (i, bytes(n_bytes)), range(n_tasks), chunksize=chunksize)
        assert results == [(i, bytes(n_bytes)) for i in range(n_tasks)]

    def reduce(self, n_tasks: int) -> None:
        """Call `map` with tasks that use sections, and with `reduce`."""
        total, turns = sharedmem.zeros((), int), []

        def work(i: int) -> int:
            with self.pool.ordered:
                before = int(total)
                with self.pool.critical:
                    total[()] += i
            return before

        self.pool.map(work, range(n_tasks), reduce=turns.append)
        assert sorted(turns) == list(itertools.accumulate(range(n_tasks), initial=0))[:n_tasks]

    def fail(self, n_tasks: int, at: int, how: Callable[[int], object], reason: type) -> None:
        """Call `map` with tasks of which one fails."""
        at %= n_tasks
        try:
            self.pool.map(lambda i: how(i) if i == at else i, range(n_tasks))
        except WorkerException as error:
            assert type(error.reason) is reason, error
            assert f"ask {at} " in str(error), error
        else:
            raise AssertionError("nothing is raised")

    def fail_in_imap(self, n_items: int, at: int) -> None:
        """Call `imap` with an item that kills its worker, or raises in a thread."""
        results = self.pool.imap(end_of(self.has_processes), [i != at for i in range(n_items)])
        with contextlib.suppress(WorkerException):
            assert all(result is None for result in results)
            assert at >= n_items

    def stop(self, n_tasks: int, at: int) -> None:
        """Call `map` with a task that stops its worker."""

        def work(i: int) -> int:
            if i == at:
                raise StopProcessGroup
            return i

        results = self.pool.map(work, range(n_tasks), chunksize=1)
        assert results == sorted(set(results) - {at})

    def run_late(self) -> None:
        """Call `map` with tasks that exceed the time limit."""
        try:
            self.short.map(time.sleep, [0.1] * self.pool.np)
        except TimeoutError:
            return
        raise AssertionError("nothing is raised")

    def nest(self, n_tasks: int) -> None:
        """Call `map` in tasks of the same pool."""
        results = self.pool.map(lambda i: self.pool.map(lambda j: i * j, range(3)), range(n_tasks))
        assert results == [[0, i, 2 * i] for i in range(n_tasks)]

    def begin_imap(self, *, in_order: bool) -> None:
        """Start `imap` or `imap_unordered`, whose results are all equal."""
        if in_order:
            self.outstanding.append((self.pool.imap(abs, itertools.count()), itertools.count()))
        else:
            results = self.pool.imap_unordered(abs, itertools.repeat(-7))
            self.outstanding.append((results, itertools.repeat(7)))

    def take(self, which: int, n_results: int) -> None:
        """Take some of the outstanding results."""
        if self.outstanding:
            results, model = self.outstanding[which % len(self.outstanding)]
            taken = list(itertools.islice(results, n_results))
            assert taken == list(itertools.islice(model, n_results))

    def drop(self, which: int) -> None:
        """Drop an iterator of outstanding results."""
        if self.outstanding:
            del self.outstanding[which % len(self.outstanding)]

    def allocate(self, n: int, *, in_worker: bool) -> None:
        """Make a shared array, here or in a task."""
        make = (lambda i: sharedmem.full(n, 5.0)) if in_worker else None
        array = self.pool.map(make, [0])[0] if make else sharedmem.full(n, 5.0)
        assert type(array) is sharedmem.SharedArray
        self.arrays.append((array, np.full(n, 5.0)))

    def change(self, which: int, *, by_kernel: bool) -> None:
        """Change an array in place, by a ufunc or a kernel."""
        if self.arrays:
            array, model = self.arrays[which % len(self.arrays)]
            if by_kernel:
                grid = sharedmem.chunks(array, n=3) if array.size else None
                self.pool.map_chunks(lambda x: np.add(x, 1, x), array, chunks=grid)
            else:
                self.pool.apply_ufunc(np.add, array, 1, out=array)
            model += 1

    def fail_in_kernel(self, which: int) -> None:
        """Call a kernel that kills its worker, or raises in a thread; the array is unchanged."""
        if self.arrays and self.arrays[which % len(self.arrays)][0].size > 1:
            array, model = self.arrays[which % len(self.arrays)]
            with contextlib.suppress(WorkerException):
                self.pool.map_chunks(
                    end_of(self.has_processes), array, chunks=sharedmem.chunks(array, n=2)
                )
                raise AssertionError("nothing is raised")
            assert np.array_equal(array, model)

    def free(self, which: int) -> None:
        """Delete a shared array."""
        if self.arrays:
            del self.arrays[which % len(self.arrays)]

    def call(self, n: int, *, dies: bool) -> None:
        """Start a background call."""
        if dies and self.has_processes:
            self.calls.append((sharedmem.background(kill, n), DeadWorkerError))
        else:
            backend = self.pool.backend
            self.calls.append((sharedmem.background(range, n, backend=backend), range(n)))

    def wait(self, which: int) -> None:
        """Wait for a background call."""
        if self.calls:
            call, expected = self.calls.pop(which % len(self.calls))
            try:
                assert call.wait(20) == expected
            except WorkerException as error:
                assert type(error.reason) is expected, error

    def cancel(self, which: int) -> None:
        """Cancel a background call; wait for one that cannot be cancelled."""
        if self.calls:
            call, _ = self.calls.pop(which % len(self.calls))
            if not call.cancel():
                with contextlib.suppress(WorkerException):
                    call.wait(20)

    def check(self) -> None:
        """Compare all arrays with the model."""
        for array, model in self.arrays:
            assert np.array_equal(array, model)

    def end(self) -> None:
        """Drop all results and arrays, and cancel all calls."""
        self.outstanding.clear()
        self.arrays.clear()
        while self.calls:
            self.cancel(0)


def kill(_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def divide(_: object) -> float:
    return 1 / 0


def end_of(has_processes: bool) -> Callable[[Any], None]:
    """Return a function that kills its process, or raises, unless its argument is True."""

    def work(item: Any) -> None:
        if item is not True:
            (kill if has_processes else divide)(item)

    return work


FAILURES = {"raises": (divide, ZeroDivisionError), "is killed": (kill, DeadWorkerError)}
