"""Threads that sleep until a caller needs help."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from sharedmem.machine.fork_locks import new_lock
from sharedmem.machine.freeing import exhaust
from sharedmem.machine.signals import SYNCHRONOUS, signals_held

# Mutexes of C, since what a signal handler raises would end the wait for a lock of Python's.
# Calls that never wait keep the GIL, since to get it back costs more than the call.
_MUTEX = ctypes.c_uint64 * 8  # as large as any system's; C functions get its address
_with_gil, _without_gil = ctypes.PyDLL(None), ctypes.CDLL(None)

_NOTHING = object()


class _Job:
    """A function to call on all items; threads may join until the caller has ended.

    Attributes
    ----------
    is_closed : bool
        Set when the caller ends: threads take no more items.
    departures : iterator
        Each step waits for one thread to leave. ``exhaust(job.departures)`` waits for all of them
        in one call of C. Python handles signals after that call, not during it, so that the wait is
        complete also where several exceptions are raised.
    errors : list of BaseException
        Exceptions of the function in other threads.
    """

    def __init__(self, function: Callable[[Any], object], items: Iterable[Any]) -> None:
        self._function = function
        self._items = iter(items)
        self._lock = threading.Lock()
        self._helping: list[ctypes.Array[Any]] = []
        self.is_closed = False
        self.departures = map(_without_gil.pthread_mutex_lock, self._helping)
        self.errors: list[BaseException] = []

    def work(self) -> None:
        """Call the function on items until there are none left, or a call has failed."""
        while not (self.errors or self.is_closed):
            with self._lock:
                item = next(self._items, _NOTHING)
            if item is _NOTHING:
                return
            self._function(item)

    def help(self) -> None:
        """Work in another thread, unless the job is closed."""
        mutex = _MUTEX()
        _with_gil.pthread_mutex_init(mutex, None)
        _with_gil.pthread_mutex_lock(mutex)
        # Listed before `is_closed` is read: either the caller sees this thread, or it sees the end.
        self._helping.append(mutex)
        try:
            self.work()
        except BaseException as error:
            self.errors.append(error)
        finally:
            _with_gil.pthread_mutex_unlock(mutex)

    def clear(self) -> list[BaseException]:
        """Drop all references, which a late thread or a traceback would keep; return the errors."""
        self._items = iter(())
        self._function = id
        errors = self.errors.copy()
        self.errors.clear()
        return errors


class _Helpers:
    """Threads that sleep until there is a job, and end with the process."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._n_threads = 0
        self._lock = new_lock()

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - SYNCHRONOUS)
        while True:
            self._calls.get()()

    def _start(self, n_threads: int) -> int:
        """Start threads up to `n_threads`; return how many the system has allowed."""
        with signals_held(), self._lock, contextlib.suppress(RuntimeError):
            while self._n_threads < n_threads:
                threading.Thread(target=self._serve, name="sharedmem", daemon=True).start()
                self._n_threads += 1
        return self._n_threads

    def call(self, job: _Job, n_threads: int) -> None:
        """Queue a job for at most `n_threads` threads."""
        if self._n_threads < n_threads:
            n_threads = min(n_threads, self._start(n_threads))
        for _ in range(n_threads):
            # NumPy's error state is a context variable, which a thread does not inherit.
            self._calls.put(partial(contextvars.copy_context().run, job.help))


_helpers = _Helpers()


def _forget_helpers() -> None:
    global _helpers
    _helpers = _Helpers()


os.register_at_fork(after_in_child=_forget_helpers)


def in_threads(function: Callable[[Any], object], items: Iterable[Any], n_threads: int) -> None:
    """Call `function` on each item, in this thread and at most ``n_threads - 1`` others.

    When this returns or raises, no thread works on the items any longer, even if a signal handler
    has raised. The first exception stops all threads and is raised here. The threads stay asleep
    for the next call.
    """
    job = _Job(function, items)
    try:
        if n_threads > 1:
            _helpers.call(job, n_threads - 1)
        job.work()
    finally:
        job.is_closed = True
        exhaust(job.departures)
        errors = job.clear()
    if errors:
        first = errors[0]
        errors.clear()  # The tracebacks refer to the list, and to this frame.
        try:
            raise first
        finally:
            del first
