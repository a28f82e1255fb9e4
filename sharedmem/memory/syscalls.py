"""The system calls that map memory; Python's `mmap` hides addresses and holds descriptors."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
from itertools import starmap
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
if hasattr(_libc, "fallocate"):  # of Linux
    _libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
_FAILED = ctypes.c_void_p(-1).value

# Addresses and lengths of what is mapped, for its owner to end.
Mappings = list[tuple[int, int]]

unmap: Any = _libc.munmap  # itself, since `free_with` takes no functions of Python


def map_memory(
    mappings: Mappings, address: int | None, length: int, protection: int, flags: int, fd: int
) -> int:
    """Map `length` bytes, from the start of a file unless `fd` is -1; return their address.

    It is noted in `mappings` by the same call of C, so that no signal handler can come between.

    Raises
    ------
    OSError
        With the number that the system gave.
    """
    arguments = (address, length, protection, flags, fd, 0)
    mappings.extend(zip(starmap(_libc.mmap, (arguments,)), (length,), strict=True))
    mapped = mappings[-1][0]
    if mapped == _FAILED:
        code = ctypes.get_errno()
        mappings.pop()
        raise OSError(code, f"cannot map {length} bytes of memory: {reason(code)}")
    return mapped


def allocate_on_disk(fd: int, offset: int, length: int) -> None:
    """Have the file system find room for a part of a file, if it knows how to.

    `posix_fallocate` of glibc imitates what it does not know by writing bytes back that it has
    read, which takes back what others have written meanwhile.

    Raises
    ------
    OSError
        If there is no room.
    """
    while hasattr(_libc, "fallocate") and _libc.fallocate(fd, 0, offset, length):
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def unmap_last(mappings: Mappings) -> None:
    """End the last mapping of a list, and take it from there, in one call of C."""
    next(starmap(unmap, map(mappings.pop, (-1,))))


# Given up to tell why there is no memory: Python takes a mapping for what it then allocates.
_reserve = [mmap.mmap(-1, 4096) for _ in range(4)]


def reason(code: int) -> str:
    """Return why the system gives no memory; the limit on mappings, if that is what was hit."""
    if code == errno.ENOMEM:
        for spare in _reserve:
            spare.close()
        with contextlib.suppress(OSError, ValueError, MemoryError):
            limit = int(Path("/proc/sys/vm/max_map_count").read_text())
            # By little pieces: there is hardly any memory left.
            with open("/proc/self/maps", "rb", buffering=0) as file:
                n_mappings = sum(part.count(b"\n") for part in iter(lambda: file.read(4096), b""))
            if n_mappings > limit - 64:
                return (
                    f"this process has {n_mappings} mappings, and vm.max_map_count allows {limit}: "
                    "each shared array takes one. Drop some, use views of one large array, or "
                    f"raise the limit: sysctl -w vm.max_map_count={8 * limit}"
                )
    return os.strerror(code)


def advise(address: int, length: int, advice: int) -> bool:
    """Return whether the kernel took an advice on pages."""
    return not _libc.madvise(address, length, advice)
