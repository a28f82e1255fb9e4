"""Locks and bells, for workers that are processes and for those that are threads."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import queue
import threading
import weakref
from typing import Any, Protocol

from sharedmem.files import anonymous_file


class Lock(Protocol):
    """What the locks of `threading` and `multiprocessing` have in common."""

    def acquire(self, block: bool = True, timeout: float = ..., /) -> bool:
        """Take the lock."""
        ...

    def release(self) -> None:
        """Give the lock back."""
        ...


class Bell(Protocol):
    """Wakes one sleeping worker; rung before the sleep, it is not missed."""

    def ring(self) -> None:
        """Wake the owner, now or when it next sleeps."""
        ...

    def sleep(self) -> None:
        """Sleep until the bell rings."""
        ...

    def close(self) -> None:
        """Give back what the bell holds of the system."""
        ...


class FileLock:
    """A lock between processes where semaphores cannot lie in memory of our own.

    The kernel lets go of it when its holder dies, so that a time limit is not needed.
    """

    def __init__(self) -> None:
        self._descriptor = anonymous_file("sharedmem-lock")
        self._threads = threading.Lock()

    def acquire(self, block: bool = True, timeout: float = -1, /) -> bool:
        """Take the lock, however long that takes."""
        self._threads.acquire()
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Give the lock back."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()

    def __del__(self) -> None:
        os.close(self._descriptor)


SEMAPHORE_BYTES = 64  # 32 in glibc, and a cache line of its own


def process_lock(memory: mmap.mmap, offset: int) -> Lock:
    """Return a new lock that forked workers share, a semaphore in shared memory.

    `memory` has to live as long as the lock. Those of `multiprocessing` have a name in
    ``/dev/shm`` while they are made, which a process that is killed then leaves behind.
    """
    semaphore = _semaphore_type()
    if semaphore is None:
        return FileLock()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory, offset))
    if _libc.sem_init(ctypes.c_void_p(address), 1, 1):
        raise OSError(ctypes.get_errno(), "cannot make a semaphore")
    lock: Lock = semaphore._rebuild(address, _SEMAPHORE, 1, None)
    return lock


_libc = ctypes.CDLL(None, use_errno=True)
_SEMAPHORE = 1


def _semaphore_type() -> Any:
    """Return the type behind the locks of `multiprocessing`; None where libc is not glibc.

    It closes what it does not own, which glibc ignores.
    """
    try:
        os.confstr("CS_GNU_LIBC_VERSION")
        from _multiprocessing import SemLock
    except (ValueError, ImportError):
        return None
    return SemLock


class EventBell:
    """A bell for processes: an event counter in the kernel."""

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def ring(self) -> None:
        """Wake the owner, now or when it next sleeps."""
        os.eventfd_write(self._descriptor, 1)

    def sleep(self) -> None:
        """Sleep until the bell rings."""
        os.eventfd_read(self._descriptor)

    def close(self) -> None:
        """Close the counter."""
        self._close()


class ThreadBell:
    """A bell for threads."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake the owner, now or when it next sleeps."""
        self._rings.put(None)

    def sleep(self) -> None:
        """Sleep until the bell rings."""
        self._rings.get()

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""
