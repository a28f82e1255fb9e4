"""Segments: pieces of anonymous shared memory, and the short-lived threads that fill them."""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import errno
import fcntl
import functools
import mmap
import os
import resource
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sharedmem.machine import cpu_count, total_memory

HUGE_PAGE = 2 << 20
_COLLAPSE_BYTES = 4 << 20
_MADV_COLLAPSE = 25
_MAP_FIXED = 0x10
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

# The live segments of this process: by identity, and by the address of each of their pages (2 MiB
# ones from 1 MiB on), which serves a look-up in two steps. Finalizers change these at any moment,
# in any thread, so that each step must be a single operation on a dict.
_by_identity: weakref.WeakValueDictionary[tuple[int, int], Segment] = weakref.WeakValueDictionary()
_by_page: dict[int, weakref.ref[Segment]] = {}


class SegmentKey(NamedTuple):
    """What a process needs to find a segment of another one, and to be sure that it is that one."""

    boot: str
    pid_namespace: str
    pid: int
    started: int
    fd: int
    identity: tuple[int, int]
    nbytes: int


class Segment:
    """One piece of anonymous shared memory, freed when nothing refers to it any more.

    Parameters
    ----------
    nbytes : int
        Size in bytes. Pages come into being when they are first touched, and hold zeros.

    Attributes
    ----------
    nbytes : int
        As given.
    fd : int
        Descriptor of the memory file, -1 where the system has no memfd.
    address : int
        Where it is mapped; a multiple of 2 MiB if the segment has 1 MiB or more.
    identity : tuple of two ints
        The same in all processes that map the segment, and in no other segment: device and
        inode of the memory file.

    Raises
    ------
    MemoryError
        The machine or the control group has less memory.

    Notes
    -----
    A forked process inherits all segments at the same addresses. The array interface makes a
    segment the owner of every array on it, so the last array that goes frees the memory.
    """

    __slots__ = ("__weakref__", "address", "fd", "identity", "nbytes")

    def __init__(self, nbytes: int) -> None:
        limit = total_memory() if nbytes >= HUGE_PAGE else nbytes
        if nbytes > limit:
            raise MemoryError(
                f"{nbytes} bytes of shared memory were asked for, but this machine, or the "
                f"control group of this process, has only {limit} bytes"
            )
        self._map(_create_memory_file(_mapped_bytes(nbytes)), nbytes)

    @classmethod
    def attach(cls, fd: int, nbytes: int) -> Segment:
        """Return the segment behind a descriptor of another process, and take over `fd`.

        Raises
        ------
        ValueError
            `fd` is no memory file of the size that a segment of `nbytes` bytes has.
        """
        try:
            _check_memory_file(fd, nbytes)
            segment = _by_identity.get(_identify(fd))
        except BaseException:
            os.close(fd)
            raise
        if segment is not None:
            os.close(fd)
            return segment
        segment = cls.__new__(cls)
        segment._map(fd, nbytes)
        return segment

    def _map(self, fd: int, nbytes: int) -> None:
        """Map the file and list the segment; closes `fd` if that fails."""
        length = _mapped_bytes(nbytes)
        try:
            self.address = _map_shared(fd, length)
        except BaseException:
            if fd >= 0:
                os.close(fd)
            raise
        self.fd = fd
        self.nbytes = nbytes
        self.identity = _identify(fd)
        # Not at exit: arrays may still be in use then, and the process ends anyway.
        weakref.finalize(
            self, _release, self.address, length, fd, self.identity
        ).atexit = False
        _by_identity[self.identity] = self
        _by_page.update(dict.fromkeys(_pages(self.address, length), weakref.ref(self)))

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": (self.nbytes,),
            "typestr": "|u1",
            "data": (self.address, False),
        }

    @property
    def buffer(self) -> memoryview:
        """The bytes, writable; the memoryview keeps the segment alive."""
        return memoryview(np.asarray(self))

    @property
    def key(self) -> SegmentKey:
        """What :func:`open_segment` needs in any process of this user on this machine."""
        pid = os.getpid()
        started = _start_time(pid) or 0
        return SegmentKey(
            _boot(), _pid_namespace(), pid, started, self.fd, self.identity, self.nbytes
        )

    def populate(self, start: int, stop: int) -> None:
        """Make the pages of bytes `start` to `stop` present, as huge pages where that works.

        What is stored there stays. Where huge pages cannot be had, and in segments under 1 MiB,
        nothing is done, and pages appear one by one as they are touched.
        """
        length = _mapped_bytes(self.nbytes)
        if length % HUGE_PAGE or not supports_collapse():
            return
        pages = np.asarray(self)
        stop = min(-(-stop // HUGE_PAGE) * HUGE_PAGE, length)
        for first in range(start // HUGE_PAGE * HUGE_PAGE, stop, _COLLAPSE_BYTES):
            last = min(first + _COLLAPSE_BYTES, stop)
            # The kernel refuses a range without any page; reading makes one.
            pages[first:last:HUGE_PAGE].max()
            _libc.madvise(self.address + first, last - first, _MADV_COLLAPSE)


def find_segment(address: int, nbytes: int) -> Segment | None:
    """Return the live segment that contains `nbytes` bytes from `address` on, if there is one."""
    for page in (HUGE_PAGE, mmap.PAGESIZE):
        reference = _by_page.get(address - address % page)
        segment = reference and reference()
        if segment and segment.address <= address <= segment.address + segment.nbytes - nbytes:
            return segment
    return None


def open_segment(key: SegmentKey) -> Segment:
    """Return the segment that `key` names, attaching it if this process does not have it.

    Raises
    ------
    ReferenceError
        The segment is gone, or on another machine.
    PermissionError
        The system forbids access to the descriptors of the process that has it.
    """
    gone = f"the shared array of {key.nbytes} bytes that process {key.pid} pickled"
    if key.boot != _boot():
        raise ReferenceError(
            f"{gone} was on another machine, or before a restart; send a copy (`array.copy()`)"
        )
    segment = _by_identity.get(key.identity)
    if segment is not None:
        return segment
    if key.pid_namespace != _pid_namespace():
        raise ReferenceError(
            f"{gone} is in another container; send a copy (`array.copy()`)"
        )
    if key.started != _start_time(key.pid):
        raise ReferenceError(
            f"{gone} is gone: the process has ended; keep it alive while others use the array"
        )
    try:
        fd = os.open(f"/proc/{key.pid}/fd/{key.fd}", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionError(
            error.errno,
            f"this process may not open the descriptors of process {key.pid} (another user, "
            f"or a restriction on ptrace); send a copy (`array.copy()`)",
        ) from error
    except OSError as error:
        raise ReferenceError(f"{gone} has been freed there: {error.strerror}") from error
    if _identify(fd) != key.identity:
        os.close(fd)
        raise ReferenceError(f"{gone} has been freed there; keep it alive while others use it")
    return Segment.attach(fd, key.nbytes)


def in_threads(function: Callable[[Any], object], items: Iterable[Any], n_threads: int) -> None:
    """Call `function` on each item, in short-lived threads; this one is one of them.

    An exception stops all of them and is raised here.
    """
    lock = threading.Lock()
    iterator = iter(items)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not errors:
                with lock:
                    item = next(iterator)
                function(item)
        except StopIteration:
            pass
        except BaseException as error:
            errors.append(error)

    threads = []
    for _ in range(min(n_threads, cpu_count()) - 1):
        # NumPy's error state lives in the context, which a thread does not inherit.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: those that run do the work
            break
        threads.append(thread)
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@functools.cache
def supports_memfd() -> bool:
    """Return whether the system has anonymous memory files."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        os.close(os.memfd_create("sharedmem"))
    except OSError as error:  # an old kernel or a sandbox; no lack of descriptors
        return error.errno not in (errno.ENOSYS, errno.EPERM)
    return True


@functools.cache
def supports_collapse() -> bool:
    """Return whether shared memory can be put on huge pages by MADV_COLLAPSE."""
    segment = Segment(HUGE_PAGE)
    np.asarray(segment)[0] = 0
    return not _libc.madvise(segment.address, HUGE_PAGE, _MADV_COLLAPSE)


def _mapped_bytes(nbytes: int) -> int:
    """Return the size of the file and its mapping: whole huge pages from 1 MiB on."""
    page = HUGE_PAGE if nbytes >= HUGE_PAGE // 2 else mmap.PAGESIZE
    return max(-(-nbytes // page), 1) * page


def _pages(address: int, length: int) -> range:
    return range(address, address + length, mmap.PAGESIZE if length % HUGE_PAGE else HUGE_PAGE)


def _create_memory_file(length: int) -> int:
    """Return the descriptor of a new memory file that can neither shrink nor grow."""
    if not supports_memfd():
        return -1
    _raise_descriptor_limit()
    try:
        fd = os.memfd_create("sharedmem", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        raise OSError(
            error.errno,
            f"cannot create shared memory: {error.strerror} (each shared array takes one of "
            f"{limit} descriptors, see `ulimit -n`; free some, or use views of one array)",
        ) from error
    try:
        os.ftruncate(fd, length)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except OSError as error:
        os.close(fd)
        raise _memory_error(error.errno or 0, length) from error
    return fd


@functools.cache
def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_memory_file(fd: int, nbytes: int) -> None:
    """Refuse a file that is shorter than the segment, or could become so (a read is SIGBUS then)."""
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    except OSError:
        sealed = 0
    size = os.fstat(fd).st_size
    if not sealed or size != _mapped_bytes(nbytes):
        raise ValueError(
            f"descriptor {fd} is not the memory of a shared array of {nbytes} bytes "
            f"(its file has {size} bytes{'' if sealed else ' and may shrink'})"
        )


def _map_shared(fd: int, length: int) -> int:
    """Map `length` bytes of a memory file and return the address."""
    flags = mmap.MAP_SHARED | (mmap.MAP_ANONYMOUS if fd < 0 else 0)
    if length % HUGE_PAGE:
        return _mmap(None, length, _READ_WRITE, flags, fd)
    # The kernel maps a memory file at any page, but collapses only 2 MiB that are aligned.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    reserved = _mmap(None, length + HUGE_PAGE, 0, private, -1)
    address = -(-reserved // HUGE_PAGE) * HUGE_PAGE
    try:
        _mmap(address, length, _READ_WRITE, flags | _MAP_FIXED, fd)
    except BaseException:
        _libc.munmap(reserved, length + HUGE_PAGE)
        raise
    if address > reserved:
        _libc.munmap(reserved, address - reserved)
    _libc.munmap(address + length, reserved + HUGE_PAGE - address)
    return address


def _mmap(address: int | None, length: int, protection: int, flags: int, fd: int) -> int:
    result: int = _libc.mmap(address, length, protection, flags, fd, 0)
    if result == _MAP_FAILED:
        raise _memory_error(ctypes.get_errno(), length)
    return result


def _memory_error(code: int, length: int) -> Exception:
    reason = f"cannot get {length} bytes of shared memory: {os.strerror(code)}"
    if code in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
        return MemoryError(reason)
    return OSError(code, reason)


def _identify(fd: int) -> tuple[int, int]:
    """Return what tells the memory file from all others."""
    if fd < 0:
        return -os.getpid(), time.monotonic_ns()
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _release(address: int, length: int, fd: int, identity: tuple[int, int]) -> None:
    # First of all: the kernel may give the address to another mapping at once.
    for page in _pages(address, length):
        del _by_page[page]
    _libc.munmap(address, length)
    # User code may have closed the descriptor, and its number may be another file's by now.
    with contextlib.suppress(OSError):
        if fd >= 0 and _identify(fd) == identity:
            os.close(fd)


@functools.cache
def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot, or None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, also parentheses and spaces.
            fields = file.read().rpartition(b")")[2].split()
            return None if fields[0] == b"Z" else int(fields[19])
    except OSError:
        return None
