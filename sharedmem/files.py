"""Anonymous files: memory that has a descriptor and no name."""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref

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
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def write_all(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes of `content` to a file, from byte `offset` on."""
    end = offset + content.nbytes
    while offset < end:
        offset += os.pwrite(descriptor, content[offset - end :], offset)


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
