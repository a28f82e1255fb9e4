"""Memory files, which have a descriptor and no name: made, checked, mapped, read, and closed."""

from __future__ import annotations

import errno
import fcntl
import functools
import mmap
import os
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import compress, count, repeat, starmap
from types import SimpleNamespace
from typing import Any

import numpy as np

from sharedmem.machine.cpython import remove_if_dead
from sharedmem.machine.descriptors import descriptor_limit, more_descriptors, with_descriptors
from sharedmem.machine.freeing import free_with
from sharedmem.memory.syscalls import Mappings, byte_interface, map_memory, memory_error, unmap

HUGE_PAGE = 2 << 20
_MAP_FIXED = 0x10
_MFD_NOEXEC_SEAL = 8
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
# The system allows several memory files of one name; the number makes a name unique.
_counter = count()

# The live memory of segments, by identity, and by the address of each page (each 2 MiB of memory
# that has as much), so that a look-up takes two steps. Entries change at any moment and in any
# thread: each step must be a single operation on a dict.
by_identity: dict[tuple[int, int], weakref.ref[Memory]] = {}
by_page: dict[int, weakref.ref[Memory]] = {}

# The addresses of the mappings that `map_privately` has made.
_mapped: set[int] = set()


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


class _Bytes(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a memory file.

    NumPy makes a view of a view a view of the first array only if this has the type of the new
    view: a type of its own keeps segments the bases of their views.
    """


class Memory:
    """A memory file and its mapping, freed with the last reference to it.

    Attributes
    ----------
    fd : int
        Descriptor of the file. -1 if there is none: the system has no memfd, or this process has no
        descriptors to spare.
    address : int
        Address of the first byte; a multiple of 2 MiB if the memory has 2 MiB or more.
    length : int
        Size in bytes, a multiple of the page size.
    bytes : ndarray
        The bytes, for views that live no longer than this object.
    identity : tuple of two ints
        Device and inode of the file; without a file, the process and the time of the mapping.
    populated : bytearray
        Whether each huge page has been allocated as one; empty if `length` < 2 MiB.
    segment : callable
        Returns the live segment that has the memory, or None.
    """

    fd: int
    address: int
    length: int
    bytes: _Bytes
    identity: tuple[int, int]
    populated: bytearray
    segment: Callable[[], Any]

    def __init__(self, descriptors: list[int]) -> None:
        """Arrange that descriptors, and what will be mapped, are freed with this object.

        A signal handler may raise while the memory is made; where Python frees it, what a handler
        raises is lost.
        """
        self._descriptors = descriptors
        self._mappings: Mappings = []
        self._ending = [starmap(unmap, self._mappings), map(os.close, descriptors)]
        free_with(self, self._ending)

    @classmethod
    def create(cls, length: int) -> Memory:
        """Map a new file, which contains zeros."""
        memory = cls([])
        create_file(memory._descriptors, length)
        memory.map(length)
        return memory

    def map(self, length: int) -> None:
        """Map the file, or memory without a file if there is no descriptor."""
        self.fd = fd = self._descriptors[0] if self._descriptors else -1
        self.length = length
        self.address = map_file(self._mappings, fd, length)
        interface: Any = SimpleNamespace(__array_interface__=byte_interface(self.address, length))
        self.bytes = np.asarray(interface).view(_Bytes)
        self.populated = bytearray(length // HUGE_PAGE)
        self.identity = identify(os.fstat(fd)) if fd >= 0 else (-os.getpid(), time.monotonic_ns())
        step = HUGE_PAGE if self.populated else mmap.PAGESIZE
        pages = range(self.address, self.address + length, step)
        # Unlisted first: the kernel may give the address to another mapping immediately.
        self._ending[:] = (
            map(remove_if_dead, repeat(by_page), pages),
            map(remove_if_dead, (by_identity,), (self.identity,)),
            starmap(unmap, self._mappings),
            *((closing(fd),) if fd >= 0 else ()),
        )
        reference = weakref.ref(self)
        self.segment = _no_segment
        by_identity[self.identity] = reference
        by_page.update(dict.fromkeys(pages, reference))

    def has_its_file(self) -> bool:
        """Return whether the descriptor is still that of the file: user code may have closed it."""
        try:
            return self.fd < 0 or identify(os.fstat(self.fd)) == self.identity
        except OSError:
            return False


def _no_segment() -> None:
    """Return the segment of memory that has none."""


def identify(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode, which identify a memory file."""
    return status.st_dev, status.st_ino


def mapped_bytes(nbytes: int) -> int:
    """Return the size of a file and its mapping: whole huge pages if `nbytes` >= 1 MiB."""
    page = HUGE_PAGE if nbytes >= HUGE_PAGE // 2 else mmap.PAGESIZE
    return -(-nbytes // page) * page or page


def create_file(descriptors: list[int], length: int) -> None:
    """Append the descriptor of a new memory file that can neither shrink nor grow.

    Nothing is appended if the system has no such files, or this process no descriptors to spare.
    """
    needed = memfd_flags()
    if needed is None:
        return
    name = f"sharedmem-{os.getpid()}-{next(_counter)}"
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | needed
    try:
        with_descriptors(lambda: descriptors.extend(map(os.memfd_create, (name,), (flags,))))
    except OSError as error:
        if error.errno == errno.EMFILE:
            return
        raise
    (fd,) = descriptors
    # The rest is for files, sockets, and workers. Workers also inherit a segment without one.
    if fd >= (limit := descriptor_limit()) - min(limit // 4, 512) and not more_descriptors():
        next(map(os.close, map(descriptors.pop, (-1,))))
        return
    try:
        os.ftruncate(fd, length)
        fcntl.fcntl(
            fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        )
    except OSError as error:
        raise memory_error(error.errno or 0, length) from error


def check_file(fd: int, nbytes: int) -> None:
    """Raise ValueError if a file is or may become shorter than the mapping of a segment.

    Reading beyond the end of a file raises SIGBUS.
    """
    try:
        sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
    except OSError:
        sealed = 0
    size = os.fstat(fd).st_size
    if not sealed or size != mapped_bytes(nbytes):
        raise ValueError(
            f"descriptor {fd} is not the memory of a shared array of {nbytes} bytes "
            f"(its file has {size} bytes{'' if sealed else ' and may shrink'})"
        )


def map_file(mappings: Mappings, fd: int, length: int) -> int:
    """Map `length` bytes of a memory file, or of no file if `fd` is -1; return the address."""
    flags = mmap.MAP_SHARED | (mmap.MAP_ANONYMOUS if fd < 0 else 0)
    if length % HUGE_PAGE:
        return map_memory(mappings, None, length, _READ_WRITE, flags, fd)
    # The kernel maps a file at any page, but makes huge pages only where 2 MiB are aligned.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    reserved = map_memory(mappings, None, length + HUGE_PAGE, 0, private, -1)
    address = -(-reserved // HUGE_PAGE) * HUGE_PAGE
    map_memory([], address, length, _READ_WRITE, flags | _MAP_FIXED, fd)
    edges = (reserved, address - reserved), (address + length, reserved + HUGE_PAGE - address)
    mappings[:] = ((address, length), *(edge for edge in edges if edge[1]))
    while len(mappings) > 1:
        next(starmap(unmap, map(mappings.pop, (-1,))))  # in one call of C
    return address


def closing(fd: int) -> Iterator[None]:
    """Return an iterator that closes the file of a segment, by C functions alone.

    The file is left open if user code has closed the descriptor, whose number may be that of
    another file now. (`os.fstat` would not do: Python looks for signals while it converts the large
    integers of its result.)
    """
    link = f"/proc/self/fd/{fd}"
    try:
        name = os.readlink(link)
    except OSError:  # there is no /proc
        return map(os.close, (fd,))
    is_open = map(os.access, (link,), (os.F_OK,))
    names = map(os.readlink, compress((link,), is_open))
    return map(os.close, compress((fd,), map(name.__eq__, names)))


def write_all(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes of `content` to a file at byte `offset`."""
    end = offset + content.nbytes
    while offset < end:
        offset += os.pwrite(descriptor, content[offset - end :], offset)


def read_into(descriptor: int, content: memoryview, offset: int) -> None:
    """Fill a buffer with the bytes of a file from byte `offset`.

    Raises
    ------
    EOFError
        If the file ends before.
    """
    end = offset + content.nbytes
    while offset < end:
        n_read = os.preadv(descriptor, [content[offset - end :]], offset)
        if not n_read:
            raise EOFError(f"the file ended at byte {offset} while it was read")
        offset += n_read


def read_all(descriptor: int, nbytes: int, offset: int) -> memoryview:
    """Return a writable copy of `nbytes` bytes of a file from byte `offset`."""
    content = memoryview(bytearray(nbytes))
    read_into(descriptor, content, offset)
    return content


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
    MemoryError, OSError
        If the system refuses.
    """
    return np.asarray(_PrivateMapping(descriptor, nbytes)).data


class _PrivateMapping:
    """A mapping that ends with the last array on it."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        mappings: Mappings = []
        ending: list[Iterator[Any]] = [starmap(unmap, mappings)]
        free_with(self, ending)
        address = map_memory(mappings, None, nbytes, _READ_WRITE, mmap.MAP_PRIVATE, descriptor)
        # Forgotten first: the kernel may give the address to another mapping immediately.
        ending.insert(0, map(_mapped.discard, (address,)))
        _mapped.add(address)
        self.__array_interface__ = byte_interface(address, nbytes)
