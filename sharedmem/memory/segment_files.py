"""The memory file of a segment: made, checked, mapped, and closed."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from itertools import compress, count

from sharedmem.machine.descriptors import (
    descriptor_limit,
    raise_descriptor_limit,
    with_descriptors,
)
from sharedmem.memory.memory_files import memfd_flags
from sharedmem.memory.syscalls import Mappings, map_memory, reason, unmap_last

HUGE_PAGE = 2 << 20
_MAP_FIXED = 0x10
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
# The system allows several memory files of one name; the number makes a name unique.
_counter = count()


def mapped_bytes(nbytes: int) -> int:
    """Return the size of a file and its mapping: whole huge pages if `nbytes` >= 1 MiB."""
    page = HUGE_PAGE if nbytes >= HUGE_PAGE // 2 else mmap.PAGESIZE
    return max(-(-nbytes // page), 1) * page


def create_file(descriptors: list[int], length: int) -> None:
    """Append the descriptor of a new memory file that can neither shrink nor grow.

    Nothing is appended if this process has no descriptors to spare.
    """
    name = f"sharedmem-{os.getpid()}-{next(_counter)}"
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | (memfd_flags() or 0)
    try:
        with_descriptors(lambda: descriptors.extend(map(os.memfd_create, (name,), (flags,))))
    except OSError as error:
        if error.errno == errno.EMFILE:
            return
        raise
    (fd,) = descriptors
    # The rest is for files, sockets, and workers. Workers also inherit a segment without one.
    if fd >= (limit := descriptor_limit()) - min(limit // 4, 512) and not raise_descriptor_limit():
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
        return _map(mappings, None, length, _READ_WRITE, flags, fd)
    # The kernel maps a file at any page, but makes huge pages only where 2 MiB are aligned.
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    reserved = _map(mappings, None, length + HUGE_PAGE, 0, private, -1)
    address = -(-reserved // HUGE_PAGE) * HUGE_PAGE
    _map([], address, length, _READ_WRITE, flags | _MAP_FIXED, fd)
    edges = (reserved, address - reserved), (address + length, reserved + HUGE_PAGE - address)
    mappings[:] = ((address, length), *(edge for edge in edges if edge[1]))
    while len(mappings) > 1:
        unmap_last(mappings)
    return address


def _map(
    mappings: Mappings, address: int | None, length: int, protection: int, flags: int, fd: int
) -> int:
    try:
        return map_memory(mappings, address, length, protection, flags, fd)
    except OSError as error:
        raise memory_error(error.errno or 0, length) from error


def memory_error(code: int, length: int) -> Exception:
    """Return the exception for `length` bytes of shared memory that the system refuses."""
    text = f"cannot get {length} bytes of shared memory: {reason(code)}"
    if code in (errno.ENOMEM, errno.ENOSPC, errno.EFBIG):
        return MemoryError(text)
    return OSError(code, text)


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
