"""Anonymous files: memory that has a descriptor and no name."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import mmap
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from itertools import starmap
from typing import IO, Any, TypeVar

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from sharedmem.machine.freeing import free_with
from sharedmem.memory.syscalls import Mappings, allocate_on_disk, map_memory, unmap

_Made = TypeVar("_Made")


def with_descriptors(make: Callable[[], _Made]) -> _Made:
    """Return what `make` opens; the soft limit on descriptors is raised when none is left.

    Not before: other programs that this one starts inherit the limit, and `select` takes no
    descriptor over 1,023.

    Raises
    ------
    OSError
        If it fails; the limits on descriptors are named.
    """
    try:
        return make()
    except OSError as error:
        if error.errno != errno.EMFILE or not raise_descriptor_limit():
            raise _named(error) from None
    try:
        return make()
    except OSError as error:
        raise _named(error) from None


def _named(error: OSError) -> OSError:
    if error.errno == errno.EMFILE:
        return OSError(error.errno, lack_of_descriptors())
    return error


def lack_of_descriptors() -> str:
    """Return the text of an error: that there is none left, the limit, and the ways out."""
    return (
        f"this process has as many descriptors open as it may, {descriptor_limit()} (`ulimit -n`): "
        "raise that limit, close files, drop shared arrays, each of which takes one, or start "
        "fewer workers, each of which takes a few"
    )


def descriptor_limit() -> int:
    """Return how many descriptors this process may have now."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_descriptor_limit() -> bool:
    """Raise the soft limit on descriptors to the hard one; return whether that is more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return True
    return False


def keep_room(descriptor: int, n_more: int) -> None:
    """Raise the soft limit if there may be no room for `n_more` descriptors after this one."""
    if descriptor + n_more >= descriptor_limit():
        raise_descriptor_limit()


# So much of a pipe is read at a time.
_STREAM_BYTES = 1 << 20


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
    flags = memfd_flags()
    if flags is not None:
        return with_descriptors(lambda: os.memfd_create(name, os.MFD_CLOEXEC | flags))
    import tempfile

    with tempfile.TemporaryFile() as file:
        return with_descriptors(lambda: os.dup(file.fileno()))


_MFD_NOEXEC_SEAL = 8


@functools.cache
def memfd_flags() -> int | None:
    """Return what memory files have to be made with here; None where there are none."""
    if not hasattr(os, "memfd_create"):
        return None
    # With vm.memfd_noexec=2 it has to be said that a file is not executable.
    for flags in (0, _MFD_NOEXEC_SEAL):
        try:
            os.close(os.memfd_create("sharedmem", os.MFD_CLOEXEC | flags))
        except OSError as error:  # an old kernel or a sandbox; no lack of descriptors
            if error.errno in (errno.ENOSYS, errno.EPERM, errno.EACCES, errno.EINVAL):
                continue
        return flags
    return None


def write_all(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes of `content` to a file, from byte `offset` on."""
    end = offset + content.nbytes
    while offset < end:
        offset += os.pwrite(descriptor, content[offset - end :], offset)


def check_binary(file: Any) -> None:
    """Refuse what is no open file of the system, or whose bytes are not those of one."""
    raw = file
    while not isinstance(raw, io.FileIO):
        inner = [getattr(raw, name) for name in ("buffer", "raw", "file") if hasattr(raw, name)]
        if not (inner and isinstance(inner[0], io.IOBase)):
            break
        raw = inner[0]  # of a text file, of a buffer, or of one of tempfile's
    if isinstance(raw, io.FileIO):
        if not raw.readable():
            raise io.UnsupportedOperation("the file is not open for reading")
        return
    if isinstance(file, io.IOBase):
        file.fileno()  # may have an error of its own
    raise TypeError(
        f"file must be a path or a file that open() has given, not {type(file).__name__}, whose "
        "bytes may be others than those on the disk: np.frombuffer(file.read(), dtype) takes them"
    )


def has_size(file: IO[Any]) -> bool:
    """Return whether a file says how much it holds: pipes, devices and /proc do not."""
    status = os.fstat(file.fileno())
    return stat.S_ISBLK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_size > 0)


def read_stream(file: Any, offset: int, n_bytes: int) -> bytes:
    """Read what a file gives after `offset` bytes: up to so many, or all of it if negative.

    Raises
    ------
    ValueError
        If `offset` is negative, or all of a device is asked for that is not empty.
    """
    file = getattr(file, "buffer", file)  # of a text file
    is_device = stat.S_ISCHR(os.fstat(file.fileno()).st_mode)
    if offset < 0:
        raise ValueError(f"offset={offset} points to what has been read of a pipe or device")
    _read_up_to(file, offset)
    if n_bytes < 0 and is_device and file.read(1):
        raise ValueError("a device may have no end: give count=")
    return _read_up_to(file, n_bytes if n_bytes >= 0 else sys.maxsize)


def _read_up_to(file: IO[bytes], n_bytes: int) -> bytes:
    parts = []
    while n_bytes > 0 and (part := file.read(min(n_bytes, _STREAM_BYTES))):
        parts.append(part)
        n_bytes -= len(part)
    return b"".join(parts)


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
                allocate_on_disk(file.fileno(), first, last - first)
    except OSError as error:  # The file may have moved, or the disk not know of this.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise


def read_all(descriptor: int, nbytes: int, offset: int) -> memoryview:
    """Return bytes of a file in memory of their own, writable.

    Raises
    ------
    ValueError
        If the file has not that many.
    """
    content = memoryview(bytearray(nbytes))
    done = 0
    while done < nbytes:
        n_read = os.preadv(descriptor, [content[done:]], offset + done)
        if n_read == 0:
            raise ValueError(f"a file ends before byte {offset + nbytes}")
        done += n_read
    return content


# The mappings that `map_privately` has made, by address.
_mapped: set[int] = set()


def n_mapped() -> int:
    """Return how many mappings of :func:`map_privately` live."""
    return len(_mapped)


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
    return _PrivateMapping(descriptor, nbytes).bytes()


class _PrivateMapping:
    """A mapping that ends with the last array on it."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        mappings: Mappings = []
        ending: list[Iterator[Any]] = [starmap(unmap, mappings)]
        free_with(self, ending)
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address = map_memory(mappings, None, nbytes, protection, mmap.MAP_PRIVATE, descriptor)
        # Forgotten first of all: the kernel may give the address away at once.
        ending.insert(0, map(_mapped.discard, (address,)))
        _mapped.add(address)
        self.__array_interface__ = {
            "version": 3, "shape": (nbytes,), "typestr": "|u1", "data": (address, False),
        }  # fmt: skip

    def bytes(self) -> memoryview:
        """Return its bytes, writable."""
        return np.asarray(self).data
