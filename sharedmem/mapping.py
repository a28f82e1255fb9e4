"""The system calls that map memory; Python's `mmap` hides addresses and holds descriptors."""

from __future__ import annotations

import ctypes
import os

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
_FAILED = ctypes.c_void_p(-1).value


def map_memory(address: int | None, length: int, protection: int, flags: int, fd: int) -> int:
    """Map `length` bytes, from the start of a file unless `fd` is -1; return their address.

    Raises
    ------
    OSError
        With the number that the system gave.
    """
    result: int = _libc.mmap(address, length, protection, flags, fd, 0)
    if result == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, f"cannot map {length} bytes of memory: {os.strerror(code)}")
    return result


def unmap(address: int, length: int) -> None:
    """End a mapping, or a part of one."""
    _libc.munmap(address, length)


def advise(address: int, length: int, advice: int) -> bool:
    """Return whether the kernel took an advice on pages."""
    return not _libc.madvise(address, length, advice)
