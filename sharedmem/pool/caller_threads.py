"""Array functions in threads of the caller, whose progress is shown, and which are recorded."""

from __future__ import annotations

import contextlib
import ctypes
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sharedmem.engine.runners import Run, Words
from sharedmem.kernels.machine_code import Code
from sharedmem.machine import native_threads
from sharedmem.machine.helper_threads import in_threads
from sharedmem.machine.tuning import tuning
from sharedmem.pool.watches import (
    Steps,
    WatchedCall,
    WatchedPool,
    array_function,
    expect,
    phase,
    tasks_of,
    watched,
)

# Between two looks at what a kernel has done.
_LOOK_SECONDS = 0.05


class ThreadsWatch:
    """Runs the tasks of array functions in threads of the caller, and tells what they do.

    Progress is shown in the thread of the caller only: displays may call the user's functions.

    Parameters
    ----------
    pool : WatchedPool
        The pool.
    """

    def __init__(self, pool: WatchedPool) -> None:
        self._pool = pool

    def call(self) -> contextlib.AbstractContextManager[None]:
        """See :class:`sharedmem.engine.runners.Watch`."""
        return watched(self._pool, array_function())

    def map(self, run: Run, func: Callable[[Any], Any], sequence: Sequence[Any]) -> list[Any]:
        """Run tasks of an array function on the workers of the pool."""
        with self.call():
            return run(func, sequence)

    def expect(self, n_tasks: int) -> None:
        """See :class:`sharedmem.engine.runners.Watch`."""
        expect(self._pool, n_tasks)

    def run(self, work: Callable[[int], object], n_tasks: int, n_threads: int, nbytes: int) -> None:
        """See :class:`sharedmem.engine.runners.Watch`."""
        with phase(self._pool, n_tasks, array_function()) as call:
            if call is None:
                in_threads(work, range(n_tasks), n_threads)
            else:
                with tasks_of(call):
                    _run(call, work, n_tasks, n_threads, nbytes)

    def share(self, code: Code, block: int, n_threads: int, counter: Words, nbytes: int) -> None:
        """See :class:`sharedmem.engine.runners.Watch`."""
        n_steps = max(1, nbytes // tuning.chunk_bytes)
        with phase(self._pool, n_steps, array_function()) as call:
            start, n_shown = time.perf_counter(), 0
            try:
                if call is None or call.steps.display is None or n_steps == 1:
                    native_threads.run(code, block, n_threads)
                else:
                    kernel = _Kernel(code, block, n_threads, counter)
                    n_shown = kernel.run(call.steps, n_steps)
            finally:
                if call is not None and call.trace is not None:
                    stop = time.perf_counter()
                    call.trace.add_kernel(call.name, start, stop, n_threads, nbytes)
            if call is not None:
                call.steps.advance(n_steps - n_shown)


def _run(
    call: WatchedCall, work: Callable[[int], object], n_tasks: int, n_threads: int, nbytes: int
) -> None:
    """Run tasks in threads of the caller, as a phase of a call."""
    caller = threading.get_ident()
    done: list[tuple[int, float, float, int]] = []
    n_shown = 0

    def show() -> None:
        nonlocal n_shown
        n_new = len(done) - n_shown
        n_shown += n_new
        call.steps.advance(n_new)

    def do(index: int) -> None:
        start = time.perf_counter()
        work(index)
        thread = threading.get_ident()
        done.append((thread, start, time.perf_counter(), index))
        if thread == caller:
            show()

    try:
        in_threads(do, range(n_tasks), n_threads)
    finally:
        if call.trace is not None:
            call.trace.add_tasks(call.name, caller, done, nbytes)
    if n_shown < n_tasks:
        show()


class _Kernel:
    """A kernel that threads of compiled code run in one call, while the caller looks on.

    Parameters
    ----------
    code, block, n_threads
        See :func:`sharedmem.machine.native_threads.run`.
    counter : Words
        Where the block has the number of tasks that are claimed, and of all.
    """

    def __init__(self, code: Code, block: int, n_threads: int, counter: Words) -> None:
        self._arguments = code, block, n_threads
        claimed, all_tasks = (ctypes.c_int64.from_address(block + 8 * word) for word in counter)
        self._claimed, self._n_tasks = claimed, all_tasks.value
        self._caller = threading.get_ident()
        self._tickets = [None]  # for the thread that runs it
        self._has_ended = False
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self, steps: Steps, n_steps: int) -> int:
        """Run the kernel in another thread, and show its steps, except the last; return how many.

        It is stopped if an interrupt, or a display, raises.
        """
        n_shown = 0

        def look() -> None:
            nonlocal n_shown
            n_done = n_steps * self._claimed.value // self._n_tasks
            n_new = min(n_done, n_steps - 1) - n_shown
            if n_new > 0:
                n_shown += n_new
                steps.advance(n_new)

        def take_part(_: int) -> None:
            if threading.get_ident() != self._caller:
                self._run()
                return
            try:
                self._wait(look)
            except BaseException:
                self._claimed.value = self._n_tasks
                raise

        in_threads(take_part, range(2), 2)
        return n_shown

    def _wait(self, look: Callable[[], None]) -> None:
        while not self._has_ended:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=_LOOK_SECONDS)
            if not self._has_ended:
                self._run()  # here, where no other thread was to be had
                look()

    def _run(self) -> None:
        try:
            self._tickets.pop()
        except IndexError:
            return
        try:
            native_threads.run(*self._arguments)
        finally:
            self._has_ended = True
            self._bell.put(None)
