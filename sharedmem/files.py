"""Anonymous files: memory that has a descriptor and no name."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref

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
_MAP_FAILED = ctypes.c_void_p(-1).value


def anonymous_file(name: str) -> int:
    """Return the descriptor of a new empty file that is freed with its last descriptor.

    Parameters
    ----------
    name : str
        What ``/proc/<pid>/fd`` shows; it need not be unique.

    Raises
    ------
    OSError
        If no descriptor, or no memory, is left.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def map_privately(descriptor: int, nbytes: int) -> memoryview:
    """Map a file so that writes stay in this process; the mapping ends with its last view.

    Unlike :class:`mmap.mmap` it holds no descriptor, so that many results can be kept.

    Parameters
    ----------
    descriptor : int
        The file; it may be closed afterwards.
    nbytes : int
        Bytes to map, from the start; not more than the file has.

    Raises
    ------
    OSError
        If the system refuses.
    """
    address = _libc.mmap(
        None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, descriptor, 0
    )
    if address == _MAP_FAILED:
        error = ctypes.get_errno()
        raise OSError(error, f"a result of {nbytes} bytes cannot be mapped: {os.strerror(error)}")
    content = (ctypes.c_ubyte * nbytes).from_address(address)
    weakref.finalize(content, _libc.munmap, address, nbytes).atexit = False
    return memoryview(content).cast("B")
