"""What other threads hold at a fork, and a worker would wait for in vain: set free, or waited for.

The threads that hold these locks do not exist in the worker. Those of this package are made by
:func:`new_lock`, which frees them in each child. Python itself sees to the locks of `logging` and
to the one of all imports; locks of user code stay as they are.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """Return a lock that is free in a forked child, whoever holds it at the fork.

    All locks of modules, of classes and of what outlives a call are made here. What they guard has
    to be whole at any moment, for the child goes on with it.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def is_freed_after_fork(lock: Any) -> bool:
    """Return whether a lock is one of :func:`new_lock`."""
    return lock in _locks


def _free_locks() -> None:
    for lock in _locks:
        lock._at_fork_reinit()  # as Python frees those of its own modules


os.register_at_fork(after_in_child=_free_locks)


def hold_compilers() -> ExitStack:
    """Take the locks to hold while forking, numba's and LLVM's: no thread is in them at a fork.

    What a compilation leaves half made could not be repaired in the worker. One takes seconds. The
    lock of LLVM alone is taken wherever compiled code is freed: by any thread, at any moment.
    """
    numba = sys.modules.get("numba.core.compiler_lock")
    llvm = getattr(sys.modules.get("llvmlite.binding.ffi"), "lib", None)
    locks = ExitStack()
    for lock in (getattr(numba, "global_compiler_lock", None), getattr(llvm, "_lock", None)):
        if lock is not None:
            locks.enter_context(lock)
    return locks


def let_go() -> None:
    """In a worker, set free what other threads of the coordinator held."""
    for stream in _output_streams():
        with suppress(Exception):  # A stream may be of any class, and closed.
            _renew(stream.buffer)
    _free_decorators()
    _forget_imports()


def _output_streams() -> Iterator[Any]:
    yield from (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    handlers = getattr(sys.modules.get("logging"), "_handlerList", ())
    yield from (getattr(reference(), "stream", None) for reference in list(handlers))


def _renew(buffer: Any) -> None:
    """Give a buffer a new lock; what is in it is the coordinator's, which writes it by itself."""
    if type(buffer) in (io.BufferedWriter, io.BufferedRandom):
        buffer.__init__(buffer.raw)


def _free_decorators() -> None:
    """Renew the locks of what numba makes once, which each of its decorators takes."""
    target = getattr(sys.modules.get("numba.core.registry"), "CPUTarget", object)
    for found in vars(target).values():
        for name in ("_lock", "lock"):  # that of functools, before Python 3.12
            if hasattr(found, name):
                setattr(found, name, threading.RLock())


def _forget_imports() -> None:
    """Let the worker import what another thread was just importing, from the start."""
    locks: dict[str, Any] = sys.modules["_frozen_importlib"]._module_locks
    for name, reference in list(locks.items()):
        if getattr(reference(), "owner", None) not in (None, threading.get_ident()):
            del locks[name]
            sys.modules.pop(name, None)
