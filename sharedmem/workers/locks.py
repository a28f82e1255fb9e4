"""Locks and bells for workers that are processes, and for workers that are threads."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import math
import os
import queue
import threading
import time
import weakref
from typing import Any

from sharedmem.machine.cpython import lock_of_semaphore, semaphore_type
from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.fork_locks import new_lock
from sharedmem.machine.freeing import free_with
from sharedmem.memory.memory_files import anonymous_file
from sharedmem.workers.handed import handed


class FileLock:
    """A lock between processes that the kernel releases when its holder dies.

    It takes a system call, and serves calls that go on then, and systems that do not let us place
    semaphores in memory.
    """

    def __init__(self, descriptor: int = -1) -> None:
        self._descriptor = anonymous_file("sharedmem-lock") if descriptor < 0 else descriptor
        free_with(self, [map(os.close, (self._descriptor,))])
        self._threads = new_lock()

    def __reduce__(self) -> Any:
        """Pickle for a spawned worker."""
        return FileLock, (handed(self._descriptor),)

    def acquire(self, block: bool = True, timeout: float = -1, /) -> bool:
        """Take the lock, unless the time is over before that is possible."""
        timeout = timeout if block else 0
        deadline = time.monotonic() + timeout if timeout >= 0 else math.inf
        if not self._threads.acquire(timeout=timeout):
            return False
        is_taken = False
        try:
            while not (is_taken := self._take(block=timeout < 0)) and time.monotonic() < deadline:
                time.sleep(0.001)
        finally:
            if not is_taken:
                self._threads.release()
        return is_taken

    def _take(self, *, block: bool) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
        except OSError as error:
            # Another process has it. The kernel takes threads of two processes, of which each waits
            # for a lock that another thread of the other one has, for a deadlock.
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise
            return False
        return True

    def release(self) -> None:
        """Release the lock."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()

    def __enter__(self) -> None:
        """Take the lock."""
        self.acquire()

    def __exit__(self, *exception: object) -> None:
        """Release the lock."""
        self.release()


SEMAPHORE_BYTES = 64  # 32 in glibc, and a cache line of its own


def process_lock(address: int) -> FileLock | threading.Lock:
    """Return a new lock for processes: a semaphore in shared memory, if that is possible.

    Parameters
    ----------
    address : int
        Where it may have `SEMAPHORE_BYTES`; the memory must live as long as the lock.
    """
    if semaphore_type() is None:
        return FileLock()
    if _libc.sem_init(ctypes.c_void_p(address), 1, 1):
        raise OSError(ctypes.get_errno(), "cannot make a semaphore")
    return lock_at(address)


def lock_at(address: int) -> threading.Lock:
    """Return the lock on a semaphore that `process_lock` has made, here or in another process."""
    lock: threading.Lock = lock_of_semaphore(semaphore_type(), address)  # it has the same methods
    return lock


_libc = ctypes.CDLL(None, use_errno=True)


class EventBell:
    """A bell for processes: an `eventfd` of the kernel."""

    def __init__(self, descriptor: int = -1) -> None:
        if descriptor < 0:
            descriptor = with_descriptors(lambda: os.eventfd(0, os.EFD_CLOEXEC))
        self._descriptor = descriptor
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def __reduce__(self) -> Any:
        """Pickle for a spawned worker."""
        return EventBell, (handed(self._descriptor),)

    def ring(self) -> None:
        """Wake the owner, now or in its next sleep."""
        os.eventfd_write(self._descriptor, 1)

    def sleep(self) -> None:
        """Sleep until the bell rings."""
        os.read(self._descriptor, 8)  # os.eventfd_read is not tried again after a signal

    def close(self) -> None:
        """Close the descriptor."""
        self._close()


class ThreadBell:
    """A bell for threads."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake the owner, now or in its next sleep."""
        self._rings.put(None)

    def sleep(self) -> None:
        """Sleep until the bell rings."""
        self._rings.get()

    def close(self) -> None:
        """Do nothing: there is no descriptor to close."""
