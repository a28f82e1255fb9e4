"""Locks at a fork: those that other threads hold are released in the child, or taken before.

The threads that hold them do not exist in the child. Locks of this package are made by
:func:`new_lock`. Python itself frees the locks of `logging` and of the import system. Locks of user
code stay as they are.
"""

from __future__ import annotations

import io
import os
import sys
import threading
import weakref
from contextlib import ExitStack, suppress
from typing import Any

from sharedmem.kernels import machine_code
from sharedmem.machine import cpython, numba_internals

_locks: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """Return a lock that is free in a forked child, whichever thread holds it at the fork.

    All locks of modules, of classes, and of objects that outlive a call are made here. What they
    guard must be consistent at any moment, for the child continues with it.
    """
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _free_locks() -> None:
    for lock in _locks:
        cpython.free_after_fork(lock)
    if not cpython.owns(machine_code.lock):  # as in forks of this package
        cpython.free_after_fork(machine_code.lock)


os.register_at_fork(after_in_child=_free_locks)


def hold_compilers() -> ExitStack:
    """Take the locks of numba's compiler and of LLVM, which are held during a fork.

    A worker could not repair what a compilation has half done. The wait may take seconds.
    """
    locks = ExitStack()
    for lock in numba_internals.compiler_locks():
        locks.enter_context(lock)
    return locks


def enter_worker() -> None:
    """Release in a worker what other threads of the coordinator held."""
    for stream in (
        sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, *cpython.logging_streams()
    ):  # fmt: skip
        with suppress(Exception):  # A stream may be of any class, and closed.
            # A new lock, and no content, which the coordinator writes.
            if type(buffer := stream.buffer) in (io.BufferedWriter, io.BufferedRandom):
                buffer.__init__(buffer.raw)
    numba_internals.renew_decorator_locks()
    cpython.forget_unfinished_imports()
