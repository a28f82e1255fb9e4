"""System calls that map memory; Python's `mmap` hides addresses and holds descriptors."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from ctypes import CDLL, c_int, c_long, c_size_t, c_void_p, get_errno
from itertools import starmap
from pathlib import Path
from typing import Any

_libc = CDLL(None, use_errno=True)
_libc.mmap.restype = c_void_p
_libc.mmap.argtypes = c_void_p, c_size_t, c_int, c_int, c_int, c_long
_libc.munmap.argtypes = c_void_p, c_size_t
_libc.madvise.argtypes = c_void_p, c_size_t, c_int
if hasattr(_libc, "fallocate"):  # of Linux
    _libc.fallocate.argtypes = c_int, c_int, c_long, c_long
_FAILED = c_void_p(-1).value

# Addresses and lengths of mappings, for their owner to unmap.
Mappings = list[tuple[int, int]]

unmap: Any = _libc.munmap  # the C function itself, as `free_with` requires


def map_memory(
    mappings: Mappings, address: int | None, length: int, protection: int, flags: int, fd: int
) -> int:
    """Map `length` bytes, from the start of a file unless `fd` is -1; return their address.

    The same call of C appends them to `mappings`, so that no signal handler can run in between.

    Raises
    ------
    MemoryError, OSError
        If the system refuses.
    """
    arguments = (address, length, protection, flags, fd, 0)
    mappings.extend(zip(starmap(_libc.mmap, (arguments,)), (length,), strict=True))
    mapped = mappings[-1][0]
    if mapped == _FAILED:
        code = get_errno()
        mappings.pop()
        raise memory_error(code, length)
    return mapped


def memory_error(code: int, length: int) -> Exception:
    """Return the exception for `length` bytes of shared memory that the system refuses."""
    text = f"cannot get {length} bytes of shared memory: {_reason(code)}"
    if code in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
        return MemoryError(text)
    return OSError(code, text)


def byte_interface(address: int, nbytes: int) -> dict[str, Any]:
    """Return the array interface of bytes in memory."""
    return {"version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, False)}


def allocate_on_disk(fd: int, offset: int, length: int) -> None:
    """Allocate disk space for a part of a file, if the file system supports that.

    `posix_fallocate` of glibc would otherwise write the bytes back that it has read, and so undo
    what others have written meanwhile.

    Raises
    ------
    OSError
        If there is no space.
    """
    while hasattr(_libc, "fallocate") and _libc.fallocate(fd, 0, offset, length):
        code = get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


# Closed before the error is composed: Python needs mappings for the memory that this takes.
_reserve = [mmap.mmap(-1, 1 << 20) for _ in range(4)]


def _reason(code: int) -> str:
    """Return why the system gives no memory; name the limit on mappings if that is reached."""
    if code == errno.ENOMEM:
        for spare in _reserve:
            spare.close()
        with contextlib.suppress(OSError, ValueError, MemoryError):
            limit = int(Path("/proc/sys/vm/max_map_count").read_text())
            # In small pieces: there is hardly any memory left.
            with open("/proc/self/maps", "rb", buffering=0) as file:
                n_mappings = sum(part.count(b"\n") for part in iter(lambda: file.read(4096), b""))
            if n_mappings > limit - 64:
                return (
                    f"this process has {n_mappings} mappings, and vm.max_map_count allows {limit}; "
                    "each shared array takes one. Delete some, use views of one large array, or "
                    f"raise the limit: sysctl -w vm.max_map_count={8 * limit}"
                )
    return os.strerror(code)


def advise(address: int, length: int, advice: int) -> bool:
    """Call `madvise`; return whether the kernel has accepted the advice."""
    return not _libc.madvise(address, length, advice)
