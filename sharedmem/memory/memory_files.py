"""Anonymous files: memory that has a descriptor and no name."""

from __future__ import annotations

import errno
import functools
import mmap
import os
from collections.abc import Iterator
from itertools import starmap
from typing import Any

import numpy as np

from sharedmem.machine.descriptors import with_descriptors
from sharedmem.machine.freeing import free_with
from sharedmem.memory.syscalls import Mappings, map_memory, unmap


def anonymous_file(name: str) -> int:
    """Return the descriptor of a new empty file, which is freed with its last descriptor.

    Parameters
    ----------
    name : str
        The name that ``/proc/<pid>/fd`` shows; it need not be unique.

    Raises
    ------
    OSError
        If no descriptor, or no memory, is left.
    """
    flags = memfd_flags()
    if flags is not None:
        return with_descriptors(lambda: os.memfd_create(name, os.MFD_CLOEXEC | flags))
    import tempfile

    with tempfile.TemporaryFile() as file:
        return with_descriptors(lambda: os.dup(file.fileno()))


_MFD_NOEXEC_SEAL = 8


@functools.cache
def memfd_flags() -> int | None:
    """Return the flags that memory files need on this system; None if it has no memory files."""
    if not hasattr(os, "memfd_create"):
        return None
    # With vm.memfd_noexec=2 a file must be declared not executable.
    for flags in (0, _MFD_NOEXEC_SEAL):
        try:
            os.close(os.memfd_create("sharedmem", os.MFD_CLOEXEC | flags))
        except OSError as error:  # an old kernel or a sandbox; not a lack of descriptors
            if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL):
                continue
        return flags
    return None


def write_all(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes of `content` to a file at byte `offset`."""
    end = offset + content.nbytes
    while offset < end:
        offset += os.pwrite(descriptor, content[offset - end :], offset)


def read_all(descriptor: int, nbytes: int, offset: int) -> memoryview:
    """Return a writable copy of `nbytes` bytes of a file from byte `offset`.

    Raises
    ------
    ValueError
        If the file ends before.
    """
    content = memoryview(bytearray(nbytes))
    done = 0
    while done < nbytes:
        n_read = os.preadv(descriptor, [content[done:]], offset + done)
        if n_read == 0:
            raise ValueError(f"a file ends before byte {offset + nbytes}")
        done += n_read
    return content


# The addresses of the mappings that `map_privately` has made.
_mapped: set[int] = set()


def n_mapped() -> int:
    """Return the number of live mappings of :func:`map_privately`."""
    return len(_mapped)


def map_privately(descriptor: int, nbytes: int) -> memoryview:
    """Map a file so that writes stay in this process; the mapping ends with its last view.

    Unlike :class:`mmap.mmap` the mapping holds no descriptor, so that many results can be kept.

    Parameters
    ----------
    descriptor : int
        The file; it may be closed afterwards.
    nbytes : int
        Number of bytes from the start of the file; not more than the file has.

    Raises
    ------
    OSError
        If the system refuses.
    """
    return np.asarray(_PrivateMapping(descriptor, nbytes)).data


class _PrivateMapping:
    """A mapping that ends with the last array on it."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        mappings: Mappings = []
        ending: list[Iterator[Any]] = [starmap(unmap, mappings)]
        free_with(self, ending)
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address = map_memory(mappings, None, nbytes, protection, mmap.MAP_PRIVATE, descriptor)
        # Forgotten first: the kernel may give the address to another mapping immediately.
        ending.insert(0, map(_mapped.discard, (address,)))
        _mapped.add(address)
        self.__array_interface__ = {
            "version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, False),
        }  # fmt: skip
