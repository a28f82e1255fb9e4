"""A forked worker: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn

from sharedmem.machine import foreign_libraries, fork_locks
from sharedmem.machine.signals import set_mask, signals_blocked
from sharedmem.memory import open_files
from sharedmem.workers.child_process import ChildProcess
from sharedmem.workers.life_line import LifeLine, kept_at_fork
from sharedmem.workers.measured import measured


class _OfThread(threading.local):
    is_worker = False


_of_thread = _OfThread()


def in_worker() -> bool:
    """Return whether the caller is a worker, or was called by one."""
    return _of_thread.is_worker


@contextlib.contextmanager
def assigned(owner: object, name: str, value: object) -> Iterator[None]:
    """Give an attribute another value within the block."""
    before = getattr(owner, name)
    try:
        setattr(owner, name, value)  # after which an interrupt may come at once
        yield
    finally:
        setattr(owner, name, before)


thread_as_worker = partial(assigned, _of_thread, "is_worker", True)
"""Return a context in which `in_worker` returns True in this thread."""


class WorkerProcess(ChildProcess):
    """A forked process that runs `main` and exits.

    Parameters
    ----------
    main : callable
        Called in the worker without arguments.
    line : LifeLine
        The pipe that kills the worker when the coordinator is gone.
    handled : list of int
        The signals that have a Python handler in the coordinator, which the worker resets.

    Raises
    ------
    OSError
        If the system refuses a process or descriptor.
    """

    def __init__(self, main: Callable[[], None], line: LifeLine, handled: Sequence[int]) -> None:
        super().__init__(lambda _: _fork(main, line, handled))


def become_worker(mask: set[int]) -> None:
    """Make this process a worker, in which `mask` is the set of blocked signals from now on."""
    # In threads that begin later, and in this one.
    _OfThread.is_worker = _of_thread.is_worker = True
    # Ctrl-C reaches the whole process group, and the coordinator ends its workers. This is a
    # handler, since programs that the worker starts would inherit SIG_IGN.
    signal.signal(signal.SIGINT, lambda *_: None)
    set_mask(signal.SIG_SETMASK, mask)


def _fork(main: Callable[[], None], line: LifeLine, handled: Sequence[int]) -> int:
    kept_at_fork.line = line
    try:
        with signals_blocked(handled) as mask, fork_locks.hold_compilers() as held:
            foreign_libraries.prepare_fork()
            pid = _fork_quietly()
            if pid == 0:
                held.close()
                _run(main, line, handled, mask)
    finally:
        kept_at_fork.line = None
    return pid


# Python 3.12 warns if other threads run, because of the locks that they may hold. A worker takes
# only locks that `fork_locks` or Python itself releases.
_NO_WARNING = ("ignore", None, DeprecationWarning, __name__, 0)


def _fork_quietly() -> int:
    """Fork without that warning, and without an effect on other warnings.

    `warnings.catch_warnings` would make all modules repeat warnings that they have given once, and
    is not safe in threads.
    """
    filters: Any = warnings.filters
    filters.insert(0, _NO_WARNING)
    try:
        return os.fork()
    finally:
        filters.remove(_NO_WARNING)


def _run(
    main: Callable[[], None], line: LifeLine, handled: Sequence[int], mask: set[int]
) -> NoReturn:
    code = 1
    try:
        line.follow()
        fork_locks.enter_worker()
        foreign_libraries.enter_worker()
        open_files.enter_worker()
        gc.freeze()  # A collection would write to, and so copy, each page of inherited objects.
        signal.set_wakeup_fd(-1)
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        become_worker(mask)
        with measured():
            main()
        code = 0
    except BaseException:
        with contextlib.suppress(Exception):
            traceback.print_exc()
    finally:
        open_files.flush_standard_streams()
        # Exit handlers and finalizers belong to the coordinator.
        os._exit(code)
