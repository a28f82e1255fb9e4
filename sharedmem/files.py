"""Anonymous files: memory that has a descriptor and no name."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from sharedmem.mapping import map_memory, unmap


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
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def write_all(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes of `content` to a file, from byte `offset` on."""
    end = offset + content.nbytes
    while offset < end:
        offset += os.pwrite(descriptor, content[offset - end :], offset)


def reserve(array: NDArray[Any]) -> None:
    """Have the disk find room for an array in a mapped file, if it is in one.

    To write to a page for which a full disk has no room ends the process by SIGBUS.

    Raises
    ------
    OSError
        If there is no room.
    """
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    is_mapped = isinstance(root, np.memmap) and isinstance(root.base, mmap.mmap)
    if not is_mapped or not root.filename or root.mode not in ("r+", "w+"):
        return
    first, last = (end - byte_bounds(root)[0] + root.offset for end in byte_bounds(array))
    try:
        with open(root.filename, "rb+") as file:
            status = os.fstat(file.fileno())
            if status.st_blocks * 512 < status.st_size and first < last <= status.st_size:
                os.posix_fallocate(file.fileno(), first, last - first)
    except OSError as error:  # The file may have moved, or the disk not know of this.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise


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
    address = map_memory(
        None, nbytes, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE, descriptor
    )
    content = (ctypes.c_ubyte * nbytes).from_address(address)
    weakref.finalize(content, unmap, address, nbytes).atexit = False
    return memoryview(content).cast("B")
